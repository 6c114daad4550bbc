//! TestSlack: finds the person, stores the identity, sends a test message by the same path as every
//! other message, and waits for its outcome (`direct`).

use std::time::Duration;

use super::direct::{Direct, MemberLookup};
use super::tenant::{Known, Tenant};
use super::{App, Call, Error, Subject};
use crate::domain::access;
use crate::domain::delivery::DeliveryKind;
use crate::domain::delivery::admission::switch;
use crate::domain::delivery::subject::Action;
use crate::domain::delivery::verdict::FoundMember;
use crate::domain::identity::matching::Unmatched;
use crate::domain::ids::SlackUserId;
use crate::domain::message::draft::Draft;
use crate::domain::message::event::test_message;
use crate::domain::reason::Suppression;
use crate::domain::time::Timestamp;
use crate::store::DeliveryRecord;

/// The sentence to show if no member was found.
pub const NOT_FOUND: &str = "Could not find this user's Slack account.";

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
            MemberLookup::Found(member) => member,
            MemberLookup::Unmatched(unmatched) => return Ok(Tested { outcome: Err(unmatched) }),
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
            let content = self.test_message(&tenant, &known, &member.slack_user_id).await?;
            let user = &known.person.user_id;
            let purpose = "test-slack";
            let direct = Direct { call, user, member: &member, kind, content, purpose };
            let left = patience.saturating_sub(started.elapsed());
            let (record, estimated_send_time) = self.send_and_wait(direct, left).await?;
            TestDelivery::Queued { record, estimated_send_time }
        };
        Ok(Tested { outcome: Ok(Sent { found: member, delivery }) })
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
