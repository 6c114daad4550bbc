//! Reading the feed of deliveries: its extent, and its changes page by page.

use std::collections::HashMap;

use sea_orm::Value;
use tokio::sync::Notify;

use crate::domain::delivery::State;
use crate::domain::delivery::subject::Action;
use crate::domain::ids::{
    ChannelId, ChannelKey, DeliveryId, EventType, NotificationId, TenantId, UserId,
};
use crate::domain::time::Timestamp;
use crate::store::database::rows::Columns;
use crate::store::database::sql::{self, Row, params, placeholders};
use crate::store::feed::pages::{ChangePage, FeedExtent};
use crate::store::feed::tables::FeedOf;
use crate::store::{DeliveryFeed, Error, Store};

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryChange {
    /// Its number among the tenant's changes, from 1 and without gaps. After a recovery of the
    /// store, the numbers continue after [`FeedExtent::epoch`].
    pub sequence: i64,
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
        self.store.feed_extent(FeedOf::Deliveries, tenant).await
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
        let page = self.store.feed_page(of, tenant, after, limit, change).await?;
        self.store.completed(tenant, page).await
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
            "SELECT sequence, {}
                FROM delivery_changes
                WHERE tenant = $1 AND sequence > $2 AND sequence <= $3 AND notification = $4
                ORDER BY sequence
                LIMIT {limit}",
            FeedOf::Deliveries.tables().columns
        );
        let values = params![tenant.as_str(), after, until, notification.to_string()];
        let rows = sql::all(self.store.reader(), &text, values).await?;
        let page = ChangePage::of(self.store, &rows, limit, change)?;
        self.store.completed(tenant, page).await
    }
}

impl Store {
    /// The page with the facts that other tables have about its deliveries.
    async fn completed(
        &self,
        tenant: &TenantId,
        mut page: ChangePage<DeliveryChange>,
    ) -> Result<ChangePage<DeliveryChange>, Error> {
        let changes = &mut page.changes;
        if changes.is_empty() {
            return Ok(page);
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
        Ok(page)
    }

    /// The actions of those of these deliveries that post no new message.
    async fn silent_among(
        &self,
        tenant: &TenantId,
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
        tenant: &TenantId,
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
        tenant: &TenantId,
        deliveries: &[DeliveryId],
        column: &str,
        condition: &str,
    ) -> Result<Vec<Row>, Error> {
        let mut found = Vec::new();
        for chunk in deliveries.chunks(CHUNK) {
            let ids = placeholders(2, chunk.len());
            let from = |table: &str| {
                format!(
                    "SELECT id, {column}
                        FROM {table}
                        WHERE tenant = $1 AND id IN ({ids}) AND {condition}"
                )
            };
            let text = format!("{} UNION ALL {}", from("deliveries"), from("deliveries_history"));
            let mut values = params![tenant.as_str()];
            values.extend(chunk.iter().map(|delivery| Value::from(delivery.to_string())));
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
    let sequence = columns.take()?;
    columns.take::<String>()?;
    Ok(DeliveryChange {
        sequence,
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
