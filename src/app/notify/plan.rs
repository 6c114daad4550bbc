//! The plan of a Notify: for each recipient a verdict, and the deliveries to store.

mod person;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::{Recipient, Request};
use crate::app::tenant::{Known, Tenant};
use crate::app::{Error, Violation};
use crate::directory::{Directory, View};
use crate::domain::delivery::{End, Kind};
use crate::domain::event;
use crate::domain::ids::{DeliveryId, InstallationId, NotificationId, SlackUserId, UserId};
use crate::domain::mapping::Values;
use crate::domain::matching::{self, Match, MemberDecision};
use crate::domain::reason::{NoMatch, Suppression};
use crate::domain::render::{Context, Link, Reader, Rendered};
use crate::domain::settings::{Identity, Preferences, Settings, suppression};
use crate::domain::time::Timestamp;
use crate::domain::trace::{self, Cause, Stage, Trace, Wait};
use crate::domain::verdict::{Addressee, Answer, Decided, FoundMember, Guarantee, Verdict};
use crate::store::{NewDelivery, Target};

/// The answer, and the data to store.
pub(super) struct Planned {
    pub(super) answer: Answer,
    pub(super) deliveries: Vec<NewDelivery>,
    /// New unique matches, stored with the notification.
    pub(super) identities: Vec<(UserId, Identity)>,
    /// For each verdict, the index of its delivery in `deliveries`.
    shares: Vec<usize>,
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
    pub(super) preferences: &'a HashMap<UserId, Preferences>,
    pub(super) view: &'a View,
    /// The values of the mapping's user attribute for each person.
    pub(super) values: &'a HashMap<UserId, Values>,
    pub(super) directory: &'a Directory,
    pub(super) now: Timestamp,
    /// The number of recipients about which Slack has answered for this call.
    pub(super) asked: usize,
    /// When held messages are first looked at again.
    pub(super) look_held_after: Duration,
    /// People with a delivery that is still resolving, which holds their place: new messages for
    /// them wait behind it.
    pub(super) resolving: &'a HashSet<UserId>,
    /// The places of people's messages about the subject, for actions on these messages only.
    pub(super) places: HashMap<UserId, (InstallationId, String)>,
}

/// The lanes of one call's messages, each once.
#[derive(Default)]
struct Lanes(HashMap<String, usize>);

impl Planned {
    /// For each verdict, the message, if one is to be sent, and the reasons of the decision.
    pub(super) fn details(&self) -> Vec<(Option<Rendered>, Trace)> {
        let delivery = |at: &usize| self.deliveries.get(*at);
        let detail = |delivery: Option<&NewDelivery>| {
            let content = delivery.and_then(|delivery| delivery.content.as_deref());
            let trace = delivery.and_then(|delivery| delivery.trace.as_deref());
            let rendered = content.and_then(|content| serde_json::from_slice(content).ok());
            (rendered, Trace::from_bytes(trace.unwrap_or_default()))
        };
        self.shares.iter().map(|at| detail(delivery(at))).collect()
    }

    /// Adds a delivery; returns its index.
    fn push(&mut self, delivery: NewDelivery) -> usize {
        self.deliveries.push(delivery);
        self.deliveries.len() - 1
    }
}

impl Planner<'_> {
    /// One verdict for each recipient; recipients that are the same person, channel or member share
    /// a delivery.
    pub(super) async fn plan(
        &self,
        notification: NotificationId,
        people: HashMap<UserId, Known>,
    ) -> Result<Planned, Error> {
        let mut planned = Planned {
            answer: Answer { notification, action: self.request.action, verdicts: Vec::new() },
            deliveries: Vec::new(),
            identities: Vec::new(),
            shares: Vec::new(),
            worded: HashMap::new(),
            strangers: self.asked,
        };
        let mut decided: HashMap<Addressee, (Decided, usize)> = HashMap::new();
        let mut lanes = Lanes::default();
        for (number, recipient) in self.request.recipients.iter().enumerate() {
            // Lets other calls run in between.
            if number % BREATH == BREATH - 1 {
                tokio::task::yield_now().await;
            }
            let addressee = match recipient {
                Recipient::Known(id) => Addressee::Person(id.clone()),
                Recipient::Described(person) => Addressee::Person(person.user_id.clone()),
                Recipient::Channel(id) => Addressee::Channel(id.clone()),
            };
            let (verdict, at) = match decided.get(&addressee) {
                Some(known) => known.clone(),
                None => match &addressee {
                    Addressee::Person(id) => {
                        // A recipient without a verdict would be dropped in silence.
                        let known = people.get(id).ok_or_else(|| {
                            Error::Internal("a recipient is missing among the call's people".into())
                        })?;
                        self.person(known, &mut planned, &mut lanes)?
                    }
                    Addressee::Channel(id) => {
                        self.channel(id.as_str(), &mut planned, &mut lanes)?
                    }
                },
            };
            decided.insert(addressee.clone(), (verdict.clone(), at));
            planned.shares.push(at);
            let delivery = planned.deliveries.get(at).map(|delivery| delivery.id);
            planned.answer.verdicts.push(Verdict { addressee, decided: verdict, delivery });
        }
        Ok(planned)
    }

    fn channel(
        &self,
        channel: &str,
        planned: &mut Planned,
        lanes: &mut Lanes,
    ) -> Result<(Decided, usize), Error> {
        let nobody = Preferences::default();
        // A channel has no choices of its own, so opt-in does not apply to it.
        let open = Settings { opt_in: false, ..self.tenant.settings.clone() };
        if let Some(by) = self.held_back(&open, &nobody) {
            let trace = self.trace(None, None, by.code());
            return Ok(self.suppressed(by, None, trace, planned));
        }
        let Some(installation) = &self.tenant.installation else {
            let reason = NoMatch::NotConnected;
            let trace = self.trace(None, None, reason.code());
            return Ok(self.unreachable((reason, 0), None, trace, planned));
        };
        let at = lanes.join(planned, channel, None, |planned| {
            let content = self.words(None, None, planned)?;
            let target = Target::Lane { installation: installation.id, lane: channel.to_owned() };
            Ok(self.delivery(None, target, content, self.trace(None, None, "send")))
        })?;
        let guarantee = Guarantee::for_scopes(&installation.scopes, false);
        Ok((self.queued(planned, at, None, guarantee), at))
    }

    fn values(&self, known: &Known) -> &Values {
        // All people in the call have values.
        self.values.get(&known.person.user_id).unwrap_or(&Values::TooCostly)
    }

    /// The switch or choice that suppresses the message. Deletions and crossings-out are suppressed
    /// only by the tenant's own switch.
    fn held_back(&self, settings: &Settings, chosen: &Preferences) -> Option<Suppression> {
        if self.request.action.speaks() {
            return suppression(settings, chosen, &self.request.event);
        }
        (!settings.sending_allowed).then_some(Suppression::SendingOff)
    }

    fn queued(
        &self,
        planned: &Planned,
        at: usize,
        found: Option<FoundMember>,
        guarantee: Guarantee,
    ) -> Decided {
        let estimated_send_time = self.deferred_until();
        let delivery = planned.deliveries.get(at).map_or(DeliveryId(uuid::Uuid::nil()), |d| d.id);
        Decided::Queued { delivery, found, estimated_send_time, guarantee }
    }

    fn deferred_until(&self) -> Option<Timestamp> {
        self.request.deliver_after.filter(|after| *after > self.now)
    }

    fn trace(
        &self,
        chosen: Option<&Preferences>,
        identity: Option<trace::TraceBasis>,
        verdict: &str,
    ) -> Trace {
        let (request, settings) = (self.request, &self.tenant.settings);
        let chosen = chosen.filter(|_| request.action.speaks());
        let mut trace = Trace::default();
        trace.decided(trace::TraceDecision {
            stage: Stage::Accepted,
            at: self.now,
            switches: Some(trace::Switches::of(settings, &request.event)),
            choice: chosen.and_then(|chosen| trace::Choice::of(chosen, &request.event)),
            identity,
            template: request.action.speaks().then(|| request.event.to_string()),
            verdict: verdict.to_owned(),
        });
        if let Some(until) = self.deferred_until()
            && verdict == "send"
        {
            trace.waits(Wait::new(Cause::Time, self.now, Some(until)));
        }
        trace
    }

    /// A recipient whose message a switch holds back.
    fn suppressed(
        &self,
        by: Suppression,
        user: Option<&UserId>,
        trace: Trace,
        planned: &mut Planned,
    ) -> (Decided, usize) {
        let ended = Target::Ended(End::Suppressed(by));
        (Decided::Suppressed { by }, planned.push(self.delivery(user, ended, None, trace)))
    }

    /// A recipient without a member in Slack.
    fn unreachable(
        &self,
        (reason, members_without_email): (NoMatch, u64),
        user: Option<&UserId>,
        trace: Trace,
        planned: &mut Planned,
    ) -> (Decided, usize) {
        let ended = Target::Ended(End::Unreachable(reason));
        let at = planned.push(self.delivery(user, ended, None, trace));
        (Decided::Unreachable { reason, members_without_email }, at)
    }

    fn delivery(
        &self,
        user: Option<&UserId>,
        target: Target,
        content: Option<Vec<u8>>,
        trace: Trace,
    ) -> NewDelivery {
        NewDelivery {
            id: DeliveryId(uuid::Uuid::now_v7()),
            user: user.cloned(),
            target,
            content,
            kind: Kind::Normal,
            priority: self.request.priority(),
            also: Vec::new(),
            trace: Some(trace.to_bytes()),
        }
    }

    /// The message as it is stored, rendered for the reader's time zone: the person's own, or the
    /// member's, or the tenant's. Rendered once for all readers of the same text; `None` for
    /// actions without text.
    fn words(
        &self,
        known: Option<&Known>,
        member: Option<&SlackUserId>,
        planned: &mut Planned,
    ) -> Result<Option<Vec<u8>>, Error> {
        if !self.request.action.speaks() {
            return Ok(None);
        }
        let settings = &self.tenant.settings;
        let person = known.map(|known| &known.person);
        let member = member.and_then(|id| self.view.member(id));
        let reader = Reader::of(person, member.as_ref(), settings);
        let template = event::find(&self.request.event)
            .ok_or_else(|| Error::invalid("event_type", "is not a known event type"))?
            .compiled();
        let reader = template.view(reader);
        if let Some(content) = planned.worded.get(&reader) {
            return Ok(Some(content.clone()));
        }
        let link = self.request.link.as_ref().map(|url| Link { url: url.clone(), label: None });
        let context = Context {
            event: &self.request.event,
            data: &self.request.data,
            reader: &reader,
            link: link.as_ref(),
            button: event::button(&self.request.event),
            // In a scheduled message, "in an hour" counts from its due time.
            now: self.deferred_until().unwrap_or(self.now),
        };
        let rendered = template
            .render(&context)
            .map_err(|error| Error::Invalid(vec![Violation::new("data", error)]))?;
        let content =
            serde_json::to_vec(&rendered).map_err(|error| Error::Internal(error.into()))?;
        planned.worded.insert(reader, content.clone());
        Ok(Some(content))
    }
}

/// A person's member by one reading of the member list. `values` are the values of the mapping's
/// user attribute for the person.
pub(super) fn decide(
    tenant: &Tenant,
    view: &View,
    stored: Option<&Identity>,
    values: &Values,
) -> (MemberDecision, Match) {
    let matched = matching::resolve(view.deciding(), &tenant.mapping, values);
    let kind = stored.and_then(|identity| view.kind(&identity.slack_user_id));
    (matching::decide(stored, &matched, kind), matched)
}

impl Lanes {
    /// The delivery to this lane; if another recipient already has one, it is shared.
    fn join(
        &mut self,
        planned: &mut Planned,
        lane: &str,
        user: Option<&UserId>,
        new: impl FnOnce(&mut Planned) -> Result<NewDelivery, Error>,
    ) -> Result<usize, Error> {
        if let Some(at) = self.0.get(lane) {
            if let (Some(shared), Some(user)) = (planned.deliveries.get_mut(*at), user)
                && shared.user.as_ref() != Some(user)
            {
                shared.also.push(user.clone());
            }
            return Ok(*at);
        }
        let new = new(planned)?;
        let at = planned.push(new);
        self.0.insert(lane.to_owned(), at);
        Ok(at)
    }
}
