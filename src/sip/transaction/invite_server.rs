//! The INVITE server transaction: RFC 3261 §17.2.1 as changed by RFC 6026 §7.1 and §8.
//!
//! In Accepted the user passes each 2xx down (§16.7 step 5); the machine repeats none by itself. A
//! user agent server repeats its 2xx from the dialog (§13.3.1.4). A response that cannot be sent
//! changes nothing (RFC 6026 §8, on RFC 3261 §17.2.4), and nobody could be told of it.

use super::action::{Action, Actions};
use crate::sip::timer::Timer;

/// Where an INVITE that came stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing was sent yet. RFC 3261 has this and the next as one state.
    Fresh,
    /// A provisional was sent.
    Proceeding,
    /// A non-2xx final was sent and not yet acknowledged.
    Completed {
        /// Retransmissions so far.
        repeats: u8,
    },
    /// The non-2xx final was acknowledged.
    Confirmed,
    /// A 2xx was sent; more may follow.
    Accepted,
    /// Over.
    Terminated,
}

/// What can happen to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The INVITE came again.
    Request,
    /// An ACK with the INVITE's branch.
    Ack,
    /// The user sends 100 to 199.
    Provisional,
    /// The user sends 200 to 299.
    Success,
    /// The user sends 300 to 699.
    Failure,
    /// The user has been silent for long enough.
    TimerTrying,
    /// Timer G: time to send the final again.
    TimerG,
    /// Timer H: no ACK came.
    TimerH,
    /// Timer I: no more ACKs to come.
    TimerI,
    /// Timer L: no more INVITEs to come.
    TimerL,
}

impl State {
    /// Takes the INVITE. §17.2.1: a 100 follows unless the user answers first (C-076).
    pub fn start(out: &mut Actions) -> State {
        out.push(Action::Repeat(Timer::Trying, 0));
        State::Fresh
    }

    /// What the ending timer means in this state.
    pub const fn ending(self) -> Option<Event> {
        match self {
            State::Completed { .. } => Some(Event::TimerH),
            State::Confirmed => Some(Event::TimerI),
            State::Accepted => Some(Event::TimerL),
            State::Fresh | State::Proceeding | State::Terminated => None,
        }
    }

    /// What the repeating timer means in this state.
    pub const fn repeating(self) -> Option<Event> {
        match self {
            State::Fresh => Some(Event::TimerTrying),
            State::Completed { .. } => Some(Event::TimerG),
            State::Proceeding | State::Confirmed | State::Accepted | State::Terminated => None,
        }
    }
}

/// One step.
pub fn step(state: State, event: Event, reliable: bool, out: &mut Actions) -> State {
    match (state, event) {
        // §17.2.1: the 100 of the transaction's own.
        (State::Fresh, Event::TimerTrying) => {
            out.push(Action::Trying);
            State::Proceeding
        }

        // §17.2.1: a repeated INVITE gets the last provisional, if there is one.
        (State::Fresh, Event::Request) => State::Fresh,
        (State::Proceeding, Event::Request) => {
            out.push(Action::Send);
            State::Proceeding
        }
        // §17.2.1: and the final while that is not acknowledged (C-081).
        (State::Completed { .. }, Event::Request) => {
            out.push(Action::Send);
            state
        }
        // RFC 6026 §7.1: after a 2xx it is absorbed (C-070).
        (State::Confirmed | State::Accepted, Event::Request) => state,

        // §17.2.1
        (State::Fresh | State::Proceeding, Event::Provisional) => {
            out.extend([Action::Respond, Action::Still]);
            State::Proceeding
        }

        // RFC 6026 §7.1: nothing is held, the next 2xx brings itself.
        (State::Fresh | State::Proceeding, Event::Success) => {
            out.extend([Action::Relay, Action::Forget, Action::Until(Timer::L)]);
            State::Accepted
        }
        (State::Accepted, Event::Success) => {
            out.push(Action::Relay);
            State::Accepted
        }

        // §17.2.1: Timer G on unreliable transports only (C-075), Timer H always.
        (State::Fresh | State::Proceeding, Event::Failure) => {
            out.extend([Action::Respond, Action::Until(Timer::H)]);
            if !reliable {
                out.push(Action::Repeat(Timer::G, 0));
            }
            State::Completed { repeats: 0 }
        }

        // §17.2.1: send again, twice as long apart up to T2.
        (State::Completed { repeats }, Event::TimerG) => {
            let repeats = repeats.saturating_add(1);
            out.extend([Action::Send, Action::Repeat(Timer::G, repeats)]);
            State::Completed { repeats }
        }

        // §17.2.1: on streams Timer I is zero.
        (State::Completed { .. }, Event::Ack) => {
            out.push(Action::Forget);
            if reliable {
                out.push(Action::End);
                State::Terminated
            } else {
                out.push(Action::Until(Timer::I));
                State::Confirmed
            }
        }
        (State::Confirmed, Event::Ack) => State::Confirmed,
        // RFC 6026 §7.1: an ACK to a 2xx is the user's.
        (State::Accepted, Event::Ack) => {
            out.push(Action::Pass);
            State::Accepted
        }
        // Nothing final was sent that it could acknowledge.
        (State::Fresh | State::Proceeding, Event::Ack) => state,

        // §17.2.1: no ACK came; there is nothing more to do about it.
        (State::Completed { .. }, Event::TimerH)
        | (State::Confirmed, Event::TimerI)
        | (State::Accepted, Event::TimerL) => {
            out.push(Action::End);
            State::Terminated
        }

        // §17.2.1: a final was sent, the first decides.
        (
            State::Completed { .. } | State::Confirmed,
            Event::Provisional | Event::Success | Event::Failure,
        )
        | (State::Accepted, Event::Provisional | Event::Failure) => state,

        // Timers of other states: cleared when those were left.
        (State::Fresh, Event::TimerG | Event::TimerH | Event::TimerI | Event::TimerL)
        | (
            State::Proceeding,
            Event::TimerTrying | Event::TimerG | Event::TimerH | Event::TimerI | Event::TimerL,
        )
        | (State::Completed { .. }, Event::TimerTrying | Event::TimerI | Event::TimerL)
        | (State::Confirmed, Event::TimerTrying | Event::TimerG | Event::TimerH | Event::TimerL)
        | (State::Accepted, Event::TimerTrying | Event::TimerG | Event::TimerH | Event::TimerI) => state,

        // Over: its slot is free, nothing reaches it.
        (
            State::Terminated,
            Event::Request
            | Event::Ack
            | Event::Provisional
            | Event::Success
            | Event::Failure
            | Event::TimerTrying
            | Event::TimerG
            | Event::TimerH
            | Event::TimerI
            | Event::TimerL,
        ) => State::Terminated,
    }
}

#[cfg(test)]
mod tests {
    use super::Event::*;
    use super::State::*;
    use super::*;
    use Action::*;

    const COMPLETED: State = Completed { repeats: 1 };

    fn after(state: State, event: Event, reliable: bool) -> (State, Vec<Action>) {
        let mut out = Actions::default();
        let next = step(state, event, reliable, &mut out);
        (next, out.iter().collect())
    }

    /// [C-069] [C-070] [C-081] Every state and event over UDP, against a table written from the RFCs.
    /// What the table does not list changes nothing and asks for nothing.
    #[test]
    fn table_over_udp() {
        let table: &[(State, Event, State, &[Action])] = &[
            (Fresh, TimerTrying, Proceeding, &[Trying]),
            (Fresh, Provisional, Proceeding, &[Respond, Still]),
            (Fresh, Success, Accepted, &[Relay, Forget, Until(Timer::L)]),
            (Fresh, Failure, Completed { repeats: 0 }, &[Respond, Until(Timer::H), Repeat(Timer::G, 0)]),
            (Proceeding, Request, Proceeding, &[Send]),
            (Proceeding, Provisional, Proceeding, &[Respond, Still]),
            (Proceeding, Success, Accepted, &[Relay, Forget, Until(Timer::L)]),
            (Proceeding, Failure, Completed { repeats: 0 }, &[Respond, Until(Timer::H), Repeat(Timer::G, 0)]),
            (COMPLETED, Request, COMPLETED, &[Send]),
            (COMPLETED, Ack, Confirmed, &[Forget, Until(Timer::I)]),
            (COMPLETED, TimerG, Completed { repeats: 2 }, &[Send, Repeat(Timer::G, 2)]),
            (COMPLETED, TimerH, Terminated, &[End]),
            (Confirmed, TimerI, Terminated, &[End]),
            (Accepted, Ack, Accepted, &[Pass]),
            (Accepted, Success, Accepted, &[Relay]),
            (Accepted, TimerL, Terminated, &[End]),
        ];
        for state in [Fresh, Proceeding, COMPLETED, Confirmed, Accepted, Terminated] {
            for event in
                [Request, Ack, Provisional, Success, Failure, TimerTrying, TimerG, TimerH, TimerI, TimerL]
            {
                let listed = table.iter().find(|row| row.0 == state && row.1 == event);
                let (next, actions) = listed.map_or((state, &[][..]), |row| (row.2, row.3));
                assert_eq!(after(state, event, false), (next, actions.to_vec()), "{state:?} {event:?}");
            }
        }
    }

    /// [C-075] On streams finals are not sent again and Timer I is zero.
    #[test]
    fn on_streams() {
        assert_eq!(
            after(Proceeding, Failure, true),
            (Completed { repeats: 0 }, vec![Respond, Until(Timer::H)])
        );
        assert_eq!(after(COMPLETED, Ack, true), (Terminated, vec![Forget, End]));
    }
}
