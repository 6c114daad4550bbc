//! What keeps the outbox small and moving, now and then: lanes set right, overdue messages ended,
//! ended ones moved to history. Every replica does it; each step is safe against the others.

use tokio_util::sync::CancellationToken;

use super::Delivery;
use crate::domain::delivery::State;
use crate::{store, telemetry};

/// Rows a step.
const BATCH: u32 = 500;
/// Notifications a step; each may have a thousand deliveries.
const FORGOTTEN: u32 = 20;
/// Steps of one kind in a round, so that a backlog of one kind does not starve the others.
const STEPS: usize = 100;

impl Delivery {
    pub(super) async fn upkeep(self, stop: CancellationToken) {
        let mut rounds = tokio::time::interval(self.inner.timing.upkeep);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = rounds.tick() => {}
            }
            if let Err(error) = self.round(&stop).await {
                tracing::warn!(%error, "upkeep of the outbox stopped short; the next round goes on");
            }
        }
    }

    async fn round(&self, stop: &CancellationToken) -> Result<(), store::Error> {
        let store = &self.inner.store;
        let repaired = store.repair_lanes().await?;
        if repaired > 0 {
            tracing::info!(repaired, "conversations that slept with work were woken");
        }
        for _ in 0..STEPS {
            let expired = store.expire_overdue(BATCH).await?;
            self.inner.metrics.deliveries(State::Expired.code(), expired);
            if expired < u64::from(BATCH) || stop.is_cancelled() {
                break;
            }
        }
        for _ in 0..STEPS {
            let moved = store.archive(self.inner.timing.archive_after, BATCH).await?;
            if moved < u64::from(BATCH) || stop.is_cancelled() {
                break;
            }
        }
        for _ in 0..STEPS {
            let pruned = store.prune_replays(store::IDEMPOTENCY, BATCH).await?;
            if pruned < u64::from(BATCH) || stop.is_cancelled() {
                break;
            }
        }
        for _ in 0..STEPS {
            let pruned = store.prune_changes(self.inner.timing.feed_kept, BATCH).await?;
            if pruned < u64::from(BATCH) || stop.is_cancelled() {
                break;
            }
        }
        for _ in 0..STEPS {
            let kept = self.inner.timing.history_kept;
            let forgotten = store.forget_notifications(kept, FORGOTTEN).await?;
            if forgotten < u64::from(FORGOTTEN) || stop.is_cancelled() {
                break;
            }
        }
        self.inner.metrics.outbox(&store.outbox_health().await?.into());
        Ok(())
    }
}

impl From<store::OutboxHealth> for telemetry::Outbox {
    fn from(health: store::OutboxHealth) -> Self {
        Self {
            ready_age: health.ready_age,
            rows: health.rows,
            dead_rows: health.dead_rows,
            oldest_snapshot_age: health.oldest_snapshot_age,
        }
    }
}
