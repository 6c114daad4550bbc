//! Attempts to connect a workspace: one OAuth state each, used once.
//!
//! Only the hash of the state is stored: reading the database does not let anyone finish another
//! person's attempt.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::installations::{self, NewInstallation};
use crate::domain::access::sharing::Allowed;
use crate::domain::connection::ACCESS_DENIED;
use crate::domain::ids::{InstallationId, TenantId};
use crate::domain::limits::CONNECT_LINKS;
use crate::domain::time::{Timestamp, micros};
use crate::store::database::rows::parse_id;
use crate::store::database::sql::{self, Row, params};
use crate::store::database::transaction::{Tx, scoped};
use crate::store::{Error, Store, Tenancy};

/// The terms of a link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectTerms {
    pub allowed: Allowed,
    /// The scopes that the link asks for; empty: those of the settings.
    pub scopes: Vec<String>,
    /// Where the browser goes in the end; `None`: a page of Herald's.
    pub return_url: Option<String>,
    /// Slack's id of the only workspace that the link may connect.
    pub expected_team: Option<String>,
    /// The path of the app that the link leads to; empty: the deployment's.
    pub app_path: String,
}

/// An attempt that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BegunConnect {
    pub tenant: TenantId,
    pub redirect_uri: String,
    pub terms: ConnectTerms,
    /// Whether a browser opened the link.
    pub opened: bool,
}

/// The outcome of an OAuth state that a callback brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TakenConnect {
    /// It was waiting and is now used up.
    Taken(BegunConnect),
    AlreadyUsed(BegunConnect),
    Expired(BegunConnect),
    /// Never issued, or issued long ago.
    Unknown,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectOutcome {
    Completed,
    /// The person pressed "Cancel" in Slack.
    Denied,
    Failed {
        /// A stable code of Slack's or Herald's.
        reason: String,
        /// For the administrator, without secrets.
        sentence: String,
    },
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
    /// Stores a new OAuth state for `ttl`. The tenant must exist. Attempts that expired over a week
    /// ago are deleted, and so are the oldest ones beyond [`CONNECT_LINKS`] that are allowed the
    /// same.
    pub async fn begin_connect(
        self,
        tenant: &TenantId,
        state: &str,
        redirect_uri: &str,
        ttl: Duration,
        terms: &ConnectTerms,
    ) -> Result<(), Error> {
        const FORGET: &str = "DELETE FROM connect_attempts
            WHERE tenant = $1 AND expires_at < {now} - 604800000000";
        // Two attempts within one tick of the clock still have an order.
        const INSERT: &str = "INSERT INTO connect_attempts
                (tenant, state_hash, redirect_uri, created_at, expires_at, shared_with, scopes,
                return_url, expected_team, app_path)
            VALUES ($1, $2, $3,
                {greatest}({now}, COALESCE((
                    SELECT MAX(created_at) + 1
                    FROM connect_attempts
                    WHERE tenant = $1), 0)),
                {now} + $4, $5, $6, $7, $8, $9)";
        let excess = &format!(
            "DELETE FROM connect_attempts
            WHERE tenant = $1 AND COALESCE(shared_with, '') = $2 AND created_at <= (
                SELECT created_at
                FROM connect_attempts
                WHERE tenant = $1 AND COALESCE(shared_with, '') = $2
                ORDER BY created_at DESC
                LIMIT 1 OFFSET {CONNECT_LINKS})"
        );
        let allowed = terms.allowed.code();
        let kind = &params![tenant.as_str(), allowed.clone().unwrap_or_default()];
        let scopes = (!terms.scopes.is_empty()).then(|| terms.scopes.join(","));
        let values = &params![
            tenant.as_str(),
            hash(state),
            redirect_uri,
            micros(ttl),
            allowed,
            scopes,
            terms.return_url.as_deref(),
            terms.expected_team.as_deref(),
            terms.app_path.as_str()
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
        self.store.connection_moved();
        Ok(())
    }

    /// Records that a browser opened the link, if it is the first one.
    pub async fn note_opened(self, state: &str) -> Result<(), Error> {
        const SQL: &str = "UPDATE connect_attempts
            SET opened_at = {now}
            WHERE state_hash = $1 AND opened_at IS NULL AND taken_at IS NULL";
        sql::execute(self.store.writer(), SQL, params![hash(state)]).await?;
        self.store.connection_moved();
        Ok(())
    }

    /// Uses a state up, atomically: of two callbacks with one state, only one gets `Taken`.
    pub async fn take_connect(self, state: &str) -> Result<TakenConnect, Error> {
        // A link that an earlier release showed was opened too.
        let take = format!(
            "UPDATE connect_attempts
                SET taken_at = {{now}}, opened_at = COALESCE(opened_at, {{now}})
                WHERE state_hash = $1 AND taken_at IS NULL AND expires_at > {{now}}
                RETURNING {BEGUN}"
        );
        let hash = hash(state);
        if let Some(row) = sql::one(self.store.writer(), &take, params![hash.clone()]).await? {
            return begun(&row).map(TakenConnect::Taken);
        }
        let found = self.look_at_connect(state).await?;
        if let TakenConnect::Expired(_) = found {
            self.store.note_late(&hash).await?;
        }
        // It was taken, or expired, between the two statements.
        Ok(match found {
            TakenConnect::Taken(begun) => TakenConnect::AlreadyUsed(begun),
            found => found,
        })
    }

    /// The answer that [`Tenancy::take_connect`] would give, without using the state up.
    pub async fn look_at_connect(self, state: &str) -> Result<TakenConnect, Error> {
        let look = format!(
            "SELECT {BEGUN}, taken_at, expires_at, {{now}}
                FROM connect_attempts
                WHERE state_hash = $1"
        );
        let Some(row) = sql::one(self.store.reader(), &look, params![hash(state)]).await? else {
            return Ok(TakenConnect::Unknown);
        };
        let begun = begun(&row)?;
        let (taken_at, expires_at, now): (Option<i64>, i64, i64) =
            (row.get(8)?, row.get(9)?, row.get(10)?);
        Ok(match taken_at {
            Some(_) => TakenConnect::AlreadyUsed(begun),
            None if expires_at <= now => TakenConnect::Expired(begun),
            None => TakenConnect::Taken(begun),
        })
    }

    /// Records that an organization was connected, one of whose workspaces is to be chosen.
    pub async fn note_org(self, state: &str, org: InstallationId) -> Result<(), Error> {
        const SQL: &str = "UPDATE connect_attempts
            SET org = $2
            WHERE state_hash = $1 AND finished_at IS NULL";
        let values = params![hash(state), org.to_string()];
        sql::execute(self.store.writer(), SQL, values).await.map(drop)
    }

    /// The attempt with this state, and its organization, while a workspace may be chosen.
    pub async fn choosing(
        self,
        state: &str,
    ) -> Result<Option<(BegunConnect, InstallationId)>, Error> {
        let text = format!(
            "SELECT {BEGUN}, org
                FROM connect_attempts
                WHERE state_hash = $1 AND org IS NOT NULL AND finished_at IS NULL
                    AND expires_at > {{now}}"
        );
        let Some(row) = sql::one(self.store.reader(), &text, params![hash(state)]).await? else {
            return Ok(None);
        };
        Ok(Some((begun(&row)?, parse_id(&row.get::<String>(8)?)?)))
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
                    let (tenant, path) = (grant.tenant, Some(sealed.app_path.as_str()));
                    let others = grant.others;
                    if !installations::may_join(tx, tenant, sealed.id, path, others).await? {
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
                self.store.connection_moved();
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
        self.store.connection_moved();
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
        const SQL: &str = "UPDATE connect_attempts
            SET detail = $2
            WHERE state_hash = $1 AND finished_at IS NULL";
        const LATE: &str = "Slack's answer came after the link had expired. Begin again; an \
            approval already given in Slack stays.";
        sql::execute(self.writer(), SQL, params![hash.to_vec(), LATE]).await.map(drop)
    }
}

/// [`Tenancy::finish_connect`] within a transaction.
pub(in crate::store) async fn finish(
    tx: &Tx,
    state: &str,
    outcome: &ConnectOutcome,
) -> Result<bool, Error> {
    const SQL: &str = "UPDATE connect_attempts
        SET finished_at = {now}, outcome = $2, detail = $3, reason = $4
        WHERE state_hash = $1 AND finished_at IS NULL";
    let (word, detail, reason) = match outcome {
        ConnectOutcome::Completed => ("completed", None, None),
        ConnectOutcome::Denied => ("denied", None, Some(ACCESS_DENIED)),
        ConnectOutcome::Failed { reason, sentence } => {
            ("failed", Some(sentence.as_str()), Some(reason.as_str()))
        }
    };
    Ok(sql::execute(tx, SQL, params![hash(state), word, detail, reason]).await? > 0)
}

/// The columns of [`begun`].
const BEGUN: &str = "tenant, redirect_uri, shared_with, scopes, return_url, expected_team, \
    app_path, opened_at";

fn begun(row: &Row) -> Result<BegunConnect, Error> {
    let tenant = TenantId::parse(row.get::<String>(0)?)
        .map_err(|_| Error::Bug("a stored tenant id".into()))?;
    let scopes = row.get::<Option<String>>(3)?.unwrap_or_default();
    let scopes = scopes.split(',').filter(|scope| !scope.is_empty()).map(str::to_owned).collect();
    let terms = ConnectTerms {
        allowed: Allowed::from_code(row.get::<Option<String>>(2)?.as_deref()),
        scopes,
        return_url: row.get(4)?,
        expected_team: row.get(5)?,
        app_path: row.get(6)?,
    };
    let opened = row.get::<Option<i64>>(7)?.is_some();
    Ok(BegunConnect { tenant, redirect_uri: row.get(1)?, terms, opened })
}

fn attempt(row: &Row) -> Result<ConnectAttempt, Error> {
    let (created_at, expires_at) = (Timestamp(row.get(0)?), Timestamp(row.get(1)?));
    let (outcome, now): (Option<String>, _) = (row.get(2)?, Timestamp(row.get(4)?));
    let status = status(outcome.as_deref(), expires_at, now)?;
    Ok(ConnectAttempt { status, created_at, expires_at, detail: row.get(3)? })
}

/// The status of an attempt with this stored outcome.
pub(super) fn status(
    outcome: Option<&str>,
    expires_at: Timestamp,
    now: Timestamp,
) -> Result<ConnectStatus, Error> {
    Ok(match outcome {
        Some("completed") => ConnectStatus::Completed,
        Some("denied") => ConnectStatus::Denied,
        Some("failed") => ConnectStatus::Failed,
        Some(_) => return Err(Error::Bug("a stored connect outcome".into())),
        None if expires_at <= now => ConnectStatus::Expired,
        None => ConnectStatus::AwaitingCallback,
    })
}

fn hash(state: &str) -> Vec<u8> {
    Sha256::digest(state.as_bytes()).to_vec()
}
