//! Writes that must not be given up while the database is away: what Slack answered is known to
//! nobody else. They are fenced by lease tokens, so a repeat of what was done already changes
//! nothing.

use std::time::Duration;

use super::Delivery;
use crate::store;

/// Waits grow to this many times the first.
const LONGEST: u32 = 16;

/// The waits between the tries of one write.
pub(super) struct Tries {
    first: Duration,
    factor: u32,
}

impl Tries {
    /// Waits where another try may succeed, and says so.
    pub(super) async fn again(&mut self, error: &store::Error) -> bool {
        if !passes(error) {
            return false;
        }
        if self.factor == 1 {
            tracing::warn!(%error, "the outbox cannot be written; trying on");
        }
        tokio::time::sleep(self.first * self.factor).await;
        self.factor = (self.factor * 2).min(LONGEST);
        true
    }
}

impl Delivery {
    pub(super) fn tries(&self) -> Tries {
        Tries { first: self.inner.timing.retry / 10, factor: 1 }
    }

    /// The wait after an error of the store, before the same is asked again.
    pub(super) fn pause_after(&self, error: &store::Error) -> Duration {
        if passes(error) { self.inner.timing.retry } else { self.inner.timing.retry * LONGEST }
    }
}

/// Whether time alone can mend it.
fn passes(error: &store::Error) -> bool {
    {
        use store::Error::{Busy, Contended, Full, Locked, Unavailable};
        matches!(error, Unavailable(_) | Busy | Contended(_) | Locked(_) | Full)
    }
}
