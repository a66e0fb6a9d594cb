//! One Refer on a call of Baton's own: its state, its codes, its one deadline, and what is told of it.
//!
//! All three roles keep one of these; what is particular to a role (the legs, the subscription)
//! stands beside it. Every change that shows leaves as a snapshot of the whole, numbered; the last
//! one, and only that, is final.

use super::outcome::{Outcome, progress};
use super::rule::ReferRule;
use super::state::{Event, Leniency, State};
use super::waits::Waits;
use crate::sip::event::{CallSid, ReferReason, ReferRole, ReferSid, ReferSnapshot, ReferStatus};
use crate::sip::time::Time;
use std::sync::Arc;
use std::time::Duration;

/// Who and what a Refer is about; known when it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Its identifier.
    pub sid: ReferSid,
    /// The call on whose dialog the REFER goes or came.
    pub call: CallSid,
    /// The owner of the record.
    pub account: Arc<str>,
    /// Who performs it.
    pub role: ReferRole,
    /// Referred-By's URI, else From's.
    pub from: String,
    /// Refer-To's URI without its header part.
    pub to: String,
    /// By which rule it is allowed or denied.
    pub rule: ReferRule,
    /// The leg of the party to be moved, where that is another than `call`.
    pub moved: Option<CallSid>,
    /// The leg of the target, once there is one.
    pub target: Option<CallSid>,
}

/// One Refer.
#[derive(Clone, Debug)]
pub struct Life {
    /// Who and what it is about.
    pub subject: Subject,
    /// What its trunk makes of silence.
    pub lenient: Leniency,
    waits: Waits,
    created: Time,
    state: State,
    /// Final response to the REFER.
    refer_code: Option<u16>,
    /// The last code reported about the target.
    notify_code: Option<u16>,
    /// A code that came after the result.
    late_code: Option<u16>,
    /// REFERs sent for it.
    attempts: u8,
    /// When the result must be there; counted from the acceptance.
    outcome_by: Time,
    /// When the present state has waited long enough.
    deadline: Time,
    seq: u32,
    told: Option<(ReferStatus, Option<u16>, Option<u16>)>,
}

impl Life {
    /// A Refer that was asked for, or came in.
    pub fn new(now: Time, subject: Subject, lenient: Leniency, waits: Waits) -> Life {
        let first = match subject.role {
            ReferRole::Substitute => waits.decision,
            ReferRole::Relay | ReferRole::Transferor => waits.quiet,
        };
        Life {
            subject,
            lenient,
            waits,
            created: now,
            state: State::Pending,
            refer_code: None,
            notify_code: None,
            late_code: None,
            attempts: 0,
            outcome_by: now + waits.outcome,
            deadline: now + first,
            seq: 0,
            told: None,
        }
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether it has its result.
    pub fn is_over(&self) -> bool {
        self.state.is_over()
    }

    /// Its result.
    pub fn outcome(&self) -> Option<Outcome> {
        match self.state {
            State::Over(outcome) => Some(outcome),
            State::Pending
            | State::Requested
            | State::Challenged
            | State::Accepted
            | State::Trying
            | State::Ringing
            | State::Bridging
            | State::Ending => None,
        }
    }

    /// When it was asked for or came in.
    pub fn created(&self) -> Time {
        self.created
    }

    /// REFERs sent for it.
    pub fn attempts(&self) -> u8 {
        self.attempts
    }

    /// The final response to its REFER.
    pub fn refer_code(&self) -> Option<u16> {
        self.refer_code
    }

    /// The last code reported about the target.
    pub fn notify_code(&self) -> Option<u16> {
        self.notify_code
    }

    /// A code that was reported after the result; it changes nothing.
    pub fn late_code(&self) -> Option<u16> {
        self.late_code
    }

    /// When it must be called again ([`Life::expire`]); for a finished one the end of its linger.
    pub fn deadline(&self) -> Time {
        self.deadline
    }

    /// A finished one lingers once more: something that follows from its result is still to be done.
    pub fn lingers_on(&mut self, now: Time) {
        if self.is_over() {
            self.deadline = now + self.waits.linger;
        }
    }

    /// When the result must be there.
    pub fn outcome_by(&self) -> Time {
        self.outcome_by
    }

    /// An application performs the transfer: it has the time that a subscriber would wait (S).
    pub fn in_other_hands(&mut self) {
        self.waits.ring = self.waits.outcome;
        self.waits.quiet = self.waits.outcome;
    }

    /// The waits it lives by.
    pub fn waits(&self) -> &Waits {
        &self.waits
    }

    /// Something happened; what is to be told of it.
    pub fn on(&mut self, now: Time, event: Event) -> Option<Box<ReferSnapshot>> {
        self.note(event);
        let before = self.state;
        self.state = before.on_with(event, self.lenient);
        if self.state != before {
            self.wait(now, before);
        }
        self.snapshot(now)
    }

    /// The REFER was answered, or given up on, with this code (408 and 503 when no answer came).
    pub fn answered(&mut self, now: Time, code: u16, event: Event) -> Option<Box<ReferSnapshot>> {
        if code >= 200 && !self.is_over() {
            self.refer_code = Some(code);
        }
        self.on(now, event)
    }

    /// The code sent to the target's side of the story without a change of state: what a NOTIFY of
    /// ours says (S), or the code of a result that has none of its own.
    pub fn reports(&mut self, code: u16) {
        if !self.is_over() {
            self.notify_code = Some(code);
        }
    }

    /// RFC 6665 §4.1.2.1: a NOTIFY says how much longer the subscription lasts.
    pub fn subscription_lasts(&mut self, now: Time, expires: Duration) {
        // Zero while active contradicts itself and is taken as not said.
        if matches!(self.state, State::Trying | State::Ringing) && !expires.is_zero() {
            self.deadline = self.outcome_by.min(now + expires);
        }
    }

    /// Its time may have come: `true` in the first place when a finished one can be forgotten.
    pub fn expire(&mut self, now: Time) -> (bool, Option<Box<ReferSnapshot>>) {
        if now < self.deadline {
            return (false, None);
        }
        if self.is_over() {
            return (true, None);
        }
        let substitute = self.subject.role == ReferRole::Substitute;
        let event = match self.state {
            State::Trying | State::Ringing if substitute => {
                self.reports(487);
                Event::RingOver
            }
            State::Pending | State::Requested => {
                self.refer_code.get_or_insert(408);
                Event::Deadline
            }
            State::Challenged
            | State::Accepted
            | State::Trying
            | State::Ringing
            | State::Bridging
            | State::Ending
            | State::Over(_) => Event::Deadline,
        };
        (false, self.on(now, event))
    }

    /// What an event says beside the change of state it makes.
    fn note(&mut self, event: Event) {
        match event {
            Event::Sent | Event::Repeated => self.attempts = self.attempts.saturating_add(1),
            Event::Reported(code) if progress(code).is_some() => {
                if self.is_over() {
                    self.late_code = Some(code);
                } else {
                    self.notify_code = Some(code);
                }
            }
            Event::Cut => {
                self.refer_code.get_or_insert(408);
            }
            Event::Reported(_)
            | Event::Admitted
            | Event::Denied
            | Event::Answered(_)
            | Event::Unmonitored
            | Event::Unanswered
            | Event::TargetAnswered
            | Event::Joined
            | Event::JoinFailed
            | Event::RingOver
            | Event::Notified
            | Event::SubscriptionEnded
            | Event::CallEnded
            | Event::PartyLeft
            | Event::CalledOff
            | Event::Deadline
            | Event::Abandoned => {}
        }
    }

    fn wait(&mut self, now: Time, before: State) {
        if matches!(before, State::Pending | State::Requested) {
            self.outcome_by = now + self.waits.outcome;
        }
        let substitute = self.subject.role == ReferRole::Substitute;
        self.deadline = match self.state {
            State::Pending => now + self.waits.quiet,
            State::Requested => now + self.waits.response,
            State::Challenged => now + self.waits.challenge,
            // The target is called at once, or after an exchange that must end first.
            State::Accepted if substitute => now + self.waits.quiet,
            State::Accepted => self.outcome_by.min(now + self.waits.notify),
            // Ringing does not begin anew with each provisional response.
            State::Ringing if substitute && before == State::Trying => self.deadline,
            State::Trying | State::Ringing if substitute => now + self.waits.ring,
            State::Trying | State::Ringing => self.outcome_by,
            State::Bridging => now + self.waits.bridge,
            State::Ending => now + self.waits.bye_grace,
            State::Over(_) => now + self.waits.linger,
        };
        if self.state == State::Over(Outcome::failed(ReferReason::ReferRejected)) {
            self.notify_code = None; // a refused REFER has no subscription to hear from
        }
    }

    /// The Refer as it stands, when that is worth telling: something changed since the last time, and
    /// either the fate of the REFER is known or there is a result.
    fn snapshot(&mut self, now: Time) -> Option<Box<ReferSnapshot>> {
        let status = self.state.status();
        let told = (status, self.refer_code, self.notify_code);
        let done = self.told.is_some_and(|(status, ..)| status != ReferStatus::InProgress);
        let known = self.refer_code.is_some() || status != ReferStatus::InProgress;
        if done || !known || self.told == Some(told) {
            return None;
        }
        self.told = Some(told);
        let seq = self.seq;
        self.seq += 1;
        let subject = &self.subject;
        Some(Box::new(ReferSnapshot {
            sid: subject.sid,
            call: subject.call,
            account: Arc::clone(&subject.account),
            role: subject.role,
            created: self.created,
            at: now,
            seq,
            from: subject.from.clone(),
            to: subject.to.clone(),
            refer_code: self.refer_code,
            notify_code: self.notify_code,
            status,
            reason: self.outcome().and_then(|outcome| outcome.reason),
            rule: Some(subject.rule),
            moved: subject.moved,
            target: subject.target,
        }))
    }
}

#[cfg(test)]
mod tests;
