//! Attempts to connect a workspace: one OAuth state each, used once.
//!
//! Only the hash of the state is stored: who reads the database cannot finish somebody's attempt.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::sql::{self, Row, params};
use super::{Error, Store};
use crate::domain::ids::TenantId;
use crate::domain::time::{Timestamp, micros};

/// What became of an OAuth state that a callback brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TakenConnect {
    /// It was waiting and is now used up.
    Taken {
        tenant: TenantId,
        redirect_uri: String,
    },
    AlreadyUsed,
    Expired,
    /// Never issued, or issued long ago.
    Unknown,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectOutcome {
    Completed,
    /// The person pressed "Cancel" in Slack.
    Denied,
    /// A sentence for the administrator; nothing secret in it.
    Failed(String),
}

/// Where an attempt stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectStatus {
    AwaitingCallback,
    Expired,
    Completed,
    Denied,
    Failed,
}

/// The latest attempt of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectAttempt {
    pub status: ConnectStatus,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    /// The sentence of a failure.
    pub detail: Option<String>,
}

impl Store {
    /// Remembers a fresh OAuth state for `ttl`. The tenant must exist. Attempts that ended over a
    /// week ago are forgotten.
    pub async fn begin_connect(
        &self,
        tenant: &TenantId,
        state: &str,
        redirect_uri: &str,
        ttl: Duration,
    ) -> Result<(), Error> {
        const FORGET: &str = "DELETE FROM connect_attempts
            WHERE tenant = $1 AND expires_at < {now} - 604800000000";
        // Two attempts within one tick of the clock still have an order.
        const INSERT: &str = "INSERT INTO connect_attempts
                (tenant, state_hash, redirect_uri, created_at, expires_at)
            VALUES ($1, $2, $3, {greatest}({now}, COALESCE((SELECT MAX(created_at) + 1
                FROM connect_attempts WHERE tenant = $1), 0)), {now} + $4)";
        let values = params![tenant.as_str(), hash(state), redirect_uri, micros(ttl)];
        sql::execute(self.writer(), FORGET, params![tenant.as_str()]).await?;
        sql::execute(self.writer(), INSERT, values).await?;
        Ok(())
    }

    /// Uses a state up, atomically: of two callbacks with one state, one is told `Taken`.
    pub async fn take_connect(&self, state: &str) -> Result<TakenConnect, Error> {
        const TAKE: &str = "UPDATE connect_attempts SET taken_at = {now}
            WHERE state_hash = $1 AND taken_at IS NULL AND expires_at > {now}
            RETURNING tenant, redirect_uri";
        const WHY: &str = "SELECT taken_at FROM connect_attempts WHERE state_hash = $1";
        let hash = hash(state);
        if let Some(row) = sql::one(self.writer(), TAKE, params![hash.clone()]).await? {
            let tenant = TenantId::parse(row.get::<String>(0)?)
                .map_err(|_| Error::Bug("a stored tenant id".into()))?;
            return Ok(TakenConnect::Taken { tenant, redirect_uri: row.get(1)? });
        }
        Ok(match sql::one(self.reader(), WHY, params![hash]).await? {
            None => TakenConnect::Unknown,
            Some(row) if row.get::<Option<i64>>(0)?.is_some() => TakenConnect::AlreadyUsed,
            Some(_) => TakenConnect::Expired,
        })
    }

    /// Records how the attempt ended; the first outcome stays. Says whether it was recorded.
    pub async fn finish_connect(
        &self,
        state: &str,
        outcome: &ConnectOutcome,
    ) -> Result<bool, Error> {
        const SQL: &str = "UPDATE connect_attempts
            SET finished_at = {now}, outcome = $2, detail = $3
            WHERE state_hash = $1 AND finished_at IS NULL";
        let (word, detail) = match outcome {
            ConnectOutcome::Completed => ("completed", None),
            ConnectOutcome::Denied => ("denied", None),
            ConnectOutcome::Failed(detail) => ("failed", Some(detail.as_str())),
        };
        let values = params![hash(state), word, detail];
        Ok(sql::execute(self.writer(), SQL, values).await? > 0)
    }

    pub async fn latest_connect(&self, tenant: &TenantId) -> Result<Option<ConnectAttempt>, Error> {
        const SQL: &str = "SELECT created_at, expires_at, outcome, detail, {now}
            FROM connect_attempts WHERE tenant = $1 ORDER BY created_at DESC LIMIT 1";
        let row = sql::one(self.reader(), SQL, params![tenant.as_str()]).await?;
        row.as_ref().map(attempt).transpose()
    }
}

fn attempt(row: &Row) -> Result<ConnectAttempt, Error> {
    let (created_at, expires_at) = (Timestamp(row.get(0)?), Timestamp(row.get(1)?));
    let (outcome, now): (Option<String>, _) = (row.get(2)?, Timestamp(row.get(4)?));
    let status = match outcome.as_deref() {
        Some("completed") => ConnectStatus::Completed,
        Some("denied") => ConnectStatus::Denied,
        Some("failed") => ConnectStatus::Failed,
        Some(_) => return Err(Error::Bug("a stored connect outcome".into())),
        None if expires_at <= now => ConnectStatus::Expired,
        None => ConnectStatus::AwaitingCallback,
    };
    Ok(ConnectAttempt { status, created_at, expires_at, detail: row.get(3)? })
}

fn hash(state: &str) -> Vec<u8> {
    Sha256::digest(state.as_bytes()).to_vec()
}
