//! Installations of the Slack app, their tokens, and the tenants that use them.
//!
//! An installation outlives its links: two tenants may share one workspace, and disconnecting one
//! leaves the other. Connecting again revives the installation and increments `token_version`; an
//! exchange of its token increments `renewals`. Their sum is the version of the token. A report of
//! a dead token names the version, so that a late report cannot kill a new token (`tokens`).

use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _};

pub use crate::domain::connection::MIGRATING;
use crate::domain::ids::{InstallationId, TenantId};
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;
use crate::domain::token_life;
use crate::store::database::entity::{installation, tenant_link};
use crate::store::database::rows::{Columns, parse_id};
use crate::store::database::sql::{self, params};
use crate::store::database::transaction::Tx;
use crate::store::seal::data_keys::{KeyScope, ScopeKeys, SealedCell};
use crate::store::{Error, Store, Tenancy, new_uuid};

/// One installation of a Slack app in a workspace or an Enterprise organization, without its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    pub id: InstallationId,
    pub app_id: String,
    pub enterprise_id: Option<String>,
    /// `None` if the installation is for a whole Enterprise organization.
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
    /// Counts connects: 1 from the first one.
    pub token_version: i64,
    /// The Slack user who last approved the app, if known.
    pub installed_by: Option<String>,
    /// The path of the tenant's app that was installed; empty: the deployment's app.
    pub app_path: String,
    /// When its present token was issued.
    pub token_issued_at: Timestamp,
    /// When that token expires; `None`: never.
    pub token_expires_at: Option<Timestamp>,
    /// Slack's code of the refusal to give the next token, while it refuses.
    pub refresh_error: Option<String>,
    /// The installation for the whole organization, if it uses the token of that one.
    pub org: Option<InstallationId>,
    /// Since when its workspace has been moving into an organization.
    pub migrating_since: Option<Timestamp>,
}

impl Installation {
    /// Slack's code for the token, if it no longer works.
    pub fn dead(&self) -> Option<&str> {
        let code = self.state_reason.as_deref().unwrap_or("token_revoked");
        (self.state == InstallationState::Dead).then_some(code)
    }

    /// Why nothing is sent now: the code of a dead token, or [`MIGRATING`].
    pub fn paused(&self) -> Option<&str> {
        self.dead().or(self.migrating_since.map(|_| MIGRATING))
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
    /// The path of the tenant's app; empty: the deployment's app.
    pub app_path: String,
}

/// An installation that is encrypted and ready to be written.
pub(in crate::store) struct SealedInstallation {
    pub(in crate::store) id: InstallationId,
    pub(in crate::store) app_path: String,
    values: Vec<sea_orm::Value>,
    /// When its token is exchanged for the next one.
    refresh_due_at: Option<Timestamp>,
}

impl Tenancy<'_> {
    /// The tenants that use this workspace with the same app, each with its installation. A
    /// workspace that has since joined an organization has a new installation from then on; it
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
        let refresh_due_at = match new.token_expires_at {
            Some(end) if new.refresh_token.is_some() => {
                let now = self.now().await?;
                Some(now.plus(token_life::due_after(end.since(now))))
            }
            _ => None,
        };
        let values = upsert_values(id, new, &keys)?;
        let app_path = new.app_path.clone();
        Ok(SealedInstallation { id, app_path, values, refresh_due_at })
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
}

/// Writes an installation. One with the same app, enterprise, team and reach is replaced: it keeps
/// its id, gets the new token and is active again. Returns `false` if another replica has just
/// stored the same one under its own id.
pub(in crate::store) async fn write(tx: &Tx, sealed: &SealedInstallation) -> Result<bool, Error> {
    // It has a token of its own again, which no exchange under way is about.
    const BEGIN: &str = "UPDATE installations
        SET token_issued_at = installed_at, org = NULL,
            refresh_due_at = $2, refresh_lease_until = 0, refresh_epoch = refresh_epoch + 1,
            refresh_failures = 0, refresh_error = NULL, migrating_since = NULL,
            migration_look_at = CASE WHEN mapped_after IS NULL THEN NULL ELSE {now} END
        WHERE id = $1";
    if sql::one(tx, UPSERT, sealed.values.clone()).await?.is_none() {
        return Ok(false);
    }
    let due = sealed.refresh_due_at.map(|due| due.0);
    sql::execute(tx, BEGIN, params![sealed.id.to_string(), due]).await?;
    Ok(true)
}

/// Locks an installation, if it is stored; returns whether its tenants, except for this one, are
/// among `others` and use the same app: Slack sends an app's events to one address only. No
/// `app_path`: the stored one stays.
pub(in crate::store) async fn may_join(
    tx: &Tx,
    tenant: &TenantId,
    id: InstallationId,
    app_path: Option<&str>,
    others: &[TenantId],
) -> Result<bool, Error> {
    const LOCK: &str = "SELECT app_path FROM installations WHERE id = $1 {for_update}";
    const USERS: &str = "SELECT tenant FROM tenant_links WHERE installation = $1";
    let key = params![id.to_string()];
    let Some(stored) = sql::one(tx, LOCK, key.clone()).await? else { return Ok(true) };
    let stored: String = stored.get(0)?;
    let same_app = app_path.is_none_or(|path| path == stored);
    for row in sql::all(tx, USERS, key).await? {
        let user: String = row.get(0)?;
        let known = same_app && others.iter().any(|other| other.as_str() == user);
        if user != tenant.as_str() && !known {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Makes this the tenant's installation and replaces any other. The tenant must exist, and must not
/// be being deleted ([`Error::TenantDeleted`]). Messages that waited for a connection wait no
/// longer; those in the lanes of another workspace end there (`moved_from`). The installation that
/// is replaced may have no tenant any more, and is then to be ended (`store::leaving`).
pub(in crate::store) async fn link(
    tx: &Tx,
    tenant: &TenantId,
    id: InstallationId,
) -> Result<(), Error> {
    const BACK: &str = "UPDATE tenants
        SET departure = NULL,
            moved_from = CASE WHEN moved_from = $2 THEN NULL ELSE moved_from END
        WHERE tenant = $1
            AND deleting_at IS NULL";
    const MOVED: &str = "UPDATE tenants
        SET moved_from = (
            SELECT l.installation
            FROM tenant_links l
            WHERE l.tenant = $1)
        WHERE tenant = $1
            AND EXISTS (
                SELECT 1
                FROM tenant_links l
                JOIN installations o ON o.id = l.installation
                JOIN installations i ON i.id = $2
                WHERE l.tenant = $1
                    AND o.team_id <> i.team_id)";
    const SQL: &str = "INSERT INTO tenant_links (tenant, installation, linked_at)
        VALUES ($1, $2, {now})
        ON CONFLICT (tenant) DO UPDATE
        SET installation = excluded.installation, linked_at = excluded.linked_at";
    let values = params![tenant.as_str(), id.to_string()];
    if sql::execute(tx, BACK, values.clone()).await? == 0 {
        return Err(Error::TenantDeleted);
    }
    sql::execute(tx, MOVED, values.clone()).await?;
    sql::execute(tx, SQL, values).await.map(drop)
}

pub(in crate::store) const TABLE: &str = "installations";
const ACTIVE: &str = "active";

/// The last line makes a race visible: the row exists under another id than the one that the token
/// was encrypted for.
const UPSERT: &str = "INSERT INTO installations (id, app_id, enterprise_id, team_id, org_wide,
        team_name, bot_user_id, bot_name, scopes, state, state_changed_at, installed_at,
        token_version, token, refresh_token, token_expires_at, installed_by, app_path)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'active', {now}, {now}, 1, $10, $11, $12, $13, $14)
    ON CONFLICT (app_id, enterprise_id, team_id, org_wide) DO UPDATE
    SET team_name = excluded.team_name, bot_user_id = excluded.bot_user_id,
        bot_name = excluded.bot_name, scopes = excluded.scopes, state = 'active',
        state_reason = NULL, installed_at = excluded.installed_at,
        state_changed_at = CASE
            WHEN installations.state = 'active' THEN installations.state_changed_at
            ELSE excluded.state_changed_at END,
        token_version = installations.token_version + 1, token = excluded.token,
        refresh_token = excluded.refresh_token, token_expires_at = excluded.token_expires_at,
        installed_by = excluded.installed_by, app_path = excluded.app_path
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
        new.app_path.as_str(),
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
            app_path: row.app_path,
            token_issued_at: Timestamp(row.token_issued_at.unwrap_or(row.installed_at)),
            token_expires_at: row.token_expires_at.map(Timestamp),
            refresh_error: row.refresh_error,
            org: row.org.as_deref().map(parse_id).transpose()?,
            migrating_since: row.migrating_since.map(Timestamp),
        })
    }
}
