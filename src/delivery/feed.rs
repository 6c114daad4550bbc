//! The sequencer of the feeds: it numbers the changes that were committed, so that watchers of
//! deliveries and of channels see them (docs/decisions/0009-feed.md). Every replica runs one; they
//! take turns. A second loop wakes the watchers of this replica when another replica numbered
//! changes.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Delivery;
use crate::store;
use crate::telemetry::Rounds;

/// Changes numbered in one transaction.
const BATCH: u32 = 512;
/// The least time between two runs: under load a run numbers many changes instead of few.
const REST: Duration = Duration::from_millis(10);
/// While another replica has the turn, this one asks for it after a wait that doubles up to this
/// limit: the other replica may not have seen the changes committed here.
const LONGEST_REST: Duration = Duration::from_millis(200);

impl Delivery {
    pub(super) async fn number_changes(self, stop: CancellationToken) {
        let store = &self.inner.store;
        let mut troubled = false;
        let mut rest = REST;
        let rounds = self.watch("feed", self.inner.timing.poll);
        while !stop.is_cancelled() {
            let wait = match self.number_all(&rounds).await {
                Ok(all) => {
                    troubled = false;
                    rest = if all { REST } else { (rest * 2).min(LONGEST_REST) };
                    if all { self.inner.timing.poll } else { rest }
                }
                Err(error) => {
                    if !troubled {
                        tracing::warn!(%error, "changes were not numbered; retrying");
                    }
                    troubled = true;
                    self.pause_after(&error)
                }
            };
            let woken = async {
                tokio::time::sleep(REST).await;
                store.feed().written().notified().await;
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(wait.max(REST)) => {}
                () = woken, if !troubled => {}
            }
        }
        // The changes of the last turns are published before the process ends, as far as possible.
        if let Err(error) = self.number_all(&rounds).await {
            tracing::debug!(%error, "the last changes were not numbered; another replica does it");
        }
    }

    /// Wakes the watchers of feeds here when another replica numbered changes.
    pub(super) async fn follow_feeds(self, stop: CancellationToken) {
        let mut troubled = false;
        let rounds = self.watch("feeds of other replicas", self.inner.timing.follow);
        while !stop.is_cancelled() {
            rounds.next();
            let followed = match self.inner.store.feed().follow().await {
                Ok(()) => self.inner.store.channel_feed().follow().await,
                failed => failed,
            };
            if let Err(error) = &followed
                && !troubled
            {
                tracing::warn!(%error, "changes of other replicas were not read; retrying");
            }
            troubled = followed.is_err();
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(self.inner.timing.follow) => {}
            }
        }
    }

    /// Returns whether all changes were numbered; `false` if another replica has the turn.
    async fn number_all(&self, rounds: &Rounds) -> Result<bool, store::Error> {
        let store = &self.inner.store;
        let deliveries = loop {
            rounds.next();
            match store.feed().number(BATCH).await? {
                Some(BATCH..) => {}
                numbered => break numbered.is_some(),
            }
        };
        let channels = loop {
            rounds.next();
            match store.channel_feed().number(BATCH).await? {
                Some(BATCH..) => {}
                numbered => break numbered.is_some(),
            }
        };
        Ok(deliveries && channels)
    }
}
