//! The plan of a Notify: for each recipient a verdict, and the deliveries to store.

use std::collections::HashMap;
use std::time::Duration;

use super::{Recipient, Request, choices};
use crate::app::tenant::{Known, Tenant};
use crate::app::{Error, Violation};
use crate::directory::{Directory, View};
use crate::domain::event;
use crate::domain::ids::{DeliveryId, NotificationId, SlackUserId, UserId};
use crate::domain::matching::{self, Basis, Decision, Match};
use crate::domain::reason::NoMatch;
use crate::domain::render::{Context, Link, Reader, Rendered};
use crate::domain::settings::{Identity, Preferences, Rule, suppression};
use crate::domain::time::Timestamp;
use crate::domain::verdict::{Addressee, Answer, Decided, Found, Guarantee, Verdict};
use crate::store::{End, Installation, Kind, NewDelivery, Target};

/// What to answer and what to store.
pub(super) struct Planned {
    pub(super) answer: Answer,
    pub(super) deliveries: Vec<NewDelivery>,
    /// New unique matches, stored with the notification (design.md section 8).
    pub(super) identities: Vec<(UserId, Identity)>,
    /// The message as each kind of reader reads it.
    worded: HashMap<Reader, Vec<u8>>,
    /// Recipients about whom Slack will be asked.
    strangers: usize,
}

/// Recipients of one call about whom Slack is asked, at most: a minute of its limit. For the rest of a
/// broadcast the list decides, so that the caller can fall back at once.
const STRANGERS: usize = 50;

/// Everything that the verdicts depend on.
pub(super) struct Planner<'a> {
    pub(super) tenant: &'a Tenant,
    pub(super) request: &'a Request,
    pub(super) preferences: &'a HashMap<UserId, Preferences>,
    pub(super) view: &'a View,
    pub(super) directory: &'a Directory,
    pub(super) now: Timestamp,
    /// When what is held is looked at first.
    pub(super) look_held_after: Duration,
}

impl Planner<'_> {
    /// One verdict for each recipient; the same person, channel or member twice shares a
    /// delivery.
    pub(super) fn plan(
        &self,
        notification: NotificationId,
        people: HashMap<UserId, Known>,
    ) -> Result<Planned, Error> {
        let mut planned = Planned {
            answer: Answer { notification, verdicts: Vec::new() },
            deliveries: Vec::new(),
            identities: Vec::new(),
            worded: HashMap::new(),
            strangers: 0,
        };
        let mut decided: HashMap<Addressee, Decided> = HashMap::new();
        let mut lanes: HashMap<String, DeliveryId> = HashMap::new();
        for recipient in &self.request.recipients {
            let addressee = match recipient {
                Recipient::Known(id) => Addressee::Person(id.clone()),
                Recipient::Described(person) => Addressee::Person(person.user_id.clone()),
                Recipient::Channel(id) => Addressee::Channel(id.clone()),
            };
            let verdict = match decided.get(&addressee) {
                Some(verdict) => verdict.clone(),
                None => match &addressee {
                    Addressee::Person(id) => match people.get(id) {
                        Some(known) => self.person(known, &mut planned, &mut lanes)?,
                        None => continue,
                    },
                    Addressee::Channel(id) => {
                        self.channel(id.as_str(), &mut planned, &mut lanes)?
                    }
                },
            };
            decided.insert(addressee.clone(), verdict.clone());
            planned.answer.verdicts.push(Verdict { addressee, decided: verdict });
        }
        Ok(planned)
    }

    fn person(
        &self,
        known: &Known,
        planned: &mut Planned,
        lanes: &mut HashMap<String, DeliveryId>,
    ) -> Result<Decided, Error> {
        let user = &known.person.user_id;
        let chosen = choices(self.preferences, user);
        if let Some(by) = suppression(&self.tenant.settings, &chosen, &self.request.event) {
            let ended = Target::Ended(End::Suppressed(by));
            planned.deliveries.push(self.delivery(Some(user), ended, None));
            return Ok(Decided::Suppressed { by });
        }
        let Some(installation) = &self.tenant.installation else {
            return Ok(self.unreachable(NoMatch::NotConnected, 0, user, planned));
        };
        let guarantee = Guarantee::for_scopes(&installation.scopes, true);
        let stored = self.tenant.identity_here(known.identity.clone());
        let (decision, matched) = self.decide(stored.as_ref(), known);
        let found = match decision {
            Decision::Reach { slack_user_id, display_name, basis } => {
                if basis == (Basis::Matched { is_new: true }) {
                    let identity = Identity {
                        slack_user_id: slack_user_id.clone(),
                        display_name: display_name.clone(),
                        rule: Rule::Matched,
                        installation: installation.id,
                        stored_at: self.now,
                    };
                    planned.identities.push((user.clone(), identity));
                }
                Found { installation: installation.id, slack_user_id, display_name }
            }
            // Not known yet, or Slack may know somebody who joined a minute ago.
            Decision::Unreachable { reason }
                if reason == NoMatch::DirectoryNotReady
                    || planned.strangers < STRANGERS
                        && self.may_know(installation, known, reason) =>
            {
                planned.strangers += usize::from(reason != NoMatch::DirectoryNotReady);
                // Whether it can be rendered is told now; its words wait for the reader's zone.
                self.content(Some(known), None, planned)?;
                let target = if self.holds() { Target::ResolvingOrHeld } else { Target::Resolving };
                let queued = self.delivery(Some(user), target, None);
                let id = queued.id;
                planned.deliveries.push(queued);
                return Ok(Decided::Queued {
                    delivery: id,
                    found: None,
                    estimated_send_time: None,
                    guarantee,
                });
            }
            Decision::Unreachable { reason } => {
                let without = match matched {
                    Match::None(unmatched) => unmatched.without_email as u64,
                    Match::Unique(_) => 0,
                };
                if self.holds() && reason.arrival_helps() {
                    // As above.
                    self.content(Some(known), None, planned)?;
                    let look_after = self.look_held_after;
                    let held = self.delivery(Some(user), Target::Held { reason, look_after }, None);
                    let id = held.id;
                    planned.deliveries.push(held);
                    return Ok(Decided::Held {
                        delivery: id,
                        reason,
                        members_without_email: without,
                        guarantee,
                    });
                }
                return Ok(self.unreachable(reason, without, user, planned));
            }
        };
        let lane = found.slack_user_id.as_str().to_owned();
        let id = if let Some(id) = lanes.get(&lane) {
            *id
        } else {
            let content = self.content(Some(known), Some(&found.slack_user_id), planned)?;
            let target = Target::Lane { installation: installation.id, lane: lane.clone() };
            let queued = self.delivery(Some(user), target, Some(content));
            let id = queued.id;
            lanes.insert(lane, id);
            planned.deliveries.push(queued);
            id
        };
        Ok(Decided::Queued {
            delivery: id,
            found: Some(found),
            estimated_send_time: None,
            guarantee,
        })
    }

    fn channel(
        &self,
        channel: &str,
        planned: &mut Planned,
        lanes: &mut HashMap<String, DeliveryId>,
    ) -> Result<Decided, Error> {
        let nobody = Preferences::default();
        let settings = &self.tenant.settings;
        // A channel has no choices of its own, so opt-in does not apply to it.
        let open = crate::domain::settings::Settings { opt_in: false, ..settings.clone() };
        if let Some(by) = suppression(&open, &nobody, &self.request.event) {
            let ended = Target::Ended(End::Suppressed(by));
            planned.deliveries.push(self.delivery(None, ended, None));
            return Ok(Decided::Suppressed { by });
        }
        let Some(installation) = &self.tenant.installation else {
            let ended = Target::Ended(End::Unreachable(NoMatch::NotConnected));
            planned.deliveries.push(self.delivery(None, ended, None));
            return Ok(Decided::Unreachable {
                reason: NoMatch::NotConnected,
                members_without_email: 0,
            });
        };
        let content = self.content(None, None, planned)?;
        let target = Target::Lane { installation: installation.id, lane: channel.to_owned() };
        let queued = self.delivery(None, target, Some(content));
        let id = queued.id;
        lanes.insert(channel.to_owned(), id);
        planned.deliveries.push(queued);
        Ok(Decided::Queued {
            delivery: id,
            found: None,
            estimated_send_time: None,
            guarantee: Guarantee::for_scopes(&installation.scopes, false),
        })
    }

    fn may_know(&self, installation: &Installation, known: &Known, reason: NoMatch) -> bool {
        self.directory.may_know(installation, &self.tenant.mapping, &known.person, reason)
    }

    /// Whether messages wait for people who are not in Slack yet.
    fn holds(&self) -> bool {
        let settings = &self.tenant.settings;
        self.request.hold.unwrap_or_else(|| settings.held_event_types.contains(&self.request.event))
    }

    fn unreachable(
        &self,
        reason: NoMatch,
        members_without_email: u64,
        user: &UserId,
        planned: &mut Planned,
    ) -> Decided {
        let ended = Target::Ended(End::Unreachable(reason));
        planned.deliveries.push(self.delivery(Some(user), ended, None));
        Decided::Unreachable { reason, members_without_email }
    }

    fn delivery(
        &self,
        user: Option<&UserId>,
        target: Target,
        content: Option<Vec<u8>>,
    ) -> NewDelivery {
        let (id, priority) = (DeliveryId(uuid::Uuid::now_v7()), self.request.priority());
        NewDelivery { id, user: user.cloned(), target, content, kind: Kind::Normal, priority }
    }

    fn decide(&self, stored: Option<&Identity>, known: &Known) -> (Decision, Match) {
        let matched = matching::resolve(self.view.deciding(), &self.tenant.mapping, &known.person);
        let kind = stored.and_then(|identity| self.view.kind(&identity.slack_user_id));
        (matching::decide(stored, &matched, kind), matched)
    }

    /// The message in the reader's words: their own zone, else the member's, else the tenant's.
    /// Worded once for all who read the same.
    fn content(
        &self,
        known: Option<&Known>,
        member: Option<&SlackUserId>,
        planned: &mut Planned,
    ) -> Result<Vec<u8>, Error> {
        let settings = &self.tenant.settings;
        let person = known.map(|known| &known.person);
        let member = member.and_then(|id| self.view.member(id));
        let reader = Reader::of(person, member.as_ref(), settings);
        let template = event::find(&self.request.event)
            .ok_or_else(|| Error::invalid("event_type", "is not a known event type"))?
            .compiled();
        let reader = template.view(reader);
        if let Some(content) = planned.worded.get(&reader) {
            return Ok(content.clone());
        }
        let link = self.request.link.as_ref().map(|url| Link { url: url.clone(), label: None });
        let context = Context {
            event: &self.request.event,
            data: &self.request.data,
            reader: &reader,
            link: link.as_ref(),
            now: self.now,
        };
        let rendered = template
            .render(&context)
            .map_err(|error| Error::Invalid(vec![Violation::new("data", error)]))?;
        let content = encode(&rendered)?;
        planned.worded.insert(reader, content.clone());
        Ok(content)
    }
}

fn encode(rendered: &Rendered) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(rendered).map_err(|error| Error::Internal(error.into()))
}
