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
    /// The size of a bucket.
    burst: NonZeroU32,
    clock: DefaultClock,
}

impl<K: Clone + Eq + Hash> Rates<K> {
    /// `per_second` in the long run, and `burst` at once; 0 a second means no limit.
    pub fn new(per_second: u32, burst: u32) -> Self {
        let rate = NonZeroU32::new(per_second);
        let burst = NonZeroU32::new(burst).or(rate).unwrap_or(NonZeroU32::MIN);
        let quota = rate.map(|rate| Quota::per_second(rate).allow_burst(burst));
        Self { limiter: quota.map(RateLimiter::hashmap), burst, clock: DefaultClock::default() }
    }

    /// Takes one, or returns the time until one is available.
    pub fn take(&self, key: &K) -> Result<(), Duration> {
        self.take_many(key, NonZeroU32::MIN)
    }

    /// Takes so many at once, or returns the time until they are available. More than the burst
    /// counts as the burst: it is never available.
    pub fn take_many(&self, key: &K, amount: NonZeroU32) -> Result<(), Duration> {
        let Some(limiter) = &self.limiter else {
            return Ok(());
        };
        if limiter.len() >= BUCKETS {
            limiter.retain_recent();
        }
        match limiter.check_key_n(key, amount.min(self.burst)) {
            Ok(taken) => taken.map_err(|early| early.wait_time_from(self.clock.now())),
            // Not reached: the amount is at most the burst.
            Err(_) => Err(Duration::from_secs(1)),
        }
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
    fn many_are_taken_together_or_not_at_all() {
        let amount = |amount| NonZeroU32::new(amount).unwrap();
        let rates = Rates::new(1, 100);
        rates.take_many(&"one", amount(60)).unwrap();
        let wait = rates.take_many(&"one", amount(60)).unwrap_err();
        assert!(wait > Duration::from_secs(10) && wait <= Duration::from_secs(20), "{wait:?}");
        rates.take_many(&"one", amount(40)).unwrap();
        // More than the burst is all of it.
        rates.take_many(&"other", amount(1000)).unwrap();
        rates.take(&"other").unwrap_err();
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
