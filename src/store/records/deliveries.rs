//! One delivery as it is read back.
//!
//! Rows of `deliveries` move to `deliveries_history` some time after they ended (`archive`). Every
//! read looks in both tables within one statement, so that no row is missed while it moves.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use sea_orm::Value;

use crate::domain::delivery::subject::Action;
use crate::domain::delivery::{DeliveryKind, State};
use crate::domain::ids::{
    ChannelId, ChannelKey, DeliveryId, EventType, InstallationId, NotificationId, SubjectKey,
    TenantId, UserId,
};
use crate::domain::time::Timestamp;
use crate::store::database::rows::Columns;
use crate::store::database::sql::{self, Row, params};
use crate::store::{Error, Records, Store};

/// One delivery as the API shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct DeliveryRecord {
    pub id: DeliveryId,
    pub notification: NotificationId,
    /// Absent for posts to a channel.
    pub user: Option<UserId>,
    /// The platform's key of the channel, if the call named it.
    pub channel_key: Option<ChannelKey>,
    /// The Slack workspace. Absent while resolving, and for deliveries that never had a
    /// destination.
    pub workspace: Option<InstallationId>,
    /// `U...` or `C...`; absent if the workspace is.
    pub lane: Option<String>,
    pub state: State,
    /// Requests that counted, including one under way.
    pub attempt: u32,
    /// When it is looked at next, if it has not ended.
    pub due_at: Timestamp,
    pub expires_at: Timestamp,
    /// Where Slack stored it.
    pub channel: Option<ChannelId>,
    pub ts: Option<String>,
    /// Code of a [`Suppression`](crate::domain::reason::Suppression), a
    /// [`NoMatch`](crate::domain::reason::NoMatch) or a
    /// [`Failure`](crate::domain::reason::Failure), by state.
    pub reason: Option<String>,
    /// The last code from Slack, such as `channel_not_found`.
    pub code: Option<String>,
    /// Other recipients that are the same Slack member.
    pub also: Vec<UserId>,
    pub subject: Option<SubjectKey>,
    pub action: Action,
    /// The delivery that it replays.
    pub replay_of: Option<DeliveryId>,
    /// The delivery that replays it.
    pub replayed_as: Option<DeliveryId>,
    /// Why it went as it did, as the caller of the store gave it.
    pub trace: Option<Vec<u8>>,
    pub kind: DeliveryKind,
    pub event_type: EventType,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Requests and reads of history that ended, oldest first.
    pub attempts: Vec<AttemptRecord>,
}

/// One request to Slack, or one read of history, that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRecord {
    /// Counts requests; those that Slack throttled share the number of the next.
    pub number: u32,
    pub started_at: Timestamp,
    pub ended_at: Timestamp,
    /// Of a request: `sent`, `failed`, `parked`, `not_sent`, `throttled`, `unauthorized`,
    /// `unknown`, `not_written`, `unfit`, `unthreaded`, `crashed`. Of a read of history: the same
    /// with `probe_` before it.
    pub outcome: String,
    pub code: Option<String>,
    /// Slack's method; absent for reads of history, and for attempts logged before this was stored.
    pub method: Option<String>,
    /// The time of the request only.
    pub took: Option<Duration>,
}

/// An expression for the state, and the set that it must be in: `state IN ('sent', 'failed')`.
/// As a constant it can be named in a format string.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct StateIn(
    pub(in crate::store) &'static str,
    pub(in crate::store) &'static [State],
);

impl fmt::Display for StateIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} IN (", self.0)?;
        for (at, state) in self.1.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}'{}'", state.code())?;
        }
        f.write_str(")")
    }
}

/// The states that occupy a place in a lane. The text is the same as in the partial index, because
/// SQLite uses the index only if they agree. This also holds for [`OVERDUE`], [`OPEN_OF_TENANT`],
/// [`ENDED`] and [`DEAD`].
pub(in crate::store) const IN_LANE: StateIn = StateIn("state", State::IN_LANE);

/// States that only expiry ends: no request is under way or in doubt.
pub(in crate::store) const EXPIRING: StateIn = StateIn("state", State::EXPIRING);

/// [`EXPIRING`] as written in the partial index by expiry, for the search that the index serves.
/// This wording keeps PostgreSQL from using the index for any other statement: if statistics say
/// that few deliveries wait, it would scan all of them instead of finding a row by its key.
pub(in crate::store) const OVERDUE: StateIn = StateIn("('' || state)", State::EXPIRING);

/// All deliveries that have not ended.
pub(in crate::store) const OPEN: StateIn = StateIn("state", State::OPEN);

/// [`OPEN`] as written in the partial index by tenant; see [`OVERDUE`].
pub(in crate::store) const OPEN_OF_TENANT: StateIn = StateIn("('' || state)", State::OPEN);

/// Deliveries whose request is under way or in doubt.
pub(in crate::store) const IN_FLIGHT: StateIn = StateIn("state", State::IN_FLIGHT);

/// The state, compared in a row that was found by its key. No partial index follows from this
/// expression, not even that of the lanes. See `plans`.
pub(in crate::store) const STATE: &str = "(deliveries.state || '')";

/// The terminal states.
pub(in crate::store) const ENDED: StateIn = StateIn("state", State::ENDED);

/// The states of dead letters, as in the partial indexes.
pub(in crate::store) const DEAD: StateIn = StateIn("state", State::DEAD);

const READ: &str = "id, notification, user_id, installation, COALESCE(lane, deferred_lane), \
    state, attempt, due_at, expires_at, slack_channel, slack_ts, reason, code, kind, event_type, \
    created_at, updated_at, subject_key, action, replay_of, replayed_as, trace, channel_key, \
    sequence";

impl DeliveryRecord {
    /// Whether it waits for its channel to be ready in Slack, and for nothing before that.
    #[must_use]
    pub fn awaits_channel(&self) -> bool {
        let is_pending = self.state == State::Pending && self.lane.is_none();
        is_pending && self.channel_key.is_some() && self.due_at >= self.expires_at
    }
}

impl Records<'_> {
    /// One delivery of a tenant, with its attempts.
    pub async fn delivery(
        self,
        tenant: &TenantId,
        id: DeliveryId,
    ) -> Result<Option<DeliveryRecord>, Error> {
        let values = params![tenant.as_str(), id.to_string()];
        Ok(self.store.read_deliveries(tenant, "tenant = $1 AND id = $2", values).await?.pop())
    }

    /// How many deliveries of a tenant have not ended: exact up to `most`; a larger result only
    /// means more than that.
    pub async fn count_waiting(self, tenant: &TenantId, most: u64) -> Result<u64, Error> {
        let text = format!(
            "SELECT COUNT(*)
                FROM (
                    SELECT 1
                    FROM deliveries
                    WHERE tenant = $1 AND {OPEN_OF_TENANT}
                    LIMIT $2) AS waiting"
        );
        let most = i64::try_from(most).unwrap_or(i64::MAX).saturating_add(1);
        let row = sql::one(self.store.reader(), &text, params![tenant.as_str(), most]).await?;
        let count: i64 = row.map_or(Ok(0), |row| row.get(0))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }
}

impl Store {
    /// All deliveries that match `filter`, in the order of acceptance.
    pub(in crate::store) async fn read_deliveries(
        &self,
        tenant: &TenantId,
        filter: &str,
        values: Vec<Value>,
    ) -> Result<Vec<DeliveryRecord>, Error> {
        let text = format!(
            "SELECT {READ}
                FROM deliveries
                WHERE {filter}
                UNION ALL
                SELECT {READ}
                FROM deliveries_history
                WHERE {filter}
                ORDER BY sequence"
        );
        let rows = sql::all(self.reader(), &text, values.clone()).await?;
        let mut records = rows.iter().map(record).collect::<Result<Vec<_>, _>>()?;
        let traces: Vec<_> = records.iter().filter_map(|record| record.trace.as_deref()).collect();
        let keys = &self.keys_of_values(tenant, &traces).await?;
        for record in &mut records {
            let sealed = record.trace.take();
            record.trace = self.open_trace(tenant, record.id, sealed.as_deref(), keys).await?;
        }
        let text = format!(
            "SELECT delivery, number, started_at, ended_at, outcome, code, method, took
                FROM attempts
                WHERE delivery IN ({})
                ORDER BY sequence",
            ids_of(filter)
        );
        let mut attempts = HashMap::<DeliveryId, Vec<AttemptRecord>>::new();
        for row in sql::all(self.reader(), &text, values.clone()).await? {
            let (delivery, attempt) = attempt(&row)?;
            attempts.entry(delivery).or_default().push(attempt);
        }
        for record in &mut records {
            record.attempts = attempts.remove(&record.id).unwrap_or_default();
        }
        let mut shared = self.sharers(filter, values).await?;
        for record in &mut records {
            record.also = shared.remove(&record.id).unwrap_or_default();
        }
        Ok(records)
    }
}

/// The ids of the deliveries, ended ones included, for which a condition holds.
pub(in crate::store) fn ids_of(filter: &str) -> String {
    format!(
        "SELECT id
            FROM deliveries
            WHERE {filter}
            UNION ALL
            SELECT id
            FROM deliveries_history
            WHERE {filter}"
    )
}

fn attempt(row: &Row) -> Result<(DeliveryId, AttemptRecord), Error> {
    let mut columns = Columns::of(row);
    let delivery = columns.uuid(DeliveryId::parse)?;
    let attempt = AttemptRecord {
        number: columns.count()?,
        started_at: columns.time()?,
        ended_at: columns.time()?,
        outcome: columns.take()?,
        code: columns.take()?,
        method: columns.take()?,
        took: columns
            .take::<Option<i64>>()?
            .map(|took| Duration::from_micros(u64::try_from(took).unwrap_or(0))),
    };
    Ok((delivery, attempt))
}

/// Reads the columns of [`READ`].
fn record(row: &Row) -> Result<DeliveryRecord, Error> {
    let mut columns = Columns::of(row);
    Ok(DeliveryRecord {
        id: columns.uuid(DeliveryId::parse)?,
        notification: columns.uuid(NotificationId::parse)?,
        user: columns.optional_id(UserId::parse)?,
        workspace: columns.optional_id(|text| InstallationId::parse(&text))?,
        lane: columns.take()?,
        state: columns.shown_state()?,
        attempt: columns.count()?,
        due_at: columns.time()?,
        expires_at: columns.time()?,
        channel: columns.optional_id(ChannelId::parse)?,
        ts: columns.take()?,
        reason: columns.take()?,
        code: columns.take()?,
        kind: DeliveryKind::from_code(&columns.take::<String>()?).unwrap_or_default(),
        event_type: columns.id(EventType::parse)?,
        created_at: columns.time()?,
        updated_at: columns.time()?,
        also: Vec::new(),
        subject: columns.optional_id(SubjectKey::parse)?,
        action: columns.shown_action()?,
        replay_of: columns.optional_id(|text| DeliveryId::parse(&text))?,
        replayed_as: columns.optional_id(|text| DeliveryId::parse(&text))?,
        trace: columns.take()?,
        channel_key: columns.optional_id(ChannelKey::parse)?,
        attempts: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SQLite uses a partial index only if the statement has the same text.
    #[test]
    fn sets_of_states_are_written_as_in_the_partial_indexes() {
        for (set, text) in [
            (IN_LANE, "state IN ('pending', 'sending', 'unknown')"),
            (OVERDUE, "('' || state) IN ('resolving', 'held', 'collected', 'pending')"),
            (
                OPEN_OF_TENANT,
                "('' || state) IN \
                 ('resolving', 'held', 'collected', 'pending', 'sending', 'unknown')",
            ),
            (
                ENDED,
                "state IN ('sent', 'failed', 'expired', 'suppressed', 'canceled', 'parked', \
                 'unreachable')",
            ),
            (DEAD, "state IN ('failed', 'expired', 'parked')"),
        ] {
            assert_eq!(set.to_string(), text);
        }
    }
}
