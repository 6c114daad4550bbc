//! The wait before an attempt that follows failed ones.

use std::time::Duration;

/// Exponential, with the upper half jittered: `attempt` 1 waits between half and all of `first`,
/// and each later one up to twice as long as the one before, up to `longest`. `dice` is in `[0, 1)`
/// and spreads attempts over the upper half of the wait.
#[must_use]
pub fn backoff(attempt: u32, dice: f64, first: Duration, longest: Duration) -> Duration {
    let doublings = attempt.saturating_sub(1).min(20);
    let full = first.saturating_mul(1 << doublings).min(longest);
    full.mul_f64(0.5 + dice.clamp(0.0, 1.0) / 2.0)
}

/// The number of the next attempt at something that has been going on for this time, so that the
/// waits double: for attempts that no one counts.
#[must_use]
pub fn attempt_after(elapsed: Duration, first: Duration) -> u32 {
    let waits = elapsed.as_micros() / first.as_micros().max(1);
    waits.max(1).ilog2() + 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIRST: Duration = Duration::from_secs(30);
    const LONGEST: Duration = Duration::from_secs(600);

    #[test]
    fn the_waits_of_attempts_that_no_one_counts_double() {
        let seconds = Duration::from_secs;
        for (elapsed, attempt) in [(0, 1), (30, 1), (59, 1), (60, 2), (120, 3), (3_600, 7)] {
            assert_eq!(attempt_after(seconds(elapsed), FIRST), attempt, "{elapsed}");
        }
        assert!(attempt_after(Duration::MAX, Duration::ZERO) > 20);
    }

    proptest! {
        #[test]
        fn a_wait_is_bounded_and_never_zero(attempt in any::<u32>(), dice in 0.0f64..1.0) {
            let wait = backoff(attempt, dice, FIRST, LONGEST);
            prop_assert!(wait >= FIRST / 2 && wait <= LONGEST);
        }
    }
}
