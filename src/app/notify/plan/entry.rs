//! Adds one decision to the plan: a delivery with its words, and the verdict of the answer.

use super::{Decision, Planned, Planner, Start};
use crate::app::tenant::Known;
use crate::app::{Error, Violation};
use crate::domain::delivery::DeliveryKind;
use crate::domain::delivery::End;
use crate::domain::delivery::admission::LaneAddress;
use crate::domain::delivery::trace::Trace;
use crate::domain::delivery::verdict::{Decided, FoundMember, Guarantee};
use crate::domain::ids::{DeliveryId, SlackUserId, UserId};
use crate::domain::message::draft::DraftError;
use crate::store::{ForChannel, NewDelivery, Target};

impl Planned {
    /// Adds a delivery.
    fn push(&mut self, delivery: NewDelivery) -> DeliveryId {
        let id = delivery.id;
        self.deliveries.push(delivery);
        id
    }

    /// The delivery that another recipient already has in this lane, which is then shared.
    fn share(&mut self, lane: &str, user: Option<&UserId>) -> Option<DeliveryId> {
        let shared = self.deliveries.get_mut(*self.lanes.get(lane)?)?;
        if let Some(user) = user.filter(|user| shared.user.as_ref() != Some(*user)) {
            shared.also.push(user.clone());
        }
        Some(shared.id)
    }
}

impl Planner<'_> {
    /// Adds the delivery of one recipient; returns the verdict.
    pub(super) fn enter(
        &self,
        decision: Decision<'_>,
        planned: &mut Planned,
    ) -> Result<(Decided, DeliveryId), Error> {
        let Decision { known, channel, start, trace, identity } = decision;
        let user = known.map(|known| &known.person.user_id);
        planned.identities.extend(user.cloned().zip(identity));
        match start {
            Start::Lane { installation, lane, found, guarantee } => {
                let delivery = if let Some(shared) = planned.share(&lane, user) {
                    shared
                } else {
                    let member = found.as_ref().map(|found| &found.slack_user_id);
                    let content = self.words(known, member, planned)?;
                    planned.lanes.insert(lane.clone(), planned.deliveries.len());
                    let target = Target::Lane { installation, lane };
                    planned.push(self.delivery(user, target, content, trace))
                };
                Ok((self.queued(delivery, found, guarantee), delivery))
            }
            Start::Channel { expected, guarantee } => {
                self.enter_channel(channel, expected, guarantee, trace, planned)
            }
            Start::Later { asks, guarantee } => {
                planned.strangers += usize::from(asks);
                self.check_words(known, planned)?;
                let target = if self.message.holds(&self.tenant.settings) {
                    Target::ResolvingOrHeld
                } else {
                    Target::Resolving
                };
                let delivery = planned.push(self.delivery(user, target, None, trace));
                Ok((self.queued(delivery, None, guarantee), delivery))
            }
            Start::Held { reason, members_without_email, guarantee } => {
                self.check_words(known, planned)?;
                let target = match self.message.deferred_until() {
                    Some(_) => Target::ResolvingOrHeld,
                    None => Target::Held { reason, look_after: self.look_held_after },
                };
                let delivery = planned.push(self.delivery(user, target, None, trace));
                Ok((Decided::Held { delivery, reason, members_without_email, guarantee }, delivery))
            }
            Start::Ended { end, members_without_email } => {
                let decided = refused(end, members_without_email)?;
                let target = Target::Ended(end);
                let delivery = self.delivery(user, target, None, trace);
                Ok((decided, planned.push(NewDelivery { channel, ..delivery })))
            }
        }
    }

    /// Adds the delivery for a channel with a key.
    fn enter_channel(
        &self,
        channel: Option<ForChannel>,
        expected: Option<LaneAddress>,
        guarantee: Guarantee,
        trace: Trace,
        planned: &mut Planned,
    ) -> Result<(Decided, DeliveryId), Error> {
        let awaits_channel = expected.is_none();
        let lane = expected.as_ref().map(|expected| expected.lane.clone());
        let shared = lane.as_ref().and_then(|lane| planned.share(lane, None));
        let delivery = if let Some(shared) = shared {
            shared
        } else {
            let content = self.words(None, None, planned)?;
            let place = planned.deliveries.len();
            planned.lanes.extend(lane.map(|lane| (lane, place)));
            let new = self.delivery(None, Target::Channel { expected }, content, trace);
            planned.push(NewDelivery { channel, ..new })
        };
        let queued = Decided::Queued {
            delivery,
            found: None,
            estimated_send_time: self.message.deferred_until().filter(|_| !awaits_channel),
            guarantee,
            awaits_channel,
        };
        Ok((queued, delivery))
    }

    fn queued(
        &self,
        delivery: DeliveryId,
        found: Option<FoundMember>,
        guarantee: Guarantee,
    ) -> Decided {
        let estimated_send_time = self.message.deferred_until();
        let awaits_channel = false;
        Decided::Queued { delivery, found, estimated_send_time, guarantee, awaits_channel }
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
            channel: None,
            target,
            content,
            kind: DeliveryKind::Normal,
            priority: self
                .request
                .priority
                .unwrap_or_else(|| self.kind.priority(&self.request.event)),
            also: Vec::new(),
            trace: Some(trace.to_bytes()),
        }
    }

    /// Checks that the message can be rendered for a person whose member, and so whose time zone,
    /// is not known yet; the text that is sent is made later.
    fn check_words(&self, known: Option<&Known>, planned: &mut Planned) -> Result<(), Error> {
        self.words(known, None, planned).map(drop)
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
        let Some(draft) = &self.draft else { return Ok(None) };
        let person = known.map(|known| &known.person);
        let member = member.and_then(|id| self.view.member(id));
        let reader = draft.reader(person, member.as_ref(), &self.tenant.settings);
        if let Some(content) = planned.worded.get(&reader) {
            return Ok(Some(content.clone()));
        }
        let content = draft.write(&reader).map_err(|error| match error {
            DraftError::Render(error) => Error::Invalid(vec![Violation::new("data", error)]),
            DraftError::Form(error) => Error::Internal(error.into()),
        })?;
        planned.worded.insert(reader, content.clone());
        Ok(Some(content))
    }
}

/// The verdict on a message that ends at its acceptance.
fn refused(end: End, members_without_email: u64) -> Result<Decided, Error> {
    match end {
        End::Suppressed(by) => Ok(Decided::Suppressed { by }),
        End::Unreachable(reason) => Ok(Decided::Unreachable { reason, members_without_email }),
        // A message that has just begun its life can be read and has time left.
        End::Failed(_) | End::Expired | End::Canceled(_) => {
            Err(Error::Internal("a message was over before it was accepted".into()))
        }
    }
}
