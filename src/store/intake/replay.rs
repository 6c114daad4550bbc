//! Replaying dead letters. Each becomes a new delivery of the same notification, at the tail of its
//! lane, in the order of the old ones. The old delivery names its replay, so that none is replayed
//! twice, even by several callers.

mod insert;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sea_orm::Value;

use crate::domain::capacity::priority::Priority;
use crate::domain::delivery::State;
use crate::domain::delivery::subject::Action;
use crate::domain::ids::{
    DeliveryId, InstallationId, ManagedChannelId, Principal, RequestId, TenantId, UserId,
};
use crate::domain::reason::Failure;
use crate::domain::time::{Timestamp, micros};
use crate::store::database::rows::{Column, Columns, NewCell, NewRow};
use crate::store::database::sql::{self, Row, params, placeholders};
use crate::store::database::transaction::{Tx, scoped};
use crate::store::database::unreadable::UnreadableRow;
use crate::store::records::dead_letters::{FailedFilter, superseded};
use crate::store::seal::data_keys::{KeyScope, ScopeKeys, SealedCell};
use crate::store::seal::person_keys::SealingKeys;
use crate::store::{Error, Outbox, Store, new_uuid};

/// A call to replay dead letters.
#[derive(Debug, Clone)]
pub struct Replay {
    pub tenant: TenantId,
    pub principal: Principal,
    pub request_id: RequestId,
    pub fingerprint: [u8; 32],
    pub which: ReplaySelection,
    /// Counted from the database's current time.
    pub expires_in: Duration,
    /// The most new deliveries that there may be.
    pub room: u64,
}

/// Which dead letters.
#[derive(Debug, Clone)]
pub enum ReplaySelection {
    /// These; deliveries that are not dead letters are reported.
    Deliveries(Vec<DeliveryId>),
    /// The first that match, in the order of their lanes, up to `limit`.
    Matching { filter: FailedFilter, limit: u32 },
}

/// The outcome of the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplayOutcome {
    /// Done, by this call or by an earlier identical one.
    Replayed(Vec<Replayed>),
    /// The request id was used for a different call; nothing was replayed.
    Mismatch,
    /// There are more than there is room for; nothing was replayed, and the request id is free.
    NoRoom,
}

/// The result for one dead letter.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Replayed {
    pub delivery: DeliveryId,
    /// The delivery that replays it, by this call or an earlier one.
    pub replayed_as: Option<DeliveryId>,
    /// Why it was not replayed, if not replayed by this call.
    pub skipped: Option<SkipReason>,
    /// It is unknown whether Slack stored the old one: the message may appear twice.
    pub may_repeat: bool,
}

/// Why a delivery was not replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// The tenant has no such delivery.
    NotFound,
    /// It is under way, or was sent, suppressed, canceled or unreachable.
    NotDead,
    /// It was replayed before.
    AlreadyReplayed,
    /// The person was deleted, or the content is gone.
    Erased,
    /// A later notification replaced it, took it back or marked its subject as done.
    Superseded,
}

/// A row as it was found; it is locked.
struct DeadLetter {
    table: &'static str,
    id: DeliveryId,
    order: (i64, i64),
    state: State,
    replayed_as: Option<DeliveryId>,
    superseded: bool,
    reason: Option<String>,
    user: Option<UserId>,
    installation: Option<String>,
    lane: Option<String>,
    /// The channel, if the call named it by its key, and the key.
    channel: Option<ManagedChannelId>,
    channel_key: Option<String>,
    content: Option<Vec<u8>>,
    action: Action,
    priority: Priority,
    /// The columns that the new row copies: notification, priority, kind, event type, trace
    /// context, subject and action.
    same: [Value; 8],
}

const READ: &str = "
    id, position, sequence, state, replayed_as, CASE WHEN $superseded THEN 1 ELSE 0 END, reason,
        user_id, installation, COALESCE(lane, deferred_lane), content, action, notification,
        priority, kind, event_type, trace_context, subject_key, hold, awaits_channel, channel_key";

impl Outbox<'_> {
    /// Replays dead letters, in one transaction; an identical call gets the same answer.
    pub async fn replay(self, replay: &Replay) -> Result<ReplayOutcome, Error> {
        let keys = self.store.keys(&KeyScope::Tenant(replay.tenant.clone())).await?;
        let keys = &keys;
        let (outcome, unread) = self
            .store
            .transaction(|tx| {
                scoped(async move {
                    let (outcome, unread) = self.store.replay_within(tx, keys, replay).await?;
                    if matches!(outcome, ReplayOutcome::Replayed(_)) {
                        self.store.record(tx).await?;
                    }
                    Ok((outcome, unread))
                })
            })
            .await?;
        self.store.pass_over(UnreadableRow::DeadLetter, unread);
        if let ReplayOutcome::Replayed(replayed) = &outcome {
            let new: Vec<_> = replayed.iter().filter_map(|one| one.replayed_as).collect();
            // They are accepted; a sweep puts them into their lanes, too.
            if let Err(error) = self.store.serve_channels_of(&new).await {
                tracing::warn!(%error, "replays for channels wait for the next sweep");
            }
        }
        self.store.recorded();
        self.store.wake();
        self.store.changed();
        Ok(outcome)
    }

    /// Deletes up to `limit` calls that were made more than `older_than` ago; returns how many.
    pub async fn prune_replays(self, older_than: Duration, limit: u32) -> Result<u64, Error> {
        let text = format!(
            "DELETE FROM replays
                WHERE (tenant, principal, request_id) IN (
                    SELECT tenant, principal, request_id
                    FROM replays
                    WHERE created_at <= {{now}} - $1
                    ORDER BY created_at
                    LIMIT {limit})"
        );
        sql::execute(self.store.writer(), &text, params![micros(older_than)]).await
    }
}

impl Store {
    /// The outcome, and the number of dead letters that this release cannot read.
    async fn replay_within(
        &self,
        tx: &Tx,
        keys: &Arc<ScopeKeys>,
        replay: &Replay,
    ) -> Result<(ReplayOutcome, u64), Error> {
        const END: &str = "UPDATE replays
            SET answer = $4
            WHERE tenant = $1 AND principal = $2 AND request_id = $3";
        const FORGET: &str = "DELETE FROM replays
            WHERE tenant = $1 AND principal = $2 AND request_id = $3";
        let key =
            params![replay.tenant.as_str(), replay.principal.as_str(), replay.request_id.as_str()];
        // A concurrent identical call waits here, and then reads the answer.
        let Some(now) = begin(tx, replay).await? else {
            return Ok((before(tx, replay, key).await?, 0));
        };
        let (mut dead, unread) = find(tx, replay).await?;
        let users = dead.iter().filter(|dead| dead.result().skipped.is_none());
        let users = users.filter_map(|dead| dead.user.clone()).collect();
        let keys = &self.held_keys(tx, keys, &replay.tenant, &users).await?;
        for dead in dead.iter_mut().filter(|dead| dead.result().skipped.is_none()) {
            if !dead.is_readable(keys)? {
                dead.content = None;
            }
        }
        let mut answer = Vec::new();
        let mut chosen = Vec::new();
        for dead in dead {
            let result = dead.result();
            if result.skipped.is_none() {
                chosen.push((dead, DeliveryId(new_uuid(now))));
                let by = chosen.last().map(|(_, by)| *by);
                answer.push(Replayed { replayed_as: by, ..result });
            } else {
                answer.push(result);
            }
        }
        if u64::try_from(chosen.len()).unwrap_or(u64::MAX) > replay.room {
            sql::execute(tx, FORGET, key).await?;
            return Ok((ReplayOutcome::NoRoom, unread));
        }
        insert::replays(tx, keys, replay, &chosen, now).await?;
        let answer = in_the_order_asked(replay, answer);
        let mut values = key;
        values.extend(params![serde_json::to_vec(&answer).unwrap_or_default()]);
        sql::execute(tx, END, values).await?;
        Ok((ReplayOutcome::Replayed(answer), unread))
    }
}

/// Stores the call without its answer, and returns the time; `None`: its request id is taken.
async fn begin(tx: &Tx, replay: &Replay) -> Result<Option<Timestamp>, Error> {
    let NewRow { names, parameters, values } = NewRow::of([
        NewCell("tenant", Column::Text, replay.tenant.as_str().into()),
        NewCell("principal", Column::Text, replay.principal.as_str().into()),
        NewCell("request_id", Column::Text, replay.request_id.as_str().into()),
        NewCell("fingerprint", Column::Bytes, replay.fingerprint.to_vec().into()),
        NewCell("answer", Column::Bytes, Vec::<u8>::new().into()),
    ]);
    let text = format!(
        "INSERT INTO replays ({names}, created_at)
            VALUES ({parameters}, {{now}})
            ON CONFLICT (tenant, principal, request_id) DO NOTHING
            RETURNING created_at"
    );
    let row = sql::one(tx, &text, values).await?;
    row.map(|row| row.get(0).map(Timestamp)).transpose()
}

/// The answer to an earlier identical call.
async fn before(tx: &Tx, replay: &Replay, key: Vec<Value>) -> Result<ReplayOutcome, Error> {
    const SQL: &str = "SELECT fingerprint, answer
        FROM replays
        WHERE tenant = $1 AND principal = $2 AND request_id = $3";
    let Some(row) = sql::one(tx, SQL, key).await? else {
        // It was pruned between the two statements: run again from the start.
        return Err(Error::Contended("replays".into()));
    };
    if row.get::<Vec<u8>>(0)? != replay.fingerprint {
        return Ok(ReplayOutcome::Mismatch);
    }
    let answer = serde_json::from_slice(&row.get::<Vec<u8>>(1)?);
    let answer = answer.map_err(|_| Error::Bug("a stored answer cannot be parsed".into()))?;
    Ok(ReplayOutcome::Replayed(answer))
}

/// The deliveries to replay, locked, in the order of their lanes, and the number of those that this
/// release cannot read: they are not replayed.
async fn find(tx: &Tx, replay: &Replay) -> Result<(Vec<DeadLetter>, u64), Error> {
    let (mut found, mut unread) = (Vec::new(), 0);
    // The hot table first: a row that moves meanwhile is found in the other.
    for table in ["deliveries", "deliveries_history"] {
        let superseded = superseded(table);
        let read_columns = READ.replace("$superseded", &superseded);
        match &replay.which {
            ReplaySelection::Deliveries(ids) => {
                for chunk in ids.chunks(500) {
                    let text = format!(
                        "SELECT {read_columns}
                            FROM {table}
                            WHERE tenant = $1 AND id IN ({})
                            ORDER BY position, sequence {{for_update}}",
                        placeholders(2, chunk.len())
                    );
                    let mut values = params![replay.tenant.as_str()];
                    values.extend(chunk.iter().map(|id| Value::from(id.to_string())));
                    unread += read(&mut found, table, &sql::all(tx, &text, values).await?);
                }
            }
            ReplaySelection::Matching { filter, limit } => {
                let (which, values) = filter.which(&replay.tenant);
                let text = format!(
                    "SELECT {read_columns}
                        FROM {table}
                        WHERE {which} AND NOT {superseded}
                        ORDER BY position, sequence
                        LIMIT {limit} {{for_update}}"
                );
                unread += read(&mut found, table, &sql::all(tx, &text, values).await?);
            }
        }
    }
    found.sort_by_key(|dead| dead.order);
    if let ReplaySelection::Matching { limit, .. } = &replay.which {
        found.truncate(*limit as usize);
    }
    Ok((found, unread))
}

/// Returns the number of rows in an unknown state, and of rows that cannot be read at all.
fn read(found: &mut Vec<DeadLetter>, table: &'static str, rows: &[Row]) -> u64 {
    let mut unread = 0;
    for row in rows {
        match DeadLetter::of(table, row) {
            Ok(dead) => {
                unread += u64::from(dead.state == State::Newer);
                found.push(dead);
            }
            Err(_) => unread += 1,
        }
    }
    unread
}

impl DeadLetter {
    fn of(table: &'static str, row: &Row) -> Result<Self, Error> {
        let mut columns = Columns::of(row);
        let id = columns.uuid(DeliveryId::parse)?;
        let order = (columns.take()?, columns.take()?);
        let state = columns.shown_state()?;
        let replayed_as = columns.optional_id(|text| DeliveryId::parse(&text))?;
        let superseded = columns.take::<i32>()? == 1;
        let (reason, user) = (columns.take()?, columns.optional_id(UserId::parse)?);
        let (installation, lane) = (columns.take()?, columns.take()?);
        let content = columns.take()?;
        let action: Option<String> = columns.take()?;
        let (notification, priority): (String, i64) = (columns.take()?, columns.take()?);
        let (kind, event_type): (String, String) = (columns.take()?, columns.take()?);
        let (trace_context, subject): (Option<String>, Option<String>) =
            (columns.take()?, columns.take()?);
        let hold = i64::from(columns.take::<i32>()?);
        let channel = columns.optional_id(|text| ManagedChannelId::parse(&text))?;
        let channel_key = columns.take()?;
        let same = [
            notification.into(),
            priority.into(),
            kind.into(),
            event_type.into(),
            trace_context.into(),
            subject.into(),
            action.clone().into(),
            hold.into(),
        ];
        let action = action.and_then(|code| Action::from_code(&code)).unwrap_or(Action::Post);
        Ok(Self {
            table,
            id,
            order,
            state,
            replayed_as,
            superseded,
            reason,
            user,
            installation,
            lane,
            channel,
            channel_key,
            content,
            action,
            priority: Priority::from_code(priority),
            same,
        })
    }

    /// Whether it is replayed, or why not.
    fn result(&self) -> Replayed {
        let dead = State::DEAD.contains(&self.state);
        let erased = self.place().is_none() && self.line().is_none() && self.user.is_none();
        let skipped = match self.replayed_as {
            Some(_) => Some(SkipReason::AlreadyReplayed),
            None if !dead => Some(SkipReason::NotDead),
            None if self.superseded => Some(SkipReason::Superseded),
            None => erased.then_some(SkipReason::Erased),
        };
        let unconfirmed = [Failure::Unconfirmed.code(), Failure::Crashed.code()];
        let parked = self.state == State::Parked;
        let may_repeat =
            parked && self.reason.as_deref().is_some_and(|reason| unconfirmed.contains(&reason));
        Replayed { delivery: self.id, replayed_as: self.replayed_as, skipped, may_repeat }
    }

    /// Whether its content, if it has any, decrypts and can be encrypted again. If not, it is
    /// replayed without, and the others are not held up.
    fn is_readable(&self, keys: &SealingKeys) -> Result<bool, Error> {
        let Some(sealed) = &self.content else { return Ok(true) };
        let (row, user) = (self.id.to_string(), self.user.as_ref());
        match keys.of(user).and_then(|_| keys.open(user, &content_of(&row), sealed)) {
            Ok(_) => Ok(true),
            Err(error @ Error::Sealed(_)) => {
                let delivery = self.id;
                tracing::error!(%error, %delivery, "the content of a dead letter cannot be read");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// The channel whose line it joins: the channel may have moved since.
    fn line(&self) -> Option<ManagedChannelId> {
        self.channel.filter(|_| !self.is_unwritten())
    }

    /// Whether it must be rendered before it can be sent.
    fn is_unwritten(&self) -> bool {
        self.content.is_none() && self.action.speaks()
    }

    /// The lane that it joins. Without content it is rendered again, which requires resolving the
    /// person.
    fn place(&self) -> Option<(InstallationId, &str)> {
        if self.channel.is_some() || self.is_unwritten() {
            return None;
        }
        let installation = InstallationId::parse(self.installation.as_deref()?).ok()?;
        Some((installation, self.lane.as_deref()?))
    }
}

/// The place of the content of a delivery.
fn content_of(row: &str) -> SealedCell<'_> {
    SealedCell { table: "deliveries", row, column: "content" }
}

/// One entry for each named delivery, in that order; otherwise in the order found.
fn in_the_order_asked(replay: &Replay, found: Vec<Replayed>) -> Vec<Replayed> {
    let ReplaySelection::Deliveries(ids) = &replay.which else { return found };
    let found: HashMap<DeliveryId, Replayed> =
        found.into_iter().map(|replayed| (replayed.delivery, replayed)).collect();
    let not_found = |delivery: &DeliveryId| Replayed {
        delivery: *delivery,
        replayed_as: None,
        skipped: Some(SkipReason::NotFound),
        may_repeat: false,
    };
    ids.iter().map(|id| found.get(id).cloned().unwrap_or_else(|| not_found(id))).collect()
}
