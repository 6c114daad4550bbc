//! The claim loop: lanes that are due, each given one turn.
//!
//! It wakes when this process accepted something, when a turn ends, when the next lane is due, and
//! at the poll interval for what other replicas accepted. Turns end by releasing their lane, so a
//! long lane is claimed once a message and never keeps a worker from the others.

use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::Delivery;
use crate::store;

/// Where the clock of the database is coarser than ours, a lane may be due a moment later than it
/// said: looked again not sooner than this.
const SHORTEST: Duration = Duration::from_millis(1);

impl Delivery {
    pub(super) async fn claim(self, stop: CancellationToken) {
        let mut turns = JoinSet::new();
        let mut troubled = false;
        while !stop.is_cancelled() {
            let wait = match self.fill(&mut turns, &stop).await {
                Ok(wait) => {
                    troubled = false;
                    wait
                }
                Err(error) => {
                    if !troubled {
                        tracing::warn!(%error, "lanes cannot be claimed; trying on");
                    }
                    troubled = true;
                    Some(self.pause_after(&error))
                }
            };
            let due = async {
                match wait {
                    Some(wait) => tokio::time::sleep(wait.max(SHORTEST)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                Some(ended) = turns.join_next() => report(ended),
                () = self.inner.store.lanes_woken().notified(), if !troubled => {}
                () = due => {}
            }
            while let Some(ended) = turns.try_join_next() {
                report(ended);
            }
        }
        while let Some(ended) = turns.join_next().await {
            report(ended);
        }
    }

    /// Claims as many lanes as there are free workers. Answers when to look again: `None` where
    /// every worker is busy, so that the end of a turn comes first.
    async fn fill(
        &self,
        turns: &mut JoinSet<()>,
        stop: &CancellationToken,
    ) -> Result<Option<Duration>, store::Error> {
        let free = self.inner.workers.saturating_sub(turns.len());
        if free == 0 {
            return Ok(None);
        }
        let timing = &self.inner.timing;
        let limit = u32::try_from(free).unwrap_or(u32::MAX);
        let claims = self.inner.store.claim_lanes(limit, timing.lease).await?;
        self.inner.metrics.lanes_claimed(claims.len() as u64);
        let all_busy = claims.len() == free;
        for claim in claims {
            turns.spawn(self.clone().turn(claim, stop.clone()));
        }
        if all_busy {
            return Ok(None);
        }
        let due = self.inner.store.next_due().await?;
        Ok(Some(due.map_or(timing.poll, |due| due.min(timing.poll))))
    }
}

/// A turn that panicked leaves its lease to run out; whoever claims the lane then counts the crash.
fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!("a worker panicked; its conversation is taken up again after the lease");
    }
}
