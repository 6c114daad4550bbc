//! A claimed lane, and the lane's first delivery, which a claim may read. (Claiming itself is in
//! `queue`.)
//!
//! A claim is a lease on one lane with a new random fencing token. Every write on behalf of a claim
//! locks the lane and compares the token, so a worker that lost its lease, and whose lane was
//! claimed again, changes nothing. A lease that ran out still belongs to its holder until another
//! worker claims the lane: until then no other worker has acted on it.

use std::collections::HashMap;
use std::time::Duration;

use sea_orm::{ConnectionTrait, Value};

use super::lane::{LaneName, due, from_head, given_lane, head, headed, heads};
use crate::domain::capacity::budget::Budget;
use crate::domain::capacity::priority::Priority;
use crate::domain::delivery::subject::{Action, SlackRequestKind};
use crate::domain::delivery::{DeliveryKind, State};
use crate::domain::ids::{
    ChannelId, DeliveryId, EventType, InstallationId, LeaseToken, ManagedChannelId, NotificationId,
    SubjectKey, TenantId, UserId,
};
use crate::domain::time::{Timestamp, micros};
use crate::store::budgets::methods::BudgetStart;
use crate::store::database::era::doubt;
use crate::store::database::rows::{Column, Columns, given};
use crate::store::database::sql::{self, CLOCK, Row, params};
use crate::store::database::transaction::{Patience, Scoped, Tx, scoped};
use crate::store::seal::data_keys::SealedCell;
use crate::store::seal::person_keys::{KEY_COLUMNS, KeysById, WrappedKey, join_key};
use crate::store::{Error, Lanes, Store};

/// The right to act on one lane until the lease ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneClaim {
    pub installation: InstallationId,
    /// `U...` for direct messages, `C...` for channels.
    pub lane: String,
    pub token: LeaseToken,
    /// The `D...` id, once the first message revealed it; lookups in history need it.
    pub channel: Option<ChannelId>,
    /// Slack's `ts` of the last message sent there; a message in doubt comes after it.
    pub last_ts: Option<String>,
    /// The tenant of the first message.
    pub tenant: TenantId,
    /// The database's clock at the claim.
    pub now: Timestamp,
    /// The budget that this claim's request is taken from.
    pub budget: Budget,
    /// The part of the workspace's budget that was taken for that request; `None`: none was.
    pub start: Option<BudgetStart>,
}

/// The first delivery of a lane, with everything that sending it needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    pub delivery: DeliveryId,
    pub notification: NotificationId,
    pub tenant: TenantId,
    /// Absent for posts to a channel.
    pub user: Option<UserId>,
    /// The channel, if the call named it by its key; it may have moved to another lane.
    pub keyed_channel: Option<ManagedChannelId>,
    pub event_type: EventType,
    pub kind: DeliveryKind,
    /// `Pending`, `Unknown`, or `Sending`. `Sending` means that the previous holder died or lost
    /// its lease while a request was under way; call
    /// [`Outbox::recover`](crate::store::Outbox::recover) before anything else.
    pub state: State,
    /// Requests so far that counted as attempts.
    pub attempt: u32,
    /// Reads of history since the last request.
    pub probes: u32,
    /// Workers that died on it.
    pub crashes: u32,
    /// The content that `accept` was given.
    pub content: Option<Vec<u8>>,
    /// There is content and it cannot be decrypted (it was altered or moved, or its key is gone):
    /// settle the delivery as failed, so that it does not block its lane.
    pub damaged: bool,
    /// The kind of the last request.
    pub request_kind: SlackRequestKind,
    /// The thread that the last request was made in.
    pub thread_ts: Option<String>,
    /// The subject of the message, and the message's action on it.
    pub subject: Option<SubjectKey>,
    pub action: Action,
    /// The message that it acted on last; some actions go through several.
    pub acted_on: Option<(ChannelId, String)>,
    /// The last code from Slack.
    pub code: Option<String>,
    /// Why it went as it did so far, as the caller of the store gave it.
    pub trace: Option<Vec<u8>>,
    /// Set if the store was recovered, to that time, and this delivery may have been sent in the
    /// time that was lost: history must be read before it is posted.
    pub in_doubt: Option<Timestamp>,
    /// When the intent of the last request was committed, if its outcome is not known.
    pub sending_since: Option<Timestamp>,
    pub due_at: Timestamp,
    /// Since when it could have been sent: it was due, the first of its conversation, and the
    /// conversation's pace allowed it. From then on it waited for the workspace.
    pub ready_at: Timestamp,
    pub expires_at: Timestamp,
    pub created_at: Timestamp,
    pub priority: Priority,
    /// W3C `traceparent` of the call that caused it.
    pub trace_context: Option<String>,
    /// The database's clock when this was read.
    pub now: Timestamp,
}

/// The columns read by [`Store::head_of`], and by [`Store::read_life`].
const READ: &str = "id, notification, tenant, user_id, event_type, kind, state, attempt, probes, \
    crashes, content, sending_since, due_at, expires_at, created_at, priority, trace_context";
const LIFE: &str = "deed, thread_ts, subject_key, action, slack_channel, slack_ts, code, trace, \
    awaits_channel";

fn of_head(columns: &str) -> String {
    format!("d.{}", columns.replace(", ", ", d."))
}

/// The head of one of the lanes in a batch.
pub(in crate::store) type HeadRow = Result<Option<Row>, Error>;

impl Lanes<'_> {
    /// The delivery whose turn it is. `None`: nothing is due in this lane, or its first delivery
    /// cannot be read (then the lane was released), or the claim is stale. In each case the caller
    /// is done with the claim.
    pub async fn head(self, claim: &LaneClaim) -> Result<Option<Head>, Error> {
        let (group, owner) = (&self.store.inner.reading_heads, claim.tenant.clone());
        let read = group.read(self.store, owner, claim.clone(), 1, |store, claims| async move {
            store.read_heads(&claims).await
        });
        if let Some(row) = read.await? {
            let (head, paced_until) = match self.store.head_of(&row).await {
                Err(Error::Bug(_)) => {
                    self.store.leave_unread(claim, &row).await?;
                    return Ok(None);
                }
                head => head?,
            };
            if head.state == State::Sending || head.due_at.max(paced_until) <= head.now {
                return Ok(Some(head));
            }
        }
        self.release(claim, Duration::ZERO).await?;
        Ok(None)
    }

    /// Extends the lease to `lease` from now. `false`: the claim is stale.
    pub async fn heartbeat(self, claim: &LaneClaim, lease: Duration) -> Result<bool, Error> {
        extend(self.store.writer(), claim, lease).await
    }

    /// Gives the lane back. It comes up again when its first delivery is due, but not before `next`
    /// has passed. Do not call this while a request is under way: the next holder would find the
    /// delivery in `Sending` and count a crash. `false`: the claim is stale and nothing changed.
    pub async fn release(self, claim: &LaneClaim, next: Duration) -> Result<bool, Error> {
        self.store.of_lane(|tx, patience| scoped(release_within(tx, claim, next, patience))).await
    }
}

impl Store {
    /// One statement for all claims; one answer for each, in order.
    async fn read_heads(&self, claims: &[LaneClaim]) -> Result<Vec<HeadRow>, Error> {
        let rows = claims.iter().map(|claim| {
            let [installation, lane, token] = claim.named();
            [installation.into(), lane.into(), token.into()]
        });
        let backend = self.reader().get_database_backend();
        let mut found = HashMap::with_capacity(claims.len());
        let columns = format!("{READ}, {LIFE}, looked_up, updated_at");
        let (lane, head) = (given_lane(backend), heads(backend, "d", &columns));
        let key = &join_key(backend, "d.tenant", "COALESCE(d.content, d.trace)");
        for (table, values) in given(backend, [Column::Text; 3], rows.collect()) {
            let text = format!(
                "SELECT {}, clock.now, lanes.paced_until, {}, lanes.ready_at, {},
                        lanes.installation, lanes.lane, lanes.lease_token, {KEY_COLUMNS}
                    FROM {CLOCK}, {table}
                    JOIN lanes ON {lane} AND lanes.lease_token = column3
                    JOIN {head} {key}",
                of_head(READ).replace("d.due_at", &due("d", "clock.now")),
                of_head(LIFE),
                doubt("d"),
            );
            for row in sql::all(self.reader(), &text, values).await? {
                let lane =
                    [row.named("installation")?, row.named("lane")?, row.named("lease_token")?];
                found.insert(lane, row);
            }
        }
        Ok(claims.iter().map(|claim| Ok(found.remove(&claim.named()))).collect())
    }

    /// The head and the lane's `paced_until`.
    async fn head_of(&self, row: &Row) -> Result<(Head, Timestamp), Error> {
        let mut columns = Columns::of(row);
        let delivery = columns.uuid(DeliveryId::parse)?;
        let notification = columns.uuid(NotificationId::parse)?;
        let tenant = columns.id(TenantId::parse)?;
        let mut head = Head {
            delivery,
            notification,
            tenant,
            user: columns.optional_id(UserId::parse)?,
            keyed_channel: None,
            event_type: columns.id(EventType::parse)?,
            kind: columns.code(DeliveryKind::from_code)?,
            state: columns.code(State::from_code)?,
            attempt: columns.count()?,
            probes: columns.count()?,
            crashes: columns.count()?,
            content: columns.take()?,
            damaged: false,
            request_kind: SlackRequestKind::Post,
            thread_ts: None,
            subject: None,
            action: Action::Post,
            acted_on: None,
            code: None,
            trace: None,
            in_doubt: None,
            sending_since: columns.optional_time()?,
            due_at: columns.time()?,
            ready_at: Timestamp::default(),
            expires_at: columns.time()?,
            created_at: columns.time()?,
            priority: Priority::from_code(columns.take()?),
            trace_context: columns.take()?,
            now: columns.time()?,
        };
        let paced_until = columns.time()?;
        let keys = self.key_of_head(&head.tenant, row).await?;
        self.read_life(&mut head, &mut columns, &keys).await?;
        if let Some(sealed) = head.content.take() {
            head.content = self.open_content(&head.tenant, delivery, &sealed, &keys).await?;
            head.damaged = head.content.is_none();
        }
        Ok((head, paced_until))
    }

    /// The key of the head's person, which was read with the head.
    async fn key_of_head(&self, tenant: &TenantId, row: &Row) -> Result<KeysById, Error> {
        let read: Vec<WrappedKey> = WrappedKey::joined(row)?.into_iter().collect();
        match self.read_keys(tenant, &read).await {
            // The content does not decrypt either, and that is reported.
            Err(Error::Sealed(_)) => Ok(KeysById::new()),
            keys => keys,
        }
    }

    /// `None`: it does not decrypt, or its person's key was erased.
    async fn open_content(
        &self,
        tenant: &TenantId,
        delivery: DeliveryId,
        sealed: &[u8],
        keys: &KeysById,
    ) -> Result<Option<Vec<u8>>, Error> {
        let row = delivery.to_string();
        let place = SealedCell { table: "deliveries", row: &row, column: "content" };
        let error = match self.open_personal(tenant, &place, sealed, keys).await {
            Ok(Some(content)) => return Ok(Some(content)),
            Ok(None) => Error::Sealed("deliveries.content: its person's key was erased".into()),
            Err(error @ Error::Sealed(_)) => error,
            Err(error) => return Err(error),
        };
        tracing::error!(%error, %delivery, "the content of a delivery cannot be decrypted");
        Ok(None)
    }

    /// Reads the delivery's subject, and its requests and results so far.
    async fn read_life(
        &self,
        head: &mut Head,
        columns: &mut Columns<'_>,
        keys: &KeysById,
    ) -> Result<(), Error> {
        head.request_kind = columns.request_kind()?.unwrap_or(SlackRequestKind::Post);
        head.thread_ts = columns.take()?;
        head.subject = columns.optional_id(SubjectKey::parse)?;
        head.action = columns.action()?;
        head.acted_on = columns.optional_id(ChannelId::parse)?.zip(columns.take()?);
        head.code = columns.take()?;
        let sealed: Option<Vec<u8>> = columns.take()?;
        head.trace = self.open_trace(&head.tenant, head.delivery, sealed.as_deref(), keys).await?;
        head.keyed_channel = columns.optional_id(|text| ManagedChannelId::parse(&text))?;
        head.ready_at = columns.time()?;
        head.in_doubt = columns.optional_time()?;
        Ok(())
    }

    /// A trace decides nothing, so one that cannot be decrypted is returned as `None`, as is one
    /// whose person was deleted. `keys` may lack its key.
    pub(in crate::store) async fn open_trace(
        &self,
        tenant: &TenantId,
        delivery: DeliveryId,
        sealed: Option<&[u8]>,
        keys: &KeysById,
    ) -> Result<Option<Vec<u8>>, Error> {
        let Some(sealed) = sealed else { return Ok(None) };
        let row = delivery.to_string();
        let place = SealedCell { table: "deliveries", row: &row, column: "trace" };
        match self.open_personal(tenant, &place, sealed, keys).await {
            Err(error @ Error::Sealed(_)) => {
                tracing::error!(%error, %delivery, "the trace of a delivery cannot be decrypted");
                Ok(None)
            }
            trace => trace,
        }
    }
}

async fn release_within(
    tx: &Tx,
    claim: &LaneClaim,
    next: Duration,
    patience: Patience,
) -> Result<bool, Error> {
    if !lock(tx, claim, patience).await? {
        return Ok(false);
    }
    if !next.is_zero() {
        let text = format!(
            "UPDATE deliveries
                SET due_at = {{now}} + $3, updated_at = {{now}}
                WHERE sequence = (SELECT head.sequence {})",
            from_head(LaneName::Parameters)
        );
        let installation = claim.installation.to_string();
        let values = params![installation, claim.lane.as_str(), micros(next)];
        sql::execute(tx, &text, values).await?;
    }
    unlease(tx, claim, &Unlease::default()).await?;
    Ok(true)
}

/// Extends the lease and locks the lane's row. `false`: the claim is stale.
pub(in crate::store) async fn extend(
    db: &impl ConnectionTrait,
    claim: &LaneClaim,
    lease: Duration,
) -> Result<bool, Error> {
    let text = format!(
        "UPDATE lanes
            SET lease_until = clock.now + $4, next_at = clock.now + $4
            FROM {}
            WHERE installation = $1 AND lane = $2 AND lease_token = $3",
        Patience::Shared.clock(db.get_database_backend())
    );
    let mut values = claim.key();
    values.push(micros(lease).into());
    Ok(sql::execute(db, &text, values).await? == 1)
}

/// Locks the lane's row. `false`: the claim is stale.
pub(in crate::store) async fn lock(
    tx: &Tx,
    claim: &LaneClaim,
    patience: Patience,
) -> Result<bool, Error> {
    let text = format!(
        "SELECT 1
            FROM {}, lanes
            WHERE installation = $1 AND lane = $2 AND lease_token = $3 {{for_update}}",
        patience.clock(tx.get_database_backend())
    );
    Ok(sql::one(tx, &text, claim.key()).await?.is_some())
}

impl Store {
    /// A transaction that locks one lane's row first, with the patience that it is given. If the
    /// row is locked, it waits as one of the few that may: workers whose lanes a frozen replica
    /// keeps locked must not take the connections that others need.
    pub(in crate::store) async fn of_lane<'env, T, F>(&self, work: F) -> Result<T, Error>
    where
        F: for<'tx> Fn(&'tx Tx, Patience) -> Scoped<'env, 'tx, T> + Send + Sync,
        T: Send,
    {
        let work = &work;
        let within = |patience: Patience| self.transaction(move |tx| work(tx, patience));
        self.patiently(Patience::Brief, within).await
    }
}

/// Changes to a lane at the end of its lease.
#[derive(Debug, Default)]
pub(in crate::store) struct Unlease {
    /// No request before this many microseconds from now; may be negative.
    pub(in crate::store) paced: Option<i64>,
    /// The conversation's id, if it was learnt.
    pub(in crate::store) channel: Option<ChannelId>,
    /// The `ts` of a message that was sent.
    pub(in crate::store) last_ts: Option<String>,
    /// The installation's token is dead: nothing before a reconnect.
    pub(in crate::store) sleep: bool,
}

/// Columns that the end of a lease always writes.
pub(in crate::store) const UNLEASE: &str =
    "lease_token = NULL, lease_until = 0, claimed_at = clock.now";

/// The lane's new pace; `$4` is [`Unlease::paced`]. A pace written by a clock that has since
/// stepped back is moved back with it: nothing would show later that it is too far ahead.
pub(in crate::store) const PACED: &str = "{greatest}(lanes.paced_until \
    - {greatest}(lanes.claimed_at - clock.now, 0), COALESCE(clock.now + $4, 0))";

/// Ends the lease and sets `next_at` from the deliveries now in the lane. Must follow [`lock`] or
/// [`extend`] in the same transaction: as a separate statement after the lock, it sees every
/// delivery that was accepted earlier.
pub(in crate::store) async fn unlease(
    tx: &Tx,
    claim: &LaneClaim,
    change: &Unlease,
) -> Result<(), Error> {
    // Not if a reconnect came since the claim: its wake-up would be lost.
    const SLEEPS: &str = "$6 = 1 AND woken_at < claimed_at";
    let text = format!(
        "UPDATE lanes
            SET {UNLEASE},
                paced_until = {PACED},
                channel = COALESCE($5, channel),
                last_ts = COALESCE($7, last_ts),
                asleep = CASE WHEN {SLEEPS} THEN 1 ELSE 0 END,
                {}
            FROM {CLOCK}
            LEFT JOIN {}
            WHERE installation = $1 AND lane = $2 AND lease_token = $3",
        headed(SLEEPS, PACED),
        head()
    );
    let mut values = claim.key();
    values.extend(params![
        change.paced,
        change.channel.as_ref().map(ChannelId::as_str),
        i64::from(change.sleep),
        change.last_ts.as_deref()
    ]);
    sql::execute(tx, &text, values).await.map(drop)
}

impl LaneClaim {
    /// `$1` to `$3`: installation, lane, token.
    pub(in crate::store) fn key(&self) -> Vec<Value> {
        self.named().map(Value::from).into()
    }

    /// Installation, lane, token.
    pub(in crate::store) fn named(&self) -> [String; 3] {
        [self.installation.to_string(), self.lane.clone(), self.token.to_string()]
    }
}

/// A new random token.
#[must_use]
pub fn lease_token() -> LeaseToken {
    LeaseToken(uuid::Builder::from_random_bytes(rand::random()).into_uuid())
}
