//! Writes that must not be given up while the database is unavailable: only this process knows
//! Slack's answer. They are fenced by lease tokens, so repeating a write that was already made
//! changes nothing.

use std::time::Duration;

use super::Delivery;
use crate::store;

/// Waits grow to this many times the first.
const LONGEST: u32 = 16;

/// The waits between the attempts of one write.
pub(super) struct Tries {
    first: Duration,
    factor: u32,
}

impl Tries {
    /// Waits if another attempt may succeed, and returns whether it may.
    pub(super) async fn again(&mut self, error: &store::Error) -> bool {
        if !passes(error) {
            return false;
        }
        if self.factor == 1 {
            tracing::warn!(%error, "the outbox cannot be written; retrying");
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

    /// The wait after an error of the store, before the same operation is tried again.
    pub(super) fn pause_after(&self, error: &store::Error) -> Duration {
        if passes(error) { self.inner.timing.retry } else { self.inner.timing.retry * LONGEST }
    }
}

/// Whether the error may pass by itself with time.
fn passes(error: &store::Error) -> bool {
    {
        use store::Error::{Busy, Contended, Full, Locked, Unavailable};
        matches!(error, Unavailable(_) | Busy | Contended(_) | Locked(_) | Full)
    }
}
