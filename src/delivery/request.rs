//! The request that one turn makes to Slack (a message, an answer in a thread, a change or a
//! deletion), and the effect of Slack's answer on the message that the request changed or answered
//! (docs/delivery-states.md, "Subjects").

use super::Delivery;
use super::turn::Turn;
use crate::domain::delivery::subject::{
    self, Action, Plan, Shown, SlackRequestKind, SubjectMessage,
};
use crate::domain::delivery::{Acted, End, Outcome, Settle};
use crate::domain::ids::{ChannelId, DeliveryId, SlackUserId};
use crate::domain::message::render::mentions::{mentioned, resolved};
use crate::domain::message::render::{self, Rendered};
use crate::domain::reason::{Cancellation, Failure};
use crate::slack::{Destination, PostMessage, UpdateMessage};
use crate::store;
use crate::workspace::MessageChange;

/// The destination of the message.
enum PostTarget {
    Person(SlackUserId),
    Channel(ChannelId),
}

/// The request that this turn makes to Slack, once it is known that it may.
pub(super) struct SlackRequest {
    pub(super) kind: SlackRequestKind,
    /// The message that is acted on.
    target: Option<SubjectMessage>,
    /// More messages are left to act on after it.
    more: bool,
    /// `None` if a message is deleted.
    words: Option<Rendered>,
    place: Option<PostTarget>,
}

/// The next step of a turn whose message may be sent.
pub(super) enum NextRequest {
    Make(SlackRequest),
    /// There is no request to make: the delivery is settled in this way.
    Settle(Settle),
}

impl Delivery {
    /// The request to make, if there is one.
    pub(super) async fn prepare(&self, turn: &Turn<'_>) -> Result<NextRequest, store::Error> {
        let head = &turn.head;
        let messages = match &head.subject {
            Some(subject) if head.action != Action::Post => {
                let (tenant, user) = (&head.tenant, head.user.as_ref());
                self.inner
                    .store
                    .outbox()
                    .subject_messages(tenant, subject, turn.claim, user)
                    .await?
            }
            _ => Vec::new(),
        };
        let plan = subject::plan(head.action, &messages);
        let Some(request_kind) = plan.request_kind() else {
            return Ok(NextRequest::Settle(nothing_left(turn)));
        };
        let words = match self.words(turn, &plan).await {
            Err(error @ store::Error::Sealed(_)) => {
                let (tenant, delivery) = (&head.tenant, words_of(turn, &plan));
                tracing::error!(%tenant, %delivery, %error, "a message cannot be decrypted");
                let reason = Failure::Damaged;
                return Ok(NextRequest::Settle(Settle::Failed { reason, code: None }));
            }
            words => words?,
        };
        let place = place(turn);
        if (words.is_none() && request_kind != SlackRequestKind::Delete)
            || (place.is_none() && request_kind == SlackRequestKind::Post)
        {
            let reason = if head.damaged { Failure::Damaged } else { Failure::Template };
            return Ok(NextRequest::Settle(Settle::Failed { reason, code: None }));
        }
        let more = matches!(plan, Plan::Done { more: true, .. } | Plan::Retract { more: true, .. });
        Ok(NextRequest::Make(SlackRequest {
            kind: request_kind,
            target: plan.target().cloned(),
            more,
            words,
            place,
        }))
    }

    /// The message that the request shows; `None` if it shows none, or if it cannot be read.
    async fn words(
        &self,
        turn: &Turn<'_>,
        plan: &Plan<'_>,
    ) -> Result<Option<Rendered>, store::Error> {
        let head = &turn.head;
        match plan {
            Plan::Done { target, .. } => {
                let kept = self.inner.store.outbox().words(&head.tenant, target.words).await?;
                let shown = self.read(turn, kept.as_deref()).await?;
                Ok(shown.as_ref().map(render::done))
            }
            Plan::Retract { .. } => Ok(None),
            Plan::Post | Plan::Thread(_) | Plan::Replace(_) | Plan::Nothing => {
                self.read(turn, head.content.as_deref()).await
            }
        }
    }

    /// A message from its stored form, with the people that it mentions as they are now.
    async fn read(
        &self,
        turn: &Turn<'_>,
        content: Option<&[u8]>,
    ) -> Result<Option<Rendered>, store::Error> {
        let Some(content) = content else { return Ok(None) };
        let Ok(message) = serde_json::from_slice(content) else { return Ok(None) };
        let users = mentioned(content);
        if users.is_empty() {
            return Ok(Some(message));
        }
        let (store, installation) = (&self.inner.store, turn.claim.installation);
        let tenant = &turn.head.tenant;
        let (people, facts) = tokio::try_join!(
            store.people().mentions(tenant, installation, &users),
            store.tenancy().tenant_facts(tenant),
        )?;
        let people = match facts {
            Some(facts) => self.list(installation, &facts.settings).await.mentionable(people),
            None => people,
        };
        Ok(Some(resolved(message, &people)))
    }
}

impl SlackRequest {
    /// The thread named in the intent, so that a probe reads the same thread.
    pub(super) fn thread_ts(&self) -> Option<&str> {
        self.target
            .as_ref()
            .filter(|_| self.kind == SlackRequestKind::Thread)
            .map(|root| root.ts.as_str())
    }

    pub(super) fn change(&self) -> Option<MessageChange<'_>> {
        let target = self.target.as_ref()?;
        match (self.kind, &self.words) {
            (SlackRequestKind::Update, Some(words)) => Some(MessageChange::Update(UpdateMessage {
                channel: &target.channel,
                ts: &target.ts,
                text: &words.text,
                blocks: &words.blocks,
            })),
            (SlackRequestKind::Delete, _) => {
                Some(MessageChange::Delete { channel: &target.channel, ts: &target.ts })
            }
            _ => None,
        }
    }

    pub(super) fn message(&self, delivery_id: DeliveryId) -> Option<PostMessage<'_>> {
        let words = self.words.as_ref()?;
        let destination = match (&self.target, self.place.as_ref()) {
            (Some(root), _) => Destination::Conversation(&root.channel),
            // Not the `D...` id, even if it is known: Slack always takes the member's id for the
            // same conversation, and needs no other scope than chat:write.
            (None, Some(PostTarget::Person(member))) => Destination::Person(member),
            (None, Some(PostTarget::Channel(channel))) => Destination::Conversation(channel),
            (None, None) => return None,
        };
        Some(PostMessage {
            destination,
            text: &words.text,
            blocks: &words.blocks,
            delivery_id,
            thread_ts: self.thread_ts(),
        })
    }

    /// The meaning of the answer for the message that was acted on; `None`: the same as for any
    /// request.
    pub(super) fn acted(&self, action: Action, outcome: &Outcome) -> Option<Settle> {
        let target = self.target.as_ref()?;
        let acted = |shown| {
            Settle::Acted(Acted {
                message: target.delivery,
                channel: target.channel.clone(),
                ts: target.ts.clone(),
                shown,
                replaced: action == Action::Replace,
                more: self.more,
            })
        };
        match (self.kind, outcome) {
            (SlackRequestKind::Update, Outcome::Sent { .. }) => {
                Some(acted((action == Action::Done).then_some(Shown::Done)))
            }
            (SlackRequestKind::Thread, Outcome::Sent { channel, ts, unthreaded: true }) => {
                Some(Settle::Unthreaded {
                    root: Some(target.delivery),
                    channel: channel.clone(),
                    ts: ts.clone(),
                })
            }
            (SlackRequestKind::Delete, Outcome::Sent { .. }) => Some(acted(Some(Shown::Retracted))),
            (request_kind, Outcome::Rejected { code, .. }) => {
                match (request_kind, subject::unmodifiable(request_kind, code)?) {
                    // The message was to be deleted, and it is gone; perhaps by a request of ours
                    // whose answer was lost.
                    (SlackRequestKind::Delete, shown @ Shown::Gone) => Some(acted(Some(shown))),
                    (_, shown) => {
                        let code = code.clone();
                        Some(Settle::Unmodifiable { message: target.delivery, shown, code })
                    }
                }
            }
            _ => None,
        }
    }
}

/// There is no message (left) to act on. If this delivery acted on a message, it is finished.
/// Otherwise there was no message, or none that Slack lets us change.
fn nothing_left(turn: &Turn<'_>) -> Settle {
    let head = &turn.head;
    if head.acted_on.is_some() {
        return Settle::Finished;
    }
    match &head.code {
        Some(code)
            if subject::unmodifiable(SlackRequestKind::Update, code) == Some(Shown::Immutable) =>
        {
            Settle::Failed { reason: Failure::Rejected, code: Some(code.clone()) }
        }
        _ => Settle::Ended(End::Canceled(Cancellation::NothingToDo)),
    }
}

/// The delivery whose words the request shows.
fn words_of(turn: &Turn<'_>, plan: &Plan<'_>) -> DeliveryId {
    match plan {
        Plan::Done { target, .. } => target.words,
        _ => turn.head.delivery,
    }
}

fn place(turn: &Turn<'_>) -> Option<PostTarget> {
    let lane = turn.claim.lane.as_str();
    if turn.head.user.is_some() {
        SlackUserId::parse(lane).ok().map(PostTarget::Person)
    } else {
        ChannelId::parse(lane).ok().map(PostTarget::Channel)
    }
}
