//! Retention of the feed.

use std::time::Duration;

use sea_orm::Value;

use crate::domain::time::micros;
use crate::store::database::sql::{self, params};
use crate::store::database::transaction::{Tx, scoped};
use crate::store::{Backend, DeliveryFeed, Error};

const MARK: &str = "UPDATE feed_heads SET pruned = $2 WHERE tenant = $1 AND pruned < $2";
const REMOVE: &str = "DELETE FROM delivery_changes WHERE tenant = $1 AND sequence <= $2";

impl DeliveryFeed<'_> {
    /// Removes up to about `limit` changes that were numbered more than `older_than` ago, oldest
    /// first; returns how many.
    pub async fn prune(self, older_than: Duration, limit: u32) -> Result<u64, Error> {
        // Per tenant everything up to a number, so that the rest has no gaps.
        let find = format!(
            "SELECT tenant, MAX(sequence) FROM (SELECT tenant, sequence FROM delivery_changes \
             WHERE sequenced_at <= {{now}} - $1 ORDER BY sequenced_at LIMIT {limit}) AS old \
             GROUP BY tenant ORDER BY tenant"
        );
        let old = sql::all(self.store.reader(), &find, params![micros(older_than)]).await?;
        let mut removed = 0;
        for row in &old {
            let (tenant, until): (String, i64) = (row.get(0)?, row.get(1)?);
            let key = &params![tenant, until];
            removed += match self.store.backend() {
                // One statement: a replica that freezes must not keep the tenant's head locked,
                // which the sequencer needs.
                Backend::Postgres => {
                    let text = format!("WITH marked AS ({MARK}) {REMOVE}");
                    sql::execute(self.store.writer(), &text, key.clone()).await?
                }
                Backend::Sqlite => {
                    self.store.transaction(|tx| scoped(prune(tx, key.clone()))).await?
                }
            };
        }
        Ok(removed)
    }
}

async fn prune(tx: &Tx, key: Vec<Value>) -> Result<u64, Error> {
    sql::execute(tx, MARK, key.clone()).await?;
    sql::execute(tx, REMOVE, key).await
}
