//! The counters as metric families: names, help, labels, and the sums over all shards.
//!
//! The names are those of the trunking contract, section N; dashboards rely on them.

use super::{
    AttemptResult, CallResult, Codes, ConnectionRole, Counter, Counters, Dir, DnsResult, FailoverReason,
    Gauge, Histogram, Label, Lazy, Node, Phase, Queue, Rejection, RetransmissionKind, Spread, TlsResult,
    TransactionKind, TrunkCounters, Work,
};
use crate::sip::event::{Direction, ReferReason, ReferRole, ReferStatus};
use crate::sip::flow::Transport;
use crate::sip::message::{Method, ParseErrorKind};
use crate::sip::plan::TrunkIx;
use crate::sip::resolve::QueryKind;

/// What a family counts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FamilyKind {
    /// Only grows; its name ends in `_total`.
    Counter,
    /// Comes and goes.
    Gauge,
    /// Spread over buckets.
    Histogram,
}

/// A metric family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// What it means.
    pub help: &'static str,
    /// Its kind.
    pub kind: FamilyKind,
}

/// The value of a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LabelValue {
    /// A word of a closed list.
    Word(&'static str),
    /// A trunk, by its place in the plan; `None` for what belongs to none.
    Trunk(Option<TrunkIx>),
    /// A TLS profile, by its place in the configuration.
    Profile(usize),
    /// A number from a closed range: shards, response codes.
    Number(usize),
}

/// One value of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sample<'a> {
    /// Of a counter.
    Count(u64),
    /// Of a gauge; never below zero.
    Gauge(u64),
    /// Of a histogram.
    Spread(&'a Spread),
}

/// Takes families and samples, family by family.
pub trait Sink {
    /// A family begins; the samples that follow are its.
    fn family(&mut self, family: &'static Family);

    /// One sample.
    fn sample(&mut self, labels: &[(&'static str, LabelValue)], sample: Sample<'_>);
}

const fn counter(name: &'static str, help: &'static str) -> Family {
    Family { name, help, kind: FamilyKind::Counter }
}

const fn gauge(name: &'static str, help: &'static str) -> Family {
    Family { name, help, kind: FamilyKind::Gauge }
}

const fn histogram(name: &'static str, help: &'static str) -> Family {
    Family { name, help, kind: FamilyKind::Histogram }
}

static REQUESTS: Family = counter("baton_sip_requests_total", "SIP requests, retransmissions included.");
static RESPONSES: Family = counter("baton_sip_responses_total", "SIP responses, retransmissions included.");
static RETRANSMISSIONS: Family =
    counter("baton_sip_retransmissions_total", "SIP messages that came or went once more.");
static MALFORMED: Family = counter("baton_sip_malformed_total", "SIP messages that could not be read.");
static BYTES: Family = histogram("baton_sip_message_bytes", "Size of SIP messages.");
static TRANSACTIONS: Family = gauge("baton_transactions_active", "SIP transactions kept now.");
static DIALOGS: Family = gauge("baton_dialogs_active", "SIP dialogs kept now.");
static SUBSCRIPTIONS: Family = gauge("baton_subscriptions_active", "Subscriptions kept now.");
static TIMERS: Family = gauge("baton_timers_active", "Timers running now.");
static MESSAGES: Family = counter("baton_shard_messages_total", "Messages a shard worked on.");
static HANDOFFS: Family =
    counter("baton_shard_handoffs_total", "Messages a shard handed to the shard that owns the call.");
static CALLS_ACTIVE: Family = gauge("baton_calls_active", "Calls in progress.");
static CALLS: Family = counter("baton_calls_total", "Calls answered, or ended unanswered.");
static SETUP: Family = histogram("baton_call_setup_seconds", "INVITE to answer.");
static POST_DIAL_DELAY: Family =
    histogram("baton_call_post_dial_delay_seconds", "INVITE to the first response above 100.");
static DURATION: Family = histogram("baton_call_duration_seconds", "Answer to end of a call.");
static ATTEMPTS: Family = counter("baton_attempts_total", "Ended attempts at targets of a trunk.");
static FAILOVERS: Family =
    counter("baton_failovers_total", "Times the next candidate was tried because of a trunk.");
static REJECTED: Family = counter("baton_rejected_total", "Requests refused before they went anywhere.");
static REFERS: Family = counter("baton_refer_total", "Refers that reached their final status.");
static REFERS_ACTIVE: Family = gauge("baton_refer_active", "Refers in progress.");
static REFER_SECONDS: Family = histogram("baton_refer_seconds", "REFER to its final result.");
static CONNECTIONS: Family = gauge("baton_connections_active", "Stream connections open now.");
static TLS: Family = counter("baton_tls_handshakes_total", "TLS handshakes that ended.");
static DNS_LOOKUPS: Family = counter("baton_dns_lookups_total", "Questions DNS answered.");
static DNS_SECONDS: Family = histogram("baton_dns_seconds", "Question to answer of DNS.");
static QUEUE_DEPTH: Family = gauge("baton_queue_depth", "Entries waiting in a queue.");
static QUEUE_DROPPED: Family = counter("baton_queue_dropped_total", "Entries a full queue did not take.");
static PROCESSING: Family = histogram("baton_processing_seconds", "What Baton itself needed for a message.");

/// What was counted on the shards' behalf elsewhere, to be added to their families.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outside {
    /// Messages handed over, by shard.
    pub handoffs: Vec<u64>,
    /// Entries waiting, by queue.
    pub queue_depth: Vec<(Queue, u64)>,
    /// Entries a full queue did not take, by queue.
    pub queue_dropped: Vec<(Queue, u64)>,
}

/// Tells `sink` everything the shards counted, added up; what never happened is left out where a
/// label set is large.
pub fn visit(shards: &[&Counters], outside: &Outside, sink: &mut dyn Sink) {
    let view = View { shards, outside };
    messages(&view, sink);
    tables(&view, sink);
    calls(&view, sink);
    refers(&view, sink);
    surroundings(&view, sink);
}

/// All shards as one.
struct View<'a> {
    shards: &'a [&'a Counters],
    outside: &'a Outside,
}

impl<'a> View<'a> {
    fn count(&self, cell: impl Fn(&'a Node) -> &'a Counter) -> Sample<'static> {
        Sample::Count(self.shards.iter().map(|s| cell(&s.node).value()).sum())
    }

    fn gauge(&self, cell: impl Fn(&'a Node) -> &'a Gauge) -> Sample<'static> {
        clamped(self.shards.iter().map(|s| cell(&s.node).value()).sum())
    }

    fn spread(&self, cell: impl Fn(&'a Node) -> Option<&'a Histogram>) -> Option<Spread> {
        added(self.shards.iter().filter_map(|s| cell(&s.node)))
    }

    /// The trunks that were ever seen, each with its blocks of all shards.
    fn trunks(&self) -> impl Iterator<Item = (LabelValue, Blocks<'a>)> {
        let places = self.shards.iter().map(|s| s.trunks.len()).max().unwrap_or(0);
        (0..places).filter_map(|place| {
            let seen = |s: &&'a Counters| s.trunks.get(place).and_then(Lazy::seen);
            let blocks: Vec<_> = self.shards.iter().filter_map(seen).collect();
            let ix = place.checked_sub(1).and_then(|ix| u16::try_from(ix).ok()).map(TrunkIx);
            (!blocks.is_empty()).then_some((LabelValue::Trunk(ix), Blocks(blocks)))
        })
    }
}

/// One trunk's blocks of all shards.
struct Blocks<'a>(Vec<&'a TrunkCounters>);

impl<'a> Blocks<'a> {
    fn count(&self, cell: impl Fn(&'a TrunkCounters) -> u64) -> u64 {
        self.0.iter().map(|block| cell(block)).sum()
    }

    fn gauge(&self, cell: impl Fn(&'a TrunkCounters) -> &'a Gauge) -> Sample<'static> {
        clamped(self.0.iter().map(|block| cell(block).value()).sum())
    }

    fn spread(&self, cell: impl Fn(&'a TrunkCounters) -> Option<&'a Histogram>) -> Option<Spread> {
        added(self.0.iter().filter_map(|block| cell(block)))
    }
}

/// A gauge as it is shown (T-136): never below zero, even while its parts are read one by one.
fn clamped(sum: i64) -> Sample<'static> {
    Sample::Gauge(u64::try_from(sum).unwrap_or(0))
}

fn added<'a>(mut histograms: impl Iterator<Item = &'a Histogram>) -> Option<Spread> {
    let first = histograms.next()?;
    let mut spread = Spread::new(first.bounds());
    first.add_to(&mut spread);
    for histogram in histograms {
        histogram.add_to(&mut spread);
    }
    Some(spread)
}

fn word(label: impl Label) -> LabelValue {
    LabelValue::Word(label.name())
}

fn messages(view: &View<'_>, sink: &mut dyn Sink) {
    sink.family(&REQUESTS);
    for (trunk, blocks) in view.trunks() {
        for &dir in Dir::ALL {
            for method in Method::ALL {
                for transport in Transport::ALL {
                    let n =
                        blocks.count(|b| b.requests[dir.index()][method.index()][transport as usize].value());
                    let labels = [
                        ("direction", word(dir)),
                        ("method", word(method)),
                        ("transport", LabelValue::Word(transport.param())),
                        ("trunk", trunk),
                    ];
                    counted(sink, &labels, n);
                }
            }
        }
    }
    sink.family(&RESPONSES);
    for (trunk, blocks) in view.trunks() {
        for &dir in Dir::ALL {
            for method in Method::ALL {
                let codes = blocks.0.iter();
                let codes: Vec<_> =
                    codes.filter_map(|b| b.responses[dir.index()][method.index()].seen()).collect();
                responses(sink, &codes, dir, method, trunk);
            }
        }
    }
    sink.family(&RETRANSMISSIONS);
    for &dir in Dir::ALL {
        for &kind in RetransmissionKind::ALL {
            let labels = [("direction", word(dir)), ("kind", word(kind))];
            let n = view.count(|c| &c.retransmissions[dir.index()][kind.index()]);
            sink.sample(&labels, n);
        }
    }
    sink.family(&MALFORMED);
    for transport in Transport::ALL {
        for &reason in ParseErrorKind::ALL {
            let n = view.count(|c| &c.malformed[transport as usize][reason.index()]);
            if n != Sample::Count(0) {
                let transport = LabelValue::Word(transport.param());
                sink.sample(&[("transport", transport), ("reason", word(reason))], n);
            }
        }
    }
    sink.family(&BYTES);
    for &dir in Dir::ALL {
        spread(sink, &[("direction", word(dir))], view.spread(|c| Some(&c.bytes[dir.index()])));
    }
}

fn responses(sink: &mut dyn Sink, rows: &[&Codes], dir: Dir, method: Method, trunk: LabelValue) {
    let mut sample = |code: LabelValue, n: u64| {
        let labels = [("direction", word(dir)), ("method", word(method)), ("code", code), ("trunk", trunk)];
        counted(sink, &labels, n);
    };
    for hundred in 0..6 {
        let seen: Vec<_> = rows.iter().filter_map(|row| row.hundreds[hundred].seen()).collect();
        if seen.is_empty() {
            continue;
        }
        for rest in 0..100 {
            let n = seen.iter().map(|codes| codes.0[rest].value()).sum();
            sample(LabelValue::Number((hundred + 1) * 100 + rest), n);
        }
    }
    sample(LabelValue::Word("other"), rows.iter().map(|row| row.other.value()).sum());
}

fn tables(view: &View<'_>, sink: &mut dyn Sink) {
    sink.family(&TRANSACTIONS);
    for &kind in TransactionKind::ALL {
        sink.sample(&[("kind", word(kind))], view.gauge(|c| &c.transactions[kind.index()]));
    }
    sink.family(&DIALOGS);
    sink.sample(&[], view.gauge(|c| &c.dialogs));
    sink.family(&SUBSCRIPTIONS);
    sink.sample(&[], view.gauge(|c| &c.subscriptions));
    sink.family(&TIMERS);
    sink.sample(&[], view.gauge(|c| &c.timers));
    sink.family(&MESSAGES);
    for (number, shard) in view.shards.iter().enumerate() {
        let n = Sample::Count(shard.node.messages.value());
        sink.sample(&[("shard", LabelValue::Number(number))], n);
    }
    sink.family(&HANDOFFS);
    for (number, shard) in view.shards.iter().enumerate() {
        let outside = view.outside.handoffs.get(number).copied().unwrap_or(0);
        let n = Sample::Count(shard.node.handoffs.value().wrapping_add(outside));
        sink.sample(&[("shard", LabelValue::Number(number))], n);
    }
}

fn calls(view: &View<'_>, sink: &mut dyn Sink) {
    sink.family(&CALLS_ACTIVE);
    for (trunk, blocks) in view.trunks() {
        for &direction in Direction::ALL {
            let d = direction.index();
            let ever = blocks.count(|b| b.calls[d].iter().map(Counter::value).sum());
            let phases = Phase::ALL.iter().map(|p| (*p, blocks.gauge(|b| &b.calls_active[d][p.index()])));
            for (phase, now) in phases {
                if ever > 0 || now != Sample::Gauge(0) {
                    let labels = [("trunk", trunk), ("direction", word(direction)), ("phase", word(phase))];
                    sink.sample(&labels, now);
                }
            }
        }
    }
    sink.family(&CALLS);
    for (trunk, blocks) in view.trunks() {
        for &direction in Direction::ALL {
            for &result in CallResult::ALL {
                let n = blocks.count(|b| b.calls[direction.index()][result.index()].value());
                let labels = [("trunk", trunk), ("direction", word(direction)), ("result", word(result))];
                counted(sink, &labels, n);
            }
        }
    }
    sink.family(&SETUP);
    for (trunk, blocks) in view.trunks() {
        let total = blocks.spread(|b| b.setup.seen().map(|s| &s.0));
        spread(sink, &[("trunk", trunk)], total);
    }
    sink.family(&POST_DIAL_DELAY);
    for (trunk, blocks) in view.trunks() {
        let total = blocks.spread(|b| b.post_dial_delay.seen().map(|s| &s.0));
        spread(sink, &[("trunk", trunk)], total);
    }
    sink.family(&DURATION);
    for (trunk, blocks) in view.trunks() {
        let total = blocks.spread(|b| b.duration.seen().map(|s| &s.0));
        spread(sink, &[("trunk", trunk)], total);
    }
    sink.family(&ATTEMPTS);
    for (trunk, blocks) in view.trunks() {
        for &result in AttemptResult::ALL {
            let n = blocks.count(|b| b.attempts[result.index()].value());
            counted(sink, &[("trunk", trunk), ("result", word(result))], n);
        }
    }
    sink.family(&FAILOVERS);
    for (trunk, blocks) in view.trunks() {
        for &reason in FailoverReason::ALL {
            let n = blocks.count(|b| b.failovers[reason.index()].value());
            counted(sink, &[("trunk", trunk), ("reason", word(reason))], n);
        }
    }
    sink.family(&REJECTED);
    for (trunk, blocks) in view.trunks() {
        for &reason in Rejection::ALL {
            let n = blocks.count(|b| b.rejected[reason.index()].value());
            counted(sink, &[("trunk", trunk), ("reason", word(reason))], n);
        }
    }
}

fn refers(view: &View<'_>, sink: &mut dyn Sink) {
    sink.family(&REFERS);
    for (trunk, blocks) in view.trunks() {
        for &role in ReferRole::ALL {
            for &status in ReferStatus::ALL {
                for reason in 0..=ReferReason::ALL.len() {
                    let n = blocks.count(|b| {
                        let refers = b.refers.seen();
                        refers.map_or(0, |r| r.0[role.index()][status.index()][reason].value())
                    });
                    let reason = reason.checked_sub(1).and_then(|r| ReferReason::ALL.get(r));
                    let labels = [
                        ("trunk", trunk),
                        ("role", word(role)),
                        ("result", word(status)),
                        ("reason", LabelValue::Word(reason.map_or("", |r| r.name()))),
                    ];
                    counted(sink, &labels, n);
                }
            }
        }
    }
    sink.family(&REFERS_ACTIVE);
    for (trunk, blocks) in view.trunks() {
        for &role in ReferRole::ALL {
            let ever = blocks.count(|b| {
                let refers = b.refers.seen();
                refers.map_or(0, |r| r.0[role.index()].iter().flatten().map(Counter::value).sum())
            });
            let now = blocks.gauge(|b| &b.refers_active[role.index()]);
            if ever > 0 || now != Sample::Gauge(0) {
                sink.sample(&[("trunk", trunk), ("role", word(role))], now);
            }
        }
    }
    sink.family(&REFER_SECONDS);
    for &role in ReferRole::ALL {
        for &status in ReferStatus::ALL {
            let total = view.spread(|c| c.refer_seconds[role.index()][status.index()].seen().map(|s| &s.0));
            spread(sink, &[("role", word(role)), ("result", word(status))], total);
        }
    }
}

fn surroundings(view: &View<'_>, sink: &mut dyn Sink) {
    sink.family(&CONNECTIONS);
    for transport in Transport::ALL.into_iter().filter(|t| t.is_reliable()) {
        for &role in ConnectionRole::ALL {
            let labels = [("transport", LabelValue::Word(transport.param())), ("role", word(role))];
            let now = view.gauge(|c| &c.connections[transport as usize][role.index()]);
            sink.sample(&labels, now);
        }
    }
    sink.family(&TLS);
    for profile in 0..super::PROFILES {
        for &role in ConnectionRole::ALL {
            for &result in TlsResult::ALL {
                let n = view.count(|c| &c.tls[profile][role.index()][result.index()]);
                let labels = [
                    ("profile", LabelValue::Profile(profile)),
                    ("role", word(role)),
                    ("result", word(result)),
                ];
                if n != Sample::Count(0) {
                    sink.sample(&labels, n);
                }
            }
        }
    }
    let questions = || {
        let kinds = QueryKind::ALL.iter();
        kinds.flat_map(|&kind| DnsResult::ALL.iter().map(move |&result| (kind, result)))
    };
    sink.family(&DNS_LOOKUPS);
    for (kind, result) in questions() {
        let n = view.count(|c| &c.dns[kind.index()][result.index()]);
        sink.sample(&[("type", word(kind)), ("result", word(result))], n);
    }
    sink.family(&DNS_SECONDS);
    for (kind, result) in questions() {
        let total = view.spread(|c| Some(&c.dns_seconds[kind.index()][result.index()]));
        spread(sink, &[("type", word(kind)), ("result", word(result))], total);
    }
    let outside = |list: &[(Queue, u64)], queue: Queue| -> u64 {
        list.iter().filter(|(of, _)| *of == queue).map(|(_, n)| *n).sum()
    };
    sink.family(&QUEUE_DEPTH);
    for &queue in Queue::ALL {
        let waiting: i64 = view.shards.iter().map(|s| s.node.queue_depth[queue.index()].value()).sum();
        let waiting = u64::try_from(waiting).unwrap_or(0);
        let waiting = waiting.wrapping_add(outside(&view.outside.queue_depth, queue));
        sink.sample(&[("queue", word(queue))], Sample::Gauge(waiting));
    }
    sink.family(&QUEUE_DROPPED);
    for &queue in Queue::ALL {
        let dropped = view.shards.iter().map(|s| s.node.queue_dropped[queue.index()].value());
        let dropped = dropped.sum::<u64>().wrapping_add(outside(&view.outside.queue_dropped, queue));
        sink.sample(&[("queue", word(queue))], Sample::Count(dropped));
    }
    sink.family(&PROCESSING);
    for &kind in Work::ALL {
        let total = view.spread(|c| Some(&c.processing[kind.index()]));
        spread(sink, &[("kind", word(kind))], total);
    }
}

/// A counter of a large label set: shown once something was counted.
fn counted(sink: &mut dyn Sink, labels: &[(&'static str, LabelValue)], n: u64) {
    if n > 0 {
        sink.sample(labels, Sample::Count(n));
    }
}

fn spread(sink: &mut dyn Sink, labels: &[(&'static str, LabelValue)], total: Option<Spread>) {
    if let Some(total) = total {
        sink.sample(labels, Sample::Spread(&total));
    }
}
