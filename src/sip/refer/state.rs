//! The life of a Refer as a state machine, the same for all three roles, without the table that
//! holds it (refer-core section 3).
//!
//! ```text
//!  pending ── sent (R, T) ──► requested ◄──── repeated ────┐
//!     │                           │ └─ 401/407 (R) ─► challenged
//!     │ admitted (S)              │ 2xx, or a NOTIFY
//!     └────────────────► accepted ┴──► trying ──► ringing ──── target answered (S) ──► bridging
//!                            │            │          │                                    │
//!                            │            │          ├── BYE of the peer (R, T) ─► ending │ joined
//!                            └────────────┴──────────┴───────────────┴────────────────────┴──► over
//! ```
//!
//! A state knows no time: the owner of a Refer keeps its one deadline and says when it has passed.
//! What a trunk makes of silence and of a BYE is [`Leniency`], applied to the result alone.

use super::outcome::{Outcome, Progress, progress};
use crate::sip::event::{ReferReason, ReferStatus};

/// How far a Refer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It was asked for (T), or came in and is not decided (S).
    Pending,
    /// The REFER is on its way; its answer is not known.
    Requested,
    /// It was answered 401 or 407; a retry with credentials is the same Refer.
    Challenged,
    /// It was accepted; nothing is known of the target.
    Accepted,
    /// The target is being called.
    Trying,
    /// The target is alerted.
    Ringing,
    /// The target answered; the party to be moved is not joined to it yet (S).
    Bridging,
    /// The call ended before a result; one that comes within the grace still counts.
    Ending,
    /// It has its result.
    Over(Outcome),
}

/// What can happen to a Refer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The REFER was sent, or passed on (R, T).
    Sent,
    /// The REFER was taken, and answered so (S).
    Admitted,
    /// It was refused here: policy, loop, depth, scheme, or the application's word (S).
    Denied,
    /// The REFER was sent again, with credentials.
    Repeated,
    /// The REFER got this response.
    Answered(u16),
    /// The REFER was accepted, and nothing will be reported about it (R-048).
    Unmonitored,
    /// The REFER got no response in time, or could not be sent.
    Unanswered,
    /// A NOTIFY (or the target itself) said this about the target.
    Reported(u16),
    /// The target answered and is to be joined with the party to be moved (S).
    TargetAnswered,
    /// The target and the party to be moved talk to each other (S).
    Joined,
    /// They could not be joined, or the target left before they were (S).
    JoinFailed,
    /// The target rang too long and is cancelled (S).
    RingOver,
    /// A NOTIFY says that the subscription lasts, and nothing about the target.
    Notified,
    /// The subscription was ended by a NOTIFY that brought no result.
    SubscriptionEnded,
    /// A BYE was seen.
    CallEnded,
    /// The call ended and took the answer to the REFER with it (T).
    Cut,
    /// The party to be moved went away (S).
    PartyLeft,
    /// The API called it off (R-047).
    CalledOff,
    /// What the state waits for did not come in its time.
    Deadline,
    /// Baton stops: nobody will follow this Refer any more.
    Abandoned,
}

/// What a trunk makes of a peer that says nothing (refer-core section 4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leniency {
    /// The peer's BYE before a result counts as success.
    pub bye: bool,
    /// No NOTIFY, or none with a result, counts as success.
    pub silence: bool,
}

impl State {
    /// The public status of this state.
    pub const fn status(self) -> ReferStatus {
        match self {
            State::Over(outcome) => outcome.status,
            State::Pending
            | State::Requested
            | State::Challenged
            | State::Accepted
            | State::Trying
            | State::Ringing
            | State::Bridging
            | State::Ending => ReferStatus::InProgress,
        }
    }

    /// Whether a NOTIFY can still say something about it.
    pub const fn is_active(self) -> bool {
        !matches!(self, State::Pending | State::Challenged | State::Over(_))
    }

    /// Whether it has its result.
    pub const fn is_over(self) -> bool {
        matches!(self, State::Over(_))
    }

    /// The state after an event, on a trunk that is lenient so (refer-core section 2, "knob").
    pub const fn on_with(self, event: Event, lenient: Leniency) -> State {
        let next = self.on(event);
        let State::Over(outcome) = next else { return next };
        let forgiven = match (self, event, outcome.reason) {
            // A result stays, and a shard that stops knows nothing of success.
            (State::Over(_), _, _) | (_, Event::Abandoned, _) => false,
            // The party that leaves is the one to be moved only in role S.
            (_, Event::PartyLeft, _) | (State::Pending, _, _) => false,
            (_, _, Some(ReferReason::NotifyTimeout | ReferReason::OutcomeUnknown)) => lenient.silence,
            (_, _, Some(ReferReason::CallEnded)) => lenient.bye,
            (_, _, _) => false,
        };
        if forgiven { State::Over(Outcome { status: ReferStatus::Completed, ..outcome }) } else { next }
    }

    /// The state after an event.
    pub const fn on(self, event: Event) -> State {
        use Event::{
            Abandoned, Admitted, Answered, CallEnded, CalledOff, Cut, Deadline, Denied, JoinFailed, Joined,
            Notified, PartyLeft, Repeated, Reported, RingOver, Sent, SubscriptionEnded, TargetAnswered,
            Unanswered, Unmonitored,
        };
        use State::{Accepted, Bridging, Challenged, Ending, Over, Pending, Requested, Ringing, Trying};
        match (self, event) {
            (Pending, Sent) => Requested,
            // RFC 3515 §2.4.2: in role S the acceptance is our own.
            (Pending, Admitted) => Accepted,
            (Pending, Denied) => Over(Outcome::failed(ReferReason::Policy)),
            // RFC 5589 §6: refused before it was sent, as the peer does not know REFER (R-032).
            (Pending, Answered(300..)) => Over(Outcome::failed(ReferReason::ReferRejected)),
            (Pending, Unanswered | Deadline) => Over(Outcome::failed(ReferReason::ReferTimeout)),
            (Pending, CallEnded | Cut) => Over(Outcome::canceled(ReferReason::CallEnded)),
            (
                Pending,
                Answered(0..=299) | Repeated | Unmonitored | Notified | Reported(_) | TargetAnswered | Joined
                | JoinFailed | RingOver | SubscriptionEnded,
            ) => Pending,

            // RFC 3515 §2.4.2: a 2xx accepts, whichever it is (RFC 7647 §5); other finals refuse.
            (Requested, Answered(0..=199)) => Requested,
            (Requested, Answered(200..=299)) => Accepted,
            // RFC 4488 §4: accepted, and nobody will say more (R-048).
            (Requested | Accepted, Unmonitored) => {
                Over(Outcome { status: ReferStatus::Completed, reason: Some(ReferReason::Unmonitored) })
            }
            // RFC 3261 §22.2: the sender may come back with credentials.
            (Requested, Answered(401 | 407)) => Challenged,
            (Requested, Answered(300..)) => Over(Outcome::failed(ReferReason::ReferRejected)),
            // RFC 3261 §17.1.2.2: Timer F, or a transport error.
            (Requested, Unanswered | Deadline) => Over(Outcome::failed(ReferReason::ReferTimeout)),
            // RFC 3515 §2.4.4: a NOTIFY may overtake the response and then stands for it.
            (Requested, Reported(code)) => after_report(self, code),
            // RFC 6665 §4.1.2.4: so does one without a body; it ends the wait for the first (R-037).
            (Requested | Accepted, Notified) => Trying,
            (Trying | Ringing, Notified) => self,
            // RFC 5057 §5: the end of the call does not take the REFER's answer back.
            (Requested, CallEnded | Repeated | Sent | Admitted) => Requested,
            // RFC 5057 §4: with no answer to come, a NOTIFY may still tell the result.
            (Requested, Cut) => Ending,

            (Challenged, Repeated | Sent) => Requested,
            // RFC 3261 §22.2: nobody took up the challenge, so it was the answer.
            (Challenged, CallEnded | Cut | Deadline | Abandoned) => {
                Over(Outcome::failed(ReferReason::ReferRejected))
            }
            // RFC 3515 §2.4.6: what belongs to the refused attempt cannot decide the next one.
            (
                Challenged,
                Answered(_) | Unanswered | Notified | Reported(_) | SubscriptionEnded | Unmonitored
                | Admitted | TargetAnswered | Joined | JoinFailed | RingOver,
            ) => Challenged,

            // RFC 3515 §2.4.5: reports about the target, whether or not the response was seen.
            (Accepted | Trying | Ringing, Reported(code)) => after_report(self, code),
            // RFC 3515 §2.4.4: the NOTIFYs count, not a timer of the REFER, here or further on.
            (Accepted | Trying | Ringing | Ending, Unanswered | Answered(0..=299 | 408)) => self,
            (Accepted | Trying | Ringing | Ending, Answered(300..)) => {
                Over(Outcome::failed(ReferReason::ReferRejected))
            }
            // RFC 3515 §2.4.7: terminated without a final status leaves the result unknown.
            (Requested | Accepted | Trying | Ringing, SubscriptionEnded) => {
                Over(Outcome::failed(ReferReason::OutcomeUnknown))
            }
            // RFC 5057 §4: the two usages end separately; a result may still be on its way.
            (Accepted | Trying | Ringing, CallEnded | Cut) => Ending,
            // RFC 6665 §4.1.2.4: Timer N.
            (Accepted, Deadline) => Over(Outcome::failed(ReferReason::NotifyTimeout)),
            // RFC 6665 §4.4.1: the subscription ran out.
            (Trying | Ringing, Deadline) => Over(Outcome::failed(ReferReason::OutcomeUnknown)),
            (Accepted | Trying | Ringing, Repeated | Sent | Admitted) => self,
            (Trying | Ringing, Unmonitored) => self,
            // RFC 5589 §6: the target is there; it counts when the parties talk (R-064).
            (Accepted | Trying | Ringing, TargetAnswered) => Bridging,
            // RFC 5589 §7.3: two halves of calls of our own need no INVITE.
            (Accepted | Trying | Ringing | Bridging, Joined) => Over(Outcome::COMPLETED),
            // RFC 3264 §6: no common codec, or a refused re-INVITE (R-098, R-099).
            (Accepted | Trying | Ringing | Bridging, JoinFailed) => {
                Over(Outcome::failed(ReferReason::BridgeFailed))
            }
            // RFC 5589 §6.3.2: no answer in time; the CANCEL is the result, whatever crosses it (X-10).
            (Accepted | Trying | Ringing, RingOver) => {
                Over(Outcome { status: ReferStatus::NoAnswer, reason: Some(ReferReason::TargetNoAnswer) })
            }

            (Bridging, Deadline) => Over(Outcome::failed(ReferReason::BridgeFailed)),
            (Bridging, CallEnded | Cut) => Over(Outcome::canceled(ReferReason::CallEnded)),
            // RFC 3515 §2.4.4: the end of the subscription ends nothing else (R-081); late progress of
            // the target is none.
            (
                Bridging,
                Notified | Reported(_) | TargetAnswered | RingOver | SubscriptionEnded | Answered(_)
                | Unanswered | Unmonitored | Repeated | Sent | Admitted,
            ) => Bridging,

            // RFC 3515 §2.4.4: a result inside the grace wins over the BYE; progress does not.
            (Ending, Reported(code)) => match progress(code) {
                Some(Progress::Over(outcome)) => Over(outcome),
                Some(Progress::Trying | Progress::Ringing) | None => Ending,
            },
            (
                Ending,
                Notified | SubscriptionEnded | CallEnded | Cut | Repeated | Sent | Admitted | Unmonitored
                | TargetAnswered | Joined | JoinFailed | RingOver,
            ) => Ending,
            (Ending, Deadline) => Over(Outcome::canceled(ReferReason::CallEnded)),

            // RFC 5589 §6.3.2: nobody is left to be moved (R-060).
            (
                Pending | Requested | Challenged | Accepted | Trying | Ringing | Bridging | Ending,
                PartyLeft,
            ) => Over(Outcome::canceled(ReferReason::CallEnded)),
            // RFC 3515 §2.4.4: the waiting ends; the REFER itself cannot be recalled.
            (
                Pending | Requested | Challenged | Accepted | Trying | Ringing | Bridging | Ending,
                CalledOff,
            ) => Over(Outcome::canceled(ReferReason::ApiCancel)),
            // Only an undecided REFER can be refused.
            (Requested | Challenged | Accepted | Trying | Ringing | Bridging | Ending, Denied) => self,
            (Requested, TargetAnswered | Joined | JoinFailed | RingOver) => Requested,
            (Pending | Requested | Accepted | Trying | Ringing | Bridging | Ending, Abandoned) => {
                Over(Outcome::failed(ReferReason::OutcomeUnknown))
            }

            // RFC 3515 §2.4.4: exactly one final result; nothing that comes later changes it.
            (
                Over(outcome),
                Sent | Admitted | Denied | Repeated | Answered(_) | Unmonitored | Unanswered | Notified
                | Reported(_) | TargetAnswered | Joined | JoinFailed | RingOver | SubscriptionEnded
                | CallEnded | Cut | PartyLeft | CalledOff | Deadline | Abandoned,
            ) => Over(outcome),
        }
    }
}

/// Progress never goes back: a 100 after a 180 leaves the target ringing.
const fn after_report(state: State, code: u16) -> State {
    match progress(code) {
        Some(Progress::Over(outcome)) => State::Over(outcome),
        Some(Progress::Ringing) => State::Ringing,
        Some(Progress::Trying) => match state {
            State::Ringing => State::Ringing,
            State::Pending
            | State::Requested
            | State::Challenged
            | State::Accepted
            | State::Trying
            | State::Bridging
            | State::Ending
            | State::Over(_) => State::Trying,
        },
        None => state,
    }
}

#[cfg(test)]
mod tests;
