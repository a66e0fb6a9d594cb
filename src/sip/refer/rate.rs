//! How many REFERs a trunk may send a second: a leaky bucket in one word per trunk.

use crate::sip::plan::TrunkIx;
use crate::sip::time::Time;
use hashbrown::HashMap;
use std::time::Duration;

/// The buckets of all trunks, on one shard.
#[derive(Debug, Default)]
pub struct Rate {
    /// When each bucket will be empty again.
    empty_at: HashMap<TrunkIx, Time>,
}

impl Rate {
    /// Whether one more is within `per_second` of that trunk (0: no limit); counts it if so. A burst
    /// of one second's worth is let through. `Err`: how long to wait.
    pub fn take(&mut self, now: Time, trunk: TrunkIx, per_second: u32) -> Result<(), Duration> {
        if per_second == 0 {
            return Ok(());
        }
        let each = Duration::from_secs(1) / per_second;
        let empty_at = self.empty_at.entry(trunk).or_insert(Time::ZERO);
        let filled = if *empty_at > now { empty_at.since(now) } else { Duration::ZERO };
        if filled + each > Duration::from_secs(1) {
            return Err(filled + each - Duration::from_secs(1));
        }
        *empty_at = now + filled + each;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second's worth at once, then as fast as the rate; trunks do not share.
    #[test]
    fn a_rate_per_trunk() {
        let mut rate = Rate::default();
        let t0 = Time::from_millis(1_000_000);
        let (a, b) = (TrunkIx(0), TrunkIx(1));
        for _ in 0..5 {
            assert_eq!(rate.take(t0, a, 5), Ok(()));
        }
        assert_eq!(rate.take(t0, a, 5), Err(Duration::from_millis(200)));
        assert_eq!(rate.take(t0, b, 5), Ok(()));
        assert_eq!(rate.take(t0 + Duration::from_millis(200), a, 5), Ok(()));
        assert!(rate.take(t0 + Duration::from_millis(200), a, 5).is_err());
        for _ in 0..1_000 {
            assert_eq!(rate.take(t0, a, 0), Ok(()));
        }
    }
}
