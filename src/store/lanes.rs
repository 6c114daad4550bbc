//! Lanes: one row for each conversation of an installation. A lane orders and paces what is sent
//! there, and one lease on it makes sure that one message at a time is under way.
//!
//! The rule that everything here keeps: whenever a lane is neither leased nor asleep, `next_at` is
//! the time at which the first delivery in it can be looked at (the later of its `due_at` and the
//! lane's `paced_until`), or NULL where it holds none. While it is leased `next_at` is the end of
//! the lease, so that a lane whose holder died comes up by itself.
//!
//! No wake-up is lost because both sides lock the lane's row first: who adds a delivery holds it
//! until commit, and who empties a lane locks it and then looks for deliveries *in another
//! statement*, which therefore sees what was committed meanwhile (lessons.md part 1).

use std::collections::BTreeSet;
use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseTransaction, Value};

use super::deliveries::IN_LANE;
use super::statement::statement;
use super::{Error, Store};
use crate::domain::ids::InstallationId;
use crate::domain::time::Timestamp;

/// What waits in a lane, for estimates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    /// Deliveries that have not ended, one that is being sent included.
    pub count: u64,
    /// When the first can be looked at; `None` where the lane is empty, new, or its installation
    /// waits for a reconnect.
    pub next_at: Option<Timestamp>,
}

/// Lanes repaired by one sweep at most; the rest is found by the next.
const REPAIRED_AT_ONCE: u64 = 1000;

/// What a lane's `next_at` must be, as a subquery that is correlated with `lanes`.
pub(super) fn next_at(paced_until: &str) -> String {
    format!(
        "(SELECT {{greatest}}(head.due_at, {paced_until}) FROM deliveries head \
         WHERE head.installation_id = lanes.installation_id AND head.lane = lanes.lane \
         AND head.{IN_LANE} ORDER BY head.position, head.sequence LIMIT 1)"
    )
}

impl Store {
    /// The next number in the order of all lanes: larger than all that were drawn before.
    pub(super) async fn fresh_position(&self, tx: &DatabaseTransaction) -> Result<i64, Error> {
        let sql = if self.backend() == sea_orm::DbBackend::Postgres {
            "SELECT nextval('delivery_positions') AS position"
        } else {
            "UPDATE delivery_positions SET value = value + 1 RETURNING value AS position"
        };
        let row = tx.query_one_raw(statement(self.backend(), sql, [])).await?;
        Ok(row.ok_or_else(|| Error::corrupt("delivery_positions"))?.try_get("", "position")?)
    }

    /// Tells lanes that a delivery due at `due` joined their tails. Locks their rows until commit
    /// even where nothing changes: the emptying side depends on it. A lane that already has
    /// something to do keeps its time: what joins the tail is never first.
    pub(super) async fn wake_lanes(
        &self,
        tx: &DatabaseTransaction,
        lanes: &BTreeSet<(InstallationId, &str)>,
        due: Timestamp,
    ) -> Result<(), Error> {
        let lanes: Vec<_> = lanes.iter().collect();
        for chunk in super::statement::chunks(&lanes) {
            let mut sql = String::from("INSERT INTO lanes (installation_id, lane, next_at) VALUES ");
            super::statement::push_rows(&mut sql, chunk.len(), 3);
            sql.push_str(
                " ON CONFLICT (installation_id, lane) DO UPDATE \
                 SET next_at = {greatest}(excluded.next_at, lanes.paced_until) \
                 WHERE lanes.next_at IS NULL AND lanes.asleep = 0",
            );
            let values = chunk.iter().flat_map(|(installation, lane)| -> [Value; 3] {
                [installation.0.into(), (*lane).into(), due.0.into()]
            });
            tx.execute_raw(statement(self.backend(), &sql, values)).await?;
        }
        Ok(())
    }

    /// After a reconnect: lanes that fell asleep because the token was dead are due now, and a
    /// worker that met the old token a moment ago cannot put its lane to sleep any more. Call it
    /// after the new token was committed.
    pub async fn wake_installation(&self, installation: InstallationId) -> Result<(), Error> {
        self.write(async move |store, tx| {
            let sql = "UPDATE lanes SET woken_at = {now}, asleep = 0, next_at = CASE \
                 WHEN asleep = 1 THEN {greatest}({now}, paced_until) ELSE next_at END \
                 WHERE installation_id = $1";
            tx.execute_raw(statement(store.backend(), sql, [installation.0.into()])).await?;
            Ok(())
        })
        .await?;
        self.wake();
        Ok(())
    }

    /// What waits in one lane.
    pub async fn lane_backlog(
        &self,
        installation: InstallationId,
        lane: &str,
    ) -> Result<Backlog, Error> {
        let sql = format!(
            "SELECT (SELECT COUNT(*) FROM deliveries WHERE installation_id = $1 AND lane = $2 \
             AND {IN_LANE}) AS waiting, \
             (SELECT next_at FROM lanes WHERE installation_id = $1 AND lane = $2) AS next_at"
        );
        let values = [installation.0.into(), lane.into()];
        let row = self.reader().query_one_raw(statement(self.backend(), &sql, values)).await?;
        let Some(row) = row else { return Ok(Backlog::default()) };
        let count: i64 = row.try_get("", "waiting")?;
        Ok(Backlog {
            count: u64::try_from(count).unwrap_or(0),
            next_at: row.try_get::<Option<i64>>("", "next_at")?.map(Timestamp),
        })
    }

    /// How long until the earliest lane can be claimed: zero where one is due, `None` where all
    /// are empty or asleep.
    pub async fn next_due(&self) -> Result<Option<Duration>, Error> {
        let sql = "SELECT MIN(next_at) AS next_at, {now} AS now FROM lanes WHERE next_at IS NOT NULL";
        let row = self.reader().query_one_raw(statement(self.backend(), sql, [])).await?;
        let Some(row) = row else { return Ok(None) };
        let next: Option<i64> = row.try_get("", "next_at")?;
        let now = Timestamp(row.try_get("", "now")?);
        Ok(next.map(|next| Timestamp(next).since(now)))
    }

    /// The safety net of the rule above: lanes that hold work and would not come up in time are
    /// set right. Returns how many there were; more than none is worth a warning. (One exception
    /// is expected: a head that expired while it waited leaves its lane with too late a time.)
    pub async fn repair_lanes(&self) -> Result<u64, Error> {
        let sql = format!(
            "SELECT installation_id, lane FROM lanes \
             WHERE (installation_id, lane) IN \
             (SELECT installation_id, lane FROM deliveries WHERE {IN_LANE}) AND {REPAIRABLE} \
             AND (next_at IS NULL OR next_at > {}) LIMIT {REPAIRED_AT_ONCE}",
            next_at("lanes.paced_until")
        );
        let rows = self.reader().query_all_raw(statement(self.backend(), &sql, [])).await?;
        let mut repaired = 0;
        for row in &rows {
            let installation: uuid::Uuid = row.try_get("", "installation_id")?;
            let lane: String = row.try_get("", "lane")?;
            repaired += u64::from(self.repair_lane(installation, lane).await?);
        }
        if repaired > 0 {
            self.wake();
        }
        Ok(repaired)
    }

    async fn repair_lane(&self, installation: uuid::Uuid, lane: String) -> Result<bool, Error> {
        self.write(async move |store, tx| {
            let key: [Value; 2] = [installation.into(), lane.as_str().into()];
            let lock = format!(
                "SELECT next_at FROM lanes WHERE installation_id = $1 AND lane = $2 \
                 AND {REPAIRABLE} {{lock}}"
            );
            let locked = tx.query_one_raw(statement(store.backend(), &lock, key.clone())).await?;
            let Some(locked) = locked else { return Ok(false) };
            let next = next_at("lanes.paced_until");
            let sql = format!(
                "UPDATE lanes SET next_at = {next} WHERE installation_id = $1 AND lane = $2 \
                 RETURNING next_at"
            );
            let row = tx.query_one_raw(statement(store.backend(), &sql, key)).await?;
            let before: Option<i64> = locked.try_get("", "next_at")?;
            let after: Option<i64> = match row {
                Some(row) => row.try_get("", "next_at")?,
                None => None,
            };
            Ok(after.is_some_and(|after| before.is_none_or(|before| after < before)))
        })
        .await
    }
}

/// Neither leased nor asleep: `next_at` must be right. (A lease that ran out comes up by itself.)
const REPAIRABLE: &str = "asleep = 0 AND lease_token IS NULL";
