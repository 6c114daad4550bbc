//! Retention of the feed.

use std::time::Duration;

use sea_orm::Value;

use crate::domain::time::micros;
use crate::store::database::sql::{self, params};
use crate::store::database::transaction::{Tx, scoped};
use crate::store::feed::tables::FeedOf;
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
        let (heads, changes) = (of.tables().heads, of.tables().changes);
        let mark = &format!("UPDATE {heads} SET pruned = $2 WHERE tenant = $1 AND pruned < $2");
        let remove = &format!("DELETE FROM {changes} WHERE tenant = $1 AND sequence <= $2");
        // Per tenant everything up to a number, so that the rest has no gaps.
        let find = format!(
            "SELECT tenant, MAX(sequence)
                FROM (
                    SELECT tenant, sequence
                    FROM {changes}
                    WHERE sequenced_at <= {{now}} - $1
                    ORDER BY sequenced_at
                    LIMIT {limit}) AS old
                GROUP BY tenant
                ORDER BY tenant"
        );
        let old = sql::all(self.reader(), &find, params![micros(older_than)]).await?;
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
