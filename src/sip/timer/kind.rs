//! The timers of RFC 3261 Table 4 and its updates: their names and how long each lasts (C-069).

use crate::sip::plan::Timings;
use std::time::Duration;

/// A timer by its name in the RFCs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Timer {
    /// INVITE client: sends the request again, over UDP; T1, doubling (RFC 3261 §17.1.1.2).
    A,
    /// INVITE client: gives up for want of any answer; 64*T1 (RFC 3261 §17.1.1.2).
    B,
    /// Proxy: how long an INVITE may ring; above 3 minutes (RFC 3261 §16.6 step 11).
    C,
    /// INVITE client: answers repeated non-2xx finals with the ACK; 32 s, 0 on streams
    /// (RFC 3261 §17.1.1.2).
    D,
    /// Non-INVITE client: sends the request again, over UDP; T1, doubling up to T2
    /// (RFC 3261 §17.1.2.2).
    E,
    /// Non-INVITE client: gives up; 64*T1 (RFC 3261 §17.1.2.2).
    F,
    /// INVITE server: sends the non-2xx final again, over UDP; T1, doubling up to T2
    /// (RFC 3261 §17.2.1).
    G,
    /// INVITE server: gives up waiting for the ACK; 64*T1 (RFC 3261 §17.2.1).
    H,
    /// INVITE server: absorbs repeated ACKs; T4, 0 on streams (RFC 3261 §17.2.1).
    I,
    /// Non-INVITE server: answers repeated requests; 64*T1, 0 on streams (RFC 3261 §17.2.2).
    J,
    /// Non-INVITE client: absorbs repeated finals; T4, 0 on streams (RFC 3261 §17.1.2.2).
    K,
    /// INVITE server: absorbs repeated INVITEs after a 2xx; 64*T1 (RFC 6026 §7.1).
    L,
    /// INVITE client: lets further 2xx pass; 64*T1 (RFC 6026 §7.2).
    M,
    /// Subscriber: how long to wait for the NOTIFY that a request asked for; 64*T1 (RFC 6665 §4.1.2).
    N,
    /// INVITE server: sends 100 if nothing else was sent; at most 200 ms (RFC 3261 §17.2.1, C-076).
    Trying,
    /// Non-INVITE server: sends 100 if nothing else was sent; when the client's Timer E has grown to
    /// T2 (RFC 4320 §4.1, C-077).
    LateTrying,
    /// Non-INVITE server: gives up on its user, since the client's Timer F is over and nothing may be
    /// sent any more (RFC 4320 §4.2, C-078).
    Unanswered,
    /// INVITE client: gives up on a final response after a CANCEL; 64*T1 (RFC 3261 §9.1, C-086).
    Cancelled,
}

/// What only waits ends at whole multiples of this: nobody notices that it is later, and the ends of
/// many calls cost one wake-up together.
pub const WAITS_END: Duration = Duration::from_millis(100);

impl Timer {
    /// Whether the timer does nothing but keep a state for what may still be repeated.
    pub const fn only_waits(self) -> bool {
        matches!(self, Timer::D | Timer::I | Timer::J | Timer::K | Timer::L | Timer::M)
    }

    /// How long the timer runs; for those that repeat, `nth` counts the times it has fired.
    /// `reliable` is whether the transport retransmits by itself (C-075).
    pub fn after(self, nth: u8, timings: &Timings, reliable: bool) -> Duration {
        let absorb = |span: Duration| if reliable { Duration::ZERO } else { span };
        match self {
            Timer::A => doubled(timings.t1, nth),
            Timer::E | Timer::G => doubled(timings.t1, nth).min(timings.t2),
            Timer::B | Timer::F | Timer::H | Timer::L | Timer::M | Timer::N | Timer::Cancelled => {
                sixty_four_t1(timings)
            }
            Timer::C => timings.c,
            Timer::D => absorb(timings.d),
            Timer::I | Timer::K => absorb(timings.t4),
            Timer::J => absorb(sixty_four_t1(timings)),
            Timer::Trying => timings.trying,
            Timer::LateTrying => late_trying(timings),
            // One T4 beyond the client's Timer F, for a request that was long under way.
            Timer::Unanswered => sixty_four_t1(timings).saturating_add(timings.t4),
        }
    }
}

fn sixty_four_t1(timings: &Timings) -> Duration {
    timings.t1.saturating_mul(64)
}

fn doubled(t1: Duration, nth: u8) -> Duration {
    t1.saturating_mul(1 << nth.min(16))
}

/// The sum of Timer E's intervals before it reaches T2: T1 + 2*T1 + … (RFC 4320 §4.1).
fn late_trying(timings: &Timings) -> Duration {
    let mut sum = Duration::ZERO;
    for nth in 0..16 {
        let interval = doubled(timings.t1, nth);
        if interval >= timings.t2 {
            break;
        }
        sum = sum.saturating_add(interval);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(timer: Timer, nth: u8, reliable: bool) -> u128 {
        timer.after(nth, &Timings::default(), reliable).as_millis()
    }

    /// [C-069] Table 4 of RFC 3261 with its default base values.
    #[test]
    fn default_values() {
        assert_eq!([0, 1, 2, 6].map(|n| ms(Timer::A, n, false)), [500, 1_000, 2_000, 32_000]);
        assert_eq!([0, 1, 2, 3, 9].map(|n| ms(Timer::E, n, false)), [500, 1_000, 2_000, 4_000, 4_000]);
        assert_eq!([0, 3, 200].map(|n| ms(Timer::G, n, false)), [500, 4_000, 4_000]);
        for timer in [Timer::B, Timer::F, Timer::H, Timer::L, Timer::M, Timer::N, Timer::Cancelled] {
            assert_eq!(ms(timer, 0, false), 32_000);
            assert_eq!(ms(timer, 0, true), 32_000);
        }
        assert!(ms(Timer::C, 0, false) > 180_000);
        assert_eq!(ms(Timer::Trying, 0, false), 150);
    }

    /// [C-075] What only absorbs retransmissions lasts no time on streams.
    #[test]
    fn absorbing_timers_are_zero_on_streams() {
        for (timer, unreliable) in
            [(Timer::D, 32_000), (Timer::I, 5_000), (Timer::J, 32_000), (Timer::K, 5_000)]
        {
            assert_eq!(ms(timer, 0, false), unreliable);
            assert_eq!(ms(timer, 0, true), 0);
        }
    }

    /// [C-069] All values follow T1, T2 and T4.
    #[test]
    fn derived_from_the_base_values() {
        let timings = Timings {
            t1: Duration::from_millis(100),
            t2: Duration::from_millis(700),
            t4: Duration::from_secs(1),
            ..Timings::default()
        };
        assert_eq!(Timer::B.after(0, &timings, false), Duration::from_millis(6_400));
        assert_eq!(Timer::E.after(3, &timings, false), Duration::from_millis(700));
        assert_eq!(Timer::K.after(0, &timings, false), Duration::from_secs(1));
    }

    /// [C-077] 0.5 + 1 + 2 seconds: then the client's interval is T2.
    #[test]
    fn late_trying_waits_for_timer_e_to_reach_t2() {
        assert_eq!(ms(Timer::LateTrying, 0, false), 3_500);
        let same = Timings { t2: Duration::from_millis(500), ..Timings::default() };
        assert_eq!(Timer::LateTrying.after(0, &same, false), Duration::ZERO);
    }

    #[test]
    fn absurd_counts_do_not_overflow() {
        let timings = Timings { t1: Duration::MAX, t2: Duration::MAX, ..Timings::default() };
        assert_eq!(Timer::A.after(255, &timings, false), Duration::MAX);
        assert_eq!(Timer::LateTrying.after(0, &timings, false), Duration::ZERO);
    }
}
