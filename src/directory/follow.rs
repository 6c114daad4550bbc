//! Keeps the lists in memory close to the store: by hints, and by reading the pointers of all lists
//! in memory once a poll interval, whether or not they are in use. The poll bounds how far a
//! replica is behind; a hint only makes the update sooner.

use std::collections::{BTreeSet, HashMap};

use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Duration, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{Directory, Error};
use crate::domain::directory::snapshot::SnapshotCounts;
use crate::domain::ids::InstallationId;
use crate::store::{DirectoryPointer, Hint};

/// How often the state of all lists is measured.
const MEASURE: Duration = Duration::from_secs(15);

impl Directory {
    /// Runs until stopped.
    pub async fn run_follower(self, stop: CancellationToken) {
        let hearing = self.inner.store.member_lists().run_hints();
        let following = self.follow_hints();
        let looking = self.look();
        let measuring = self.measure();
        tokio::select! {
            () = stop.cancelled() => {}
            _ = async { tokio::join!(hearing, following, looking, measuring) } => {}
        }
    }

    async fn follow_hints(&self) {
        let mut hints = self.inner.store.member_lists().hints();
        loop {
            match hints.recv().await {
                Ok(Hint::Moved(id)) => self.follow(&[id]).await,
                Ok(Hint::Missed) | Err(RecvError::Lagged(_)) => self.follow_all().await,
                Err(RecvError::Closed) => return,
            }
        }
    }

    async fn look(&self) {
        let mut looks = tokio::time::interval(self.poll_interval());
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let rounds = self.watch("follower", self.poll_interval());
        loop {
            looks.tick().await;
            rounds.next();
            self.follow_all().await;
        }
    }

    async fn follow_all(&self) {
        let ids: BTreeSet<InstallationId> =
            self.inner.snapshots.iter().map(|(key, _)| key.0).collect();
        self.follow(&ids.into_iter().collect::<Vec<_>>()).await;
        self.count();
    }

    /// Reads the pointers of these lists and loads those that are newer than memory.
    async fn follow(&self, ids: &[InstallationId]) {
        if let Err(error) = self.catch_up(ids).await {
            // The health watch reports a database that is unavailable.
            tracing::debug!(%error, "could not check for newer member lists; retrying");
        }
    }

    async fn catch_up(&self, ids: &[InstallationId]) -> Result<(), Error> {
        if ids.is_empty() {
            return Ok(());
        }
        // The next caller reads the pointer anew, and waits for nothing else.
        for id in ids {
            self.inner.pointers.invalidate(id).await;
        }
        let pointers = self.inner.store.member_lists().pointers(ids).await?;
        let pointers: HashMap<InstallationId, DirectoryPointer> =
            pointers.into_iter().map(|pointer| (pointer.installation, pointer)).collect();
        for (key, loaded) in &self.inner.snapshots {
            let newer = pointers.get(&key.0).is_some_and(|pointer| !loaded.follows(pointer));
            // A caller that looks now waits for the load.
            if newer && loaded.snapshot.is_none() {
                self.arrived(key.0);
            }
            if let Some(mapping) = loaded.mapping.clone().filter(|_| newer) {
                self.reload_behind(key.as_ref().clone(), mapping, loaded);
            }
        }
        self.inner.published.notify_waiters();
        Ok(())
    }

    /// Counts the members in memory, by kind, as a metric.
    fn count(&self) {
        let mut all = SnapshotCounts::default();
        for (_, loaded) in &self.inner.snapshots {
            let Some(snapshot) = &loaded.snapshot else { continue };
            let counts = snapshot.counts();
            all.matchable += counts.matchable;
            all.no_email += counts.no_email;
            all.deactivated += counts.deactivated;
            all.bots += counts.bots;
        }
        let by_kind = [
            ("matchable", all.matchable),
            ("no_email", all.no_email),
            ("deactivated", all.deactivated),
            ("bot", all.bots),
        ];
        for (kind, count) in by_kind {
            self.inner.metrics.directory_members(kind, count as u64);
        }
    }

    /// Measures all lists in use from the store, as metrics: each replica reports the same.
    async fn measure(&self) {
        let mut times = tokio::time::interval(self.scaled(MEASURE));
        times.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            times.tick().await;
            let statistics =
                match self.inner.store.member_lists().statistics(self.max_stale()).await {
                    Ok(statistics) => statistics,
                    Err(error) => {
                        tracing::debug!(%error, "the metrics of member lists were not updated");
                        continue;
                    }
                };
            let metrics = &self.inner.metrics;
            for (condition, count) in [
                ("in_use", statistics.in_use),
                ("never_read", statistics.never_read),
                ("stale", statistics.stale),
                ("failing", statistics.failing),
                ("shrink_pending", statistics.shrink_pending),
                ("crawling", statistics.crawling),
            ] {
                metrics.directory_workspaces(condition, count);
            }
            metrics.directory_age(statistics.oldest, statistics.overdue);
            metrics.crawl_progress(statistics.crawl_pages, statistics.crawl_members);
        }
    }
}
