//! Lanes: one row for each conversation of an installation. A lane orders and paces its messages,
//! and one lease on it makes sure that only one message is under way at a time.
//!
//! The invariant of this file: whenever a lane is neither leased nor asleep, `next_at` is the time
//! at which its first delivery can be looked at (the later of the delivery's `due_at` and the
//! lane's `paced_until`), or NULL if the lane is empty. While the lane is leased, `next_at` is the
//! end of the lease, so that a lane whose holder died becomes due by itself.
//!
//! No wake-up is lost, because both sides lock the lane's row first. A transaction that adds a
//! delivery holds the row until its commit. A transaction that empties a lane locks the row and
//! then looks for deliveries *in another statement*, which therefore sees what was committed
//! meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::{ConnectionTrait as _, DbBackend};

use crate::domain::capacity::budget::Budget;
use crate::domain::capacity::priority::{Class, Priority};
use crate::domain::delivery::subject::{Action, SlackRequestKind};
use crate::domain::ids::{InstallationId, TenantId};
use crate::domain::time::Timestamp;
use crate::store::database::rows::{Column, NewCell, NewRows, arrays};
use crate::store::database::sql::{self, by_key, params};
use crate::store::database::transaction::{Tx, scoped};
use crate::store::records::deliveries::IN_LANE;
use crate::store::{Error, Lanes};

/// The deliveries that wait in a lane, for estimates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    /// Deliveries that have not ended, including one that is being sent.
    pub count: u32,
    /// When the first can be looked at; `None` if the lane is empty or new, or its installation
    /// waits for a reconnect.
    pub next_at: Option<Timestamp>,
}

/// A lane's key: the position from which a scan of all lanes continues.
pub type LaneKey = (String, String);

/// When a head (`head`) is due. If it was last written in the future, the clock has stepped back
/// since, and its wait counts from now until `upkeep::clock` has moved its times. A write that sets
/// `updated_at` sets this too: nothing would show later that the stored time is ahead.
pub(in crate::store) fn due(head: &str, now: &str) -> String {
    format!("{head}.due_at - {{greatest}}({head}.updated_at - {now}, 0)")
}

/// The end of a lane's pace: like [`due`], by the lane's last claim or the end of that claim.
pub(in crate::store) fn pace(now: &str) -> String {
    format!("lanes.paced_until - {{greatest}}(lanes.claimed_at - {now}, 0)")
}

/// The columns of a lane that is not leased, set by its head (`head`, see [`head`]), unless it
/// sleeps. For a statement with the time as `clock.now`.
pub(in crate::store) fn headed(sleeps: &str, paced_until: &str) -> String {
    let (budget, due) = (budget(), due("head", "clock.now"));
    format!(
        "next_at = CASE
                WHEN {sleeps} OR head.due_at IS NULL THEN NULL
                ELSE {{greatest}}({due}, {paced_until}) END,
            ready_at = {{greatest}}(COALESCE({due}, 0), {paced_until}),
            budget = {budget},
            tenant = COALESCE(head.tenant, lanes.tenant),
            class = CASE
                WHEN head.state = 'unknown' THEN 0
                WHEN head.position <= lanes.urgent_through THEN 1
                WHEN head.position <= lanes.normal_through THEN 2
                ELSE 3 END"
    )
}

/// The budget that the request of `head` is taken from: that of the last planned or attempted
/// request, or otherwise of its action. If another budget turns out to be needed,
/// [`Settle::Replanned`](crate::store::Settle) reports it.
fn budget() -> String {
    let kinds = SlackRequestKind::ALL.iter().map(|kind| (kind.code(), kind.budget()));
    let actions = Action::ALL.iter().map(|action| (action.code(), action.budget()));
    let cases: Vec<String> = kinds
        .chain(actions)
        .filter(|(_, budget)| *budget != Budget::Posts)
        .map(|(code, budget)| format!("WHEN '{code}' THEN {} ", budget.code()))
        .collect();
    let (cases, posts) = (cases.concat(), Budget::Posts.code());
    format!("CASE COALESCE(head.deed, head.action) {cases}ELSE {posts} END")
}

/// The columns of a head that [`headed`] reads.
pub(in crate::store) const HEAD: &str = "due_at, updated_at, tenant, state, position, deed, action";

/// How a statement names the lane whose head it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum LaneName {
    /// `$1`, `$2`.
    Parameters,
    /// `column1`, `column2` of `given`.
    Given,
    /// The row of `lanes` that the statement is about.
    Outer,
}

/// The head of a lane, as `head`: the delivery that must end before the others of the lane. To be
/// written after the columns to read.
pub(in crate::store) fn from_head(of: LaneName) -> String {
    let (installation, lane) = match of {
        LaneName::Parameters => ("$1", "$2"),
        LaneName::Given => ("column1", "column2"),
        LaneName::Outer => ("lanes.installation", "lanes.lane"),
    };
    format!(
        "FROM deliveries head
            WHERE head.installation = {installation} AND head.lane = {lane} AND head.{IN_LANE}
            ORDER BY head.position, head.sequence
            LIMIT 1"
    )
}

/// The head of the lane `$1`, `$2`, to be joined: one row, with NULLs if the lane is empty.
pub(in crate::store) fn head() -> String {
    format!("(SELECT {HEAD} {}) AS head ON TRUE", from_head(LaneName::Parameters))
}

/// The heads of the lanes `column1`, `column2` of `given`, to be joined as `alias`: one row for
/// each lane that is not empty. `columns` are the columns to read.
pub(in crate::store) fn heads(backend: DbBackend, alias: &str, columns: &str) -> String {
    let from_head = from_head(LaneName::Given);
    match backend {
        DbBackend::Postgres => format!("LATERAL (SELECT {columns} {from_head}) AS {alias} ON TRUE"),
        // SQLite cannot join a subselect that refers to the previous table.
        _ => format!("deliveries AS {alias} ON {alias}.sequence = (SELECT sequence {from_head})"),
    }
}

/// The lane `column1`, `column2` of `given`, as a condition.
pub(in crate::store) fn given_lane(backend: DbBackend) -> String {
    // The second column is compared directly: PostgreSQL searches an index by only one list, that
    // of its first column.
    format!("{} AND lanes.lane = column2", by_key(backend, "lanes.installation", "column1"))
}

/// The new tail of a lane: one delivery, or several of one transaction.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Joining<'a> {
    tenant: &'a TenantId,
    /// When the first may be looked at.
    due: Timestamp,
    priority: Priority,
    /// The budget of the first.
    budget: Budget,
    /// The last position of an urgent one, and of one that is not bulk; zero if there is none.
    urgent_through: i64,
    normal_through: i64,
}

impl<'a> Joining<'a> {
    pub(in crate::store) fn new(
        tenant: &'a TenantId,
        position: i64,
        priority: Priority,
        budget: Budget,
        due: Timestamp,
    ) -> Self {
        let through = |least| if priority >= least { position } else { 0 };
        let (urgent_through, normal_through) =
            (through(Priority::Urgent), through(Priority::Normal));
        Self { tenant, due, priority, budget, urgent_through, normal_through }
    }

    /// Adds another one that joins behind.
    pub(in crate::store) fn and(&mut self, behind: &Self) {
        self.priority = self.priority.max(behind.priority);
        self.urgent_through = self.urgent_through.max(behind.urgent_through);
        self.normal_through = self.normal_through.max(behind.normal_through);
    }
}

/// Updates lanes whose tails deliveries joined. Locks their rows until the commit, which the
/// emptying side depends on, and in one order, so that two calls never deadlock. A lane that
/// already has work keeps its time, since a delivery at the tail is never first, but the delivery
/// may make the lane more urgent.
pub(in crate::store) async fn fill(
    tx: &Tx,
    lanes: &BTreeMap<(InstallationId, &str), Joining<'_>>,
) -> Result<(), Error> {
    /// The lane is empty, so the joining delivery is its head.
    const EMPTY: &str = "lanes.next_at IS NULL AND lanes.asleep = 0";
    let rows = lanes.iter().map(|((installation, lane), joining)| {
        let class = Class::from(joining.priority).code();
        [
            NewCell("installation", Column::Text, installation.to_string().into()),
            NewCell("lane", Column::Text, (*lane).into()),
            NewCell("next_at", Column::Number, joining.due.0.into()),
            NewCell("tenant", Column::Text, joining.tenant.as_str().into()),
            NewCell("class", Column::Number, class.into()),
            NewCell("urgent_through", Column::Number, joining.urgent_through.into()),
            NewCell("normal_through", Column::Number, joining.normal_through.into()),
            NewCell("budget", Column::Number, joining.budget.code().into()),
        ]
    });
    let Some(rows) = NewRows::of(tx.get_database_backend(), rows.collect()) else {
        return Ok(());
    };
    let (names, values, next_at) = (rows.names(), rows.values(), rows.value("next_at"));
    let pace = pace("{now}");
    for (table, parameters) in rows.tables {
        let text = format!(
            "INSERT INTO lanes ({names}, ready_at)
                SELECT {values}, {next_at}
                FROM {table}
                WHERE TRUE
                ON CONFLICT (installation, lane) DO UPDATE
                SET next_at = CASE
                        WHEN {EMPTY} THEN {{greatest}}(excluded.next_at, {pace})
                        ELSE lanes.next_at END,
                    ready_at = CASE
                        WHEN {EMPTY} THEN {{greatest}}(excluded.next_at, {pace})
                        ELSE lanes.ready_at END,
                    budget = CASE WHEN {EMPTY} THEN excluded.budget ELSE lanes.budget END,
                    tenant = CASE WHEN {EMPTY} THEN excluded.tenant ELSE lanes.tenant END,
                    class = CASE
                        WHEN {EMPTY} OR lanes.class > excluded.class THEN excluded.class
                        ELSE lanes.class END,
                    urgent_through = {{greatest}}(lanes.urgent_through, excluded.urgent_through),
                    normal_through = {{greatest}}(lanes.normal_through, excluded.normal_through)"
        );
        sql::execute(tx, &text, parameters).await?;
    }
    Ok(())
}

impl Lanes<'_> {
    /// After a reconnect: lanes that fell asleep because the token was dead are now due, and a
    /// worker that has just met the old token can no longer put its lane to sleep. Call it after
    /// the new token was committed.
    pub async fn wake(self, installation: InstallationId) -> Result<(), Error> {
        let pace = pace("{now}");
        let text = &format!(
            "UPDATE lanes
                SET woken_at = {{now}},
                    asleep = 0,
                    next_at = CASE
                        WHEN asleep = 1 THEN {{greatest}}({{now}}, {pace})
                        ELSE next_at END,
                    ready_at = CASE
                        WHEN asleep = 1 THEN {{greatest}}({{now}}, {pace})
                        ELSE ready_at END
                WHERE installation = $1"
        );
        let id = &installation.to_string();
        self.store
            .transaction(|tx| {
                scoped(async move { sql::execute(tx, text, params![id.as_str()]).await })
            })
            .await?;
        self.store.wake();
        Ok(())
    }
}

/// Locks lanes, in their order, and draws `count` positions for the deliveries that join them, each
/// larger than all before. Positions are drawn after the lock, not before it: a delivery must stand
/// behind all that joined its lane in an earlier commit. Otherwise it would precede a message that
/// is being sent or in doubt, and only the history after it would be searched for that message.
pub(in crate::store) async fn positions(
    tx: &Tx,
    lanes: &BTreeSet<(InstallationId, &str)>,
    count: usize,
) -> Result<Vec<i64>, Error> {
    let wanted = i64::try_from(count).unwrap_or(i64::MAX);
    // There is only one writer.
    if tx.get_database_backend() == DbBackend::Sqlite {
        const DRAW: &str = "UPDATE delivery_positions SET value = value + $1 RETURNING value";
        let row = sql::one(tx, DRAW, params![wanted]).await?;
        let last: i64 = row.ok_or_else(|| Error::Bug("no position was drawn".into()))?.get(0)?;
        return Ok((last - wanted + 1..=last).collect());
    }
    // Not `NewRows`, which make no table without rows: deliveries in no lane need positions too.
    let rows =
        lanes.iter().map(|(installation, lane)| [installation.to_string().into(), (*lane).into()]);
    let (table, mut values) = arrays([Column::Text, Column::Text], rows.collect());
    values.push(wanted.into());
    let text = format!(
        "WITH locked AS (
                INSERT INTO lanes (installation, lane)
                SELECT column1, column2
                FROM {table}
                WHERE TRUE
                ON CONFLICT (installation, lane) DO UPDATE
                SET lane = excluded.lane
                RETURNING 1)
            SELECT nextval('delivery_positions')
            FROM generate_series(1, $3)
            WHERE (SELECT COUNT(*) FROM locked) >= 0"
    );
    sql::all(tx, &text, values).await?.iter().map(|row| row.get(0)).collect()
}

/// One position, for all deliveries that join these lanes in one transaction.
pub(in crate::store) async fn position(
    tx: &Tx,
    lanes: &BTreeSet<(InstallationId, &str)>,
) -> Result<i64, Error> {
    let drawn = positions(tx, lanes, 1).await?;
    drawn.into_iter().next().ok_or_else(|| Error::Bug("no position was drawn".into()))
}
