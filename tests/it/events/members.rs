//! Members that join, change and leave.

use herald::rpc::pb::{DeliveryState, RefreshDirectoryRequest, VerdictKind};
use herald::sandbox::{Fault, FaultKind};
use serde_json::json;

use super::{about, applied, called, listen, member_at, metric, progress, tell};
use crate::support::client::{notify, person};
use crate::support::world::{Plan, Replica, SCALE, TENANT, World, for_each_database, until};

const LOADS: &str = "herald_directory_loads_total";

#[tokio::test]
async fn who_joined_is_reached_without_a_question_to_slack() {
    for_each_database(async |world| {
        listen(world);
        progress(world).await;
        let profile = json!({ "display_name": "newcomer", "email": "new@demo.example" });
        world.sandbox.add_member(json!({ "id": "UNEW", "name": "new", "profile": profile }));
        applied(world, 1).await;
        world.client.upsert(TENANT, vec![person("new", "new@demo.example")]).await;
        let asked = world.sandbox.log().len();
        let answer = world.client.notify(notify("1", "case.started", &["new"])).await.unwrap();
        assert_eq!(answer.verdicts[0].member.as_ref().unwrap().slack_user_id, "UNEW");
        world.settled().await;
        let calls = world.sandbox.log().split_off(asked);
        let methods: Vec<_> = calls.iter().map(|call| call.method.as_str()).collect();
        assert_eq!(methods, ["chat.postMessage"]);
    })
    .await;
}

#[tokio::test]
async fn of_what_is_told_the_newest_counts_in_whatever_order_it_comes() {
    for_each_database(async |world| {
        const UNEW: &str = "unew@demo.example";
        let name = async || member_at(world, 0, UNEW).await.unwrap().1;
        progress(world).await;
        tell(world, "Ev1", about("UNEW", 20, "newest")).await;
        applied(world, 1).await;
        called(world, UNEW, "newest").await;
        let before = progress(world).await;
        tell(world, "Ev2", about("UNEW", 10, "older")).await;
        applied(world, 2).await;
        assert_eq!((name().await, progress(world).await), ("newest".into(), before));
        // The member had another name for a while and has the old one again. An event that is
        // dropped because it changes nothing must still outdate late ones.
        tell(world, "Ev3", about("UNEW", 40, "newest")).await;
        applied(world, 3).await;
        tell(world, "Ev4", about("UNEW", 30, "someone else")).await;
        applied(world, 4).await;
        assert_eq!((name().await, progress(world).await), ("newest".into(), before));
        tell(world, "Ev5", about("UNEW", 50, "changed")).await;
        applied(world, 5).await;
        called(world, UNEW, "changed").await;
    })
    .await;
}

#[tokio::test]
async fn a_new_status_costs_nothing() {
    for_each_database(async |world| {
        listen(world);
        let before = progress(world).await;
        member_at(world, 0, "ben@demo.example").await.unwrap();
        let status = json!({ "status_text": "In a meeting", "status_emoji": ":calendar:" });
        for _ in 0..3 {
            world.sandbox.update_member("U0DEMOBEN", &json!({ "profile": status }));
        }
        // Slack reports each change twice, as events with two names.
        applied(world, 6).await;
        assert_eq!(progress(world).await, before);
        assert_eq!(metric(world, 0, LOADS, r#"from="changes""#).await, 0);
        assert_eq!(metric(world, 0, "herald_slack_events_total", r#"result="unchanged""#).await, 6);
    })
    .await;
}

#[tokio::test]
async fn a_change_goes_on_top_of_what_is_in_memory() {
    for_each_database(async |world| {
        listen(world);
        progress(world).await;
        member_at(world, 0, "ben@demo.example").await.unwrap();
        let pages = metric(world, 0, LOADS, r#"from="pages""#).await;
        for number in 0..5 {
            let profile = json!({ "display_name": format!("Ben {number}") });
            world.sandbox.update_member("U0DEMOBEN", &json!({ "profile": profile }));
            applied(world, 2 * (number + 1)).await;
            called(world, "ben@demo.example", &format!("Ben {number}")).await;
        }
        let [_, sequence, kept] = progress(world).await;
        assert_eq!(
            (sequence, kept),
            (5, 1),
            "one change for each new name, and only the last one kept"
        );
        assert_eq!(metric(world, 0, LOADS, r#"from="pages""#).await, pages);
        assert!(metric(world, 0, LOADS, r#"from="changes""#).await >= 5);
    })
    .await;
}

#[tokio::test]
async fn every_replica_sees_a_single_change() {
    Plan { replicas: 3, ..Plan::default() }
        .run(async |world| {
            let [generation, sequence, _] = progress(world).await;
            let lists = world.calls("users.list").len();
            for replica in 0..3 {
                assert!(member_at(world, replica, "ben@demo.example").await.is_some());
            }
            tell(world, "Ev1", about("UNEW", 9, "new")).await;
            for replica in 0..3 {
                let found = until("the change is seen", async || {
                    member_at(world, replica, "unew@demo.example").await
                });
                assert_eq!(found.await, ("UNEW".into(), "new".into()));
            }
            assert_eq!(progress(world).await, [generation, sequence + 1, 1]);
            assert_eq!(world.calls("users.list").len(), lists);
        })
        .await;
}

#[tokio::test]
async fn two_tenants_of_one_workspace_see_one_change() {
    for_each_database(async |world| {
        assert_eq!(world.connect("umbrella").await.status, 200);
        let [_, sequence, _] = progress(world).await;
        let before = world.members_read("umbrella", 1).await.members;
        tell(world, "Ev1", about("UNEW", 9, "new")).await;
        applied(world, 1).await;
        assert_eq!(progress(world).await[1], sequence + 1);
        for tenant in [TENANT, "umbrella"] {
            let directory = world.client.workspace(tenant).await.unwrap().directory.unwrap();
            assert_eq!(directory.members, before + 1, "{tenant}");
            assert!(directory.last_event_at.is_some());
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_queued_for_an_account_that_is_closed_ends_with_the_reason() {
    for_each_database(async |world| {
        listen(world);
        progress(world).await;
        world.client.load(&["ben"]).await;
        world.throttle("U0DEMOBEN", 1);
        let answer = world.client.notify(notify("1", "case.started", &["ben"])).await.unwrap();
        assert_eq!(answer.verdicts[0].kind(), VerdictKind::Queued);
        world.called("chat.postMessage", 1).await;
        world.sandbox.deactivate("U0DEMOBEN");
        applied(world, 1).await;
        let ended = world.client.ended(TENANT, &answer.notification_id).await;
        assert_eq!(ended[0].state(), DeliveryState::Failed);
        assert_eq!(ended[0].reason, "recipient_deactivated");
        assert!(world.sandbox.messages().is_empty());
        assert!(world.calls("users.info").is_empty(), "the event has the data");
    })
    .await;
}

#[tokio::test]
async fn events_put_the_next_reading_off_but_not_for_ever_nor_where_some_were_lost() {
    for_each_database(async |world| {
        let directory = async || world.client.workspace(TENANT).await.unwrap().directory.unwrap();
        let micros = |at: Option<prost_types::Timestamp>| {
            let at = at.unwrap();
            at.seconds * 1_000_000 + i64::from(at.nanos) / 1000
        };
        progress(world).await;
        let read = directory().await;
        assert_eq!(read.last_event_at, None);
        tell(world, "Ev1", about("UNEW", 9, "new")).await;
        applied(world, 1).await;
        let heard = directory().await;
        let (next, at) = (micros(heard.next_refresh_at), micros(heard.last_event_at));
        assert!(next > micros(read.next_refresh_at), "put off");
        #[expect(clippy::cast_possible_truncation, reason = "a day")]
        let scaled = |seconds: f64| (seconds * SCALE * 1e6) as i64;
        assert!((next - at - scaled(3600.0)).abs() < 1_000_000, "an hour after the event");
        assert!(next <= micros(read.read_at) + scaled(86_400.0));

        let slack = herald::sandbox::Config::default();
        let limited = json!({ "token": "t", "type": "app_rate_limited", "team_id": slack.team.id,
            "minute_rate_limited": super::now(), "api_app_id": slack.app_id });
        assert_eq!(super::knock(world, 0, &limited).await.status(), 200);
        applied(world, 2).await;
        let lost = micros(directory().await.next_refresh_at);
        // The time of the last event is only stored once a minute; this acts as if one had passed.
        world.execute("UPDATE directory SET event_heard_at = NULL").await.unwrap();
        tell(world, "Ev2", about("UNEW", 10, "newer")).await;
        applied(world, 3).await;
        let directory = directory().await;
        assert!(directory.last_event_at.is_some());
        assert_eq!(
            micros(directory.next_refresh_at),
            lost,
            "the next reading still covers the lost events"
        );
    })
    .await;
}

#[tokio::test]
async fn another_attribute_finds_what_events_told_before_and_asks_slack_nothing() {
    for_each_database(async |world| {
        listen(world);
        let [generation, sequence, _] = progress(world).await;
        // The current attribute reads none of it, but the change is kept: once, though Slack
        // reports it as two events.
        world.sandbox.update_member("U0DEMOBEN", &json!({ "profile": { "title": "smith-7" } }));
        applied(world, 2).await;
        assert_eq!(progress(world).await, [generation, sequence + 1, 1]);
        let asked = world.sandbox.log().len();
        let settings = herald::rpc::pb::Settings {
            user_attribute: "user_id".into(),
            slack_attribute: "profile.title".into(),
            ..herald::rpc::pb::Settings::default()
        };
        let paths = ["user_attribute", "slack_attribute"];
        world.client.set(TENANT, settings, &paths).await.unwrap();
        let found = until("the new value is found", async || {
            super::member_by(&world.client, person("smith-7", "")).await
        });
        assert_eq!(found.await.0, "U0DEMOBEN");
        // A requested reading would begin at once; here none is due or under way.
        assert_eq!(progress(world).await[0], generation);
        world.client.upsert(TENANT, vec![person("smith-7", "")]).await;
        let answer = world.client.notify(notify("1", "case.started", &["smith-7"])).await.unwrap();
        assert_eq!(answer.verdicts[0].member.as_ref().unwrap().slack_user_id, "U0DEMOBEN");
        world.settled().await;
        let calls = world.sandbox.log().split_off(asked);
        let methods: Vec<_> = calls.iter().map(|call| call.method.as_str()).collect();
        assert_eq!(methods, ["chat.postMessage"]);
    })
    .await;
}

/// Requests a reading of the list.
async fn refresh(world: &World) {
    let request = RefreshDirectoryRequest { tenant_id: TENANT.into(), ..Default::default() };
    world.client.refresh_directory(request).await.unwrap();
}

#[tokio::test]
async fn a_reading_that_began_later_outranks_what_an_event_told_without_a_time() {
    for_each_database(async |world| {
        let [generation, ..] = progress(world).await;
        let mut inner = about("U0DEMOBEN", 0, "as the event says");
        inner["user"]["profile"]["email"] = json!("ben@demo.example");
        tell(world, "Ev1", inner).await;
        applied(world, 1).await;
        called(world, "ben@demo.example", "as the event says").await;
        refresh(world).await;
        world.members_read(TENANT, generation + 1).await;
        // The change may still be there for readers of the previous generation, but counts only for
        // that generation.
        called(world, "ben@demo.example", "ben").await;
    })
    .await;
}

#[tokio::test]
async fn what_is_told_while_the_list_is_read_is_not_lost_with_the_list_before() {
    for_each_database(async |world| {
        let [generation, ..] = progress(world).await;
        let lists = world.calls("users.list").len();
        let profile = json!({ "email": "listed@demo.example" });
        world.sandbox.add_member(json!({ "id": "ULISTED", "profile": profile }));
        world.sandbox.script(Fault::new("users.list", FaultKind::Delay { seconds: 1.0 }).times(1));
        refresh(world).await;
        world.called("users.list", lists + 1).await;
        // Not on the page that is under way.
        tell(world, "Ev1", about("UNEW", 9, "new")).await;
        applied(world, 1).await;
        assert_eq!(progress(world).await[0], generation + 1);
        // A replica that has neither list in memory reads the pages of the new one, and the changes
        // since.
        world.replicas.push(Replica::start(world.settings()).await);
        let known = async |email| member_at(world, 1, email).await.map(|(id, _)| id);
        assert_eq!(known("listed@demo.example").await.as_deref(), Some("ULISTED"));
        assert_eq!(known("unew@demo.example").await.as_deref(), Some("UNEW"));
        assert_eq!(world.calls("users.lookupByEmail").len(), 0);
        // The replica that had the previous list gets both.
        let served = async || member_at(world, 0, "listed@demo.example").await;
        assert_eq!(until("the new list is served", served).await.0, "ULISTED");
        assert!(member_at(world, 0, "unew@demo.example").await.is_some());
    })
    .await;
}
