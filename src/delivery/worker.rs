//! One turn of a lane: its first message, one step further.
//!
//! The order of a post: decide, check whether posting is paused, commit the intent, post, settle.
//! The intent makes a crash safe: once it is committed the message may exist, and only the history
//! can show that it does not. A worker that lost its lease in the meantime (frozen, cut off) posts
//! nothing and changes nothing: the request must begin within half a lease of the intent, and every
//! write is fenced.

use std::convert::Infallible;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::Delivery;
use super::explain;
use super::slots::Slot;
use super::turn::{StartUsed, Turn};
use crate::domain::capacity::budget::Budget;
use crate::domain::delivery::trace::Trace;
use crate::domain::delivery::{Acted, Settle, State};
use crate::domain::ids::{DeliveryId, LeaseToken};
use crate::domain::reason::Failure;
use crate::store::{self, DeliveryTrace, LaneClaim, Pace, QueueKey, RecoverOutcome, SettleContext};
use crate::telemetry;

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
        tracing::warn!(workspace = %claim.installation, %error, "a turn was given up");
        let wait = self.pause_after(&error);
        // Its lease would run out by itself; a release lets the lane continue sooner.
        let mut tries = self.tries();
        while let Err(error) = self.inner.store.lanes().release(&claim, wait).await {
            if !tries.again(&error).await {
                let workspace = claim.installation;
                tracing::warn!(%workspace, %error, "a lane was not given back");
                return;
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
            Budget::Posts => store.budgets().return_post_slot(id, start.1).await,
            budget => store.budgets().return_method_slot(id, budget, start).await,
        };
        if let Err(error) = given_back {
            tracing::debug!(%error, "a start was not given back");
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
                    tracing::warn!(%error, "a panic was not recorded; the lease runs out");
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
                tracing::warn!(%error, "lanes were not given back; their lease runs out");
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

    /// Writes how the head was settled, also through an outage of the store, and reports it. The
    /// trace of the context is added here.
    pub(super) async fn settle(
        &self,
        turn: &Turn<'_>,
        settle: Settle,
        context: SettleContext<'_>,
    ) -> Result<(), store::Error> {
        let trace = explain::added(turn, turn.trace(), &settle);
        let (tenant, user) = (&turn.head.tenant, turn.head.user.as_ref());
        let trace = trace.as_deref().map(|trace| DeliveryTrace { tenant, user, trace });
        let (claim, delivery) = (turn.claim, turn.head.delivery);
        let known = Instant::now();
        let mut tries = self.tries();
        let settled = loop {
            let started_ago = |pace: Pace| pace.started_ago + known.elapsed();
            let pace = context.pace.map(|pace| Pace { started_ago: started_ago(pace), ..pace });
            let context = SettleContext { pace, trace, ..context };
            match self.inner.store.outbox().settle(claim, delivery, &settle, context).await {
                Ok(settled) => break settled,
                Err(error) if tries.again(&error).await => {}
                Err(error) => return Err(error),
            }
        };
        if !settled {
            tracing::debug!(%delivery, "another worker has taken this delivery over");
            return Ok(());
        }
        match settle {
            Settle::Delivered { .. }
            | Settle::Unthreaded { .. }
            | Settle::Finished
            | Settle::Acted(Acted { more: false, .. }) => {
                self.inner.metrics.delivery_latency(turn.now().since(turn.head.created_at));
                self.ended(claim, delivery, State::Sent, None, None);
            }
            Settle::Failed { reason, code } => {
                self.ended(claim, delivery, State::Failed, Some(reason), code);
            }
            Settle::Parked { reason, code } => {
                self.ended(claim, delivery, State::Parked, Some(reason), code);
            }
            Settle::Ended(end) => self.ended(claim, delivery, end.state(), None, None),
            Settle::Probe { .. } | Settle::Doubted { .. } if turn.head.state == State::Pending => {
                self.inner.metrics.deliveries(State::Unknown.code(), 1);
            }
            Settle::Retry { .. }
            | Settle::Wait { .. }
            | Settle::Paused { .. }
            | Settle::Probe { .. }
            | Settle::Doubted { .. }
            | Settle::NotWritten
            | Settle::Deferred { .. }
            | Settle::Replanned { .. }
            | Settle::Acted(_)
            | Settle::Unmodifiable { .. }
            | Settle::Resolve
            | Settle::Moved { .. } => {}
        }
        Ok(())
    }

    /// Counts an end, and logs it if it is a failure.
    pub(super) fn ended(
        &self,
        claim: &LaneClaim,
        delivery: DeliveryId,
        state: State,
        reason: Option<Failure>,
        code: Option<String>,
    ) {
        self.inner.metrics.deliveries(state.code(), 1);
        if let Some(reason) = reason {
            let code = code.unwrap_or_default();
            let (state, reason) = (state.code(), reason.code());
            let (tenant, workspace) = (&claim.tenant, &claim.installation);
            tracing::warn!(
                %tenant, %delivery, %workspace, state, reason, code,
                "a message was not delivered"
            );
        }
    }
}
