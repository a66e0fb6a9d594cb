//! Where the next hop is: RFC 3263, as a pure cache of DNS answers and the order in which to try them.
//!
//! The proxy asks [`Resolver::locate`]; what the cache does not know becomes a [`Query`] for
//! `io::dns`, whose [`Answer`] comes back as shard input.

use crate::sip::flow::Transport;
use crate::sip::time::Time;
use smallvec::SmallVec;
use std::net::{IpAddr, SocketAddr};
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

/// A next hop: what a URI or a trunk's target says about where to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop<'a> {
    /// A name or an address, IPv6 without brackets.
    pub host: &'a [u8],
    /// The port, when written.
    pub port: Option<u16>,
    /// The transport, when written or implied.
    pub transport: Option<Transport>,
    /// Whether only TLS will do (C-060).
    pub secure: bool,
}

/// What is known of a hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Located {
    /// Addresses in the order of trial.
    Ready(SmallVec<[(Transport, SocketAddr); 4]>),
    /// DNS is being asked; try again after the next answer.
    Wait,
    /// There is no such host, or nobody knows it.
    Failed,
}

/// The shard's view of DNS.
#[derive(Debug, Default)]
pub struct Resolver {}

impl Resolver {
    /// An empty cache.
    pub fn new() -> Resolver {
        Resolver::default()
    }

    /// Where a hop is. `random` decides among SRV records of one priority.
    pub fn locate(&mut self, _now: Time, hop: &Hop<'_>, _random: u64, _queries: &mut Vec<Query>) -> Located {
        let ip = std::str::from_utf8(hop.host).ok().and_then(|h| h.parse::<IpAddr>().ok());
        let Some(ip) = ip else { return Located::Failed };
        let transport = hop.transport.unwrap_or(if hop.secure { Transport::Tls } else { Transport::Udp });
        let port = hop.port.unwrap_or(transport.default_port());
        Located::Ready(SmallVec::from_slice(&[(transport, SocketAddr::new(ip, port))]))
    }

    /// Takes what DNS said.
    pub fn answer(&mut self, _now: Time, _query: Query, _answer: Answer) {}
}
