//! Upkeep of the hot table: overdue deliveries expire, and ended ones move to history.

use std::time::Duration;

use crate::domain::ids::DeliveryId;
use crate::domain::time::micros;
use crate::store::database::sql::{self, params, placeholders};
use crate::store::database::transaction::{Tx, scoped};
use crate::store::records::deliveries::{ENDED, EXPIRING, OVERDUE};
use crate::store::{Ends, Error};

/// Every column; the same in both tables.
const COLUMNS: &str = "sequence, id, tenant, notification, user_id, installation, lane, position, \
    state, attempt, probes, crashes, lease_token, due_at, expires_at, sending_since, \
    slack_channel, slack_ts, reason, code, content, priority, kind, event_type, trace_context, \
    created_at, updated_at, subject_key, action, deed, thread_ts, shown, shown_by, \
    deferred_lane, permit_at, trace, replay_of, replayed_as, hold, \
    looked_up, awaits_channel, channel_key";

impl Ends<'_> {
    /// Moves up to `limit` deliveries that ended more than `older_than` ago to history; returns how
    /// many. Several replicas may do this at once.
    pub async fn archive(self, older_than: Duration, limit: u32) -> Result<u64, Error> {
        let find = format!(
            "SELECT sequence
                FROM deliveries
                WHERE {ENDED} AND updated_at <= {{now}} - $1
                ORDER BY updated_at
                LIMIT {limit} {{skip_locked}}"
        );
        let find = &find;
        self.store.transaction(|tx| scoped(move_found(tx, find, older_than))).await
    }

    /// Ends up to `limit` deliveries whose expiry passed while they waited, at any place in their
    /// lane; returns how many. Deliveries being sent or in doubt are left to their worker.
    pub async fn expire_overdue(self, limit: u32) -> Result<u64, Error> {
        let text = format!(
            "UPDATE deliveries
                SET state = 'expired', updated_at = {{now}}
                WHERE {EXPIRING} AND sequence IN (
                    SELECT sequence
                    FROM deliveries
                    WHERE {OVERDUE} AND expires_at <= {{now}}
                    ORDER BY expires_at, sequence
                    LIMIT {limit} {{skip_locked}})
                RETURNING id"
        );
        let text = &text;
        let rows = self
            .store
            .transaction(|tx| scoped(async move { sql::all(tx, text, params![]).await }))
            .await?;
        for row in &rows {
            if let Ok(delivery) = DeliveryId::parse(&row.get::<String>(0)?) {
                self.store.delivery_ended(delivery);
            }
        }
        Ok(rows.len() as u64)
    }
}

async fn move_found(tx: &Tx, find: &str, older_than: Duration) -> Result<u64, Error> {
    let rows = sql::all(tx, find, params![micros(older_than)]).await?;
    let mut moved = 0;
    for chunk in rows.chunks(500) {
        let numbers = chunk.iter().map(|row| row.get::<i64>(0));
        let numbers = numbers.collect::<Result<Vec<_>, _>>()?;
        let among = placeholders(1, numbers.len());
        let copy = format!(
            "INSERT INTO deliveries_history ({COLUMNS})
                SELECT {COLUMNS}
                FROM deliveries
                WHERE sequence IN ({among})"
        );
        let remove = format!("DELETE FROM deliveries WHERE sequence IN ({among})");
        let values: Vec<sea_orm::Value> = numbers.into_iter().map(Into::into).collect();
        sql::execute(tx, &copy, values.clone()).await?;
        moved += sql::execute(tx, &remove, values).await?;
    }
    Ok(moved)
}
