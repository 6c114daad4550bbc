//! The background task that keeps lists fresh: every replica runs one, and a lease in the store
//! lets one of them read a workspace at a time.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::crawl::CrawlEnd;
use super::{Directory, Error};
use crate::domain::ids::InstallationId;
use crate::store::CrawlLease;

/// Workspaces read at the same time by one replica.
const AT_ONCE: usize = 4;
/// Due workspaces looked at to find one without a holder.
const LOOK_AT: u32 = 16;
/// How often to look for workspaces whose list is due.
const LOOK: Duration = Duration::from_secs(5);
/// How long a replaced generation stays readable for replicas that are still loading it.
const GRACE: Duration = Duration::from_secs(300);
/// How often to look for generations whose grace is over.
const COLLECT: Duration = Duration::from_secs(60);

impl Directory {
    /// Runs until stopped. Each due workspace is read by the replica that gets its lease.
    pub async fn run_refresher(self, stop: CancellationToken) {
        tracing::info!(holder = %self.inner.holder, "this replica's name for reading member lists");
        let mut crawls = tokio::task::JoinSet::new();
        let mut collect = tokio::time::interval(self.scaled(COLLECT));
        collect.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let rounds = self.watch("refresher", self.scaled(LOOK));
        let mut looked = None;
        loop {
            while crawls.len() < AT_ONCE {
                rounds.next();
                match self.next_due(&mut looked).await {
                    Ok(Some(lease)) => {
                        let directory = self.clone();
                        crawls.spawn(async move { directory.refresh(lease).await });
                    }
                    Ok(None) => break,
                    Err(error) => {
                        tracing::warn!(%error, "could not look for member lists that are due");
                        break;
                    }
                }
            }
            rounds.next();
            tokio::select! {
                () = stop.cancelled() => break,
                Some(_) = crawls.join_next() => {}
                () = self.inner.due.notified() => {}
                () = tokio::time::sleep(self.scaled(LOOK)) => {}
                _ = collect.tick() => self.collect().await,
            }
        }
        // A crawl that is interrupted here continues from its checkpoint elsewhere, once its lease
        // ends.
        crawls.shutdown().await;
    }

    async fn collect(&self) {
        match self.inner.store.member_lists().collect(self.scaled(GRACE)).await {
            Ok(0) => {}
            Ok(generations) => tracing::debug!(generations, "replaced member lists were removed"),
            Err(error) => tracing::warn!(%error, "replaced member lists were not removed"),
        }
    }

    /// `looked`: when all workspaces were last looked at. A crawl that ends must not cause another
    /// look, which costs more the more workspaces there are.
    async fn next_due(&self, looked: &mut Option<Instant>) -> Result<Option<CrawlLease>, Error> {
        let (store, holder) = (&self.inner.store, &self.inner.holder);
        let mut due = store.member_lists().booked_refreshes(LOOK_AT).await?;
        if due.is_empty() && looked.is_none_or(|at| at.elapsed() >= self.scaled(LOOK)) {
            *looked = Some(Instant::now());
            due = store.member_lists().due_refreshes(LOOK_AT).await?;
        }
        for id in due {
            if let Some(lease) = store.member_lists().acquire_crawl(id, holder, self.hold()).await?
            {
                return Ok(Some(lease));
            }
        }
        Ok(None)
    }

    async fn refresh(&self, mut lease: CrawlLease) {
        let id = lease.installation;
        let (store, metrics) = (&self.inner.store, &self.inner.metrics);
        let recorded = match self.crawl(&mut lease).await {
            Ok(CrawlEnd::Published { generation, members }) => {
                tracing::info!(workspace = %id, generation, members, "the member list was read");
                metrics.crawl("published");
                self.announce(id).await;
                Ok(true)
            }
            Ok(CrawlEnd::Refused { members, in_force }) => {
                tracing::warn!(
                    workspace = %id, members, in_force,
                    "a member list was refused because it lost members; it awaits confirmation"
                );
                metrics.crawl("refused");
                let error = format!(
                    "refused: {members} members were found, but {in_force} are known; another \
                     reading will confirm it, or RefreshDirectory with accept_shrink"
                );
                store.member_lists().refuse_crawl(&lease, &error, self.confirm_after()).await
            }
            Ok(CrawlEnd::Lost) => Ok(false),
            Ok(CrawlEnd::Stopped { fault, retry_after, resume }) => {
                metrics.crawl("failed");
                store
                    .member_lists()
                    .fail_crawl(&lease, &fault.to_string(), retry_after, resume)
                    .await
            }
            Err(error) => {
                tracing::warn!(workspace = %id, %error, "reading the member list stopped");
                metrics.crawl("failed");
                Ok(true)
            }
        };
        match recorded {
            Ok(true) => {}
            Ok(false) => {
                metrics.crawl("lost");
                tracing::info!(workspace = %id, "another replica reads the member list now");
            }
            Err(error) => {
                tracing::warn!(workspace = %id, %error, "the end of a reading was not recorded");
            }
        }
    }

    /// This replica serves the new generation at once; others after a hint or at their poll.
    pub(super) async fn announce(&self, id: InstallationId) {
        self.inner.pointers.invalidate(&id).await;
        self.inner.published.notify_waiters();
    }

    /// How long a lease lasts.
    pub(super) fn hold(&self) -> Duration {
        self.scaled(Duration::from_secs(self.inner.config.lease_seconds))
    }
}
