//! Retention: removes old notifications and everything that belongs to them, one bounded batch at a
//! time.

use std::time::Duration;

use sea_orm::ConnectionTrait as _;

use crate::domain::time::micros;
use crate::store::database::rows::{Column, given};
use crate::store::database::sql::{self, params};
use crate::store::database::transaction::{Tx, scoped};
use crate::store::{Ends, Error};

/// Request ids are kept at least this long (invariant I3), whatever the settings say.
pub const IDEMPOTENCY: Duration = Duration::from_secs(48 * 3600);

/// Deliveries that one transaction removes; a single notification may have more.
const FORGOTTEN_AT_ONCE: i64 = 2_000;

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
            "SELECT n.tenant, n.id,
                    (SELECT COUNT(*)
                        FROM deliveries_history h
                        WHERE h.tenant = n.tenant AND h.notification = n.id)
                FROM notifications n
                WHERE n.created_at <= {{now}} - $1
                    AND NOT EXISTS (
                        SELECT 1
                        FROM deliveries d
                        WHERE d.tenant = n.tenant AND d.notification = n.id)
                ORDER BY n.created_at
                LIMIT {limit} {{skip_locked}}"
        );
        let find = &find;
        self.store.transaction(|tx| scoped(forget(tx, find, older_than))).await
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
                "DELETE FROM attempts
                    WHERE delivery IN (SELECT id FROM deliveries_history WHERE {old})"
            ),
            format!(
                "DELETE FROM delivery_sharers
                    WHERE delivery IN (SELECT id FROM deliveries_history WHERE {old})"
            ),
            format!("DELETE FROM deliveries_history WHERE {old}"),
        ] {
            sql::execute(tx, &text, values.clone()).await?;
        }
        // Notifications replayed meanwhile are still needed.
        let text = format!(
            "DELETE FROM notifications
                WHERE id IN (SELECT column2 FROM {table})
                    AND NOT EXISTS (
                        SELECT 1
                        FROM deliveries d
                        WHERE d.tenant = notifications.tenant
                            AND d.notification = notifications.id)"
        );
        forgotten += sql::execute(tx, &text, values).await?;
    }
    Ok(forgotten)
}
