//! Sending the head of a lane: checks, intent, request, settle.
//!
//! What the checks need and the token are read at the same time, and the intent's one statement
//! also asks whether posting is paused: from the claim to the request there are few round trips.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Delivery;
use super::worker::{Posted, Turn, settle_of};
use crate::domain::delivery::{Outcome, next};
use crate::domain::ids::{ChannelId, SlackUserId};
use crate::domain::reason::Failure;
use crate::domain::render::Rendered;
use crate::slack::{Destination, PostMessage};
use crate::store::{self, Pace, Settle};
use crate::workspace;

/// Where the message goes.
enum Place {
    Person(SlackUserId),
    Channel(ChannelId),
}

impl Delivery {
    /// A pending head: sent, or what the checks make of it.
    pub(super) async fn send(
        &self,
        turn: &Turn<'_>,
        stop: &CancellationToken,
    ) -> Result<Posted, store::Error> {
        let (claim, head) = (turn.claim, &turn.head);
        let token = self.inner.workspaces.token(claim.installation);
        let (judged, token) = tokio::join!(self.judge(turn), token);
        let judged = match judged {
            // A record that does not open does not open later either: its lane goes on.
            Err(error @ store::Error::Sealed(_)) => {
                tracing::error!(%error, delivery = %head.delivery, "a recipient's record does not open");
                Some(Settle::Failed { reason: Failure::Damaged, code: None })
            }
            judged => judged?,
        };
        if let Some(settle) = judged {
            return self.settle(turn, settle, None).await.map(|()| Posted::No);
        }
        let content: Option<Rendered> =
            head.content.as_deref().and_then(|content| serde_json::from_slice(content).ok());
        let (Some(content), Some(place)) = (content, place(turn)) else {
            let reason = if head.damaged { Failure::Damaged } else { Failure::Template };
            let settle = Settle::Failed { reason, code: None };
            return self.settle(turn, settle, None).await.map(|()| Posted::No);
        };
        let token = match token {
            Ok(token) => token,
            Err(workspace::Error::Store(error)) => return Err(error),
            Err(error) => {
                let (settle, rest) = self.unsent(error);
                return self.settle(turn, settle, rest).await.map(|()| Posted::No);
            }
        };
        // Only one of those that a worker died on goes at a time: of all that were under way when a
        // process died, one was the cause, and it must not take the others along.
        let suspect = if head.crashes == 0 {
            None
        } else if let Ok(alone) = self.inner.suspects.try_acquire() {
            Some(alone)
        } else {
            let until = turn.now().plus(self.inner.timing.retry);
            let settle = Settle::Deferred { until };
            return self.settle(turn, settle, None).await.map(|()| Posted::No);
        };
        if let Some((start, _)) = claim.start {
            tokio::select! {
                () = tokio::time::sleep(start.since(turn.now())) => {}
                () = stop.cancelled() => {}
            }
        }
        if stop.is_cancelled() {
            self.inner.store.release(claim, Duration::ZERO).await?;
            return Ok(Posted::No);
        }
        let posted = self.post(turn, &place, &content, &token).await;
        drop(suspect);
        posted
    }

    /// The intent, the request, and what follows.
    async fn post(
        &self,
        turn: &Turn<'_>,
        place: &Place,
        content: &Rendered,
        token: &store::Token,
    ) -> Result<Posted, store::Error> {
        let (claim, head, lease) = (turn.claim, &turn.head, self.inner.timing.lease);
        let begin_before = Instant::now() + lease / 2;
        let attempt = match self.inner.store.intend(claim, head.delivery, lease).await {
            Ok(Some(attempt)) => attempt,
            Ok(None) => return Ok(Posted::No),
            Err(error) => {
                // Whether the intent was committed is not known, but that nothing was posted is: said
                // now, nobody has to find it out from history, or takes it for a crash.
                let interval = self.pause_after(&error);
                let rest = Pace { started_ago: Duration::ZERO, interval };
                self.settle(turn, Settle::NotWritten, Some(rest)).await?;
                return Ok(Posted::No);
            }
        };
        let message = PostMessage {
            destination: match place {
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
        let (workspaces, lane) = (&self.inner.workspaces, claim.lane.as_str());
        let posted = workspaces.post(claim.installation, lane, token, &message, begin_before).await;
        match posted {
            Ok(posted) => {
                let settle = self.after(&posted.outcome, attempt, turn);
                let interval = self.inner.timing.channel_interval;
                let pace = Pace { started_ago: posted.started.elapsed(), interval };
                self.settle(turn, settle, Some(pace)).await.map(|()| Posted::Yes)
            }
            Err(error) => {
                let (settle, rest) = self.unsent(error);
                self.settle(turn, settle, rest).await.map(|()| Posted::No)
            }
        }
    }

    /// What follows from Slack's answer.
    fn after(&self, outcome: &Outcome, attempt: u32, turn: &Turn<'_>) -> Settle {
        let now = turn.head.now;
        let step = next(outcome, attempt, now, rand::random(), &self.inner.timing.policy);
        settle_of(step, now)
    }

    /// What follows where no request was written, and how long the lane rests.
    fn unsent(&self, error: workspace::Error) -> (Settle, Option<Pace>) {
        let rest = |interval| Some(Pace { started_ago: Duration::ZERO, interval });
        match error {
            workspace::Error::Reconnect { code } => (Settle::Paused { code }, None),
            workspace::Error::Late => (Settle::NotWritten, None),
            workspace::Error::Busy { after } => (Settle::NotWritten, rest(after)),
            workspace::Error::Unknown => {
                let code = Some("unknown_workspace".to_owned());
                (Settle::Failed { reason: Failure::Rejected, code }, None)
            }
            workspace::Error::Store(error) => {
                tracing::warn!(%error, "a message was not posted");
                (Settle::NotWritten, rest(self.pause_after(&error)))
            }
            workspace::Error::Slack(error) => {
                tracing::warn!(%error, "a message was not posted");
                (Settle::NotWritten, rest(self.inner.timing.retry))
            }
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
