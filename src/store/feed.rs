//! The feed: every change of a delivery's state that a caller can act on, numbered 1, 2, 3, …
//! within its tenant, without gaps and in order (docs/decisions/0009-feed.md).
//!
//! Triggers put each change into `feed_inbox` in the transaction that makes it. One sequencer at a
//! time, whichever process holds the lock, moves what is committed from there into
//! `delivery_changes` and numbers it. Readers see numbered changes alone, so a writer that commits
//! late gets a later number instead of one that a reader has passed. Within a delivery the order
//! is that of the changes: a later one is written after the one before was committed, so whoever
//! sees it sees both, and takes the smaller id first.

use std::collections::BTreeMap;
use std::time::Duration;

use sea_orm::Value;
use tokio::sync::{Notify, watch};

use super::rows::{Columns, chunks, tuples};
use super::sql::{self, Row, params};
use super::transaction::{Tx, scoped};
use super::{Error, Store};
use crate::domain::delivery::State;
use crate::domain::ids::{ChannelId, DeliveryId, EventType, NotificationId, TenantId, UserId};
use crate::domain::time::{Timestamp, micros};

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryChange {
    /// Its place among the tenant's changes, from 1.
    pub sequence: i64,
    pub delivery: DeliveryId,
    pub notification: NotificationId,
    /// Absent for posts to a channel, and for people who were deleted.
    pub user: Option<UserId>,
    /// Others who share the delivery.
    pub also: Vec<UserId>,
    pub event_type: EventType,
    /// What it became.
    pub state: State,
    /// As [`DeliveryRecord::reason`](super::DeliveryRecord::reason).
    pub reason: Option<String>,
    pub code: Option<String>,
    /// Where Slack stored it.
    pub channel: Option<ChannelId>,
    pub ts: Option<String>,
    pub at: Timestamp,
}

/// How far a tenant's feed reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FeedExtent {
    /// The last number given; 0 where there is none yet.
    pub head: i64,
    /// The last number that retention removed; 0 where it removed none.
    pub pruned: i64,
}

/// Hints within this process.
pub(in crate::store) struct FeedSignals {
    pub(in crate::store) written: Notify,
    pub(in crate::store) numbered: watch::Sender<u64>,
}

impl FeedSignals {
    pub(in crate::store) fn new() -> Self {
        Self { written: Notify::new(), numbered: watch::Sender::new(0) }
    }
}

const CHANGE: &str =
    "tenant, delivery, notification, user_id, event_type, state, reason, code, channel, ts, at";
/// The columns of [`CHANGE`], `sequence` and `sequenced_at`.
const WIDTH: usize = 13;

impl Store {
    /// Told after a commit of this process that changed deliveries. A hint: others change them too.
    pub fn changes_written(&self) -> &Notify {
        &self.inner.feed.written
    }

    /// Moves on whenever this process numbered changes. A hint: other replicas number them too.
    pub fn changes_numbered(&self) -> watch::Receiver<u64> {
        self.inner.feed.numbered.subscribe()
    }

    /// Numbers up to `limit` committed changes; returns how many, `limit` where more may wait.
    /// Any number of replicas may call it: they take turns.
    pub async fn number_changes(&self, limit: u32) -> Result<u32, Error> {
        // Without work there is no reason to take SQLite's one writer.
        const ANY: &str = "SELECT 1 FROM feed_inbox LIMIT 1";
        if sql::one(self.reader(), ANY, params![]).await?.is_none() {
            return Ok(0);
        }
        let numbered = self.transaction(|tx| scoped(number(tx, limit))).await?;
        if numbered > 0 {
            self.inner.feed.numbered.send_modify(|count| *count += 1);
        }
        Ok(numbered)
    }

    /// How far the feed of a tenant reaches.
    pub async fn feed_extent(&self, tenant: &TenantId) -> Result<FeedExtent, Error> {
        const SQL: &str = "SELECT head, pruned FROM feed_heads WHERE tenant = $1";
        let Some(row) = sql::one(self.reader(), SQL, params![tenant.as_str()]).await? else {
            return Ok(FeedExtent::default());
        };
        Ok(FeedExtent { head: row.get(0)?, pruned: row.get(1)? })
    }

    /// Up to `limit` changes after a number, in order. Where the first is not the very next one,
    /// retention has removed what was between.
    pub async fn delivery_changes(
        &self,
        tenant: &TenantId,
        after: i64,
        limit: u32,
    ) -> Result<Vec<DeliveryChange>, Error> {
        let text = format!(
            "SELECT sequence, {CHANGE} FROM delivery_changes \
             WHERE tenant = $1 AND sequence > $2 ORDER BY sequence LIMIT {limit}"
        );
        let rows = sql::all(self.reader(), &text, params![tenant.as_str(), after]).await?;
        self.with_sharers(tenant, &rows).await
    }

    /// Up to `limit` changes of one notification after the first number and up to the second.
    pub async fn delivery_changes_of(
        &self,
        tenant: &TenantId,
        notification: NotificationId,
        (after, until): (i64, i64),
        limit: u32,
    ) -> Result<Vec<DeliveryChange>, Error> {
        let text = format!(
            "SELECT sequence, {CHANGE} FROM delivery_changes WHERE tenant = $1 \
             AND sequence > $2 AND sequence <= $3 AND notification = $4 \
             ORDER BY sequence LIMIT {limit}"
        );
        let values = params![tenant.as_str(), after, until, notification.to_string()];
        let rows = sql::all(self.reader(), &text, values).await?;
        self.with_sharers(tenant, &rows).await
    }

    async fn with_sharers(
        &self,
        tenant: &TenantId,
        rows: &[Row],
    ) -> Result<Vec<DeliveryChange>, Error> {
        let mut changes = rows.iter().map(change).collect::<Result<Vec<_>, _>>()?;
        if changes.is_empty() {
            return Ok(changes);
        }
        let deliveries: Vec<_> = changes.iter().map(|change| change.delivery).collect();
        let shared = self.sharers_among(tenant, &deliveries).await?;
        for change in &mut changes {
            change.also = shared.get(&change.delivery).cloned().unwrap_or_default();
        }
        Ok(changes)
    }

    /// Removes up to about `limit` changes that were numbered more than `older_than` ago, oldest
    /// first; returns how many.
    pub async fn prune_changes(&self, older_than: Duration, limit: u32) -> Result<u64, Error> {
        // Per tenant everything up to a number, so that what is left has no gaps.
        let find = format!(
            "SELECT tenant, MAX(sequence) FROM (SELECT tenant, sequence FROM delivery_changes \
             WHERE sequenced_at <= {{now}} - $1 ORDER BY sequenced_at LIMIT {limit}) AS old \
             GROUP BY tenant ORDER BY tenant"
        );
        let old = sql::all(self.reader(), &find, params![micros(older_than)]).await?;
        let mut removed = 0;
        for row in &old {
            let (tenant, until): (String, i64) = (row.get(0)?, row.get(1)?);
            let key = &params![tenant, until];
            removed += self.transaction(|tx| scoped(prune(tx, key.clone()))).await?;
        }
        Ok(removed)
    }

    /// Tells the sequencer of this process that there is work.
    pub(in crate::store) fn changed(&self) {
        self.inner.feed.written.notify_one();
    }
}

async fn prune(tx: &Tx, key: Vec<Value>) -> Result<u64, Error> {
    const MARK: &str = "UPDATE feed_heads SET pruned = $2 WHERE tenant = $1 AND pruned < $2";
    const REMOVE: &str = "DELETE FROM delivery_changes WHERE tenant = $1 AND sequence <= $2";
    sql::execute(tx, MARK, key.clone()).await?;
    sql::execute(tx, REMOVE, key).await
}

async fn number(tx: &Tx, limit: u32) -> Result<u32, Error> {
    const TURN: &str = "SELECT {now} FROM feed_sequencer WHERE id = 1 {for_update}";
    let Some(turn) = sql::one(tx, TURN, params![]).await? else {
        return Err(Error::Bug("the feed has no sequencer".into()));
    };
    let now: i64 = turn.get(0)?;
    // A statement after the lock: it sees all that the sequencer before left and all that was
    // committed meanwhile.
    // By one bound: `IN` of many ids was planned as a product of the inbox with itself.
    let take = format!(
        "DELETE FROM feed_inbox WHERE id <= (SELECT MAX(id) FROM \
         (SELECT id FROM feed_inbox ORDER BY id LIMIT {limit}) AS first) RETURNING id, {CHANGE}"
    );
    let mut taken = Vec::new();
    for row in sql::all(tx, &take, params![]).await? {
        taken.push((row.get::<i64>(0)?, row.get::<String>(1)?, row));
    }
    taken.sort_unstable_by_key(|(id, ..)| *id);
    let mut counts = BTreeMap::<&str, i64>::new();
    for (_, tenant, _) in &taken {
        *counts.entry(tenant).or_default() += 1;
    }
    let mut next = advance(tx, &counts).await?;
    let mut rows = Vec::with_capacity(taken.len());
    for (_, tenant, row) in &taken {
        let number = next
            .get_mut(tenant.as_str())
            .ok_or_else(|| Error::Bug("a tenant without a feed".into()))?;
        rows.push(numbered(*number, row, now)?);
        *number += 1;
    }
    for chunk in chunks(&rows) {
        let text = format!(
            "INSERT INTO delivery_changes (sequence, {CHANGE}, sequenced_at) VALUES {}",
            tuples(chunk.len(), WIDTH)
        );
        sql::execute(tx, &text, chunk.concat()).await?;
    }
    Ok(u32::try_from(rows.len()).unwrap_or(u32::MAX))
}

/// Moves each tenant's head on; answers the first number that each may give.
async fn advance(tx: &Tx, counts: &BTreeMap<&str, i64>) -> Result<BTreeMap<String, i64>, Error> {
    let counts: Vec<_> = counts.iter().collect();
    let mut next = BTreeMap::new();
    for chunk in chunks(&counts) {
        let text = format!(
            "INSERT INTO feed_heads (tenant, head) VALUES {} ON CONFLICT (tenant) \
             DO UPDATE SET head = feed_heads.head + excluded.head RETURNING tenant, head",
            tuples(chunk.len(), 2)
        );
        let values = chunk.iter().flat_map(|(tenant, count)| params![**tenant, **count]).collect();
        for row in sql::all(tx, &text, values).await? {
            next.insert(row.get::<String>(0)?, row.get::<i64>(1)? + 1);
        }
    }
    for (tenant, count) in counts {
        if let Some(after_last) = next.get_mut(*tenant) {
            *after_last -= count;
        }
    }
    Ok(next)
}

/// The values of one numbered change, read from the inbox (whose first column is its id).
fn numbered(number: i64, row: &Row, now: i64) -> Result<Vec<Value>, Error> {
    let mut values = params![number];
    for index in 1..=10 {
        values.push(row.get::<Option<String>>(index)?.into());
    }
    values.extend(params![row.get::<i64>(11)?, now]);
    Ok(values)
}

fn change(row: &Row) -> Result<DeliveryChange, Error> {
    let mut columns = Columns::of(row);
    let sequence = columns.take()?;
    columns.take::<String>()?;
    Ok(DeliveryChange {
        sequence,
        delivery: columns.uuid(DeliveryId::parse)?,
        notification: columns.uuid(NotificationId::parse)?,
        user: columns.optional_id(UserId::parse)?,
        also: Vec::new(),
        event_type: columns.id(EventType::parse)?,
        state: columns.code(State::from_code)?,
        reason: columns.take()?,
        code: columns.take()?,
        channel: columns.optional_id(ChannelId::parse)?,
        ts: columns.take()?,
        at: columns.time()?,
    })
}
