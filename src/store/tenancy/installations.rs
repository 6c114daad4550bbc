//! Installations of the Slack app, their tokens, and the tenants that use them.
//!
//! An installation outlives its links: two tenants may share one workspace, and disconnecting one
//! leaves the other. Connecting again revives the installation and increments `token_version`. A
//! report of a dead token names the version, so that a late report cannot kill a new token.

use std::collections::{BTreeSet, HashMap};

use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _,
};

use crate::domain::ids::{InstallationId, TenantId};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::store::database::entity::{installation, tenant_link};
use crate::store::database::rows::{Column, Columns, given, parse_id};
use crate::store::database::sql::{self, params};
use crate::store::database::transaction::{Tx, scoped};
use crate::store::seal::data_keys::{KeyScope, ScopeKeys, SealedCell};
use crate::store::{Error, Store, Tenancy, new_uuid};

/// One installation of a Slack app in a workspace or an Enterprise organisation, without its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    pub id: InstallationId,
    pub app_id: String,
    pub enterprise_id: Option<String>,
    /// `None` if the installation is for a whole Enterprise organisation.
    pub team_id: Option<String>,
    pub org_wide: bool,
    pub team_name: String,
    pub bot_user_id: String,
    pub bot_name: String,
    /// The granted scopes, which may be fewer than requested.
    pub scopes: Vec<String>,
    pub state: InstallationState,
    /// Why it is dead, as Slack's code, such as `token_revoked`.
    pub state_reason: Option<String>,
    pub state_changed_at: Timestamp,
    /// When it was last connected.
    pub installed_at: Timestamp,
    /// Counts tokens: 1 from the first connect.
    pub token_version: i64,
    /// The Slack user who last approved the app, if known.
    pub installed_by: Option<String>,
}

impl Installation {
    /// Slack's code for the token, if it no longer works.
    pub fn dead(&self) -> Option<&str> {
        let code = self.state_reason.as_deref().unwrap_or("token_revoked");
        (self.state == InstallationState::Dead).then_some(code)
    }
}

/// Whether the token works, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstallationState {
    Active,
    /// Slack refused the token for good; connecting again revives it.
    Dead,
}

/// The result of connecting.
#[derive(Debug, Clone)]
pub struct NewInstallation {
    pub app_id: String,
    pub enterprise_id: Option<String>,
    pub team_id: Option<String>,
    pub org_wide: bool,
    pub team_name: String,
    pub bot_user_id: String,
    pub bot_name: String,
    pub scopes: Vec<String>,
    pub token: Secret,
    /// Present if token rotation is on.
    pub refresh_token: Option<Secret>,
    pub token_expires_at: Option<Timestamp>,
    /// The Slack user who approved the app.
    pub installed_by: Option<String>,
}

/// An installation that is encrypted and ready to be written.
pub(in crate::store) struct SealedInstallation {
    pub(in crate::store) id: InstallationId,
    values: Vec<sea_orm::Value>,
}

/// A decrypted token.
#[derive(Debug, Clone)]
pub struct Token {
    pub secret: Secret,
    /// Pass it to [`Tenancy::mark_installation_dead`].
    pub version: i64,
    pub expires_at: Option<Timestamp>,
    /// Why it is dead, if Slack refused it for good.
    pub dead: Option<String>,
}

/// A token as stored.
#[derive(Debug, Clone)]
pub(in crate::store) struct SealedToken {
    token: Vec<u8>,
    version: i64,
    expires_at: Option<Timestamp>,
    dead: Option<String>,
}

impl Tenancy<'_> {
    /// The tenants that use this workspace with the same app, each with its installation. A
    /// workspace that has since joined an organisation has a new installation from then on; it
    /// still counts as the same workspace.
    pub async fn tenants_in_workspace(
        self,
        new: &NewInstallation,
    ) -> Result<Vec<(TenantId, InstallationId)>, Error> {
        const SQL: &str = "SELECT tenant, id FROM installations
            JOIN tenant_links ON installation = id
            WHERE app_id = $1 AND team_id = $2 AND (team_id <> '' OR enterprise_id = $3)
            ORDER BY tenant";
        let (enterprise, team) =
            (or_empty(new.enterprise_id.as_ref()), or_empty(new.team_id.as_ref()));
        let values = params![new.app_id.as_str(), team, enterprise];
        let mut users = Vec::new();
        for row in sql::all(self.store.reader(), SQL, values).await? {
            let mut columns = Columns::of(&row);
            users.push((columns.id(TenantId::parse)?, columns.uuid(InstallationId::parse)?));
        }
        Ok(users)
    }

    pub async fn installation(self, id: InstallationId) -> Result<Option<Installation>, Error> {
        let row = installation::Entity::find_by_id(id.to_string()).one(self.store.reader()).await?;
        row.map(Installation::try_from).transpose()
    }

    /// The bot token; [`Error::NotFound`] for an unknown installation.
    pub async fn token(self, id: InstallationId) -> Result<Token, Error> {
        let group = &self.store.inner.reading_tokens;
        let read = group
            .read(self.store, id, id, 1, |store, ids| async move { store.read_tokens(&ids).await });
        let found = read.await?;
        let key = id.to_string();
        let place = SealedCell { table: TABLE, row: &key, column: "token" };
        let plain = self.store.unseal(&KeyScope::Installation(id), &place, &found.token).await?;
        let text = std::str::from_utf8(&plain)
            .map_err(|_| Error::Bug("a stored token is not text".into()))?;
        let SealedToken { version, expires_at, dead, .. } = found;
        Ok(Token { secret: Secret::new(text), version, expires_at, dead })
    }

    /// Marks the installation dead, if `token_version` is still its token's, and puts its lanes to
    /// sleep. Returns whether it did.
    pub async fn mark_installation_dead(
        self,
        id: InstallationId,
        token_version: i64,
        reason: &str,
    ) -> Result<bool, Error> {
        const KILL: &str = "UPDATE installations
            SET state = 'dead', state_reason = $3, state_changed_at = {now}
            WHERE id = $1 AND token_version = $2 AND state <> 'dead'";
        // All of its lanes at once, so that none is claimed only to meet the dead token.
        const SLEEP: &str = "UPDATE lanes SET asleep = 1, next_at = NULL
            WHERE installation = $1 AND next_at IS NOT NULL AND lease_token IS NULL";
        let values = &params![id.to_string(), token_version, reason];
        self.store
            .transaction(|tx| {
                scoped(async move {
                    let killed = sql::execute(tx, KILL, values.clone()).await? > 0;
                    if killed {
                        sql::execute(tx, SLEEP, values[..1].to_vec()).await?;
                    }
                    Ok(killed)
                })
            })
            .await
    }

    /// The tenant's installation, dead or alive; `None` if it never connected or is disconnected.
    pub async fn installation_of(self, tenant: &TenantId) -> Result<Option<Installation>, Error> {
        let link = tenant_link::Entity::find_by_id(tenant.as_str().to_owned());
        match link.one(self.store.reader()).await? {
            Some(link) => self.installation(parse_id(&link.installation)?).await,
            None => Ok(None),
        }
    }

    /// The tenants that use an installation, by name.
    pub async fn tenants_of(self, id: InstallationId) -> Result<Vec<TenantId>, Error> {
        let rows = tenant_link::Entity::find()
            .filter(tenant_link::Column::Installation.eq(id.to_string()))
            .order_by_asc(tenant_link::Column::Tenant)
            .all(self.store.reader())
            .await?;
        let parse = |row: tenant_link::Model| {
            TenantId::parse(row.tenant).map_err(|_| Error::Bug("a stored tenant id".into()))
        };
        rows.into_iter().map(parse).collect()
    }
}

impl Store {
    /// Encrypts an installation under the id that it has, or under a new one. May write, so never
    /// use it inside a transaction.
    pub(in crate::store) async fn seal_installation(
        &self,
        new: &NewInstallation,
    ) -> Result<SealedInstallation, Error> {
        let id = match self.installation_by_key(new).await? {
            Some(id) => id,
            None => InstallationId(new_uuid(self.now().await?)),
        };
        let keys = self.keys(&KeyScope::Installation(id)).await?;
        Ok(SealedInstallation { id, values: upsert_values(id, new, &keys)? })
    }

    async fn installation_by_key(
        &self,
        new: &NewInstallation,
    ) -> Result<Option<InstallationId>, Error> {
        const SQL: &str = "SELECT id FROM installations WHERE app_id = $1 AND enterprise_id = $2
            AND team_id = $3 AND org_wide = $4";
        let (enterprise, team) =
            (or_empty(new.enterprise_id.as_ref()), or_empty(new.team_id.as_ref()));
        let values = params![new.app_id.as_str(), enterprise, team, new.org_wide];
        match sql::one(self.reader(), SQL, values).await? {
            Some(row) => parse_id(&row.get::<String>(0)?).map(Some),
            None => Ok(None),
        }
    }

    /// The tokens for all waiting calls, in one statement; one answer for each, in order.
    async fn read_tokens(
        &self,
        ids: &[InstallationId],
    ) -> Result<Vec<Result<SealedToken, Error>>, Error> {
        let names: BTreeSet<String> = ids.iter().map(InstallationId::to_string).collect();
        let rows = names.into_iter().map(|name| [name.into()]).collect();
        let mut tokens = HashMap::new();
        for (table, values) in given(self.reader().get_database_backend(), [Column::Text], rows) {
            let text = format!(
                "SELECT id, token, token_version, token_expires_at, state,
                        COALESCE(state_reason, 'token_revoked')
                    FROM {table}
                    JOIN installations ON id = column1"
            );
            for row in sql::all(self.reader(), &text, values).await? {
                let mut columns = Columns::of(&row);
                let id = columns.uuid(InstallationId::parse)?;
                let (token, version) = (columns.take()?, columns.take()?);
                let expires_at = columns.optional_time()?;
                let dead = columns.take::<String>()? == "dead";
                let dead = dead.then(|| columns.take()).transpose()?;
                tokens.insert(id, SealedToken { token, version, expires_at, dead });
            }
        }
        let token =
            |id| tokens.get(id).cloned().ok_or_else(|| Error::NotFound("installation".into()));
        Ok(ids.iter().map(token).collect())
    }
}

/// Writes an installation. One with the same app, enterprise, team and reach is replaced: it keeps
/// its id, gets the new token and is active again. Returns `false` if another replica has just
/// stored the same one under its own id.
pub(in crate::store) async fn write(tx: &Tx, sealed: &SealedInstallation) -> Result<bool, Error> {
    Ok(sql::one(tx, UPSERT, sealed.values.clone()).await?.is_some())
}

/// Locks an installation, if it is stored; returns whether its tenants, except for this one, are
/// among `others`.
pub(in crate::store) async fn may_join(
    tx: &Tx,
    tenant: &TenantId,
    id: InstallationId,
    others: &[TenantId],
) -> Result<bool, Error> {
    const LOCK: &str = "SELECT 1 FROM installations WHERE id = $1 {for_update}";
    const USERS: &str = "SELECT tenant FROM tenant_links WHERE installation = $1";
    let key = params![id.to_string()];
    sql::one(tx, LOCK, key.clone()).await?;
    for row in sql::all(tx, USERS, key).await? {
        let user: String = row.get(0)?;
        let known = others.iter().any(|other| other.as_str() == user);
        if user != tenant.as_str() && !known {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Makes this the tenant's installation and replaces any other. The tenant must exist.
pub(in crate::store) async fn link(
    tx: &Tx,
    tenant: &TenantId,
    id: InstallationId,
) -> Result<(), Error> {
    const SQL: &str = "INSERT INTO tenant_links (tenant, installation, linked_at)
        VALUES ($1, $2, {now})
        ON CONFLICT (tenant) DO UPDATE
        SET installation = excluded.installation, linked_at = excluded.linked_at";
    sql::execute(tx, SQL, params![tenant.as_str(), id.to_string()]).await.map(drop)
}

const TABLE: &str = "installations";
const ACTIVE: &str = "active";

/// The last line makes a race visible: the row exists under another id than the one that the token
/// was encrypted for.
const UPSERT: &str = "INSERT INTO installations (id, app_id, enterprise_id, team_id, org_wide,
        team_name, bot_user_id, bot_name, scopes, state, state_changed_at, installed_at,
        token_version, token, refresh_token, token_expires_at, installed_by)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'active', {now}, {now}, 1, $10, $11, $12, $13)
    ON CONFLICT (app_id, enterprise_id, team_id, org_wide) DO UPDATE SET
        team_name = excluded.team_name, bot_user_id = excluded.bot_user_id,
        bot_name = excluded.bot_name, scopes = excluded.scopes, state = 'active',
        state_reason = NULL, installed_at = excluded.installed_at,
        state_changed_at = CASE WHEN installations.state = 'active'
            THEN installations.state_changed_at ELSE excluded.state_changed_at END,
        token_version = installations.token_version + 1, token = excluded.token,
        refresh_token = excluded.refresh_token, token_expires_at = excluded.token_expires_at,
        installed_by = excluded.installed_by
    WHERE installations.id = excluded.id
    RETURNING id";

fn upsert_values(
    id: InstallationId,
    new: &NewInstallation,
    keys: &ScopeKeys,
) -> Result<Vec<sea_orm::Value>, Error> {
    let id = id.to_string();
    let seal = |column, secret: &Secret| {
        keys.seal(&SealedCell { table: TABLE, row: &id, column }, secret.expose().as_bytes())
    };
    let token = seal("token", &new.token)?;
    let refresh = new.refresh_token.as_ref().map(|secret| seal("refresh_token", secret));
    Ok(params![
        id.as_str(),
        new.app_id.as_str(),
        or_empty(new.enterprise_id.as_ref()),
        or_empty(new.team_id.as_ref()),
        new.org_wide,
        new.team_name.as_str(),
        new.bot_user_id.as_str(),
        new.bot_name.as_str(),
        new.scopes.join(","),
        token,
        refresh.transpose()?,
        new.token_expires_at.map(|at| at.0),
        new.installed_by.as_deref(),
    ])
}

fn or_empty(text: Option<&String>) -> &str {
    text.map(String::as_str).unwrap_or_default()
}

impl TryFrom<installation::Model> for Installation {
    type Error = Error;

    fn try_from(row: installation::Model) -> Result<Self, Error> {
        let some = |text: String| (!text.is_empty()).then_some(text);
        let scopes = row.scopes.split(',').filter(|scope| !scope.is_empty());
        Ok(Self {
            id: parse_id(&row.id)?,
            app_id: row.app_id,
            enterprise_id: some(row.enterprise_id),
            team_id: some(row.team_id),
            org_wide: row.org_wide,
            team_name: row.team_name,
            bot_user_id: row.bot_user_id,
            bot_name: row.bot_name,
            scopes: scopes.map(str::to_owned).collect(),
            state: match row.state.as_str() {
                ACTIVE => InstallationState::Active,
                // Nothing is sent in a state that only a newer release knows.
                _ => InstallationState::Dead,
            },
            state_reason: row.state_reason,
            state_changed_at: Timestamp(row.state_changed_at),
            installed_at: Timestamp(row.installed_at),
            token_version: row.token_version,
            installed_by: row.installed_by,
        })
    }
}
