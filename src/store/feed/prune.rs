//! Retention of the feed.

use std::time::Duration;

use sea_orm::Value;

use crate::domain::time::micros;
use crate::store::database::sql::{self, params};
use crate::store::database::transaction::{Tx, scoped};
use crate::store::feed::tables::{ALL, FeedOf};
use crate::store::{Backend, DeliveryFeed, Error, Store};

impl DeliveryFeed<'_> {
    /// Removes up to about `limit` changes that were numbered more than `older_than` ago, oldest
    /// first; returns how many.
    pub async fn prune(self, older_than: Duration, limit: u32) -> Result<u64, Error> {
        self.store.prune_feed(FeedOf::Deliveries, older_than, limit).await
    }
}

impl Store {
    /// Removes up to about `limit` old changes of a feed, oldest first; returns how many.
    pub(in crate::store) async fn prune_feed(
        &self,
        of: FeedOf,
        older_than: Duration,
        limit: u32,
    ) -> Result<u64, Error> {
        let tables = of.tables();
        let (heads, changes) = (tables.heads, tables.changes);
        let mark = &format!("UPDATE {heads} SET pruned = $2 WHERE tenant = $1 AND pruned < $2");
        let remove = &format!("DELETE FROM {changes} WHERE tenant = $1 AND sequence <= $2");
        // Per tenant everything up to a number, so that the rest has no gaps.
        let position = tables.position.unwrap_or("NULL");
        let find = format!(
            "SELECT tenant, MAX(sequence), MAX(position)
                FROM (
                    SELECT tenant, sequence, {position} AS position
                    FROM {changes}
                    WHERE sequenced_at <= {{now}} - $1
                    ORDER BY sequenced_at
                    LIMIT {limit}) AS old
                GROUP BY tenant
                ORDER BY tenant"
        );
        let old = sql::all(self.reader(), &find, params![micros(older_than)]).await?;
        if tables.position.is_some() {
            // First: a reader of all tenants must not take the gaps for the end.
            let mut until: Option<i64> = None;
            for row in &old {
                until = until.max(row.get(2)?);
            }
            if let Some(until) = until {
                sql::execute(self.writer(), mark, params![ALL, until]).await?;
            }
        }
        let mut removed = 0;
        for row in &old {
            let (tenant, until): (String, i64) = (row.get(0)?, row.get(1)?);
            let key = &params![tenant, until];
            removed += match self.backend() {
                // One statement: a replica that freezes must not keep the tenant's head locked,
                // which the sequencer needs.
                Backend::Postgres => {
                    let text = format!("WITH marked AS ({mark}) {remove}");
                    sql::execute(self.writer(), &text, key.clone()).await?
                }
                Backend::Sqlite => {
                    self.transaction(|tx| scoped(prune(tx, mark, remove, key.clone()))).await?
                }
            };
        }
        Ok(removed)
    }
}

async fn prune(tx: &Tx, mark: &str, remove: &str, key: Vec<Value>) -> Result<u64, Error> {
    sql::execute(tx, mark, key.clone()).await?;
    sql::execute(tx, remove, key).await
}
