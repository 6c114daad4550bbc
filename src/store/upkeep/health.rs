//! The health of the table of deliveries, for metrics.

use std::time::Duration;

use crate::store::database::rows::Columns;
use crate::store::database::sql::{self, params};
use crate::store::{Backend, Error, Upkeep};

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

impl Upkeep<'_> {
    /// The health of the table of deliveries.
    pub async fn health(self) -> Result<OutboxHealth, Error> {
        const READY: &str = "SELECT MIN(next_at), {now}
            FROM lanes
            WHERE next_at IS NOT NULL AND asleep = 0";
        const SQLITE: &str = "SELECT COUNT(*), NULL, NULL FROM deliveries";
        const POSTGRES: &str = "SELECT n_live_tup, n_dead_tup,
                (SELECT CAST(COALESCE(MAX(age(backend_xmin)), 0) AS bigint) FROM pg_stat_activity)
            FROM pg_stat_user_tables
            WHERE relid = 'deliveries'::regclass";
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
