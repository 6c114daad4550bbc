//! Limits the rate of an action for each of many keys: governor's buckets, in a bounded table.

use std::hash::Hash;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

/// Buckets kept. Beyond that number, full buckets are removed, since they carry no information.
const BUCKETS: usize = 10_000;

/// A bucket for each `K`.
#[derive(Debug)]
pub struct Rates<K: Clone + Eq + Hash> {
    limiter: Option<RateLimiter<K, HashMapStateStore<K>, DefaultClock>>,
    clock: DefaultClock,
}

impl<K: Clone + Eq + Hash> Rates<K> {
    /// `per_second` in the long run, and `burst` at once; 0 a second means no limit.
    pub fn new(per_second: u32, burst: u32) -> Self {
        let quota = NonZeroU32::new(per_second).map(|rate| {
            let quota = Quota::per_second(rate);
            NonZeroU32::new(burst).map_or(quota, |burst| quota.allow_burst(burst))
        });
        Self { limiter: quota.map(RateLimiter::hashmap), clock: DefaultClock::default() }
    }

    /// Takes one, or returns the time until one is available.
    pub fn take(&self, key: &K) -> Result<(), Duration> {
        let Some(limiter) = &self.limiter else {
            return Ok(());
        };
        if limiter.len() >= BUCKETS {
            limiter.retain_recent();
        }
        limiter.check_key(key).map_err(|early| early.wait_time_from(self.clock.now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_at_once_then_the_rate_and_each_by_itself() {
        let rates = Rates::new(1, 3);
        for _ in 0..3 {
            rates.take(&"one").unwrap();
        }
        let wait = rates.take(&"one").unwrap_err();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
        rates.take(&"other").unwrap();
    }

    #[test]
    fn no_rate_is_any_number() {
        let rates = Rates::new(0, 0);
        assert!((0..10_000).all(|_| rates.take(&1).is_ok()));
    }

    #[test]
    fn the_table_forgets_buckets_that_are_full() {
        // Each bucket is full again at once.
        let rates = Rates::new(u32::MAX, u32::MAX);
        for key in 0..3 * BUCKETS {
            rates.take(&key).unwrap();
        }
        assert!(rates.limiter.unwrap().len() <= BUCKETS + 1);
    }
}
