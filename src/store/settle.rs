//! Settling: the outcome of a lane's head, written in one transaction with all its consequences:
//! the delivery, its log, the lane's pace and its next turn, the end of the lease.
//!
//! A settle changes nothing unless its claim still holds the lane and the delivery is in a state
//! from which the step is allowed, so that a delivery becomes sent at most once (invariant I6).

mod attempts;
pub(in crate::store) mod batch;
mod doubt;

use std::time::Duration;

use tokio::time::Instant;

pub(in crate::store) use self::attempts::{Log, log};
use self::batch::Sent;
use super::accept::seal_trace;
use super::claim::{LaneClaim, Unlease, lock, unlease};
use super::lanes::Joining;
use super::seal::Scope;
use super::sql::{self, params};
use super::subjects::mark;
use super::transaction::{Tx, scoped};
use super::{Error, Store};
use crate::domain::delivery::State;
use crate::domain::end::End;
use crate::domain::ids::{ChannelId, DeliveryId, InstallationId, TenantId};
use crate::domain::priority::Priority;
use crate::domain::reason::{Cancellation, Failure};
use crate::domain::subject::{Deed, Shown};
use crate::domain::time::{Timestamp, micros};

/// The outcome of a lane's head. In parentheses: the states from which it is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settle {
    /// Slack stored it (sending, unknown).
    Delivered { channel: ChannelId, ts: String },
    /// Slack stored an answer outside its thread, because the thread's first message was deleted:
    /// it becomes a separate message, and the one that it answers is marked as gone (sending,
    /// unknown).
    Unthreaded { root: Option<DeliveryId>, channel: ChannelId, ts: String },
    /// It failed for good (pending, sending, unknown).
    Failed { reason: Failure, code: Option<String> },
    /// It is parked for an operator (pending, sending, unknown).
    Parked { reason: Failure, code: Option<String> },
    /// Certainly not stored: pending again; the attempt counts (sending, unknown).
    Retry { after: Duration, code: String },
    /// Throttled: pending again; the attempt does not count (sending).
    Wait { after: Duration, scope: WaitScope },
    /// The installation's token is dead: the lane sleeps until [`Store::wake_installation`]; the
    /// attempt does not count (pending, sending; unknown stays unknown).
    Paused { code: String },
    /// Slack may have stored it: unknown; history is read after this time (sending, unknown).
    Probe { after: Duration, code: String },
    /// The request was never written: pending again at once; the attempt does not count (sending).
    NotWritten,
    /// It ends before any request (pending).
    Ended(End),
    /// Its turn has not come yet: checked again after this time; nothing is spent (pending).
    Deferred { after: Duration },
    /// The messages in Slack require another kind of request than its claim has a start for: it
    /// waits, in its place, for a start from the right budget; nothing is spent (pending).
    Replanned { deed: Deed },
    /// The store was recovered from a copy, and this may have been posted in the time that was
    /// lost: unknown; history is read at once, for this request (pending).
    Doubted { deed: Deed, thread_ts: Option<String> },
    /// The tenant has moved to another workspace: the person's member there is resolved again
    /// (pending).
    Resolve,
    /// Slack changed or deleted an existing message (sending). If `more` are left, it is pending
    /// again at once, and the attempt does not count; otherwise it ends as sent.
    Acted(Acted),
    /// Nothing is left to act on (pending).
    Finished,
    /// Slack does not know the message, or does not allow changing it: this is recorded, and it is
    /// pending again at once; the attempt does not count (sending).
    Unfit { message: DeliveryId, shown: Shown, code: String },
    /// The person is a different member than assumed: to the tail of that member's lane (pending).
    Moved { installation: InstallationId, lane: String },
}

/// The scope of a 429.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitScope {
    /// The conversation: everything in this lane waits.
    Lane,
    /// A wider scope, which has its own budget: only this delivery waits.
    Nothing,
}

/// A message that was acted on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acted {
    /// The delivery that posted it.
    pub message: DeliveryId,
    pub channel: ChannelId,
    pub ts: String,
    /// Its new appearance in Slack.
    pub shown: Option<Shown>,
    /// It now has this delivery's content.
    pub replaced: bool,
    /// Others are left.
    pub more: bool,
}

/// Details that a settle also writes, for later questions.
#[derive(Debug, Clone, Copy, Default)]
pub struct Note<'a> {
    /// The method that was called, and how long the request took.
    pub request: Option<(&'static str, Duration)>,
    /// The tenant, and why it went as it did; `None` keeps the stored trace.
    pub trace: Option<(&'a TenantId, &'a [u8])>,
}

/// The pacing of a request in its lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How long ago the request began.
    pub started_ago: Duration,
    /// The least time between the starts of two requests in one conversation.
    pub interval: Duration,
}

impl Pace {
    /// When the next request may start; `None`: at once.
    fn until(&self, now: Instant) -> Option<Instant> {
        self.interval.checked_sub(self.started_ago).map(|rest| now + rest)
    }
}

impl Store {
    /// Settles the head of a lane and releases the lane. `pace` is given if a request was begun.
    /// `false`: nothing was settled, because the claim is stale or the delivery is in another
    /// state; in the second case the lane was still released. Either way the caller is done with
    /// the claim.
    pub async fn settle(
        &self,
        claim: &LaneClaim,
        delivery: DeliveryId,
        settle: &Settle,
        pace: Option<Pace>,
    ) -> Result<bool, Error> {
        self.settle_noting(claim, delivery, settle, pace, Note::default()).await
    }

    /// Like [`Store::settle`], and also writes a note.
    pub async fn settle_noting(
        &self,
        claim: &LaneClaim,
        delivery: DeliveryId,
        settle: &Settle,
        pace: Option<Pace>,
        note: Note<'_>,
    ) -> Result<bool, Error> {
        let trace = match note.trace {
            Some((tenant, trace)) => {
                let keys = self.keys(&Scope::Tenant(tenant.clone())).await?;
                Some(seal_trace(&keys, delivery, trace)?)
            }
            None => None,
        };
        let mut turn = None;
        if let Settle::Delivered { channel, ts } = settle {
            let sent = Sent {
                claim: claim.clone(),
                delivery,
                channel: channel.clone(),
                ts: ts.clone(),
                paced_until: pace.and_then(|pace| pace.until(Instant::now())),
                request: note.request,
                trace: trace.clone(),
            };
            if self.sent_together(sent).await? {
                self.delivery_ended(delivery);
                return Ok(true);
            }
            // Its lane's row may be locked for as long as a transaction may live.
            turn = Some(self.inner.apart.turn().await?);
        }
        let told = &Told { request: note.request, trace };
        let settled = self
            .transaction(|tx| scoped(self.settle_within(tx, claim, delivery, settle, pace, told)))
            .await?;
        drop(turn);
        if let Some(state) = settled {
            self.changed();
            if state.is_terminal() {
                self.delivery_ended(delivery);
            }
            if matches!(settle, Settle::Moved { .. }) {
                self.wake();
            }
        }
        Ok(settled.is_some())
    }

    async fn settle_within(
        &self,
        tx: &Tx,
        claim: &LaneClaim,
        delivery: DeliveryId,
        settle: &Settle,
        pace: Option<Pace>,
        told: &Told,
    ) -> Result<Option<State>, Error> {
        if !lock(tx, claim).await? {
            return Ok(None);
        }
        let paced = pace.map(|pace| micros(pace.interval) - micros(pace.started_ago));
        let mut unleased = Unlease { paced, ..Unlease::default() };
        let id = delivery.to_string();
        let before = Before::read(tx, claim, &id).await?;
        let change = before.as_ref().and_then(|before| Change::plan(settle, before));
        let (Some(before), Some(mut change)) = (before, change) else {
            unlease(tx, claim, &unleased).await?;
            return Ok(None);
        };
        if before.canceled && change.state == State::Pending {
            change.state = State::Canceled;
            change.reason = before.kept_reason();
        }
        change.write(tx, &id, &before, told.trace.as_ref()).await?;
        match settle {
            Settle::Acted(acted) => {
                mark(tx, acted.message, acted.shown, acted.replaced.then_some(delivery)).await?;
            }
            Settle::Unfit { message, shown, .. } => mark(tx, *message, Some(*shown), None).await?,
            Settle::Unthreaded { root: Some(root), .. } => {
                mark(tx, *root, Some(Shown::Gone), None).await?;
            }
            _ => {}
        }
        doubt::note(tx, &id, settle, (before.state, change.state)).await?;
        if matches!(settle, Settle::Resolve) {
            const LEAVE: &str = "UPDATE deliveries SET installation = NULL, lane = NULL, \
                due_at = $2 WHERE id = $1";
            sql::execute(tx, LEAVE, params![id.as_str(), before.now.0]).await?;
        }
        if let Settle::Moved { installation, lane } = settle {
            self.move_to(tx, &id, *installation, lane, before.now).await?;
        }
        if let Some(outcome) = change.outcome(&before) {
            let entry = Log {
                number: before.attempt,
                started_at: before.started_at(),
                now: before.now,
                outcome,
                code: change.code.clone(),
                method: told.request.map(|(method, _)| method),
                took: told.request.map(|(_, took)| took),
            };
            log(tx, &id, &entry).await?;
        }
        unleased.paced = unleased.paced.max(change.holds.map(micros));
        unleased.sleep = matches!(settle, Settle::Paused { .. });
        if let Settle::Delivered { channel, ts } | Settle::Unthreaded { channel, ts, .. } = settle {
            unleased.channel = Some(channel.clone());
            unleased.last_ts = Some(ts.clone());
        }
        unlease(tx, claim, &unleased).await?;
        Ok(Some(change.state))
    }

    /// Appends a delivery to a lane: a delivery that becomes eligible now stands behind all earlier
    /// ones (invariant I4).
    pub(in crate::store) async fn move_to(
        &self,
        tx: &Tx,
        delivery: &str,
        installation: InstallationId,
        lane: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        const SQL: &str = "UPDATE deliveries SET installation = $2, lane = $3, position = $4, \
            due_at = $5 WHERE id = $1 RETURNING tenant, priority, deed, action";
        let position = super::lanes::position(tx, &[(installation, lane)].into()).await?;
        let values = params![delivery, installation.to_string(), lane, position, now.0];
        let Some(row) = sql::one(tx, SQL, values).await? else { return Ok(()) };
        let mut columns = super::rows::Columns::of(&row);
        let tenant = &columns.id(TenantId::parse)?;
        let priority = Priority::from_code(columns.take()?);
        let deed: Option<String> = columns.take()?;
        let deed = deed.and_then(|code| Deed::from_code(&code));
        let budget = deed.map_or(columns.action()?.budget(), Deed::budget);
        let joining = Joining::new(tenant, position, priority, budget, now);
        super::lanes::fill(tx, &[((installation, lane), joining)].into()).await
    }
}

/// The note; its trace is encrypted.
struct Told {
    request: Option<(&'static str, Duration)>,
    trace: Option<Vec<u8>>,
}

/// The delivery as it was found; its row is locked.
struct Before {
    state: State,
    attempt: i64,
    probes: i64,
    due_at: Timestamp,
    sending_since: Option<Timestamp>,
    /// It was canceled while a request was under way.
    canceled: bool,
    /// The reason for its cancellation.
    reason: Option<String>,
    now: Timestamp,
}

impl Before {
    async fn read(tx: &Tx, claim: &LaneClaim, id: &str) -> Result<Option<Self>, Error> {
        const SQL: &str = "SELECT state, attempt, probes, due_at, sending_since, \
            cancel_requested_at IS NOT NULL, reason, {now} FROM deliveries \
            WHERE installation = $1 AND lane = $2 AND id = $3 {for_update}";
        let values = params![claim.installation.to_string(), claim.lane.as_str(), id];
        let Some(row) = sql::one(tx, SQL, values).await? else { return Ok(None) };
        let mut columns = super::rows::Columns::of(&row);
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
}

/// The changes to the delivery's row.
struct Change {
    state: State,
    attempt: i64,
    probes: i64,
    due_at: Timestamp,
    reason: Option<&'static str>,
    code: Option<String>,
    sent: Option<(ChannelId, String)>,
    /// The kind of its next request; `None`: unchanged.
    deed: Option<Deed>,
    /// The lane's pause.
    holds: Option<Duration>,
    /// For the log of attempts.
    outcome: &'static str,
}

impl Change {
    /// `None`: not allowed from this state.
    fn plan(settle: &Settle, before: &Before) -> Option<Self> {
        use State::{Failed, Parked, Pending, Sending, Sent, Unknown};
        let change = |state, outcome| Self {
            state,
            attempt: before.attempt,
            probes: before.probes,
            due_at: before.due_at,
            reason: None,
            code: None,
            sent: None,
            deed: None,
            holds: None,
            outcome,
        };
        let given_back = before.attempt - i64::from(before.state == Sending);
        let later = |after: &Duration| before.now.plus(*after);
        Some(match (settle, before.state) {
            (Settle::Delivered { channel, ts }, Sending | Unknown) => {
                Self { sent: Some((channel.clone(), ts.clone())), ..change(Sent, "sent") }
            }
            (Settle::Unthreaded { channel, ts, .. }, Sending | Unknown) => Self {
                sent: Some((channel.clone(), ts.clone())),
                deed: Some(Deed::Post),
                ..change(Sent, "unthreaded")
            },
            (Settle::Failed { reason, code }, Pending | Sending | Unknown) => {
                Self { reason: Some(reason.code()), code: code.clone(), ..change(Failed, "failed") }
            }
            (Settle::Parked { reason, code }, Pending | Sending | Unknown) => {
                Self { reason: Some(reason.code()), code: code.clone(), ..change(Parked, "parked") }
            }
            (Settle::Retry { after, code }, Sending | Unknown) => Self {
                due_at: later(after),
                code: Some(code.clone()),
                ..change(Pending, "not_sent")
            },
            (Settle::Wait { after, scope }, Sending) => Self {
                attempt: given_back,
                due_at: later(after),
                holds: (*scope == WaitScope::Lane).then_some(*after),
                code: Some("ratelimited".into()),
                ..change(Pending, "throttled")
            },
            (Settle::Paused { code }, Pending | Sending | Unknown) => Self {
                attempt: given_back,
                code: Some(code.clone()),
                ..change(if before.state == Unknown { Unknown } else { Pending }, "unauthorized")
            },
            (Settle::Probe { after, code }, Sending | Unknown) => Self {
                probes: if before.state == Unknown { before.probes + 1 } else { 0 },
                due_at: later(after),
                code: Some(code.clone()),
                ..change(Unknown, "unknown")
            },
            (Settle::NotWritten, Sending) => {
                Self { attempt: given_back, ..change(Pending, "not_written") }
            }
            (Settle::Ended(end), Pending) => {
                Self { reason: end.reason(), ..change(end.state(), "") }
            }
            (Settle::Deferred { after }, Pending) => {
                Self { due_at: later(after), ..change(Pending, "") }
            }
            (Settle::Replanned { deed }, Pending) => {
                Self { deed: Some(*deed), ..change(Pending, "") }
            }
            (Settle::Doubted { deed, .. }, Pending) => Self {
                probes: 0,
                due_at: before.now,
                deed: Some(*deed),
                code: Some("recovered".into()),
                ..change(Unknown, "")
            },
            (Settle::Acted(acted), Sending) => Self {
                sent: Some((acted.channel.clone(), acted.ts.clone())),
                attempt: before.attempt - i64::from(acted.more),
                due_at: before.now,
                ..change(if acted.more { Pending } else { Sent }, "sent")
            },
            (Settle::Finished, Pending) => change(Sent, ""),
            (Settle::Unfit { code, .. }, Sending) => Self {
                attempt: given_back,
                due_at: before.now,
                code: Some(code.clone()),
                ..change(Pending, "unfit")
            },
            (Settle::Resolve, Pending) => change(State::Resolving, ""),
            (Settle::Moved { .. }, Pending) => change(Pending, ""),
            _ => return None,
        })
    }

    async fn write(
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
            self.deed.map(Deed::code),
            trace.cloned(),
        ];
        sql::execute(tx, SQL, values).await.map(drop)
    }

    /// The outcome for the log; `None` if there was no request.
    fn outcome(&self, before: &Before) -> Option<String> {
        match before.state {
            State::Sending => Some(self.outcome.into()),
            State::Unknown => Some(format!("probe_{}", self.outcome)),
            _ => None,
        }
    }
}
