//! The end of a turn: how the head of the lane was settled is written, counted and logged.

use tokio::time::Instant;

use super::Delivery;
use super::explain;
use super::turn::Turn;
use crate::domain::delivery::{Acted, Settle, State};
use crate::domain::ids::DeliveryId;
use crate::domain::reason::Failure;
use crate::store::{self, DeliveryTrace, LaneClaim, LanePace, SettleContext};

impl Delivery {
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
            let started_ago = |pace: LanePace| pace.started_ago + known.elapsed();
            let pace = context.pace.map(|pace| LanePace { started_ago: started_ago(pace), ..pace });
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
            | Settle::Aside
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
