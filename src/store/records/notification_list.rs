//! Lists of notifications: filtered, newest first, page by page.

use std::collections::HashMap;

use sea_orm::Value;

use crate::domain::delivery::State;
use crate::domain::ids::{EventType, NotificationId, RequestId, TenantId, UserId};
use crate::domain::time::Timestamp;
use crate::store::database::rows::Columns;
use crate::store::database::sql::{self, Row, params, placeholders};
use crate::store::{Error, Records, Store};

/// Which notifications; all conditions that are set must hold.
#[derive(Debug, Clone, Default)]
pub struct NotificationFilter {
    /// With a delivery to this person; only that person's deliveries are considered and counted.
    pub user: Option<UserId>,
    /// With a delivery in this state.
    pub state: Option<State>,
    pub event_type: Option<EventType>,
    /// Accepted at this time or later.
    pub from: Option<Timestamp>,
    /// Accepted before this time.
    pub before: Option<Timestamp>,
}

/// A position in the list: the last notification of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotificationPosition {
    pub created_at: Timestamp,
    pub id: NotificationId,
}

/// One page.
#[derive(Debug, Clone, PartialEq)]
pub struct NotificationPage {
    /// Newest first.
    pub notifications: Vec<NotificationSummary>,
    /// Whether there are more.
    pub more: bool,
}

/// One notification in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct NotificationSummary {
    pub id: NotificationId,
    pub request_id: RequestId,
    pub event_type: EventType,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    /// How many deliveries are in each state, in the order of [`State::ALL`]; states without
    /// deliveries are absent.
    pub counts: Vec<(State, i64)>,
}

impl Records<'_> {
    /// Up to `limit` notifications after a position.
    pub async fn list_notifications(
        self,
        tenant: &TenantId,
        filter: &NotificationFilter,
        after: Option<NotificationPosition>,
        limit: u32,
    ) -> Result<NotificationPage, Error> {
        let (text, values) = list(tenant, filter, after, limit + 1);
        let rows = sql::all(self.store.reader(), &text, values).await?;
        let more = rows.len() > limit as usize;
        let kept = rows.iter().take(limit as usize);
        let mut notifications = kept.map(summary).collect::<Result<Vec<_>, _>>()?;
        let mut counts = self.store.count_states(tenant, filter, &notifications).await?;
        for notification in &mut notifications {
            let mut counted = counts.remove(&notification.id).unwrap_or_default();
            counted.sort_by_key(|(state, _)| State::ALL.iter().position(|known| known == state));
            notification.counts = counted;
        }
        Ok(NotificationPage { notifications, more })
    }
}

impl Store {
    async fn count_states(
        &self,
        tenant: &TenantId,
        filter: &NotificationFilter,
        notifications: &[NotificationSummary],
    ) -> Result<HashMap<NotificationId, Vec<(State, i64)>>, Error> {
        let mut counts: HashMap<_, Vec<_>> = HashMap::new();
        for chunk in notifications.chunks(500) {
            let mut values = params![tenant.as_str()];
            values.extend(chunk.iter().map(|one| Value::from(one.id.to_string())));
            let among = placeholders(2, chunk.len());
            let mut which = format!("tenant = $1 AND notification IN ({among})");
            if let Some(user) = &filter.user {
                let theirs = bind(&mut values, " AND (user_id =", user.as_str());
                which.push_str(&theirs);
                // Or one of the few that the person shares.
                let user = values.len();
                let shared = "
                    id IN (SELECT delivery FROM delivery_sharers WHERE tenant = $1 AND user_id =";
                which.extend([" OR ", shared, " $", &user.to_string(), "))"]);
            }
            let text = format!(
                "SELECT notification, state, COUNT(*)
                    FROM (
                        SELECT notification, state
                        FROM deliveries
                        WHERE {which}
                        UNION ALL
                        SELECT notification, state
                        FROM deliveries_history
                        WHERE {which}) AS every
                    GROUP BY notification, state"
            );
            for row in sql::all(self.reader(), &text, values).await? {
                let mut columns = Columns::of(&row);
                let id = columns.uuid(NotificationId::parse)?;
                let counted = (columns.shown_state()?, columns.take()?);
                counts.entry(id).or_default().push(counted);
            }
        }
        Ok(counts)
    }
}

/// The statement of one page and its values.
fn list(
    tenant: &TenantId,
    filter: &NotificationFilter,
    after: Option<NotificationPosition>,
    limit: u32,
) -> (String, Vec<Value>) {
    let mut values = params![tenant.as_str()];
    let mut which = "n.tenant = $1".to_owned();
    if let Some(event) = &filter.event_type {
        which.push_str(&bind(&mut values, " AND n.event_type =", event.as_str()));
    }
    if let Some(from) = filter.from {
        which.push_str(&bind(&mut values, " AND n.created_at >=", from.0));
    }
    if let Some(before) = filter.before {
        which.push_str(&bind(&mut values, " AND n.created_at <", before.0));
    }
    if let Some(position) = after {
        which.push_str(&bind(&mut values, " AND (n.created_at, n.id) < (", position.created_at.0));
        which.push_str(&bind(&mut values, ",", position.id.to_string()));
        which.push(')');
    }
    match (&filter.user, filter.state) {
        (Some(user), state) => which.push_str(&with_user(user, state, &mut values)),
        (None, Some(state)) => which.push_str(&with_state(state, &mut values)),
        (None, None) => {}
    }
    let text = format!(
        "SELECT n.id, n.request_id, n.event_type, n.created_at, n.expires_at
            FROM notifications n
            WHERE {which}
            ORDER BY n.created_at DESC, n.id DESC
            LIMIT {limit}"
    );
    (text, values)
}

/// The condition for notifications with a delivery to this person, in this state if given. It goes
/// from the person's deliveries, which are few, to their notifications.
fn with_user(user: &UserId, state: Option<State>, values: &mut Vec<Value>) -> String {
    let mut delivery = String::new();
    if let Some(state) = state {
        delivery.push_str(&bind(values, " AND d.state =", state.code()));
    }
    delivery.push_str(&bind(values, " AND d.user_id =", user.as_str()));
    let user = values.len();
    let own = |table| format!("SELECT d.notification FROM {table} d WHERE d.tenant = $1{delivery}");
    let (hot, history) = (own("deliveries"), own("deliveries_history"));
    let state = state.map_or_else(String::new, |state| {
        let is = bind(values, "state =", state.code());
        format!(
            " AND (EXISTS (SELECT 1 FROM deliveries WHERE id = s.delivery AND {is})
                OR EXISTS (SELECT 1 FROM deliveries_history WHERE id = s.delivery AND {is}))"
        )
    });
    let shared = format!(
        "SELECT s.notification
            FROM delivery_sharers s
            WHERE s.tenant = $1 AND s.user_id = ${user}{state}"
    );
    format!(" AND n.id IN ({hot} UNION ALL {history} UNION ALL {shared})")
}

/// The condition for notifications with a delivery in this state. It goes from each notification to
/// its deliveries, because nearly all deliveries may have the state.
fn with_state(state: State, values: &mut Vec<Value>) -> String {
    let delivery = bind(values, " AND d.state =", state.code());
    let any = |table| {
        format!(
            "EXISTS (SELECT 1 FROM {table} d WHERE d.tenant = $1
                AND d.notification = n.id{delivery})"
        )
    };
    let (hot, history) = (any("deliveries"), any("deliveries_history"));
    format!(" AND ({hot} OR {history})")
}

/// Adds a value; returns the text that refers to it.
fn bind(values: &mut Vec<Value>, text: &str, value: impl Into<Value>) -> String {
    values.push(value.into());
    format!("{text} ${}", values.len())
}

fn summary(row: &Row) -> Result<NotificationSummary, Error> {
    let mut columns = Columns::of(row);
    Ok(NotificationSummary {
        id: columns.uuid(NotificationId::parse)?,
        request_id: columns.id(RequestId::parse)?,
        event_type: columns.id(EventType::parse)?,
        created_at: columns.time()?,
        expires_at: columns.time()?,
        counts: Vec::new(),
    })
}
