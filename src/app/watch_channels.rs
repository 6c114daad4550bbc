//! WatchChannels: the feed of all changes of a tenant's channels and their members, resumable by
//! number.

use super::feeds::{BATCH, Batch, FeedKind, FeedPlace};
use super::{App, Call, Error};
use crate::domain::access;
use crate::domain::ids::TenantId;
use crate::store::{ChannelChange, Store};

/// A reader of the feed.
pub struct FeedOfChannels {
    store: Store,
    tenant: TenantId,
    place: FeedPlace,
}

impl App {
    /// The feed after a number; `None`: from now on. [`Error::OutOfRange`] as for
    /// [`App::watch_deliveries`].
    pub async fn watch_channels(
        &self,
        call: &Call,
        after: Option<i64>,
    ) -> Result<FeedOfChannels, Error> {
        call.may(&access::WATCH_CHANNELS)?;
        if !self.store.tenancy().tenant_exists(&call.tenant).await? {
            return Err(Error::NotFound("tenant"));
        }
        let tenant = call.tenant.clone();
        let (news, after) = self.news(FeedKind::Channels(tenant.clone()), after).await?;
        Ok(FeedOfChannels { store: self.store.clone(), tenant, place: FeedPlace::new(news, after) })
    }
}

impl FeedOfChannels {
    /// Waits for the next changes.
    pub async fn next(&mut self) -> Result<Batch<ChannelChange>, Error> {
        loop {
            let after = self.place.next().await?;
            let page = self.store.channel_feed().changes(&self.tenant, after, BATCH).await?;
            if let Some(batch) = self.place.take(page.changes, page.span).await? {
                return Ok(batch);
            }
        }
    }
}
