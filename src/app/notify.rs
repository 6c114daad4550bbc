//! Notify: accepts a notification for people and channels. It is durable when the call returns,
//! idempotent by request id, and its answer has a verdict on each recipient.

mod payload;
mod places;
mod recipients;

mod plan;
mod prepare;

mod ask;

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use serde_json::Value;

use super::tenant::Tenant;
use super::tenant_types::Catalogue;
use super::{App, Call, Error};
use crate::domain::access;
use crate::domain::capacity::priority::Priority;
use crate::domain::delivery::DeliveryKind;
use crate::domain::delivery::admission::{Message, PersonPart};
use crate::domain::delivery::fingerprint::fingerprint;
use crate::domain::delivery::subject::Action;
use crate::domain::delivery::trace::Trace;
use crate::domain::delivery::verdict::Answer;
use crate::domain::identity::person::Person;
use crate::domain::ids::{
    AudienceRole, ChannelId, ChannelKey, ContentId, EventType, NotificationId, RequestId,
    SubjectKey, UserId,
};
use crate::domain::message::draft::Draft;
use crate::domain::message::event::tenant_types::KnownType;
use crate::domain::message::render::Rendered;
use crate::domain::message::stored;
use crate::domain::message::wording::candidates::ReadyWords;
use crate::domain::time::Timestamp;
use crate::{store, telemetry};

use payload::payload;
use plan::Planner;
use prepare::prepare;
use recipients::{gather, in_order, people_named};

/// The roles of the people in a call, each person with all roles that they are named with.
pub type Roles = HashMap<UserId, BTreeSet<AudienceRole>>;

/// The roles of a person who is named without any.
static NO_ROLES: BTreeSet<AudienceRole> = BTreeSet::new();

/// One addressee of a notification.
#[derive(Debug, Clone)]
pub enum Recipient {
    /// A person that the store may know.
    Known(UserId),
    /// A person described in the call; replaces the stored record.
    Described(Person),
    /// A channel of the connected workspace.
    Channel(ChannelId),
    /// A channel by the platform's key; it may not be in Slack yet.
    ChannelKey(ChannelKey),
}

impl Recipient {
    /// The person; `None` for a channel.
    #[must_use]
    pub fn user_id(&self) -> Option<&UserId> {
        match self {
            Self::Known(id) => Some(id),
            Self::Described(person) => Some(&person.user_id),
            Self::Channel(_) | Self::ChannelKey(_) => None,
        }
    }
}

/// When held messages are first looked at again: by then every replica's member list is newer than
/// the one by which they were held (`directory.poll_milliseconds`).
const HELD_SOON: Duration = Duration::from_secs(10);

/// Whether the call repeats an earlier one with the same request id.
enum Repeat {
    First,
    Again,
}

/// The identity of a call: two calls of one caller with the same values are the same call.
#[derive(Clone)]
struct Said {
    request_id: RequestId,
    fingerprint: [u8; 32],
}

/// The caller's request.
#[derive(Debug, Clone)]
pub struct Request {
    pub request_id: RequestId,
    pub event: EventType,
    /// At most `limits::RECIPIENTS`; empty: all recipients of messages about the subject.
    pub recipients: Vec<Recipient>,
    /// `None`: the caller names no recipients, so that the event type's audience does not apply.
    pub roles: Option<Roles>,
    /// The person who caused the event.
    pub actor: Option<UserId>,
    /// A JSON object.
    pub data: Value,
    pub link: Option<String>,
    pub content_id: Option<ContentId>,
    /// The time after which delivery is too late.
    pub expires_in: Duration,
    /// The subject, which links the message to earlier and later ones.
    pub subject: Option<SubjectKey>,
    pub action: Action,
    /// The earliest time of delivery.
    pub deliver_after: Option<Timestamp>,
    /// Whether to wait for people who are not in Slack yet; `None`: according to the settings.
    pub hold: Option<bool>,
    /// How long to wait for Slack's answer about people who are not in the member list.
    pub decide_within: Option<Duration>,
    /// `None`: the event type's priority.
    pub priority: Option<Priority>,
}

impl Request {
    /// A person's part in the event.
    fn part<'a>(&'a self, kind: &KnownType<'a>, user: &UserId) -> PersonPart<'a> {
        let theirs = |roles: &'a Roles| roles.get(user).unwrap_or(&NO_ROLES);
        PersonPart {
            audience: &kind.rules.audience_roles,
            roles: self.roles.as_ref().map(theirs),
            is_own_act: kind.rules.skip_actor && self.actor.as_ref() == Some(user),
        }
    }

    /// The message to one recipient, for the decision about it.
    fn message(&self, now: Timestamp) -> Message<'_> {
        Message {
            now,
            expires_at: now.plus(self.expires_in),
            deliver_after: self.deliver_after,
            kind: DeliveryKind::Normal,
            action: self.action,
            event: &self.event,
            hold: self.hold,
            damaged: false,
        }
    }

    /// The message before it has a reader; `None` for actions without text.
    fn draft(&self, message: &Message<'_>, words: &ReadyWords) -> Option<Draft<'_>> {
        // In a scheduled message, "in an hour" counts from its due time.
        let from = message.deferred_until().unwrap_or(message.now);
        let link = self.link.as_deref();
        let draft = || Draft::of(&self.event, words.clone(), &self.data, link, from);
        self.action.speaks().then(draft)
    }
}

/// The result that a Notify would have.
#[derive(Debug)]
pub struct Tried {
    pub answer: Answer,
    /// For each verdict: the message, if one would be sent, and the reasons of the decision.
    pub details: Vec<(Option<Rendered>, Trace)>,
}

impl App {
    /// Returns the verdicts, in the order of the recipients. A repeat of the request gets the
    /// stored answer; the same request id with another payload is [`Error::RequestIdReused`]; a
    /// refused call stores nothing.
    pub async fn notify(&self, call: &Call, request: Request) -> Result<Answer, Error> {
        let result = self.accept(call, request).await;
        self.metrics.notify(match &result {
            Ok((_, Repeat::First)) => "accepted",
            Ok((_, Repeat::Again)) => "replayed",
            Err(Error::RequestIdReused) => "conflict",
            Err(Error::Exhausted { .. }) => "shed",
            Err(Error::Unavailable { .. } | Error::Internal(_)) => "failed",
            Err(_) => "refused",
        });
        result.map(|(answer, _)| answer)
    }

    /// Makes the same decisions, with the message and the reasons; stores and sends nothing.
    pub async fn try_notify(&self, call: &Call, mut request: Request) -> Result<Tried, Error> {
        call.may(&access::NOTIFY)?;
        let (tenant, types, asked) = self.ready(&call.tenant, &mut request).await?;
        let event = request.event.clone();
        let kind = prepare(&types, &event, &mut request)?;
        let words = self.words_of(&tenant, &types, &kind, &request).await?;
        let mut planned = self.plan(&tenant, &mut request, &kind, &words, asked).await?;
        self.estimate(&tenant, &request, &mut planned).await?;
        let people = self.mentions(&tenant, &planned.mentioned()).await?;
        let details = planned.details(&people);
        Ok(Tried { answer: planned.answer, details })
    }

    /// A repeat gets its stored answer whatever changed since: before a call is refused because of
    /// the present state, its request id is looked up. Accepting a call finds a repeat without a
    /// separate lookup.
    async fn accept(&self, call: &Call, request: Request) -> Result<(Answer, Repeat), Error> {
        call.may(&access::NOTIFY)?;
        // The fingerprint covers the caller's words, not the recipients that they stand for today.
        let said = Said {
            request_id: request.request_id.clone(),
            fingerprint: fingerprint(&payload(&request)),
        };
        // A repeat must not wait for Slack.
        if request.decide_within.is_some()
            && let Some(repeat) = self.repeat(call, &said).await
        {
            return repeat;
        }
        match self.accept_first(call, request, said.clone()).await {
            Err(refusal) if refusal.is_of_its_time() => {
                let repeat = self.repeat(call, &said).await;
                repeat.unwrap_or(Err(refusal))
            }
            accepted => accepted,
        }
    }

    /// The outcome of an earlier call with the same request id, if there was one.
    async fn repeat(&self, call: &Call, said: &Said) -> Option<Result<(Answer, Repeat), Error>> {
        let principal = &call.caller.principal;
        let before = self.store.outbox().accepted_before(
            &call.tenant,
            principal,
            &said.request_id,
            &said.fingerprint,
        );
        match before.await {
            Ok(before) => before.map(|before| replayed(&before)),
            Err(error) => {
                tracing::warn!(%error, "it is unknown whether a refused call was accepted before");
                None
            }
        }
    }

    async fn accept_first(
        &self,
        call: &Call,
        mut request: Request,
        said: Said,
    ) -> Result<(Answer, Repeat), Error> {
        let (tenant, types, asked) = self.ready(&call.tenant, &mut request).await?;
        let event = request.event.clone();
        let kind = prepare(&types, &event, &mut request)?;
        let words = self.words_of(&tenant, &types, &kind, &request).await?;
        let mut planned = self.plan(&tenant, &mut request, &kind, &words, asked).await?;
        self.estimate(&tenant, &request, &mut planned).await?;
        let waiting = planned.deliveries.iter().filter(|new| new.waits()).count() as u64;
        let room = self.room(&call.tenant, waiting).await?;
        let answer = serde_json::to_vec(&planned.answer).map_err(|e| Error::Internal(e.into()))?;
        // People known since this call: messages may be held for them.
        let found: Vec<UserId> = planned.identities.iter().map(|(user, _)| user.clone()).collect();
        let accept = store::Accept {
            id: planned.answer.notification,
            tenant: call.tenant.clone(),
            principal: call.caller.principal.clone(),
            request_id: said.request_id,
            fingerprint: said.fingerprint,
            event_type: request.event.clone(),
            data: content(&request, &kind, &words, &planned.deliveries)?,
            link: request.link.clone(),
            about: store::NotificationTerms {
                subject: request.subject.clone(),
                action: request.action,
                deliver_after: request.deliver_after,
            },
            answer,
            deliveries: planned.deliveries,
            people: described(&request),
            identities: planned.identities,
            expires_in: request.expires_in,
            trace_context: telemetry::context(),
        };
        match self.store.outbox().accept(accept).await? {
            store::Accepted::New { .. } => {
                room.take(waiting);
                if !found.is_empty() {
                    self.store.waiting().recheck_held(&call.tenant, &found).await?;
                }
                Ok((planned.answer, Repeat::First))
            }
            store::Accepted::Replayed { answer } => replayed(&store::Before::Same { answer }),
            store::Accepted::Mismatch => replayed(&store::Before::Other),
        }
    }

    /// The words of the messages; an action without messages needs none of the tenant's.
    async fn words_of(
        &self,
        tenant: &Tenant,
        types: &Catalogue,
        kind: &KnownType<'_>,
        request: &Request,
    ) -> Result<ReadyWords, Error> {
        if !request.action.speaks() {
            return Ok(kind.words());
        }
        let content = request.content_id.as_ref();
        self.words_for(tenant, types, kind, &request.event, content).await
    }

    /// Adds the time when messages sent at once should reach Slack; scheduled messages are sent at
    /// their own time.
    async fn estimate(
        &self,
        tenant: &Tenant,
        request: &Request,
        planned: &mut plan::Planned,
    ) -> Result<(), Error> {
        if request.deliver_after.is_none_or(|after| after <= tenant.now) {
            let times =
                self.send_times(&planned.deliveries, request.action.budget(), tenant.now).await?;
            planned.answer.estimate(&times);
        }
        Ok(())
    }

    /// Plans the deliveries; fills in the recipients of a request without any. Slack has answered
    /// about `asked` of them.
    async fn plan(
        &self,
        tenant: &Tenant,
        request: &mut Request,
        kind: &KnownType<'_>,
        words: &ReadyWords,
        asked: usize,
    ) -> Result<plan::Planned, Error> {
        let places = self.places(tenant, request).await?;
        let request = &*request;
        let _turn = self.turns.take_if_large(&tenant.id, request.recipients.len()).await;
        let channels = self.channels_named(&tenant.id, request).await?;
        let ids = people_named(request);
        let store::PeopleFacts { people: mut known, preferences, resolving } =
            self.store.people().facts(&tenant.id, &ids).await?;
        let view = self.view(tenant).await?;
        let people = self.named(tenant, gather(request, &mut known)).await?;
        let look_held_after = HELD_SOON.mul_f64(self.workspaces.time_scale());
        let now = tenant.now;
        if let Some(after) = request.deliver_after
            && after >= now.plus(request.expires_in)
        {
            return Err(Error::invalid("deliver_after", "must be earlier than the expiry"));
        }
        let message = request.message(now);
        let planner = Planner {
            tenant,
            request,
            kind: *kind,
            message,
            draft: request.draft(&message, words),
            preferences: &preferences,
            view: &view,
            directory: &self.directory,
            asked,
            look_held_after,
            resolving: &resolving,
            places,
        };
        let recipients = in_order(request, &people, &channels)?;
        planner.plan(NotificationId(uuid::Uuid::now_v7()), &recipients).await
    }
}

/// The data to store. If a message is written later, the words are stored with it: those of an own
/// type of the tenant, and its templates.
fn content(
    request: &Request,
    kind: &KnownType<'_>,
    words: &ReadyWords,
    deliveries: &[store::NewDelivery],
) -> Result<Vec<u8>, Error> {
    let own = kind.own_words().filter(|_| request.action.speaks());
    let candidates = words.candidates();
    let has_words = own.is_some() || !candidates.is_empty();
    let bytes = if has_words && !deliveries.iter().any(store::NewDelivery::is_written_later) {
        stored::all_written(&request.data)
    } else {
        stored::to_bytes(&request.data, own, candidates)
    };
    bytes.map_err(|e| Error::Internal(e.into()))
}

/// The stored answer of the earlier call.
fn replayed(before: &store::Before) -> Result<(Answer, Repeat), Error> {
    match before {
        store::Before::Same { answer } => {
            let answer = serde_json::from_slice(answer).map_err(|e| Error::Internal(e.into()))?;
            Ok((answer, Repeat::Again))
        }
        store::Before::Other => Err(Error::RequestIdReused),
    }
}

/// The records to store: one for each person described, the last one winning.
fn described(request: &Request) -> Vec<Person> {
    let mut people: HashMap<&UserId, &Person> = HashMap::new();
    for recipient in &request.recipients {
        if let Recipient::Described(person) = recipient {
            people.insert(&person.user_id, person);
        }
    }
    let mut people: Vec<Person> = people.into_values().cloned().collect();
    people.sort_unstable_by(|a, b| a.user_id.cmp(&b.user_id));
    people
}
