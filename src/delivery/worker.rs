//! One turn of a lane: its first message, one step further.
//!
//! The order of a post: decide, look whether posting is paused, commit the intent, post, settle. The
//! intent is what makes a crash safe: from it on the message may exist, and only history may say
//! that it does not. Who lost the lease meanwhile (frozen, cut off) posts nothing and changes
//! nothing: the request must begin within half a lease of the intent, and every write is fenced.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::Delivery;
use super::checks::{Connected, Facts, Recipient, verdict};
use crate::directory::View;
use crate::domain::delivery::{Outcome, State, Step, next};
use crate::domain::ids::{ChannelId, DeliveryId, InstallationId, SlackUserId};
use crate::domain::reason::Failure;
use crate::domain::render::Rendered;
use crate::domain::settings::{Preferences, Settings};
use crate::slack::{Destination, PostMessage};
use crate::store::{
    self, Head, InstallationState, LaneClaim, Pace, RecoverOutcome, Settle, WaitScope,
};
use crate::telemetry;
use crate::workspace;

/// A head and when it was read, so that the database's time can be told later in the turn.
pub(super) struct Turn<'a> {
    pub(super) claim: &'a LaneClaim,
    pub(super) head: Head,
    pub(super) read: Instant,
}

impl Turn<'_> {
    /// The database's time, by what passed since the head was read.
    pub(super) fn now(&self) -> crate::domain::time::Timestamp {
        self.head.now.plus(self.read.elapsed())
    }
}

/// Where the message goes.
enum Place {
    Person(SlackUserId),
    Channel(ChannelId),
}

impl Delivery {
    /// Takes the lane one step further and gives it back.
    pub(super) async fn turn(self, claim: LaneClaim, stop: CancellationToken) {
        let taken = tokio::select! {
            taken = self.take_turn(&claim, &stop) => taken,
            never = self.keep(&claim) => match never {},
        };
        let Err(error) = taken else { return };
        tracing::warn!(workspace = %claim.installation, %error, "a turn was given up");
        let wait = self.pause_after(&error);
        // Its lease would run out by itself; given back, the lane goes on sooner.
        let mut tries = self.tries();
        while let Err(error) = self.inner.store.release(&claim, wait).await {
            if !tries.again(&error).await {
                tracing::warn!(workspace = %claim.installation, %error, "a lane was not given back");
                return;
            }
        }
    }

    /// Renews the lease for as long as the turn lasts.
    async fn keep(&self, claim: &LaneClaim) -> Infallible {
        let lease = self.inner.timing.lease;
        loop {
            tokio::time::sleep(lease / 3).await;
            match self.inner.store.heartbeat(claim, lease).await {
                Ok(true) => {}
                // Every write is fenced, so there is nothing to stop.
                Ok(false) => std::future::pending().await,
                Err(error) => tracing::debug!(%error, "a lease was not renewed; trying on"),
            }
        }
    }

    async fn take_turn(
        &self,
        claim: &LaneClaim,
        stop: &CancellationToken,
    ) -> Result<(), store::Error> {
        let store = &self.inner.store;
        if stop.is_cancelled() {
            return store.release(claim, Duration::ZERO).await.map(drop);
        }
        let Some(head) = store.head(claim).await? else { return Ok(()) };
        if head.state == State::Sending {
            match store.recover(claim, head.delivery).await? {
                RecoverOutcome::Unknown => {
                    self.inner.metrics.deliveries(State::Unknown.code(), 1);
                    // The request may have ended with the lease, and Slack has 30 s from then: the
                    // looks count from now on, as they do after an answer that was lost.
                    let first = self.inner.timing.policy.probe_after[0];
                    return store.release(claim, first).await.map(drop);
                }
                RecoverOutcome::Parked => {
                    self.ended(claim, head.delivery, State::Parked, Some(Failure::Crashed), None);
                    return Ok(());
                }
                RecoverOutcome::Fenced => return Ok(()),
            }
        }
        let turn = Turn { claim, head, read: Instant::now() };
        // The trace that Notify began goes on here, perhaps on another replica.
        let span = tracing::info_span!("deliver", delivery = %turn.head.delivery);
        telemetry::continue_from(&span, turn.head.trace_context.as_deref());
        let step = async {
            match turn.head.state {
                State::Unknown => self.look(&turn).await,
                _ => self.send(&turn, stop).await,
            }
        };
        step.instrument(span).await
    }

    /// A pending head: sent, or what the checks make of it.
    async fn send(&self, turn: &Turn<'_>, stop: &CancellationToken) -> Result<(), store::Error> {
        if let Some(settle) = self.judge(turn).await? {
            return self.settle(turn, settle, None).await;
        }
        let (claim, head) = (turn.claim, &turn.head);
        let content: Option<Rendered> =
            head.content.as_deref().and_then(|content| serde_json::from_slice(content).ok());
        let (Some(content), Some(place)) = (content, place(turn)) else {
            let settle = Settle::Failed { reason: Failure::Template, code: None };
            return self.settle(turn, settle, None).await;
        };
        match self.inner.workspaces.post_permit(claim.installation).await {
            Ok(wait) if wait.is_zero() => {}
            Ok(wait) => {
                let until = turn.now().plus(wait);
                return self.settle(turn, Settle::Deferred { until }, None).await;
            }
            Err(workspace::Error::Store(error)) => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "whether posting is paused is not known; posting");
            }
        }
        if stop.is_cancelled() {
            return self.inner.store.release(claim, Duration::ZERO).await.map(drop);
        }
        let lease = self.inner.timing.lease;
        let begin_before = Instant::now() + lease / 2;
        let attempt = match self.inner.store.intend(claim, head.delivery, lease).await {
            Ok(Some(attempt)) => attempt,
            Ok(None) => return Ok(()),
            Err(error) => {
                // Whether the intent was committed is not known, but that nothing was posted is: said
                // now, nobody has to find it out from history, or takes it for a crash.
                let interval = self.pause_after(&error);
                let rest = Pace { started_ago: Duration::ZERO, interval };
                return self.settle(turn, Settle::NotWritten, Some(rest)).await;
            }
        };
        let message = PostMessage {
            destination: match &place {
                // Not the `D...` id, even where it is known: Slack takes the member's id for the same
                // conversation, always, and needs no other scope than chat:write.
                Place::Person(member) => Destination::Person(member),
                Place::Channel(channel) => Destination::Conversation(channel),
            },
            text: &content.text,
            blocks: &content.blocks,
            delivery_id: head.delivery,
            thread_ts: None,
        };
        let posted = self.inner.workspaces.post(claim.installation, &message, begin_before).await;
        let interval = self.inner.timing.channel_interval;
        match posted {
            Ok(posted) => {
                let settle = self.after(&posted.outcome, attempt, turn);
                let pace = Pace { started_ago: posted.started.elapsed(), interval };
                self.settle(turn, settle, Some(pace)).await
            }
            Err(error) => {
                let (settle, rest) = self.unsent(error);
                let pace = rest.map(|interval| Pace { started_ago: Duration::ZERO, interval });
                self.settle(turn, settle, pace).await
            }
        }
    }

    /// `None`: it may go out.
    async fn judge(&self, turn: &Turn<'_>) -> Result<Option<Settle>, store::Error> {
        let (store, claim, head) = (&self.inner.store, turn.claim, &turn.head);
        let person = async {
            let Some(user) = &head.user else { return Ok((None, Preferences::default())) };
            let (stored, mut chosen) = tokio::try_join!(
                store.person(&head.tenant, user),
                store.preferences(&head.tenant, std::slice::from_ref(user)),
            )?;
            let identity = stored.and_then(|stored| stored.identity);
            Ok((identity, chosen.remove(user).unwrap_or_default()))
        };
        let (settings, installation, (identity, preferences)) = tokio::try_join!(
            store.settings(&head.tenant),
            store.installation_of(&head.tenant),
            person,
        )?;
        let connected = installation.map(|installation| Connected {
            installation: installation.id,
            dead: (installation.state == InstallationState::Dead)
                .then(|| installation.state_reason.unwrap_or_else(|| "token_revoked".to_owned())),
        });
        let member = head.user.as_ref().and_then(|_| SlackUserId::parse(claim.lane.as_str()).ok());
        let corrected = identity.as_ref().filter(|identity| {
            identity.installation != claim.installation
                || Some(&identity.slack_user_id) != member.as_ref()
        });
        let view = match (&settings, &member) {
            (Some(settings), Some(_)) => self.list(claim.installation, settings).await,
            _ => View::default(),
        };
        let member_kind = match &member {
            // A dead token cannot be asked, and nothing will be sent.
            Some(member) if connected.as_ref().is_some_and(|here| here.dead.is_none()) => {
                self.member_kind(claim.installation, &view, member, turn.now()).await
            }
            _ => None,
        };
        let identity_kind = corrected
            .filter(|identity| identity.installation == claim.installation)
            .and_then(|identity| view.kind(&identity.slack_user_id));
        Ok(verdict(&Facts {
            now: turn.now(),
            expires_at: head.expires_at,
            kind: head.kind,
            event: &head.event_type,
            settings: settings.as_ref(),
            person: member.as_ref().map(|member| Recipient {
                preferences: &preferences,
                identity: identity.as_ref(),
                member,
                member_kind,
                identity_kind,
            }),
            installation: claim.installation,
            connected,
        }))
    }

    /// The member list, as far as it can be had: sending does not depend on it.
    async fn list(&self, installation: InstallationId, settings: &Settings) -> View {
        let view = async {
            let mapping = self.inner.directory.mapping(settings).await?;
            self.inner.directory.view(installation, &mapping).await
        };
        view.await.unwrap_or_else(|error| {
            tracing::warn!(workspace = %installation, %error, "a recipient was not looked up");
            View::default()
        })
    }

    /// What follows from Slack's answer.
    fn after(&self, outcome: &Outcome, attempt: u32, turn: &Turn<'_>) -> Settle {
        let now = turn.head.now;
        let step = next(outcome, attempt, now, rand::random(), &self.inner.timing.policy);
        settle_of(step, now)
    }

    /// What follows where no request was written, and how long the lane rests.
    fn unsent(&self, error: workspace::Error) -> (Settle, Option<Duration>) {
        match error {
            workspace::Error::Reconnect { code } => (Settle::Paused { code }, None),
            workspace::Error::Late => (Settle::NotWritten, None),
            workspace::Error::Busy { after } => (Settle::NotWritten, Some(after)),
            workspace::Error::Unknown => {
                let code = Some("unknown_workspace".to_owned());
                (Settle::Failed { reason: Failure::Rejected, code }, None)
            }
            workspace::Error::Store(error) => {
                tracing::warn!(%error, "a message was not posted");
                (Settle::NotWritten, Some(self.pause_after(&error)))
            }
            workspace::Error::Slack(error) => {
                tracing::warn!(%error, "a message was not posted");
                (Settle::NotWritten, Some(self.inner.timing.retry))
            }
        }
    }

    /// Writes what became of the head, also through an outage of the store, and tells of it.
    pub(super) async fn settle(
        &self,
        turn: &Turn<'_>,
        settle: Settle,
        pace: Option<Pace>,
    ) -> Result<(), store::Error> {
        let (claim, delivery) = (turn.claim, turn.head.delivery);
        let known = Instant::now();
        let mut tries = self.tries();
        let settled = loop {
            let pace =
                pace.map(|pace| Pace { started_ago: pace.started_ago + known.elapsed(), ..pace });
            match self.inner.store.settle(claim, delivery, &settle, pace).await {
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
            Settle::Delivered { .. } => {
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
            Settle::Probe { .. } if turn.head.state == State::Pending => {
                self.inner.metrics.deliveries(State::Unknown.code(), 1);
            }
            Settle::Retry { .. }
            | Settle::Wait { .. }
            | Settle::Paused { .. }
            | Settle::Probe { .. }
            | Settle::NotWritten
            | Settle::Deferred { .. }
            | Settle::Moved { .. } => {}
        }
        Ok(())
    }

    /// Counts an end, and says so where it is a failure.
    fn ended(
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
            tracing::warn!(%delivery, workspace = %claim.installation, state, reason, code,
                "a message was not delivered");
        }
    }
}

fn place(turn: &Turn<'_>) -> Option<Place> {
    let lane = turn.claim.lane.as_str();
    if turn.head.user.is_some() {
        SlackUserId::parse(lane).ok().map(Place::Person)
    } else {
        ChannelId::parse(lane).ok().map(Place::Channel)
    }
}

/// The step as the store writes it; `now` is the time that it was decided at.
pub(super) fn settle_of(step: Step, now: crate::domain::time::Timestamp) -> Settle {
    match step {
        Step::Deliver { channel, ts } => Settle::Delivered { channel, ts },
        Step::Fail { reason, code } => Settle::Failed { reason, code: Some(code) },
        Step::Park { reason, code } => Settle::Parked { reason, code: Some(code) },
        Step::Retry { due, code } => Settle::Retry { after: due.since(now), code },
        // Slack does not say whether it limits the channel or, for all of the workspace, the method
        // (slack-platform.md section 6). `workspace` pauses the method; this lane waits besides.
        Step::Wait { due } => Settle::Wait { after: due.since(now), scope: WaitScope::Lane },
        Step::Pause { code } => Settle::Paused { code },
        Step::Probe { due, code } => Settle::Probe { after: due.since(now), code },
    }
}
