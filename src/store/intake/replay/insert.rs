//! The rows of replays: one new delivery for each dead letter that is replayed.

use std::collections::BTreeMap;

use sea_orm::ConnectionTrait as _;

use super::{DeadLetter, Replay, content_of};
use crate::domain::delivery::State;
use crate::domain::delivery::trace::{Stage, Trace, TraceDecision};
use crate::domain::ids::{DeliveryId, InstallationId, UserId};
use crate::domain::time::Timestamp;
use crate::store::Error;
use crate::store::database::rows::{Column, NewCell, NewRows, given};
use crate::store::database::sql;
use crate::store::database::transaction::Tx;
use crate::store::lanes::lane::{self, Joining};
use crate::store::records::sealed::{seal_content, seal_trace};
use crate::store::seal::person_keys::SealingKeys;
use crate::store::waiting::channels::NEVER;

/// Inserts the replays of dead letters, and records which delivery replays which.
pub(super) async fn replays(
    tx: &Tx,
    keys: &SealingKeys,
    replay: &Replay,
    chosen: &[(DeadLetter, DeliveryId)],
    now: Timestamp,
) -> Result<(), Error> {
    if chosen.is_empty() {
        return Ok(());
    }
    let position = join_lanes(tx, replay, chosen, now).await?;
    let mut rows = Vec::with_capacity(chosen.len());
    for (dead, by) in chosen {
        rows.push(dead.replay_row(keys, replay, *by, position, now)?);
    }
    let Some(rows) = NewRows::of(tx.get_database_backend(), rows) else { return Ok(()) };
    let (names, values, created_at) = (rows.names(), rows.values(), rows.value("created_at"));
    for (table, parameters) in rows.tables {
        let text = format!(
            "INSERT INTO deliveries ({names}, updated_at, attempt, probes, crashes)
                SELECT {values}, {created_at}, 0, 0, 0
                FROM {table}"
        );
        sql::execute(tx, &text, parameters).await?;
    }
    name_replays(tx, chosen).await?;
    sharers(tx, chosen).await
}

/// Adds the work of the replays to their lanes; returns the position of all replays.
async fn join_lanes(
    tx: &Tx,
    replay: &Replay,
    chosen: &[(DeadLetter, DeliveryId)],
    now: Timestamp,
) -> Result<i64, Error> {
    let places = chosen.iter().filter_map(|(dead, _)| dead.place()).collect();
    let position = lane::position(tx, &places).await?;
    let mut lanes: BTreeMap<(InstallationId, &str), Joining<'_>> = BTreeMap::new();
    for (dead, _) in chosen {
        let Some(place) = dead.place() else { continue };
        let joining =
            Joining::new(&replay.tenant, position, dead.priority, dead.action.budget(), now);
        lanes.entry(place).and_modify(|first| first.and(&joining)).or_insert(joining);
    }
    lane::fill(tx, &lanes).await?;
    Ok(position)
}

/// Writes to each dead letter which delivery replays it.
async fn name_replays(tx: &Tx, chosen: &[(DeadLetter, DeliveryId)]) -> Result<(), Error> {
    for of in ["deliveries", "deliveries_history"] {
        let rows = chosen.iter().filter(|(dead, _)| dead.table == of);
        let rows = rows.map(|(dead, by)| [dead.id.to_string().into(), by.to_string().into()]);
        for (table, values) in given(tx.get_database_backend(), [Column::Text; 2], rows.collect()) {
            let text =
                format!("UPDATE {of} SET replayed_as = column2 FROM {table} WHERE id = column1");
            sql::execute(tx, &text, values).await?;
        }
    }
    Ok(())
}

/// The recipients that shared the dead letter also share its replay.
async fn sharers(tx: &Tx, chosen: &[(DeadLetter, DeliveryId)]) -> Result<(), Error> {
    /// The dead letter; not a column of the new rows.
    const DEAD: &str = "dead";
    let rows = chosen.iter().map(|(dead, by)| {
        [
            NewCell(DEAD, Column::Text, dead.id.to_string().into()),
            NewCell("delivery", Column::Text, by.to_string().into()),
        ]
    });
    let Some(rows) = NewRows::of(tx.get_database_backend(), rows.collect()) else {
        return Ok(());
    };
    let ((names, values), dead) = (rows.without(&[DEAD]), rows.value(DEAD));
    for (table, parameters) in rows.tables {
        let text = format!(
            "INSERT INTO delivery_sharers ({names}, tenant, user_id, notification)
                SELECT {values}, s.tenant, s.user_id, s.notification
                FROM {table}
                JOIN delivery_sharers s ON s.delivery = {dead}"
        );
        sql::execute(tx, &text, parameters).await?;
    }
    Ok(())
}

impl DeadLetter {
    /// The row that replays it: the columns that differ between replays.
    fn replay_row(
        &self,
        keys: &SealingKeys,
        replay: &Replay,
        by: DeliveryId,
        position: i64,
        now: Timestamp,
    ) -> Result<[NewCell; 23], Error> {
        use Column::{Number, OptionalBytes, OptionalText, Text};
        let (installation, lane) = match self.place() {
            Some(_) => (self.installation.clone(), self.lane.clone()),
            None => (None, None),
        };
        let (state, due_at) = match (&lane, self.line()) {
            (None, Some(_)) => (State::Pending, NEVER),
            (Some(_), _) => (State::Pending, now),
            (None, None) => (State::Resolving, now),
        };
        let [notification, priority, kind, event_type, trace_context, subject, action, hold] =
            self.same.clone();
        Ok([
            NewCell("id", Text, by.to_string().into()),
            NewCell("tenant", Text, replay.tenant.as_str().into()),
            NewCell("user_id", OptionalText, self.user.as_ref().map(UserId::as_str).into()),
            NewCell("installation", OptionalText, installation.into()),
            NewCell("lane", OptionalText, lane.into()),
            NewCell("position", Number, position.into()),
            NewCell("state", Text, state.code().into()),
            NewCell("due_at", Number, due_at.0.into()),
            NewCell("expires_at", Number, now.plus(replay.expires_in).0.into()),
            NewCell("content", OptionalBytes, self.resealed(keys, by)?.into()),
            NewCell("trace", OptionalBytes, self.trace(keys, by, now)?.into()),
            NewCell("replay_of", Text, self.id.to_string().into()),
            NewCell("notification", Text, notification),
            NewCell("priority", Number, priority),
            NewCell("kind", Text, kind),
            NewCell("event_type", Text, event_type),
            NewCell("trace_context", OptionalText, trace_context),
            NewCell("subject_key", OptionalText, subject),
            NewCell("action", OptionalText, action),
            NewCell("hold", Number, hold),
            NewCell("awaits_channel", OptionalText, self.channel.map(|id| id.to_string()).into()),
            NewCell("channel_key", OptionalText, self.channel_key.clone().into()),
            NewCell("created_at", Number, now.0.into()),
        ])
    }

    /// The content, encrypted for the new row.
    fn resealed(&self, keys: &SealingKeys, by: DeliveryId) -> Result<Option<Vec<u8>>, Error> {
        let Some(sealed) = &self.content else { return Ok(None) };
        let (row, user) = (self.id.to_string(), self.user.as_ref());
        let plain = keys.open(user, &content_of(&row), sealed)?;
        seal_content(keys.of(user)?, by, &plain).map(Some)
    }

    /// The trace, encrypted; `None`: the person's key is damaged.
    fn trace(
        &self,
        keys: &SealingKeys,
        by: DeliveryId,
        now: Timestamp,
    ) -> Result<Option<Vec<u8>>, Error> {
        match keys.of(self.user.as_ref()) {
            Ok(key) => seal_trace(key, by, &replayed(now)).map(Some),
            Err(Error::Sealed(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The trace that a replay begins with.
fn replayed(now: Timestamp) -> Vec<u8> {
    let mut trace = Trace::default();
    trace.decided(TraceDecision {
        stage: Stage::Replayed,
        at: now,
        switches: None,
        choice: None,
        identity: None,
        template: None,
        verdict: "send".into(),
    });
    trace.to_bytes()
}
