//! One Refer of the observer's table: its state, what is known of it, and its one deadline.

use super::{ReferEffect, ReferHandle};
use crate::sip::event::{ReferReason, ReferRole, ReferSid, ReferSnapshot, ReferStatus};
use crate::sip::plan::TrunkIx;
use crate::sip::refer::facts::{Dialog, ReferFacts};
use crate::sip::refer::outcome::Outcome;
use crate::sip::refer::rule::ReferRule;
use crate::sip::refer::state::{Event, State};
use crate::sip::refer::waits::Waits;
use crate::sip::time::Time;
use std::sync::Arc;
use std::time::Duration;

/// One Refer. Once its result is told, the strings are gone and only what matches late messages stays.
#[derive(Debug)]
pub(super) struct Refer {
    pub(super) sid: ReferSid,
    pub(super) dialog: Dialog,
    pub(super) account: Arc<str>,
    pub(super) trunk: Option<TrunkIx>,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) created: Time,
    pub(super) cseq: u32,
    pub(super) generation: u32,
    pub(super) state: State,
    /// The answer to the last attempt; `None` while it is not known.
    pub(super) refer_code: Option<u16>,
    pub(super) notify_code: Option<u16>,
    /// A BYE was seen before the REFER was answered.
    pub(super) call_over: bool,
    /// When the result must be there.
    pub(super) outcome_by: Time,
    /// When the present state has waited long enough.
    pub(super) deadline: Time,
    /// When the timer asked for will fire; zero when none is out.
    pub(super) armed: Time,
    pub(super) seq: u32,
    /// What the last snapshot said.
    pub(super) told: Option<(ReferStatus, Option<u16>)>,
}

impl Refer {
    /// A Refer whose REFER was just forwarded.
    pub(super) fn new(now: Time, waits: &Waits, facts: ReferFacts, generation: u32) -> Refer {
        Refer {
            sid: facts.sid,
            dialog: facts.dialog,
            account: facts.account,
            trunk: facts.trunk,
            from: facts.from,
            to: facts.to,
            created: now,
            cseq: facts.cseq,
            generation,
            state: State::Requested,
            refer_code: None,
            notify_code: None,
            call_over: false,
            outcome_by: now + waits.outcome,
            deadline: now + waits.response,
            armed: Time::ZERO,
            seq: 0,
            told: None,
        }
    }

    /// Its REFER was sent again with credentials: the same Refer, under a new handle.
    pub(super) fn repeat(&mut self, now: Time, waits: &Waits, cseq: u32, generation: u32) {
        self.cseq = cseq;
        self.generation = generation;
        self.refer_code = None;
        self.armed = Time::ZERO; // asked for under the old handle, which is void now
        self.apply(now, waits, Event::Repeated);
    }

    pub(super) fn handle(&self, slot: usize) -> ReferHandle {
        ReferHandle::new(slot, self.generation)
    }

    /// Whether it has its result and the result was told.
    pub(super) fn is_done(&self) -> bool {
        self.told.is_some_and(|(status, _)| status != ReferStatus::InProgress)
    }

    /// One step of the state machine, and the wait that goes with the new state.
    pub(super) fn apply(&mut self, now: Time, waits: &Waits, event: Event) {
        let before = self.state;
        self.state = before.on(event);
        if self.state == before {
            return;
        }
        if before == State::Requested {
            self.outcome_by = now + waits.outcome;
        }
        self.deadline = match self.state {
            State::Pending | State::Requested => now + waits.response,
            State::Challenged => now + waits.challenge,
            State::Accepted => self.outcome_by.min(now + waits.notify),
            State::Trying | State::Ringing | State::Bridging => self.outcome_by,
            State::Ending => now + waits.bye_grace,
            // The linger, and until the REFER's fate is known the wait for that.
            State::Over(_) => now + waits.linger.max(waits.response),
        };
        if self.state == State::Over(Outcome::failed(ReferReason::ReferRejected)) {
            self.notify_code = None; // a refused REFER has no subscription to hear from
        }
        // The BYE came before the answer: from here on the grace runs.
        if before == State::Requested && self.call_over {
            self.apply(now, waits, Event::CallEnded);
        }
    }

    /// RFC 6665 §4.1.2.1: a NOTIFY says how much longer the subscription lasts.
    pub(super) fn subscription_lasts(&mut self, now: Time, expires: Duration) {
        // Zero while active contradicts itself and is taken as not said.
        if matches!(self.state, State::Trying | State::Ringing) && !expires.is_zero() {
            self.deadline = self.outcome_by.min(now + expires);
        }
    }

    /// The Refer as it stands, when that is worth telling: the fate of the REFER is known and
    /// something changed since the last time.
    pub(super) fn snapshot(&mut self, now: Time) -> Option<Box<ReferSnapshot>> {
        if self.is_done() || matches!(self.state, State::Requested | State::Challenged) {
            return None;
        }
        let refer_code = Some(self.refer_code?);
        let status = self.state.status();
        if self.told == Some((status, self.notify_code)) {
            return None;
        }
        self.told = Some((status, self.notify_code));
        let (from, to, reason) = match self.state {
            State::Over(outcome) => {
                (std::mem::take(&mut self.from), std::mem::take(&mut self.to), outcome.reason)
            }
            State::Pending
            | State::Requested
            | State::Challenged
            | State::Accepted
            | State::Trying
            | State::Ringing
            | State::Bridging
            | State::Ending => (self.from.clone(), self.to.clone(), None),
        };
        let seq = self.seq;
        self.seq += 1;
        Some(Box::new(ReferSnapshot {
            sid: self.sid,
            call: self.dialog.call,
            account: Arc::clone(&self.account),
            role: ReferRole::Relay,
            created: self.created,
            at: now,
            seq,
            from,
            to,
            refer_code,
            notify_code: self.notify_code,
            status,
            reason,
            // What a trunk's mode does not pass on is not watched.
            rule: Some(ReferRule::Mode),
            moved: None,
            target: None,
        }))
    }

    /// Asks for a timer unless one is out that fires early enough.
    pub(super) fn arm(&mut self, slot: usize, fx: &mut Vec<ReferEffect>) {
        if self.armed == Time::ZERO || self.deadline < self.armed {
            self.armed = self.deadline;
            fx.push(ReferEffect::Timer { refer: self.handle(slot), at: self.deadline });
        }
    }
}
