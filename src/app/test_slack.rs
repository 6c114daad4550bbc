//! TestSlack: finds the person, stores the identity, sends a test message by the same path as every
//! other message, and waits for its outcome.

use std::time::Duration;

use super::tenant::{Known, Tenant};
use super::{App, Call, Error, Subject};
use crate::domain::access;
use crate::domain::capacity::priority::Priority;
use crate::domain::delivery::DeliveryKind;
use crate::domain::delivery::admission::switch;
use crate::domain::delivery::fingerprint::fingerprint;
use crate::domain::delivery::subject::Action;
use crate::domain::delivery::verdict::{Answer, FoundMember};
use crate::domain::identity::matching::{Match, MatchBasis, MemberDecision, Unmatched};
use crate::domain::ids::{DeliveryId, NotificationId, RequestId, SlackUserId};
use crate::domain::message::draft::Draft;
use crate::domain::message::event::test_message;
use crate::domain::reason::{NoMatch, Suppression};
use crate::domain::settings::Identity;
use crate::domain::time::Timestamp;
use crate::store::{self, DeliveryRecord, NewDelivery, Target};

/// The sentence to show if no member was found.
pub const NOT_FOUND: &str = "Could not find this user's Slack account.";

/// How often the store is asked while another replica may be sending.
const LOOK: Duration = Duration::from_millis(500);

/// The result of the test.
#[derive(Debug)]
pub struct Tested {
    pub outcome: Result<Sent, Unmatched>,
}

/// The member was found and stored; the outcome of the message is separate.
#[derive(Debug)]
pub struct Sent {
    pub found: FoundMember,
    pub delivery: TestDelivery,
}

/// The outcome of the test message.
#[derive(Debug)]
pub enum TestDelivery {
    /// A switch holds it back; nothing was queued.
    Suppressed(Suppression),
    /// Queued, with its state at the time of the answer, and the time when it should be sent.
    Queued { record: Box<DeliveryRecord>, estimated_send_time: Option<Timestamp> },
}

impl App {
    /// Waits up to `patience` for the outcome. Does not trust a stale cache: a person who joined
    /// Slack a minute ago is found. Without a match, an identity stored earlier stays unchanged.
    pub async fn test_slack(
        &self,
        call: &Call,
        subject: Subject,
        patience: Duration,
    ) -> Result<Tested, Error> {
        let right = match &subject {
            Subject::Known(_) => access::TEST_SLACK,
            Subject::Described(_) => access::TEST_DESCRIBED_SLACK,
        };
        let acting = call.may_about(&right, subject.user_id())?;
        let started = tokio::time::Instant::now();
        let tenant = self.tenant(&call.tenant).await?;
        if let Subject::Described(person) = &subject {
            self.store.people().upsert(&call.tenant, std::slice::from_ref(person)).await?;
        }
        let known = self.subject(&call.tenant, subject).await?;
        let member = match self.find_and_store(&tenant, &known).await? {
            Ok(member) => member,
            Err(unmatched) => return Ok(Tested { outcome: Err(unmatched) }),
        };
        let kind = if acting.is_administrator() {
            DeliveryKind::AdministratorTest
        } else {
            DeliveryKind::Test
        };
        let (settings, event) = (&tenant.settings, test_message::event_type());
        let delivery = if let Some(by) = switch(settings, None, kind, Action::Post, &event) {
            TestDelivery::Suppressed(by)
        } else {
            let left = patience.saturating_sub(started.elapsed());
            self.send_test(call, &tenant, &known, &member, kind, left).await?
        };
        Ok(Tested { outcome: Ok(Sent { found: member, delivery }) })
    }

    /// Finds the member without trusting a stale cache and stores a new unique match.
    pub(super) async fn find_and_store(
        &self,
        tenant: &Tenant,
        known: &Known,
    ) -> Result<Result<FoundMember, Unmatched>, Error> {
        let Some(installation) = &tenant.installation else {
            return Ok(Err(Match::none(NoMatch::NotConnected).unmatched()));
        };
        let stored = tenant.identity_here(known);
        let (mapping, person) = (&tenant.mapping, &known.person);
        let values = self.directory.values(&tenant.id, mapping, person).await?;
        let whom = (person, &values);
        let view = self.directory.fresh(installation, mapping, whom, stored).await?;
        let (decision, matched) = view.decide_at_any_age(mapping, stored, &values);
        let (slack_user_id, display_name, basis) = match decision {
            MemberDecision::Reach { slack_user_id, display_name, basis } => {
                (slack_user_id, display_name, basis)
            }
            MemberDecision::Unreachable { reason } => {
                return Ok(Err(Unmatched { reason, ..matched.unmatched() }));
            }
        };
        match basis {
            MatchBasis::Pinned => {}
            // A stored identity that the rules no longer find may keep receiving messages, but a
            // test shows whether the person can be found now.
            MatchBasis::Stale { .. } => return Ok(Err(matched.unmatched())),
            MatchBasis::Matched { .. } => {
                let (member, now) = ((&slack_user_id, &*display_name), self.store.now().await?);
                let identity = Identity::matched(member, installation.id, now);
                let user = &known.person.user_id;
                self.store.people().store_identity(&tenant.id, user, &identity).await?;
                self.store.waiting().recheck_held(&tenant.id, std::slice::from_ref(user)).await?;
            }
        }
        Ok(Ok(FoundMember { installation: installation.id, slack_user_id, display_name }))
    }

    async fn send_test(
        &self,
        call: &Call,
        tenant: &Tenant,
        known: &Known,
        member: &FoundMember,
        kind: DeliveryKind,
        patience: Duration,
    ) -> Result<TestDelivery, Error> {
        let mut ended = self.store.outbox().ended();
        let delivery = self.queue_test(call, tenant, known, member, kind).await?;
        let until = tokio::time::Instant::now() + patience;
        loop {
            let record = self.store.records().delivery(&tenant.id, delivery).await?;
            let record = record.ok_or(Error::NotFound("delivery"))?;
            let over = record.state.is_terminal() || tokio::time::Instant::now() >= until;
            if over {
                let times = self.waiting_times(std::slice::from_ref(&record)).await?;
                let estimated_send_time = times.get(&record.id).copied();
                let record = Box::new(record);
                return Ok(TestDelivery::Queued { record, estimated_send_time });
            }
            // Another replica may send it: its progress is noticed only by looking.
            let look = until.min(tokio::time::Instant::now() + LOOK);
            let news = async { while ended.recv().await.is_ok_and(|id| id != delivery) {} };
            // In either case the store is asked again.
            let _ = tokio::time::timeout_at(look, news).await;
        }
    }

    async fn queue_test(
        &self,
        call: &Call,
        tenant: &Tenant,
        known: &Known,
        member: &FoundMember,
        kind: DeliveryKind,
    ) -> Result<DeliveryId, Error> {
        let internal = |error: serde_json::Error| Error::Internal(error.into());
        let content = self.test_message(tenant, known, &member.slack_user_id).await?;
        let target = Target::Lane {
            installation: member.installation,
            lane: member.slack_user_id.as_str().to_owned(),
        };
        let delivery = NewDelivery {
            id: DeliveryId(uuid::Uuid::now_v7()),
            user: Some(known.person.user_id.clone()),
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
            tenant: tenant.id.clone(),
            principal: call.caller.principal.clone(),
            request_id: RequestId::parse(format!("test-slack:{notification}"))
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
        let room = self.room(&tenant.id, 1).await?;
        self.store.outbox().accept(accept).await?;
        room.take(1);
        Ok(id)
    }

    async fn test_message(
        &self,
        tenant: &Tenant,
        known: &Known,
        member: &SlackUserId,
    ) -> Result<Vec<u8>, Error> {
        let view = self.view(tenant).await?;
        let member = view.member(member);
        let now = self.store.now().await?;
        let (event_type, data) = (test_message::event_type(), serde_json::json!({}));
        let draft = Draft::test(&event_type, &data, now);
        let reader = draft.reader(Some(&known.person), member.as_ref(), &tenant.settings);
        draft.write(&reader).map_err(|error| Error::Internal(error.into()))
    }
}
