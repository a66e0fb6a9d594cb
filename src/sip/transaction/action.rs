//! What a machine asks of the table that keeps it.

use crate::sip::timer::Timer;
use smallvec::SmallVec;

/// One thing to be done. "Held" is the one message a transaction keeps: a client's request or ACK, a
/// server's last response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send what is held.
    Send,
    /// Client: make the ACK for the non-2xx at hand, hold it in place of the request, send it.
    Acknowledge,
    /// Client: make a CANCEL of the held INVITE and start its own transaction.
    Cancel,
    /// Server: make a 100 from the held request, hold it in its place, send it.
    Trying,
    /// Server: send the user's response and hold it.
    Respond,
    /// Server: send the user's response and hold nothing.
    Relay,
    /// Let go of what is held.
    Forget,
    /// Give the message at hand to the user.
    Pass,
    /// Tell the user that nobody answered.
    TimedOut,
    /// Tell the user that the message could not be sent.
    Failed,
    /// Set the repeating timer, for the time it has run so often before. The ending timer stays.
    Repeat(Timer, u8),
    /// Set the ending timer in place of all timers.
    Until(Timer),
    /// Clear all timers.
    Still,
    /// The transaction is over: free it, and tell the user.
    End,
}

/// What one step of a machine asks for, in order. Reused from step to step.
#[derive(Debug, Default)]
pub struct Actions(SmallVec<[Action; 8]>);

impl Actions {
    /// Adds one behind the others.
    pub fn push(&mut self, action: Action) {
        self.0.push(action);
    }

    /// Adds several behind the others.
    pub fn extend<const N: usize>(&mut self, actions: [Action; N]) {
        self.0.extend_from_slice(&actions);
    }

    /// The actions in order.
    pub fn iter(&self) -> impl Iterator<Item = Action> + '_ {
        self.0.iter().copied()
    }

    /// Whether this one is among them.
    pub fn contains(&self, action: Action) -> bool {
        self.0.contains(&action)
    }
}
