//! What a shard counts: single-writer counters, read by the control plane when it is scraped.
//!
//! A shard counts on every message's way, so a count must cost next to nothing: the shard is the
//! only writer of its [`Counters`], and a count is a plain load, add and store. What belongs to a
//! trunk lives in a block that is made when the trunk is first seen. [`visit`] adds the shards up.

mod cell;
mod label;
mod visit;

pub use cell::{Bounds, Counter, Gauge, Histogram, Lazy, Spread};
pub use label::{
    AttemptResult, CallResult, ConnectionRole, Dir, DnsResult, FailoverReason, Label, Phase, Queue,
    Rejection, RetransmissionKind, TlsResult, TransactionKind, Work,
};
pub use visit::{Family, FamilyKind, LabelValue, Outside, Sample, Sink, visit};

use crate::sip::event::{Direction, ReferReason, ReferRole, ReferStatus};
use crate::sip::flow::Transport;
use crate::sip::message::{Method, ParseErrorKind};
use crate::sip::plan::TrunkIx;
use crate::sip::resolve::QueryKind;
use std::time::Duration;

const DIRS: usize = 2;
const METHODS: usize = Method::COUNT;
const TRANSPORTS: usize = Transport::ALL.len();
const MALFORMED: usize = ParseErrorKind::COUNT;
const REJECTIONS: usize = 17;
const DIRECTIONS: usize = 3;
const ROLES: usize = 3;
const STATUSES: usize = 6;
/// One more than there are reasons: a Refer that went well has none.
const REASONS: usize = 13;
/// TLS profiles told apart; the last place holds all others.
const PROFILES: usize = 33;

/// Message sizes in bytes; 1,300 is where a request leaves UDP by default (C-048).
const BYTES: Bounds = Bounds {
    upper: &[256, 512, 1_024, 1_300, 1_500, 2_048, 4_096, 8_192, 16_384, 32_768, 65_535],
    per_unit: 1,
};
/// Call set-up and post-dial delay, in microseconds.
const SETUP: Bounds = Bounds {
    upper: &[
        50_000,
        100_000,
        250_000,
        500_000,
        1_000_000,
        2_000_000,
        3_000_000,
        5_000_000,
        8_000_000,
        12_000_000,
        20_000_000,
        30_000_000,
        60_000_000,
        120_000_000,
        180_000_000,
    ],
    per_unit: 1_000_000,
};
/// Call durations, in microseconds.
const DURATION: Bounds = Bounds {
    upper: &[
        1_000_000,
        5_000_000,
        10_000_000,
        30_000_000,
        60_000_000,
        120_000_000,
        180_000_000,
        300_000_000,
        600_000_000,
        1_200_000_000,
        1_800_000_000,
        3_600_000_000,
        7_200_000_000,
        14_400_000_000,
    ],
    per_unit: 1_000_000,
};
/// What Baton itself needs for a message, in microseconds.
const PROCESSING: Bounds = Bounds {
    upper: &[5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 500_000],
    per_unit: 1_000_000,
};
/// What DNS needs for an answer, in microseconds.
const DNS: Bounds = Bounds {
    upper: &[
        1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000,
        5_000_000, 10_000_000,
    ],
    per_unit: 1_000_000,
};

/// The counters of one shard. Only the shard that owns them calls what counts; anyone may read.
#[derive(Debug)]
pub struct Counters {
    node: Node,
    /// The first place is for what belongs to no trunk, then they go by [`TrunkIx`].
    trunks: Box<[Lazy<TrunkCounters>]>,
}

/// What is not counted by trunk.
#[derive(Debug)]
struct Node {
    messages: Counter,
    handoffs: Counter,
    retransmissions: [[Counter; 2]; DIRS],
    malformed: [[Counter; MALFORMED]; TRANSPORTS],
    bytes: [Histogram; DIRS],
    transactions: [Gauge; 4],
    dialogs: Gauge,
    subscriptions: Gauge,
    timers: Gauge,
    refer_seconds: [[Lazy<Seconds>; STATUSES]; ROLES],
    dns: [[Counter; 3]; 3],
    dns_seconds: [[Histogram; 3]; 3],
    connections: [[Gauge; 2]; TRANSPORTS],
    tls: Box<[[[Counter; 3]; 2]; PROFILES]>,
    queue_depth: [Gauge; 6],
    queue_dropped: [Counter; 6],
    processing: [Histogram; 2],
}

/// What is counted by trunk.
#[derive(Debug, Default)]
struct TrunkCounters {
    requests: [[[Counter; TRANSPORTS]; METHODS]; DIRS],
    responses: [[Lazy<Codes>; METHODS]; DIRS],
    rejected: [Counter; REJECTIONS],
    attempts: [Counter; 7],
    failovers: [Counter; 5],
    calls_active: [[Gauge; 2]; DIRECTIONS],
    calls: [[Counter; 6]; DIRECTIONS],
    setup: Lazy<Setup>,
    post_dial_delay: Lazy<Setup>,
    duration: Lazy<Seconds>,
    refers_active: [Gauge; ROLES],
    refers: Lazy<Refers>,
}

/// Response codes 100 to 699 by hundred, each hundred made when first seen; the rest is one.
#[derive(Debug, Default)]
struct Codes {
    hundreds: [Lazy<Hundred>; 6],
    other: Counter,
}

#[derive(Debug)]
struct Hundred([Counter; 100]);

#[derive(Debug)]
struct Seconds(Histogram);

#[derive(Debug)]
struct Setup(Histogram);

#[derive(Debug, Default)]
struct Refers([[[Counter; REASONS]; STATUSES]; ROLES]);

impl Counters {
    /// Counters for a plan with this many trunks; a trunk beyond counts as none.
    pub fn new(trunks: usize) -> Counters {
        Counters {
            node: Node::new(),
            trunks: std::iter::repeat_with(Lazy::default).take(trunks.saturating_add(1)).collect(),
        }
    }

    #[inline]
    fn trunk(&self, trunk: Option<TrunkIx>) -> Option<&TrunkCounters> {
        let place = trunk.map_or(0, |ix| usize::from(ix.0) + 1);
        self.trunks.get(place).or_else(|| self.trunks.first()).map(Lazy::touch)
    }

    /// A message was taken in by this shard, wherever it came from.
    #[inline]
    pub fn message(&self) {
        self.node.messages.add(1);
    }

    /// A message that arrived here went to the shard that owns its call.
    #[inline]
    pub fn handoff(&self) {
        self.node.handoffs.add(1);
    }

    /// A request came or went; retransmissions count too.
    #[inline]
    pub fn request(&self, dir: Dir, method: Method, transport: Transport, trunk: Option<TrunkIx>) {
        if let Some(trunk) = self.trunk(trunk) {
            trunk.requests[dir.index()][method.index()][transport as usize].add(1);
        }
    }

    /// A response came or went; `method` is the one of its CSeq.
    #[inline]
    pub fn response(&self, dir: Dir, method: Method, code: u16, trunk: Option<TrunkIx>) {
        let Some(trunk) = self.trunk(trunk) else { return };
        let codes = trunk.responses[dir.index()][method.index()].touch();
        match code {
            100..=699 => {
                let (hundred, rest) = (usize::from(code / 100) - 1, usize::from(code % 100));
                codes.hundreds[hundred].touch().0[rest].add(1);
            }
            _ => codes.other.add(1),
        }
    }

    /// A message was sent, or came, once more.
    #[inline]
    pub fn retransmission(&self, dir: Dir, kind: RetransmissionKind) {
        self.node.retransmissions[dir.index()][kind.index()].add(1);
    }

    /// Something that came could not be read.
    pub fn malformed(&self, transport: Transport, reason: ParseErrorKind) {
        self.node.malformed[transport as usize][reason.index()].add(1);
    }

    /// The size of a message.
    #[inline]
    pub fn bytes(&self, dir: Dir, bytes: usize) {
        self.node.bytes[dir.index()].observe(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    /// How many transactions of a kind there are now.
    pub fn set_transactions(&self, kind: TransactionKind, now: usize) {
        self.node.transactions[kind.index()].set(now);
    }

    /// How many dialogs are known now.
    pub fn set_dialogs(&self, now: usize) {
        self.node.dialogs.set(now);
    }

    /// How many subscriptions are known now.
    pub fn set_subscriptions(&self, now: usize) {
        self.node.subscriptions.set(now);
    }

    /// How many timers run now.
    pub fn set_timers(&self, now: usize) {
        self.node.timers.set(now);
    }

    /// A request was refused before it went anywhere.
    pub fn rejected(&self, trunk: Option<TrunkIx>, why: Rejection) {
        if let Some(trunk) = self.trunk(trunk) {
            trunk.rejected[why.index()].add(1);
        }
    }

    /// An attempt at a target of a trunk ended.
    pub fn attempt(&self, trunk: Option<TrunkIx>, result: AttemptResult) {
        if let Some(trunk) = self.trunk(trunk) {
            trunk.attempts[result.index()].add(1);
        }
    }

    /// A call went on to the next candidate because of this trunk.
    pub fn failover(&self, trunk: Option<TrunkIx>, why: FailoverReason) {
        if let Some(trunk) = self.trunk(trunk) {
            trunk.failovers[why.index()].add(1);
        }
    }

    /// Calls entered (`delta` 1) or left (-1) a phase.
    pub fn call_phase(&self, trunk: Option<TrunkIx>, direction: Direction, phase: Phase, delta: i64) {
        if let Some(trunk) = self.trunk(trunk) {
            trunk.calls_active[direction.index()][phase.index()].add(delta);
        }
    }

    /// A call was answered, or ended without.
    pub fn call_result(&self, trunk: Option<TrunkIx>, direction: Direction, result: CallResult) {
        if let Some(trunk) = self.trunk(trunk) {
            trunk.calls[direction.index()][result.index()].add(1);
        }
    }

    /// INVITE to answer.
    pub fn call_setup(&self, trunk: Option<TrunkIx>, took: Duration) {
        if let Some(trunk) = self.trunk(trunk) {
            trunk.setup.touch().0.observe_duration(took);
        }
    }

    /// INVITE to the first response above 100.
    pub fn post_dial_delay(&self, trunk: Option<TrunkIx>, took: Duration) {
        if let Some(trunk) = self.trunk(trunk) {
            trunk.post_dial_delay.touch().0.observe_duration(took);
        }
    }

    /// Answer to end.
    pub fn call_duration(&self, trunk: Option<TrunkIx>, took: Duration) {
        if let Some(trunk) = self.trunk(trunk) {
            trunk.duration.touch().0.observe_duration(took);
        }
    }

    /// Refers began (`delta` 1) or ended (-1).
    pub fn refer_active(&self, trunk: Option<TrunkIx>, role: ReferRole, delta: i64) {
        if let Some(trunk) = self.trunk(trunk) {
            trunk.refers_active[role.index()].add(delta);
        }
    }

    /// A Refer ended.
    pub fn refer(
        &self,
        trunk: Option<TrunkIx>,
        role: ReferRole,
        status: ReferStatus,
        reason: Option<ReferReason>,
    ) {
        if let Some(trunk) = self.trunk(trunk) {
            let reason = reason.map_or(0, |reason| reason.index() + 1);
            trunk.refers.touch().0[role.index()][status.index()][reason].add(1);
        }
    }

    /// REFER to final result.
    pub fn refer_seconds(&self, role: ReferRole, status: ReferStatus, took: Duration) {
        self.node.refer_seconds[role.index()][status.index()].touch().0.observe_duration(took);
    }

    /// DNS answered a question.
    pub fn dns(&self, kind: QueryKind, result: impl Into<DnsResult>, took: Duration) {
        let result = result.into();
        self.node.dns[kind.index()][result.index()].add(1);
        self.node.dns_seconds[kind.index()][result.index()].observe_duration(took);
    }

    /// Connections were opened (`delta` 1) or closed (-1).
    pub fn connection(&self, transport: Transport, role: ConnectionRole, delta: i64) {
        self.node.connections[transport as usize][role.index()].add(delta);
    }

    /// A TLS handshake ended; `profile` is the place of the profile in the configuration.
    pub fn tls_handshake(&self, profile: usize, role: ConnectionRole, result: TlsResult) {
        self.node.tls[profile.min(PROFILES - 1)][role.index()][result.index()].add(1);
    }

    /// How much waits in a queue now.
    pub fn set_queue_depth(&self, queue: Queue, now: usize) {
        self.node.queue_depth[queue.index()].set(now);
    }

    /// A queue was full, and this many went.
    pub fn queue_dropped(&self, queue: Queue, n: u64) {
        self.node.queue_dropped[queue.index()].add(n);
    }

    /// What Baton itself needed for a message.
    #[inline]
    pub fn processing(&self, kind: Work, took: Duration) {
        self.node.processing[kind.index()].observe_duration(took);
    }
}

impl Node {
    fn new() -> Node {
        let dns = || Histogram::new(&DNS);
        Node {
            messages: Counter::default(),
            handoffs: Counter::default(),
            retransmissions: Default::default(),
            malformed: std::array::from_fn(|_| std::array::from_fn(|_| Counter::default())),
            bytes: [Histogram::new(&BYTES), Histogram::new(&BYTES)],
            transactions: Default::default(),
            dialogs: Gauge::default(),
            subscriptions: Gauge::default(),
            timers: Gauge::default(),
            refer_seconds: Default::default(),
            dns: Default::default(),
            dns_seconds: std::array::from_fn(|_| std::array::from_fn(|_| dns())),
            connections: Default::default(),
            tls: Box::new(std::array::from_fn(|_| Default::default())),
            queue_depth: Default::default(),
            queue_dropped: Default::default(),
            processing: [Histogram::new(&PROCESSING), Histogram::new(&PROCESSING)],
        }
    }
}

impl Default for Hundred {
    fn default() -> Hundred {
        Hundred(std::array::from_fn(|_| Counter::default()))
    }
}

impl Default for Seconds {
    fn default() -> Seconds {
        Seconds(Histogram::new(&DURATION))
    }
}

impl Default for Setup {
    fn default() -> Setup {
        Setup(Histogram::new(&SETUP))
    }
}

#[cfg(test)]
pub(in crate::shard) mod tests;
