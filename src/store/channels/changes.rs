//! The feed of changes of channels and of their members. Its kind is that of the feed of deliveries
//! (`feed`), with numbers of its own.

use std::time::Duration;

use crate::domain::channels::state::{ChannelMemberState, ChannelObstacle, ChannelState};
use crate::domain::ids::{ChannelId, ChannelKey, TenantId, UserId};
use crate::domain::time::Timestamp;
use crate::store::database::rows::Columns;
use crate::store::database::sql::Row;
use crate::store::feed::pages::{ChangePage, FeedExtent};
use crate::store::feed::signals::FeedWatcher;
use crate::store::feed::tables::FeedOf;
use crate::store::{ChannelFeed, Error};

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelChange {
    /// Its number among the tenant's changes of channels, as
    /// [`DeliveryChange::sequence`](crate::store::DeliveryChange::sequence).
    pub sequence: i64,
    pub key: ChannelKey,
    pub at: Timestamp,
    pub what: ChannelChangeKind,
}

/// The thing that changed, with its new state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChannelChangeKind {
    Channel {
        state: ChannelState,
        obstacle: Option<ChannelObstacle>,
        slack_channel: Option<ChannelId>,
    },
    Member {
        /// `None`: the person was deleted.
        user: Option<UserId>,
        /// `None`: no longer wished for.
        state: Option<ChannelMemberState>,
        code: Option<String>,
    },
    Released,
}

impl ChannelFeed<'_> {
    /// The extent of a tenant's feed.
    pub async fn extent(self, tenant: &TenantId) -> Result<FeedExtent, Error> {
        self.store.feed_extent(FeedOf::Channels, tenant.as_str()).await
    }

    /// Up to `limit` changes after a number, in order. If the first one is not the very next
    /// number, retention has removed the changes between.
    pub async fn changes(
        self,
        tenant: &TenantId,
        after: i64,
        limit: u32,
    ) -> Result<ChangePage<ChannelChange>, Error> {
        self.store.feed_page(FeedOf::Channels, tenant, after, limit, change).await
    }

    /// Registers a watcher of a tenant's feed.
    pub fn watch(self, tenant: &TenantId) -> FeedWatcher {
        self.store.watch_feed(FeedOf::Channels, tenant.as_str())
    }

    /// As [`DeliveryFeed::follow`](crate::store::DeliveryFeed::follow).
    pub async fn follow(self) -> Result<(), Error> {
        self.store.follow_feeds(FeedOf::Channels).await
    }

    /// As [`DeliveryFeed::number`](crate::store::DeliveryFeed::number).
    pub async fn number(self, limit: u32) -> Result<Option<u32>, Error> {
        self.store.number_feed(FeedOf::Channels, limit).await
    }

    /// As [`DeliveryFeed::prune`](crate::store::DeliveryFeed::prune).
    pub async fn prune(self, older_than: Duration, limit: u32) -> Result<u64, Error> {
        self.store.prune_feed(FeedOf::Channels, older_than, limit).await
    }
}

/// Reads a row in the order of the feed's columns.
fn change(row: &Row) -> Result<ChannelChange, Error> {
    let mut columns = Columns::of(row);
    let sequence = columns.take()?;
    columns.take::<String>()?;
    let key = columns.id(ChannelKey::parse)?;
    let kind: String = columns.take()?;
    let user = columns.optional_id(UserId::parse)?;
    let state: Option<String> = columns.take()?;
    let obstacle: Option<String> = columns.take()?;
    let code = columns.take()?;
    let slack_channel = columns.optional_id(ChannelId::parse)?;
    let at = columns.time()?;
    let unknown = || Error::Bug("a change of a kind that was never written".into());
    let what = match kind.as_str() {
        "channel" => {
            let state = state.ok_or_else(unknown)?;
            ChannelChangeKind::Channel {
                state: ChannelState::from_code(&state).unwrap_or(ChannelState::Newer),
                obstacle: obstacle.and_then(|code| ChannelObstacle::from_code(&code)),
                slack_channel,
            }
        }
        "member" => {
            let known = |code: String| ChannelMemberState::from_code(&code).ok_or_else(unknown);
            ChannelChangeKind::Member { user, state: state.map(known).transpose()?, code }
        }
        "released" => ChannelChangeKind::Released,
        _ => return Err(unknown()),
    };
    Ok(ChannelChange { sequence, key, at, what })
}
