//! A message to one person whose outcome the caller waits for: that of TestSlack and of
//! PreviewTemplate. It takes the same path as every other message.

use std::time::Duration;

use super::tenant::{Known, Tenant};
use super::{App, Call, Error};
use crate::domain::capacity::priority::Priority;
use crate::domain::delivery::DeliveryKind;
use crate::domain::delivery::fingerprint::fingerprint;
use crate::domain::delivery::subject::Action;
use crate::domain::delivery::verdict::{Answer, FoundMember};
use crate::domain::identity::matching::{Match, MatchBasis, MemberDecision, Unmatched};
use crate::domain::ids::{DeliveryId, NotificationId, RequestId, UserId};
use crate::domain::message::event::test_message;
use crate::domain::reason::NoMatch;
use crate::domain::settings::Identity;
use crate::domain::time::Timestamp;
use crate::store::{self, DeliveryRecord, NewDelivery, Target};

/// How often the store is asked while another replica may be sending.
const LOOK: Duration = Duration::from_millis(500);

/// A message to one person.
pub(super) struct Direct<'a> {
    pub(super) call: &'a Call,
    pub(super) user: &'a UserId,
    pub(super) member: &'a FoundMember,
    pub(super) kind: DeliveryKind,
    /// The message in its stored form.
    pub(super) content: Vec<u8>,
    /// The beginning of its request id.
    pub(super) purpose: &'static str,
}

/// The result of looking for a person's member.
pub(super) enum MemberLookup {
    Found(FoundMember),
    Unmatched(Unmatched),
}

impl App {
    /// Finds the member without trusting a stale cache and stores a new unique match.
    pub(super) async fn find_and_store(
        &self,
        tenant: &Tenant,
        known: &Known,
    ) -> Result<MemberLookup, Error> {
        let Some(installation) = &tenant.installation else {
            return Ok(MemberLookup::Unmatched(Match::none(NoMatch::NotConnected).unmatched()));
        };
        let stored = tenant.identity_here(known);
        let (mapping, person) = (&tenant.mapping, &known.person);
        let values = self.directory.values(&tenant.id, mapping, person).await?;
        let view = self.directory.fresh(installation, mapping, person, &values, stored).await?;
        let (decision, matched) = view.decide_at_any_age(mapping, stored, &values);
        let (slack_user_id, display_name, basis) = match decision {
            MemberDecision::Reach { slack_user_id, display_name, basis } => {
                (slack_user_id, display_name, basis)
            }
            MemberDecision::Unreachable { reason } => {
                return Ok(MemberLookup::Unmatched(Unmatched { reason, ..matched.unmatched() }));
            }
        };
        match basis {
            MatchBasis::Pinned => {}
            // A stored identity that the rules no longer find may keep receiving messages, but a
            // test shows whether the person can be found now.
            MatchBasis::Stale { .. } => return Ok(MemberLookup::Unmatched(matched.unmatched())),
            MatchBasis::Matched { .. } => {
                let now = self.store.now().await?;
                let identity =
                    Identity::matched(&slack_user_id, &display_name, installation.id, now);
                let user = &known.person.user_id;
                self.store.people().store_identity(&tenant.id, user, &identity).await?;
                self.store.waiting().recheck_held(&tenant.id, std::slice::from_ref(user)).await?;
            }
        }
        let installation = installation.id;
        Ok(MemberLookup::Found(FoundMember { installation, slack_user_id, display_name }))
    }

    /// Queues the message and waits up to `patience` for its end. Returns its state, and the time
    /// when it should be sent if it waits.
    pub(super) async fn send_and_wait(
        &self,
        direct: Direct<'_>,
        patience: Duration,
    ) -> Result<(Box<DeliveryRecord>, Option<Timestamp>), Error> {
        let call = direct.call;
        let mut ended = self.store.outbox().ended();
        let delivery = self.queue(direct).await?;
        let until = tokio::time::Instant::now() + patience;
        loop {
            let record = self.store.records().delivery(&call.tenant, delivery).await?;
            let record = record.ok_or(Error::NotFound("delivery"))?;
            let over = record.state.is_terminal() || tokio::time::Instant::now() >= until;
            if over {
                let times = self.waiting_times(std::slice::from_ref(&record)).await?;
                let estimated_send_time = times.get(&record.id).copied();
                return Ok((Box::new(record), estimated_send_time));
            }
            // Another replica may send it: its progress is noticed only by looking.
            let look = until.min(tokio::time::Instant::now() + LOOK);
            let news = async { while ended.recv().await.is_ok_and(|id| id != delivery) {} };
            // In either case the store is asked again.
            let _ = tokio::time::timeout_at(look, news).await;
        }
    }

    async fn queue(&self, direct: Direct<'_>) -> Result<DeliveryId, Error> {
        let internal = |error: serde_json::Error| Error::Internal(error.into());
        let Direct { call, user, member, kind, content, purpose } = direct;
        let target = Target::Lane {
            installation: member.installation,
            lane: member.slack_user_id.as_str().to_owned(),
        };
        let delivery = NewDelivery {
            id: DeliveryId(uuid::Uuid::now_v7()),
            user: Some(user.clone()),
            channel: None,
            target,
            content: Some(content),
            kind,
            // A person is waiting for it.
            priority: Priority::Urgent,
            also: Vec::new(),
            trace: None,
        };
        let id = delivery.id;
        let notification = NotificationId(uuid::Uuid::now_v7());
        let answer = Answer { notification, action: Action::Post, verdicts: Vec::new() };
        let accept = store::Accept {
            id: notification,
            tenant: call.tenant.clone(),
            principal: call.caller.principal.clone(),
            request_id: RequestId::parse(format!("{purpose}:{notification}"))
                .map_err(|error| Error::Internal(error.into()))?,
            fingerprint: fingerprint(&serde_json::Value::Null),
            event_type: test_message::event_type(),
            data: b"{}".to_vec(),
            link: None,
            about: store::NotificationTerms::default(),
            answer: serde_json::to_vec(&answer).map_err(internal)?,
            deliveries: vec![delivery],
            people: Vec::new(),
            identities: Vec::new(),
            expires_in: crate::domain::limits::DEFAULT_EXPIRY,
            trace_context: crate::telemetry::context(),
        };
        let room = self.room(&call.tenant, 1).await?;
        self.store.outbox().accept(accept).await?;
        room.take(1);
        Ok(id)
    }
}
