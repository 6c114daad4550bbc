//! The pauses that Slack requested from this replica.
//!
//! The store reports them to every replica (`store::budgets`), but a moment later, and not while
//! the database is unavailable or slow. The replica that received the answer keeps to it at once,
//! whether or not the write succeeds.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::Method;
use crate::domain::ids::InstallationId;

/// Ends of pauses, by workspace and method. Its size is bounded by the pauses in force: expired
/// ones are removed when another is added.
#[derive(Debug, Default)]
pub(super) struct Pauses(Mutex<HashMap<(InstallationId, Method), Instant>>);

impl Pauses {
    /// Lets no call of this replica start for `after` from now. A longer pause stays.
    pub(super) fn keep(&self, id: InstallationId, method: Method, now: Instant, after: Duration) {
        let until = now + after;
        let mut pauses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pauses.retain(|_, until| *until > now);
        let kept = pauses.entry((id, method)).or_insert(until);
        *kept = until.max(*kept);
    }

    /// How long the pause still lasts; zero if there is none.
    pub(super) fn left(&self, id: InstallationId, method: Method, now: Instant) -> Duration {
        let pauses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let until = pauses.get(&(id, method));
        until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: InstallationId = InstallationId(uuid::Uuid::from_u128(1));
    const OTHER: InstallationId = InstallationId(uuid::Uuid::from_u128(2));

    #[test]
    fn a_wait_holds_its_own_key_until_it_is_over() {
        let (pauses, now) = (Pauses::default(), Instant::now());
        let (history, seconds) = (Method::ConversationsHistory, Duration::from_secs);
        pauses.keep(ONE, history, now, seconds(30));
        pauses.keep(ONE, history, now, seconds(10));
        assert_eq!(pauses.left(ONE, history, now), seconds(30));
        assert_eq!(pauses.left(ONE, Method::UsersInfo, now), Duration::ZERO);
        assert_eq!(pauses.left(OTHER, history, now), Duration::ZERO);
        let over = now + seconds(30);
        assert_eq!(pauses.left(ONE, history, over), Duration::ZERO);
        pauses.keep(OTHER, history, over, seconds(1));
        assert_eq!(pauses.0.lock().unwrap().len(), 1, "an expired pause is forgotten");
    }
}
