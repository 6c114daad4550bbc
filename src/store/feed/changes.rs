//! Reading the feed of deliveries: its extent, and its changes page by page.

use std::collections::HashMap;

use tokio::sync::Notify;

use crate::domain::access::caller::Reach;
use crate::domain::delivery::State;
use crate::domain::delivery::subject::Action;
use crate::domain::ids::{
    ChannelId, ChannelKey, DeliveryId, EventType, NotificationId, TenantId, UserId,
};
use crate::domain::time::Timestamp;
use crate::store::database::rows::Columns;
use crate::store::database::sql::{self, Row, params};
use crate::store::database::unreadable::UnreadableRow;
use crate::store::feed::pages::{ChangePage, FeedExtent};
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
    ) -> Result<ChangePage<DeliveryChange>, Error> {
        let of = FeedOf::Deliveries;
        let mut page = self.store.feed_page(of, tenant, after, limit, change).await?;
        self.store.complete(Some(tenant), &mut page.changes).await?;
        Ok(page)
    }

    /// Up to `limit` changes of one notification, after the first number and up to the second.
    pub async fn changes_of(
        self,
        tenant: &TenantId,
        notification: NotificationId,
        after: i64,
        until: i64,
        limit: u32,
    ) -> Result<ChangePage<DeliveryChange>, Error> {
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
        let mut page = ChangePage::of(self.store, &rows, limit, change)?;
        self.store.complete(Some(tenant), &mut page.changes).await?;
        Ok(page)
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
    /// Adds the facts that other tables have about the deliveries of changes. `tenant`: whose they
    /// are, if all are of one.
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
        let codes: Vec<_> = Action::ALL
            .iter()
            .filter(|action| !action.speaks())
            .map(|action| format!("'{}'", action.code()))
            .collect();
        let is_silent = format!("action IN ({})", codes.join(", "));
        let mut silent = HashMap::new();
        for row in self.column_among(tenant, deliveries, "action", &is_silent).await? {
            let mut columns = Columns::of(&row);
            let delivery = columns.uuid(DeliveryId::parse)?;
            let action = Action::from_code(&columns.take::<String>()?);
            silent.extend(action.map(|action| (delivery, action)));
        }
        Ok(silent)
    }

    /// The keys of the channels that these deliveries are for; none for those without a key.
    async fn channel_keys_among(
        &self,
        tenant: Option<&TenantId>,
        deliveries: &[DeliveryId],
    ) -> Result<HashMap<DeliveryId, ChannelKey>, Error> {
        let has_key = "channel_key IS NOT NULL";
        let mut keys = HashMap::new();
        for row in self.column_among(tenant, deliveries, "channel_key", has_key).await? {
            let mut columns = Columns::of(&row);
            let delivery = columns.uuid(DeliveryId::parse)?;
            keys.insert(delivery, columns.id(ChannelKey::parse)?);
        }
        Ok(keys)
    }

    /// The id and this column of those of these deliveries, finished ones included, that meet a
    /// condition.
    async fn column_among(
        &self,
        tenant: Option<&TenantId>,
        deliveries: &[DeliveryId],
        column: &str,
        condition: &str,
    ) -> Result<Vec<Row>, Error> {
        let mut found = Vec::new();
        for chunk in deliveries.chunks(CHUNK) {
            let (named, values) = among("id", tenant, chunk);
            let from = |table: &str| {
                format!(
                    "SELECT id, {column}
                        FROM {table}
                        WHERE {named} AND {condition}"
                )
            };
            let text = format!("{} UNION ALL {}", from("deliveries"), from("deliveries_history"));
            found.extend(sql::all(self.reader(), &text, values).await?);
        }
        Ok(found)
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
