//! How long a Refer waits for what (refer-core section 3, timers).

use std::time::Duration;

/// How long a Refer waits for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waits {
    /// For the control plane to decide a REFER that came in.
    pub decision: Duration,
    /// For an exchange that must end before a REFER can go, or be acted on.
    pub quiet: Duration,
    /// For the fate of the REFER, should nobody ever tell it; it outlasts Timer F.
    pub response: Duration,
    /// For the retry after a challenge (R).
    pub challenge: Duration,
    /// From the acceptance to the first NOTIFY.
    pub notify: Duration,
    /// From the acceptance to the result, at most; the subscription may end sooner.
    pub outcome: Duration,
    /// From the INVITE to the target to its CANCEL (S).
    pub ring: Duration,
    /// From the target's answer to the joined call (S).
    pub bridge: Duration,
    /// From a BYE to the loss of the result.
    pub bye_grace: Duration,
    /// How long a finished Refer still takes what belongs to it.
    pub linger: Duration,
}

impl Waits {
    /// The defaults for a round-trip estimate T1 (RFC 3261 §17.1.1.1).
    pub fn from_t1(t1: Duration) -> Waits {
        Waits {
            decision: Duration::from_secs(2),
            quiet: 64 * t1,
            response: 128 * t1,
            challenge: 16 * t1,
            notify: 64 * t1,
            outcome: Duration::from_secs(300),
            ring: Duration::from_secs(60),
            bridge: 64 * t1,
            bye_grace: Duration::from_secs(2),
            linger: 64 * t1,
        }
    }

    /// The same with another ring time.
    pub fn ringing(self, ring: Duration) -> Waits {
        Waits { ring, ..self }
    }
}
