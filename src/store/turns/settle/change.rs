//! The row of the delivery that a settle changes: how it is read, written and logged.
//! `domain::delivery` decides the changes.

use std::time::Duration;

use super::Log;
use crate::domain::delivery::subject::SlackRequestKind;
use crate::domain::delivery::{Settle, SettleChange, State, Unsettled};
use crate::domain::ids::ChannelId;
use crate::domain::reason::Cancellation;
use crate::store::Error;
use crate::store::database::rows::Columns;
use crate::store::database::sql::{self, params};
use crate::store::database::transaction::Tx;
use crate::store::lanes::claim::LaneClaim;
use crate::store::lanes::lane::due;

/// The delivery, locked, and the changes to it; `None`: it is not at the head of this lane, or the
/// settle is not allowed from its state.
pub(super) async fn planned(
    tx: &Tx,
    claim: &LaneClaim,
    id: &str,
    settle: &Settle,
) -> Result<Option<(Unsettled, SettleChange)>, Error> {
    let Some(before) = read(tx, claim, id).await? else { return Ok(None) };
    let change = before.settle(settle);
    Ok(change.map(|change| (before, change)))
}

async fn read(tx: &Tx, claim: &LaneClaim, id: &str) -> Result<Option<Unsettled>, Error> {
    let text = format!(
        "SELECT state, attempt, probes, {}, sending_since, cancel_requested_at IS NOT NULL,
                reason, {{now}}
            FROM deliveries
            WHERE installation = $1 AND lane = $2 AND id = $3 {{for_update}}",
        due("deliveries", "{now}")
    );
    let values = params![claim.installation.to_string(), claim.lane.as_str(), id];
    let Some(row) = sql::one(tx, &text, values).await? else { return Ok(None) };
    let mut columns = Columns::of(&row);
    let state = columns.code(State::from_code)?;
    let (attempt, probes) = (columns.take()?, columns.take()?);
    let (due_at, sending_since) = (columns.time()?, columns.optional_time()?);
    let canceled: bool = columns.take()?;
    let reason = columns.take::<Option<String>>()?.filter(|_| canceled);
    Ok(Some(Unsettled {
        state,
        attempt,
        probes,
        due_at,
        sending_since,
        canceled,
        cancellation: reason.and_then(|code| Cancellation::from_code(&code)),
        now: columns.time()?,
    }))
}

/// `trace` is encrypted.
pub(super) async fn write(
    tx: &Tx,
    id: &str,
    before: &Unsettled,
    change: &SettleChange,
    trace: Option<&Vec<u8>>,
) -> Result<(), Error> {
    const SQL: &str = "UPDATE deliveries
        SET state = $2, attempt = $3, probes = $4, due_at = $5, reason = $6,
            code = COALESCE($7, code), slack_channel = COALESCE($8, slack_channel),
            slack_ts = COALESCE($9, slack_ts), sending_since = $10, updated_at = $11,
            deed = COALESCE($12, deed), trace = COALESCE($13, trace)
        WHERE id = $1";
    let (channel, ts) = change.sent.clone().unzip();
    let values = params![
        id,
        change.state.code(),
        change.attempt,
        change.probes,
        change.due_at.0,
        change.reason,
        change.code.as_deref(),
        channel.as_ref().map(ChannelId::as_str),
        ts,
        change.sending_since.map(|at| at.0),
        before.now.0,
        change.request_kind.map(SlackRequestKind::code),
        trace.cloned(),
    ];
    sql::execute(tx, SQL, values).await.map(drop)
}

/// The entry for the log of attempts; `None` if there was no request.
pub(super) fn entry(
    before: &Unsettled,
    change: &SettleChange,
    request: Option<(&'static str, Duration)>,
) -> Option<Log> {
    // A read of history has no start in the log, only an end.
    let (outcome, started_at) = match before.state {
        State::Sending => (change.outcome.to_owned(), before.sending_since),
        State::Unknown => (format!("probe_{}", change.outcome), None),
        _ => return None,
    };
    Some(Log {
        number: before.attempt,
        started_at,
        now: before.now,
        outcome,
        code: change.code.clone(),
        method: request.map(|(method, _)| method),
        took: request.map(|(_, took)| took),
    })
}
