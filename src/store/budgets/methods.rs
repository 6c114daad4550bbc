//! Slack request budgets: one row per installation and method, shared by all replicas.
//!
//! A call reserves its start time with one statement (GCRA without a burst: starts are at least an
//! interval apart). Changes of messages take their start when their lane is claimed
//! (`store/lanes/queue.rs`), so that no worker reserves a start ahead of a more urgent change. A
//! 429 pauses the row. The pause also applies to starts reserved before it, so a caller that waited
//! checks [`Budgets::pause_left`] before it starts.

use std::time::Duration;

use sea_orm::ConnectionTrait as _;

use crate::domain::capacity::budget::Budget;
use crate::domain::ids::InstallationId;
use crate::domain::time::{Timestamp, micros};
use crate::store::budgets::clock;
use crate::store::database::rows::Columns;
use crate::store::database::sql::{self, params};
use crate::store::database::transaction::Patience;
use crate::store::{Budgets, Error};

/// The row of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Booked {
    /// The next free start.
    pub next_at: Timestamp,
    /// No request starts before this.
    pub paused_until: Timestamp,
}

/// A start that was reserved or refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reservation {
    /// Whether the start belongs to the caller. A refused start takes nothing from the budget:
    /// otherwise callers that will not wait could push each other back for ever.
    pub taken: bool,
    /// How long from now until the call may start, or until it is worth asking again. Zero: at
    /// once.
    pub wait: Duration,
}

impl Budgets<'_> {
    /// Reserves the next free start, at least `interval` after the previous one, unless it is
    /// further away than `patience`. [`Error::Locked`]: another transaction holds the row.
    pub async fn reserve(
        self,
        installation: InstallationId,
        method: &str,
        interval: Duration,
        patience: Duration,
    ) -> Result<Reservation, Error> {
        let (free, paused) = (clock::next_call(), clock::paused_until("budgets"));
        let when = format!(
            "SELECT {{greatest}}({free}, {paused}) - {{now}}
                FROM budgets
                WHERE installation = $1 AND method = $2"
        );
        let clock = Patience::Shared.clock(self.store.writer().get_database_backend());
        // The clock is read when the row is locked, however long that took.
        let take = format!(
            "INSERT INTO budgets (installation, method, next_at, paused_until)
                SELECT $1, $2, {{now}} + $3, 0
                FROM {clock}
                WHERE TRUE
                ON CONFLICT (installation, method) DO UPDATE
                SET next_at = {{greatest}}({free}, {paused}, {{now}}) + $3
                WHERE {{greatest}}({free}, {paused}, {{now}}) - {{now}} <= $4
                RETURNING next_at - $3 - {{now}}"
        );
        let key = params![installation.to_string(), method];
        let mut values = key.clone();
        values.extend(params![micros(interval), micros(patience)]);
        let taken = sql::one(self.store.writer(), &take, values);
        let budget = (installation, method.to_owned());
        if let Some(row) = self.store.inner.reserving.run(budget, taken).await? {
            return Ok(Reservation { taken: true, wait: from_micros(row.get(0)?) });
        }
        let row = sql::one(self.store.reader(), &when, key).await?;
        let row = row.ok_or_else(|| Error::Bug("a budget without a row".into()))?;
        Ok(Reservation { taken: false, wait: from_micros(row.get(0)?) })
    }

    /// Makes the row of a budget if it is missing: claims only take from rows that exist.
    pub async fn open(self, id: InstallationId, budget: Budget) -> Result<(), Error> {
        let clock = Patience::Brief.clock(self.store.writer().get_database_backend());
        let text = format!(
            "INSERT INTO budgets (installation, method, next_at, paused_until)
                SELECT $1, $2, 0, 0
                FROM {clock}
                WHERE TRUE
                ON CONFLICT (installation, method) DO NOTHING"
        );
        let values = params![id.to_string(), budget.method()];
        sql::execute(self.store.writer(), &text, values).await.map(drop)
    }

    /// Returns the start of a change that was not made, unless a later start was reserved since:
    /// otherwise two requests would start at once. [`Error::Locked`]: another transaction holds the
    /// row.
    pub async fn return_method_slot(
        self,
        id: InstallationId,
        budget: Budget,
        (start, interval): (Timestamp, Duration),
    ) -> Result<(), Error> {
        let clock = Patience::Shared.clock(self.store.writer().get_database_backend());
        let text = format!(
            "UPDATE budgets
                SET next_at = $3
                FROM {clock}
                WHERE installation = $1 AND method = $2 AND next_at = $3 + $4"
        );
        let values = params![id.to_string(), budget.method(), start.0, micros(interval)];
        sql::execute(self.store.writer(), &text, values).await.map(drop)
    }

    /// Stops calls from starting for `duration` from now. A longer pause stays. [`Error::Locked`]:
    /// another transaction held the row for long.
    pub async fn pause(
        self,
        installation: InstallationId,
        method: &str,
        duration: Duration,
    ) -> Result<(), Error> {
        let pause = |clock: &str| {
            format!(
                "INSERT INTO budgets (installation, method, next_at, paused_until, paused_at)
                    SELECT $1, $2, 0, clock.now + $3, clock.now
                    FROM {clock}
                    WHERE TRUE
                    ON CONFLICT (installation, method) DO UPDATE
                    SET paused_until = {{greatest}}(budgets.paused_until, excluded.paused_until),
                        paused_at = {{greatest}}(budgets.paused_at, excluded.paused_at)
                    RETURNING method"
            )
        };
        let values = params![installation.to_string(), method, micros(duration)];
        self.store.insist(pause, values).await.map(drop)
    }

    /// How long the current pause still lasts; zero if there is none.
    pub async fn pause_left(
        self,
        installation: InstallationId,
        method: &str,
    ) -> Result<Duration, Error> {
        let text = format!(
            "SELECT {} - {{now}} FROM budgets WHERE installation = $1 AND method = $2",
            clock::paused_until("budgets")
        );
        let row =
            sql::one(self.store.reader(), &text, params![installation.to_string(), method]).await?;
        row.map_or(Ok(Duration::ZERO), |row| Ok(from_micros(row.get(0)?)))
    }
}

/// The columns of [`booked_of`] of a budget of changes that is joined as `table`.
pub(in crate::store) fn read_booked(table: &str) -> String {
    format!("{}, {}", clock::next_change(table, "{now}"), clock::paused_until(table))
}

/// Reads [`read_booked`]; `None` if the joined row does not exist.
pub(in crate::store) fn booked_of(columns: &mut Columns<'_>) -> Result<Option<Booked>, Error> {
    let (next_at, paused_until) = (columns.optional_time()?, columns.optional_time()?);
    let booked = next_at.zip(paused_until);
    Ok(booked.map(|(next_at, paused_until)| Booked { next_at, paused_until }))
}

fn from_micros(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}
