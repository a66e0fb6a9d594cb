//! How many REFERs a trunk may send a second: a leaky bucket in one word.

use crate::sip::time::Time;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

const SECOND: u64 = 1_000_000;

/// The bucket of a trunk. All shards draw from it, wherever a REFER's call lives: of a bound that each had for
/// itself there would be as many as shards.
#[derive(Debug, Default)]
pub struct Bucket {
    /// When it will be empty again, in microseconds.
    empty_at: AtomicU64,
    /// Those taken that were challenged, and have not come again.
    challenged: AtomicU32,
}

impl Bucket {
    /// Whether one more is within `per_second` (0: no limit); counts it if so. A burst of one second's worth is
    /// let through. `Err`: how long to wait.
    pub fn take(&self, now: Time, per_second: u32) -> Result<(), Duration> {
        if per_second == 0 {
            return Ok(());
        }
        let now = now.micros();
        let each = SECOND / u64::from(per_second);
        let filled = |empty_at: u64| empty_at.saturating_sub(now) + each;
        // The clocks of shards may differ by a moment; the bucket never runs backwards.
        let drop_in = |empty_at: u64| (filled(empty_at) <= SECOND).then(|| empty_at.max(now) + each);
        match self.empty_at.fetch_update(Relaxed, Relaxed, drop_in) {
            Ok(_) => Ok(()),
            Err(empty_at) => Err(Duration::from_micros(filled(empty_at).saturating_sub(SECOND))),
        }
    }

    /// One that was taken was challenged: it is about to come again. No more of these are expected than are
    /// let through in a second.
    pub fn challenged(&self, per_second: u32) {
        let more = |waiting: u32| (waiting < per_second).then_some(waiting + 1);
        let _ = self.challenged.fetch_update(Relaxed, Relaxed, more);
    }

    /// Whether one that has credentials is one of those, taken before.
    pub fn again(&self) -> bool {
        self.challenged.fetch_update(Relaxed, Relaxed, |waiting| waiting.checked_sub(1)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second's worth at once, then as fast as the rate.
    #[test]
    fn a_rate() {
        let bucket = Bucket::default();
        let t0 = Time::from_millis(1_000_000);
        for _ in 0..5 {
            assert_eq!(bucket.take(t0, 5), Ok(()));
        }
        assert_eq!(bucket.take(t0, 5), Err(Duration::from_millis(200)));
        assert_eq!(bucket.take(t0 + Duration::from_millis(200), 5), Ok(()));
        assert!(bucket.take(t0 + Duration::from_millis(200), 5).is_err());
        for _ in 0..1_000 {
            assert_eq!(bucket.take(t0, 0), Ok(()));
        }
    }

    /// What answers a challenge is no other one; nobody can save up answers.
    #[test]
    fn challenged_ones_come_again() {
        let bucket = Bucket::default();
        assert!(!bucket.again());
        for _ in 0..100 {
            bucket.challenged(2);
        }
        assert_eq!([bucket.again(), bucket.again(), bucket.again()], [true, true, false]);
    }
}
