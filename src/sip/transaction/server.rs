//! The server transaction of all methods but INVITE: RFC 3261 §17.2.2 with the rules of RFC 4320.
//!
//! A response that cannot be sent changes nothing (RFC 6026 §8, on RFC 3261 §17.2.4), and nobody could
//! be told of it.

use super::action::{Action, Actions};
use crate::sip::timer::Timer;

/// Where a request that came stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing was sent yet.
    Trying,
    /// A 100 was sent.
    Proceeding,
    /// A final was sent, or it is too late for one.
    Completed,
    /// Over.
    Terminated,
}

/// What can happen to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The request came again.
    Request,
    /// The user sends 100 to 199.
    Provisional,
    /// The user sends a final other than 408.
    Final,
    /// The user has no answer: 408.
    NoAnswer,
    /// The client's Timer E has reached T2.
    TimerLateTrying,
    /// The client's Timer F is over.
    TimerUnanswered,
    /// Timer J: no more repeated requests to come.
    TimerJ,
}

impl State {
    /// Takes the request.
    pub fn start(out: &mut Actions) -> State {
        out.extend([Action::Until(Timer::Unanswered), Action::Repeat(Timer::LateTrying, 0)]);
        State::Trying
    }

    /// What the ending timer means in this state.
    pub const fn ending(self) -> Option<Event> {
        match self {
            State::Trying | State::Proceeding => Some(Event::TimerUnanswered),
            State::Completed => Some(Event::TimerJ),
            State::Terminated => None,
        }
    }

    /// What the repeating timer means in this state.
    pub const fn repeating(self) -> Option<Event> {
        match self {
            State::Trying => Some(Event::TimerLateTrying),
            State::Proceeding | State::Completed | State::Terminated => None,
        }
    }
}

/// One step.
pub fn step(state: State, event: Event, reliable: bool, out: &mut Actions) -> State {
    match (state, event) {
        // §17.2.2: a repeated request gets what was sent last (C-081).
        (State::Trying, Event::Request) => State::Trying,
        (State::Proceeding | State::Completed, Event::Request) => {
            out.push(Action::Send);
            state
        }

        // RFC 4320 §4.1: the one provisional there may be, and only now (C-077).
        (State::Trying, Event::TimerLateTrying) => {
            out.push(Action::Trying);
            State::Proceeding
        }
        (State::Trying | State::Proceeding, Event::Provisional) => state,

        // §17.2.2: on streams Timer J is zero.
        (State::Trying | State::Proceeding, Event::Final) => {
            out.push(Action::Respond);
            if reliable {
                out.push(Action::End);
                State::Terminated
            } else {
                out.push(Action::Until(Timer::J));
                State::Completed
            }
        }

        // RFC 4320 §4.2: no 408, it would come when nobody waits any more (C-078). Repeated requests
        // are still absorbed.
        (State::Trying | State::Proceeding, Event::NoAnswer) => {
            out.push(Action::Forget);
            if reliable {
                out.push(Action::End);
                State::Terminated
            } else {
                out.push(Action::Until(Timer::J));
                State::Completed
            }
        }
        (State::Trying | State::Proceeding, Event::TimerUnanswered) => {
            out.push(Action::End);
            State::Terminated
        }

        // §17.2.2
        (State::Completed, Event::TimerJ) => {
            out.push(Action::End);
            State::Terminated
        }

        // §17.2.2: a final was sent, the first decides.
        (State::Completed, Event::Provisional | Event::Final | Event::NoAnswer) => state,

        // Timers of other states: cleared when those were left.
        (State::Trying, Event::TimerJ)
        | (State::Proceeding, Event::TimerLateTrying | Event::TimerJ)
        | (State::Completed, Event::TimerLateTrying | Event::TimerUnanswered) => state,

        // Over: its slot is free, nothing reaches it.
        (
            State::Terminated,
            Event::Request
            | Event::Provisional
            | Event::Final
            | Event::NoAnswer
            | Event::TimerLateTrying
            | Event::TimerUnanswered
            | Event::TimerJ,
        ) => State::Terminated,
    }
}

#[cfg(test)]
mod tests {
    use super::Event::*;
    use super::State::*;
    use super::*;
    use Action::*;

    fn after(state: State, event: Event, reliable: bool) -> (State, Vec<Action>) {
        let mut out = Actions::default();
        let next = step(state, event, reliable, &mut out);
        (next, out.iter().collect())
    }

    /// [C-069] [C-077] [C-078] [C-081] Every state and event over UDP, against a table written from
    /// the RFCs. What the table does not list changes nothing and asks for nothing.
    #[test]
    fn table_over_udp() {
        let table: &[(State, Event, State, &[Action])] = &[
            (State::Trying, Final, Completed, &[Respond, Until(Timer::J)]),
            (State::Trying, NoAnswer, Completed, &[Forget, Until(Timer::J)]),
            (State::Trying, TimerLateTrying, Proceeding, &[Action::Trying]),
            (State::Trying, TimerUnanswered, Terminated, &[End]),
            (Proceeding, Request, Proceeding, &[Send]),
            (Proceeding, Final, Completed, &[Respond, Until(Timer::J)]),
            (Proceeding, NoAnswer, Completed, &[Forget, Until(Timer::J)]),
            (Proceeding, TimerUnanswered, Terminated, &[End]),
            (Completed, Request, Completed, &[Send]),
            (Completed, TimerJ, Terminated, &[End]),
        ];
        for state in [State::Trying, Proceeding, Completed, Terminated] {
            for event in [Request, Provisional, Final, NoAnswer, TimerLateTrying, TimerUnanswered, TimerJ] {
                let listed = table.iter().find(|row| row.0 == state && row.1 == event);
                let (next, actions) = listed.map_or((state, &[][..]), |row| (row.2, row.3));
                assert_eq!(after(state, event, false), (next, actions.to_vec()), "{state:?} {event:?}");
            }
        }
    }

    /// [C-075] On streams Timer J is zero.
    #[test]
    fn on_streams() {
        assert_eq!(after(State::Trying, Final, true), (Terminated, vec![Respond, End]));
        assert_eq!(after(Proceeding, NoAnswer, true), (Terminated, vec![Forget, End]));
    }
}
