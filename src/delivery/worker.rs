//! One turn of a lane: its first message, one step further.
//!
//! The order of a post: decide, check whether posting is paused, commit the intent, post, settle.
//! The intent makes a crash safe: once it is committed the message may exist, and only the history
//! can show that it does not. A worker that lost its lease in the meantime (frozen, cut off) posts
//! nothing and changes nothing: the request must begin within half a lease of the intent, and every
//! write is fenced.
//!
//! The facts for the checks and the token are read at the same time, and the intent's single
//! statement also asks whether posting is paused: there are few round trips from the claim to the
//! request.

use std::convert::Infallible;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::Delivery;
use super::request::{NextRequest, SlackRequest};
use super::slots::Slot;
use super::turn::{StartUsed, Turn};
use crate::domain::capacity::budget::Budget;
use crate::domain::capacity::pacing::AHEAD;
use crate::domain::delivery::trace::Trace;
use crate::domain::delivery::{Settle, State, next};
use crate::domain::ids::LeaseToken;
use crate::domain::reason::Failure;
use crate::store::{
    self, LaneClaim, LanePace, LoggedRequest, QueueKey, RecoverOutcome, SettleContext,
};
use crate::{telemetry, workspace};

impl Delivery {
    /// Takes the lane one step further and gives it back.
    pub(super) async fn turn(self, claim: LaneClaim, slot: &Slot, stop: CancellationToken) {
        let taken = tokio::select! {
            taken = self.take_turn(&claim, slot, &stop) => taken,
            never = self.keep(&claim) => match never {},
        };
        let error = match taken {
            Ok(StartUsed::Yes) => return,
            Ok(StartUsed::No) => return self.return_slot(&claim).await,
            Err(error) => error,
        };
        tracing::warn!(workspace = %claim.installation, %error, "a turn was abandoned");
        let wait = self.pause_after(&error);
        // Its lease would run out by itself; a release lets the lane continue sooner.
        let mut tries = self.tries();
        while let Err(error) = self.inner.store.lanes().release(&claim, wait).await {
            if !tries.again(&error).await {
                let workspace = claim.installation;
                tracing::warn!(%workspace, %error, "a lane was not released; its lease must end");
                return;
            }
        }
    }

    async fn take_turn(
        &self,
        claim: &LaneClaim,
        slot: &Slot,
        stop: &CancellationToken,
    ) -> Result<StartUsed, store::Error> {
        let store = &self.inner.store;
        if stop.is_cancelled() {
            store.lanes().release(claim, Duration::ZERO).await?;
            return Ok(StartUsed::No);
        }
        let Some(head) = store.lanes().head(claim).await? else { return Ok(StartUsed::No) };
        if head.state == State::Sending {
            match store.outbox().recover(claim, head.delivery).await? {
                RecoverOutcome::Unknown => {
                    self.inner.metrics.deliveries(State::Unknown.code(), 1);
                    // The request may have ended with the lease, and Slack has 30 s from then: the
                    // looks count from now on, as they do after an answer that was lost.
                    let first = self.inner.timing.policy.probe_after[0];
                    store.lanes().release(claim, first).await?;
                }
                RecoverOutcome::Parked | RecoverOutcome::Waits | RecoverOutcome::Fenced => {}
            }
            return Ok(StartUsed::No);
        }
        let why = Mutex::new(Trace::from_bytes(head.trace.as_deref().unwrap_or_default()));
        let turn = Turn { claim, slot, head, read: Instant::now(), why };
        // The trace that Notify began continues here, perhaps on another replica.
        let span = tracing::info_span!("deliver", delivery = %turn.head.delivery);
        telemetry::continue_from(&span, turn.head.trace_context.as_deref());
        let step = async {
            match turn.head.state {
                State::Unknown => self.look(&turn).await.map(|()| StartUsed::No),
                // On the heap: it is by far the larger of the two.
                _ => Box::pin(self.send(&turn, stop)).await,
            }
        };
        step.instrument(span).await
    }

    /// Sends a pending head, unless the checks settle it otherwise.
    async fn send(
        &self,
        turn: &Turn<'_>,
        stop: &CancellationToken,
    ) -> Result<StartUsed, store::Error> {
        let (claim, head) = (turn.claim, &turn.head);
        // The switches shortly before the request decide, however early the lane was claimed.
        if !start_comes(turn, AHEAD, stop).await {
            self.inner.store.lanes().release(claim, Duration::ZERO).await?;
            return Ok(StartUsed::No);
        }
        turn.slot.start_is_near();
        let token = self.inner.workspaces.token(claim.installation);
        let (judged, token) = tokio::join!(self.check(turn), token);
        if let Some(settle) = judged? {
            return self.unposted(turn, settle, None).await;
        }
        let request = match self.prepare(turn).await? {
            NextRequest::Make(request) => request,
            NextRequest::Settle(settle) => return self.unposted(turn, settle, None).await,
        };
        let token = match token {
            Ok(token) => token,
            Err(workspace::Error::Store(error)) => return Err(error),
            Err(error) => {
                let (settle, rest) = self.unsent(turn, error);
                return self.unposted(turn, settle, rest).await;
            }
        };
        if let Some(settle) = another_turn(turn, &request) {
            return self.unposted(turn, settle, None).await;
        }
        let suspect = if head.crashes == 0 { None } else { Some(self.inner.suspects.begin()) };
        let suspect = match suspect.transpose() {
            Ok(suspect) => suspect,
            Err(after) => return self.unposted(turn, Settle::Deferred { after }, None).await,
        };
        if !start_comes(turn, Duration::ZERO, stop).await {
            self.inner.store.lanes().release(claim, Duration::ZERO).await?;
            return Ok(StartUsed::No);
        }
        // On the heap: it is much larger than the rest of a turn.
        let posted = Box::pin(self.undertake(turn, &request, &token)).await;
        drop(suspect);
        posted
    }

    /// Checks the head; `None`: it may be sent.
    async fn check(&self, turn: &Turn<'_>) -> Result<Option<Settle>, store::Error> {
        match self.judge(turn).await {
            // A record that cannot be decrypted now cannot be decrypted later: the lane continues
            // without it.
            Err(error @ store::Error::Sealed(_)) => {
                let (tenant, delivery) = (&turn.head.tenant, turn.head.delivery);
                tracing::error!(
                    %tenant, %delivery, %error,
                    "a recipient's record cannot be decrypted"
                );
                Ok(Some(Settle::Failed { reason: Failure::Damaged, code: None }))
            }
            judged => judged,
        }
    }

    /// The intent, the request, and its result.
    async fn undertake(
        &self,
        turn: &Turn<'_>,
        request: &SlackRequest,
        token: &store::Token,
    ) -> Result<StartUsed, store::Error> {
        let (claim, head, lease) = (turn.claim, &turn.head, self.inner.timing.lease);
        let begin_before = Instant::now() + lease / 2;
        let (request_kind, thread) = (request.kind, request.thread_ts());
        let intent = self
            .inner
            .store
            .outbox()
            .intend(claim, head.delivery, lease, request_kind, thread)
            .await;
        let attempt = match intent {
            Ok(Some(attempt)) => attempt,
            Ok(None) => return Ok(StartUsed::No),
            Err(error) => {
                // It is not known whether the intent was committed, but nothing was posted. If that
                // is recorded now, the history need not be searched, and it is not taken for a
                // crash.
                let interval = self.pause_after(&error);
                let rest = LanePace { started_ago: Duration::ZERO, interval };
                return self.unposted(turn, Settle::NotWritten, Some(rest)).await;
            }
        };
        let asked = self.request(turn, request, token, begin_before);
        match turn.slot.asking(asked).await {
            Ok(posted) => {
                turn.explained(&posted.outcome);
                let acted = request.acted(head.action, &posted.outcome);
                let policy = &self.inner.timing.policy;
                let settle =
                    acted.unwrap_or_else(|| next(&posted.outcome, attempt, rand::random(), policy));
                // The pace of one a second applies to posts only.
                let pace = (!request_kind.is_repeatable()).then(|| LanePace {
                    started_ago: posted.started.elapsed(),
                    interval: self.inner.timing.channel_interval,
                });
                let (method, took) = (request_kind.method(), posted.took);
                let request = Some(LoggedRequest { method, took });
                let context = SettleContext { pace, request, trace: None };
                self.settle(turn, settle, context).await?;
                Ok(StartUsed::Yes)
            }
            Err(error) => {
                let (settle, rest) = self.unsent(turn, error);
                self.unposted(turn, settle, rest).await
            }
        }
    }

    /// Makes the request, once.
    async fn request(
        &self,
        turn: &Turn<'_>,
        request: &SlackRequest,
        token: &store::Token,
        begin_before: Instant,
    ) -> Result<workspace::RequestMade, workspace::Error> {
        let (workspaces, claim) = (&self.inner.workspaces, turn.claim);
        let id = claim.installation;
        if let Some(change) = request.change() {
            return workspaces.change(id, token, &change, begin_before).await;
        }
        let Some(message) = request.message(turn.head.delivery) else {
            return Err(workspace::Error::Unknown);
        };
        workspaces.post(id, claim.lane.as_str(), token, &message, begin_before).await
    }

    /// Settles a head for which no request was made; `rest`: how long its lane rests.
    async fn unposted(
        &self,
        turn: &Turn<'_>,
        settle: Settle,
        rest: Option<LanePace>,
    ) -> Result<StartUsed, store::Error> {
        self.settle(turn, settle, rest.into()).await.map(|()| StartUsed::No)
    }

    /// How to settle if no request was written, and how long the lane rests.
    fn unsent(&self, turn: &Turn<'_>, error: workspace::Error) -> (Settle, Option<LanePace>) {
        let (tenant, delivery) = (&turn.head.tenant, turn.head.delivery);
        let rest = |interval| Some(LanePace { started_ago: Duration::ZERO, interval });
        match error {
            workspace::Error::Reconnect { code } => (Settle::Paused { code }, None),
            // The lane is woken when the next token is there, or when the move has ended.
            workspace::Error::Renewing { .. } => {
                (Settle::Paused { code: "token_expired".to_owned() }, None)
            }
            workspace::Error::Migrating { .. } => {
                (Settle::Paused { code: store::MIGRATING.to_owned() }, None)
            }
            workspace::Error::Late => (Settle::NotWritten, None),
            workspace::Error::Busy { after } => (Settle::NotWritten, rest(after)),
            workspace::Error::Unknown => {
                let code = Some("unknown_workspace".to_owned());
                (Settle::Failed { reason: Failure::Rejected, code }, None)
            }
            workspace::Error::Store(error) => {
                tracing::warn!(%tenant, %delivery, %error, "a message was not posted");
                (Settle::NotWritten, rest(self.pause_after(&error)))
            }
            workspace::Error::Slack(error) => {
                tracing::warn!(%tenant, %delivery, %error, "a message was not posted");
                (Settle::NotWritten, rest(self.inner.timing.retry))
            }
        }
    }

    /// No request was made: the start that the claim took from the workspace's budget is given
    /// back.
    async fn return_slot(&self, claim: &LaneClaim) {
        let (Some(start), store, id) = (claim.start, &self.inner.store, claim.installation) else {
            return;
        };
        let given_back = match claim.budget {
            Budget::Posts => store.budgets().return_post_slot(id, start.interval).await,
            budget => store.budgets().return_method_slot(id, budget, start).await,
        };
        if let Err(error) = given_back {
            tracing::debug!(%error, "an unused slot of a budget was not returned");
        }
    }

    /// After a panic, the lane continues at once, and the panic counts against the message, whether
    /// or not it was being sent.
    pub(super) async fn panicked(self, claim: &LaneClaim) {
        let mut tries = self.tries();
        loop {
            match self.inner.store.outbox().note_crash(claim, self.inner.timing.retry).await {
                Ok(Some((delivery, RecoverOutcome::Parked))) => {
                    return self.ended(
                        claim,
                        delivery,
                        State::Parked,
                        Some(Failure::Crashed),
                        None,
                    );
                }
                Ok(_) => return,
                Err(error) if tries.again(&error).await => {}
                Err(error) => {
                    tracing::warn!(%error, "a panic was not recorded; its lane's lease must end");
                    return;
                }
            }
        }
    }

    /// Gives back the lanes of a claim whose answer was lost.
    pub(super) async fn disclaim(self, key: QueueKey, token: LeaseToken) {
        let mut tries = self.tries();
        while let Err(error) = self.inner.store.lanes().disclaim(&key, token).await {
            if !tries.again(&error).await {
                tracing::warn!(%error, "lanes were not released; their lease must end");
                return;
            }
        }
    }

    /// Renews the lease for as long as the turn lasts.
    async fn keep(&self, claim: &LaneClaim) -> Infallible {
        let lease = self.inner.timing.lease;
        loop {
            tokio::time::sleep(lease / 3).await;
            match self.inner.store.lanes().heartbeat(claim, lease).await {
                Ok(true) => {}
                // Every write is fenced, so there is nothing to stop.
                Ok(false) => std::future::pending().await,
                Err(error) => tracing::debug!(%error, "lease not renewed; retrying"),
            }
        }
    }
}

/// The settle of a head whose request needs another turn: after a read of history, or with a start
/// from another budget. `None`: the request may be made in this turn.
fn another_turn(turn: &Turn<'_>, request: &SlackRequest) -> Option<Settle> {
    let request_kind = request.kind;
    // A change that may have been made is simply repeated: it is the same change.
    if turn.head.in_doubt.is_some() && !request_kind.is_repeatable() {
        let thread_ts = request.thread_ts().map(str::to_owned);
        return Some(Settle::Doubted { request_kind, thread_ts });
    }
    (request_kind.budget() != turn.claim.budget).then_some(Settle::Replanned { request_kind })
}

/// Waits for the start that the claim took from the budget, or for a time `before` it. `false`: the
/// process stops first.
async fn start_comes(turn: &Turn<'_>, before: Duration, stop: &CancellationToken) -> bool {
    // Never longer than at the claim: the clock may have stepped back since.
    let wait = turn.claim.start.map_or(Duration::ZERO, |start| {
        start.at.since(turn.now()).min(start.at.since(turn.claim.now))
    });
    let wait = wait.saturating_sub(before);
    // Even a sleep of zero takes a millisecond or more.
    if !wait.is_zero() {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stop.cancelled() => {}
        }
    }
    !stop.is_cancelled()
}
