//! TestSlack: find, store, send, and the outcome of each step.

use std::time::Duration;

use herald::rpc::pb::{
    Actor, DeliveryState, NoMatchReason, Permission, PreferenceValue, SetPreferenceRequest,
    TestDelivery, TestSlackRequest, TestSlackResponse, test_slack_request::Subject,
};
use herald::sandbox::{Fault, FaultKind};
use serde_json::json;

use crate::support::client::person;
use crate::support::world::{TENANT, World, for_each_database};

fn request(user: &str) -> TestSlackRequest {
    TestSlackRequest {
        tenant_id: TENANT.into(),
        subject: Some(Subject::UserId(user.into())),
        actor: None,
    }
}

/// As the user, through a platform that acts for the user.
fn own(user: &str) -> TestSlackRequest {
    let permissions = vec![Permission::EditOwnProfile.into()];
    TestSlackRequest { actor: Some(Actor { user_id: user.into(), permissions }), ..request(user) }
}

async fn test(world: &World, request: TestSlackRequest) -> (TestSlackResponse, TestDelivery) {
    let answer = world.client.test_slack(request).await.unwrap();
    let delivery = answer.delivery.clone().unwrap();
    (answer, delivery)
}

/// The member stored on the person.
async fn stored(world: &World, user: &str) -> Option<(String, String)> {
    let identity = world.client.person(TENANT, user).await.unwrap().identity?;
    let member = identity.member.unwrap();
    Some((member.slack_user_id, member.display_name))
}

#[tokio::test]
async fn a_known_person_is_stored_and_gets_the_message() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        let (answer, delivery) = test(world, request("ben")).await;
        assert!(answer.identity_stored && answer.no_match.is_none());
        let member = answer.member.unwrap();
        assert_eq!((&*member.slack_user_id, &*member.display_name), ("U0DEMOBEN", "ben"));
        assert_eq!(delivery.state(), DeliveryState::Sent, "{delivery:?}");
        let messages = world.messages(1).await;
        assert_eq!(messages[0].user.as_deref(), Some("U0DEMOBEN"));
        assert_eq!(
            (&delivery.channel_id, &delivery.ts),
            (&messages[0].conversation, &messages[0].ts)
        );
        assert_eq!(stored(world, "ben").await, Some(("U0DEMOBEN".into(), "ben".into())));
    })
    .await;
}

#[tokio::test]
async fn an_unknown_person_is_told_so_and_what_was_stored_stays() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        test(world, request("ben")).await;
        world.client.upsert(TENANT, vec![person("ben", "gone@demo.example")]).await;
        let answer = world.client.test_slack(request("ben")).await.unwrap();
        assert_eq!(answer.message, "Could not find this user's Slack account.");
        let nobody = answer.no_match.unwrap();
        assert_eq!(nobody.reason(), NoMatchReason::NoMember);
        assert!(!nobody.sentence.is_empty());
        assert!(!answer.identity_stored && answer.member.is_none() && answer.delivery.is_none());
        assert_eq!(stored(world, "ben").await, Some(("U0DEMOBEN".into(), "ben".into())));
        world.messages(1).await;
    })
    .await;
}

#[tokio::test]
async fn where_the_message_fails_the_identity_is_kept_and_both_are_told() {
    for_each_database(async |world| {
        world.client.load(&["ben", "ada"]).await;
        for (user, code, advice) in [
            ("ben", "messages_tab_disabled", "Messages tab"),
            ("ada", "restricted_action", "does not allow"),
        ] {
            let kind = FaultKind::Error { code: code.into() };
            world.sandbox.script(Fault::new("chat.postMessage", kind).times(1));
            let (answer, delivery) = test(world, request(user)).await;
            assert!(answer.identity_stored);
            assert_eq!(delivery.state(), DeliveryState::Failed);
            assert_eq!(delivery.code, code);
            assert!(delivery.sentence.contains(advice), "{}", delivery.sentence);
            let member = answer.member.unwrap();
            assert_eq!(stored(world, user).await.unwrap().0, member.slack_user_id);
        }
        assert!(world.sandbox.messages().is_empty());
    })
    .await;
}

#[tokio::test]
async fn who_joined_a_minute_ago_is_found() {
    for_each_database(async |world| {
        let profile = json!({ "display_name": "newcomer", "email": "new@demo.example" });
        world.sandbox.add_member(json!({ "id": "UNEW", "name": "new", "profile": profile }));
        world.client.upsert(TENANT, vec![person("new", "new@demo.example")]).await;
        let (answer, delivery) = test(world, request("new")).await;
        assert_eq!(answer.member.unwrap().slack_user_id, "UNEW");
        assert_eq!(delivery.state(), DeliveryState::Sent);
        // The one person was looked up, without reading the whole list again.
        assert_eq!(world.calls("users.lookupByEmail").len(), 1);
        let directory = world.client.workspace(TENANT).await.unwrap().directory.unwrap();
        assert_eq!(directory.generation, 1);
    })
    .await;
}

#[tokio::test]
async fn the_tenants_switch_holds_a_test_back_but_for_administrators() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        world.client.switch_sending(TENANT, false).await;
        let (answer, delivery) = test(world, own("ben")).await;
        assert!(answer.identity_stored);
        assert_eq!(delivery.state(), DeliveryState::Suppressed);
        assert_eq!(delivery.code, "sending_off");
        assert!(world.sandbox.messages().is_empty());
        let (_, delivery) = test(world, request("ben")).await;
        assert_eq!(delivery.state(), DeliveryState::Sent);
        world.messages(1).await;
    })
    .await;
}

#[tokio::test]
async fn the_persons_choice_does_not_hold_a_test_back() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        let off = SetPreferenceRequest {
            tenant_id: TENANT.into(),
            user_id: "ben".into(),
            event_type: String::new(),
            value: PreferenceValue::Off.into(),
            actor: None,
        };
        world.client.set_preference(off).await.unwrap();
        let (_, delivery) = test(world, own("ben")).await;
        assert_eq!(delivery.state(), DeliveryState::Sent);
    })
    .await;
}

#[tokio::test]
async fn within_its_deadline_it_says_that_it_is_still_on_its_way() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        // At this scale, an hour takes more than a minute.
        world.throttle("U0DEMOBEN", 3600);
        let mut call = tonic::Request::new(request("ben"));
        call.set_timeout(Duration::from_secs(3));
        let answer = world.client.test_slack(call).await.unwrap();
        assert!(answer.identity_stored);
        let delivery = answer.delivery.unwrap();
        assert_eq!(delivery.state(), DeliveryState::Pending, "{delivery:?}");
        assert!(delivery.estimated_send_time.is_some());
        assert!(world.sandbox.messages().is_empty());
        world.may_stay(&delivery.delivery_id);
    })
    .await;
}
