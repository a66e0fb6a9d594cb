//! Transactions: what makes a request and its responses one exchange over a network that loses,
//! repeats and reorders (RFC 3261 §17, RFC 6026, RFC 4320).
//!
//! On a message's way this stands between the index and the decision: a request comes in through
//! [`Transactions::receive_request`] and is `New` once only; what the user (the proxy, later a
//! dialog) answers goes out through [`Transactions::respond`]. A request goes out through
//! [`Transactions::start_client`], and [`Transactions::receive_response`] tells whose response came.
//! Everything to be done in between (sending again, giving up, forgetting) comes from one wheel by
//! [`Transactions::expire`]; the user keeps its own timers there too.
//!
//! ```text
//!  request ──► serving ──► invite_server | server ──┐
//!                                                   ├──► Actions ──► Effects, wheel
//! response ──► calling ──► invite_client | client ──┘
//! ```
//!
//! The four machines are pure functions from (state, event) to (state, actions). What lingers after
//! the final response is small, because at a thousand calls a second a hundred thousand transactions
//! linger: a client then holds nothing at all, an INVITE server nothing, a server its last response.

mod effect;

mod branch;
mod key;

pub mod client;
pub mod invite_client;
pub mod invite_server;
pub mod server;

mod action;
mod calling;
mod serving;

pub use action::{Action, Actions};
pub use branch::branch_suffix;
pub use effect::{Effect, Effects};

use crate::shard::SendTag;
use crate::shard::counters::{Counters, Dir, RetransmissionKind, TransactionKind};
use crate::sip::plan::Timings;
use crate::sip::pool::Pool;
use crate::sip::time::Time;
use crate::sip::timer::{TimerId, WAITS_END, Wheel};
use calling::{Client, Outgoing};
use hashbrown::HashTable;
use key::Keyring;
use serving::Server;

/// A transaction or owner that does not exist.
pub const NONE: u32 = u32::MAX;

/// A server transaction; of no use once it has ended, and harmless then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServerId {
    slot: u32,
    generation: u32,
}

/// A client transaction; of no use once it has ended, and harmless then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientId {
    slot: u32,
    generation: u32,
}

/// What a request that came turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// A request not seen before.
    New(ServerId),
    /// A request seen before, or the ACK to a non-2xx: dealt with (C-081).
    Absorbed,
    /// An ACK that is not for a transaction: the user's, to be passed on without state (C-111).
    Ack2xx,
    /// There is no room for another transaction.
    Full,
}

/// How many transactions of each kind there are now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Active {
    /// RFC 3261 §17.1.1.
    pub invite_clients: usize,
    /// RFC 3261 §17.2.1.
    pub invite_servers: usize,
    /// RFC 3261 §17.1.2.
    pub clients: usize,
    /// RFC 3261 §17.2.2.
    pub servers: usize,
}

/// How much was sent or came more than once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repeats {
    /// Requests and ACKs sent again.
    pub requests_out: u64,
    /// Responses sent again.
    pub responses_out: u64,
    /// Requests that came again.
    pub requests_in: u64,
    /// Final responses that came again and were absorbed.
    pub responses_in: u64,
}

/// What the wheel remembers.
#[derive(Clone, Copy, Debug)]
enum TimerKey {
    Server(u32),
    Client(u32),
    Tu(u64),
}

/// The transactions of one shard.
#[derive(Debug)]
pub struct Transactions {
    timings: Timings,
    capacity: usize,
    keyring: Keyring,
    servers: Pool<Server>,
    /// Server transactions by key; the keys stand in the pool.
    index: HashTable<u32>,
    clients: Pool<Client>,
    /// What clients hold that are not done yet.
    outgoing: Pool<Outgoing>,
    wheel: Wheel<TimerKey>,
    /// The latest moment heard of.
    now: Time,
    generation: u32,
    active: Active,
    repeats: Repeats,
    shown: Repeats,
}

impl Transactions {
    /// An empty table. `secret` keys the hash of what peers choose; `capacity` bounds both sides
    /// together: see [`Transactions::receive_request`] and [`Transactions::reserve_client`].
    pub fn new(secret: [u8; 16], timings: Timings, capacity: usize) -> Transactions {
        Transactions {
            timings,
            capacity,
            keyring: Keyring::new(&secret),
            servers: Pool::new(),
            index: HashTable::new(),
            clients: Pool::new(),
            outgoing: Pool::new(),
            wheel: Wheel::new(),
            now: Time::ZERO,
            generation: 0,
            active: Active::default(),
            repeats: Repeats::default(),
            shown: Repeats::default(),
        }
    }

    /// Takes over new base values and bounds; timers that run keep theirs.
    pub fn configure(&mut self, timings: Timings, capacity: usize) {
        self.timings = timings;
        self.capacity = capacity;
    }

    /// Transactions of both sides, reserved ones included; zero when the last timer has fired (C-087).
    pub const fn len(&self) -> usize {
        self.servers.len() + self.clients.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Timers that run, the user's included.
    pub const fn timers(&self) -> usize {
        self.wheel.len()
    }

    /// Transactions by kind.
    pub const fn active(&self) -> Active {
        self.active
    }

    /// Retransmissions since the start.
    pub const fn repeats(&self) -> Repeats {
        self.repeats
    }

    /// Brings the shard's counters up to date.
    pub fn show(&mut self, counters: &Counters) {
        let Active { invite_clients, invite_servers, clients, servers } = self.active;
        counters.set_transactions(TransactionKind::InviteClient, invite_clients);
        counters.set_transactions(TransactionKind::InviteServer, invite_servers);
        counters.set_transactions(TransactionKind::Client, clients);
        counters.set_transactions(TransactionKind::Server, servers);
        counters.set_timers(self.wheel.len());
        if self.shown == self.repeats {
            return;
        }
        let (old, new) = (self.shown, self.repeats);
        for (dir, kind, from, to) in [
            (Dir::Out, RetransmissionKind::Request, old.requests_out, new.requests_out),
            (Dir::Out, RetransmissionKind::Response, old.responses_out, new.responses_out),
            (Dir::In, RetransmissionKind::Request, old.requests_in, new.requests_in),
            (Dir::In, RetransmissionKind::Response, old.responses_in, new.responses_in),
        ] {
            for _ in from..to {
                counters.retransmission(dir, kind);
            }
        }
        self.shown = new;
    }

    /// When [`Transactions::expire`] must be called next, at the latest.
    pub fn next_deadline(&self) -> Option<Time> {
        self.wheel.next_deadline()
    }

    /// Fires one timer that is due; false when there was none. Call it until then, carrying out the
    /// effects in between: so a timer that they cancel does not fire.
    pub fn expire(&mut self, now: Time, fx: &mut Effects) -> bool {
        self.now = now;
        match self.wheel.pop(now) {
            None => return false,
            Some(TimerKey::Tu(key)) => fx.push(Effect::TuTimer(key)),
            Some(TimerKey::Server(slot)) => self.server_timer(slot, fx),
            Some(TimerKey::Client(slot)) => self.client_timer(slot, fx),
        }
        true
    }

    /// Sets a timer of the user's; it comes back as [`Effect::TuTimer`].
    pub fn set_tu_timer(&mut self, now: Time, at: Time, key: u64) -> TimerId {
        // There may have been no transaction yet, nor for a long time.
        self.wheel.insert(now, at, TimerKey::Tu(key))
    }

    /// Takes back a timer of the user's.
    pub fn cancel_timer(&mut self, timer: TimerId) {
        self.wheel.cancel(timer);
    }

    /// A message could not be sent (C-064). Tags that are not of this table are passed over.
    pub fn send_failed(&mut self, now: Time, tag: SendTag, fx: &mut Effects) {
        self.now = now;
        if let Some(id) = client_of(tag) {
            self.client_unsent(id, fx);
        }
    }

    /// The connection that a message left by is gone. A request that nobody has said a word about counts
    /// as not sent (RFC 3261 §8.1.3.1, §18.4); one that was answered, if only by a provisional, did arrive,
    /// and its final can come by another connection (§18.2.2).
    pub fn connection_lost(&mut self, now: Time, tag: SendTag, fx: &mut Effects) {
        self.now = now;
        if let Some(id) = client_of(tag)
            && self.is_unanswered(id)
        {
            self.client_unsent(id, fx);
        }
    }

    fn next_generation(&mut self) -> u32 {
        self.generation = self.generation.wrapping_add(1);
        self.generation
    }
}

/// The two timers of a transaction: one that may repeat and one that ends the state. The wheel knows
/// the earlier of them only; there is never a repetition to come behind the end.
#[derive(Clone, Copy, Debug)]
struct Alarm {
    /// The wheel's entry.
    timer: TimerId,
    /// When the state ends; `Time::ZERO` when no timer ends it.
    end: Time,
}

/// What one step does to an [`Alarm`].
#[derive(Clone, Copy, Debug, Default)]
struct Reset {
    touched: bool,
    again: Option<Time>,
}

impl Alarm {
    const NONE: Alarm = Alarm { timer: TimerId::NONE, end: Time::ZERO };

    /// The wheel's entry has fired: whether that is the end.
    fn fired(&mut self, now: Time) -> bool {
        self.timer = TimerId::NONE;
        self.end != Time::ZERO && self.end <= now
    }

    /// Notes what an action does to the timers.
    fn note(&mut self, reset: &mut Reset, action: Action, now: Time, timings: &Timings, reliable: bool) {
        match action {
            Action::Repeat(timer, nth) => {
                *reset = Reset { touched: true, again: Some(now + timer.after(nth, timings, reliable)) };
            }
            Action::Until(timer) => {
                *reset = Reset { touched: true, again: None };
                let span = timer.after(0, timings, reliable);
                // On streams there is nothing to wait for.
                let waits = timer.only_waits() && !span.is_zero();
                self.end = if waits { (now + span).rounded_up(WAITS_END) } else { now + span };
            }
            Action::Still => {
                *reset = Reset { touched: true, again: None };
                self.end = Time::ZERO;
            }
            Action::Send
            | Action::Acknowledge
            | Action::Cancel
            | Action::Trying
            | Action::Respond
            | Action::Relay
            | Action::Forget
            | Action::Pass
            | Action::TimedOut
            | Action::Failed
            | Action::End => {}
        }
    }

    /// Brings the wheel in line after a step.
    fn set(&mut self, reset: Reset, wheel: &mut Wheel<TimerKey>, now: Time, key: TimerKey) {
        if !reset.touched && self.timer != TimerId::NONE {
            return;
        }
        wheel.cancel(self.timer);
        let end = (self.end != Time::ZERO).then_some(self.end);
        let next = match (reset.again, end) {
            (Some(again), Some(end)) => Some(again.min(end)),
            (again, end) => again.or(end),
        };
        self.timer = next.map_or(TimerId::NONE, |at| wheel.insert(now, at, key));
    }
}

/// The tag of a client's request: slot and the lower half of its generation. Bit 63 stays clear:
/// [`SendTag::NONE`] is not among them, and others may mark theirs with it.
const fn tag_of(id: ClientId) -> SendTag {
    SendTag(((id.generation & 0x7fff_ffff) as u64) << 32 | id.slot as u64)
}

const fn client_of(tag: SendTag) -> Option<ClientId> {
    if tag.0 >> 63 != 0 {
        return None;
    }
    Some(ClientId { slot: tag.0 as u32, generation: (tag.0 >> 32) as u32 })
}

#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;

#[cfg(test)]
mod tests;
