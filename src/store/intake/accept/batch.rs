//! The statements of a transaction for a batch of calls: as many as for one call.
//!
//! Rows that several calls may share are written in the order of their keys, so that batches of
//! different replicas do not deadlock.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use sea_orm::{ConnectionTrait as _, Value};

use super::StoredCall;
use super::sealed::{Sealed, SealedCall};
use crate::domain::delivery::State;
use crate::domain::delivery::subject::Action;
use crate::domain::ids::{
    DeliveryId, InstallationId, ManagedChannelId, SubjectKey, TenantId, UserId,
};
use crate::domain::reason::Cancellation;
use crate::domain::time::{Timestamp, micros};
use crate::store::Error;
use crate::store::database::rows::{Column, Columns, NewCell, NewRows, given, numbered};
use crate::store::database::sql;
use crate::store::database::transaction::{Patience, Tx};
use crate::store::intake::new::{Accept, NewDelivery, Target};
use crate::store::intake::subjects::overtake;
use crate::store::lanes::lane;
use crate::store::lanes::lane::Joining;
use crate::store::seal::person_keys::{hold_keys, key_lives};
use crate::store::tenancy::people::{PersonKey, SealedIdentity, write_identities, write_records};
use crate::store::waiting::channels::{ChannelTurn, ChannelTurns, NEVER, channel_turns};
use crate::store::waiting::held::expect_sweeps;

/// The values that the database chose for a new notification.
struct Times {
    created_at: Timestamp,
    expires_at: Timestamp,
    /// One for all deliveries of the call; within a lane `sequence` orders them.
    position: i64,
}

impl Times {
    /// When it joins its lanes, if that is later than now.
    fn deferred(&self, accept: &Accept) -> Option<Timestamp> {
        accept.about.deliver_after.filter(|after| *after > self.created_at)
    }

    /// When each of `count` deliveries is due: at once, in the order of the call, so that the times
    /// estimated in the answer come true one after another.
    fn dues(&self, count: usize) -> impl Iterator<Item = Timestamp> {
        let created_at = self.created_at;
        (0..count).rev().map(move |after| created_at.minus(Duration::from_micros(after as u64)))
    }
}

/// New notifications, by their indexes in the batch.
type New = BTreeMap<usize, Times>;

/// One outcome for each call, in order.
pub(super) async fn accept_within(
    tx: &Tx,
    calls: &[SealedCall],
    patience: Patience,
) -> Result<Vec<StoredCall>, Error> {
    let mut new = insert_notifications(tx, calls, patience).await?;
    let mut before = before(tx, calls, &new).await?;
    let (mut records, mut identities) = (BTreeMap::new(), BTreeMap::new());
    let mut holding: BTreeSet<&TenantId> = BTreeSet::new();
    let mut channels = BTreeSet::new();
    for index in new.keys() {
        let (accept, sealed) = &calls[*index];
        // If two records are of the same person, the later call's counts.
        records.extend(people(accept, sealed));
        identities.extend(matches(accept, sealed));
        let held = |new: &NewDelivery| matches!(new.target, Target::Held { .. });
        if accept.deliveries.iter().any(held) {
            holding.insert(&accept.tenant);
        }
        channels.extend(accept.deliveries.iter().filter_map(awaited));
    }
    write_records(tx, &records).await?;
    let named = identities.iter().map(|((tenant, _), identity)| (*tenant, identity.sealed()));
    hold_keys(tx, &named.collect::<Vec<_>>()).await?;
    write_identities(tx, &identities).await?;
    for tenant in holding {
        expect_sweeps(tx, tenant).await?;
    }
    let turns = channel_turns(tx, &channels).await?;
    let joining = new.iter().flat_map(|(index, times)| joins(times, &calls[*index].0, &turns));
    let places = joining.map(|(place, _)| place).collect();
    // Before the overtaken deliveries: all work on a lane locks in this order.
    let positions = lane::positions(tx, &places, new.len()).await?;
    for (position, times) in positions.into_iter().zip(new.values_mut()) {
        times.position = position;
    }
    lane::fill(tx, &waiting(calls, &new, &turns)).await?;
    let (mut instead, mut overtaken) = (HashMap::new(), HashMap::new());
    for index in new.keys() {
        let mut effect = overtake(tx, &calls[*index].0).await?;
        instead.extend(std::mem::take(&mut effect.instead));
        overtaken.insert(*index, effect);
    }
    insert_deliveries(tx, calls, &new, &turns, &instead).await?;
    insert_sharers(tx, calls, &new).await?;
    let outcomes = (0..calls.len()).map(|index| match new.get(&index) {
        Some(times) => Ok(StoredCall::New {
            created_at: times.created_at,
            overtaken: overtaken.remove(&index).unwrap_or_default(),
        }),
        None => before.remove(&index).ok_or_else(|| {
            // Retention removed it between the two statements: run again from the start.
            Error::Contended("notifications_request".into())
        }),
    });
    outcomes.collect()
}

/// Inserts the notifications whose request id was not taken, not even by an earlier call of the
/// batch; they have no positions yet. This is the first statement of the transaction, so it sets
/// how long all its statements wait for locks.
async fn insert_notifications(
    tx: &Tx,
    calls: &[SealedCall],
    patience: Patience,
) -> Result<New, Error> {
    let mut ordered: Vec<&SealedCall> = calls.iter().collect();
    ordered.sort_by(|(one, _), (other, _)| key(one).cmp(&key(other)));
    let rows = ordered.iter().map(|(accept, sealed)| notification(accept, sealed));
    let columns = [
        Column::Text,
        Column::Text,
        Column::Text,
        Column::Text,
        Column::Bytes,
        Column::Text,
        Column::Bytes,
        Column::OptionalBytes,
        Column::Bytes,
        Column::Number,
        Column::Text,
    ];
    let places: HashMap<String, usize> =
        (0..).zip(calls).map(|(index, (accept, _))| (accept.id.to_string(), index)).collect();
    let mut new = New::new();
    let backend = tx.get_database_backend();
    let clock = patience.clock(backend);
    // The same call, made before one of its people was deleted.
    let erased =
        [("e.tenant", "column2"), ("e.principal", "column3"), ("e.request_id", "column11")]
            .map(|(column, value)| sql::by_key(backend, column, value))
            .join(" AND ");
    for (table, values) in given(backend, columns, rows.collect()) {
        let text = format!(
            "INSERT INTO notifications (id, tenant, principal, request_id, fingerprint,
                    event_type, data, link, answer, created_at, expires_at)
                SELECT {}, clock.now, clock.now + column10
                FROM {clock}, {table}
                WHERE NOT EXISTS (SELECT 1 FROM notifications e WHERE {erased})
                ON CONFLICT (tenant, principal, request_id) DO NOTHING
                RETURNING id, created_at, expires_at",
            numbered(9)
        );
        for row in sql::all(tx, &text, values).await? {
            let mut columns = Columns::of(&row);
            let place = places.get(&columns.take::<String>()?);
            let index = place.ok_or_else(|| Error::Bug("a row that belongs to no call".into()))?;
            let (created_at, expires_at) = (columns.time()?, columns.time()?);
            new.insert(*index, Times { created_at, expires_at, position: 0 });
        }
    }
    Ok(new)
}

/// The channel whose turn decides where the delivery begins.
fn awaited(new: &NewDelivery) -> Option<ManagedChannelId> {
    let asks = matches!(new.target, Target::Channel { .. });
    new.channel.as_ref().filter(|_| asks).map(|channel| channel.id)
}

/// The turn of the delivery's channel; `None`: it is for none, or the channel was released.
fn turn_of<'a>(new: &NewDelivery, turns: &'a ChannelTurns) -> Option<&'a ChannelTurn> {
    awaited(new).and_then(|id| turns.get(&id))
}

/// The lanes that a call joins at once, each with its delivery and when that is due.
fn joins<'a>(
    times: &Times,
    accept: &'a Accept,
    turns: &'a ChannelTurns,
) -> impl Iterator<Item = ((InstallationId, &'a str), (&'a NewDelivery, Timestamp))> {
    let now = times.deferred(accept).is_none();
    let dues = times.dues(accept.deliveries.len());
    let joining = accept.deliveries.iter().zip(dues).filter(move |_| now);
    joining.filter_map(move |(new, due)| match (&new.target, turn_of(new, turns)) {
        (Target::Lane { installation, lane }, _)
        | (_, Some(ChannelTurn::Joins { installation, lane })) => {
            Some(((*installation, lane.as_str()), (new, due)))
        }
        _ => None,
    })
}

/// The deliveries that join each lane.
fn waiting<'a>(
    calls: &'a [SealedCall],
    new: &New,
    turns: &'a ChannelTurns,
) -> BTreeMap<(InstallationId, &'a str), Joining<'a>> {
    let mut waiting = BTreeMap::new();
    for (index, times) in new {
        let accept = &calls[*index].0;
        for (place, (new, due)) in joins(times, accept, turns) {
            let joining = Joining::new(
                &accept.tenant,
                times.position,
                new.priority,
                accept.about.action.budget(),
                due,
            );
            waiting
                .entry(place)
                .and_modify(|first: &mut Joining<'_>| first.and(&joining))
                .or_insert(joining);
        }
    }
    waiting
}

/// The unique key of a call.
fn key(accept: &Accept) -> (&str, &str, &str) {
    (accept.tenant.as_str(), accept.principal.as_str(), accept.request_id.as_str())
}

fn notification(accept: &Accept, sealed: &Sealed) -> [Value; 11] {
    [
        accept.id.to_string().into(),
        accept.tenant.as_str().into(),
        accept.principal.as_str().into(),
        accept.request_id.as_str().into(),
        accept.fingerprint.to_vec().into(),
        accept.event_type.as_str().into(),
        sealed.data.clone().into(),
        sealed.link.clone().into(),
        sealed.answer.clone().into(),
        micros(accept.expires_in).into(),
        sealed.erased_request.as_str().into(),
    ]
}

/// The calls accepted earlier under the request ids of those that are not new.
async fn before(
    tx: &Tx,
    calls: &[SealedCall],
    new: &New,
) -> Result<BTreeMap<usize, StoredCall>, Error> {
    let others = (0..).zip(calls).filter(|(index, _)| !new.contains_key(index));
    let rows = others.map(|(index, (accept, sealed))| {
        let (tenant, principal, request) = key(accept);
        let index = i64::try_from(index).unwrap_or(i64::MAX);
        let erased = sealed.erased_request.as_str();
        [index.into(), tenant.into(), principal.into(), request.into(), erased.into()]
    });
    let columns = [Column::Number, Column::Text, Column::Text, Column::Text, Column::Text];
    let mut found = BTreeMap::new();
    for (table, values) in given(tx.get_database_backend(), columns, rows.collect()) {
        let text = format!(
            "SELECT column1, fingerprint, id, answer
                FROM {table}
                JOIN notifications ON tenant = column2 AND principal = column3
                    AND request_id IN (column4, column5)"
        );
        for row in sql::all(tx, &text, values).await? {
            let mut columns = Columns::of(&row);
            let index = columns.count()? as usize;
            let same = calls.get(index).map(|(accept, _)| accept.fingerprint.to_vec());
            let stored = if same == Some(columns.take::<Vec<u8>>()?) {
                StoredCall::Before { id: columns.take()?, answer: columns.take()? }
            } else {
                StoredCall::Other
            };
            found.insert(index, stored);
        }
    }
    Ok(found)
}

fn people<'a>(
    accept: &'a Accept,
    sealed: &'a Sealed,
) -> impl Iterator<Item = (PersonKey<'a>, &'a [u8])> {
    let records = accept.people.iter().zip(&sealed.records);
    records.map(|(person, record)| ((&accept.tenant, &person.user_id), record.as_slice()))
}

fn matches<'a>(
    accept: &'a Accept,
    sealed: &'a Sealed,
) -> impl Iterator<Item = (PersonKey<'a>, &'a SealedIdentity)> {
    let identities = accept.identities.iter().zip(&sealed.identities);
    identities.map(|((user, _), identity)| ((&accept.tenant, user), identity))
}

/// The actions of deliveries in place of the ones they overtook.
type Instead = HashMap<DeliveryId, Action>;

/// [`Error::KeyErased`]: the key of a person of these deliveries was erased.
async fn insert_deliveries(
    tx: &Tx,
    calls: &[SealedCall],
    new: &New,
    turns: &ChannelTurns,
    instead: &Instead,
) -> Result<(), Error> {
    let rows = new.iter().flat_map(|(index, times)| {
        let (accept, sealed) = &calls[*index];
        let deliveries = accept.deliveries.iter().zip(times.dues(accept.deliveries.len()));
        let sealed = sealed.contents.iter().zip(&sealed.traces);
        deliveries.zip(sealed).map(move |((delivery, due), (content, trace))| {
            let action = instead.get(&delivery.id).copied().unwrap_or(accept.about.action);
            let beginning = beginning(accept, times, due, delivery, turns);
            row(accept, times, delivery, beginning, action, content.as_ref(), trace.as_ref())
        })
    });
    let rows: Vec<_> = rows.collect();
    let (backend, all) = (tx.get_database_backend(), rows.len() as u64);
    let Some(rows) = NewRows::of(backend, rows) else { return Ok(()) };
    let (names, values, created_at) = (rows.names(), rows.values(), rows.value("created_at"));
    let sealed = format!("COALESCE({}, {})", rows.value("content"), rows.value("trace"));
    let alive = key_lives(backend, &rows.value("tenant"), &sealed);
    let mut stored = 0;
    for (table, parameters) in rows.tables {
        let text = format!(
            "INSERT INTO deliveries ({names}, updated_at, attempt, probes, crashes)
                SELECT {values}, {created_at}, 0, 0, 0
                FROM {table}
                WHERE {sealed} IS NULL OR {alive}"
        );
        stored += sql::execute(tx, &text, parameters).await?;
    }
    if stored == all { Ok(()) } else { Err(Error::KeyErased) }
}

/// Stores the recipients that share a delivery, which is rare.
async fn insert_sharers(tx: &Tx, calls: &[SealedCall], new: &New) -> Result<(), Error> {
    let mut rows = Vec::new();
    for index in new.keys() {
        let (accept, _) = &calls[*index];
        for delivery in &accept.deliveries {
            rows.extend(delivery.also.iter().map(|user| -> [Value; 4] {
                let (delivery, notification) = (delivery.id.to_string(), accept.id.to_string());
                [
                    accept.tenant.as_str().into(),
                    user.as_str().into(),
                    delivery.into(),
                    notification.into(),
                ]
            }));
        }
    }
    for (table, values) in given(tx.get_database_backend(), [Column::Text; 4], rows) {
        let text = format!(
            "INSERT INTO delivery_sharers (tenant, user_id, delivery, notification)
                SELECT {}
                FROM {table}",
            numbered(4)
        );
        sql::execute(tx, &text, values).await?;
    }
    Ok(())
}

/// How a new delivery begins.
struct Beginning {
    state: State,
    installation: Option<String>,
    lane: Option<String>,
    /// The lane that it joins when it is due.
    deferred_lane: Option<String>,
    reason: Option<&'static str>,
    due_at: Timestamp,
    hold: i64,
}

/// A delivery for a channel is only in a lane if it joins it at once: the channel may have moved by
/// the time of a scheduled one.
fn beginning(
    accept: &Accept,
    times: &Times,
    due: Timestamp,
    delivery: &NewDelivery,
    turns: &ChannelTurns,
) -> Beginning {
    let deferred = times.deferred(accept);
    let (state, place, reason) = match (&delivery.target, turn_of(delivery, turns)) {
        (Target::Lane { installation, lane }, _) => {
            (State::Pending, Some((installation.to_string(), lane.clone())), None)
        }
        (Target::Channel { .. }, Some(ChannelTurn::Joins { installation, lane }))
            if deferred.is_none() =>
        {
            (State::Pending, Some((installation.to_string(), lane.clone())), None)
        }
        (Target::Channel { .. }, Some(_)) => (State::Pending, None, None),
        // Released since the call was planned.
        (Target::Channel { .. }, None) => {
            (State::Canceled, None, Some(Cancellation::ChannelReleased.code()))
        }
        (Target::Resolving | Target::ResolvingOrHeld, _) => (State::Resolving, None, None),
        (Target::Held { reason, .. }, _) => (State::Held, None, Some(reason.code())),
        (Target::Ended(end), _) => (end.state(), None, end.reason()),
    };
    let deferred = deferred.filter(|_| !state.is_terminal());
    let in_line = matches!(delivery.target, Target::Channel { .. })
        && state == State::Pending
        && place.is_none();
    let (installation, lane) = place.unzip();
    let (lane, deferred_lane) = if deferred.is_some() { (None, lane) } else { (lane, None) };
    let (due_at, hold) = match &delivery.target {
        Target::Held { look_after, .. } => (times.created_at.plus(*look_after), 1),
        Target::ResolvingOrHeld => (deferred.unwrap_or(due), 1),
        Target::Channel { .. } if in_line => (deferred.unwrap_or(NEVER), 0),
        _ => (deferred.unwrap_or(due), 0),
    };
    Beginning { state, installation, lane, deferred_lane, reason, due_at, hold }
}

/// The columns that differ between new deliveries.
fn row(
    accept: &Accept,
    times: &Times,
    delivery: &NewDelivery,
    beginning: Beginning,
    action: Action,
    content: Option<&Vec<u8>>,
    trace: Option<&Vec<u8>>,
) -> [NewCell; 24] {
    use Column::{Number, OptionalBytes, OptionalText, Text};
    let Beginning { state, installation, lane, deferred_lane, reason, due_at, hold } = beginning;
    let subject = accept.about.subject.as_ref();
    let channel = delivery.channel.as_ref();
    [
        NewCell("id", Text, delivery.id.to_string().into()),
        NewCell("tenant", Text, accept.tenant.as_str().into()),
        NewCell("notification", Text, accept.id.to_string().into()),
        NewCell("user_id", OptionalText, delivery.user.as_ref().map(UserId::as_str).into()),
        NewCell("installation", OptionalText, installation.into()),
        NewCell("lane", OptionalText, lane.into()),
        NewCell("position", Number, times.position.into()),
        NewCell("state", Text, state.code().into()),
        NewCell("due_at", Number, due_at.0.into()),
        NewCell("expires_at", Number, times.expires_at.0.into()),
        NewCell("reason", OptionalText, reason.into()),
        NewCell("content", OptionalBytes, content.cloned().into()),
        NewCell("priority", Number, delivery.priority.code().into()),
        NewCell("kind", Text, delivery.kind.code().into()),
        NewCell("event_type", Text, accept.event_type.as_str().into()),
        NewCell("trace_context", OptionalText, accept.trace_context.as_deref().into()),
        NewCell("created_at", Number, times.created_at.0.into()),
        NewCell("hold", Number, hold.into()),
        NewCell("subject_key", OptionalText, subject.map(SubjectKey::as_str).into()),
        NewCell("action", OptionalText, subject.map(|_| action.code()).into()),
        NewCell("deferred_lane", OptionalText, deferred_lane.into()),
        NewCell("trace", OptionalBytes, trace.cloned().into()),
        NewCell(
            "awaits_channel",
            OptionalText,
            channel.map(|channel| channel.id.to_string()).into(),
        ),
        NewCell("channel_key", OptionalText, channel.map(|channel| channel.key.as_str()).into()),
    ]
}
