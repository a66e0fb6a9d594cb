//! The client transaction of all methods but INVITE: RFC 3261 §17.1.2.2.

use super::action::{Action, Actions};
use crate::sip::timer::Timer;

/// Where a request that was sent stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No answer yet.
    Trying {
        /// Retransmissions so far.
        repeats: u8,
    },
    /// A provisional came.
    Proceeding,
    /// A final came; its repetitions are absorbed.
    Completed,
    /// Over.
    Terminated,
}

/// What can happen to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// 100 to 199.
    Provisional,
    /// 200 to 699.
    Final,
    /// The request could not be sent.
    SendFailed,
    /// Timer E: time to send again.
    TimerE,
    /// Timer F: no final came.
    TimerF,
    /// Timer K: no more repeated finals to come.
    TimerK,
}

/// So often that Timer E has reached T2.
const AT_T2: u8 = u8::MAX;

impl State {
    /// Sends the request. §17.1.2.2: Timer E on unreliable transports only (C-075), Timer F always.
    pub fn start(reliable: bool, out: &mut Actions) -> State {
        out.extend([Action::Send, Action::Until(Timer::F)]);
        if !reliable {
            out.push(Action::Repeat(Timer::E, 0));
        }
        State::Trying { repeats: 0 }
    }

    /// What the ending timer means in this state.
    pub const fn ending(self) -> Option<Event> {
        match self {
            State::Trying { .. } | State::Proceeding => Some(Event::TimerF),
            State::Completed => Some(Event::TimerK),
            State::Terminated => None,
        }
    }

    /// What the repeating timer means in this state.
    pub const fn repeating(self) -> Option<Event> {
        match self {
            State::Trying { .. } | State::Proceeding => Some(Event::TimerE),
            State::Completed | State::Terminated => None,
        }
    }
}

/// One step.
pub fn step(state: State, event: Event, reliable: bool, out: &mut Actions) -> State {
    match (state, event) {
        // §17.1.2.2: Timers E and F run on.
        (State::Trying { .. } | State::Proceeding, Event::Provisional) => {
            out.push(Action::Pass);
            State::Proceeding
        }

        // §17.1.2.2: on streams Timer K is zero.
        (State::Trying { .. } | State::Proceeding, Event::Final) => {
            out.extend([Action::Pass, Action::Forget]);
            if reliable {
                out.push(Action::End);
                State::Terminated
            } else {
                out.push(Action::Until(Timer::K));
                State::Completed
            }
        }

        // §17.1.2.2: send again, twice as long apart up to T2.
        (State::Trying { repeats }, Event::TimerE) => {
            let repeats = repeats.saturating_add(1);
            out.extend([Action::Send, Action::Repeat(Timer::E, repeats)]);
            State::Trying { repeats }
        }
        // §17.1.2.2: after a provisional every T2.
        (State::Proceeding, Event::TimerE) => {
            out.extend([Action::Send, Action::Repeat(Timer::E, AT_T2)]);
            State::Proceeding
        }

        // §17.1.2.2: a final that comes later matches nothing and is not forwarded (C-078).
        (State::Trying { .. } | State::Proceeding, Event::TimerF) => {
            out.extend([Action::TimedOut, Action::End]);
            State::Terminated
        }
        (State::Completed, Event::TimerK) => {
            out.push(Action::End);
            State::Terminated
        }

        // §17.1.2.2, §17.1.4 (C-064).
        (State::Trying { .. } | State::Proceeding, Event::SendFailed) => {
            out.extend([Action::Failed, Action::End]);
            State::Terminated
        }

        // §17.1.2.2: Completed absorbs responses.
        (State::Completed, Event::Provisional | Event::Final) => state,

        // It was answered: nothing more is sent in Completed.
        (State::Completed, Event::SendFailed) => state,

        // Timers of other states: cleared when those were left.
        (State::Trying { .. } | State::Proceeding, Event::TimerK)
        | (State::Completed, Event::TimerE | Event::TimerF) => state,

        // Over: its slot is free, nothing reaches it.
        (
            State::Terminated,
            Event::Provisional
            | Event::Final
            | Event::SendFailed
            | Event::TimerE
            | Event::TimerF
            | Event::TimerK,
        ) => State::Terminated,
    }
}

#[cfg(test)]
mod tests {
    use super::Event::*;
    use super::State::*;
    use super::*;
    use Action::{End, Failed, Forget, Pass, Repeat, Send, TimedOut, Until};

    const TRYING: State = Trying { repeats: 1 };

    fn after(state: State, event: Event, reliable: bool) -> (State, Vec<Action>) {
        let mut out = Actions::default();
        let next = step(state, event, reliable, &mut out);
        (next, out.iter().collect())
    }

    /// [C-069] Every state and event over UDP, against a table written from the RFC. What the table
    /// does not list changes nothing and asks for nothing.
    #[test]
    fn table_over_udp() {
        let table: &[(State, Event, State, &[Action])] = &[
            (TRYING, Provisional, Proceeding, &[Pass]),
            (TRYING, Final, Completed, &[Pass, Forget, Until(Timer::K)]),
            (TRYING, SendFailed, Terminated, &[Failed, End]),
            (TRYING, TimerE, Trying { repeats: 2 }, &[Send, Repeat(Timer::E, 2)]),
            (TRYING, TimerF, Terminated, &[TimedOut, End]),
            (Proceeding, Provisional, Proceeding, &[Pass]),
            (Proceeding, Final, Completed, &[Pass, Forget, Until(Timer::K)]),
            (Proceeding, SendFailed, Terminated, &[Failed, End]),
            (Proceeding, TimerE, Proceeding, &[Send, Repeat(Timer::E, AT_T2)]),
            (Proceeding, TimerF, Terminated, &[TimedOut, End]),
            (Completed, TimerK, Terminated, &[End]),
        ];
        for state in [TRYING, Proceeding, Completed, Terminated] {
            for event in [Provisional, Final, SendFailed, TimerE, TimerF, TimerK] {
                let listed = table.iter().find(|row| row.0 == state && row.1 == event);
                let (next, actions) = listed.map_or((state, &[][..]), |row| (row.2, row.3));
                assert_eq!(after(state, event, false), (next, actions.to_vec()), "{state:?} {event:?}");
            }
        }
    }

    /// [C-075] On streams nothing is sent twice and Timer K is zero.
    #[test]
    fn on_streams() {
        let mut out = Actions::default();
        State::start(true, &mut out);
        assert_eq!(out.iter().collect::<Vec<_>>(), [Send, Until(Timer::F)]);
        for state in [TRYING, Proceeding] {
            assert_eq!(after(state, Final, true), (Terminated, vec![Pass, Forget, End]));
        }
    }
}
