//! The life of a Refer as a state machine, without the table that holds it.
//!
//! ```text
//!              401/407          retry
//!          ┌──────────► challenged ──┐
//!  requested ◄───────────────────────┘
//!      │ 2xx            NOTIFY 100      NOTIFY 18x
//!      ├────► accepted ───────► trying ───────► ringing
//!      │          │                │               │      BYE
//!      │          └────────────────┴───────────────┴────────────► ending
//!      │ refused, unanswered       │ result, subscription over      │ result, or grace over
//!      └───────────────────────► over ◄─────────────────────────────┘
//! ```
//!
//! A state knows no time: the owner of a Refer keeps its one deadline and says when it has passed.

use super::outcome::{Outcome, Progress, progress};
use crate::sip::event::{ReferReason, ReferStatus};

/// How far a Refer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
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
    /// The call ended before a result; one that comes within the grace still counts.
    Ending,
    /// It has its result.
    Over(Outcome),
}

/// What can happen to a Refer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The REFER was sent again, with credentials.
    Repeated,
    /// The REFER got this response.
    Answered(u16),
    /// The REFER got no response in time, or could not be sent.
    Unanswered,
    /// A NOTIFY (or the target itself) said this about the target.
    Reported(u16),
    /// The subscription was ended by a NOTIFY that brought no result.
    SubscriptionEnded,
    /// A BYE was seen.
    CallEnded,
    /// What the state waits for did not come in its time.
    Deadline,
    /// Baton stops: nobody will follow this Refer any more.
    Abandoned,
}

impl State {
    /// The public status of this state.
    pub const fn status(self) -> ReferStatus {
        match self {
            State::Over(outcome) => outcome.status,
            State::Requested
            | State::Challenged
            | State::Accepted
            | State::Trying
            | State::Ringing
            | State::Ending => ReferStatus::InProgress,
        }
    }

    /// Whether a NOTIFY can still say something about it.
    pub const fn is_active(self) -> bool {
        !matches!(self, State::Challenged | State::Over(_))
    }

    /// The state after an event.
    pub const fn on(self, event: Event) -> State {
        use Event::{
            Abandoned, Answered, CallEnded, Deadline, Repeated, Reported, SubscriptionEnded, Unanswered,
        };
        use State::{Accepted, Challenged, Ending, Over, Requested, Ringing, Trying};
        match (self, event) {
            // RFC 3515 §2.4.2: a 2xx accepts, whichever it is (RFC 7647 §5); other finals refuse.
            (Requested, Answered(0..=199)) => Requested,
            (Requested, Answered(200..=299)) => Accepted,
            // RFC 3261 §22.2: the sender may come back with credentials.
            (Requested, Answered(401 | 407)) => Challenged,
            (Requested, Answered(300..)) => Over(Outcome::failed(ReferReason::ReferRejected)),
            // RFC 3261 §17.1.2.2: Timer F, or a transport error.
            (Requested, Unanswered | Deadline) => Over(Outcome::failed(ReferReason::ReferTimeout)),
            // RFC 3515 §2.4.4: a NOTIFY may overtake the response and then stands for it.
            (Requested, Reported(code)) => after_report(self, code),
            // RFC 5057 §5: the end of the call does not take the REFER's answer back.
            (Requested, CallEnded | Repeated) => Requested,

            (Challenged, Repeated) => Requested,
            // RFC 3261 §22.2: nobody took up the challenge, so it was the answer.
            (Challenged, CallEnded | Deadline | Abandoned) => {
                Over(Outcome::failed(ReferReason::ReferRejected))
            }
            // RFC 3515 §2.4.6: what belongs to the refused attempt cannot decide the next one.
            (Challenged, Answered(_) | Unanswered | Reported(_) | SubscriptionEnded) => Challenged,

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
            (Accepted | Trying | Ringing, CallEnded) => Ending,
            // RFC 6665 §4.1.2.4: Timer N.
            (Accepted, Deadline) => Over(Outcome::failed(ReferReason::NotifyTimeout)),
            // RFC 6665 §4.4.1: the subscription ran out.
            (Trying | Ringing, Deadline) => Over(Outcome::failed(ReferReason::OutcomeUnknown)),
            (Accepted | Trying | Ringing, Repeated) => self,

            // RFC 3515 §2.4.4: a result inside the grace wins over the BYE; progress does not.
            (Ending, Reported(code)) => match progress(code) {
                Some(Progress::Over(outcome)) => Over(outcome),
                Some(Progress::Trying | Progress::Ringing) | None => Ending,
            },
            (Ending, SubscriptionEnded | CallEnded | Repeated) => Ending,
            (Ending, Deadline) => Over(Outcome::canceled(ReferReason::CallEnded)),

            (Requested | Accepted | Trying | Ringing | Ending, Abandoned) => {
                Over(Outcome::failed(ReferReason::OutcomeUnknown))
            }

            // RFC 3515 §2.4.4: exactly one final result; nothing that comes later changes it.
            (
                Over(outcome),
                Repeated | Answered(_) | Unanswered | Reported(_) | SubscriptionEnded | CallEnded | Deadline
                | Abandoned,
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
            State::Requested
            | State::Challenged
            | State::Accepted
            | State::Trying
            | State::Ending
            | State::Over(_) => State::Trying,
        },
        None => state,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IN_PROGRESS: [State; 6] =
        [State::Requested, State::Challenged, State::Accepted, State::Trying, State::Ringing, State::Ending];

    const EVENTS: [Event; 14] = [
        Event::Repeated,
        Event::Answered(100),
        Event::Answered(202),
        Event::Answered(401),
        Event::Answered(603),
        Event::Unanswered,
        Event::Reported(100),
        Event::Reported(180),
        Event::Reported(200),
        Event::Reported(486),
        Event::SubscriptionEnded,
        Event::CallEnded,
        Event::Deadline,
        Event::Abandoned,
    ];

    fn failed(reason: ReferReason) -> State {
        State::Over(Outcome::failed(reason))
    }

    /// [R-001] A final state stays what it is under everything that can still happen.
    #[test]
    fn a_result_never_changes() {
        for outcome in [
            Outcome::COMPLETED,
            Outcome::failed(ReferReason::NotifyTimeout),
            Outcome::canceled(ReferReason::CallEnded),
        ] {
            for event in EVENTS {
                assert_eq!(State::Over(outcome).on(event), State::Over(outcome), "{event:?}");
            }
        }
    }

    /// [R-001] Whatever the state, its deadlines alone lead to a result.
    #[test]
    fn waiting_always_ends() {
        for state in IN_PROGRESS {
            assert!(matches!(state.on(Event::Deadline), State::Over(_)), "{state:?}");
            assert!(matches!(state.on(Event::Abandoned), State::Over(_)), "{state:?}");
        }
    }

    /// [R-002] Acceptance is not success.
    #[test]
    fn a_2xx_to_refer_is_no_result() {
        for code in 200..=299 {
            assert_eq!(State::Requested.on(Event::Answered(code)), State::Accepted);
        }
        assert_eq!(State::Accepted.status(), ReferStatus::InProgress);
    }

    /// [R-003] Every final code but a challenge refuses, whatever it is.
    #[test]
    fn every_other_final_answer_refuses() {
        for code in 300..=699 {
            let next = State::Requested.on(Event::Answered(code));
            if matches!(code, 401 | 407) {
                assert_eq!(next, State::Challenged);
            } else {
                assert_eq!(next, failed(ReferReason::ReferRejected), "{code}");
            }
        }
    }

    /// [R-019] A report that overtakes the answer is taken as acceptance.
    #[test]
    fn a_report_stands_for_the_answer() {
        assert_eq!(State::Requested.on(Event::Reported(100)), State::Trying);
        assert_eq!(State::Requested.on(Event::Reported(183)), State::Ringing);
        assert_eq!(State::Requested.on(Event::Reported(200)), State::Over(Outcome::COMPLETED));
        // X-02: the answer may be lost for good then.
        assert_eq!(State::Trying.on(Event::Unanswered), State::Trying);
        assert_eq!(State::Ringing.on(Event::Answered(408)), State::Ringing);
    }

    /// [R-012] The end of the call is not the end of the transfer, while its grace lasts.
    #[test]
    fn a_bye_waits_for_the_result() {
        for state in [State::Accepted, State::Trying, State::Ringing] {
            let ending = state.on(Event::CallEnded);
            assert_eq!(ending, State::Ending);
            assert_eq!(ending.on(Event::Reported(180)), State::Ending);
            assert_eq!(ending.on(Event::SubscriptionEnded), State::Ending);
            assert_eq!(ending.on(Event::Reported(200)), State::Over(Outcome::COMPLETED));
            let over = ending.on(Event::Deadline);
            assert_eq!(over, State::Over(Outcome::canceled(ReferReason::CallEnded)));
        }
    }

    /// [R-011] A challenged attempt decides nothing; what comes for it is ignored.
    #[test]
    fn a_challenge_waits_for_the_retry() {
        for event in [Event::Reported(200), Event::SubscriptionEnded, Event::Answered(202)] {
            assert_eq!(State::Challenged.on(event), State::Challenged);
        }
        assert_eq!(State::Challenged.on(Event::Repeated), State::Requested);
        assert_eq!(State::Challenged.on(Event::Deadline), failed(ReferReason::ReferRejected));
        assert_eq!(State::Challenged.on(Event::CallEnded), failed(ReferReason::ReferRejected));
    }

    /// [R-003] Timeouts name what was waited for.
    #[test]
    fn deadlines_name_what_was_missing() {
        assert_eq!(State::Requested.on(Event::Deadline), failed(ReferReason::ReferTimeout));
        assert_eq!(State::Accepted.on(Event::Deadline), failed(ReferReason::NotifyTimeout));
        assert_eq!(State::Trying.on(Event::Deadline), failed(ReferReason::OutcomeUnknown));
        assert_eq!(State::Ringing.on(Event::Deadline), failed(ReferReason::OutcomeUnknown));
    }

    /// Progress does not run backwards when NOTIFYs are reordered.
    #[test]
    fn progress_does_not_go_back() {
        assert_eq!(State::Ringing.on(Event::Reported(100)), State::Ringing);
        assert_eq!(State::Ringing.on(Event::Reported(700)), State::Ringing);
    }
}
