//! The tokens of installations as calls need them, and their death.
//!
//! An installation may use the token of another one, that of its organization (`org`).

use std::collections::{BTreeSet, HashMap};

use sea_orm::ConnectionTrait as _;

use super::installations::TABLE;
use crate::domain::ids::InstallationId;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::store::database::rows::{Column, Columns, given};
use crate::store::database::sql::{self, params};
use crate::store::database::transaction::{Tx, scoped};
use crate::store::seal::data_keys::{KeyScope, SealedCell};
use crate::store::{Error, Store, Tenancy};

/// Slack's code if an organization takes an org-wide app away from one of its workspaces.
pub const ACCESS_NOT_GRANTED: &str = "team_access_not_granted";

/// The state of the token of `t`, which the installation `i` uses. A token that cannot be exchanged
/// is used until Slack refuses it.
const TOKEN_STATE: &str = "CASE WHEN i.state <> 'active' OR t.state <> 'active' THEN 3
        WHEN i.migrating_since IS NOT NULL THEN 2 WHEN t.refresh_token IS NOT NULL
        AND t.token_expires_at <= {now} THEN 1 ELSE 0 END";

/// A decrypted token.
#[derive(Debug, Clone)]
pub struct Token {
    pub secret: Secret,
    /// Pass it to [`Tenancy::mark_installation_dead`].
    pub version: i64,
    /// The installation that the token was issued for: this one, or that of its organization.
    pub holder: InstallationId,
    pub expires_at: Option<Timestamp>,
    pub state: TokenState,
}

/// Whether a token may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenState {
    Valid,
    /// It has expired, and can be exchanged for the next one.
    Expired,
    /// The workspace moves into an organization.
    Migrating,
    /// Slack refused it for good, with this code.
    Dead(String),
}

/// A token as stored.
#[derive(Debug, Clone)]
pub(in crate::store) struct SealedToken {
    token: Vec<u8>,
    version: i64,
    holder: InstallationId,
    expires_at: Option<Timestamp>,
    state: TokenState,
}

impl Tenancy<'_> {
    /// The bot token; [`Error::NotFound`] for an unknown installation.
    pub async fn token(self, id: InstallationId) -> Result<Token, Error> {
        let group = &self.store.inner.reading_tokens;
        let read = group
            .read(self.store, id, id, 1, |store, ids| async move { store.read_tokens(&ids).await });
        let found = read.await?;
        let SealedToken { token, version, holder, expires_at, state } = found;
        let secret = self.store.unseal_secret(holder, "token", &token).await?;
        Ok(Token { secret, version, holder, expires_at, state })
    }

    /// Marks the installation dead, if `version` is still its token's, and puts its lanes to sleep.
    /// Returns whether it did. The death of a token that an organization's workspaces share is that
    /// of them all, except if the organization only took the app away from this one.
    pub async fn mark_installation_dead(
        self,
        id: InstallationId,
        version: i64,
        reason: &str,
    ) -> Result<bool, Error> {
        // Locked, so that the token is not exchanged meanwhile.
        const FIND: &str = "SELECT id, token_version + renewals
            FROM installations
            WHERE id = (SELECT COALESCE(org, id) FROM installations WHERE id = $1) {for_update}";
        let id = &id.to_string();
        self.store
            .transaction(|tx| {
                scoped(async move {
                    let Some(row) = sql::one(tx, FIND, params![id.as_str()]).await? else {
                        return Ok(false);
                    };
                    let (holder, present): (String, i64) = (row.get(0)?, row.get(1)?);
                    if present != version {
                        return Ok(false);
                    }
                    let whole = reason != ACCESS_NOT_GRANTED;
                    kill(tx, if whole { &holder } else { id }, reason).await
                })
            })
            .await
    }
}

impl Store {
    /// Decrypts a token of an installation.
    pub(in crate::store) async fn unseal_secret(
        &self,
        id: InstallationId,
        column: &'static str,
        sealed: &[u8],
    ) -> Result<Secret, Error> {
        let key = id.to_string();
        let place = SealedCell { table: TABLE, row: &key, column };
        let plain = self.unseal(&KeyScope::Installation(id), &place, sealed).await?;
        let text = std::str::from_utf8(&plain)
            .map_err(|_| Error::Bug("a stored token is not text".into()))?;
        Ok(Secret::new(text))
    }

    /// The tokens for all waiting calls, in one statement; one answer for each, in order.
    async fn read_tokens(
        &self,
        ids: &[InstallationId],
    ) -> Result<Vec<Result<SealedToken, Error>>, Error> {
        let names: BTreeSet<String> = ids.iter().map(InstallationId::to_string).collect();
        let rows = names.into_iter().map(|name| [name.into()]).collect();
        let mut tokens = HashMap::new();
        let backend = self.reader().get_database_backend();
        for (table, values) in given(backend, [Column::Text], rows) {
            let text = format!(
                "SELECT i.id, t.token, t.token_version + t.renewals, t.id, t.token_expires_at,
                        {TOKEN_STATE}, COALESCE(i.state_reason, t.state_reason, 'token_revoked')
                    FROM {table}
                    JOIN installations i ON i.id = column1
                    JOIN installations t ON {}",
                sql::by_key(backend, "t.id", "COALESCE(i.org, i.id)")
            );
            for row in sql::all(self.reader(), &text, values).await? {
                let mut columns = Columns::of(&row);
                let id = columns.uuid(InstallationId::parse)?;
                let (token, version) = (columns.take()?, columns.take()?);
                let holder = columns.uuid(InstallationId::parse)?;
                let expires_at = columns.optional_time()?;
                let state = match columns.take::<i32>()? {
                    0 => TokenState::Valid,
                    1 => TokenState::Expired,
                    2 => TokenState::Migrating,
                    _ => TokenState::Dead(columns.take()?),
                };
                tokens.insert(id, SealedToken { token, version, holder, expires_at, state });
            }
        }
        let token =
            |id| tokens.get(id).cloned().ok_or_else(|| Error::NotFound("installation".into()));
        Ok(ids.iter().map(token).collect())
    }
}

/// Marks an installation, and those that use its token, dead, and puts their lanes to sleep: all of
/// them at once, so that none is claimed only to meet the dead token. Returns whether one was
/// alive.
pub(in crate::store) async fn kill(tx: &Tx, id: &str, reason: &str) -> Result<bool, Error> {
    const KILL: &str = "UPDATE installations
        SET state = 'dead', state_reason = $2, state_changed_at = {now}, refresh_due_at = NULL,
            migrating_since = NULL
        WHERE (id = $1 OR org = $1) AND state <> 'dead'
        RETURNING id";
    let killed = sql::all(tx, KILL, params![id, reason]).await?;
    for row in &killed {
        rest(tx, &row.get::<String>(0)?).await?;
    }
    Ok(!killed.is_empty())
}

/// Puts the lanes of an installation to sleep.
pub(in crate::store) async fn rest(tx: &Tx, id: &str) -> Result<(), Error> {
    const SLEEP: &str = "UPDATE lanes
        SET asleep = 1, next_at = NULL
        WHERE installation = $1 AND next_at IS NOT NULL AND lease_token IS NULL";
    sql::execute(tx, SLEEP, params![id]).await.map(drop)
}
