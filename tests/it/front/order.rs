//! A person's messages keep their order from acceptance on, even while it is not yet known which
//! member they are for.

use herald::rpc::pb::{self, DeliveryState, SubjectAction, VerdictKind};
use herald::sandbox::{Fault, FaultKind};
use sea_orm::{ConnectionTrait as _, Statement};
use serde_json::json;

use crate::support::client::{person, task};
use crate::support::world::{Plan, TENANT, World, until};

/// Longer than it takes to accept and send a message.
const SLOW: f64 = 1.0;

fn about(text: &str, action: SubjectAction) -> pb::NotifyRequest {
    pb::NotifyRequest {
        subject_key: "task:1".into(),
        subject_action: action.into(),
        ..task(text, &["new"])
    }
}

/// Waits until a replica has claimed the one message that waits for its member.
async fn being_resolved(world: &World) {
    const SQL: &str = "SELECT 1 FROM deliveries WHERE state = 'resolving' \
        AND lease_token IS NOT NULL";
    let raw = world.raw().await;
    until("the message is being resolved", async || {
        let statement = Statement::from_string(raw.get_database_backend(), SQL);
        raw.query_one_raw(statement).await.unwrap()
    })
    .await;
}

/// An administrator sets which member the person is.
async fn pin(world: &World, member: &str) {
    let request = pb::PinIdentityRequest {
        tenant_id: TENANT.into(),
        user_id: "new".into(),
        slack_user_id: member.into(),
        ..pb::PinIdentityRequest::default()
    };
    world.client.pin_identity(request).await.unwrap();
}

/// A member joined who is missing from the list, and the first message waits for Slack's answer
/// about them. Meanwhile a pin tells all replicas who they are.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_accepted_while_the_first_is_being_resolved_goes_out_behind_it() {
    Plan { replicas: 2, ..Plan::default() }
        .run(async |world| {
            let profile = json!({ "display_name": "new", "email": "new@demo.example" });
            let member = json!({ "id": "UNEW", "name": "new", "profile": profile });
            world.sandbox.add_member(member);
            world.client.upsert(TENANT, vec![person("new", "new@demo.example")]).await;
            let slow = FaultKind::Delay { seconds: SLOW };
            world.sandbox.script(Fault::new("users.lookupByEmail", slow));
            let other = world.client(1, None).await;

            let first = about("first", SubjectAction::NewMessage);
            let first = world.client.notify(first).await.unwrap();
            being_resolved(world).await;
            pin(world, "UNEW").await;
            let second = other.notify(about("second", SubjectAction::Reply)).await.unwrap();
            let third = world.client.notify(task("third", &["new"])).await.unwrap();
            let mut sent = Vec::new();
            for answer in [&first, &second, &third] {
                assert_eq!(answer.verdicts[0].kind(), VerdictKind::Queued);
                let ended = world.client.ended(TENANT, &answer.notification_id).await.remove(0);
                assert_eq!(ended.state(), DeliveryState::Sent);
                sent.push(ended.ts);
            }
            let messages = world.messages(3).await;
            let order: Vec<_> = messages.iter().map(|message| message.ts.clone()).collect();
            assert_eq!(order, sent, "{messages:?}");
            assert_eq!(messages[1].thread_ts.as_ref(), Some(&sent[0]), "the root came first");
        })
        .await;
}

/// A pin decides for messages that wait for an unreadable list, and for the messages behind them.
#[tokio::test(flavor = "multi_thread")]
async fn a_pin_sends_what_waits_for_the_list_in_its_order() {
    Plan { ready: false, ..Plan::default() }
        .run(async |world| {
            let away = FaultKind::Status { code: 503, body: String::new(), retry_after: None };
            world.sandbox.script(Fault::new("users.list", away));
            assert_eq!(world.connect(TENANT).await.status, 200);
            world.client.switch_sending(TENANT, true).await;
            world.client.upsert(TENANT, vec![person("new", "ben@demo.example")]).await;
            let mut answers = Vec::new();
            for text in ["first", "second", "third", "fourth"] {
                if text == "third" {
                    pin(world, "U0DEMOBEN").await;
                }
                answers.push(world.client.notify(task(text, &["new"])).await.unwrap());
            }
            assert!(answers[0].verdicts[0].member.is_none());
            let mut sent = Vec::new();
            for answer in &answers {
                let ended = world.client.ended(TENANT, &answer.notification_id).await.remove(0);
                assert_eq!(ended.state(), DeliveryState::Sent);
                sent.push(ended.ts);
            }
            let messages = world.messages(4).await;
            let order: Vec<_> = messages.iter().map(|message| message.ts.clone()).collect();
            assert_eq!(order, sent, "{messages:?}");
        })
        .await;
}
