//! The waits of the call layer: each is told what it is for, so that a late one means nothing.

use super::joining::JoinId;
use super::transfer::TransferId;
use crate::sip::event::CallSid;
use crate::sip::proxy::Cx;
use crate::sip::timer::{TICK, TimerId};
use hashbrown::HashMap;
use std::time::Duration;

/// Marks the timers of owned calls.
const OWNED_TIMER: u64 = 1 << 62;
/// The call layer's among them.
const LAYER: u64 = 1 << 56;
/// What remains for the number.
const NUMBER: u64 = LAYER - 1;

/// What a wait is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// An application must decide about an inbound call.
    Application(CallSid),
    /// A call that an application has ring must not ring for ever.
    Ringing(CallSid),
    /// A call has its time limit.
    Limit(CallSid),
    /// The control plane has done nothing about a party that is left alone.
    Rest(CallSid),
    /// A join's target has waited long enough for its ACK.
    Starved(JoinId),
    /// A claimed call is not quiet yet: it is tried again.
    Claimed(u64),
    /// A question to another shard was not answered.
    Asked(u64),
    /// One of a transfer's; what it is for is the transfer's business.
    Transfer(TransferId, u8),
}

/// A wait that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimerKey(u64);

/// Those that run.
#[derive(Debug, Default)]
pub(super) struct Timers {
    running: HashMap<u64, (Timer, TimerId)>,
    last: u64,
}

impl Timers {
    /// Begins a wait, of a tick at least: a wait that is over at once would be taken up again at once.
    pub(super) fn set(&mut self, cx: &mut Cx<'_>, after: Duration, timer: Timer) -> TimerKey {
        self.last = (self.last + 1) & NUMBER;
        let at = cx.now + after.max(TICK);
        let id = cx.transactions.set_tu_timer(cx.now, at, OWNED_TIMER | LAYER | self.last);
        self.running.insert(self.last, (timer, id));
        TimerKey(self.last)
    }

    /// Ends one early.
    pub(super) fn cancel(&mut self, cx: &mut Cx<'_>, key: TimerKey) {
        if let Some((_, id)) = self.running.remove(&key.0) {
            cx.transactions.cancel_timer(id);
        }
    }

    /// One has fired: what it was for, unless it was ended.
    pub(super) fn fired(&mut self, key: u64) -> Option<Timer> {
        self.running.remove(&(key & NUMBER)).map(|(timer, _)| timer)
    }

    /// How many run.
    pub(super) fn len(&self) -> usize {
        self.running.len()
    }
}
