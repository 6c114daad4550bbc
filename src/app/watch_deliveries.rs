//! WatchDeliveries: the feed of all changes of a tenant's deliveries, resumable by number.

use std::time::Duration;

use tokio::sync::watch;

use super::{App, Call, Error};
use crate::domain::ids::TenantId;
use crate::store::{DeliveryChange, Store};

/// Changes told at once, at most.
const BATCH: u32 = 100;
/// How often the store is asked for changes that another replica numbered.
pub(super) const POLL: Duration = Duration::from_secs(1);

/// A reader's place in the feed.
pub struct Feed {
    store: Store,
    tenant: TenantId,
    after: i64,
    /// The first answer comes at once.
    begun: bool,
    news: News,
}

/// Some changes.
#[derive(Debug, PartialEq, Eq)]
pub struct Batch {
    /// In order, without gaps; none in the first batch where there is no news.
    pub changes: Vec<DeliveryChange>,
    /// Where to resume once they are dealt with.
    pub last_sequence: i64,
}

impl App {
    /// The feed after a number; `None`: from now on. [`Error::OutOfRange`] where retention removed
    /// what follows, and for a number that was not given yet.
    pub async fn watch_deliveries(&self, call: &Call, after: Option<i64>) -> Result<Feed, Error> {
        call.acting()?.may_operate()?;
        if !self.store.tenant_exists(&call.tenant).await? {
            return Err(Error::NotFound("tenant"));
        }
        let news = self.news();
        let extent = self.store.feed_extent(&call.tenant).await?;
        let after = after.unwrap_or(extent.head);
        if after > extent.head {
            return Err(Error::OutOfRange {
                reason: "FEED_POSITION_UNKNOWN",
                sentence: "the feed has not come to this sequence number",
                detail: ("last_sequence", extent.head),
            });
        }
        if after < extent.pruned {
            return Err(expired(extent.pruned + 1));
        }
        let (store, tenant) = (self.store.clone(), call.tenant.clone());
        Ok(Feed { store, tenant, after, begun: false, news })
    }

    /// Wakes whoever waits for changes.
    pub(super) fn news(&self) -> News {
        let poll = POLL.mul_f64(self.workspaces.time_scale());
        News { numbered: self.store.changes_numbered(), poll }
    }
}

impl Feed {
    /// Waits for the next changes.
    pub async fn next(&mut self) -> Result<Batch, Error> {
        loop {
            self.news.heard();
            let changes = self.store.delivery_changes(&self.tenant, self.after, BATCH).await?;
            if let Some(first) = changes.first().map(|change| change.sequence)
                && first != self.after + 1
            {
                return Err(expired(first));
            }
            self.after = changes.last().map_or(self.after, |change| change.sequence);
            if !changes.is_empty() || !self.begun {
                self.begun = true;
                return Ok(Batch { changes, last_sequence: self.after });
            }
            self.news.wait().await;
        }
    }
}

fn expired(oldest: i64) -> Error {
    Error::OutOfRange {
        reason: "FEED_POSITION_EXPIRED",
        sentence: "changes after this sequence number are no longer kept; compare with \
                   ListNotifications, and resume before oldest_sequence",
        detail: ("oldest_sequence", oldest),
    }
}

/// Hints of this process, and a poll for other replicas.
pub(super) struct News {
    numbered: watch::Receiver<u64>,
    poll: Duration,
}

impl News {
    /// What is read from now on covers all hints until now.
    pub(super) fn heard(&mut self) {
        self.numbered.borrow_and_update();
    }

    /// Until there may be something new.
    pub(super) async fn wait(&mut self) {
        // Either way the store is asked again.
        let _ = tokio::time::timeout(self.poll, self.numbered.changed()).await;
    }
}
