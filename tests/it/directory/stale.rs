//! A list that has not been read for too long is still used, but it is marked as stale and no new
//! people are found in it. Another mapping does not cause a list to be read again.

use herald::rpc::pb;
use herald::sandbox::{Fault, FaultKind};

use super::{member, refresh, state, who};
use crate::support::client::{is_terminal, task};
use crate::support::world::{Plan, Replica, TENANT, for_each_database, until};

#[tokio::test]
async fn a_list_past_max_stale_answers_questions_and_decides_nothing_new() {
    // Stale after two seconds.
    let plan = Plan {
        adjust: |settings| {
            settings.directory.refresh_seconds = 60_000;
            settings.directory.max_stale_seconds = 100;
        },
        ..Plan::default()
    };
    plan.run(async |world| {
        world.client.load(&["ada", "ben"]).await;
        // Ada was found before, by a lookup in Slack.
        let request = pb::TestSlackRequest {
            tenant_id: TENANT.into(),
            subject: Some(pb::test_slack_request::Subject::UserId("ada".into())),
            ..pb::TestSlackRequest::default()
        };
        world.client.test_slack(request).await.unwrap();
        let refuse = Fault::new("users.list", FaultKind::Error { code: "access_denied".into() });
        world.sandbox.script(refuse);
        until("the list is stale", async || state(world).await.stale.then_some(())).await;
        let shown = state(world).await;
        assert!(shown.age.is_some_and(|age| age.seconds >= 2), "{shown:?}");

        let answer = who(&world.client, "ben@demo.example").await;
        assert_eq!(answer.member.unwrap().slack_user_id, "U0DEMOBEN", "as far as the list knows");
        assert!(answer.directory_stale && answer.directory_read_at.is_some());
        let nobody = who(&world.client, "nobody@demo.example").await;
        assert_eq!(nobody.no_match.unwrap().reason(), pb::NoMatchReason::NoMember);

        let to_ada = world.client.notify(task("to ada", &["ada"])).await.unwrap();
        assert!(to_ada.verdicts[0].member.is_some(), "{to_ada:?}");
        let ended = world.client.ended(TENANT, &to_ada.notification_id).await.remove(0);
        assert_eq!(ended.state(), pb::DeliveryState::Sent);
        let to_ben = world.client.notify(task("to ben", &["ben"])).await.unwrap();
        assert_eq!(to_ben.verdicts[0].kind(), pb::VerdictKind::Queued);
        assert_eq!(to_ben.verdicts[0].member, None, "{to_ben:?}");
        let waiting = world.client.notification(TENANT, &to_ben.notification_id).await.unwrap();
        assert_eq!(waiting.deliveries[0].state(), pb::DeliveryState::Resolving);

        // On a busy machine it may be stale again before the message is resolved.
        world.sandbox.clear_faults();
        let sent = until("the message is sent", async || {
            if state(world).await.stale {
                refresh(world).await;
            }
            let told = world.client.notification(TENANT, &to_ben.notification_id).await.unwrap();
            told.deliveries.into_iter().find(is_terminal)
        })
        .await;
        assert_eq!(sent.state(), pb::DeliveryState::Sent);
    })
    .await;
}

#[tokio::test]
async fn another_mapping_asks_slack_nothing() {
    for_each_database(async |world| {
        let before = world.sandbox.log().len();
        let settings = pb::Settings {
            user_attribute: "user_id".into(),
            slack_attribute: "profile.title".into(),
            ..pb::Settings::default()
        };
        let paths = ["user_attribute", "slack_attribute"];
        world.client.set(TENANT, settings, &paths).await.unwrap();
        let subject = |user: &str| pb::ResolveIdentityRequest {
            tenant_id: TENANT.into(),
            subject: Some(pb::resolve_identity_request::Subject::UserId(user.into())),
            actor: None,
        };
        let answer = world.client.resolve_identity(subject("Designer")).await.unwrap();
        assert_eq!(answer.member.unwrap().slack_user_id, "U0DEMOCLA");
        assert_eq!(member(&world.client, "ben@demo.example").await, None, "the old one is gone");
        assert_eq!(world.sandbox.log().len(), before);
    })
    .await;
}

#[tokio::test]
async fn what_a_reading_shows_outranks_what_was_learnt_before_it() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        let request = pb::TestSlackRequest {
            tenant_id: TENANT.into(),
            subject: Some(pb::test_slack_request::Subject::UserId("ben".into())),
            ..pb::TestSlackRequest::default()
        };
        world.client.test_slack(request).await.unwrap();
        // Slack's answer about Ben overrides the list; then the list is read anew.
        world.sandbox.deactivate("U0DEMOBEN");
        let before = state(world).await.generation;
        refresh(world).await;
        world.members_read(TENANT, before + 1).await;
        let fresh = Replica::start(world.settings()).await;
        let client = world.client_at(fresh.rpc).await;
        let answer = who(&client, "ben@demo.example").await;
        assert_eq!(answer.no_match.unwrap().reason(), pb::NoMatchReason::MemberDeactivated);
        fresh.stopped().await;
    })
    .await;
}
