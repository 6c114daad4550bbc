//! Writes that must not be given up while the database is away: what Slack answered is known to
//! nobody else.

use std::time::Duration;

use super::Delivery;
use crate::store;

/// Waits grow to this many times the first.
const LONGEST: u32 = 16;

impl Delivery {
    /// Does `work` until it succeeds, or fails for a reason that waiting does not mend. It is fenced
    /// by its lease token, so that a repeat of what was done already changes nothing.
    pub(super) async fn insist<T>(
        &self,
        work: impl AsyncFn() -> Result<T, store::Error>,
    ) -> Result<T, store::Error> {
        let mut factor = 1;
        loop {
            match work().await {
                Err(error) if passes(&error) => {
                    if factor == 1 {
                        tracing::warn!(%error, "the outbox cannot be written; trying on");
                    }
                    tokio::time::sleep(self.inner.timing.retry.mul_f64(0.1) * factor).await;
                    factor = (factor * 2).min(LONGEST);
                }
                done => return done,
            }
        }
    }

    /// The wait after an error of the store, before the same is asked again.
    pub(super) fn pause_after(&self, error: &store::Error) -> Duration {
        if passes(error) { self.inner.timing.retry } else { self.inner.timing.retry * LONGEST }
    }
}

/// Whether time alone can mend it.
fn passes(error: &store::Error) -> bool {
    matches!(
        error,
        store::Error::Unavailable(_) | store::Error::Contended(_) | store::Error::Full
    )
}
