//! The clock: the only place in the crate that reads one.
//!
//! [`Clock::now`] counts monotonic time from an anchor in wall-clock time, so that timers are not
//! disturbed when the wall clock is set; the difference to the wall clock is worked off at one per
//! cent of the time that passes, so that records stay true.

use crate::sip::time::Time;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often the wall clock is looked at.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// The most the correction changes at one look: one per cent of the interval, in microseconds.
const SLEW: i64 = CHECK_EVERY.as_micros() as i64 / 100;

static ORIGIN: OnceLock<Origin> = OnceLock::new();
static CORRECTION: AtomicI64 = AtomicI64::new(0);
static NEXT_CHECK: AtomicU64 = AtomicU64::new(CHECK_EVERY.as_micros() as u64);
static LATEST: AtomicU64 = AtomicU64::new(0);

struct Origin {
    monotonic: Instant,
    wall: u64,
}

/// Reads the time. All clocks of a process agree: they share one anchor.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock(());

impl Clock {
    /// The process's clock.
    pub const fn new() -> Clock {
        Clock(())
    }

    /// The time now; never earlier than any earlier answer, on any thread.
    pub fn now(self) -> Time {
        let origin = ORIGIN.get_or_init(Origin::now);
        let elapsed = micros(origin.monotonic.elapsed());
        if elapsed >= NEXT_CHECK.load(Ordering::Relaxed) {
            origin.slew(elapsed);
        }
        let now = (origin.wall + elapsed).saturating_add_signed(CORRECTION.load(Ordering::Relaxed));
        // The correction may shrink between two threads' readings: the maximum keeps time monotone.
        Time::from_micros(LATEST.fetch_max(now, Ordering::Relaxed).max(now))
    }
}

impl Origin {
    #[allow(clippy::disallowed_methods, reason = "this is the one clock")]
    fn now() -> Origin {
        Origin { monotonic: Instant::now(), wall: wall() }
    }

    /// Moves the correction a little towards the wall clock; one thread does it per interval.
    fn slew(&self, elapsed: u64) {
        let due = NEXT_CHECK.load(Ordering::Relaxed);
        let next = elapsed + micros(CHECK_EVERY);
        if elapsed < due
            || NEXT_CHECK.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_err()
        {
            return;
        }
        let wanted = i64::try_from(wall()).unwrap_or(i64::MAX)
            - i64::try_from(self.wall + elapsed).unwrap_or(i64::MAX);
        let current = CORRECTION.load(Ordering::Relaxed);
        CORRECTION.store(slewed(current, wanted), Ordering::Relaxed);
    }
}

fn slewed(current: i64, wanted: i64) -> i64 {
    current + (wanted - current).clamp(-SLEW, SLEW)
}

#[allow(clippy::disallowed_methods, reason = "this is the one clock")]
fn wall() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, micros)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_runs_backwards_and_is_the_wall_clock_at_first() {
        let clock = Clock::new();
        let mut last = clock.now();
        assert!(last.micros().abs_diff(wall()) < 5_000_000);
        for _ in 0..1_000 {
            let now = clock.now();
            assert!(now >= last);
            last = now;
        }
    }

    #[test]
    fn a_set_wall_clock_is_followed_slowly() {
        assert_eq!(slewed(0, 3_600_000_000), SLEW);
        assert_eq!(slewed(0, -3_600_000_000), -SLEW);
        assert_eq!(slewed(500, 700), 700);
    }
}
