//! Periodic work that keeps the outbox small and moving: it repairs lanes, ends overdue messages,
//! moves ended ones to history and removes old data. Every replica does it; each step is safe when
//! others run it at the same time.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Delivery;
use crate::domain::delivery::State;
use crate::domain::ids::ManagedChannelId;
use crate::{store, telemetry};

/// Rows per step.
const BATCH: u32 = 500;
/// Notifications per step, with their deliveries; each may have a thousand.
const FORGOTTEN: u32 = 200;
/// Lanes that a step looks at, in the order of their keys: for lanes to repair, whose heads are
/// read, and for idle lanes.
const REPAIRED: u32 = 1_000;
const LANES: u32 = 5_000;
/// Channels with waiting messages that a step looks at, in the order of their ids.
const CHANNELS: u32 = 100;
/// The part of the time between two rounds that one kind of work may take. The rest is left to the
/// next round, so that a backlog of one kind does not starve the others.
const SHARE: u32 = 6;

/// One kind of work. Each runs separately: if one fails, the others continue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Part {
    Lanes,
    Channels,
    Overdue,
    Archive,
    Replays,
    Feed,
    Notifications,
    IdleLanes,
    Sweeps,
    Previews,
    Keys,
    Unread,
    Health,
}

impl Part {
    const ALL: [Self; 13] = [
        Self::Lanes,
        Self::Channels,
        Self::Overdue,
        Self::Archive,
        Self::Replays,
        Self::Feed,
        Self::Notifications,
        Self::IdleLanes,
        Self::Sweeps,
        Self::Previews,
        Self::Keys,
        Self::Unread,
        Self::Health,
    ];

    /// The name in metrics and logs.
    fn name(self) -> &'static str {
        match self {
            Self::Lanes => "lanes",
            Self::Channels => "channels",
            Self::Overdue => "overdue",
            Self::Archive => "archive",
            Self::Replays => "replays",
            Self::Feed => "feed",
            Self::Notifications => "notifications",
            Self::IdleLanes => "idle_lanes",
            Self::Sweeps => "sweeps",
            Self::Previews => "previews",
            Self::Keys => "keys",
            Self::Unread => "unread",
            Self::Health => "health",
        }
    }
}

/// State kept from round to round.
#[derive(Debug, Default)]
struct Progress {
    /// Parts that failed in the last round, which was logged.
    troubled: HashSet<Part>,
    /// The key from which the search for lanes to repair continues.
    repair: Option<store::LaneKey>,
    /// The channel from which the search for waiting messages continues.
    channel: Option<ManagedChannelId>,
    /// The key from which the search for idle lanes continues.
    lane: Option<store::LaneKey>,
    /// The key of a person from which the search for unused keys continues.
    key: Option<store::KeyPosition>,
}

impl Delivery {
    pub(super) async fn upkeep(self, stop: CancellationToken) {
        let mut rounds = tokio::time::interval(self.inner.timing.upkeep);
        let watched = self.watch("upkeep", self.inner.timing.upkeep);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut progress = Progress::default();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = rounds.tick() => {}
            }
            for part in Part::ALL {
                let done = self.work_off(part, &mut progress, &watched, &stop).await;
                self.note(part, &mut progress, done);
            }
        }
    }

    /// Logs when a part begins to fail, and when it works again.
    fn note(&self, part: Part, progress: &mut Progress, done: Result<(), store::Error>) {
        let name = part.name();
        match done {
            Ok(()) => {
                if progress.troubled.remove(&part) {
                    tracing::info!(part = name, "upkeep of the outbox works again");
                }
            }
            Err(error) => {
                self.inner.metrics.upkeep_failed(name);
                if progress.troubled.insert(part) {
                    tracing::warn!(part = name, %error, "upkeep of the outbox failed; retrying");
                }
            }
        }
    }

    /// Runs steps of one part, until one finds nothing more or the part has had its share of time.
    async fn work_off(
        &self,
        part: Part,
        progress: &mut Progress,
        watched: &telemetry::Rounds,
        stop: &CancellationToken,
    ) -> Result<(), store::Error> {
        let until = Instant::now() + self.share();
        while !stop.is_cancelled() {
            watched.next();
            let more = self.step(part, progress).await?;
            if !more || Instant::now() >= until {
                break;
            }
        }
        Ok(())
    }

    fn share(&self) -> Duration {
        self.inner.timing.upkeep / SHARE
    }

    /// Runs one bounded step. Returns `true` if there may be more to do.
    async fn step(&self, part: Part, progress: &mut Progress) -> Result<bool, store::Error> {
        let (store, timing) = (&self.inner.store, &self.inner.timing);
        let full = |done: u64| done >= u64::from(BATCH);
        Ok(match part {
            Part::Lanes => {
                let after = progress.repair.take();
                let step = store.lanes().repair(after.as_ref(), REPAIRED).await?;
                let repaired = step.repaired;
                if repaired > 0 {
                    tracing::info!(repaired, "sleeping conversations with messages were woken");
                }
                progress.repair = step.next;
                progress.repair.is_some()
            }
            Part::Channels => {
                let after = progress.channel.take();
                progress.channel = store.waiting().sweep_channels(after, CHANNELS).await?;
                progress.channel.is_some() || full(store.channels().forget_releases(BATCH).await?)
            }
            Part::Overdue => {
                let expired = store.ends().expire_overdue(BATCH).await?;
                self.inner.metrics.deliveries(State::Expired.code(), expired);
                full(expired)
            }
            Part::Archive => full(store.ends().archive(timing.archive_after, BATCH).await?),
            Part::Replays => full(store.outbox().prune_replays(store::IDEMPOTENCY, BATCH).await?),
            Part::Feed => {
                let deliveries = full(store.feed().prune(timing.feed_kept, BATCH).await?);
                full(store.channel_feed().prune(timing.feed_kept, BATCH).await?) || deliveries
            }
            // Fewer than asked for if they had many deliveries.
            Part::Notifications => {
                store.ends().forget_notifications(timing.history_kept, FORGOTTEN).await? > 0
            }
            Part::IdleLanes => {
                let after = progress.lane.take();
                let (_, next) =
                    store.ends().forget_lanes(after.as_ref(), timing.history_kept, LANES).await?;
                progress.lane = next;
                progress.lane.is_some()
            }
            Part::Sweeps => full(store.ends().forget_sweeps(timing.history_kept, BATCH).await?),
            Part::Previews => full(store.previews().forget(BATCH).await?),
            // One step a round: there is no hurry, and each looks at the rows of many people.
            Part::Keys => {
                let (_, next) = store.ends().forget_keys(progress.key.as_ref(), BATCH).await?;
                progress.key = next;
                false
            }
            Part::Unread => {
                store.upkeep().count_unread().await?;
                false
            }
            Part::Health => {
                store.upkeep().tidy().await?;
                self.inner.metrics.outbox(&store.upkeep().health().await?.into());
                false
            }
        })
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
