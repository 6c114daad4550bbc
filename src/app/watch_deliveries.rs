//! WatchDeliveries: the feed of all changes of a tenant's deliveries, resumable by number.

use super::feeds::{BATCH, Batch, FeedKind, FeedPlace};
use super::{App, Call, Error};
use crate::domain::access;
use crate::store::{DeliveryChange, Store};

/// A reader of the feed.
pub struct Feed {
    store: Store,
    place: FeedPlace,
}

impl App {
    /// The feed after a number; `None`: from now on. [`Error::OutOfRange`] if retention removed the
    /// next changes, for a number of an earlier epoch, and for a number not yet assigned.
    pub async fn watch_deliveries(&self, call: &Call, after: Option<i64>) -> Result<Feed, Error> {
        call.may(&access::WATCH_DELIVERIES)?;
        if !self.store.tenancy().tenant_exists(&call.tenant).await? {
            return Err(Error::NotFound("tenant"));
        }
        let (news, after) = self.news(FeedKind::Deliveries, &call.tenant, after).await?;
        Ok(Feed { store: self.store.clone(), place: FeedPlace::new(news, after) })
    }
}

impl Feed {
    /// Waits for the next changes.
    pub async fn next(&mut self) -> Result<Batch<DeliveryChange>, Error> {
        loop {
            let (tenant, after) = self.place.next().await?;
            let page = self.store.feed().changes(&tenant, after, BATCH).await?;
            if let Some(batch) = self.place.take(page.changes, page.span).await? {
                return Ok(batch);
            }
        }
    }
}
