//! Removes rows that are no longer used: lanes of conversations without messages, and sweeps of
//! tenants without held deliveries. A lane or a sweep that is needed again is made anew.

use std::time::Duration;

use crate::domain::time::micros;
use crate::store::database::rows::{Column, given};
use crate::store::database::sql::{self, params};
use crate::store::database::transaction::{Tx, scoped};
use crate::store::lanes::lane::LaneKey;
use crate::store::records::deliveries::IN_LANE;
use crate::store::{Ends, Error};

/// Empty, not leased, and for `$1` without a request.
const IDLE: &str = "next_at IS NULL AND lease_token IS NULL AND asleep = 0 \
    AND paced_until <= {now} - $1 AND claimed_at <= {now} - $1";

impl Ends<'_> {
    /// Checks up to `limit` lanes after `after` and removes those that have been empty for
    /// `older_than`. Returns how many, and where to continue; `None`: the scan is complete.
    pub async fn forget_lanes(
        self,
        after: Option<&LaneKey>,
        older_than: Duration,
        limit: u32,
    ) -> Result<(u64, Option<LaneKey>), Error> {
        let text = format!(
            "SELECT installation, lane, CASE WHEN {} THEN 1 ELSE 0 END
                FROM lanes
                WHERE (installation, lane) > ($2, $3)
                ORDER BY installation, lane
                LIMIT {limit}",
            IDLE.replace("$1", "CAST($1 AS bigint)")
        );
        let (installation, lane) =
            after.map_or(("", ""), |(installation, lane)| (installation, lane));
        let values = params![micros(older_than), installation, lane];
        let rows = sql::all(self.store.reader(), &text, values).await?;
        let (mut idle, mut last) = (Vec::new(), None);
        for row in &rows {
            let key: LaneKey = (row.get(0)?, row.get(1)?);
            if row.get::<i32>(2)? == 1 {
                idle.push([key.0.as_str().into(), key.1.as_str().into()]);
            }
            last = Some(key);
        }
        let last = last.filter(|_| rows.len() == limit as usize);
        if idle.is_empty() {
            return Ok((0, last));
        }
        let idle = &idle;
        let removed =
            self.store.transaction(|tx| scoped(remove(tx, idle.clone(), older_than))).await?;
        Ok((removed, last))
    }

    /// Removes up to `limit` sweeps without held deliveries that were last needed `older_than` ago;
    /// returns how many.
    pub async fn forget_sweeps(self, older_than: Duration, limit: u32) -> Result<u64, Error> {
        // The sweep's row is locked by now, and a transaction that holds a delivery back keeps a
        // shared lock on it until its commit: a separate statement sees what was committed
        // meanwhile.
        const REMOVE: &str = "DELETE FROM held_sweeps
            WHERE tenant = $1 AND NOT EXISTS (
                SELECT 1
                FROM deliveries
                WHERE state = 'held' AND tenant = $1)";
        let find = format!(
            "SELECT tenant
                FROM held_sweeps
                WHERE lease_until <= {{now}} AND next_at <= {{now}} - $1
                    AND NOT EXISTS (
                        SELECT 1
                        FROM deliveries
                        WHERE deliveries.state = 'held' AND deliveries.tenant = held_sweeps.tenant)
                LIMIT {limit} {{skip_locked}}"
        );
        let find = &find;
        self.store
            .transaction(|tx| {
                scoped(async move {
                    let mut removed = 0;
                    for row in sql::all(tx, find, params![micros(older_than)]).await? {
                        let tenant: String = row.get(0)?;
                        removed += sql::execute(tx, REMOVE, params![tenant]).await?;
                    }
                    Ok(removed)
                })
            })
            .await
    }
}

/// Locks the lanes, except those in use, and checks each again in another statement. A transaction
/// that adds a message holds the lane's row until its commit, so this finds either no row or one
/// with the message.
async fn remove(
    tx: &Tx,
    idle: Vec<[sea_orm::Value; 2]>,
    older_than: Duration,
) -> Result<u64, Error> {
    use sea_orm::ConnectionTrait as _;
    let mut removed = 0;
    for (table, mut values) in given(tx.get_database_backend(), [Column::Text, Column::Text], idle)
    {
        let age = format!("${}", values.len() + 1);
        values.push(micros(older_than).into());
        let idle = IDLE.replace("$1", &format!("CAST({age} AS bigint)"));
        let lock = format!(
            "SELECT 1
                FROM lanes
                WHERE (installation, lane) IN (SELECT column1, column2 FROM {table}) AND {idle}
                ORDER BY installation, lane {{skip_locked}}"
        );
        if sql::all(tx, &lock, values.clone()).await?.is_empty() {
            continue;
        }
        let delete = format!(
            "DELETE FROM lanes
                WHERE (installation, lane) IN (
                    SELECT installation, lane
                    FROM lanes
                    WHERE (installation, lane) IN (SELECT column1, column2 FROM {table}) AND {idle}
                        AND NOT EXISTS (
                            SELECT 1
                            FROM deliveries
                            WHERE {IN_LANE} AND deliveries.installation = lanes.installation
                                AND deliveries.lane = lanes.lane) {{skip_locked}})"
        );
        removed += sql::execute(tx, &delete, values).await?;
    }
    Ok(removed)
}
