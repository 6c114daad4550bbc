//! When connections are checked, and the results.
//!
//! A claim moves the due time to the end of its lease. Its epoch fences: a holder whose lease was
//! taken over, or whose check a caller's check overtook, changes nothing.

use std::time::Duration;

use crate::domain::checkup::{PartCheck, worst};
use crate::domain::ids::TenantId;
use crate::domain::time::{Timestamp, micros};
use crate::store::database::rows::Columns;
use crate::store::database::sql::{self, params};
use crate::store::{Checkups, Error};

/// The right to check one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckLease {
    pub tenant: TenantId,
    /// Whether no check of the tenant has ended yet.
    pub is_first: bool,
    epoch: i64,
}

/// The result of a check.
#[derive(Debug, Clone, Copy)]
pub struct CheckRun<'a> {
    /// When it began: a token that was replaced since was not checked.
    pub began: Timestamp,
    pub rows: &'a [PartCheck],
    /// How long until the next one.
    pub next: Duration,
}

impl CheckRun<'_> {
    fn findings(&self) -> Result<String, Error> {
        serde_json::to_string(self.rows)
            .map_err(|_| Error::Bug("findings cannot be converted to JSON".into()))
    }
}

impl Checkups<'_> {
    /// Takes the connection that has been due longest. `longest`: no check is due later than this
    /// from now; one that seems to be was planned before the clock stepped back.
    pub async fn claim(
        self,
        lease: Duration,
        longest: Duration,
    ) -> Result<Option<CheckLease>, Error> {
        const DUE: &str = "SELECT 1
            FROM connection_checks
            WHERE due_at <= {now} OR due_at > {now} + $1
            LIMIT 1";
        const CLAIM: &str = "UPDATE connection_checks
            SET epoch = epoch + 1, due_at = {now} + $2
            WHERE tenant = (SELECT tenant
                FROM connection_checks
                WHERE due_at <= {now} OR due_at > {now} + $1
                ORDER BY due_at
                LIMIT 1 {skip_locked})
            RETURNING tenant, ran_at, epoch";
        let (longest, lease) = (micros(longest), micros(lease));
        // Read first: most looks find nothing, and readers do not queue for SQLite's only writer.
        if sql::one(self.store.reader(), DUE, params![longest]).await?.is_none() {
            return Ok(None);
        }
        let row = sql::one(self.store.writer(), CLAIM, params![longest, lease]).await?;
        let Some(row) = row else { return Ok(None) };
        let mut columns = Columns::of(&row);
        let tenant = columns.id(TenantId::parse)?;
        let is_first = columns.optional_time()?.is_none();
        Ok(Some(CheckLease { tenant, is_first, epoch: columns.take()? }))
    }

    /// Stores the result of a claimed check. `false`: the lease was lost.
    pub async fn finish(self, lease: &CheckLease, run: &CheckRun<'_>) -> Result<bool, Error> {
        const SQL: &str = "UPDATE connection_checks
            SET ran_at = $3, findings = $4, worst = $5,
                due_at = CASE WHEN due_at IS NULL THEN NULL ELSE {now} + $6 END
            WHERE tenant = $1 AND epoch = $2";
        let values = params![
            lease.tenant.as_str(),
            lease.epoch,
            run.began.0,
            run.findings()?,
            worst(run.rows).code(),
            micros(run.next),
        ];
        Ok(sql::execute(self.store.writer(), SQL, values).await? > 0)
    }

    /// Gives a claimed check back without a result, to be claimed again after `wait`.
    pub async fn release(self, lease: &CheckLease, wait: Duration) -> Result<(), Error> {
        const SQL: &str = "UPDATE connection_checks
            SET due_at = CASE WHEN due_at IS NULL THEN NULL ELSE {now} + $3 END
            WHERE tenant = $1 AND epoch = $2";
        let values = params![lease.tenant.as_str(), lease.epoch, micros(wait)];
        sql::execute(self.store.writer(), SQL, values).await.map(drop)
    }

    /// Stores the result of a check that a caller asked for, and ends a claim of the same. If a
    /// next check is planned already, it stays as it is.
    pub async fn save(self, tenant: &TenantId, run: &CheckRun<'_>) -> Result<(), Error> {
        const SQL: &str = "INSERT INTO connection_checks (tenant, ran_at, findings, worst, due_at)
            VALUES ($1, $2, $3, $4, {now} + $5)
            ON CONFLICT (tenant) DO UPDATE
            SET ran_at = excluded.ran_at, findings = excluded.findings, worst = excluded.worst,
                epoch = connection_checks.epoch + 1";
        let values = params![
            tenant.as_str(),
            run.began.0,
            run.findings()?,
            worst(run.rows).code(),
            micros(run.next),
        ];
        sql::execute(self.store.writer(), SQL, values).await.map(drop)
    }
}
