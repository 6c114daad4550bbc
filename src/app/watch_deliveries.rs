//! WatchDeliveries: the feed of all changes of deliveries, of one tenant or of all, resumable by
//! number.

use super::caller::may_beyond_tenants;
use super::feeds::{BATCH, Batch, FeedKind, FeedPlace};
use super::{App, Call, Caller, Error, Reach};
use crate::domain::access;
use crate::domain::ids::TenantId;
use crate::store::{DeliveryChange, Store};

/// A reader of the feed.
pub struct Feed {
    store: Store,
    place: FeedPlace,
    of: FeedTenants,
}

/// The tenants whose changes the reader gets.
enum FeedTenants {
    One(TenantId),
    Reach(Reach),
}

impl App {
    /// The feed after a number; `None`: from now on. [`Error::OutOfRange`] if retention removed the
    /// next changes, for a number of an earlier epoch, and for a number not yet assigned.
    pub async fn watch_deliveries(&self, call: &Call, after: Option<i64>) -> Result<Feed, Error> {
        call.may(&access::WATCH_DELIVERIES)?;
        if !self.store.tenancy().tenant_exists(&call.tenant).await? {
            return Err(Error::NotFound("tenant"));
        }
        let kind = FeedKind::Deliveries(call.tenant.clone());
        self.feed(kind, FeedTenants::One(call.tenant.clone()), after).await
    }

    /// The same for all tenants in reach, by position.
    pub async fn watch_all_deliveries(
        &self,
        caller: &Caller,
        after: Option<i64>,
    ) -> Result<Feed, Error> {
        may_beyond_tenants(&access::WATCH_ALL_DELIVERIES, caller)?;
        self.feed(FeedKind::AllDeliveries, FeedTenants::Reach(caller.reach.clone()), after).await
    }

    async fn feed(
        &self,
        kind: FeedKind,
        of: FeedTenants,
        after: Option<i64>,
    ) -> Result<Feed, Error> {
        let (news, after) = self.news(kind, after).await?;
        Ok(Feed { store: self.store.clone(), place: FeedPlace::new(news, after), of })
    }
}

impl Feed {
    /// Waits for the next changes.
    pub async fn next(&mut self) -> Result<Batch<DeliveryChange>, Error> {
        loop {
            let after = self.place.next().await?;
            let batch = match &self.of {
                FeedTenants::One(tenant) => {
                    let page = self.store.feed().changes(tenant, after, BATCH).await?;
                    self.place.take(page.changes, page.span).await?
                }
                FeedTenants::Reach(reach) => {
                    let page = self.store.feed().changes_of_all(reach, after, BATCH).await?;
                    self.place.take_of_all(page).await?
                }
            };
            if let Some(batch) = batch {
                return Ok(batch);
            }
        }
    }
}
