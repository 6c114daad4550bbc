//! Tenants' connections as they are, and which of them changed.

use std::collections::HashMap;

use sea_orm::ConnectionTrait as _;

use super::connect_attempts::{ConnectAttempt, status};
use super::installations::Installation;
use crate::domain::connection::{ConnectionFacts, LinkEnd, LinkedFacts, OpenedLink};
use crate::domain::ids::TenantId;
use crate::domain::time::Timestamp;
use crate::store::database::entity::installation;
use crate::store::database::rows::{Column, Columns, given};
use crate::store::database::sql::{self, Row, params};
use crate::store::{Connections, Error};

/// The connection of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredConnection {
    pub tenant: TenantId,
    pub installation: Option<Installation>,
    /// When the tenant was last connected to the installation.
    pub linked_at: Option<Timestamp>,
    /// How many other tenants use it.
    pub others: usize,
    /// The latest attempt.
    pub attempt: Option<ConnectAttempt>,
    /// The attempt whose link was opened last.
    pub opened: Option<OpenedLink>,
    pub disconnected_at: Option<Timestamp>,
    /// Since when the workspace moves into an Enterprise organization.
    pub migrating_since: Option<Timestamp>,
    /// When the last check ended, if it found something broken.
    pub broken_at: Option<Timestamp>,
    /// When this was read.
    pub read_at: Timestamp,
}

impl StoredConnection {
    /// The facts that decide on its state; `lacking`: the names of the features that must have
    /// scopes which the installation lacks.
    #[must_use]
    pub fn facts(&self, lacking: Vec<&'static str>) -> ConnectionFacts {
        let linked = self.installation.as_ref().map(|installation| LinkedFacts {
            linked_at: self.linked_at.unwrap_or(installation.installed_at),
            token_changed_at: installation.state_changed_at,
            dead: installation.dead().map(str::to_owned),
            migrating_since: self.migrating_since,
            lacking,
            broken_at: self.broken_at,
        });
        ConnectionFacts {
            linked,
            opened: self.opened.clone(),
            disconnected_at: self.disconnected_at,
            now: self.read_at,
        }
    }
}

/// How long after its time a change may be committed and still be found.
const OVERLAP: i64 = 30_000_000;

/// A place among the changes of all connections.
#[derive(Debug, Clone)]
pub struct ConnectionCursor {
    /// The database's time at the last look.
    looked_at: Timestamp,
    /// The changes that were found and would be found again.
    seen: HashMap<TenantId, Timestamp>,
}

impl Connections<'_> {
    /// `None`: the tenant does not exist.
    pub async fn of(self, tenant: &TenantId) -> Result<Option<StoredConnection>, Error> {
        Ok(self.among(std::slice::from_ref(tenant)).await?.pop())
    }

    /// Those of these tenants that exist, in their order.
    pub async fn among(self, tenants: &[TenantId]) -> Result<Vec<StoredConnection>, Error> {
        let rows = tenants.iter().map(|tenant| [tenant.as_str().into()]).collect();
        let backend = self.store.reader().get_database_backend();
        let mut found = HashMap::new();
        for (table, values) in given(backend, [Column::Text], rows) {
            for row in sql::all(self.store.reader(), &read(&table), values).await? {
                let connection = stored(&row)?;
                found.insert(connection.tenant.clone(), connection);
            }
        }
        Ok(tenants.iter().filter_map(|tenant| found.remove(tenant)).collect())
    }

    /// Up to `limit` tenants after this one, by name.
    pub async fn list(
        self,
        after: Option<&TenantId>,
        limit: u32,
    ) -> Result<Vec<StoredConnection>, Error> {
        let text =
            format!("SELECT tenant FROM tenants WHERE tenant > $1 ORDER BY tenant LIMIT {limit}");
        let after = after.map(TenantId::as_str).unwrap_or_default();
        let rows = sql::all(self.store.reader(), &text, params![after]).await?;
        let tenant = |row: &Row| Columns::of(row).id(TenantId::parse);
        let tenants = rows.iter().map(tenant).collect::<Result<Vec<_>, _>>()?;
        self.among(&tenants).await
    }

    /// A cursor from which the changes of the last seconds are found, too.
    pub async fn cursor(self) -> Result<ConnectionCursor, Error> {
        let now = self.store.now().await?;
        Ok(ConnectionCursor { looked_at: Timestamp(now.0 - OVERLAP), seen: HashMap::new() })
    }

    /// The tenants whose connections changed since the last look with this cursor: by a statement,
    /// or because an opened link expired.
    pub async fn changed_since(
        self,
        cursor: &mut ConnectionCursor,
    ) -> Result<Vec<TenantId>, Error> {
        const CHANGED: &str = "WITH clock AS (SELECT {now} AS now)
            SELECT tenant, changed_at, 0
            FROM connection_changes
            WHERE changed_at > $1
            UNION ALL
            SELECT tenant, expires_at, 1
            FROM connect_attempts, clock
            WHERE expires_at > $2 AND expires_at <= clock.now
                AND opened_at IS NOT NULL AND finished_at IS NULL
            UNION ALL
            SELECT '', now, 2 FROM clock";
        // After the clock stepped back, new changes have times before the last look.
        let now = self.store.now().await?;
        let from = cursor.looked_at.min(now).0 - OVERLAP;
        let rows =
            sql::all(self.store.reader(), CHANGED, params![from, cursor.looked_at.0]).await?;
        let mut changed = Vec::new();
        for row in &rows {
            let (name, at, kind): (String, _, i32) =
                (row.get(0)?, Timestamp(row.get(1)?), row.get(2)?);
            if kind == 2 {
                cursor.looked_at = at;
                continue;
            }
            let tenant =
                TenantId::parse(name).map_err(|_| Error::Bug("a stored tenant id".into()))?;
            if kind == 1 || cursor.seen.insert(tenant.clone(), at) != Some(at) {
                changed.push(tenant);
            }
        }
        cursor.seen.retain(|_, at| at.0 > from);
        changed.sort_unstable();
        changed.dedup();
        Ok(changed)
    }
}

/// Everything about the connections of the tenants in `table`. The attempts of a tenant may have
/// been begun, or opened, at the same moment: then there are several rows.
fn read(table: &str) -> String {
    format!(
        "SELECT t.tenant, {{now}}, l.linked_at, t.disconnected_at, i.migrating_since,
                CASE WHEN k.worst = 'broken' THEN k.ran_at END,
                (SELECT COUNT(*)
                    FROM tenant_links x
                    WHERE x.installation = l.installation AND x.tenant <> t.tenant),
                a.created_at, a.expires_at, a.outcome, a.detail,
                o.opened_at, o.expires_at, o.finished_at, o.reason, {}
            FROM {table}
            JOIN tenants t ON t.tenant = column1
            LEFT JOIN tenant_links l ON l.tenant = t.tenant
            LEFT JOIN installations i ON i.id = l.installation
            LEFT JOIN connection_checks k ON k.tenant = t.tenant
            LEFT JOIN connect_attempts a ON a.tenant = t.tenant
                AND a.created_at = (SELECT MAX(created_at)
                    FROM connect_attempts
                    WHERE tenant = t.tenant)
            LEFT JOIN connect_attempts o ON o.tenant = t.tenant
                AND o.opened_at = (SELECT MAX(opened_at)
                    FROM connect_attempts
                    WHERE tenant = t.tenant AND opened_at IS NOT NULL)",
        sql::columns::<installation::Entity>("i")
    )
}

fn stored(row: &Row) -> Result<StoredConnection, Error> {
    let mut columns = Columns::of(row);
    let (tenant, read_at) = (columns.id(TenantId::parse)?, columns.time()?);
    let linked_at = columns.optional_time()?;
    let disconnected_at = columns.optional_time()?;
    let migrating_since = columns.optional_time()?;
    let broken_at = columns.optional_time()?;
    let others = usize::try_from(columns.count()?).unwrap_or(usize::MAX);
    let attempt = attempt(&mut columns, read_at)?;
    let opened = opened(&mut columns)?;
    let connected = columns.take::<Option<String>>()?.is_some();
    let installation = connected.then(|| row.model::<installation::Model>()).transpose()?;
    Ok(StoredConnection {
        tenant,
        installation: installation.map(Installation::try_from).transpose()?,
        linked_at,
        others,
        attempt,
        opened,
        disconnected_at,
        migrating_since,
        broken_at,
        read_at,
    })
}

/// Takes the columns of the latest attempt.
fn attempt(columns: &mut Columns<'_>, now: Timestamp) -> Result<Option<ConnectAttempt>, Error> {
    let (created_at, expires_at) = (columns.optional_time()?, columns.optional_time()?);
    let (outcome, detail) = (columns.take::<Option<String>>()?, columns.take()?);
    let (Some(created_at), Some(expires_at)) = (created_at, expires_at) else { return Ok(None) };
    let status = status(outcome.as_deref(), expires_at, now)?;
    Ok(Some(ConnectAttempt { status, created_at, expires_at, detail }))
}

/// Takes the columns of the attempt whose link was opened last.
fn opened(columns: &mut Columns<'_>) -> Result<Option<OpenedLink>, Error> {
    let (at, expires_at) = (columns.optional_time()?, columns.optional_time()?);
    let (finished_at, reason) = (columns.optional_time()?, columns.take()?);
    let (Some(at), Some(expires_at)) = (at, expires_at) else { return Ok(None) };
    let ended = finished_at.map(|at| LinkEnd { at, reason });
    Ok(Some(OpenedLink { at, expires_at, ended }))
}
