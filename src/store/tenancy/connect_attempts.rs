//! Attempts to connect a workspace: one OAuth state each, used once.
//!
//! Only the hash of the state is stored: reading the database does not let anyone finish another
//! person's attempt.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::installations::{self, NewInstallation};
use crate::domain::access::sharing::Allowed;
use crate::domain::ids::{InstallationId, TenantId};
use crate::domain::limits::CONNECT_LINKS;
use crate::domain::time::{Timestamp, micros};
use crate::store::database::sql::{self, Row, params};
use crate::store::database::transaction::{Tx, scoped};
use crate::store::{Error, Store, Tenancy};

/// The outcome of an OAuth state that a callback brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TakenConnect {
    /// It was waiting and is now used up.
    Taken {
        tenant: TenantId,
        redirect_uri: String,
        allowed: Allowed,
        /// The scopes that the link asks for; empty: those of the settings.
        scopes: Vec<String>,
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
    /// A sentence for the administrator, without secrets.
    Failed(String),
}

/// The success of an attempt, before it is stored.
#[derive(Clone, Copy)]
pub struct ConnectGrant<'a> {
    pub tenant: &'a TenantId,
    pub state: &'a str,
    pub installation: &'a NewInstallation,
    /// The other tenants that may use the installation.
    pub others: &'a [TenantId],
}

/// Whether a success was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectCompletion {
    Connected(InstallationId),
    /// A tenant that the grant does not list uses the installation. Nothing was stored.
    InUse(InstallationId),
}

/// The status of an attempt.
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

impl Tenancy<'_> {
    /// Stores a new OAuth state for `ttl`; no `scopes`: those of the settings. The tenant must
    /// exist. Attempts that expired over a week ago are deleted, and so are the oldest ones beyond
    /// [`CONNECT_LINKS`] that are allowed the same.
    pub async fn begin_connect(
        self,
        tenant: &TenantId,
        state: &str,
        redirect_uri: &str,
        ttl: Duration,
        allowed: Allowed,
        scopes: &[String],
    ) -> Result<(), Error> {
        const FORGET: &str = "DELETE FROM connect_attempts
            WHERE tenant = $1 AND expires_at < {now} - 604800000000";
        // Two attempts within one tick of the clock still have an order.
        const INSERT: &str = "INSERT INTO connect_attempts
                (tenant, state_hash, redirect_uri, created_at, expires_at, shared_with, scopes)
            VALUES ($1, $2, $3,
                {greatest}({now}, COALESCE((
                    SELECT MAX(created_at) + 1
                    FROM connect_attempts
                    WHERE tenant = $1), 0)),
                {now} + $4, $5, $6)";
        let excess = &format!(
            "DELETE FROM connect_attempts
            WHERE tenant = $1 AND COALESCE(shared_with, '') = $2 AND created_at <= (
                SELECT created_at
                FROM connect_attempts
                WHERE tenant = $1 AND COALESCE(shared_with, '') = $2
                ORDER BY created_at DESC
                LIMIT 1 OFFSET {CONNECT_LINKS})"
        );
        let kind = &params![tenant.as_str(), allowed.code().unwrap_or_default()];
        let scopes = (!scopes.is_empty()).then(|| scopes.join(","));
        let values = &params![
            tenant.as_str(),
            hash(state),
            redirect_uri,
            micros(ttl),
            allowed.code(),
            scopes
        ];
        let begun = self.store.transaction(|tx| {
            scoped(async move {
                sql::execute(tx, FORGET, values[..1].to_vec()).await?;
                sql::execute(tx, INSERT, values.clone()).await?;
                sql::execute(tx, excess, kind.clone()).await?;
                self.store.record(tx).await
            })
        });
        begun.await?;
        self.store.recorded();
        Ok(())
    }

    /// Uses a state up, atomically: of two callbacks with one state, only one gets `Taken`.
    pub async fn take_connect(self, state: &str) -> Result<TakenConnect, Error> {
        const TAKE: &str = "UPDATE connect_attempts SET taken_at = {now}
            WHERE state_hash = $1 AND taken_at IS NULL AND expires_at > {now}
            RETURNING tenant, redirect_uri, shared_with, scopes";
        let hash = hash(state);
        if let Some(row) = sql::one(self.store.writer(), TAKE, params![hash.clone()]).await? {
            return taken(&row);
        }
        let found = self.look_at_connect(state).await?;
        if found == TakenConnect::Expired {
            self.store.note_late(&hash).await?;
        }
        // It was taken, or expired, between the two statements.
        Ok(if let TakenConnect::Taken { .. } = found { TakenConnect::AlreadyUsed } else { found })
    }

    /// The answer that [`Tenancy::take_connect`] would give, without using the state up.
    pub async fn look_at_connect(self, state: &str) -> Result<TakenConnect, Error> {
        const LOOK: &str = "SELECT tenant, redirect_uri, shared_with, scopes, taken_at, expires_at,
                {now}
            FROM connect_attempts WHERE state_hash = $1";
        let Some(row) = sql::one(self.store.reader(), LOOK, params![hash(state)]).await? else {
            return Ok(TakenConnect::Unknown);
        };
        let (taken_at, expires_at, now): (Option<i64>, i64, i64) =
            (row.get(4)?, row.get(5)?, row.get(6)?);
        match taken_at {
            Some(_) => Ok(TakenConnect::AlreadyUsed),
            None if expires_at <= now => Ok(TakenConnect::Expired),
            None => taken(&row),
        }
    }

    /// Stores the installation, makes it the tenant's in place of any other, ends the attempt and
    /// writes the entries of this store: all of it, or nothing. Of two tenants that come at the
    /// same time, each without the other among its `others`, one is connected. The tenant must
    /// exist.
    pub async fn complete_connect(
        self,
        grant: &ConnectGrant<'_>,
    ) -> Result<ConnectCompletion, Error> {
        loop {
            let sealed = &self.store.seal_installation(grant.installation).await?;
            let completed = self.store.transaction(|tx| {
                scoped(async move {
                    if !installations::may_join(tx, grant.tenant, sealed.id, grant.others).await? {
                        return Ok(Some(ConnectCompletion::InUse(sealed.id)));
                    }
                    if !installations::write(tx, sealed).await? {
                        return Ok(None);
                    }
                    installations::link(tx, grant.tenant, sealed.id).await?;
                    finish(tx, grant.state, &ConnectOutcome::Completed).await?;
                    self.store.record(tx).await?;
                    Ok(Some(ConnectCompletion::Connected(sealed.id)))
                })
            });
            if let Some(completed) = completed.await? {
                self.store.recorded();
                return Ok(completed);
            }
        }
    }

    /// Records how the attempt ended; the first outcome stays. Returns whether it was recorded.
    pub async fn finish_connect(
        self,
        state: &str,
        outcome: &ConnectOutcome,
    ) -> Result<bool, Error> {
        let finished = self.store.transaction(|tx| {
            scoped(async move {
                let finished = finish(tx, state, outcome).await?;
                if finished {
                    self.store.record(tx).await?;
                }
                Ok(finished)
            })
        });
        let finished = finished.await?;
        self.store.recorded();
        Ok(finished)
    }

    pub async fn latest_connect(self, tenant: &TenantId) -> Result<Option<ConnectAttempt>, Error> {
        const SQL: &str = "SELECT created_at, expires_at, outcome, detail, {now}
            FROM connect_attempts WHERE tenant = $1 ORDER BY created_at DESC LIMIT 1";
        let row = sql::one(self.store.reader(), SQL, params![tenant.as_str()]).await?;
        row.as_ref().map(attempt).transpose()
    }
}

impl Store {
    /// Records an answer that came after the link had expired, so that GetWorkspace does not say
    /// that none came.
    async fn note_late(&self, hash: &[u8]) -> Result<(), Error> {
        const SQL: &str = "UPDATE connect_attempts SET detail = $2
            WHERE state_hash = $1 AND finished_at IS NULL";
        const LATE: &str = "Slack's answer came after the link had expired. Begin again; an \
            approval already given in Slack stays.";
        sql::execute(self.writer(), SQL, params![hash.to_vec(), LATE]).await.map(drop)
    }
}

/// [`Tenancy::finish_connect`] within a transaction.
async fn finish(tx: &Tx, state: &str, outcome: &ConnectOutcome) -> Result<bool, Error> {
    const SQL: &str = "UPDATE connect_attempts
        SET finished_at = {now}, outcome = $2, detail = $3
        WHERE state_hash = $1 AND finished_at IS NULL";
    let (word, detail) = match outcome {
        ConnectOutcome::Completed => ("completed", None),
        ConnectOutcome::Denied => ("denied", None),
        ConnectOutcome::Failed(detail) => ("failed", Some(detail.as_str())),
    };
    Ok(sql::execute(tx, SQL, params![hash(state), word, detail]).await? > 0)
}

/// Reads the tenant, the redirect address, the sharing that is allowed and the scopes.
fn taken(row: &Row) -> Result<TakenConnect, Error> {
    let tenant = TenantId::parse(row.get::<String>(0)?)
        .map_err(|_| Error::Bug("a stored tenant id".into()))?;
    let allowed = Allowed::from_code(row.get::<Option<String>>(2)?.as_deref());
    let scopes = row.get::<Option<String>>(3)?.unwrap_or_default();
    let scopes = scopes.split(',').filter(|scope| !scope.is_empty()).map(str::to_owned).collect();
    Ok(TakenConnect::Taken { tenant, redirect_uri: row.get(1)?, allowed, scopes })
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
