//! The erasure of a workspace's data, once no tenant uses it: its member list and the changes of
//! it, custom fields, events, and lanes without messages. The installation stays, without a token,
//! with the numbers that fence its leases and the budgets of its limits: if the workspace is
//! connected again, identities and waiting messages are found by its id.
//!
//! Each transaction locks the installation and checks that no tenant was connected to it again. It
//! does not matter whether an organization gave its app to the workspace meanwhile: without a
//! tenant, nothing of the workspace is read or stored.

use sea_orm::ConnectionTrait;

use crate::domain::ids::{InstallationId, TenantId};
use crate::store::database::rows::{Columns, parse_id};
use crate::store::database::sql::{self, params, placeholders};
use crate::store::database::transaction::{Tx, scoped};
use crate::store::records::deliveries::IN_LANE;
use crate::store::seal::data_keys::KeyScope;
use crate::store::{Error, Leaving};

/// Transactions of one call; a repeated call continues.
const TRANSACTIONS: usize = 400;
/// Lanes that one transaction looks at.
const LANES: usize = 500;

/// Rows of one table that are a workspace's.
struct WorkspacePart {
    table: &'static str,
    /// The rest of its key.
    key: &'static str,
    /// Rows that one transaction removes.
    at_once: u32,
}

/// In the order of the erasure.
const WORKSPACE_PARTS: &[WorkspacePart] = &[
    WorkspacePart { table: "directory_pages", key: "generation, page", at_once: 20 },
    WorkspacePart { table: "directory_changes", key: "sequence", at_once: 500 },
    WorkspacePart { table: "profile_fields", key: "slack_user_id", at_once: 500 },
    WorkspacePart { table: "seen_events", key: "event_id", at_once: 500 },
];

/// Locks an installation, and returns whether no tenant is connected to it. The links are read by
/// another statement than the one that locks: it sees what was committed in between.
async fn is_abandoned(tx: &Tx, id: &str) -> Result<bool, Error> {
    const LOCK: &str = "SELECT 1 FROM installations WHERE id = $1 {for_update}";
    const USED: &str = "SELECT 1 FROM tenant_links WHERE installation = $1 LIMIT 1";
    let known = sql::one(tx, LOCK, params![id]).await?.is_some();
    Ok(known && sql::one(tx, USED, params![id]).await?.is_none())
}

/// The outcome of one transaction.
enum PartErased {
    /// It removed so many rows.
    Removed(u64),
    /// The workspace was connected again: nothing more is to be erased.
    Revived,
}

/// The transactions that are left for one call.
struct Budget(usize);

impl Budget {
    fn take(&mut self) -> bool {
        let some = self.0 > 0;
        self.0 = self.0.saturating_sub(1);
        some
    }
}

impl Leaving<'_> {
    /// Up to `limit` workspaces whose data is not erased yet, the oldest erasure first.
    pub async fn unerased(self, limit: u32) -> Result<Vec<InstallationId>, Error> {
        let text = format!(
            "SELECT installation
                FROM workspace_erasures
                ORDER BY started_at, installation
                LIMIT {limit}"
        );
        let rows = sql::all(self.store.reader(), &text, params![]).await?;
        rows.iter().map(|row| parse_id(&row.get::<String>(0)?)).collect()
    }

    /// Erases the data of a workspace that no tenant uses. Returns whether nothing is left to
    /// erase; otherwise a repeated call continues.
    pub async fn erase_workspace(self, installation: InstallationId) -> Result<bool, Error> {
        const SINCE: &str = "SELECT started_at FROM workspace_erasures WHERE installation = $1";
        // Not if it was connected and left again meanwhile: that is another erasure.
        const DONE: &str = "DELETE FROM workspace_erasures
            WHERE installation = $1 AND started_at = $2";
        let id = installation.to_string();
        let row = sql::one(self.store.reader(), SINCE, params![id.as_str()]).await?;
        let Some(row) = row else { return Ok(true) };
        let since: i64 = row.get(0)?;
        let done = self.erase_all(&id).await?;
        if done {
            sql::execute(self.store.writer(), DONE, params![id.as_str(), since]).await?;
            self.store.tidy_soon().await;
        }
        Ok(done)
    }

    /// All parts, then the lanes. A workspace that was connected again has nothing to erase.
    pub(super) async fn erase_all(self, id: &str) -> Result<bool, Error> {
        let mut budget = Budget(TRANSACTIONS);
        for part in WORKSPACE_PARTS {
            loop {
                if !budget.take() {
                    return Ok(false);
                }
                match self.erase_part(id, part).await? {
                    PartErased::Removed(rows) if rows < u64::from(part.at_once) => break,
                    PartErased::Removed(_) => {}
                    PartErased::Revived => return Ok(true),
                }
            }
        }
        let mut after = Some(String::new());
        while let Some(last) = after {
            if !budget.take() {
                return Ok(false);
            }
            after = self.erase_lanes(id, &last).await?;
        }
        Ok(true)
    }

    async fn erase_part(self, id: &str, part: &'static WorkspacePart) -> Result<PartErased, Error> {
        let WorkspacePart { table, key, at_once } = part;
        let text = &format!(
            "DELETE FROM {table}
                WHERE installation = $1 AND ({key}) IN (SELECT {key}
                    FROM {table}
                    WHERE installation = $1
                    ORDER BY {key}
                    LIMIT {at_once})"
        );
        let erased = self.store.transaction(|tx| {
            scoped(async move {
                if !is_abandoned(tx, id).await? {
                    return Ok(PartErased::Revived);
                }
                sql::execute(tx, text, params![id]).await.map(PartErased::Removed)
            })
        });
        erased.await
    }

    /// Removes the lanes without messages among the next ones; returns the last of them. `None`:
    /// there are no more, or the workspace was connected again.
    async fn erase_lanes(self, id: &str, after: &str) -> Result<Option<String>, Error> {
        self.store.transaction(|tx| scoped(erase_lanes(tx, id, after))).await
    }
}

/// A lane's row is locked by a transaction that adds a message to it. So the rows are locked first,
/// except those in use, and another statement then sees every message.
async fn erase_lanes(tx: &Tx, id: &str, after: &str) -> Result<Option<String>, Error> {
    if !is_abandoned(tx, id).await? {
        return Ok(None);
    }
    let page = format!(
        "SELECT lane FROM lanes WHERE installation = $1 AND lane > $2 ORDER BY lane LIMIT {LANES}"
    );
    let lanes = sql::all(tx, &page, params![id, after]).await?;
    let lanes = lanes.iter().map(|row| row.get(0)).collect::<Result<Vec<String>, _>>()?;
    let Some(last) = lanes.last().cloned() else { return Ok(None) };
    let mut values = params![id];
    values.extend(lanes.iter().map(|lane| sea_orm::Value::from(lane.as_str())));
    let among = placeholders(2, lanes.len());
    let lock = format!(
        "SELECT lane
            FROM lanes
            WHERE installation = $1 AND lane IN ({among}) AND lease_token IS NULL
            ORDER BY lane {{skip_locked}}"
    );
    let locked = sql::all(tx, &lock, values).await?;
    if locked.is_empty() {
        return Ok(Some(last));
    }
    let mut values = params![id];
    for row in &locked {
        values.push(row.get::<String>(0)?.into());
    }
    let remove = format!(
        "DELETE FROM lanes
            WHERE installation = $1 AND lane IN ({})
                AND NOT EXISTS (SELECT 1
                    FROM deliveries
                    WHERE {IN_LANE} AND deliveries.installation = lanes.installation
                        AND deliveries.lane = lanes.lane)",
        placeholders(2, locked.len())
    );
    sql::execute(tx, &remove, values).await?;
    Ok(Some(last))
}

/// The workspace that this tenant left, if it is not connected now and no other tenant may want to
/// connect it again.
pub(super) async fn left_behind(
    db: &impl ConnectionTrait,
    tenant: &TenantId,
) -> Result<Option<InstallationId>, Error> {
    const SQL: &str = "SELECT i.id
        FROM tenants t
        JOIN installations i ON i.id = t.left_installation
        WHERE t.tenant = $1 AND i.state = 'dead' AND i.state_reason = 'disconnected'
            AND NOT EXISTS (SELECT 1 FROM tenant_links l WHERE l.installation = i.id)
            AND NOT EXISTS (SELECT 1
                FROM tenants o
                WHERE o.left_installation = i.id AND o.tenant <> t.tenant)";
    let row = sql::one(db, SQL, params![tenant.as_str()]).await?;
    row.map(|row| Columns::of(&row).uuid(InstallationId::parse)).transpose()
}

/// Forgets an installation whose data was erased, with its key. One that was connected again, or
/// has lanes with messages, stays.
pub(super) async fn forget(tx: &Tx, installation: InstallationId) -> Result<(), Error> {
    const USED: &str = "SELECT 1 FROM lanes WHERE installation = $1
        UNION ALL SELECT 1 FROM tenant_links WHERE installation = $1
        UNION ALL SELECT 1 FROM directory_pages WHERE installation = $1
        UNION ALL SELECT 1 FROM directory_changes WHERE installation = $1 LIMIT 1";
    const ROWS: [&str; 6] = [
        "DELETE FROM budgets WHERE installation = $1",
        "DELETE FROM posting WHERE installation = $1",
        "DELETE FROM field_passes WHERE installation = $1",
        "DELETE FROM directory WHERE installation = $1",
        "DELETE FROM workspace_erasures WHERE installation = $1",
        "DELETE FROM installations WHERE id = $1",
    ];
    const KEYS: &str = "DELETE FROM data_keys WHERE scope = $1";
    const ABANDONED: &str = "SELECT 1
        FROM installations
        WHERE id = $1
            AND state = 'dead'
            AND state_reason = 'disconnected' {for_update}";
    let id = installation.to_string();
    let abandoned = sql::one(tx, ABANDONED, params![id.as_str()]).await?.is_some();
    if !abandoned || sql::one(tx, USED, params![id.as_str()]).await?.is_some() {
        return Ok(());
    }
    sql::execute(tx, KEYS, params![KeyScope::Installation(installation).text()]).await?;
    for text in ROWS {
        sql::execute(tx, text, params![id.as_str()]).await?;
    }
    Ok(())
}
