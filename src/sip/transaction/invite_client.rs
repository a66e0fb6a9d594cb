//! The INVITE client transaction: RFC 3261 §17.1.1.2 as changed by RFC 6026 §7.2, with the rule for
//! CANCEL of §9.1.

use super::action::{Action, Actions};
use crate::sip::timer::Timer;

/// Where an INVITE that was sent stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No answer yet.
    Calling {
        /// Retransmissions so far.
        repeats: u8,
        /// A CANCEL waits for the first provisional (C-084).
        cancel: bool,
    },
    /// A provisional came.
    Proceeding {
        /// A CANCEL was sent.
        cancelled: bool,
    },
    /// A non-2xx final came; its repetitions are acknowledged.
    Completed,
    /// A 2xx came; more may follow.
    Accepted,
    /// Over.
    Terminated,
}

/// What can happen to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// 100 to 199.
    Provisional,
    /// 200 to 299.
    Success,
    /// 300 to 699.
    Failure,
    /// The user wants the INVITE cancelled.
    Cancel,
    /// The request or ACK could not be sent.
    SendFailed,
    /// Timer A: time to send again.
    TimerA,
    /// Timer B: nobody answers.
    TimerB,
    /// Timer D: no more repeated finals to come.
    TimerD,
    /// Timer M: no more 2xx to come.
    TimerM,
    /// 64*T1 have gone since the CANCEL.
    TimerCancelled,
}

impl State {
    /// Sends the request. §17.1.1.2: Timer A on unreliable transports only (C-075), Timer B always.
    pub fn start(reliable: bool, out: &mut Actions) -> State {
        out.extend([Action::Send, Action::Until(Timer::B)]);
        if !reliable {
            out.push(Action::Repeat(Timer::A, 0));
        }
        State::Calling { repeats: 0, cancel: false }
    }

    /// What the ending timer means in this state.
    pub const fn ending(self) -> Option<Event> {
        match self {
            State::Calling { .. } => Some(Event::TimerB),
            State::Proceeding { .. } => Some(Event::TimerCancelled),
            State::Completed => Some(Event::TimerD),
            State::Accepted => Some(Event::TimerM),
            State::Terminated => None,
        }
    }

    /// What the repeating timer means in this state.
    pub const fn repeating(self) -> Option<Event> {
        match self {
            State::Calling { .. } => Some(Event::TimerA),
            State::Proceeding { .. } | State::Completed | State::Accepted | State::Terminated => None,
        }
    }
}

/// One step.
pub fn step(state: State, event: Event, reliable: bool, out: &mut Actions) -> State {
    match (state, event) {
        // §17.1.1.2: a provisional ends retransmission; Timer B is for Calling only. A CANCEL that
        // waited may go now (§9.1).
        (State::Calling { cancel: false, .. }, Event::Provisional) => {
            out.extend([Action::Pass, Action::Still]);
            State::Proceeding { cancelled: false }
        }
        (State::Calling { cancel: true, .. }, Event::Provisional) => {
            out.extend([Action::Pass, Action::Cancel, Action::Until(Timer::Cancelled)]);
            State::Proceeding { cancelled: true }
        }
        (State::Proceeding { .. }, Event::Provisional) => {
            out.push(Action::Pass);
            state
        }

        // RFC 6026 §7.2: a 2xx leads to Accepted; the ACK is the user's business (§13.2.2.4). A
        // CANCEL that waited is dropped (C-084).
        (State::Calling { .. } | State::Proceeding { .. }, Event::Success) => {
            out.extend([Action::Pass, Action::Forget, Action::Until(Timer::M)]);
            State::Accepted
        }
        // RFC 6026 §7.2: each further 2xx goes to the user (C-071).
        (State::Accepted, Event::Success) => {
            out.push(Action::Pass);
            State::Accepted
        }

        // §17.1.1.2: the machine itself acknowledges a non-2xx. On streams Timer D is zero.
        (State::Calling { .. } | State::Proceeding { .. }, Event::Failure) => {
            out.extend([Action::Acknowledge, Action::Pass]);
            if reliable {
                out.push(Action::End);
                State::Terminated
            } else {
                out.push(Action::Until(Timer::D));
                State::Completed
            }
        }
        // §17.1.1.2: repeated finals are acknowledged, not passed up.
        (State::Completed, Event::Failure) => {
            out.push(Action::Send);
            State::Completed
        }

        // §17.1.1.2: send again, twice as long apart.
        (State::Calling { repeats, cancel }, Event::TimerA) => {
            let repeats = repeats.saturating_add(1);
            out.extend([Action::Send, Action::Repeat(Timer::A, repeats)]);
            State::Calling { repeats, cancel }
        }

        // §17.1.1.2: nobody answered.
        (State::Calling { .. }, Event::TimerB) => {
            out.extend([Action::TimedOut, Action::End]);
            State::Terminated
        }
        // §9.1: without a final 64*T1 after the CANCEL, the INVITE counts as cancelled (C-086).
        (State::Proceeding { cancelled: true }, Event::TimerCancelled) => {
            out.extend([Action::TimedOut, Action::End]);
            State::Terminated
        }
        // §17.1.1.2: Timer D; RFC 6026 §7.2: Timer M.
        (State::Completed, Event::TimerD) | (State::Accepted, Event::TimerM) => {
            out.push(Action::End);
            State::Terminated
        }

        // §17.1.1.2, §17.1.4: the user hears of a transport error at once (C-064).
        (State::Calling { .. }, Event::SendFailed) => {
            out.extend([Action::Failed, Action::End]);
            State::Terminated
        }
        // §17.1.1.2: the ACK could not be sent. The user has its final and hears of the end.
        (State::Completed, Event::SendFailed) => {
            out.push(Action::End);
            State::Terminated
        }

        // §9.1: no CANCEL before a provisional, one CANCEL at most, none after a final.
        (State::Calling { repeats, .. }, Event::Cancel) => State::Calling { repeats, cancel: true },
        (State::Proceeding { cancelled: false }, Event::Cancel) => {
            out.extend([Action::Cancel, Action::Until(Timer::Cancelled)]);
            State::Proceeding { cancelled: true }
        }
        (
            State::Proceeding { cancelled: true } | State::Completed | State::Accepted | State::Terminated,
            Event::Cancel,
        ) => state,

        // §17.1.1.2: no other response means anything after a final.
        (State::Completed, Event::Provisional | Event::Success)
        | (State::Accepted, Event::Provisional | Event::Failure) => state,

        // A request that was answered did arrive; RFC 6026 §7.2 has nothing to send in Accepted.
        (State::Proceeding { .. } | State::Accepted, Event::SendFailed) => state,

        // Timers of other states: cleared when those were left.
        (State::Calling { .. }, Event::TimerD | Event::TimerM | Event::TimerCancelled)
        | (State::Proceeding { .. }, Event::TimerA | Event::TimerB | Event::TimerD | Event::TimerM)
        | (State::Proceeding { cancelled: false }, Event::TimerCancelled)
        | (State::Completed, Event::TimerA | Event::TimerB | Event::TimerM | Event::TimerCancelled)
        | (State::Accepted, Event::TimerA | Event::TimerB | Event::TimerD | Event::TimerCancelled) => state,

        // Over: its slot is free, nothing reaches it.
        (
            State::Terminated,
            Event::Provisional
            | Event::Success
            | Event::Failure
            | Event::SendFailed
            | Event::TimerA
            | Event::TimerB
            | Event::TimerD
            | Event::TimerM
            | Event::TimerCancelled,
        ) => State::Terminated,
    }
}

#[cfg(test)]
mod tests {
    use super::Event::*;
    use super::State::*;
    use super::*;
    use Action::*;

    const CALLING: State = Calling { repeats: 2, cancel: false };
    const CANCELLING: State = Calling { repeats: 2, cancel: true };
    const PROCEEDING: State = Proceeding { cancelled: false };
    const CANCELLED: State = Proceeding { cancelled: true };

    fn after(state: State, event: Event, reliable: bool) -> (State, Vec<Action>) {
        let mut out = Actions::default();
        let next = step(state, event, reliable, &mut out);
        (next, out.iter().collect())
    }

    /// [C-069] [C-070] [C-084] Every state and event over UDP, against a table written from the RFCs.
    /// What the table does not list changes nothing and asks for nothing.
    #[test]
    fn table_over_udp() {
        let table: &[(State, Event, State, &[Action])] = &[
            (CALLING, Provisional, PROCEEDING, &[Pass, Still]),
            (CALLING, Success, Accepted, &[Pass, Forget, Until(Timer::M)]),
            (CALLING, Failure, Completed, &[Acknowledge, Pass, Until(Timer::D)]),
            (CALLING, Event::Cancel, CANCELLING, &[]),
            (CALLING, SendFailed, Terminated, &[Failed, End]),
            (CALLING, TimerA, Calling { repeats: 3, cancel: false }, &[Send, Repeat(Timer::A, 3)]),
            (CALLING, TimerB, Terminated, &[TimedOut, End]),
            (CANCELLING, Provisional, CANCELLED, &[Pass, Action::Cancel, Until(Timer::Cancelled)]),
            (CANCELLING, Success, Accepted, &[Pass, Forget, Until(Timer::M)]),
            (CANCELLING, Failure, Completed, &[Acknowledge, Pass, Until(Timer::D)]),
            (CANCELLING, SendFailed, Terminated, &[Failed, End]),
            (CANCELLING, TimerA, Calling { repeats: 3, cancel: true }, &[Send, Repeat(Timer::A, 3)]),
            (CANCELLING, TimerB, Terminated, &[TimedOut, End]),
            (PROCEEDING, Provisional, PROCEEDING, &[Pass]),
            (PROCEEDING, Success, Accepted, &[Pass, Forget, Until(Timer::M)]),
            (PROCEEDING, Failure, Completed, &[Acknowledge, Pass, Until(Timer::D)]),
            (PROCEEDING, Event::Cancel, CANCELLED, &[Action::Cancel, Until(Timer::Cancelled)]),
            (CANCELLED, Provisional, CANCELLED, &[Pass]),
            (CANCELLED, Success, Accepted, &[Pass, Forget, Until(Timer::M)]),
            (CANCELLED, Failure, Completed, &[Acknowledge, Pass, Until(Timer::D)]),
            (CANCELLED, TimerCancelled, Terminated, &[TimedOut, End]),
            (Completed, Failure, Completed, &[Send]),
            (Completed, SendFailed, Terminated, &[End]),
            (Completed, TimerD, Terminated, &[End]),
            (Accepted, Success, Accepted, &[Pass]),
            (Accepted, TimerM, Terminated, &[End]),
        ];
        for state in [CALLING, CANCELLING, PROCEEDING, CANCELLED, Completed, Accepted, Terminated] {
            for event in [
                Provisional,
                Success,
                Failure,
                Event::Cancel,
                SendFailed,
                TimerA,
                TimerB,
                TimerD,
                TimerM,
                TimerCancelled,
            ] {
                let listed = table.iter().find(|row| row.0 == state && row.1 == event);
                let (next, actions) = listed.map_or((state, &[][..]), |row| (row.2, row.3));
                assert_eq!(after(state, event, false), (next, actions.to_vec()), "{state:?} {event:?}");
            }
        }
    }

    /// [C-075] On streams nothing is sent twice and Timer D is zero.
    #[test]
    fn on_streams() {
        let mut out = Actions::default();
        State::start(true, &mut out);
        assert_eq!(out.iter().collect::<Vec<_>>(), [Send, Until(Timer::B)]);
        for state in [CALLING, CANCELLING, PROCEEDING, CANCELLED] {
            assert_eq!(after(state, Failure, true), (Terminated, vec![Acknowledge, Pass, End]));
            assert_eq!(after(state, Success, true).0, Accepted);
        }
    }

    /// [C-069] Over UDP it starts with Timers A and B.
    #[test]
    fn start_over_udp() {
        let mut out = Actions::default();
        let state = State::start(false, &mut out);
        assert_eq!(state, Calling { repeats: 0, cancel: false });
        assert_eq!(out.iter().collect::<Vec<_>>(), [Send, Until(Timer::B), Repeat(Timer::A, 0)]);
    }
}
