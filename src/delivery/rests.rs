//! Claims that got nothing: the row of the due lane is locked, another replica was faster, or
//! another transaction holds the budget's row. They are tried again after a wait that doubles each
//! time, so that one locked row neither makes the loop spin nor stops it.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

/// The first rest, and the longest.
const FIRST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(1);
/// After a message entered a lane, a queue is tried this long after its last attempt: the message
/// may be in another lane of the same queue.
const NEWS: Duration = Duration::from_millis(50);
/// Queues or accounts that are remembered.
const REMEMBERED: usize = 10_000;

pub(super) struct Rests<K>(HashMap<K, Rest>);

struct Rest {
    tried: Instant,
    length: Duration,
    until: Instant,
}

impl<K> Default for Rests<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq + Clone> Rests<K> {
    /// A claim got nothing. `jitter` is between 0 and 1.
    pub(super) fn in_vain(&mut self, key: &K, now: Instant, jitter: f64) {
        if self.0.len() >= REMEMBERED && !self.0.contains_key(key) {
            self.0.clear();
        }
        let before = self.0.get(key).map(|rest| rest.length * 2);
        let length = before.unwrap_or(FIRST).min(LONGEST);
        let until = now + length.mul_f64(0.5 + jitter / 2.0);
        self.0.insert(key.clone(), Rest { tried: now, length, until });
    }

    /// A claim got something.
    pub(super) fn served(&mut self, key: &K) {
        self.0.remove(key);
    }

    /// A message entered a lane.
    pub(super) fn news(&mut self) {
        for rest in self.0.values_mut() {
            rest.until = rest.until.min(rest.tried + NEWS);
        }
    }

    /// How long it is left untouched from now on.
    pub(super) fn left(&self, key: &K, now: Instant) -> Duration {
        self.0.get(key).map_or(Duration::ZERO, |rest| rest.until.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::capacity::budget::Budget;
    use crate::domain::capacity::priority::Class;
    use crate::domain::ids::{InstallationId, TenantId};
    use crate::store::QueueKey;

    fn key(tenant: &str) -> QueueKey {
        QueueKey {
            installation: InstallationId(uuid::Uuid::nil()),
            tenant: TenantId::parse(tenant).unwrap(),
            class: Class::Normal,
            budget: Budget::Posts,
        }
    }

    #[test]
    fn rests_double_up_to_a_second_and_news_shorten_them() {
        let (mut rests, now) = (Rests::default(), Instant::now());
        let mut seen = Vec::new();
        for _ in 0..9 {
            rests.in_vain(&key("a"), now, 1.0);
            seen.push(rests.left(&key("a"), now).as_millis());
        }
        assert_eq!(seen, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        assert_eq!(rests.left(&key("b"), now), Duration::ZERO);
        rests.news();
        assert_eq!(rests.left(&key("a"), now), NEWS);
        rests.served(&key("a"));
        assert_eq!(rests.left(&key("a"), now), Duration::ZERO);
    }
}
