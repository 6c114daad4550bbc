//! One delivery as it reads back.
//!
//! Rows of `deliveries` move to `deliveries_history` some time after they ended (`history`);
//! every read looks in both within one statement, so that none is missed while it moves.

use std::collections::HashMap;
use std::time::Duration;

use sea_orm::Value;

use super::rows::Columns;
use super::sql::{self, Row, params};
use super::{Error, Store};
use crate::domain::delivery::State;
use crate::domain::ids::{
    ChannelId, DeliveryId, EventType, InstallationId, NotificationId, SubjectKey, TenantId, UserId,
};
use crate::domain::subject::Action;
use crate::domain::time::Timestamp;

/// What a delivery is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// Part of a Notify.
    #[default]
    Normal,
    /// A test message: the person's preference does not hold it back.
    Test,
    /// A test message that an administrator asked for: the tenant's switch does not either.
    AdministratorTest,
}

impl Kind {
    pub const ALL: &'static [Self] = &[Self::Normal, Self::Test, Self::AdministratorTest];

    /// The code in the store.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Test => "test",
            Self::AdministratorTest => "administrator_test",
        }
    }

    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        match code {
            "normal" => Some(Self::Normal),
            "test" => Some(Self::Test),
            "administrator_test" => Some(Self::AdministratorTest),
            _ => None,
        }
    }
}

/// One delivery as the API shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct DeliveryRecord {
    pub id: DeliveryId,
    pub notification: NotificationId,
    /// Absent for posts to a channel.
    pub user: Option<UserId>,
    /// The Slack workspace. Absent while resolving, and for what never had a place to go.
    pub workspace: Option<InstallationId>,
    /// `U...` or `C...`; absent with the workspace.
    pub lane: Option<String>,
    pub state: State,
    /// Requests that counted; one under way included.
    pub attempt: u32,
    /// When it is looked at next, where it did not end.
    pub due_at: Timestamp,
    pub expires_at: Timestamp,
    /// Where Slack stored it.
    pub channel: Option<ChannelId>,
    pub ts: Option<String>,
    /// Code of a [`Suppression`](crate::domain::reason::Suppression), a
    /// [`NoMatch`](crate::domain::reason::NoMatch) or a
    /// [`Failure`](crate::domain::reason::Failure), by state.
    pub reason: Option<String>,
    /// Slack's last word, such as `channel_not_found`.
    pub code: Option<String>,
    /// Other recipients who are the same member.
    pub also: Vec<UserId>,
    pub subject: Option<SubjectKey>,
    pub action: Action,
    /// The delivery that it replays, and the one that replays it.
    pub replay_of: Option<DeliveryId>,
    pub replayed_as: Option<DeliveryId>,
    /// Why it went as it did, as it was given.
    pub trace: Option<Vec<u8>>,
    pub kind: Kind,
    pub event_type: EventType,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Requests and looks into history that ended, oldest first.
    pub attempts: Vec<AttemptRecord>,
}

/// One request to Slack, or one look into history, that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRecord {
    /// Counts requests; those that Slack throttled share the number of the next.
    pub number: u32,
    pub started_at: Timestamp,
    pub ended_at: Timestamp,
    /// Of a request: `sent`, `failed`, `parked`, `not_sent`, `throttled`, `unauthorized`,
    /// `unknown`, `not_written`, `unfit`, `unthreaded`, `crashed`. Of a look into history the same
    /// with `probe_` before it.
    pub outcome: String,
    pub code: Option<String>,
    /// Slack's method; absent of looks into history, and of what was logged before it was kept.
    pub method: Option<String>,
    /// The request alone.
    pub took: Option<Duration>,
}

/// The states that occupy a place in a lane. The text is that of the partial index: SQLite uses
/// the index only where they agree. The same holds for the two below.
pub(in crate::store) const IN_LANE: &str = "state IN ('pending', 'sending', 'unknown')";

/// States that end by expiry alone: no request is under way and none is in doubt.
pub(in crate::store) const EXPIRING: &str =
    "state IN ('resolving', 'held', 'collected', 'pending')";

/// [`EXPIRING`] as the partial index by expiry says it, for the search that the index is for. By
/// these words PostgreSQL cannot take it for any other statement: where statistics say that little
/// waits, it would walk all that waits rather than look a row up by its key.
pub(in crate::store) const OVERDUE: &str =
    "('' || state) IN ('resolving', 'held', 'collected', 'pending')";

/// All that has not ended, as the partial index by tenant says it; see [`OVERDUE`].
pub(in crate::store) const OPEN: &str = "('' || state) IN \
    ('resolving', 'held', 'collected', 'pending', 'sending', 'unknown')";

/// The state, compared where a row was found by its key: no partial index follows from it, the one
/// of the lanes neither. See `plans`.
pub(in crate::store) const STATE: &str = "(deliveries.state || '')";

/// The terminal states.
pub(in crate::store) const ENDED: &str =
    "state IN ('sent', 'failed', 'expired', 'suppressed', 'canceled', 'parked', 'unreachable')";

const READ: &str = "id, notification, user_id, installation, COALESCE(lane, deferred_lane), state, attempt, due_at, \
    expires_at, slack_channel, slack_ts, reason, code, kind, event_type, created_at, updated_at, \
    subject_key, action, replay_of, replayed_as, trace, sequence";

impl Store {
    /// One delivery of a tenant, with its attempts.
    pub async fn delivery(
        &self,
        tenant: &TenantId,
        id: DeliveryId,
    ) -> Result<Option<DeliveryRecord>, Error> {
        let values = params![tenant.as_str(), id.to_string()];
        Ok(self.records(tenant, "tenant = $1 AND id = $2", values).await?.pop())
    }

    /// All deliveries that match `filter`, in the order of acceptance.
    pub(in crate::store) async fn records(
        &self,
        tenant: &TenantId,
        filter: &str,
        values: Vec<Value>,
    ) -> Result<Vec<DeliveryRecord>, Error> {
        let text = format!(
            "SELECT {READ} FROM deliveries WHERE {filter} \
             UNION ALL SELECT {READ} FROM deliveries_history WHERE {filter} ORDER BY sequence"
        );
        let rows = sql::all(self.reader(), &text, values.clone()).await?;
        let mut records = rows.iter().map(record).collect::<Result<Vec<_>, _>>()?;
        for record in &mut records {
            let sealed = record.trace.take();
            record.trace = self.open_trace(tenant, record.id, sealed.as_deref()).await?;
        }
        let text = format!(
            "SELECT delivery, number, started_at, ended_at, outcome, code, method, took FROM attempts \
             WHERE delivery IN (SELECT id FROM deliveries WHERE {filter} \
             UNION ALL SELECT id FROM deliveries_history WHERE {filter}) ORDER BY sequence"
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
        kind: Kind::from_code(&columns.take::<String>()?).unwrap_or_default(),
        event_type: columns.id(EventType::parse)?,
        created_at: columns.time()?,
        updated_at: columns.time()?,
        also: Vec::new(),
        subject: columns.optional_id(SubjectKey::parse)?,
        action: columns.shown_action()?,
        replay_of: columns.optional_id(|text| DeliveryId::parse(&text))?,
        replayed_as: columns.optional_id(|text| DeliveryId::parse(&text))?,
        trace: columns.take()?,
        attempts: Vec::new(),
    })
}
