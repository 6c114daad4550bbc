//! Dead letters: deliveries that ended without the message being sent, for an operator to inspect
//! and to replay (`replay`).

use sea_orm::Value;

use super::deliveries::{DEAD, DeliveryRecord};
use crate::domain::delivery::State;
use crate::domain::ids::{DeliveryId, EventType, TenantId, UserId};
use crate::domain::time::Timestamp;
use crate::store::database::rows::Columns;
use crate::store::database::sql::{self, params, placeholders};
use crate::store::{Error, Records};

/// Which dead letters; all conditions that are set must hold.
#[derive(Debug, Clone, Default)]
pub struct FailedFilter {
    /// One of failed, expired, parked.
    pub state: Option<State>,
    /// The code of Herald's reason.
    pub reason: Option<String>,
    /// Slack's code.
    pub code: Option<String>,
    pub event_type: Option<EventType>,
    pub user: Option<UserId>,
    /// Ended at this time or later.
    pub from: Option<Timestamp>,
    /// Ended before this time.
    pub before: Option<Timestamp>,
}

/// A position in the list: the last dead letter of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailedPosition {
    pub ended_at: Timestamp,
    pub id: DeliveryId,
}

/// One page.
#[derive(Debug, Clone, PartialEq)]
pub struct FailedPage {
    /// Latest end first.
    pub deliveries: Vec<DeliveryRecord>,
    /// Whether there are more.
    pub more: bool,
}

impl Records<'_> {
    /// Up to `limit` dead letters after a position. Replayed deliveries are excluded.
    pub async fn list_failed(
        self,
        tenant: &TenantId,
        filter: &FailedFilter,
        after: Option<FailedPosition>,
        limit: u32,
    ) -> Result<FailedPage, Error> {
        let (mut which, mut values) = filter.which(tenant);
        if let Some(position) = after {
            values.extend(params![position.ended_at.0, position.id.to_string()]);
            let at = values.len();
            which.push_str(&format_position(at));
        }
        let page = |table| {
            format!(
                "SELECT *
                    FROM (
                        SELECT id, updated_at
                        FROM {table}
                        WHERE {which}
                        ORDER BY updated_at DESC, id DESC
                        LIMIT {}) AS {table}_page",
                limit + 1
            )
        };
        let text = format!(
            "SELECT id FROM ({} UNION ALL {}) AS every ORDER BY updated_at DESC, id DESC LIMIT {}",
            page("deliveries"),
            page("deliveries_history"),
            limit + 1
        );
        let rows = sql::all(self.store.reader(), &text, values).await?;
        let more = rows.len() > limit as usize;
        let kept = rows.iter().take(limit as usize).map(|row| Columns::of(row).take());
        let ids = kept.collect::<Result<Vec<String>, _>>()?;
        let mut deliveries = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(500) {
            let which = format!("tenant = $1 AND id IN ({})", placeholders(2, chunk.len()));
            let mut values = params![tenant.as_str()];
            values.extend(chunk.iter().map(|id| Value::from(id.as_str())));
            deliveries.extend(self.store.read_deliveries(tenant, &which, values).await?);
        }
        deliveries.sort_by_key(|record| std::cmp::Reverse((record.updated_at, record.id)));
        Ok(FailedPage { deliveries, more })
    }

    /// Whether there is any matching dead letter.
    pub async fn any_failed(self, tenant: &TenantId, filter: &FailedFilter) -> Result<bool, Error> {
        let (which, values) = filter.which(tenant);
        let any = |table| {
            let superseded = superseded(table);
            format!("EXISTS (SELECT 1 FROM {table} WHERE {which} AND NOT {superseded})")
        };
        let text = format!("SELECT 1 WHERE {} OR {}", any("deliveries"), any("deliveries_history"));
        Ok(sql::one(self.store.reader(), &text, values).await?.is_some())
    }
}

fn format_position(at: usize) -> String {
    format!(" AND (updated_at, id) < (${}, ${at})", at - 1)
}

impl FailedFilter {
    /// The condition and its values; `$1` is the tenant.
    pub(in crate::store) fn which(&self, tenant: &TenantId) -> (String, Vec<Value>) {
        // The same text as in the partial indexes.
        let mut which = format!("tenant = $1 AND {DEAD} AND replayed_as IS NULL");
        let mut values = params![tenant.as_str()];
        let mut all = |text: &str, value: Option<Value>| {
            if let Some(value) = value {
                values.push(value);
                which.push_str(&[" AND ", text, " $", &values.len().to_string()].concat());
            }
        };
        all("state =", self.state.map(|state| state.code().into()));
        all("reason =", self.reason.as_deref().map(Value::from));
        all("code =", self.code.as_deref().map(Value::from));
        all("event_type =", self.event_type.as_ref().map(|event| event.as_str().into()));
        all("user_id =", self.user.as_ref().map(|user| user.as_str().into()));
        all("updated_at >=", self.from.map(|from| from.0.into()));
        all("updated_at <", self.before.map(|before| before.0.into()));
        (which, values)
    }
}

/// Whether a later notification replaced the message of a row of `table`, took it back or marked
/// its subject as done, as an expression: then the row has nothing left to say.
pub(in crate::store) fn superseded(table: &str) -> String {
    let by = |later| {
        format!(
            "EXISTS (
                SELECT 1
                FROM {later} AS later
                WHERE later.tenant = {table}.tenant
                    AND later.subject_key = {table}.subject_key
                    AND later.sequence > {table}.sequence
                    AND later.action IN ('replace', 'retract', 'done')
                    AND (later.user_id = {table}.user_id OR later.lane = {table}.lane))"
        )
    };
    let speaks = format!("COALESCE({table}.action, 'post') IN ('post', 'reply', 'replace')");
    format!("({speaks} AND ({} OR {}))", by("deliveries"), by("deliveries_history"))
}
