//! The configuration as messages are routed by it: an immutable snapshot.
//!
//! `config` builds a [`Plan`] from the file; every shard holds the same one behind an `Arc`, and a
//! new one replaces it as a whole. Nothing here changes while a message is handled.

use crate::sip::auth::Algorithm;
use crate::sip::flow::{Flow, ListenerId, Transport};
use crate::sip::message::Limits;
use crate::sip::message::{HeaderId, Message};
use crate::sip::time::Time;
use hashbrown::HashMap;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Everything a shard needs to know of the configuration.
#[derive(Debug)]
pub struct Plan {
    /// This node's 128 bits, the `ID…` half of call identifiers.
    pub node: u128,
    /// The listeners; a [`ListenerId`] is an index into them.
    pub listeners: Vec<Listener>,
    /// Names and addresses, lower case and without port, that mean Baton in a Request-URI (C-093),
    /// beyond the listeners' own.
    pub aliases: Vec<Box<str>>,
    /// The trunks; a [`TrunkIx`] is an index into them.
    pub trunks: Vec<Trunk>,
    /// Which trunk a source address belongs to.
    pub sources: SourceTable,
    /// The routes in the order in which they are tried; the first that matches decides (T-030).
    pub routes: Vec<Route>,
    /// The base values of all timers.
    pub timings: Timings,
    /// Bounds on what a message may contain (C-026).
    pub limits: Limits,
    /// Bounds on what a shard keeps (C-218).
    pub capacity: Capacity,
    /// Answers and bounds of routing.
    pub routing: Routing,
    /// Whether proxied calls and the REFERs in them are recorded.
    pub record_proxied: bool,
    /// What happens to an initial request of an unknown source (T-016).
    pub unknown_source: UnknownSource,
    /// What calls that Baton owns need to know.
    pub calls: CallPlan,
}

/// The part of the configuration that calls of Baton's own live by.
#[derive(Clone, Debug)]
pub struct CallPlan {
    /// The applications; routes and events name them by their place.
    pub applications: Vec<Application>,
    /// The SIP accounts that may register, by user.
    pub clients: HashMap<Box<str>, Client>,
    /// How registration works.
    pub registrar: Registrar,
    /// How clients prove who they are.
    pub auth: Auth,
    /// Whether a `sip:` address that no route takes is called at its own host.
    pub direct_calls: bool,
    /// How long an unanswered INVITE to a transfer's target may ring (refer-core section 3); 60 s.
    pub ring_time: Duration,
    /// Legs a shard keeps; past it a new call gets 503.
    pub capacity: usize,
}

impl Default for CallPlan {
    fn default() -> CallPlan {
        CallPlan {
            applications: Vec::new(),
            clients: HashMap::new(),
            registrar: Registrar::default(),
            auth: Auth::default(),
            direct_calls: true,
            ring_time: Duration::from_secs(60),
            capacity: 200_000,
        }
    }
}

/// A program that steers calls, as far as a shard must know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// Its name in the configuration.
    pub name: Box<str>,
    /// The owner of its calls.
    pub account: Option<Arc<str>>,
    /// Whether it decides on the REFERs in its calls.
    pub decides_refers: bool,
}

/// A SIP account that may register.
#[derive(Clone, PartialEq, Eq)]
pub struct Client {
    /// Who it is.
    pub credentials: Arc<Credentials>,
    /// The owner of the records of its calls.
    pub account: Option<Arc<str>>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("account", &self.account).finish_non_exhaustive()
    }
}

/// User and secret for digest authentication; never shown (C-202).
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user name.
    pub user: Box<str>,
    /// What is known of the password.
    pub secret: Secret,
}

/// A password, or hashes of it with user and realm (RFC 7616 §3.4.2), in hex.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// The password.
    Password(Box<str>),
    /// HA1 by algorithm; one that is missing cannot be used.
    Ha1 {
        /// MD5.
        md5: Option<Box<str>>,
        /// SHA-256.
        sha256: Option<Box<str>>,
        /// SHA-512-256.
        sha512_256: Option<Box<str>>,
    },
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// How registration works (C-156 to C-169).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registrar {
    /// The domains served, lower case; empty: the listeners' own hosts and aliases.
    pub domains: Vec<Box<str>>,
    /// The digest realm.
    pub realm: Box<str>,
    /// Shortest life of a binding; below it 423.
    pub min_expires: u32,
    /// Longest life of a binding.
    pub max_expires: u32,
    /// Life of a binding that names none.
    pub default_expires: u32,
    /// Bindings of one address of record.
    pub max_bindings: usize,
    /// Bytes of a REGISTER.
    pub max_size: usize,
    /// What happens to a REFER of a client.
    pub refer: ReferMode,
    /// Whether the target of one that is passed on is turned to Baton.
    pub returns: bool,
}

impl Default for Registrar {
    fn default() -> Registrar {
        Registrar {
            domains: Vec::new(),
            realm: "baton".into(),
            min_expires: 60,
            max_expires: 3_600,
            default_expires: 3_600,
            max_bindings: 10,
            max_size: 8_192,
            refer: ReferMode::Relay,
            returns: false,
        }
    }
}

/// How Baton challenges (C-196).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// What is offered, best first; each once, and at least one.
    pub algorithms: Vec<Algorithm>,
    /// When guessing ends.
    pub ban: Ban,
    /// Sources that are never banned, such as a NAT or a proxy with many users behind it.
    pub never_ban: Vec<IpNet>,
}

/// How many wrong passwords make a source be refused without a look, and guessing at a user be slowed down (T-025).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ban {
    /// So many failures, at least 1,
    pub threshold: u32,
    /// within this time,
    pub window: Duration,
    /// and nothing is looked at for this long.
    pub duration: Duration,
    /// Whether trunks' addresses may be banned, too (T-026).
    pub include_trunks: bool,
}

impl Default for Ban {
    fn default() -> Ban {
        let (window, duration) = (Duration::from_secs(60), Duration::from_secs(300));
        Ban { threshold: 20, window, duration, include_trunks: false }
    }
}

impl Default for Auth {
    /// SHA-256 before MD5 (T-021): a phone answers the first that it knows (RFC 8760 §2.4), but some
    /// take no challenge at all beside one that they do not know, so SHA-512-256 is for who asks for it.
    fn default() -> Auth {
        let algorithms = vec![Algorithm::Sha256, Algorithm::Md5];
        Auth { algorithms, ban: Ban::default(), never_ban: Vec::new() }
    }
}

/// A trunk by its place in [`Plan::trunks`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrunkIx(pub u16);

/// A socket Baton listens on, and how it names itself in what it sends from there.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Its name in the configuration.
    pub name: Box<str>,
    /// Its transport.
    pub transport: Transport,
    /// The address bound.
    pub bind: SocketAddr,
    /// The host peers can reach: advertised, else the bound address; IPv6 in brackets.
    pub host: Box<str>,
    /// The port that goes with it.
    pub port: u16,
    /// The TLS profiles, for `tls` and `wss`; the first is the default, others are chosen by SNI.
    pub tls_profiles: Vec<Box<str>>,
}

impl Listener {
    /// Via's sent-by: `host:port`, without the port when it is the transport's default.
    pub fn sent_by(&self) -> String {
        if self.port == self.transport.default_port() {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// A peer or group of peers that carries calls.
#[derive(Clone, Debug)]
pub struct Trunk {
    /// Its name in the configuration; the value of the `trunk` label of metrics.
    pub name: Box<str>,
    /// Where calls to it go, by priority (lower first) and weight.
    pub targets: Vec<Target>,
    /// The owner of the records of its calls.
    pub account: Option<Arc<str>>,
    /// What happens to a REFER it sends.
    pub refer: ReferMode,
    /// An attempt without any response is given up after this (T-061).
    pub no_response_timeout: Duration,
    /// An attempt that rings longer is cancelled, and 408 counts for it (T-067).
    pub ring_timeout: Duration,
    /// Requests larger than this leave over a stream transport where the trunk has one (C-048).
    pub udp_max: usize,
    /// A proxied call whose BYE never comes is closed in the records after this.
    pub max_duration: Duration,
    /// What matters only for calls that Baton owns.
    pub owned: OwnedTrunk,
}

impl Trunk {
    /// Whether a REFER that it sends is counted for its rate, as one that repeats a challenged one is not;
    /// `Err`: how long it must wait.
    pub fn refer_comes(&self, now: Time, message: &Message) -> Result<bool, Duration> {
        let (rate, referred) = (self.owned.policy.max_rate, &self.owned.referred);
        let credentials =
            || message.has(HeaderId::Authorization) || message.has(HeaderId::ProxyAuthorization);
        if rate == 0 || credentials() && referred.again() {
            return Ok(false);
        }
        referred.take(now, rate).map(|()| true)
    }

    /// A counted one was challenged.
    pub fn refer_challenged(&self) {
        self.owned.referred.challenged(self.owned.policy.max_rate);
    }
}

/// How a trunk takes part in calls that Baton owns.
#[derive(Clone, Debug, Default)]
pub struct OwnedTrunk {
    /// For a challenge by its peer.
    pub credentials: Option<Arc<Credentials>>,
    /// The knobs of transfers (refer-core section 4).
    pub policy: crate::sip::refer::Policy,
    /// Its REFERs of late; the one thing in a plan that changes.
    pub referred: Arc<crate::sip::refer::Bucket>,
    /// Session timers (RFC 4028).
    pub session: SessionTimer,
}

/// A trunk's wishes about session timers (RFC 4028).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionTimer {
    /// The interval asked for, in seconds; 0: none is asked for, the peer's wish is followed.
    pub interval: u32,
    /// The shortest interval taken, in seconds; at least 90.
    pub min: u32,
}

impl Default for SessionTimer {
    fn default() -> SessionTimer {
        SessionTimer { interval: 1_800, min: 90 }
    }
}

/// One address of a trunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The target as written.
    pub uri: Box<str>,
    /// The user it replaces in the Request-URI; `None` keeps the caller's.
    pub user: Option<Box<str>>,
    /// Host: a name, an IPv4 address, or an IPv6 address without brackets.
    pub host: Box<str>,
    /// Port, when written.
    pub port: Option<u16>,
    /// Transport, when written or implied by `sips:`.
    pub transport: Option<Transport>,
    /// Whether it is a `sips:` URI: TLS on every hop (C-060).
    pub secure: bool,
    /// Lower is tried first.
    pub priority: u16,
    /// Share among targets of one priority; 0 only when all others failed.
    pub weight: u16,
}

/// What happens to a REFER received on a call of a trunk (refer-core section 4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReferMode {
    /// Passed on.
    #[default]
    Relay,
    /// Performed by Baton; makes the call an owned one.
    Terminate,
    /// Refused with this code: 603, 403 or 405.
    Reject(u16),
}

/// A routing rule.
#[derive(Clone, Debug)]
pub struct Route {
    /// Where the request may come from; empty: anywhere.
    pub from: Vec<Origin>,
    /// What the Request-URI's user part must be.
    pub user: UserMatch,
    /// What is done.
    pub action: Action,
}

/// Where a request comes from, for routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A trunk.
    Trunk(TrunkIx),
    /// A registered client.
    Clients,
    /// The Calls API.
    Api,
}

/// A condition on a Request-URI's user part, percent-decoded.
#[derive(Clone, Debug)]
pub enum UserMatch {
    /// Any, or none at all.
    Any,
    /// This one.
    Exact(Box<str>),
    /// One that begins so.
    Prefix(Box<str>),
    /// One the expression finds; linear in the input (T-032).
    Regex(regex::bytes::Regex),
}

impl UserMatch {
    /// Whether a user part satisfies the condition.
    pub fn matches(&self, user: &[u8]) -> bool {
        match self {
            UserMatch::Any => true,
            UserMatch::Exact(exact) => exact.as_bytes() == user,
            UserMatch::Prefix(prefix) => user.starts_with(prefix.as_bytes()),
            UserMatch::Regex(regex) => regex.is_match(user),
        }
    }
}

/// What a route does.
#[derive(Clone, Debug)]
pub enum Action {
    /// Calls these trunks.
    Trunks {
        /// In order: each is exhausted before the next is tried (T-011).
        to: Vec<TrunkIx>,
        /// Whether the trunks are tried one after another or at once.
        fork: Fork,
        /// Whether Baton owns the call.
        mode: Mode,
    },
    /// Gives the call to an application, by its place in [`CallPlan::applications`].
    Application(u16),
    /// Calls the client that the Request-URI's user part names.
    Clients,
    /// Refuses (T-035).
    Reject {
        /// A final code 400 to 599.
        code: u16,
        /// The reason phrase.
        reason: Box<str>,
    },
}

/// Whether a routed call is proxied or Baton's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Owned only where something needs it: a trunk on either side with `refer.mode = "terminate"`.
    #[default]
    Auto,
    /// Proxied.
    Proxy,
    /// Owned.
    B2bua,
}

/// How several targets are called (RFC 3261 §16.6, §16.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fork {
    /// One after another.
    #[default]
    Serial,
    /// One of each trunk at once; failover within each.
    Parallel,
}

/// The base values of the timers of RFC 3261 Table 4, and Timer C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    /// Round-trip estimate; 500 ms.
    pub t1: Duration,
    /// Largest retransmission interval for non-INVITE requests and INVITE responses; 4 s.
    pub t2: Duration,
    /// How long a message may stay in the network; 5 s.
    pub t4: Duration,
    /// Timer D over UDP; at least 32 s.
    pub d: Duration,
    /// Timer C; above 180 s (RFC 3261 §16.6 step 11).
    pub c: Duration,
    /// How long after an INVITE a 100 is sent if nothing else was; at most 200 ms (C-076).
    pub trying: Duration,
}

impl Default for Timings {
    fn default() -> Timings {
        Timings {
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
            d: Duration::from_secs(32),
            c: Duration::from_secs(185),
            trying: Duration::from_millis(150),
        }
    }
}

/// Bounds on a shard's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Transactions a shard keeps, both sides counted; past it new requests get 503.
    pub transactions: usize,
    /// Proxied REFERs a shard watches; past it a REFER is relayed unobserved and counted.
    pub refers: usize,
    /// Final events kept while the control plane does not take them.
    pub events: usize,
}

impl Default for Capacity {
    fn default() -> Capacity {
        Capacity { transactions: 2_000_000, refers: 200_000, events: 100_000 }
    }
}

/// Answers and bounds of routing (T-034, T-039, T-040).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routing {
    /// The code when no route matches; 404.
    pub no_match: u16,
    /// The code when a route matches but nothing in it is usable; 503.
    pub none_usable: u16,
    /// Retry-After sent with it, in seconds.
    pub retry_after: u32,
    /// Attempts per request at most.
    pub max_attempts: usize,
    /// Time for all attempts together.
    pub max_setup: Duration,
    /// Final codes that make the next candidate be tried.
    pub retry_on: Vec<u16>,
    /// How long a DNS answer serves beyond its time while DNS fails; 1 h (C-127).
    pub stale_for: Duration,
}

impl Default for Routing {
    fn default() -> Routing {
        Routing {
            no_match: 404,
            none_usable: 503,
            retry_after: 30,
            max_attempts: 6,
            max_setup: Duration::from_secs(60),
            retry_on: vec![408, 500, 502, 503, 504],
            stale_for: Duration::from_secs(3_600),
        }
    }
}

/// What happens to an initial request that matches no trunk (T-016).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownSource {
    /// Dropped on UDP, 403 on streams.
    #[default]
    DropUdp,
    /// 403 everywhere.
    Reject,
    /// Dropped everywhere.
    Drop,
}

/// Which trunk a source address belongs to: the longest prefix wins, then an entry with a port or
/// transport over one without (T-015). The cost depends on the number of distinct prefix lengths
/// only (T-018).
#[derive(Clone, Debug, Default)]
pub struct SourceTable {
    /// Distinct (is IPv6, prefix length), longest first.
    lengths: Vec<(bool, u8)>,
    entries: HashMap<IpNet, Vec<Source>>,
}

/// One entry of a trunk's `match.source`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// Source port, when the entry names one.
    pub port: Option<u16>,
    /// Transport, when the entry names one.
    pub transport: Option<Transport>,
    /// The trunk it identifies.
    pub trunk: TrunkIx,
}

impl SourceTable {
    /// Adds an entry; answers the trunk that already has exactly this one (T-017).
    pub fn insert(&mut self, net: IpNet, source: Source) -> Result<(), TrunkIx> {
        let net = net.trunc();
        let entries = self.entries.entry(net).or_default();
        if let Some(same) = entries.iter().find(|e| e.port == source.port && e.transport == source.transport)
        {
            return if same.trunk == source.trunk { Ok(()) } else { Err(same.trunk) };
        }
        entries.push(source);
        entries.sort_by_key(|e| std::cmp::Reverse((e.port.is_some(), e.transport.is_some())));
        let length = (net.addr().is_ipv6(), net.prefix_len());
        if !self.lengths.contains(&length) {
            self.lengths.push(length);
            self.lengths.sort_by_key(|l| std::cmp::Reverse(l.1));
        }
        Ok(())
    }

    /// The trunk that a flow's source belongs to.
    pub fn find(&self, flow: &Flow) -> Option<TrunkIx> {
        let ip = match flow.remote.ip() {
            IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4),
            v4 => v4,
        };
        self.lengths.iter().filter(|(v6, _)| *v6 == ip.is_ipv6()).find_map(|&(_, length)| {
            let net = IpNet::new(ip, length).ok()?.trunc();
            let entries = self.entries.get(&net)?;
            entries
                .iter()
                .find(|e| {
                    e.port.is_none_or(|p| p == flow.remote.port())
                        && e.transport.is_none_or(|t| t == flow.transport)
                })
                .map(|e| e.trunk)
        })
    }
}

impl Plan {
    /// A listener's description; the first one for an index out of range cannot happen with ids that
    /// `io` hands out.
    pub fn listener(&self, id: ListenerId) -> Option<&Listener> {
        self.listeners.get(usize::from(id.0))
    }

    /// A trunk's description.
    pub fn trunk(&self, ix: TrunkIx) -> Option<&Trunk> {
        self.trunks.get(usize::from(ix.0))
    }
}
