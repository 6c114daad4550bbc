//! Retention: removes old notifications and everything that belongs to them, one bounded batch at a
//! time. Also the health of the table of deliveries, for metrics.

use std::time::Duration;

use sea_orm::ConnectionTrait as _;

use crate::domain::ids::TenantId;
use crate::domain::time::micros;
use crate::store::database::rows::{Column, Columns, given};
use crate::store::database::sql::{self, params};
use crate::store::database::transaction::{Tx, scoped};
use crate::store::records::deliveries::OPEN_OF_TENANT;
use crate::store::{Backend, Ends, Error, Outbox};

/// Request ids are kept at least this long (invariant I3), whatever the settings say.
pub const IDEMPOTENCY: Duration = Duration::from_secs(48 * 3600);

/// Deliveries that one transaction removes; a single notification may have more.
const FORGOTTEN_AT_ONCE: i64 = 2_000;

/// The health of the table of deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutboxHealth {
    /// How long the lane that is due first has been waiting for a worker.
    pub ready_age: Duration,
    /// Deliveries that have not moved to history; on PostgreSQL an estimate.
    pub rows: u64,
    /// Rows that PostgreSQL has not vacuumed yet.
    pub dead_rows: Option<u64>,
    /// Transactions since the oldest snapshot that PostgreSQL must keep rows for.
    pub oldest_snapshot_age: Option<u64>,
}

impl Ends<'_> {
    /// Removes up to `limit` notifications that were accepted more than `older_than` ago, with
    /// their deliveries and attempts, once all of them are in history. Returns how many, which is
    /// fewer if they had many deliveries. `older_than` is at least [`IDEMPOTENCY`], scaled like all
    /// times. Several replicas may do this at once.
    pub async fn forget_notifications(
        self,
        older_than: Duration,
        limit: u32,
    ) -> Result<u64, Error> {
        let find = format!(
            "SELECT n.tenant, n.id, (SELECT COUNT(*) FROM deliveries_history h \
             WHERE h.tenant = n.tenant AND h.notification = n.id) FROM notifications n \
             WHERE n.created_at <= {{now}} - $1 AND NOT EXISTS (SELECT 1 FROM deliveries d \
             WHERE d.tenant = n.tenant AND d.notification = n.id) \
             ORDER BY n.created_at LIMIT {limit} {{skip_locked}}"
        );
        let find = &find;
        self.store.transaction(|tx| scoped(forget(tx, find, older_than))).await
    }
}

impl Outbox<'_> {
    /// How many deliveries of a tenant have not ended: exact up to `most`; a larger result only
    /// means more than that.
    pub async fn count_waiting(self, tenant: &TenantId, most: u64) -> Result<u64, Error> {
        let text = format!(
            "SELECT COUNT(*) FROM (SELECT 1 FROM deliveries \
             WHERE tenant = $1 AND {OPEN_OF_TENANT} LIMIT $2) AS waiting"
        );
        let most = i64::try_from(most).unwrap_or(i64::MAX).saturating_add(1);
        let row = sql::one(self.store.reader(), &text, params![tenant.as_str(), most]).await?;
        let count: i64 = row.map_or(Ok(0), |row| row.get(0))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// The health of the table of deliveries.
    pub async fn health(self) -> Result<OutboxHealth, Error> {
        const READY: &str = "SELECT MIN(next_at), {now} FROM lanes \
            WHERE next_at IS NOT NULL AND asleep = 0";
        const SQLITE: &str = "SELECT COUNT(*), NULL, NULL FROM deliveries";
        const POSTGRES: &str = "SELECT n_live_tup, n_dead_tup, \
            (SELECT CAST(COALESCE(MAX(age(backend_xmin)), 0) AS bigint) FROM pg_stat_activity) \
            FROM pg_stat_user_tables WHERE relid = 'deliveries'::regclass";
        let mut health = OutboxHealth::default();
        if let Some(row) = sql::one(self.store.reader(), READY, params![]).await? {
            let mut columns = Columns::of(&row);
            let (ready, now) = (columns.optional_time()?, columns.time()?);
            health.ready_age = ready.map(|ready| now.since(ready)).unwrap_or_default();
        }
        let text = match self.store.backend() {
            Backend::Sqlite => SQLITE,
            Backend::Postgres => POSTGRES,
        };
        if let Some(row) = sql::one(self.store.reader(), text, params![]).await? {
            let count = |index| {
                let count: Option<i64> = row.get(index)?;
                Ok::<_, Error>(count.and_then(|count| u64::try_from(count).ok()))
            };
            health.rows = count(0)?.unwrap_or(0);
            (health.dead_rows, health.oldest_snapshot_age) = (count(1)?, count(2)?);
        }
        Ok(health)
    }
}

async fn forget(tx: &Tx, find: &str, older_than: Duration) -> Result<u64, Error> {
    let rows = sql::all(tx, find, params![micros(older_than)]).await?;
    let (mut old, mut deliveries) = (Vec::new(), 0);
    for row in &rows {
        deliveries += row.get::<i64>(2)?;
        if deliveries > FORGOTTEN_AT_ONCE && !old.is_empty() {
            break;
        }
        old.push([row.get::<String>(0)?.into(), row.get::<String>(1)?.into()]);
    }
    let mut forgotten = 0;
    for (table, values) in given(tx.get_database_backend(), [Column::Text, Column::Text], old) {
        let old = format!("(tenant, notification) IN (SELECT column1, column2 FROM {table})");
        for text in [
            format!(
                "DELETE FROM attempts WHERE delivery IN \
                 (SELECT id FROM deliveries_history WHERE {old})"
            ),
            format!(
                "DELETE FROM delivery_sharers WHERE delivery IN \
                 (SELECT id FROM deliveries_history WHERE {old})"
            ),
            format!("DELETE FROM deliveries_history WHERE {old}"),
        ] {
            sql::execute(tx, &text, values.clone()).await?;
        }
        // Notifications replayed meanwhile are still needed.
        let text = format!(
            "DELETE FROM notifications WHERE id IN (SELECT column2 FROM {table}) \
             AND NOT EXISTS (SELECT 1 FROM deliveries d \
             WHERE d.tenant = notifications.tenant AND d.notification = notifications.id)"
        );
        forgotten += sql::execute(tx, &text, values).await?;
    }
    Ok(forgotten)
}
