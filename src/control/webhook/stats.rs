//! What outgoing HTTP came to, counted.

use super::Failure;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What came of one attempt, or of a notification that was never tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::control) enum Outcome {
    /// Answered 2xx.
    Done,
    /// Answered otherwise.
    Refused,
    /// [`Failure::Timeout`].
    Timeout,
    /// [`Failure::Private`].
    Private,
    /// [`Failure::Unreachable`].
    Unreachable,
    /// [`Failure::Redirected`].
    Redirected,
    /// [`Failure::TooLong`].
    TooLong,
    /// There was no room to wait.
    Dropped,
    /// A call waited for a turn, or a notification that may go elsewhere, in vain: its server's share was taken, or its account's.
    NoTurn,
}

impl Outcome {
    /// All of them, with their names in metrics.
    pub(in crate::control) const ALL: [(Outcome, &'static str); 9] = [
        (Outcome::Done, "done"),
        (Outcome::Refused, "refused"),
        (Outcome::Timeout, "timeout"),
        (Outcome::Private, "private"),
        (Outcome::Unreachable, "unreachable"),
        (Outcome::Redirected, "redirected"),
        (Outcome::TooLong, "too-long"),
        (Outcome::Dropped, "dropped"),
        (Outcome::NoTurn, "no-turn"),
    ];
}

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Outcome {
        match failure {
            Failure::Timeout => Outcome::Timeout,
            Failure::Private => Outcome::Private,
            Failure::Unreachable => Outcome::Unreachable,
            Failure::Redirected => Outcome::Redirected,
            Failure::TooLong => Outcome::TooLong,
        }
    }
}

/// The counts.
#[derive(Debug, Default)]
pub(in crate::control) struct Stats {
    outcomes: [AtomicU64; Outcome::ALL.len()],
}

impl Stats {
    /// How often it came to this.
    pub(in crate::control) fn of(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(outcome as usize).map_or(0, |count| count.load(Relaxed))
    }

    pub(super) fn count(&self, outcome: Outcome) {
        if let Some(count) = self.outcomes.get(outcome as usize) {
            count.fetch_add(1, Relaxed);
        }
    }
}
