//! Installations for a whole organization. One row holds the token, and one for each workspace that
//! the app was added to uses it (`org`). Tenants are linked to workspaces, so everything about a
//! workspace is as if the app were installed in it only.

use crate::domain::ids::{InstallationId, TenantId};
use crate::store::database::rows::{Columns, parse_id};
use crate::store::database::sql::{self, params};
use crate::store::database::transaction::{Tx, scoped};
use crate::store::tenancy::tokens::{self, ACCESS_NOT_GRANTED};
use crate::store::tenancy::{connect_attempts, installations};
use crate::store::{
    ConnectCompletion, ConnectOutcome, Error, InstallationTokens, NewInstallation, new_uuid,
};

/// A workspace of an organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrgTeam {
    pub id: String,
    pub name: String,
}

/// Writes the row of one workspace with the contents of its organization's. Its id is new, or that
/// of an installation in this workspace only, which the one for the organization replaces.
const TEAM: &str = "INSERT INTO installations (id, app_id, enterprise_id, team_id, org_wide,
        team_name, bot_user_id, bot_name, scopes, state, state_changed_at, installed_at,
        token_version, token, installed_by, org, token_issued_at, token_expires_at, app_path)
    SELECT $1, o.app_id, o.enterprise_id, $2, FALSE, $3, o.bot_user_id, o.bot_name, o.scopes,
        'active', {now}, o.installed_at, 1, $4, o.installed_by, o.id,
        COALESCE(o.token_issued_at, o.installed_at), o.token_expires_at, o.app_path
    FROM installations o
    WHERE o.id = $5
    ON CONFLICT (app_id, enterprise_id, team_id, org_wide) DO UPDATE
    SET team_name = excluded.team_name, bot_user_id = excluded.bot_user_id,
        bot_name = excluded.bot_name, scopes = excluded.scopes, state = 'active',
        state_reason = NULL, installed_at = excluded.installed_at,
        state_changed_at = CASE
            WHEN installations.state = 'active' THEN installations.state_changed_at
            ELSE excluded.state_changed_at END,
        token_version = installations.token_version + CASE
            WHEN installations.state = 'active' AND installations.org = excluded.org THEN 0
            ELSE 1 END,
        token = excluded.token, refresh_token = NULL, refresh_due_at = NULL,
        token_issued_at = excluded.token_issued_at, token_expires_at = excluded.token_expires_at,
        installed_by = excluded.installed_by, org = excluded.org, app_path = excluded.app_path
    RETURNING id";

impl InstallationTokens<'_> {
    /// Stores an installation for a whole organization, or its new token. Tenants use it through
    /// the workspaces of [`Self::save_teams`].
    pub async fn save_org(self, new: &NewInstallation) -> Result<InstallationId, Error> {
        loop {
            let sealed = &self.store.seal_installation(new).await?;
            let written = self.store.transaction(|tx| scoped(installations::write(tx, sealed)));
            // Otherwise another replica stored it at the same moment, under an id of its own.
            if written.await? {
                return Ok(sealed.id);
            }
        }
    }

    /// Stores the workspaces that an organization's token may be used for. Those of before that are
    /// not among them are dead from now on. Returns the installations that were not alive before.
    pub async fn save_teams(
        self,
        org: InstallationId,
        teams: &[OrgTeam],
    ) -> Result<Vec<InstallationId>, Error> {
        let now = self.store.now().await?;
        let org = &org.to_string();
        let rows: &Vec<(String, &OrgTeam)> =
            &teams.iter().map(|team| (new_uuid(now).to_string(), team)).collect();
        self.store
            .transaction(|tx| {
                scoped(async move {
                    let before = teams_before(tx, org).await?;
                    let mut revived = Vec::new();
                    for (id, team) in rows {
                        let known = before.iter().find(|known| known.team == team.id);
                        let empty = Vec::<u8>::new();
                        let values = params![
                            id.as_str(),
                            team.id.as_str(),
                            team.name.as_str(),
                            empty,
                            org.as_str()
                        ];
                        let row = sql::one(tx, TEAM, values).await?;
                        let row = row.ok_or_else(|| Error::NotFound("organization".into()))?;
                        if known.is_none_or(|known| !known.is_alive) {
                            revived.push(parse_id(&row.get::<String>(0)?)?);
                        }
                    }
                    for known in before.iter().filter(|known| known.is_alive) {
                        if !teams.iter().any(|team| team.id == known.team) {
                            tokens::kill(tx, &known.id, ACCESS_NOT_GRANTED).await?;
                        }
                    }
                    Ok(revived)
                })
            })
            .await
    }

    /// The installations that use the token of this one.
    pub async fn installations_of_org(
        self,
        org: InstallationId,
    ) -> Result<Vec<InstallationId>, Error> {
        const SQL: &str = "SELECT id FROM installations WHERE org = $1 ORDER BY id";
        let rows = sql::all(self.store.reader(), SQL, params![org.to_string()]).await?;
        rows.iter().map(|row| parse_id(&row.get::<String>(0)?)).collect()
    }

    /// The installation in one workspace of an organization, if it is alive.
    pub async fn team_of_org(
        self,
        org: InstallationId,
        team_id: &str,
    ) -> Result<Option<InstallationId>, Error> {
        const SQL: &str = "SELECT id
            FROM installations
            WHERE org = $1 AND team_id = $2 AND state = 'active'";
        let row = sql::one(self.store.reader(), SQL, params![org.to_string(), team_id]).await?;
        row.map(|row| parse_id(&row.get::<String>(0)?)).transpose()
    }

    /// Makes a stored installation the tenant's in place of any other, ends the attempt and writes
    /// the entries of this store: all of it, or nothing. As
    /// [`complete_connect`](crate::store::Tenancy::complete_connect), for an installation that is
    /// stored already.
    pub async fn link(
        self,
        tenant: &TenantId,
        state: &str,
        id: InstallationId,
        others: &[TenantId],
    ) -> Result<ConnectCompletion, Error> {
        let linked = self.store.transaction(|tx| {
            scoped(async move {
                if !installations::may_join(tx, tenant, id, None, others).await? {
                    return Ok(ConnectCompletion::InUse(id));
                }
                installations::link(tx, tenant, id).await?;
                connect_attempts::finish(tx, state, &ConnectOutcome::Completed).await?;
                self.store.record(tx).await?;
                Ok(ConnectCompletion::Connected(id))
            })
        });
        let linked = linked.await?;
        self.store.recorded();
        self.store.connection_moved();
        Ok(linked)
    }
}

/// A workspace of an organization as it was stored.
struct TeamBefore {
    id: String,
    team: String,
    is_alive: bool,
}

/// Locks the organization, so that two lists of its workspaces are stored one after the other.
async fn teams_before(tx: &Tx, org: &str) -> Result<Vec<TeamBefore>, Error> {
    const LOCK: &str = "SELECT 1 FROM installations WHERE id = $1 {for_update}";
    const SQL: &str = "SELECT id, team_id, CASE WHEN state = 'active' THEN 1 ELSE 0 END
        FROM installations
        WHERE org = $1
        ORDER BY id";
    sql::one(tx, LOCK, params![org]).await?;
    let mut teams = Vec::new();
    for row in sql::all(tx, SQL, params![org]).await? {
        let mut columns = Columns::of(&row);
        let (id, team) = (columns.take()?, columns.take()?);
        let is_alive = columns.take::<i32>()? != 0;
        teams.push(TeamBefore { id, team, is_alive });
    }
    Ok(teams)
}
