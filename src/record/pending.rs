//! What the writer holds and has not written: one entry for each call and Refer that changed.

use crate::sip::event::{
    CallChanged, CallSid, CallStarted, CallStatus, Direction, Event, ReferSid, ReferSnapshot, ReferStatus,
};
use crate::sip::time::Time;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

/// How many turns of the writer an entry may wait for more to come before it is written.
const HOLD: u64 = 8;

/// Entries by call and Refer.
#[derive(Debug, Default)]
pub(super) struct Pending {
    calls: HashMap<CallSid, PendingCall>,
    refers: HashMap<ReferSid, PendingRefer>,
}

/// What happened to a call since it was last written.
#[derive(Debug)]
pub(super) struct PendingCall {
    pub(super) sid: CallSid,
    pub(super) account: Arc<str>,
    pub(super) created: Time,
    /// There when the call began since; else there is a row already, or it was lost.
    pub(super) started: Option<Arc<CallStarted>>,
    pub(super) status: CallStatus,
    pub(super) code: u16,
    pub(super) updated: Time,
    pub(super) ringing: Option<Time>,
    pub(super) answered: Option<Time>,
    pub(super) ended: Option<Time>,
    since: u64,
}

/// The last that is known of a Refer.
#[derive(Debug)]
pub(super) struct PendingRefer {
    pub(super) refer: Box<ReferSnapshot>,
    since: u64,
}

/// Entries taken out to be written.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) calls: Vec<PendingCall>,
    pub(super) refers: Vec<PendingRefer>,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty() && self.refers.is_empty()
    }
}

impl Pending {
    /// Entries held.
    pub(super) fn len(&self) -> usize {
        self.calls.len() + self.refers.len()
    }

    /// Folds an event in; `turn` is the writer's count of turns.
    pub(super) fn apply(&mut self, event: Event, turn: u64) {
        match event {
            Event::CallStarted(started) => match self.calls.entry(started.sid) {
                Entry::Vacant(free) => {
                    free.insert(PendingCall::started(started, turn));
                }
                Entry::Occupied(mut known) => known.get_mut().started = Some(started),
            },
            Event::CallChanged(change) => match self.calls.entry(change.sid) {
                Entry::Vacant(free) => {
                    free.insert(PendingCall::changed(change, turn));
                }
                Entry::Occupied(mut known) => known.get_mut().change(&change),
            },
            Event::Refer(refer) => match self.refers.entry(refer.sid) {
                Entry::Vacant(free) => {
                    free.insert(PendingRefer { refer, since: turn });
                }
                Entry::Occupied(mut known) => known.get_mut().replace(refer),
            },
            // For those who steer calls; nothing of it is kept.
            Event::Reply { .. }
            | Event::Offered(_)
            | Event::Headers(_)
            | Event::EarlyMedia(_)
            | Event::ReferNotified(..)
            | Event::Joined(..)
            | Event::Parted(..)
            | Event::Ended(..)
            | Event::DialEnded(_)
            | Event::ReferAsked(_)
            | Event::RequestEnded { .. } => {}
        }
    }

    /// Takes out what is final or has waited long enough at `turn`.
    pub(super) fn due(&mut self, turn: u64) -> Batch {
        let late = |since: u64| turn.saturating_sub(since) >= HOLD;
        self.take(
            |call| call.status.is_final() || late(call.since),
            |refer| refer.is_final() || late(refer.since),
        )
    }

    /// Takes out everything.
    pub(super) fn all(&mut self) -> Batch {
        self.take(|_| true, |_| true)
    }

    fn take(&mut self, call: impl Fn(&PendingCall) -> bool, refer: impl Fn(&PendingRefer) -> bool) -> Batch {
        Batch {
            calls: self.calls.extract_if(|_, entry| call(entry)).map(|(_, entry)| entry).collect(),
            refers: self.refers.extract_if(|_, entry| refer(entry)).map(|(_, entry)| entry).collect(),
        }
    }

    /// Puts back what could not be written. Nothing may have been applied meanwhile.
    pub(super) fn put_back(&mut self, batch: Batch) {
        self.calls.extend(batch.calls.into_iter().map(|call| (call.sid, call)));
        self.refers.extend(batch.refers.into_iter().map(|refer| (refer.refer.sid, refer)));
    }
}

impl PendingCall {
    fn started(started: Arc<CallStarted>, turn: u64) -> PendingCall {
        // An INVITE that came in is being worked on; one of ours still has to be answered (Calls
        // API, section 7).
        let status = match started.direction {
            Direction::Inbound => CallStatus::Ringing,
            Direction::OutboundApi | Direction::OutboundDial => CallStatus::Queued,
        };
        PendingCall {
            sid: started.sid,
            account: started.account.clone(),
            created: started.at,
            status,
            code: 0,
            updated: started.at,
            ringing: None,
            answered: None,
            ended: None,
            since: turn,
            started: Some(started),
        }
    }

    fn changed(change: CallChanged, turn: u64) -> PendingCall {
        let mut call = PendingCall {
            sid: change.sid,
            account: change.account.clone(),
            created: change.started,
            started: None,
            status: CallStatus::Queued,
            code: 0,
            updated: change.at,
            ringing: None,
            answered: None,
            ended: None,
            since: turn,
        };
        call.change(&change);
        call
    }

    /// Statuses only go forward, and a final one never changes.
    fn change(&mut self, change: &CallChanged) {
        if self.status.is_final() || change.status < self.status {
            return;
        }
        match change.status {
            CallStatus::Queued => {}
            CallStatus::Ringing => self.ringing = self.ringing.or(Some(change.at)),
            CallStatus::InProgress => self.answered = self.answered.or(Some(change.at)),
            CallStatus::Completed
            | CallStatus::Busy
            | CallStatus::NoAnswer
            | CallStatus::Canceled
            | CallStatus::Failed => self.ended = Some(change.at),
        }
        self.status = match change.status {
            // What was answered can only be completed.
            status if status.is_final() && self.answered.is_some() => CallStatus::Completed,
            status => status,
        };
        if change.code != 0 {
            self.code = change.code;
        }
        self.updated = change.at;
    }

    /// Seconds from answer to end, begun ones whole (Calls API, 4.4); from the start when nobody
    /// knows when a completed call was answered; `None` while it lives.
    pub(super) fn duration(&self) -> Option<u64> {
        let ended = self.ended?;
        match self.status {
            CallStatus::Completed => {
                let from = self.answered.unwrap_or(self.created);
                Some(ended.since(from).as_micros().div_ceil(1_000_000) as u64)
            }
            _ => Some(0),
        }
    }
}

impl PendingRefer {
    fn is_final(&self) -> bool {
        self.refer.status != ReferStatus::InProgress
    }

    fn replace(&mut self, newer: Box<ReferSnapshot>) {
        if newer.seq > self.refer.seq && !self.is_final() {
            self.refer = newer;
        }
    }
}
