//! How many calls a second each caller may make at this replica: a bucket for each principal, so
//! that one caller's loop does not take what the others need.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::domain::ids::Principal;

/// Buckets kept; full ones, which say nothing, go first.
const BUCKETS: usize = 10_000;

/// The buckets of all callers.
#[derive(Debug)]
pub(super) struct Quotas {
    /// Between two calls of a caller, over time; zero where there is no quota.
    interval: Duration,
    /// When each bucket will be full again.
    full_at: Mutex<HashMap<Principal, Instant>>,
}

impl Quotas {
    /// `per_second`: calls of one caller; 0 for any number. A second's worth may come at once.
    pub(super) fn new(per_second: u32) -> Self {
        let interval = Duration::from_secs(1).checked_div(per_second).unwrap_or_default();
        Self { interval, full_at: Mutex::default() }
    }

    /// Takes one call out of the caller's bucket, or says when there will be one.
    pub(super) fn take(&self, caller: &Principal, now: Instant) -> Result<(), Duration> {
        if self.interval.is_zero() {
            return Ok(());
        }
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        if full_at.len() >= BUCKETS && !full_at.contains_key(caller) {
            full_at.retain(|_, full_at| *full_at > now);
        }
        let before = full_at.get(caller).map_or(now, |full_at| (*full_at).max(now));
        let after = before + self.interval;
        match after.checked_duration_since(now + Duration::from_secs(1)) {
            Some(too_soon) if !too_soon.is_zero() => Err(too_soon),
            _ => {
                full_at.insert(caller.clone(), after);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seconds_worth_at_once_then_the_rate_and_each_caller_by_itself() {
        let (quotas, now) = (Quotas::new(10), Instant::now());
        let (one, other) = (Principal::parse("one").unwrap(), Principal::parse("other").unwrap());
        for _ in 0..10 {
            quotas.take(&one, now).unwrap();
        }
        assert_eq!(quotas.take(&one, now), Err(Duration::from_millis(100)));
        quotas.take(&other, now).unwrap();
        let later = now + Duration::from_millis(250);
        assert!(quotas.take(&one, later).is_ok() && quotas.take(&one, later).is_ok());
        assert_eq!(quotas.take(&one, later), Err(Duration::from_millis(50)));
    }

    #[test]
    fn without_a_quota_there_is_no_bound() {
        let quotas = Quotas::new(0);
        let one = Principal::parse("one").unwrap();
        assert!((0..10_000).all(|_| quotas.take(&one, Instant::now()).is_ok()));
    }
}
