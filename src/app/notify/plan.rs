//! The plan of a Notify: for each recipient a verdict, and the deliveries to store.
//!
//! `domain::delivery::admission` decides whether a message may go, and where. Each recipient has
//! one [`Decision`] (`person`, `channel`), which changes nothing; it then enters the plan.

mod entry;
mod person;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use super::Request;
use super::recipients::To;
use crate::app::Error;
use crate::app::tenant::{Known, Tenant};
use crate::directory::{Directory, View};
use crate::domain::delivery::End;
use crate::domain::delivery::admission::{Admitted, LaneAddress, Message};
use crate::domain::delivery::trace::{self, Cause, Stage, Trace, Wait};
use crate::domain::delivery::verdict::{
    Addressee, Answer, Decided, FoundMember, Guarantee, Verdict,
};
use crate::domain::ids::{
    ChannelId, ChannelKey, DeliveryId, InstallationId, NotificationId, UserId,
};
use crate::domain::message::draft::Draft;
use crate::domain::message::event::tenant_types::KnownType;
use crate::domain::message::render::mentions::{Mentions, mentioned, resolved};
use crate::domain::message::render::{Reader, Rendered};
use crate::domain::reason::NoMatch;
use crate::domain::settings::{Identity, Preferences};
use crate::store::{ForChannel, Installation, KeyedChannel, NewDelivery};

/// The answer, and the data to store.
pub(super) struct Planned {
    pub(super) answer: Answer,
    pub(super) deliveries: Vec<NewDelivery>,
    /// New unique matches, stored with the notification.
    pub(super) identities: Vec<(UserId, Identity)>,
    /// The place in `deliveries` of the delivery to each lane.
    lanes: HashMap<String, usize>,
    /// The rendered message for each kind of reader.
    worded: HashMap<Reader, Vec<u8>>,
    /// Recipients about which Slack was or will be asked.
    strangers: usize,
}

/// Most recipients of one call about which Slack is asked: a minute of its limit. For the rest of a
/// broadcast the list decides, so that the caller can fall back at once.
pub(super) const STRANGERS: usize = 50;

/// Recipients between two yields: about a millisecond's worth.
pub(super) const BREATH: usize = 16;

/// All facts that the verdicts depend on.
pub(super) struct Planner<'a> {
    pub(super) tenant: &'a Tenant,
    pub(super) request: &'a Request,
    pub(super) kind: KnownType<'a>,
    pub(super) message: Message<'a>,
    /// `None` for actions without text.
    pub(super) draft: Option<Draft<'a>>,
    pub(super) preferences: &'a HashMap<UserId, Preferences>,
    pub(super) view: &'a View,
    pub(super) directory: &'a Directory,
    /// The number of recipients about which Slack has answered for this call.
    pub(super) asked: usize,
    /// When held messages are first looked at again.
    pub(super) look_held_after: Duration,
    /// People with a delivery that is still resolving, which holds their place: new messages for
    /// them wait behind it.
    pub(super) resolving: &'a HashSet<UserId>,
    /// The places of people's messages about the subject, for actions on these messages only.
    pub(super) places: HashMap<UserId, LaneAddress>,
}

/// The decision about one recipient, with its reasons.
struct Decision<'a> {
    /// `None` for a channel.
    known: Option<&'a Known>,
    /// The channel, if the call names it by its key.
    channel: Option<ForChannel>,
    start: Start,
    trace: Trace,
    /// A new unique match, to be stored.
    identity: Option<Identity>,
}

/// Where a delivery starts.
enum Start {
    /// At the tail of this lane, or with the delivery that another recipient already has there.
    Lane {
        installation: InstallationId,
        lane: String,
        found: Option<FoundMember>,
        guarantee: Guarantee,
    },
    /// At the tail of the lane of a channel with a key, which is expected to be this one; `None`:
    /// the channel is not ready, and it waits for that.
    Channel { expected: Option<LaneAddress>, guarantee: Guarantee },
    /// Its member is determined later; `asks`: after a question to Slack.
    Later { asks: bool, guarantee: Guarantee },
    /// It waits for the person to appear in Slack.
    Held { reason: NoMatch, members_without_email: u64, guarantee: Guarantee },
    /// It ends at once.
    Ended { end: End, members_without_email: u64 },
}

impl Planned {
    /// The people that the messages mention.
    pub(super) fn mentioned(&self) -> BTreeSet<UserId> {
        self.worded.values().flat_map(|content| mentioned(content)).collect()
    }

    /// For each verdict, the message, if one is to be sent, and the reasons of the decision.
    pub(super) fn details(&self, people: &Mentions) -> Vec<(Option<Rendered>, Trace)> {
        let deliveries: HashMap<DeliveryId, &NewDelivery> =
            self.deliveries.iter().map(|delivery| (delivery.id, delivery)).collect();
        let detail = |verdict: &Verdict| {
            let delivery = verdict.delivery.and_then(|id| deliveries.get(&id));
            let content = delivery.and_then(|delivery| delivery.content.as_deref());
            let trace = delivery.and_then(|delivery| delivery.trace.as_deref());
            let rendered = content.and_then(|content| serde_json::from_slice(content).ok());
            let rendered = rendered.map(|message| resolved(message, people));
            (rendered, Trace::from_bytes(trace.unwrap_or_default()))
        };
        self.answer.verdicts.iter().map(detail).collect()
    }
}

impl Planner<'_> {
    /// One verdict for each recipient; recipients that are the same person, channel or member share
    /// a delivery.
    pub(super) async fn plan(
        &self,
        notification: NotificationId,
        recipients: &[To<'_>],
    ) -> Result<Planned, Error> {
        let mut planned = Planned {
            answer: Answer { notification, action: self.request.action, verdicts: Vec::new() },
            deliveries: Vec::new(),
            identities: Vec::new(),
            lanes: HashMap::new(),
            worded: HashMap::new(),
            strangers: self.asked,
        };
        let mut decided: HashMap<Addressee, (Decided, DeliveryId)> = HashMap::new();
        for (number, to) in recipients.iter().enumerate() {
            // Lets other calls run in between.
            if number % BREATH == BREATH - 1 {
                tokio::task::yield_now().await;
            }
            let addressee = to.addressee();
            let (verdict, delivery) = if let Some(before) = decided.get(&addressee) {
                before.clone()
            } else {
                let may_ask = planned.strangers < STRANGERS;
                let decision = match to {
                    To::Person(named) => self.person(named, may_ask),
                    To::Channel(id) => self.channel(id),
                    To::Keyed { key, channel } => self.keyed(key, channel),
                };
                self.enter(decision, &mut planned)?
            };
            decided.insert(addressee.clone(), (verdict.clone(), delivery));
            let delivery = Some(delivery);
            planned.answer.verdicts.push(Verdict { addressee, decided: verdict, delivery });
        }
        Ok(planned)
    }

    /// Whether the message may go to a person with these choices, or to a channel.
    fn admit<'p>(
        &'p self,
        chosen: Option<&'p Preferences>,
    ) -> Result<Admitted<'p, &'p Installation>, End> {
        self.tenant.admit(self.message, chosen)
    }

    fn channel(&self, id: &ChannelId) -> Decision<'_> {
        let installation = match self.admit(None) {
            Ok(admitted) => admitted.workspace,
            Err(end) => return self.ends(None, None, end, 0),
        };
        let start = Start::Lane {
            installation: installation.id,
            lane: id.as_str().to_owned(),
            found: None,
            guarantee: Guarantee::for_scopes(&installation.scopes, false),
        };
        let trace = self.trace(None, None, "send");
        Decision { known: None, channel: None, start, trace, identity: None }
    }

    /// A channel by its key. Whether it is ready is decided again when the message is stored.
    fn keyed(&self, key: &ChannelKey, channel: &KeyedChannel) -> Decision<'_> {
        let named = Some(ForChannel { id: channel.id, key: key.clone() });
        let installation = match self.admit(None) {
            Ok(admitted) => admitted.workspace,
            Err(end) => return Decision { channel: named, ..self.ends(None, None, end, 0) },
        };
        let ready = channel.ready.clone();
        let expected = ready.map(|place| LaneAddress {
            installation: place.installation,
            lane: place.channel.into(),
        });
        let mut trace = self.trace(None, None, "send");
        if expected.is_none() && self.message.deferred_until().is_none() {
            trace.waits(Wait::new(Cause::Channel, self.message.now, None));
        }
        let guarantee = Guarantee::for_scopes(&installation.scopes, false);
        let start = Start::Channel { expected, guarantee };
        Decision { known: None, channel: named, start, trace, identity: None }
    }

    /// A recipient whose message ends at once.
    fn ends<'p>(
        &self,
        known: Option<&'p Known>,
        chosen: Option<&Preferences>,
        end: End,
        members_without_email: u64,
    ) -> Decision<'p> {
        let trace = self.trace(chosen, None, end.code());
        Decision {
            known,
            channel: None,
            start: Start::Ended { end, members_without_email },
            trace,
            identity: None,
        }
    }

    fn trace(
        &self,
        chosen: Option<&Preferences>,
        identity: Option<trace::TraceBasis>,
        verdict: &str,
    ) -> Trace {
        let (request, settings, now) = (self.request, &self.tenant.settings, self.message.now);
        let chosen = chosen.filter(|_| request.action.speaks());
        let mut trace = Trace::default();
        trace.decided(trace::TraceDecision {
            stage: Stage::Accepted,
            at: now,
            switches: Some(trace::Switches::of(settings, &request.event)),
            choice: chosen.and_then(|chosen| trace::TraceChoice::of(chosen, &request.event)),
            identity,
            template: request.action.speaks().then(|| request.event.to_string()),
            verdict: verdict.to_owned(),
        });
        if let Some(until) = self.message.deferred_until()
            && verdict == "send"
        {
            trace.waits(Wait::new(Cause::Time, now, Some(until)));
        }
        trace
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::capacity::priority::Priority;
    use crate::domain::delivery::DeliveryKind;
    use crate::domain::delivery::subject::Action;
    use crate::domain::ids::{EventType, SlackUserId};
    use crate::domain::message::render::mentions::Mentioned;
    use crate::domain::message::render::{Context, Template, render};
    use crate::domain::time::Timestamp;
    use crate::store::Target;

    fn reader() -> Reader {
        Reader { name: None, locales: Vec::new(), time_zone: "UTC".into() }
    }

    /// The stored form of a message that mentions this person.
    fn mentioning(user: &UserId) -> Vec<u8> {
        let template = Template { text: "By {{ by | mention }}".into(), blocks: "[]".into() };
        let context = Context {
            event: &EventType::parse("own.type").unwrap(),
            data: &json!({ "by": user.as_str() }),
            reader: &reader(),
            link: None,
            button: "Open",
            now: Timestamp(0),
        };
        serde_json::to_vec(&render(&template, &context).unwrap()).unwrap()
    }

    #[test]
    fn a_preview_names_people_as_the_message_will() {
        let ada = UserId::parse("ada").unwrap();
        let [id, notification, installation] = [1, 2, 3].map(uuid::Uuid::from_u128);
        let (id, content) = (DeliveryId(id), mentioning(&ada));
        let delivery = NewDelivery {
            id,
            user: Some(ada.clone()),
            channel: None,
            target: Target::Lane { installation: InstallationId(installation), lane: "U1".into() },
            content: Some(content.clone()),
            kind: DeliveryKind::Normal,
            priority: Priority::Normal,
            also: Vec::new(),
            trace: None,
        };
        let decided = Decided::Queued {
            delivery: id,
            found: None,
            estimated_send_time: None,
            guarantee: Guarantee::EffectivelyOnce,
            awaits_channel: false,
        };
        let addressee = Addressee::Person(ada.clone());
        let planned = Planned {
            answer: Answer {
                notification: NotificationId(notification),
                action: Action::Post,
                verdicts: vec![Verdict { addressee, decided, delivery: Some(id) }],
            },
            deliveries: vec![delivery],
            identities: Vec::new(),
            lanes: HashMap::new(),
            worded: HashMap::from([(reader(), content)]),
            strangers: 0,
        };
        assert_eq!(planned.mentioned(), BTreeSet::from([ada.clone()]));
        let member = SlackUserId::parse("U0ADA").ok();
        let people = [(ada, Mentioned { member, display_name: None })].into_iter().collect();
        let (message, _) = planned.details(&people).remove(0);
        assert_eq!(message.unwrap().text, "By <@U0ADA>");
    }
}
