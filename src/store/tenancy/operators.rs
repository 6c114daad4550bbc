//! Tenants and workspaces as operators list them, page by page.

use std::collections::HashMap;
use std::time::Duration;

use sea_orm::ConnectionTrait as _;

use super::installations::Installation;
use super::tenants::settings_of;
use crate::domain::access::caller::Reach;
use crate::domain::connection::{ConnectionFacts, LinkedFacts};
use crate::domain::ids::{InstallationId, TenantId};
use crate::domain::limits;
use crate::domain::time::{Timestamp, micros};
use crate::store::database::entity::installation;
use crate::store::database::rows::{Column, Columns, given};
use crate::store::database::sql::{self, Row, params};
use crate::store::{Error, Operators, StoredConnection};

/// A tenant in a list.
#[derive(Debug, Clone)]
pub struct ListedTenant {
    pub connection: StoredConnection,
    pub sending_allowed: bool,
    pub deleting: bool,
}

/// A workspace in a list.
#[derive(Debug, Clone)]
pub struct ListedWorkspace {
    pub installation: Installation,
    /// The tenants that use it, by name; at most [`limits::TENANTS_OF_WORKSPACE`].
    pub tenants: Vec<TenantId>,
    /// How many tenants use it.
    pub users: usize,
    /// When its token was issued, which may be its organization's.
    pub token_issued_at: Timestamp,
    pub token_expires_at: Option<Timestamp>,
    /// Why its token, or its organization's, is dead.
    dead: Option<String>,
    migrating_since: Option<Timestamp>,
    /// When a check of a tenant last found something broken, if the last one did.
    broken_at: Option<Timestamp>,
    read_at: Timestamp,
}

/// The workspaces to list, as far as the database decides it.
#[derive(Debug, Clone, Copy, Default)]
pub struct WorkspaceFilter {
    /// Whether the token must be dead.
    pub dead: Option<bool>,
    /// The least age of its token.
    pub token_older_than: Option<Duration>,
}

/// The part of a tenant's list entry that is not about its connection.
struct TenantMarks {
    sending_allowed: bool,
    deleting: bool,
}

impl ListedWorkspace {
    /// The facts that decide on its state; `lacking`: the names of the features that must have
    /// scopes which it lacks.
    #[must_use]
    pub fn facts(&self, lacking: Vec<&'static str>) -> ConnectionFacts {
        let linked = LinkedFacts {
            linked_at: self.installation.installed_at,
            token_changed_at: self.installation.state_changed_at,
            dead: self.dead.clone(),
            migrating_since: self.migrating_since,
            lacking,
            broken_at: self.broken_at,
        };
        ConnectionFacts {
            linked: Some(linked),
            opened: None,
            disconnected_at: None,
            now: self.read_at,
        }
    }
}

impl Operators<'_> {
    /// Up to `limit` tenants in reach after this one, by name.
    pub async fn tenants(
        self,
        reach: &Reach,
        after: Option<&TenantId>,
        limit: u32,
    ) -> Result<Vec<ListedTenant>, Error> {
        let connections = match reach {
            Reach::All => self.store.connections().list(after, limit).await?,
            Reach::Only(tenants) => {
                let next =
                    tenants.iter().filter(|tenant| after.is_none_or(|after| *tenant > after));
                let mut found = Vec::new();
                // Tenants in reach need not exist.
                for some in next.cloned().collect::<Vec<_>>().chunks(limit as usize) {
                    found.extend(self.store.connections().among(some).await?);
                    if found.len() >= limit as usize {
                        break;
                    }
                }
                found.truncate(limit as usize);
                found
            }
        };
        let mut marks = self.marks(&connections).await?;
        let listed = connections.into_iter().filter_map(|connection| {
            let TenantMarks { sending_allowed, deleting } =
                marks.remove(connection.tenant.as_str())?;
            Some(ListedTenant { connection, sending_allowed, deleting })
        });
        Ok(listed.collect())
    }

    /// Whether each of these tenants may send, and whether it is being erased.
    async fn marks(
        self,
        connections: &[StoredConnection],
    ) -> Result<HashMap<String, TenantMarks>, Error> {
        let rows = connections.iter().map(|one| [one.tenant.as_str().into()]).collect();
        let backend = self.store.reader().get_database_backend();
        let mut marks = HashMap::new();
        for (table, values) in given(backend, [Column::Text], rows) {
            let text = format!(
                "SELECT t.tenant, t.settings, t.version, t.deleting_at
                    FROM {table}
                    JOIN tenants t ON t.tenant = column1"
            );
            for row in sql::all(self.store.reader(), &text, values).await? {
                let mut columns = Columns::of(&row);
                let (tenant, settings): (String, Option<String>) =
                    (columns.take()?, columns.take()?);
                let settings = settings_of(settings.as_deref(), columns.take()?)?;
                let deleting = columns.optional_time()?.is_some();
                let sending_allowed = settings.sending_allowed;
                marks.insert(tenant, TenantMarks { sending_allowed, deleting });
            }
        }
        Ok(marks)
    }

    /// Up to `limit` connected workspaces after this one, by id.
    pub async fn workspaces(
        self,
        filter: WorkspaceFilter,
        after: Option<InstallationId>,
        limit: u32,
    ) -> Result<Vec<ListedWorkspace>, Error> {
        // A workspace of an organization may use the organization's token.
        let dead = match filter.dead {
            None => "",
            Some(true) => "AND (i.state = 'dead' OR t.state = 'dead')",
            Some(false) => "AND i.state <> 'dead' AND t.state <> 'dead'",
        };
        // The columns that the installation has too get other names.
        let text = format!(
            "SELECT {{now}} AS read_at, t.installed_at AS held_at,
                    t.token_issued_at AS issued_at, t.token_expires_at AS ends_at,
                    CASE
                        WHEN i.state = 'dead' THEN COALESCE(i.state_reason, 'token_revoked')
                        WHEN t.state = 'dead' THEN COALESCE(t.state_reason, 'token_revoked')
                        END AS dead_as,
                    i.migrating_since AS moving_since,
                    (SELECT MAX(k.ran_at)
                        FROM tenant_links l
                        JOIN connection_checks k ON k.tenant = l.tenant
                        WHERE l.installation = i.id AND k.worst = 'broken') AS broken_at, {}
                FROM installations i
                JOIN installations t ON t.id = COALESCE(i.org, i.id)
                WHERE i.id > $1
                    AND COALESCE(t.token_issued_at, t.installed_at) <= {{now}} - $2 {dead}
                    AND EXISTS (SELECT 1 FROM tenant_links l WHERE l.installation = i.id)
                ORDER BY i.id
                LIMIT {limit}",
            sql::columns::<installation::Entity>("i")
        );
        // Every id is larger than the empty text. A token may be younger than the clock, after a
        // step: without a filter it is listed all the same.
        let after = after.map(|id| id.to_string()).unwrap_or_default();
        let older = filter.token_older_than.map_or(i64::MIN / 2, micros);
        let rows = sql::all(self.store.reader(), &text, params![after, older]).await?;
        let mut found = rows.iter().map(listed).collect::<Result<Vec<_>, _>>()?;
        self.add_tenants(&mut found).await?;
        Ok(found)
    }

    /// Adds the tenants that use each workspace.
    async fn add_tenants(self, found: &mut [ListedWorkspace]) -> Result<(), Error> {
        let ids = found.iter().map(|one| [one.installation.id.to_string().into()]).collect();
        let backend = self.store.reader().get_database_backend();
        let mut users: HashMap<InstallationId, (Vec<TenantId>, usize)> = HashMap::new();
        for (table, values) in given(backend, [Column::Text], ids) {
            let text = format!(
                "SELECT installation, tenant, users
                    FROM (SELECT l.installation, l.tenant,
                        COUNT(*) OVER (PARTITION BY l.installation) AS users,
                        ROW_NUMBER() OVER (PARTITION BY l.installation ORDER BY l.tenant) AS place
                        FROM {table}
                        JOIN tenant_links l ON l.installation = column1) AS placed
                    WHERE place <= {}
                    ORDER BY tenant",
                limits::TENANTS_OF_WORKSPACE
            );
            for row in sql::all(self.store.reader(), &text, values).await? {
                let mut columns = Columns::of(&row);
                let of = users.entry(columns.uuid(InstallationId::parse)?).or_default();
                of.0.push(columns.id(TenantId::parse)?);
                of.1 = usize::try_from(columns.count()?).unwrap_or(usize::MAX);
            }
        }
        for one in found {
            (one.tenants, one.users) = users.remove(&one.installation.id).unwrap_or_default();
        }
        Ok(())
    }
}

fn listed(row: &Row) -> Result<ListedWorkspace, Error> {
    let mut columns = Columns::of(row);
    let (read_at, installed_at) = (columns.time()?, columns.time()?);
    let token_issued_at = columns.optional_time()?.unwrap_or(installed_at);
    let token_expires_at = columns.optional_time()?;
    let dead = columns.take()?;
    let (migrating_since, broken_at) = (columns.optional_time()?, columns.optional_time()?);
    Ok(ListedWorkspace {
        installation: row.model::<installation::Model>()?.try_into()?,
        tenants: Vec::new(),
        users: 0,
        token_issued_at,
        token_expires_at,
        dead,
        migrating_since,
        broken_at,
        read_at,
    })
}
