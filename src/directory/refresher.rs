//! The background task that keeps lists fresh: every replica runs one, a lease in the store lets
//! one of them read a workspace at a time.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::crawl::Ended;
use super::{Directory, Error};
use crate::domain::ids::InstallationId;

/// Workspaces read at the same time by one replica.
const AT_ONCE: usize = 4;
/// Due workspaces looked at for one that nobody holds.
const LOOK_AT: u32 = 16;
/// How often to look for workspaces whose list is due.
const LOOK: Duration = Duration::from_secs(5);

impl Directory {
    /// Runs until stopped. Each due workspace is read by whoever gets its lease.
    pub async fn run_refresher(self, stop: CancellationToken) {
        let mut crawls = tokio::task::JoinSet::new();
        loop {
            while crawls.len() < AT_ONCE {
                match self.next_due().await {
                    Ok(Some(lease)) => {
                        let directory = self.clone();
                        crawls.spawn(async move { directory.refresh(lease).await });
                    }
                    Ok(None) => break,
                    Err(error) => {
                        tracing::warn!(%error, "due member lists could not be looked up");
                        break;
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => break,
                Some(_) = crawls.join_next() => {}
                () = self.inner.due.notified() => {}
                () = tokio::time::sleep(self.scaled(LOOK)) => {}
            }
        }
        // A crawl that is cut here goes on from its checkpoint elsewhere, once its lease ends.
        crawls.shutdown().await;
    }

    async fn next_due(&self) -> Result<Option<crate::store::CrawlLease>, Error> {
        let hold = self.scaled(Duration::from_secs(self.inner.config.lease_seconds));
        for id in self.inner.store.due_refreshes(LOOK_AT).await? {
            if let Some(lease) = self.inner.store.acquire_crawl(id, hold).await? {
                return Ok(Some(lease));
            }
        }
        Ok(None)
    }

    async fn refresh(&self, lease: crate::store::CrawlLease) {
        let id = lease.installation;
        let fence = lease.clone();
        match self.crawl(lease).await {
            Ok(Ended::Published { generation, members }) => {
                tracing::info!(workspace = %id, generation, members, "the member list was read");
                self.announce(id).await;
            }
            Ok(Ended::Lost) => {
                tracing::info!(workspace = %id, "another replica reads the member list now");
            }
            Ok(Ended::Stopped { error, retry_after, resume }) => {
                tracing::warn!(
                    workspace = %id, %error, ?retry_after, "reading the member list stopped"
                );
                let text = error.to_string();
                let recorded =
                    self.inner.store.fail_crawl(&fence, &text, retry_after, resume).await;
                if let Err(error) = recorded {
                    tracing::warn!(workspace = %id, %error, "the failure could not be recorded");
                }
            }
            Err(error) => {
                tracing::warn!(workspace = %id, %error, "reading the member list stopped");
            }
        }
    }

    /// This replica serves the new generation at once; others notice by their poll.
    async fn announce(&self, id: InstallationId) {
        self.inner.pointers.invalidate(&id).await;
        self.inner.published.notify_waiters();
    }
}
