//! Reading the feed: its extent, and its changes page by page.

use std::collections::HashMap;

use tokio::sync::Notify;

use crate::domain::access::caller::Reach;
use crate::domain::delivery::State;
use crate::domain::delivery::subject::Action;
use crate::domain::ids::{
    ChannelId, ChannelKey, DeliveryId, EventType, NotificationId, TenantId, UserId,
};
use crate::domain::time::Timestamp;
use crate::store::database::era::ERA;
use crate::store::database::rows::Columns;
use crate::store::database::sql::{self, Row, params};
use crate::store::database::unreadable::UnreadableRow;
use crate::store::feed::tables::{ALL, FeedOf};
use crate::store::records::sharers::among;
use crate::store::{DeliveryFeed, Error, Store};

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryChange {
    /// Its number among the tenant's changes, from 1 and without gaps. After a recovery of the
    /// store, the numbers continue after [`FeedExtent::epoch`].
    pub sequence: i64,
    pub tenant: TenantId,
    /// Its number among the changes of all tenants; `None`: it is older than that feed.
    pub position: Option<i64>,
    pub delivery: DeliveryId,
    pub notification: NotificationId,
    /// Absent for posts to a channel, and for people who were deleted.
    pub user: Option<UserId>,
    /// Others who share the delivery.
    pub also: Vec<UserId>,
    /// The platform's key of the channel, if the call named it.
    pub channel_key: Option<ChannelKey>,
    pub event_type: EventType,
    /// The new state.
    pub state: State,
    /// As [`DeliveryRecord::reason`](crate::store::DeliveryRecord::reason).
    pub reason: Option<String>,
    pub code: Option<String>,
    /// Where Slack stored it.
    pub channel: Option<ChannelId>,
    pub ts: Option<String>,
    pub at: Timestamp,
    /// The delivery's action on its subject. Read only for final states, because there it decides
    /// whether a fallback is wanted.
    pub action: Action,
}

/// A page of changes, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChangePage {
    pub changes: Vec<DeliveryChange>,
    /// The numbers of the first and the last change that were read, including changes that cannot
    /// be read and were skipped.
    pub span: Option<(i64, i64)>,
    /// More may follow.
    pub full: bool,
}

/// A page of the changes of all tenants, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChangePageOfAll {
    /// Those of the tenants in reach.
    pub changes: Vec<DeliveryChange>,
    /// The position of the last change that was read, in reach or not; `None`: there was none.
    pub last: Option<i64>,
    /// The last position that retention removed; 0 if it removed none.
    pub pruned: i64,
}

/// The extent of the feed of a tenant, or of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FeedExtent {
    /// The number after which the current epoch begins; 0 if the store was never recovered
    /// ([`Upkeep::begin_epoch`](crate::store::Upkeep::begin_epoch)). Smaller numbers may also have
    /// been given to other changes.
    pub epoch: i64,
    /// The last number given; the epoch's number if none was given yet.
    pub head: i64,
    /// The last number that retention removed; 0 if it removed none.
    pub pruned: i64,
}

/// Deliveries looked up in one statement.
const CHUNK: usize = 500;

impl<'a> DeliveryFeed<'a> {
    /// Notified after a commit of this process that changed deliveries, channels or their members.
    /// A hint: other processes change them too.
    pub fn written(self) -> &'a Notify {
        &self.store.inner.changes_written
    }

    /// The extent of a tenant's feed.
    pub async fn extent(self, tenant: &TenantId) -> Result<FeedExtent, Error> {
        self.store.feed_extent(FeedOf::Deliveries, tenant.as_str()).await
    }

    /// The extent of the feed of all tenants, in positions.
    pub async fn extent_of_all(self) -> Result<FeedExtent, Error> {
        self.store.feed_extent(FeedOf::Deliveries, ALL).await
    }

    /// Up to `limit` changes after a number, in order. If the first one is not the very next
    /// number, retention has removed the changes between.
    pub async fn changes(
        self,
        tenant: &TenantId,
        after: i64,
        limit: u32,
    ) -> Result<ChangePage, Error> {
        let text = format!(
            "SELECT sequence, position, {}
                FROM delivery_changes
                WHERE tenant = $1 AND sequence > $2
                ORDER BY sequence
                LIMIT {limit}",
            FeedOf::Deliveries.tables().columns
        );
        let rows = sql::all(self.store.reader(), &text, params![tenant.as_str(), after]).await?;
        self.store.change_page(tenant, &rows, limit).await
    }

    /// Up to `limit` changes of one notification, after the first number and up to the second.
    pub async fn changes_of(
        self,
        tenant: &TenantId,
        notification: NotificationId,
        after: i64,
        until: i64,
        limit: u32,
    ) -> Result<ChangePage, Error> {
        let text = format!(
            "SELECT sequence, position, {}
                FROM delivery_changes
                WHERE tenant = $1 AND sequence > $2 AND sequence <= $3 AND notification = $4
                ORDER BY sequence
                LIMIT {limit}",
            FeedOf::Deliveries.tables().columns
        );
        let values = params![tenant.as_str(), after, until, notification.to_string()];
        let rows = sql::all(self.store.reader(), &text, values).await?;
        self.store.change_page(tenant, &rows, limit).await
    }

    /// Up to `limit` changes of all tenants after a position, in order, without those out of reach.
    /// Positions are missing where a tenant was erased.
    pub async fn changes_of_all(
        self,
        reach: &Reach,
        after: i64,
        limit: u32,
    ) -> Result<ChangePageOfAll, Error> {
        let columns = FeedOf::Deliveries.tables().columns;
        let shown: Vec<_> = columns.split(", ").map(|column| format!("c.{column}")).collect();
        // With the last position that was removed as of the same moment.
        let text = format!(
            "SELECT c.sequence, c.position, {}, h.pruned AS all_pruned
                FROM feed_heads h
                LEFT JOIN (SELECT sequence, position, {columns} FROM delivery_changes
                    WHERE position > $1 ORDER BY position LIMIT {limit}) AS c ON TRUE
                WHERE h.tenant = '{ALL}'
                ORDER BY c.position",
            shown.join(", ")
        );
        let rows = sql::all(self.store.reader(), &text, params![after]).await?;
        let mut page = ChangePageOfAll::default();
        for row in &rows {
            page.pruned = row.named("all_pruned")?;
            let Some(position) = row.get::<Option<i64>>(1)? else { continue };
            page.last = Some(position);
            match change(row) {
                Ok(change) if reach.contains(&change.tenant) => page.changes.push(change),
                Ok(_) => {}
                Err(_) => self.store.pass_over(UnreadableRow::Change, 1),
            }
        }
        self.store.complete(None, &mut page.changes).await?;
        Ok(page)
    }
}

impl Store {
    /// The extent of a tenant's feed; [`ALL`]: of all tenants.
    pub(in crate::store) async fn feed_extent(
        &self,
        of: FeedOf,
        tenant: &str,
    ) -> Result<FeedExtent, Error> {
        let text = format!(
            "SELECT era.epoch, COALESCE(head, 0), COALESCE(pruned, 0)
                FROM (SELECT {ERA} AS epoch) AS era
                LEFT JOIN {} ON tenant = $1",
            of.tables().heads
        );
        let row = sql::one(self.reader(), &text, params![tenant]).await?;
        let row = row.ok_or_else(|| Error::Bug("SELECT without a row".into()))?;
        let (epoch, head): (i64, i64) = (row.get(0)?, row.get(1)?);
        Ok(FeedExtent { epoch, head: head.max(epoch), pruned: row.get(2)? })
    }

    async fn change_page(
        &self,
        tenant: &TenantId,
        rows: &[Row],
        limit: u32,
    ) -> Result<ChangePage, Error> {
        let number = |row: &Row| row.get::<i64>(0);
        let span = match (rows.first(), rows.last()) {
            (Some(first), Some(last)) => Some((number(first)?, number(last)?)),
            _ => None,
        };
        let mut changes: Vec<_> = rows.iter().filter_map(|row| change(row).ok()).collect();
        self.pass_over(UnreadableRow::Change, (rows.len() - changes.len()) as u64);
        let full = rows.len() >= limit as usize;
        self.complete(Some(tenant), &mut changes).await?;
        Ok(ChangePage { changes, span, full })
    }

    /// Adds what is not in the rows of changes. `tenant`: whose they are, if all are of one.
    async fn complete(
        &self,
        tenant: Option<&TenantId>,
        changes: &mut [DeliveryChange],
    ) -> Result<(), Error> {
        if changes.is_empty() {
            return Ok(());
        }
        let deliveries: Vec<_> = changes.iter().map(|change| change.delivery).collect();
        let shared = self.sharers_among(tenant, &deliveries).await?;
        let lost: Vec<_> = changes
            .iter()
            .filter(|change| change.state.is_terminal() && change.state != State::Sent)
            .map(|change| change.delivery)
            .collect();
        let silent = self.silent_among(tenant, &lost).await?;
        let posts: Vec<_> = changes
            .iter()
            .filter(|change| change.user.is_none())
            .map(|change| change.delivery)
            .collect();
        let keys = self.channel_keys_among(tenant, &posts).await?;
        for change in changes {
            change.channel_key = keys.get(&change.delivery).cloned();
            change.action = silent.get(&change.delivery).copied().unwrap_or_default();
            change.also = shared.get(&change.delivery).cloned().unwrap_or_default();
        }
        Ok(())
    }

    /// The actions of those of these deliveries that post no new message.
    async fn silent_among(
        &self,
        tenant: Option<&TenantId>,
        deliveries: &[DeliveryId],
    ) -> Result<HashMap<DeliveryId, Action>, Error> {
        let mut silent = HashMap::new();
        let codes: Vec<_> = Action::ALL
            .iter()
            .filter(|action| !action.speaks())
            .map(|action| format!("'{}'", action.code()))
            .collect();
        let codes = codes.join(", ");
        for chunk in deliveries.chunks(CHUNK) {
            let (named, values) = among("id", tenant, chunk);
            let from = |table: &str| {
                format!("SELECT id, action FROM {table} WHERE {named} AND action IN ({codes})")
            };
            let text = format!("{} UNION ALL {}", from("deliveries"), from("deliveries_history"));
            for row in sql::all(self.reader(), &text, values).await? {
                let mut columns = Columns::of(&row);
                let delivery = columns.uuid(DeliveryId::parse)?;
                let action = Action::from_code(&columns.take::<String>()?);
                silent.extend(action.map(|action| (delivery, action)));
            }
        }
        Ok(silent)
    }

    /// The keys of the channels that these deliveries are for; none for those without a key.
    async fn channel_keys_among(
        &self,
        tenant: Option<&TenantId>,
        deliveries: &[DeliveryId],
    ) -> Result<HashMap<DeliveryId, ChannelKey>, Error> {
        let mut keys = HashMap::new();
        for chunk in deliveries.chunks(CHUNK) {
            let (named, values) = among("id", tenant, chunk);
            let from = |table: &str| {
                format!(
                    "SELECT id, channel_key
                        FROM {table}
                        WHERE {named} AND channel_key IS NOT NULL"
                )
            };
            let text = format!("{} UNION ALL {}", from("deliveries"), from("deliveries_history"));
            for row in sql::all(self.reader(), &text, values).await? {
                let mut columns = Columns::of(&row);
                let delivery = columns.uuid(DeliveryId::parse)?;
                keys.insert(delivery, columns.id(ChannelKey::parse)?);
            }
        }
        Ok(keys)
    }

    /// Wakes the sequencer of this process.
    pub(in crate::store) fn changed(&self) {
        self.inner.changes_written.notify_one();
    }
}

fn change(row: &Row) -> Result<DeliveryChange, Error> {
    let mut columns = Columns::of(row);
    Ok(DeliveryChange {
        sequence: columns.take()?,
        position: columns.take()?,
        tenant: columns.id(TenantId::parse)?,
        delivery: columns.uuid(DeliveryId::parse)?,
        notification: columns.uuid(NotificationId::parse)?,
        user: columns.optional_id(UserId::parse)?,
        also: Vec::new(),
        channel_key: None,
        event_type: columns.id(EventType::parse)?,
        state: columns.shown_state()?,
        reason: columns.take()?,
        code: columns.take()?,
        channel: columns.optional_id(ChannelId::parse)?,
        ts: columns.take()?,
        at: columns.time()?,
        action: Action::default(),
    })
}
