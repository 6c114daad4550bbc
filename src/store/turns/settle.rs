//! Settling: the outcome of a lane's head, written in one transaction with all its consequences:
//! the delivery, its log, the lane's pace and its next turn, the end of the lease.
//!
//! A settle changes nothing unless its claim still holds the lane and the delivery is in a state
//! from which it is allowed (`domain::delivery::transition`), so that a delivery becomes sent at
//! most once (invariant I6).

mod attempts;
pub(in crate::store) mod batch;
mod change;
mod doubt;

use std::time::Duration;

use tokio::sync::broadcast;
use tokio::time::Instant;

use crate::domain::capacity::priority::Priority;
use crate::domain::delivery::subject::{Shown, SlackRequestKind};
use crate::domain::delivery::{Settle, State};
use crate::domain::ids::{DeliveryId, InstallationId, TenantId, UserId};
use crate::domain::time::{Timestamp, micros};
use crate::store::database::rows::Columns;
use crate::store::database::sql::{self, params};
use crate::store::database::transaction::{Patience, Tx, scoped};
use crate::store::intake::subjects::mark;
use crate::store::lanes::claim::{LaneClaim, Unlease, lock, unlease};
use crate::store::lanes::lane::{self, Joining};
use crate::store::records::sealed::seal_trace;
use crate::store::waiting::channels::NEVER;
use crate::store::{Error, Outbox, Store};
pub use attempts::LoggedRequest;
pub(in crate::store) use attempts::{Log, log};
use batch::SentMessage;

/// When a message that waits outside its lane looks for its tenant's connection again.
const LOOK_AGAIN: Duration = Duration::from_secs(600);

/// The request that a settle ends, if any, and the trace that it writes.
#[derive(Debug, Clone, Copy, Default)]
pub struct SettleContext<'a> {
    /// The pacing of the request in its lane; `None` if no request was begun.
    pub pace: Option<LanePace>,
    /// For the log of attempts.
    pub request: Option<LoggedRequest>,
    /// Why it went as it did; `None` keeps the stored trace.
    pub trace: Option<DeliveryTrace<'a>>,
}

/// The trace of a delivery, and the owner of the key that encrypts it.
#[derive(Debug, Clone, Copy)]
pub struct DeliveryTrace<'a> {
    pub tenant: &'a TenantId,
    /// Absent for posts to a channel.
    pub user: Option<&'a UserId>,
    pub trace: &'a [u8],
}

/// A settle as it is written.
#[derive(Clone, Copy)]
struct Settling<'a> {
    claim: &'a LaneClaim,
    delivery: DeliveryId,
    settle: &'a Settle,
    context: SettleContext<'a>,
    /// Encrypted.
    trace: Option<&'a Vec<u8>>,
}

impl From<Option<LanePace>> for SettleContext<'_> {
    fn from(pace: Option<LanePace>) -> Self {
        Self { pace, ..Self::default() }
    }
}

/// The pacing of a request in its lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LanePace {
    /// How long ago the request began.
    pub started_ago: Duration,
    /// The least time between the starts of two requests in one conversation.
    pub interval: Duration,
}

impl LanePace {
    /// When the next request may start; `None`: at once.
    fn until(&self, now: Instant) -> Option<Instant> {
        self.interval.checked_sub(self.started_ago).map(|rest| now + rest)
    }
}

impl Outbox<'_> {
    /// Settles the head of a lane and releases the lane. `false`: nothing was settled, because the
    /// claim is stale or the delivery is in another state; in the second case the lane was still
    /// released. Either way the caller is done with the claim.
    pub async fn settle(
        self,
        claim: &LaneClaim,
        delivery: DeliveryId,
        settle: &Settle,
        context: SettleContext<'_>,
    ) -> Result<bool, Error> {
        let trace = match context.trace {
            // No new key for a person who was deleted while the request was under way.
            Some(DeliveryTrace { tenant, user, trace }) => {
                let key = match self.store.existing_key(tenant, user).await {
                    // The trace only explains: a damaged key must not keep the lane from going on.
                    Err(error @ Error::Sealed(_)) => {
                        tracing::error!(%error, %delivery, "the trace cannot be encrypted");
                        None
                    }
                    key => key?,
                };
                key.map(|key| seal_trace(&key, delivery, trace)).transpose()?
            }
            None => None,
        };
        if let Settle::Delivered { channel, ts } = settle {
            let sent = SentMessage {
                claim: claim.clone(),
                delivery,
                channel: channel.clone(),
                ts: ts.clone(),
                paced_until: context.pace.and_then(|pace| pace.until(Instant::now())),
                request: context.request,
                trace: trace.clone(),
            };
            if self.store.sent_together(sent).await? {
                self.store.delivery_ended(delivery);
                return Ok(true);
            }
        }
        let settling = Settling { claim, delivery, settle, context, trace: trace.as_ref() };
        let settled = self
            .store
            .of_lane(|tx, patience| scoped(self.store.settle_within(tx, patience, settling)))
            .await?;
        if let Some(state) = settled {
            self.store.changed();
            if state.is_terminal() {
                self.store.delivery_ended(delivery);
            }
            if matches!(settle, Settle::Moved { .. }) {
                self.store.wake();
            }
        }
        Ok(settled.is_some())
    }

    /// Deliveries that this process ended, for calls that wait for one. A hint: other replicas end
    /// deliveries too, and a receiver that lags misses some, so also read the row at intervals.
    pub fn ended(self) -> broadcast::Receiver<DeliveryId> {
        self.store.inner.deliveries_ended.subscribe()
    }
}

impl Store {
    async fn settle_within(
        &self,
        tx: &Tx,
        patience: Patience,
        settling: Settling<'_>,
    ) -> Result<Option<State>, Error> {
        let Settling { claim, delivery, settle, context, trace } = settling;
        if !lock(tx, claim, patience).await? {
            return Ok(None);
        }
        let paced = context.pace.map(|pace| micros(pace.interval) - micros(pace.started_ago));
        let mut unleased = Unlease { paced, ..Unlease::default() };
        let id = delivery.to_string();
        let Some((before, change)) = change::planned(tx, claim, &id, settle).await? else {
            unlease(tx, claim, &unleased).await?;
            return Ok(None);
        };
        change::write(tx, &id, &before, &change, trace).await?;
        mark_acted_on(tx, delivery, settle).await?;
        doubt::note(tx, &id, settle, before.state, change.state).await?;
        self.change_lane(tx, &id, settle, before.now).await?;
        if let Some(entry) = change::entry(&before, &change, context.request) {
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

    /// Takes a delivery out of its lane if its person is to be resolved again, and moves it to
    /// another lane if the person turned out to be another member.
    async fn change_lane(
        &self,
        tx: &Tx,
        delivery: &str,
        settle: &Settle,
        now: Timestamp,
    ) -> Result<(), Error> {
        const LEAVE: &str = "UPDATE deliveries
            SET installation = NULL, lane = NULL, due_at = $2
            WHERE id = $1";
        // For a channel with a key: back in its line. Others keep the name of their lane, and look
        // again from time to time, in case the tenant's next connection did not call them.
        const ASIDE: &str = "UPDATE deliveries
            SET lane = NULL,
                deferred_lane = CASE WHEN awaits_channel IS NULL THEN lane END,
                installation = CASE WHEN awaits_channel IS NULL THEN installation END,
                due_at = CASE
                    WHEN awaits_channel IS NULL THEN CAST($2 AS BIGINT)
                    ELSE CAST($3 AS BIGINT) END
            WHERE id = $1";
        match settle {
            Settle::Resolve => sql::execute(tx, LEAVE, params![delivery, now.0]).await.map(drop),
            Settle::Aside => {
                let again = now.plus(LOOK_AGAIN);
                let values = params![delivery, again.0, NEVER.0];
                sql::execute(tx, ASIDE, values).await.map(drop)
            }
            Settle::Moved { installation, lane } => {
                self.move_to(tx, delivery, *installation, lane, now).await
            }
            _ => Ok(()),
        }
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
        const SQL: &str = "UPDATE deliveries
            SET installation = $2, lane = $3, position = $4, due_at = $5
            WHERE id = $1
            RETURNING tenant, priority, deed, action";
        let position = lane::position(tx, &[(installation, lane)].into()).await?;
        let values = params![delivery, installation.to_string(), lane, position, now.0];
        let Some(row) = sql::one(tx, SQL, values).await? else { return Ok(()) };
        let mut columns = Columns::of(&row);
        let tenant = &columns.id(TenantId::parse)?;
        let priority = Priority::from_code(columns.take()?);
        let request_kind: Option<String> = columns.take()?;
        let request_kind = request_kind.and_then(|code| SlackRequestKind::from_code(&code));
        let budget = request_kind.map_or(columns.action()?.budget(), SlackRequestKind::budget);
        let joining = Joining::new(tenant, position, priority, budget, now);
        lane::fill(tx, &[((installation, lane), joining)].into()).await
    }
}

/// Records the new state of the message that was acted on, or that was to be.
async fn mark_acted_on(tx: &Tx, delivery: DeliveryId, settle: &Settle) -> Result<(), Error> {
    match settle {
        Settle::Acted(acted) => {
            mark(tx, acted.message, acted.shown, acted.replaced.then_some(delivery)).await
        }
        Settle::Unmodifiable { message, shown, .. } => mark(tx, *message, Some(*shown), None).await,
        Settle::Unthreaded { root: Some(root), .. } => {
            mark(tx, *root, Some(Shown::Gone), None).await
        }
        _ => Ok(()),
    }
}
