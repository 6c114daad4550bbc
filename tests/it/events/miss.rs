//! A person who is not in the member list is looked up once, by whichever replica comes first.

use herald::rpc::pb::{
    DeliveryState, NoMatchReason, Settings, TestSlackRequest, VerdictKind, test_slack_request,
};
use herald::sandbox::{Fault, FaultKind};
use serde_json::json;

use super::{listen, member_at, progress};
use crate::support::client::{fields, notify, person};
use crate::support::world::{Plan, TENANT, World, for_each_database, until};

/// Adds a member to Slack without an event.
fn joins(world: &World, id: &str, email: &str, title: &str) {
    let profile = json!({ "display_name": id.to_lowercase(), "email": email, "title": title });
    world.sandbox.add_member(json!({ "id": id, "name": id.to_lowercase(), "profile": profile }));
}

fn lookups(world: &World) -> usize {
    world.calls("users.lookupByEmail").len()
}

#[tokio::test]
async fn who_joined_a_minute_ago_gets_the_message_and_is_known_to_all_from_then_on() {
    Plan { replicas: 2, ..Plan::default() }
        .run(async |world| {
            let [generation, sequence, _] = progress(world).await;
            joins(world, "UNEW", "new@demo.example", "");
            world.client.upsert(TENANT, vec![person("new", "new@demo.example")]).await;
            let answer = world.client.notify(notify("1", "case.started", &["new"])).await.unwrap();
            let verdict = &answer.verdicts[0];
            assert_eq!(verdict.kind(), VerdictKind::Queued);
            assert!(verdict.member.is_none(), "Notify does not ask Slack");
            let ended = world.client.ended(TENANT, &answer.notification_id).await;
            assert_eq!(ended[0].state(), DeliveryState::Sent);
            assert_eq!(world.messages(1).await[0].user.as_deref(), Some("UNEW"));
            assert_eq!(progress(world).await, [generation, sequence + 1, 1]);
            let (lists, asked) = (world.calls("users.list").len(), lookups(world));
            assert_eq!(asked, 1);
            for replica in 0..2 {
                until("the change is seen", async || {
                    member_at(world, replica, "new@demo.example").await
                })
                .await;
            }
            assert_eq!((world.calls("users.list").len(), lookups(world)), (lists, 1));
        })
        .await;
}

#[tokio::test]
async fn fifty_at_once_ask_once_and_then_nobody_for_a_while() {
    for_each_database(async |world| {
        progress(world).await;
        world.client.upsert(TENANT, vec![person("gone", "gone@demo.example")]).await;
        let slow = Fault::new("users.lookupByEmail", FaultKind::Delay { seconds: 0.1 });
        world.sandbox.script(slow);
        let calls = (0..50).map(|number| {
            world.client.notify(notify(&number.to_string(), "case.started", &["gone"]))
        });
        for answer in futures_util::future::join_all(calls).await {
            assert!(answer.unwrap().verdicts[0].member.is_none());
        }
        world.settled().await;
        assert_eq!(lookups(world), 1);
        // Now the answer has the verdict; before, the feed had it.
        let again = world.client.notify(notify("again", "case.started", &["gone"])).await.unwrap();
        let verdict = &again.verdicts[0];
        assert_eq!(verdict.kind(), VerdictKind::Unreachable);
        assert_eq!(verdict.no_match.as_ref().unwrap().reason(), NoMatchReason::NoMember);
        assert_eq!(lookups(world), 1);
        // A test does not rely on a remembered answer.
        joins(world, "UGONE", "gone@demo.example", "");
        let test = TestSlackRequest {
            tenant_id: TENANT.into(),
            subject: Some(test_slack_request::Subject::UserId("gone".into())),
            actor: None,
        };
        let test = world.client.test_slack(test).await.unwrap();
        assert_eq!(test.member.unwrap().slack_user_id, "UGONE");
        assert_eq!(lookups(world), 2);
        world.messages(1).await;
    })
    .await;
}

#[tokio::test]
async fn an_absence_is_forgotten_after_its_time_and_asked_about_once_more() {
    // Two seconds.
    let plan =
        Plan { adjust: |settings| settings.directory.absent_seconds = 100, ..Plan::default() };
    plan.run(async |world| {
        progress(world).await;
        world.client.upsert(TENANT, vec![person("late", "late@demo.example")]).await;
        let rounds = std::cell::Cell::new(0);
        until("the person is looked up again", async || {
            rounds.set(rounds.get() + 1);
            let client = &world.client;
            let calls = (0..3).map(|number| {
                let id = format!("{}-{number}", rounds.get());
                async move { client.notify(notify(&id, "case.started", &["late"])).await }
            });
            for answer in futures_util::future::join_all(calls).await {
                let answer = answer.unwrap();
                assert!(answer.verdicts[0].member.is_none());
                if answer.verdicts[0].kind() == VerdictKind::Queued {
                    world.client.ended(TENANT, &answer.notification_id).await;
                }
            }
            (lookups(world) > 1).then_some(())
        })
        .await;
        let asked: Vec<i64> =
            world.calls("users.lookupByEmail").iter().map(|call| call.started_at_micros).collect();
        let apart = asked.windows(2).map(|two| two[1] - two[0]);
        // Measured at Slack, where a lookup takes a moment to arrive.
        assert!(apart.clone().all(|apart| apart > 1_900_000), "{asked:?}, {rounds:?} rounds");
        assert!(rounds.get() > 1, "the lookup was repeated at once");
        // Now the person joins.
        joins(world, "ULATE", "late@demo.example", "");
        let tries = std::cell::Cell::new(0);
        until("the absence is forgotten", async || {
            tries.set(tries.get() + 1);
            let id = format!("joined-{}", tries.get());
            let call = world.client.notify(notify(&id, "case.started", &["late"])).await;
            let answer = call.unwrap();
            if answer.verdicts[0].kind() == VerdictKind::Unreachable {
                return None;
            }
            let ended = world.client.ended(TENANT, &answer.notification_id).await;
            (ended[0].state() == DeliveryState::Sent).then_some(())
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn where_the_mapping_is_another_the_address_is_but_a_hint() {
    for_each_database(async |world| {
        progress(world).await;
        let settings = Settings {
            user_attribute: "badge".into(),
            slack_attribute: "profile.title".into(),
            ..Settings::default()
        };
        let paths = ["user_attribute", "slack_attribute"];
        world.client.set(TENANT, settings, &paths).await.unwrap();
        joins(world, "UONE", "one@demo.example", "badge-1");
        joins(world, "UTWO", "two@demo.example", "badge-2");
        let people = ["one", "two"].map(|user| herald::rpc::pb::Person {
            attributes: Some(fields(json!({ "badge": "badge-1" }))),
            ..person(user, &format!("{user}@demo.example"))
        });
        world.client.upsert(TENANT, people.to_vec()).await;
        // The address of `two` belongs to a member with another badge: that is not this person.
        let answer = world.client.notify(notify("2", "case.started", &["two"])).await.unwrap();
        let ended = world.client.ended(TENANT, &answer.notification_id).await;
        assert_eq!(ended[0].state(), DeliveryState::Unreachable);
        assert_eq!(ended[0].reason, "no_member");
        let answer = world.client.notify(notify("1", "case.started", &["one"])).await.unwrap();
        let ended = world.client.ended(TENANT, &answer.notification_id).await;
        assert_eq!(ended[0].state(), DeliveryState::Sent);
        assert_eq!(world.messages(1).await[0].user.as_deref(), Some("UONE"));
        assert_eq!(lookups(world), 2);
    })
    .await;
}

#[tokio::test]
async fn where_slack_cannot_be_asked_the_list_decides() {
    for_each_database(async |world| {
        progress(world).await;
        let people = ["a", "b"].map(|user| person(user, &format!("{user}@elsewhere.example")));
        world.client.upsert(TENANT, people.to_vec()).await;
        let refused = FaultKind::Error { code: "missing_scope".into() };
        world.sandbox.script(Fault::new("users.lookupByEmail", refused).times(1));
        let answer = world.client.notify(notify("1", "case.started", &["a"])).await.unwrap();
        let ended = world.client.ended(TENANT, &answer.notification_id).await;
        assert_eq!(ended[0].state(), DeliveryState::Unreachable);
        // Unavailable for a moment: the lookup is repeated.
        let away = FaultKind::Status { code: 503, body: String::new(), retry_after: None };
        world.sandbox.script(Fault::new("users.lookupByEmail", away).times(1));
        joins(world, "UB", "b@elsewhere.example", "");
        let answer = world.client.notify(notify("2", "case.started", &["b"])).await.unwrap();
        let ended = world.client.ended(TENANT, &answer.notification_id).await;
        assert_eq!(ended[0].state(), DeliveryState::Sent);
        // The token is dead: the verdict comes at once.
        listen(world);
        world.sandbox.uninstall();
        super::applied(world, 2).await;
        let asked = lookups(world);
        let answer = world.client.notify(notify("3", "case.started", &["a"])).await.unwrap();
        assert_eq!(answer.verdicts[0].kind(), VerdictKind::Unreachable);
        assert_eq!(lookups(world), asked);
    })
    .await;
}

#[tokio::test]
async fn in_a_broadcast_fifty_strangers_are_asked_about_and_for_the_others_the_list_decides() {
    Plan { rate_limits: true, ..Plan::default() }
        .run(async |world| {
            let users: Vec<_> = (0..200).map(|number| format!("stranger-{number}")).collect();
            let people = users.iter().map(|user| person(user, &format!("{user}@demo.example")));
            world.client.upsert(TENANT, people.collect()).await;
            let users: Vec<_> = users.iter().map(String::as_str).collect();
            let answer = world.client.notify(notify("1", "case.started", &users)).await.unwrap();
            let queued = answer.verdicts.iter().filter(|it| it.kind() == VerdictKind::Queued);
            assert_eq!(queued.count(), 50);
            let ended = world.client.ended(TENANT, &answer.notification_id).await;
            assert!(ended.iter().all(|it| it.state() == DeliveryState::Unreachable));
            assert!(lookups(world) <= 50);
        })
        .await;
}
