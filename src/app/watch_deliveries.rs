//! WatchDeliveries: the feed of all changes of a tenant's deliveries, resumable by number.

use super::{App, Call, Error};
use crate::domain::access;
use crate::domain::ids::TenantId;
use crate::store::{DeliveryChange, FeedWatcher, Store};

/// Most changes sent at once.
const BATCH: u32 = 100;

/// A reader's place in the feed.
pub struct Feed {
    store: Store,
    tenant: TenantId,
    after: i64,
    /// Whether the first batch was returned, which is done at once.
    begun: bool,
    news: News,
}

/// Some changes.
#[derive(Debug, PartialEq, Eq)]
pub struct Batch {
    /// In order. A number is missing only if its change cannot be read. The list may be empty: in
    /// the first batch if there is no news, and if no change can be read.
    pub changes: Vec<DeliveryChange>,
    /// The number to resume after once these changes are processed.
    pub last_sequence: i64,
}

impl App {
    /// The feed after a number; `None`: from now on. [`Error::OutOfRange`] if retention removed the
    /// next changes, for a number of an earlier epoch, and for a number not yet assigned.
    pub async fn watch_deliveries(&self, call: &Call, after: Option<i64>) -> Result<Feed, Error> {
        call.may(&access::WATCH_DELIVERIES)?;
        if !self.store.tenancy().tenant_exists(&call.tenant).await? {
            return Err(Error::NotFound("tenant"));
        }
        let (news, after) = self.news(&call.tenant, after).await?;
        let (store, tenant) = (self.store.clone(), call.tenant.clone());
        Ok(Feed { store, tenant, after, begun: false, news })
    }

    /// A watch over a tenant's feed after a number, and that number; `None`: from now on.
    pub(super) async fn news(
        &self,
        tenant: &TenantId,
        after: Option<i64>,
    ) -> Result<(News, i64), Error> {
        // Before the extent is read: changes numbered in between wake the watcher.
        let mut watcher = self.store.feed().watch(tenant);
        let rewound = watcher.reach().rewound;
        let (epoch, after) = place(&self.store, tenant, after).await?;
        let (store, tenant) = (self.store.clone(), tenant.clone());
        Ok((News { store, tenant, watcher, epoch, rewound }, after))
    }
}

/// Compares a number with the contents of the feed; returns the epoch, and the number (`None`
/// stands for the last).
async fn place(store: &Store, tenant: &TenantId, after: Option<i64>) -> Result<(i64, i64), Error> {
    let extent = store.feed().extent(tenant).await?;
    let after = after.unwrap_or(extent.head);
    if after < extent.epoch {
        return Err(epoch_changed(extent.epoch));
    }
    if after > extent.head {
        return Err(Error::OutOfRange {
            reason: "FEED_POSITION_UNKNOWN",
            sentence: "the feed does not reach this sequence number: it is another feed's, or the \
                       database was restored from an older copy; compare with ListNotifications, \
                       and resume after last_sequence",
            detail: ("last_sequence", extent.head),
        });
    }
    if after < extent.pruned {
        return Err(expired(extent.pruned + 1));
    }
    Ok((extent.epoch, after))
}

impl Feed {
    /// Waits for the next changes.
    pub async fn next(&mut self) -> Result<Batch, Error> {
        loop {
            self.news.heard(self.after).await?;
            let page = self.store.feed().changes(&self.tenant, self.after, BATCH).await?;
            if let Some((first, _)) = page.span
                && first != self.after + 1
            {
                // Either the epoch changed at this very moment, or retention was faster.
                place(&self.store, &self.tenant, Some(self.after)).await?;
                return Err(expired(first));
            }
            self.after = page.span.map_or(self.after, |(_, last)| last);
            if page.span.is_some() || !self.begun {
                self.begun = true;
                return Ok(Batch { changes: page.changes, last_sequence: self.after });
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

fn epoch_changed(epoch: i64) -> Error {
    Error::OutOfRange {
        reason: "FEED_EPOCH_CHANGED",
        sentence: "the database was recovered from a copy, and changes after this position may be \
                   lost; compare with ListNotifications, then resume with after_sequence set to \
                   epoch_sequence",
        detail: ("epoch_sequence", epoch),
    }
}

/// Wakes a watcher of one tenant's feed.
pub(super) struct News {
    store: Store,
    tenant: TenantId,
    watcher: FeedWatcher,
    epoch: i64,
    rewound: u64,
}

impl News {
    /// A reading made from now on covers all hints until now. Returns an error if the feed that is
    /// followed after this number has been replaced.
    pub(super) async fn heard(&mut self, after: i64) -> Result<(), Error> {
        let reach = self.watcher.reach();
        if reach.epoch > self.epoch {
            return Err(epoch_changed(reach.epoch));
        }
        if reach.rewound != self.rewound {
            place(&self.store, &self.tenant, Some(after)).await?;
            self.rewound = reach.rewound;
        }
        Ok(())
    }

    /// Waits until there may be new changes.
    pub(super) async fn wait(&mut self) {
        self.watcher.changed().await;
    }
}
