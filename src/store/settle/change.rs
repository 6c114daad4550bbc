//! The changes that a settle makes to the delivery's row: the states from which it is allowed, and
//! the new values.

use std::time::Duration;

use super::{Log, Settle, WaitScope};
use crate::domain::delivery::State;
use crate::domain::ids::ChannelId;
use crate::domain::reason::Cancellation;
use crate::domain::subject::SlackRequestKind;
use crate::domain::time::Timestamp;
use crate::store::Error;
use crate::store::claim::LaneClaim;
use crate::store::rows::Columns;
use crate::store::sql::{self, params};
use crate::store::transaction::Tx;

/// The delivery as it was found; its row is locked.
pub(super) struct Before {
    pub(super) state: State,
    attempt: i64,
    probes: i64,
    due_at: Timestamp,
    sending_since: Option<Timestamp>,
    /// It was canceled while a request was under way.
    canceled: bool,
    /// The reason for its cancellation.
    reason: Option<String>,
    pub(super) now: Timestamp,
}

/// The changes to the delivery's row.
pub(super) struct RowChange {
    pub(super) state: State,
    attempt: i64,
    probes: i64,
    due_at: Timestamp,
    reason: Option<&'static str>,
    code: Option<String>,
    sent: Option<(ChannelId, String)>,
    /// The kind of its next request; `None`: unchanged.
    request_kind: Option<SlackRequestKind>,
    /// The lane's pause.
    pub(super) holds: Option<Duration>,
    /// For the log of attempts.
    outcome: &'static str,
}

/// The delivery, and the changes to it; `None`: it is not at the head of this lane, or the settle
/// is not allowed from its state.
pub(super) async fn planned(
    tx: &Tx,
    claim: &LaneClaim,
    id: &str,
    settle: &Settle,
) -> Result<Option<(Before, RowChange)>, Error> {
    let Some(before) = Before::read(tx, claim, id).await? else { return Ok(None) };
    let Some(mut change) = RowChange::plan(settle, &before) else { return Ok(None) };
    if before.canceled && change.state == State::Pending {
        change.state = State::Canceled;
        change.reason = before.kept_reason();
    }
    Ok(Some((before, change)))
}

impl Before {
    async fn read(tx: &Tx, claim: &LaneClaim, id: &str) -> Result<Option<Self>, Error> {
        const SQL: &str = "SELECT state, attempt, probes, due_at, sending_since, \
            cancel_requested_at IS NOT NULL, reason, {now} FROM deliveries \
            WHERE installation = $1 AND lane = $2 AND id = $3 {for_update}";
        let values = params![claim.installation.to_string(), claim.lane.as_str(), id];
        let Some(row) = sql::one(tx, SQL, values).await? else { return Ok(None) };
        let mut columns = Columns::of(&row);
        Ok(Some(Self {
            state: columns.code(State::from_code)?,
            attempt: columns.take()?,
            probes: columns.take()?,
            due_at: columns.time()?,
            sending_since: columns.optional_time()?,
            canceled: columns.take()?,
            reason: columns.take()?,
            now: columns.time()?,
        }))
    }

    fn kept_reason(&self) -> Option<&'static str> {
        let reason = self.reason.as_deref().filter(|_| self.canceled)?;
        Cancellation::from_code(reason).map(Cancellation::code)
    }

    /// A read of history has no start in the log, only an end.
    fn started_at(&self) -> Option<Timestamp> {
        self.sending_since.filter(|_| self.state == State::Sending)
    }

    /// The number of attempts if the one under way does not count.
    fn attempt_given_back(&self) -> i64 {
        self.attempt - i64::from(self.state == State::Sending)
    }

    fn later(&self, after: &Duration) -> Timestamp {
        self.now.plus(*after)
    }

    /// A change of only the state. `outcome`: for the log of attempts.
    fn becomes(&self, state: State, outcome: &'static str) -> RowChange {
        RowChange {
            state,
            attempt: self.attempt,
            probes: self.probes,
            due_at: self.due_at,
            reason: None,
            code: None,
            sent: None,
            request_kind: None,
            holds: None,
            outcome,
        }
    }
}

impl RowChange {
    /// `None`: not allowed from this state.
    fn plan(settle: &Settle, before: &Before) -> Option<Self> {
        match settle {
            Settle::Failed { .. } | Settle::Parked { .. } | Settle::Paused { .. } => {
                Self::stop(settle, before)
            }
            Settle::Delivered { .. }
            | Settle::Unthreaded { .. }
            | Settle::Retry { .. }
            | Settle::Wait { .. }
            | Settle::Probe { .. }
            | Settle::NotWritten
            | Settle::Acted(_)
            | Settle::Unmodifiable { .. } => Self::after_request(settle, before),
            Settle::Ended(_)
            | Settle::Deferred { .. }
            | Settle::Replanned { .. }
            | Settle::Doubted { .. }
            | Settle::Resolve
            | Settle::Finished
            | Settle::Moved { .. } => Self::without_request(settle, before),
        }
    }

    /// It fails, or waits for an operator: possible before and after a request.
    fn stop(settle: &Settle, before: &Before) -> Option<Self> {
        use State::{Failed, Parked, Pending, Sending, Unknown};
        if !matches!(before.state, Pending | Sending | Unknown) {
            return None;
        }
        Some(match settle {
            Settle::Failed { reason, code } => Self {
                reason: Some(reason.code()),
                code: code.clone(),
                ..before.becomes(Failed, "failed")
            },
            Settle::Parked { reason, code } => Self {
                reason: Some(reason.code()),
                code: code.clone(),
                ..before.becomes(Parked, "parked")
            },
            Settle::Paused { code } => {
                let state = if before.state == Unknown { Unknown } else { Pending };
                Self {
                    attempt: before.attempt_given_back(),
                    code: Some(code.clone()),
                    ..before.becomes(state, "unauthorized")
                }
            }
            _ => return None,
        })
    }

    /// A request was intended; it was perhaps made, and Slack perhaps answered.
    fn after_request(settle: &Settle, before: &Before) -> Option<Self> {
        use State::{Pending, Sending, Sent, Unknown};
        Some(match (settle, before.state) {
            (Settle::Delivered { channel, ts }, Sending | Unknown) => {
                Self { sent: Some((channel.clone(), ts.clone())), ..before.becomes(Sent, "sent") }
            }
            (Settle::Unthreaded { channel, ts, .. }, Sending | Unknown) => Self {
                sent: Some((channel.clone(), ts.clone())),
                request_kind: Some(SlackRequestKind::Post),
                ..before.becomes(Sent, "unthreaded")
            },
            (Settle::Retry { after, code }, Sending | Unknown) => Self {
                due_at: before.later(after),
                code: Some(code.clone()),
                ..before.becomes(Pending, "not_sent")
            },
            (Settle::Wait { after, scope }, Sending) => Self {
                attempt: before.attempt_given_back(),
                due_at: before.later(after),
                holds: (*scope == WaitScope::Lane).then_some(*after),
                code: Some("ratelimited".into()),
                ..before.becomes(Pending, "throttled")
            },
            (Settle::Probe { after, code }, Sending | Unknown) => Self {
                probes: if before.state == Unknown { before.probes + 1 } else { 0 },
                due_at: before.later(after),
                code: Some(code.clone()),
                ..before.becomes(Unknown, "unknown")
            },
            (Settle::NotWritten, Sending) => Self {
                attempt: before.attempt_given_back(),
                ..before.becomes(Pending, "not_written")
            },
            (Settle::Acted(acted), Sending) => Self {
                sent: Some((acted.channel.clone(), acted.ts.clone())),
                attempt: before.attempt - i64::from(acted.more),
                due_at: before.now,
                ..before.becomes(if acted.more { Pending } else { Sent }, "sent")
            },
            (Settle::Unmodifiable { code, .. }, Sending) => Self {
                attempt: before.attempt_given_back(),
                due_at: before.now,
                code: Some(code.clone()),
                ..before.becomes(Pending, "unfit")
            },
            _ => return None,
        })
    }

    /// No request is made in this turn.
    fn without_request(settle: &Settle, before: &Before) -> Option<Self> {
        use State::{Pending, Resolving, Sent, Unknown};
        if before.state != Pending {
            return None;
        }
        Some(match settle {
            Settle::Ended(end) => Self { reason: end.reason(), ..before.becomes(end.state(), "") },
            Settle::Deferred { after } => {
                Self { due_at: before.later(after), ..before.becomes(Pending, "") }
            }
            Settle::Replanned { request_kind } => {
                Self { request_kind: Some(*request_kind), ..before.becomes(Pending, "") }
            }
            Settle::Doubted { request_kind, .. } => Self {
                probes: 0,
                due_at: before.now,
                request_kind: Some(*request_kind),
                code: Some("recovered".into()),
                ..before.becomes(Unknown, "")
            },
            Settle::Finished => before.becomes(Sent, ""),
            Settle::Resolve => before.becomes(Resolving, ""),
            Settle::Moved { .. } => before.becomes(Pending, ""),
            _ => return None,
        })
    }

    pub(super) async fn write(
        &self,
        tx: &Tx,
        id: &str,
        before: &Before,
        trace: Option<&Vec<u8>>,
    ) -> Result<(), Error> {
        const SQL: &str = "UPDATE deliveries SET state = $2, attempt = $3, probes = $4, \
            due_at = $5, reason = $6, code = COALESCE($7, code), \
            slack_channel = COALESCE($8, slack_channel), slack_ts = COALESCE($9, slack_ts), \
            sending_since = $10, updated_at = $11, deed = COALESCE($12, deed), \
            trace = COALESCE($13, trace) WHERE id = $1";
        let (channel, ts) = self.sent.clone().unzip();
        // The probe needs to know when the request in doubt began.
        let sending_since = before.sending_since.filter(|_| self.state != State::Pending);
        let values = params![
            id,
            self.state.code(),
            self.attempt,
            self.probes,
            self.due_at.0,
            // The reason for the cancellation is kept until the delivery ends.
            self.reason.or(before.kept_reason().filter(|_| !self.state.is_terminal())),
            self.code.as_deref(),
            channel.as_ref().map(ChannelId::as_str),
            ts,
            sending_since.map(|at| at.0),
            before.now.0,
            self.request_kind.map(SlackRequestKind::code),
            trace.cloned(),
        ];
        sql::execute(tx, SQL, values).await.map(drop)
    }

    /// The entry for the log; `None` if there was no request.
    pub(super) fn entry(
        &self,
        before: &Before,
        request: Option<(&'static str, Duration)>,
    ) -> Option<Log> {
        Some(Log {
            number: before.attempt,
            started_at: before.started_at(),
            now: before.now,
            outcome: self.outcome(before)?,
            code: self.code.clone(),
            method: request.map(|(method, _)| method),
            took: request.map(|(_, took)| took),
        })
    }

    fn outcome(&self, before: &Before) -> Option<String> {
        match before.state {
            State::Sending => Some(self.outcome.into()),
            State::Unknown => Some(format!("probe_{}", self.outcome)),
            _ => None,
        }
    }
}
