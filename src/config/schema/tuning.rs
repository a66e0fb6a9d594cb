//! Bounds and times: `[routing]`, `[acl]`, `[limits]`, `[timers]`.

use super::service::at_least;
use crate::config::endpoint::{HostPort, SourceEntry};
use crate::config::read::{At, FromToml, Reader, Value};
use crate::sip::message::Limits;
use crate::sip::plan::{Ban, CallPlan, Capacity, Routing, Timings, UnknownSource};
use ipnet::IpNet;
use std::time::Duration;

/// `[acl]`: who may send requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Acl {
    /// What happens to an initial request of an unknown source (T-016).
    pub unknown: UnknownSource,
    /// When guessing of passwords ends (T-025).
    pub ban: Ban,
    /// Sources that are never banned.
    pub never_ban: Vec<IpNet>,
}

impl FromToml for UnknownSource {
    fn from_toml(value: &Value<'_>) -> Option<UnknownSource> {
        value.word(&[
            ("drop-udp", UnknownSource::DropUdp),
            ("reject", UnknownSource::Reject),
            ("drop", UnknownSource::Drop),
        ])
    }
}

impl Acl {
    pub(super) fn read(mut table: Reader<'_>) -> Acl {
        let exempt = table.take::<Vec<At<SourceEntry>>>("never_ban").unwrap_or_default();
        for source in exempt.iter().filter(|source| source.port.is_some() || source.transport.is_some()) {
            table.context().error(
                source.span.clone(),
                "acl.never_ban has a port or a transport in it",
                format!("write the addresses alone, \"{}\"", source.net),
            );
        }
        let acl = Acl {
            unknown: table.or("unknown", UnknownSource::default()),
            ban: read_ban(table.table("ban")),
            never_ban: exempt.iter().map(|source| source.net).collect(),
        };
        table.later(&["scanner_agents"]);
        table.finish();
        acl
    }
}

/// `ban = { threshold, window, duration, include_trunks }`
fn read_ban(mut table: Reader<'_>) -> Ban {
    let default = Ban::default();
    let least = Duration::from_secs(1);
    let threshold = table.int("threshold", 1..=1_000_000).and_then(|n| u32::try_from(n).ok());
    let ban = Ban {
        threshold: threshold.unwrap_or(default.threshold),
        window: within_a_day(&mut table, "window", least).unwrap_or(default.window),
        duration: within_a_day(&mut table, "duration", least).unwrap_or(default.duration),
        include_trunks: table.or("include_trunks", default.include_trunks),
    };
    table.finish();
    ban
}

/// Nobody is to be locked out for ever, nor for what was long ago.
fn within_a_day(table: &mut Reader<'_>, key: &'static str, least: Duration) -> Option<Duration> {
    const DAY: Duration = Duration::from_secs(86_400);
    let time = at_least(table, key, least)?;
    if time > DAY {
        table.value(key)?.wrong(format_args!("= {time:?} is too long"), "write \"24h\" or less");
        return None;
    }
    Some(time)
}

/// Bounds of calls that Baton owns: `[timers] target_ring` and `[limits] legs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calls {
    /// How long a transfer's target may ring (refer-core section 3).
    pub target_ring: Duration,
    /// Legs a shard keeps; past it a new call gets 503.
    pub legs: usize,
}

impl Default for Calls {
    fn default() -> Calls {
        let plan = CallPlan::default();
        Calls { target_ring: plan.ring_time, legs: plan.capacity }
    }
}

/// A final code that routing may answer; it never makes a 6xx (T-034).
struct RoutingCode(u16);

impl FromToml for RoutingCode {
    fn from_toml(value: &Value<'_>) -> Option<RoutingCode> {
        value.int(400..=599).and_then(|n| u16::try_from(n).ok()).map(RoutingCode)
    }
}

/// A final code that a peer may answer.
struct FailureCode(u16);

impl FromToml for FailureCode {
    fn from_toml(value: &Value<'_>) -> Option<FailureCode> {
        value.int(300..=599).and_then(|n| u16::try_from(n).ok()).map(FailureCode)
    }
}

/// `[routing]`, and the other names of Baton.
pub(super) fn read_routing(mut table: Reader<'_>) -> (Routing, Vec<Box<str>>) {
    let default = Routing::default();
    let routing = Routing {
        no_match: table.take::<RoutingCode>("no_match").map_or(default.no_match, |c| c.0),
        none_usable: table.take::<RoutingCode>("none_usable").map_or(default.none_usable, |c| c.0),
        retry_after: at_least(&mut table, "retry_after", Duration::ZERO)
            .and_then(|d| u32::try_from(d.as_secs()).ok())
            .unwrap_or(default.retry_after),
        max_attempts: size(&mut table, "max_attempts", 1..=64, default.max_attempts),
        max_setup: at_least(&mut table, "max_setup", Duration::from_secs(1)).unwrap_or(default.max_setup),
        retry_on: table
            .take::<Vec<FailureCode>>("retry_on")
            .map_or(default.retry_on, |codes| codes.iter().map(|c| c.0).collect()),
        // `[dns] stale_for`, put in its place by `Config::plan`.
        stale_for: default.stale_for,
    };
    let aliases = table.take::<Vec<At<HostPort>>>("aliases").unwrap_or_default();
    for alias in aliases.iter().filter(|a| a.port.is_some()) {
        table.context().error(
            alias.span.clone(),
            "routing.aliases has a port in it",
            format!("write the name alone, \"{}\"; every port of a listener goes with it", alias.host),
        );
    }
    table.later(&["allowed_domains", "map_503"]);
    table.finish();
    (routing, aliases.into_iter().map(|a| a.value.host).collect())
}

/// `[limits]`: what a message may contain, and what a shard keeps.
pub(super) fn read_limits(mut table: Reader<'_>) -> (Limits, Capacity, usize) {
    let d = Limits::default();
    let limits = Limits {
        // A whole datagram must fit (RFC 3261 §18.1.1).
        message: size(&mut table, "message", 65_535..=16_777_216, d.message),
        headers: size(&mut table, "headers", 16..=4_096, d.headers),
        header_line: size(&mut table, "header_line", 256..=1_048_576, d.header_line),
        uri: size(&mut table, "uri", 64..=65_535, d.uri),
        vias: size(&mut table, "vias", 1..=1_024, d.vias),
        routes: size(&mut table, "routes", 1..=1_024, d.routes),
        multipart_depth: size(&mut table, "multipart_depth", 1..=32, d.multipart_depth),
    };
    let d = Capacity::default();
    let capacity = Capacity {
        transactions: size(&mut table, "transactions", 100..=100_000_000, d.transactions),
        refers: size(&mut table, "refers", 1..=100_000_000, d.refers),
        events: size(&mut table, "events", 1..=100_000_000, d.events),
    };
    let legs = size(&mut table, "legs", 2..=100_000_000, Calls::default().legs);
    table.later(&["calls_total", "reject", "per_source"]);
    table.finish();
    (limits, capacity, legs)
}

/// `[timers]`: RFC 3261 Table 4, Timer C, and how long a transfer's target may ring.
pub(super) fn read_timings(mut table: Reader<'_>) -> (Timings, Duration) {
    let d = Timings::default();
    let tick = Duration::from_millis(10);
    let timings = Timings {
        t1: at_least(&mut table, "t1", tick).unwrap_or(d.t1),
        t2: at_least(&mut table, "t2", tick).unwrap_or(d.t2),
        t4: at_least(&mut table, "t4", tick).unwrap_or(d.t4),
        // RFC 3261 §17.1.1.2: at least 32 s over an unreliable transport.
        d: at_least(&mut table, "d", Duration::from_secs(32)).unwrap_or(d.d),
        // RFC 3261 §16.6 step 11: larger than three minutes; ring_timeout is the way to ring shorter.
        c: at_least(&mut table, "c", Duration::from_millis(180_001)).unwrap_or(d.c),
        trying: table
            .take::<At<Duration>>("trying")
            .map_or(d.trying, |at| trying(&table, &at).unwrap_or(d.trying)),
    };
    if timings.t2 < timings.t1 {
        let span = table.value("t2").or_else(|| table.value("t1")).map_or(table.span(), |v| v.span());
        table.context().error(
            span,
            format!("timers.t2 = {:?} is shorter than t1 = {:?}", timings.t2, timings.t1),
            "make t2 the longer one; retransmission intervals grow from t1 to t2",
        );
    }
    let target_ring = at_least(&mut table, "target_ring", Duration::from_secs(1));
    table.finish();
    (timings, target_ring.unwrap_or(Calls::default().target_ring))
}

/// RFC 3261 §17.2.1: 200 ms at most.
fn trying(table: &Reader<'_>, at: &At<Duration>) -> Option<Duration> {
    if at.value <= Duration::from_millis(200) {
        return Some(at.value);
    }
    table.context().error(
        at.span.clone(),
        format!("timers.trying = {:?} is too long", at.value),
        "write \"200ms\" or less; a 100 must be sent by then",
    );
    None
}

fn size(
    table: &mut Reader<'_>,
    key: &'static str,
    bounds: std::ops::RangeInclusive<u64>,
    default: usize,
) -> usize {
    table.int(key, bounds).and_then(|n| usize::try_from(n).ok()).unwrap_or(default)
}
