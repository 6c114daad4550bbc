//! The two writes around an irreversible request: the intent before it, and recovery if its worker
//! died.

pub(in crate::store) mod batch;

use std::time::Duration;

use super::settle::{Log, log};
use crate::domain::delivery::subject::SlackRequestKind;
use crate::domain::delivery::{LifeEvent, State, transition};
use crate::domain::ids::DeliveryId;
use crate::domain::reason::Failure;
use crate::domain::time::Timestamp;
use crate::store::database::rows::Columns;
use crate::store::database::sql::{self, params};
use crate::store::database::transaction::{Tx, scoped};
use crate::store::lanes::claim::{LaneClaim, Unlease, lock, unlease};
use crate::store::lanes::lane::{LaneName, from_head};
use crate::store::{Error, Outbox};
use batch::Intention;

/// The outcome for a delivery whose worker died while sending it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecoverOutcome {
    /// It is unknown now, and this claim still holds the lane: read history.
    Unknown,
    /// No request was under way: it waits as before.
    Waits,
    /// It killed its third worker before any request, or its fourth while history was read: it is
    /// parked, and the lane is released.
    Parked,
    /// The claim is stale, or the delivery was not being sent; the caller is done with the lane.
    Fenced,
}

impl Outbox<'_> {
    /// Commits the intent to send: from here on the message may exist. Extends the lease. Returns
    /// the number of this attempt. `None`: the claim is stale, or posting to the workspace is
    /// paused, or the delivery is not (or no longer) the pending, unexpired head of the lane, or it
    /// is in doubt since a recovery of the store; unless the claim is stale, the lane was released.
    /// Without a number there must be no request. An answer in a thread names the thread. A pause
    /// of posting does not hold back changes.
    pub async fn intend(
        self,
        claim: &LaneClaim,
        delivery: DeliveryId,
        lease: Duration,
        request_kind: SlackRequestKind,
        thread_ts: Option<&str>,
    ) -> Result<Option<u32>, Error> {
        let intention = Intention {
            claim: claim.clone(),
            delivery,
            lease,
            request_kind,
            thread_ts: thread_ts.map(str::to_owned),
        };
        let attempt = self.store.intend_together(intention).await?;
        if attempt.is_none() {
            self.store.lanes().release(claim, Duration::ZERO).await?;
        }
        Ok(attempt)
    }

    /// For a head that a new claim found in `Sending`: its previous holder died, or lost its lease
    /// without settling. Whether Slack stored the message is not known, so it becomes unknown,
    /// however often that happened. History then decides: only a message that is not there and that
    /// killed `MAX_CRASHES` workers is parked (`domain::delivery::next_after_probe`), so that it is
    /// not retried for ever.
    pub async fn recover(
        self,
        claim: &LaneClaim,
        delivery: DeliveryId,
    ) -> Result<RecoverOutcome, Error> {
        let outcome = self
            .store
            .of_lane(|tx, patience| {
                scoped(async move {
                    if !lock(tx, claim, patience).await? {
                        return Ok(RecoverOutcome::Fenced);
                    }
                    let Some(head) = Crashing::read(tx, claim).await? else {
                        return Ok(RecoverOutcome::Fenced);
                    };
                    if head.state != State::Sending || head.delivery != delivery {
                        return Ok(RecoverOutcome::Fenced);
                    }
                    head.crash(tx, Duration::ZERO).await
                })
            })
            .await?;
        Ok(outcome)
    }

    /// For a claim whose worker panicked: counts the crash against the head, whatever its state,
    /// and gives the lane back; its head comes up again after `rest`. `None`: the claim is stale,
    /// or the lane is empty.
    pub async fn note_crash(
        self,
        claim: &LaneClaim,
        rest: Duration,
    ) -> Result<Option<(DeliveryId, RecoverOutcome)>, Error> {
        let crashed = self
            .store
            .of_lane(|tx, patience| {
                scoped(async move {
                    if !lock(tx, claim, patience).await? {
                        return Ok(None);
                    }
                    let crashed = match Crashing::read(tx, claim).await? {
                        Some(head) => Some((head.delivery, head.crash(tx, rest).await?)),
                        None => None,
                    };
                    unlease(tx, claim, &Unlease::default()).await?;
                    Ok(crashed)
                })
            })
            .await?;
        if let Some((delivery, RecoverOutcome::Parked)) = crashed {
            self.store.delivery_ended(delivery);
        }
        Ok(crashed)
    }
}

/// The head of a lane whose worker died; its row is locked.
struct Crashing {
    delivery: DeliveryId,
    state: State,
    attempt: i64,
    crashes: i64,
    sending_since: Option<Timestamp>,
    now: Timestamp,
    request_kind: SlackRequestKind,
}

impl Crashing {
    async fn read(tx: &Tx, claim: &LaneClaim) -> Result<Option<Self>, Error> {
        let text = format!(
            "SELECT id, state, attempt, crashes, sending_since, {{now}}, deed {} {{for_update}}",
            from_head(LaneName::Parameters)
        );
        let key = params![claim.installation.to_string(), claim.lane.as_str()];
        let Some(row) = sql::one(tx, &text, key).await? else { return Ok(None) };
        let mut columns = Columns::of(&row);
        Ok(Some(Self {
            delivery: columns.uuid(DeliveryId::parse)?,
            state: columns.code(State::from_code)?,
            attempt: columns.take()?,
            crashes: columns.take()?,
            sending_since: columns.optional_time()?,
            now: columns.time()?,
            request_kind: request_kind_of(columns.take()?),
        }))
    }

    /// A request that was under way is now in doubt; a delivery without one waits as before, until
    /// it has killed too many workers.
    async fn crash(&self, tx: &Tx, rest: Duration) -> Result<RecoverOutcome, Error> {
        const WRITE: &str = "UPDATE deliveries
            SET state = $2,
                crashes = $3,
                reason = COALESCE($4, reason),
                code = 'crashed',
                probes = CASE WHEN $2 = 'unknown' THEN 0 ELSE probes END,
                due_at = $5,
                updated_at = $6
            WHERE id = $1";
        let (id, crashes) = (self.delivery.to_string(), self.crashes + 1);
        let event = LifeEvent::Crashed { crashes: u32::try_from(crashes).unwrap_or(u32::MAX) };
        let state = transition(self.state, event).ok_or_else(|| {
            Error::Bug(format!("a crash of a delivery in the state {}", self.state.code()))
        })?;
        let (outcome, reason) = match (self.state, state) {
            (_, State::Parked) => (RecoverOutcome::Parked, Some(Failure::Crashed.code())),
            (State::Sending, _) => (RecoverOutcome::Unknown, None),
            _ => (RecoverOutcome::Waits, None),
        };
        let (due, now) = (self.now.plus(rest).0, self.now.0);
        let values = params![id.as_str(), state.code(), crashes, reason, due, now];
        sql::execute(tx, WRITE, values).await?;
        let entry = Log {
            number: self.attempt,
            started_at: self.sending_since,
            now: self.now,
            outcome: "crashed".into(),
            code: None,
            method: (self.state == State::Sending).then(|| self.request_kind.method()),
            took: None,
        };
        log(tx, &id, &entry).await?;
        Ok(outcome)
    }
}

fn request_kind_of(code: Option<String>) -> SlackRequestKind {
    code.and_then(|code| SlackRequestKind::from_code(&code)).unwrap_or(SlackRequestKind::Post)
}
