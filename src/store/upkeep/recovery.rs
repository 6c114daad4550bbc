//! After a failover to a copy that lags, or a restored backup: the database does not know what
//! happened after the copy was taken (docs/recovery.md).
//!
//! A recovery is one number, the time at which it began. The numbers of the feeds continue after
//! it, so that no number of the lost time is given twice. Every delivery accepted up to that time
//! may have been sent in the lost time: it becomes unknown on its turn, and history is read before
//! anything is sent ([`Head::in_doubt`](crate::store::Head::in_doubt)). Nothing is written per
//! delivery, so a recovery takes effect at once, for every replica, whatever the backlog. The
//! exception is deliveries accepted while the clock was ahead: those few rows are marked, because
//! an epoch beyond them would also cover deliveries accepted from now on.

use crate::domain::delivery::State;
use crate::store::database::era::ERA;
use crate::store::database::sql::{self, params};
use crate::store::database::transaction::{Tx, scoped};
use crate::store::feed::sequencer::turn;
use crate::store::feed::tables::FeedOf;
use crate::store::records::deliveries::OPEN;
use crate::store::{Error, Upkeep};

const FEEDS: [FeedOf; 2] = [FeedOf::Deliveries, FeedOf::Channels];

/// Channels may have been changed in the lost time: each is inspected as after an event.
const CHANNELS: &str = "UPDATE channels
    SET recheck = recheck + 1, touched_at = {now}, due_at = {greatest}({now}, lease_until)";

/// The result of a recovery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// Its number: microseconds since 1970 by the database's clock.
    pub epoch: i64,
    /// Deliveries that wait, by state: they are looked up in Slack before they are sent.
    pub in_doubt: Vec<(State, u64)>,
}

impl Upkeep<'_> {
    /// Begins a new epoch. Repeating it is harmless: readers are notified again, and waiting
    /// deliveries are looked up again.
    pub async fn begin_epoch(self) -> Result<Recovery, Error> {
        self.store.transaction(|tx| scoped(begin(tx))).await
    }
}

async fn begin(tx: &Tx) -> Result<Recovery, Error> {
    // While this holds the turns of the sequencers, they give out no numbers. The rows are
    // replaced, so that a sequencer that read the epoch before finds no turn.
    let mut now = 0;
    for tables in FEEDS.map(FeedOf::tables) {
        now = turn(tx, tables).await?;
        let sequencer = tables.sequencer;
        sql::execute(tx, &format!("DELETE FROM {sequencer}"), params![]).await?;
        let again = format!("INSERT INTO {sequencer} (id) VALUES (1)");
        sql::execute(tx, &again, params![]).await?;
    }
    let count = format!("SELECT state, COUNT(*) FROM deliveries WHERE {OPEN} GROUP BY state");
    let mut in_doubt = Vec::new();
    for row in sql::all(tx, &count, params![]).await? {
        let (code, count): (String, i64) = (row.get(0)?, row.get(1)?);
        if let Some(state) = State::from_code(&code) {
            in_doubt.push((state, u64::try_from(count).unwrap_or(0)));
        }
    }
    in_doubt.sort_by_key(|(state, _)| State::ALL.iter().position(|known| known == state));
    let after =
        |of: FeedOf| format!("COALESCE((SELECT MAX(head) FROM {}), 0) + 1", of.tables().heads);
    let begin = format!(
        "INSERT INTO recoveries (epoch) SELECT {{greatest}}($1, {ERA} + 1, {}) RETURNING epoch",
        FEEDS.map(after).join(", ")
    );
    let begun = sql::one(tx, &begin, params![now]).await?;
    let epoch: i64 = begun.ok_or_else(|| Error::Bug("INSERT without a row".into()))?.get(0)?;
    let ahead = format!("UPDATE deliveries SET looked_up = -1 WHERE {OPEN} AND created_at > $1");
    sql::execute(tx, &ahead, params![epoch]).await?;
    for heads in FEEDS.map(|of| of.tables().heads) {
        sql::execute(tx, &format!("UPDATE {heads} SET head = $1"), params![epoch]).await?;
    }
    sql::execute(tx, CHANNELS, params![]).await?;
    Ok(Recovery { epoch, in_doubt })
}
