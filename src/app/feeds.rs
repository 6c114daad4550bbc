//! Reading a feed of the store: of deliveries of a tenant or of all (WatchDeliveries,
//! WatchNotification), or of channels (WatchChannels). All are resumable by number.

use super::{App, Error};
use crate::domain::ids::TenantId;
use crate::store::{ChangePageOfAll, ChangeSpan, DeliveryChange, FeedExtent, FeedWatcher, Store};

/// Most changes sent at once.
pub(super) const BATCH: u32 = 100;

/// Pages without a change for the reader, before a batch says how far it has read.
const PASSED_OVER: u32 = 100;

/// One of the feeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FeedKind {
    Deliveries(TenantId),
    AllDeliveries,
    Channels(TenantId),
}

/// Some changes.
#[derive(Debug, PartialEq, Eq)]
pub struct Batch<T> {
    /// In order. A number is missing only if its change cannot be read. The list may be empty: in
    /// the first batch if there is no news, and if no change can be read.
    pub changes: Vec<T>,
    /// The number to resume after once these changes are processed.
    pub last_sequence: i64,
}

impl FeedKind {
    async fn extent(&self, store: &Store) -> Result<FeedExtent, Error> {
        Ok(match self {
            Self::Deliveries(tenant) => store.feed().extent(tenant).await?,
            Self::AllDeliveries => store.feed().extent_of_all().await?,
            Self::Channels(tenant) => store.channel_feed().extent(tenant).await?,
        })
    }

    fn watch(&self, store: &Store) -> FeedWatcher {
        match self {
            Self::Deliveries(tenant) => store.feed().watch(tenant),
            Self::AllDeliveries => store.feed().watch_all(),
            Self::Channels(tenant) => store.channel_feed().watch(tenant),
        }
    }

    fn unknown(&self, last: i64) -> Error {
        let sentence = match self {
            Self::Deliveries(_) | Self::AllDeliveries => {
                "the feed does not reach this sequence number: it is another feed's, or the \
                 database was restored from an older copy; compare with ListNotifications, and \
                 resume after last_sequence"
            }
            Self::Channels(_) => {
                "the feed does not reach this sequence number: it is another feed's, or the \
                 database was restored from an older copy; compare with ListChannels, and resume \
                 after last_sequence"
            }
        };
        let detail = ("last_sequence", last);
        Error::OutOfRange { reason: "FEED_POSITION_UNKNOWN", sentence, detail }
    }

    fn expired(&self, oldest: i64) -> Error {
        let sentence = match self {
            Self::Deliveries(_) | Self::AllDeliveries => {
                "changes after this sequence number are no longer kept; compare with \
                 ListNotifications, and resume before oldest_sequence"
            }
            Self::Channels(_) => {
                "changes after this sequence number are no longer kept; compare with \
                 ListChannels, and resume before oldest_sequence"
            }
        };
        let detail = ("oldest_sequence", oldest);
        Error::OutOfRange { reason: "FEED_POSITION_EXPIRED", sentence, detail }
    }

    fn epoch_changed(&self, epoch: i64) -> Error {
        let sentence = match self {
            Self::Deliveries(_) | Self::AllDeliveries => {
                "the database was recovered from a copy, and changes after this position may be \
                 lost; compare with ListNotifications, then resume with after_sequence set to \
                 epoch_sequence"
            }
            Self::Channels(_) => {
                "the database was recovered from a copy, and changes after this position may be \
                 lost; compare with ListChannels, then resume with after_sequence set to \
                 epoch_sequence"
            }
        };
        let detail = ("epoch_sequence", epoch);
        Error::OutOfRange { reason: "FEED_EPOCH_CHANGED", sentence, detail }
    }
}

impl App {
    /// A watch over a feed after a number, and that number; `None`: from now on.
    /// [`Error::OutOfRange`] if retention removed the next changes, for a number of an earlier
    /// epoch, and for a number not yet assigned.
    pub(super) async fn news(
        &self,
        kind: FeedKind,
        after: Option<i64>,
    ) -> Result<(News, i64), Error> {
        // Before the extent is read: changes numbered in between wake the watcher.
        let mut watcher = kind.watch(&self.store);
        let rewound = watcher.reach().rewound;
        let (epoch, after) = place(&kind, &self.store, after).await?;
        let store = self.store.clone();
        Ok((News { kind, store, watcher, epoch, rewound }, after))
    }
}

/// Compares a number with the contents of the feed; returns the epoch, and the number (`None`
/// stands for the last).
async fn place(kind: &FeedKind, store: &Store, after: Option<i64>) -> Result<(i64, i64), Error> {
    let extent = kind.extent(store).await?;
    let after = after.unwrap_or(extent.head);
    if after < extent.epoch {
        return Err(kind.epoch_changed(extent.epoch));
    }
    if after > extent.head {
        return Err(kind.unknown(extent.head));
    }
    if after < extent.pruned {
        return Err(kind.expired(extent.pruned + 1));
    }
    Ok((extent.epoch, after))
}

/// Wakes a watcher of a feed.
pub(super) struct News {
    kind: FeedKind,
    store: Store,
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
            return Err(self.kind.epoch_changed(reach.epoch));
        }
        if reach.rewound != self.rewound {
            place(&self.kind, &self.store, Some(after)).await?;
            self.rewound = reach.rewound;
        }
        Ok(())
    }

    /// Waits until there may be new changes.
    pub(super) async fn wait(&mut self) {
        self.watcher.changed().await;
    }
}

/// A reader's place in a feed.
pub(super) struct FeedPlace {
    news: News,
    after: i64,
    /// Whether the first batch was returned, which is done at once.
    begun: bool,
    /// Pages that were read since the last batch and had no change for the reader.
    passed_over: u32,
}

impl FeedPlace {
    pub(super) fn new(news: News, after: i64) -> Self {
        Self { news, after, begun: false, passed_over: 0 }
    }

    /// The number after which the next changes are to be read.
    pub(super) async fn next(&mut self) -> Result<i64, Error> {
        self.news.heard(self.after).await?;
        Ok(self.after)
    }

    /// Moves on by changes of one tenant that were read after the present place. `None`: there were
    /// none, and now there may be some.
    pub(super) async fn take<T>(
        &mut self,
        changes: Vec<T>,
        span: Option<ChangeSpan>,
    ) -> Result<Option<Batch<T>>, Error> {
        if let Some(ChangeSpan { first, .. }) = span
            && first != self.after + 1
        {
            // Either the epoch changed at this very moment, or retention was faster.
            let News { kind, store, .. } = &self.news;
            place(kind, store, Some(self.after)).await?;
            return Err(kind.expired(first));
        }
        self.after = span.map_or(self.after, |span| span.last);
        if span.is_some() || !self.begun {
            self.begun = true;
            return Ok(Some(Batch { changes, last_sequence: self.after }));
        }
        self.news.wait().await;
        Ok(None)
    }

    /// The same for changes of all tenants. Pages of changes out of reach are passed over; after
    /// some of them there is a batch without changes, so that a reader that resumes does not read
    /// them again.
    pub(super) async fn take_of_all(
        &mut self,
        page: ChangePageOfAll,
    ) -> Result<Option<Batch<DeliveryChange>>, Error> {
        if self.after < page.pruned {
            let News { kind, store, .. } = &self.news;
            place(kind, store, Some(self.after)).await?;
            return Err(kind.expired(page.pruned + 1));
        }
        self.after = page.last.unwrap_or(self.after);
        self.passed_over = if page.changes.is_empty() { self.passed_over + 1 } else { 0 };
        if !page.changes.is_empty() || !self.begun || self.passed_over >= PASSED_OVER {
            (self.begun, self.passed_over) = (true, 0);
            return Ok(Some(Batch { changes: page.changes, last_sequence: self.after }));
        }
        if page.last.is_none() {
            self.news.wait().await;
        }
        Ok(None)
    }
}
