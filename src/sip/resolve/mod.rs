//! Where the next hop is: RFC 3263, as a pure cache of DNS answers and the order in which to try them.
//!
//! The proxy asks [`Resolver::locate`]; what the cache does not know becomes a [`Query`] for
//! `io::dns`, whose [`Answer`] comes back as shard input.

mod cache;
mod order;
#[cfg(test)]
mod tests;

use crate::sip::flow::Transport;
use crate::sip::plan::Listener;
use crate::sip::time::Time;
use cache::{Cache, Look};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Bytes of a name at most (RFC 1035 §2.3.4).
const LONGEST_NAME: usize = 253;
/// Hosts of a service, and addresses of a host, that are tried at most.
const MOST_HOSTS: usize = 16;

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

/// Which transports can be used, by address family: what the plan's listeners offer. Records that
/// lead elsewhere are passed over (RFC 3263 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    v4: [bool; Transport::ALL.len()],
    v6: [bool; Transport::ALL.len()],
}

impl Offer {
    /// Everything, over both families.
    pub const ALL: Offer = Offer { v4: [true; 5], v6: [true; 5] };

    /// What these listeners can send on.
    pub fn new(listeners: &[Listener]) -> Offer {
        let mut offer = Offer { v4: [false; 5], v6: [false; 5] };
        // Nobody can be called by WebSocket: clients come by it.
        for listener in listeners.iter().filter(|l| !l.transport.is_websocket()) {
            let family = if listener.bind.is_ipv4() { &mut offer.v4 } else { &mut offer.v6 };
            if let Some(has) = family.get_mut(listener.transport as usize) {
                *has = true;
            }
        }
        offer
    }

    fn has(&self, transport: Transport) -> bool {
        self.reaches(transport, true) || self.reaches(transport, false)
    }

    fn reaches(&self, transport: Transport, v4: bool) -> bool {
        let family = if v4 { &self.v4 } else { &self.v6 };
        family.get(transport as usize).copied().unwrap_or(false)
    }
}

/// Finds next hops, with what DNS has said before.
#[derive(Debug)]
pub struct Resolver {
    cache: Cache,
    offer: Offer,
}

impl Resolver {
    /// An empty cache.
    ///
    /// An answer serves `stale_for` beyond its time while DNS fails.
    pub fn new(offer: Offer, stale_for: Duration) -> Resolver {
        Resolver { cache: Cache::new(stale_for), offer }
    }

    /// Uses only the transports that are offered from now on, and keeps answers so long.
    pub fn configure(&mut self, offer: Offer, stale_for: Duration) {
        self.offer = offer;
        self.cache.set_stale(stale_for);
    }

    /// Where a hop is. `random` decides among SRV records of one priority. What DNS must be asked
    /// for the answer is appended to `queries`; each question is asked once at a time.
    pub fn locate(&mut self, now: Time, hop: &Hop<'_>, random: u64, queries: &mut Vec<Query>) -> Located {
        let Some(transport) = wanted(hop) else { return Located::Failed };
        let Ok(host) = std::str::from_utf8(hop.host) else { return Located::Failed };
        if let Some(ip) = literal(host) {
            // No question about an address (RFC 3263 §4.1, §4.2).
            let transport = transport.unwrap_or(fallback(hop.secure));
            let port = hop.port.unwrap_or(transport.default_port());
            return Located::Ready(SmallVec::from_slice(&[(transport, SocketAddr::new(ip, port))]));
        }
        let Some(name) = name(host) else { return Located::Failed };
        if name == "invalid" || name.ends_with(".invalid") {
            // No such host exists (RFC 6761 §6.4): browsers name themselves so (RFC 7118 §5.4, C-062),
            // and are reached by the connection they have opened.
            return Located::Failed;
        }
        let mut search = Search { cache: &mut self.cache, offer: self.offer, now, random, queries };
        match search.hop(&name, hop.port, transport, hop.secure) {
            Step::Known(list) if list.is_empty() => Located::Failed,
            Step::Known(list) => Located::Ready(list),
            Step::Absent => Located::Failed,
            Step::Wait => Located::Wait,
        }
    }

    /// Takes what DNS said.
    pub fn answer(&mut self, now: Time, query: Query, answer: Answer) {
        self.cache.answer(now, query, answer);
    }
}

/// The transport a hop demands: `None` inside when it leaves the choice, `None` when it demands
/// what cannot be (C-060).
fn wanted(hop: &Hop<'_>) -> Option<Option<Transport>> {
    match (hop.transport, hop.secure) {
        (None, true) if hop.port.is_some() => Some(Some(Transport::Tls)),
        (None, false) if hop.port.is_some() => Some(Some(Transport::Udp)),
        (None, _) => Some(None),
        (Some(Transport::Udp), true) => None,
        // In a sips URI `transport=tcp` says what TLS runs over (RFC 3261 §26.2.2).
        (Some(Transport::Tcp), true) => Some(Some(Transport::Tls)),
        (Some(Transport::Ws), true) => Some(Some(Transport::Wss)),
        (Some(transport), _) => Some(Some(transport)),
    }
}

/// What is used when nothing says otherwise (RFC 3263 §4.1).
fn fallback(secure: bool) -> Transport {
    if secure { Transport::Tls } else { Transport::Udp }
}

fn literal(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok()
}

/// A name as it is asked for: lower case, no dot at its end. `None` when it can be no name.
fn name(host: &str) -> Option<Cow<'_, str>> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let possible = !host.is_empty()
        && host.len() <= LONGEST_NAME
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    if !possible {
        return None;
    }
    Some(if host.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    })
}

/// What a step of the search came to.
enum Step<T> {
    /// These, in order.
    Known(T),
    /// There are none.
    Absent,
    /// DNS is being asked.
    Wait,
}

type Hops = SmallVec<[(Transport, SocketAddr); 4]>;

/// One walk through what is known, from a name to addresses.
struct Search<'a> {
    cache: &'a mut Cache,
    offer: Offer,
    now: Time,
    random: u64,
    queries: &'a mut Vec<Query>,
}

impl Search<'_> {
    /// RFC 3263 §4.1 and §4.2, for a name.
    fn hop(
        &mut self,
        name: &str,
        port: Option<u16>,
        transport: Option<Transport>,
        secure: bool,
    ) -> Step<Hops> {
        match (port, transport) {
            // §4.2: with a port, addresses only.
            (Some(port), transport) => self.hosts(name, port, transport.unwrap_or(fallback(secure))),
            // §4.2: a transport but no port, so SRV of that transport.
            (None, Some(transport)) => match self.service(&service(name, transport), transport) {
                Step::Absent => self.hosts(name, transport.default_port(), transport),
                found => found,
            },
            // §4.1: neither, so NAPTR chooses the transport.
            (None, None) => match self.naptr(name, secure) {
                Step::Absent => self.any_service(name, secure),
                found => found,
            },
        }
    }

    /// The transport that NAPTR prefers, among those that can be used (RFC 3263 §4.1, C-124).
    fn naptr(&mut self, name: &str, secure: bool) -> Step<Hops> {
        let choices = match self.cache.look(self.now, QueryKind::Naptr, name, self.queries) {
            Look::Found(Records::Naptr(records)) => order::choices(records, secure, &self.offer),
            Look::Found(_) | Look::Absent | Look::Failed => return Step::Absent,
            Look::Wait => return Step::Wait,
        };
        for (transport, replacement) in choices {
            match self.service(&replacement, transport) {
                Step::Known(list) if list.is_empty() => {}
                Step::Absent => {}
                found => return found,
            }
        }
        Step::Absent
    }

    /// No NAPTR: SRV for each transport in turn, then the addresses of the name itself.
    fn any_service(&mut self, name: &str, secure: bool) -> Step<Hops> {
        let transports: &[Transport] =
            if secure { &[Transport::Tls] } else { &[Transport::Udp, Transport::Tcp, Transport::Tls] };
        let mut wait = false;
        let mut found = None;
        let offer = self.offer;
        for &transport in transports.iter().filter(|&&t| offer.has(t)) {
            // All are asked at once: each answer that is missing costs one round trip at most.
            match self.service(&service(name, transport), transport) {
                Step::Known(list) if !list.is_empty() && found.is_none() && !wait => {
                    found = Some(list);
                }
                Step::Known(_) | Step::Absent => {}
                Step::Wait => wait = found.is_none() || wait,
            }
        }
        match found {
            Some(list) => Step::Known(list),
            None if wait => Step::Wait,
            None => {
                let transport = fallback(secure);
                self.hosts(name, transport.default_port(), transport)
            }
        }
    }

    /// The hosts of an SRV name, ordered by priority and weight (C-121).
    fn service(&mut self, name: &str, transport: Transport) -> Step<Hops> {
        let targets = match self.cache.look(self.now, QueryKind::Srv, name, self.queries) {
            Look::Found(Records::Srv(records)) => order::targets(records, self.random),
            Look::Found(_) | Look::Absent | Look::Failed => return Step::Absent,
            Look::Wait => return Step::Wait,
        };
        let mut all = Hops::new();
        let mut wait = false;
        for (target, port) in targets.into_iter().take(MOST_HOSTS) {
            match self.hosts(&target, port, transport) {
                Step::Known(list) => all.extend(list),
                Step::Absent => {}
                Step::Wait => wait = true,
            }
        }
        if wait { Step::Wait } else { Step::Known(all) }
    }

    /// The addresses of a host.
    fn hosts(&mut self, name: &str, port: u16, transport: Transport) -> Step<Hops> {
        if let Some(ip) = literal(name) {
            // Some put addresses where SRV wants a name.
            return Step::Known(SmallVec::from_slice(&[(transport, SocketAddr::new(ip, port))]));
        }
        match self.cache.look(self.now, QueryKind::Address, name, self.queries) {
            Look::Found(Records::Address(addresses)) => {
                let usable = |ip: &IpAddr| self.offer.reaches(transport, ip.is_ipv4());
                let addresses = order::families(addresses, usable);
                Step::Known(
                    addresses.map(|ip| (transport, SocketAddr::new(ip, port))).take(MOST_HOSTS).collect(),
                )
            }
            Look::Found(_) | Look::Absent | Look::Failed => Step::Absent,
            Look::Wait => Step::Wait,
        }
    }
}

/// The SRV name of a transport (RFC 3263 §4.1, RFC 7118 §5.3 for WebSocket).
fn service(name: &str, transport: Transport) -> String {
    let prefix = match transport {
        Transport::Udp => "_sip._udp",
        Transport::Tcp => "_sip._tcp",
        Transport::Tls => "_sips._tcp",
        Transport::Ws => "_sip._ws",
        Transport::Wss => "_sips._ws",
    };
    format!("{prefix}.{name}")
}
