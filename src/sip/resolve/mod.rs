//! Where the next hop is: RFC 3263, as a pure cache of DNS answers and the order in which to try them.
//!
//! The proxy asks [`Resolver::locate`]; what the cache does not know becomes a [`Query`] for
//! `io::dns`, whose [`Answer`] comes back as shard input.

use std::net::IpAddr;
use std::time::Duration;

/// A question to DNS.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Query {
    /// The record type.
    pub kind: QueryKind,
    /// The name, lower case, without trailing dot.
    pub name: Box<str>,
}

/// The record types RFC 3263 needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QueryKind {
    /// Services and their transports (RFC 3263 §4.1).
    Naptr,
    /// Hosts and ports of a service (RFC 2782).
    Srv,
    /// Addresses: A and AAAA together.
    Address,
}

/// What DNS said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The records; empty with `Outcome::Found` never occurs.
    pub outcome: Outcome,
    /// How long it may be used.
    pub ttl: Duration,
}

/// The three ends of a DNS question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Records were found.
    Found(Records),
    /// The name or the record type does not exist.
    Absent,
    /// Nobody answered in time, or the answer was a failure: a stale answer may serve (C-127).
    Failed,
}

/// Records of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Records {
    /// NAPTR.
    Naptr(Vec<Naptr>),
    /// SRV.
    Srv(Vec<Srv>),
    /// A and AAAA.
    Address(Vec<IpAddr>),
}

/// One NAPTR record (RFC 3403).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naptr {
    /// Lower first.
    pub order: u16,
    /// Lower first within an order.
    pub preference: u16,
    /// `S` for all that RFC 3263 uses.
    pub flags: Box<str>,
    /// `SIP+D2U`, `SIP+D2T`, `SIPS+D2T`, …
    pub service: Box<str>,
    /// The SRV name to ask next.
    pub replacement: Box<str>,
}

/// One SRV record (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Srv {
    /// Lower first.
    pub priority: u16,
    /// Share within a priority.
    pub weight: u16,
    /// Port.
    pub port: u16,
    /// Host name.
    pub target: Box<str>,
}
