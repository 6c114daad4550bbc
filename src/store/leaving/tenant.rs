//! The deletion of a tenant: everything of it is erased, and at last its keys and its row.
//!
//! The time at which the deletion began fences it: each transaction locks the tenant's row and
//! checks that time, so that a call that was held up cannot erase rows of a tenant that was made
//! again under the same name.
//!
//! Calls that began before the deletion may still write. Each of them ends within `patience`, so
//! the last transaction comes no earlier, and only if all tables are empty. Whatever is written
//! later is encrypted with keys that no longer exist.

use std::time::Duration;

use super::kinds::{LAST, TABLES, TenantTable};
use super::workspace::{forget, left_behind};
use crate::domain::ids::TenantId;
use crate::domain::time::{Timestamp, micros};
use crate::store::database::sql::{self, params, placeholders};
use crate::store::database::transaction::{Tx, scoped};
use crate::store::records::deliveries::IN_FLIGHT;
use crate::store::seal::data_keys::KeyScope;
use crate::store::tenancy::api_keys;
use crate::store::{Error, Leaving};

/// Rows that one transaction removes from a table.
const BATCH: usize = 500;
/// Transactions of one call; a repeated call continues.
const TRANSACTIONS: usize = 400;

/// A deletion under way.
struct Deletion<'a> {
    leaving: Leaving<'a>,
    tenant: &'a TenantId,
    /// When it began.
    since: Timestamp,
    patience: Duration,
}

/// The state of a deletion, as a transaction finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fence {
    /// It is another tenant's, or has ended.
    Over,
    /// Calls that began before it may still write.
    Early,
    Ripe,
}

impl Leaving<'_> {
    /// Marks a tenant as being deleted: links to connect it no longer work, and calls are refused.
    /// The first call writes the entries of this store. Returns when the deletion began; `None`:
    /// there is no such tenant.
    pub async fn begin_deletion(self, tenant: &TenantId) -> Result<Option<Timestamp>, Error> {
        const MARK: &str = "UPDATE tenants
            SET deleting_at = {now}
            WHERE tenant = $1 AND deleting_at IS NULL";
        const LINKS: &str = "DELETE FROM connect_attempts WHERE tenant = $1";
        const SINCE: &str = "SELECT deleting_at FROM tenants WHERE tenant = $1";
        let key = &params![tenant.as_str()];
        let since = self.store.transaction(|tx| {
            scoped(async move {
                if sql::execute(tx, MARK, key.clone()).await? > 0 {
                    sql::execute(tx, LINKS, key.clone()).await?;
                    self.store.record(tx).await?;
                }
                let row = sql::one(tx, SINCE, key.clone()).await?;
                row.map(|row| row.get(0).map(Timestamp)).transpose()
            })
        });
        let since = since.await?;
        self.store.recorded();
        Ok(since)
    }

    /// Whether a tenant of this name was deleted.
    pub async fn was_deleted(self, tenant: &TenantId) -> Result<bool, Error> {
        const SQL: &str = "SELECT 1 FROM erased_tenants WHERE tenant = $1";
        Ok(sql::one(self.store.reader(), SQL, params![tenant.as_str()]).await?.is_some())
    }

    /// Erases rows of a tenant whose deletion began at `since`, a bounded number. The last
    /// transaction destroys the tenant's keys and writes the entries of this store; it comes at
    /// least `patience` after `since`. Returns the kinds of rows that remain; none: it is done.
    pub async fn erase_tenant(
        self,
        tenant: &TenantId,
        since: Timestamp,
        patience: Duration,
    ) -> Result<Vec<&'static str>, Error> {
        let deletion = &Deletion { leaving: self, tenant, since, patience };
        let mut transactions = 0;
        for table in TABLES {
            while transactions < TRANSACTIONS {
                transactions += 1;
                let some = self.store.transaction(|tx| scoped(deletion.erase_some(tx, table)));
                match some.await? {
                    None => return Ok(Vec::new()),
                    Some(rows) if rows < BATCH as u64 => break,
                    Some(_) => {}
                }
            }
        }
        let mut remaining = deletion.remaining().await?;
        if remaining.is_empty() && deletion.erase_workspace().await? {
            let end = self.store.transaction(|tx| scoped(deletion.end(tx)));
            if end.await? {
                self.store.recorded();
                self.store.forget_keys_of(&KeyScope::Tenant(tenant.clone())).await;
                self.store.tidy_soon().await;
                return Ok(remaining);
            }
        }
        remaining.extend(LAST);
        Ok(remaining)
    }
}

impl Deletion<'_> {
    /// `lock`: how the tenant's row is locked.
    async fn fence(&self, tx: &Tx, lock: &str) -> Result<Fence, Error> {
        let text = format!(
            "SELECT CASE WHEN deleting_at <= {{now}} - CAST($3 AS bigint) THEN 1 ELSE 0 END
                FROM tenants
                WHERE tenant = $1 AND deleting_at = $2 {lock}"
        );
        let values = params![self.tenant.as_str(), self.since.0, micros(self.patience)];
        Ok(match sql::one(tx, &text, values).await? {
            None => Fence::Over,
            Some(row) if row.get::<i32>(0)? == 0 => Fence::Early,
            Some(_) => Fence::Ripe,
        })
    }

    /// Removes a batch of rows; returns how many. `None`: the deletion is over.
    async fn erase_some(&self, tx: &Tx, table: &TenantTable) -> Result<Option<u64>, Error> {
        // They have no column with their tenant.
        const RETRIES: &str = "DELETE FROM slack_retries
            WHERE app_path IN (SELECT path FROM slack_app_paths WHERE tenant = $1)";
        let fence = self.fence(tx, "{for_key_share}").await?;
        if fence == Fence::Over {
            return Ok(None);
        }
        let TenantTable { name, key, order } = table;
        if name.starts_with("deliveries") {
            return self.erase_deliveries(tx, table, fence).await.map(Some);
        }
        if *name == "slack_app_paths" {
            sql::execute(tx, RETRIES, params![self.tenant.as_str()]).await?;
        }
        let text = format!(
            "DELETE FROM {name}
                WHERE tenant = $1 AND ({key}) IN (SELECT {key}
                    FROM {name}
                    WHERE tenant = $1
                    ORDER BY {order}
                    LIMIT {BATCH})"
        );
        sql::execute(tx, &text, params![self.tenant.as_str()]).await.map(Some)
    }

    /// With the log of their requests. A delivery whose request is under way is left to its worker
    /// at first.
    async fn erase_deliveries(
        &self,
        tx: &Tx,
        table: &TenantTable,
        fence: Fence,
    ) -> Result<u64, Error> {
        let TenantTable { name, order, .. } = table;
        let which = match fence {
            Fence::Ripe => String::new(),
            Fence::Early | Fence::Over => format!("AND NOT ({IN_FLIGHT})"),
        };
        let find = format!(
            "SELECT sequence, id
                FROM {name}
                WHERE tenant = $1 {which}
                ORDER BY {order}
                LIMIT {BATCH}"
        );
        let rows = sql::all(tx, &find, params![self.tenant.as_str()]).await?;
        if rows.is_empty() {
            return Ok(0);
        }
        let (mut ids, mut numbers) = (Vec::new(), Vec::new());
        for row in &rows {
            numbers.push(row.get::<i64>(0)?.into());
            ids.push(row.get::<String>(1)?.into());
        }
        let among = placeholders(1, rows.len());
        let log = format!("DELETE FROM attempts WHERE delivery IN ({among})");
        sql::execute(tx, &log, ids).await?;
        let text = format!("DELETE FROM {name} WHERE sequence IN ({among})");
        sql::execute(tx, &text, numbers).await
    }

    /// The tables with rows of the tenant.
    async fn remaining(&self) -> Result<Vec<&'static str>, Error> {
        let mut remaining = Vec::new();
        for table in TABLES {
            let text = any_of(table.name);
            let key = params![self.tenant.as_str()];
            let found = sql::one(self.leaving.store.reader(), &text, key).await?;
            remaining.extend(found.map(|_| table.name));
        }
        Ok(remaining)
    }

    /// Erases what is left of the workspace that the tenant left, such as lanes that had messages,
    /// if no other tenant wants it. Returns whether nothing is left of it.
    async fn erase_workspace(&self) -> Result<bool, Error> {
        let reader = self.leaving.store.reader();
        match left_behind(reader, self.tenant).await? {
            Some(workspace) => self.leaving.erase_all(&workspace.to_string()).await,
            None => Ok(true),
        }
    }

    /// The last transaction. Returns whether the tenant is gone; not yet, if calls may still write,
    /// or if one wrote since the last look.
    async fn end(&self, tx: &Tx) -> Result<bool, Error> {
        const KEYS: &str = "DELETE FROM api_keys WHERE tenant = $1";
        const SECRETS: &str = "DELETE FROM data_keys WHERE scope = $1";
        const NAME: &str = "INSERT INTO erased_tenants (tenant, erased_at, version)
            SELECT tenant, {now}, version
            FROM tenants
            WHERE tenant = $1
            ON CONFLICT (tenant) DO UPDATE
            SET erased_at = excluded.erased_at, version = excluded.version";
        const TENANT: &str = "DELETE FROM tenants WHERE tenant = $1";
        match self.fence(tx, "{for_update}").await? {
            Fence::Over => return Ok(true),
            Fence::Early => return Ok(false),
            Fence::Ripe => {}
        }
        let key = params![self.tenant.as_str()];
        for table in TABLES.iter().map(|table| table.name).chain(["tenant_links"]) {
            if sql::one(tx, &any_of(table), key.clone()).await?.is_some() {
                return Ok(false);
            }
        }
        self.leaving.store.record(tx).await?;
        if sql::execute(tx, KEYS, key.clone()).await? > 0 {
            api_keys::read_anew(tx).await?;
        }
        if let Some(workspace) = left_behind(tx, self.tenant).await? {
            forget(tx, workspace).await?;
        }
        let scope = KeyScope::Tenant(self.tenant.clone()).text();
        sql::execute(tx, SECRETS, params![scope]).await?;
        sql::execute(tx, NAME, key.clone()).await?;
        sql::execute(tx, TENANT, key).await?;
        Ok(true)
    }
}

fn any_of(table: &str) -> String {
    format!("SELECT 1 FROM {table} WHERE tenant = $1 LIMIT 1")
}
