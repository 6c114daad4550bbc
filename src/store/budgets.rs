//! What may be asked of Slack, and when: one row per installation and method, for all replicas.
//!
//! A call reserves its start time by one statement (GCRA without a burst: starts are at least an
//! interval apart). Changes of messages take theirs along with the claim of their lane (`queue`), so that
//! nobody reserves ahead of who is more urgent. A 429 pauses the row; the pause also holds for who reserved before it, so a
//! caller that waited asks [`Store::pause_left`] before it starts.

use std::time::Duration;

use super::rows::Columns;
use super::sql::{self, params};
use super::{Error, Store};
use crate::domain::budget::Budget;
use crate::domain::ids::InstallationId;
use crate::domain::time::{Timestamp, micros};

/// The row of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Booked {
    /// The next free start.
    pub next_at: Timestamp,
    /// Nothing starts before.
    pub paused_until: Timestamp,
}

/// A start that was reserved, or refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reservation {
    /// Whether the start is the caller's. A refused one takes nothing from the budget: callers who
    /// will not wait must not push each other away for ever.
    pub taken: bool,
    /// How long from now until the call may start, or until it is worth asking again; zero: at once.
    pub wait: Duration,
}

impl Store {
    /// Reserves the next free start, at least `interval` after the one before, unless it is further
    /// away than `patience`.
    pub async fn reserve(
        &self,
        installation: InstallationId,
        method: &str,
        interval: Duration,
        patience: Duration,
    ) -> Result<Reservation, Error> {
        const TAKE: &str = "INSERT INTO budgets (installation, method, next_at, paused_until)
            VALUES ($1, $2, {now} + $3, 0) ON CONFLICT (installation, method) DO UPDATE
            SET next_at = {greatest}(budgets.next_at, budgets.paused_until, {now}) + $3
            WHERE {greatest}(budgets.next_at, budgets.paused_until, {now}) - {now} <= $4
            RETURNING next_at - $3 - {now}";
        const WHEN: &str = "SELECT {greatest}(next_at, paused_until) - {now} FROM budgets
            WHERE installation = $1 AND method = $2";
        let key = params![installation.to_string(), method];
        let mut values = key.clone();
        values.extend(params![micros(interval), micros(patience)]);
        if let Some(row) = sql::one(self.writer(), TAKE, values).await? {
            return Ok(Reservation { taken: true, wait: from_micros(row.get(0)?) });
        }
        let row = sql::one(self.reader(), WHEN, key).await?;
        let row = row.ok_or_else(|| Error::Bug("a budget without a row".into()))?;
        Ok(Reservation { taken: false, wait: from_micros(row.get(0)?) })
    }

    /// Makes the row of a budget, where there is none: claims take from rows that are there.
    pub async fn open_budget(&self, id: InstallationId, budget: Budget) -> Result<(), Error> {
        const SQL: &str = "INSERT INTO budgets (installation, method, next_at, paused_until)
            VALUES ($1, $2, 0, 0) ON CONFLICT (installation, method) DO NOTHING";
        let values = params![id.to_string(), budget.method()];
        sql::execute(self.writer(), SQL, values).await.map(drop)
    }

    /// Gives back the start of a change that was not made, if none was given out after it: two would
    /// else begin at one time.
    pub async fn unbook(
        &self,
        id: InstallationId,
        budget: Budget,
        (start, interval): (Timestamp, Duration),
    ) -> Result<(), Error> {
        const SQL: &str = "UPDATE budgets SET next_at = $3
            WHERE installation = $1 AND method = $2 AND next_at = $3 + $4";
        let values = params![id.to_string(), budget.method(), start.0, micros(interval)];
        sql::execute(self.writer(), SQL, values).await.map(drop)
    }

    /// Lets no call start for `duration` from now. A longer pause stays.
    pub async fn pause(
        &self,
        installation: InstallationId,
        method: &str,
        duration: Duration,
    ) -> Result<(), Error> {
        const SQL: &str = "INSERT INTO budgets (installation, method, next_at, paused_until)
            VALUES ($1, $2, 0, {now} + $3) ON CONFLICT (installation, method) DO UPDATE
            SET paused_until = {greatest}(budgets.paused_until, excluded.paused_until)";
        let values = params![installation.to_string(), method, micros(duration)];
        sql::execute(self.writer(), SQL, values).await?;
        Ok(())
    }

    /// How long the current pause still lasts; zero where there is none.
    pub async fn pause_left(
        &self,
        installation: InstallationId,
        method: &str,
    ) -> Result<Duration, Error> {
        const SQL: &str =
            "SELECT paused_until - {now} FROM budgets WHERE installation = $1 AND method = $2";
        let row = sql::one(self.reader(), SQL, params![installation.to_string(), method]).await?;
        row.map_or(Ok(Duration::ZERO), |row| Ok(from_micros(row.get(0)?)))
    }
}

/// Reads `next_at` and `paused_until`; `None` where the row was joined and is not there.
pub(in crate::store) fn booked_of(columns: &mut Columns<'_>) -> Result<Option<Booked>, Error> {
    let (next_at, paused_until) = (columns.optional_time()?, columns.optional_time()?);
    let booked = next_at.zip(paused_until);
    Ok(booked.map(|(next_at, paused_until)| Booked { next_at, paused_until }))
}

fn from_micros(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}
