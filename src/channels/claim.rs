//! The claim loop: it claims channels that are due and gives each of them one turn.
//!
//! It wakes when this process takes a wish or an event, when a turn ends, when the next channel is
//! due, and at the poll interval for changes by other replicas. A second loop counts channels for
//! the metrics.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Channels;
use super::turn::ChannelWork;
use crate::store;
use crate::telemetry::Rounds;

/// The least time before the next look: a channel that is due may be another replica's by then.
const SHORTEST: Duration = Duration::from_millis(5);

impl Channels {
    /// Works until stopped: then it claims no more, and returns when the turns under way have given
    /// their leases back. The caller bounds that wait by dropping the future: the leases of the
    /// interrupted turns run out, and another replica continues.
    pub async fn run(self, stop: CancellationToken) {
        tokio::join!(self.claims(&stop), self.counts(&stop));
    }

    async fn claims(&self, stop: &CancellationToken) {
        let mut turns = JoinSet::new();
        let mut troubled = false;
        let poll = self.inner.timing.poll;
        let rounds = self.watch("channels", poll);
        while !stop.is_cancelled() {
            match self.round(&rounds, &mut turns, stop).await {
                Ok(rest) => {
                    troubled = false;
                    self.rest(rest, &mut turns, stop).await;
                }
                Err(error) => {
                    if !troubled {
                        tracing::warn!(%error, "due channels cannot be looked up; retrying");
                    }
                    troubled = true;
                    self.rest(poll, &mut turns, stop).await;
                }
            }
        }
        while let Some(ended) = turns.join_next().await {
            report(&ended);
        }
    }

    /// Gives every free worker a channel that is due. Returns when to look again.
    async fn round(
        &self,
        rounds: &Rounds,
        turns: &mut JoinSet<()>,
        stop: &CancellationToken,
    ) -> Result<Duration, store::Error> {
        let (store, timing) = (&self.inner.store, &self.inner.timing);
        while turns.len() < self.inner.workers && !stop.is_cancelled() {
            rounds.next();
            // Before the claim, so that the lease ends no earlier than this replica believes.
            let until = Instant::now() + timing.lease;
            let Some(lease) = store.channels().claim(timing.lease).await? else {
                let next = store.channels().next_due().await?;
                let next = next.unwrap_or(timing.poll).min(timing.poll);
                return Ok(next.max(SHORTEST));
            };
            turns.spawn(ChannelWork::new(self.clone(), lease, until, stop.clone()).run());
        }
        rounds.next();
        // A turn that ends ends the rest.
        Ok(timing.poll)
    }

    async fn rest(&self, rest: Duration, turns: &mut JoinSet<()>, stop: &CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            Some(ended) = turns.join_next() => report(&ended),
            () = self.inner.store.channels().woken().notified() => {}
            () = tokio::time::sleep(rest) => {}
        }
    }

    async fn counts(&self, stop: &CancellationToken) {
        let rounds = self.watch("channel counts", self.inner.timing.count);
        loop {
            rounds.next();
            match self.inner.store.channels().totals().await {
                Ok(totals) => {
                    for (state, count) in totals.channels {
                        self.inner.metrics.channels(state.code(), count);
                    }
                    for (state, count) in totals.members {
                        self.inner.metrics.channel_members(state.code(), count);
                    }
                }
                Err(error) => tracing::debug!(%error, "channels were not counted"),
            }
            let rest = tokio::time::sleep(self.inner.timing.count);
            if stop.run_until_cancelled(rest).await.is_none() {
                return;
            }
        }
    }
}

/// A turn that panicked keeps its lease until that runs out, and concerns no other channel.
fn report(ended: &Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "the turn of a channel panicked");
    }
}
