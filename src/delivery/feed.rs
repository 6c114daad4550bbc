//! The sequencer of the feed: numbers the changes that were committed, so that whoever watches
//! deliveries sees them (docs/decisions/0009-feed.md). Every replica runs one; they take turns.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Delivery;
use crate::store;

/// Changes numbered in one transaction.
const BATCH: u32 = 512;
/// The least time between two runs: under load a run numbers many changes instead of few.
const REST: Duration = Duration::from_millis(10);

impl Delivery {
    pub(super) async fn number_changes(self, stop: CancellationToken) {
        let store = &self.inner.store;
        let mut troubled = false;
        while !stop.is_cancelled() {
            let wait = match self.number_all().await {
                Ok(()) => {
                    troubled = false;
                    self.inner.timing.poll
                }
                Err(error) => {
                    if !troubled {
                        tracing::warn!(%error, "changes of deliveries are not told; trying on");
                    }
                    troubled = true;
                    self.pause_after(&error)
                }
            };
            let woken = async {
                tokio::time::sleep(REST).await;
                store.changes_written().notified().await;
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(wait.max(REST)) => {}
                () = woken, if !troubled => {}
            }
        }
        // What the last turns committed is told before the process ends, as far as it goes.
        if let Err(error) = self.number_all().await {
            tracing::debug!(%error, "the last changes are left to another replica");
        }
    }

    async fn number_all(&self) -> Result<(), store::Error> {
        while self.inner.store.number_changes(BATCH).await? == BATCH {}
        Ok(())
    }
}
