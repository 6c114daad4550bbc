//! Notify's answer for a client that also has another channel: the delivery, whether the verdict is
//! final, and the effect of a short wait for Slack (`decide_within`).

use std::collections::BTreeMap;
use std::time::Duration;

use herald::rpc::pb::recipient::Target;
use herald::rpc::pb::{self, DeliveryState as State, Fallback, SubjectAction, VerdictKind};
use herald::sandbox::{Fault, FaultKind};
use prost::Message as _;
use serde_json::json;
use tonic::Request;

use crate::support::client::{bad_fields, notify, notify_targets, person, task};
use crate::support::world::{PATIENCE, TENANT, World, for_each_database, until};

/// All changes in the feed so far, by delivery, once this many deliveries have ended.
async fn told(world: &World, ended: usize) -> BTreeMap<String, Vec<pb::DeliveryChange>> {
    let mut stream = world.client.watch_deliveries(TENANT, Some(0)).await.unwrap();
    let mut told = BTreeMap::<String, Vec<pb::DeliveryChange>>::new();
    let is_final = |changes: &Vec<pb::DeliveryChange>| {
        changes.iter().any(|change| change.fallback() != Fallback::Undecided)
    };
    while told.values().filter(|changes| is_final(changes)).count() < ended {
        let page = tokio::time::timeout(PATIENCE, stream.message()).await.unwrap();
        for change in page.unwrap().unwrap().changes {
            told.entry(change.delivery_id.clone()).or_default().push(change);
        }
    }
    told
}

/// Adds a member to Slack without an event.
fn joins(world: &World, id: &str, email: &str) {
    let profile = json!({ "display_name": id.to_lowercase(), "email": email });
    world.sandbox.add_member(json!({ "id": id, "name": id.to_lowercase(), "profile": profile }));
}

fn lookups(world: &World) -> usize {
    world.calls("users.lookupByEmail").len()
}

/// A Notify that waits this long for Slack.
fn waiting(request_id: &str, users: &[&str], milliseconds: u64) -> pb::NotifyRequest {
    let within = Duration::from_millis(milliseconds);
    pb::NotifyRequest {
        decide_within: Some(within.try_into().unwrap()),
        ..notify(request_id, "case.started", users)
    }
}

#[tokio::test]
async fn verdict_delivery_and_feed_are_about_one_delivery_and_agree_on_the_fallback() {
    for_each_database(async |world| {
        world.client.load(&["ben", "ada"]).await;
        world.client.upsert(TENANT, vec![person("empty", "")]).await;
        let off = pb::SetPreferenceRequest {
            tenant_id: TENANT.into(),
            user_id: "ada".into(),
            value: pb::PreferenceValue::Off.into(),
            ..pb::SetPreferenceRequest::default()
        };
        world.client.set_preference(off).await.unwrap();
        let request = notify("one", "case.started", &["ben", "ada", "empty"]);
        let dry = pb::NotifyRequest { dry_run: true, ..request.clone() };
        let dry = world.client.notify(dry).await.unwrap();
        let answer = world.client.notify(request.clone()).await.unwrap();
        let again = world.client.notify(request).await.unwrap();
        assert_eq!(again.encode_to_vec(), answer.encode_to_vec());

        let expected = [
            (VerdictKind::Queued, Fallback::Undecided, State::Sent, Fallback::NotWanted),
            (VerdictKind::Suppressed, Fallback::Wanted, State::Suppressed, Fallback::Wanted),
            (VerdictKind::Unreachable, Fallback::Wanted, State::Unreachable, Fallback::Wanted),
        ];
        let deliveries = world.client.ended(TENANT, &answer.notification_id).await;
        let told = told(world, 3).await;
        assert_eq!(told.len(), 3);
        for (number, (kind, at_once, state, at_last)) in expected.into_iter().enumerate() {
            let verdict = &answer.verdicts[number];
            assert_eq!((verdict.kind(), verdict.fallback()), (kind, at_once));
            assert!(dry.verdicts[number].delivery_id.is_empty(), "nothing is stored");
            assert_eq!(dry.verdicts[number].fallback(), at_once);
            let id = &verdict.delivery_id;
            let delivery = deliveries.iter().find(|one| one.delivery_id == *id).unwrap();
            assert_eq!((delivery.state(), delivery.fallback()), (state, at_last));
            let changes = &told[id];
            let last = changes.last().unwrap();
            assert_eq!((last.state(), last.fallback()), (state, at_last));
            for change in &changes[..changes.len() - 1] {
                assert_eq!(change.fallback(), Fallback::Undecided, "{change:?}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn what_only_deletes_or_crosses_out_says_so_and_wants_no_fallback() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        let bot = world.sandbox.bot_user_id();
        let channel = world.sandbox.create_channel("news", false, &[&bot]);
        let to = || [Target::UserId("ben".into()), Target::ChannelId(channel.clone())];
        let about = |request_id: &str, action: SubjectAction| pb::NotifyRequest {
            subject_key: "case:1".into(),
            subject_action: action.into(),
            ..notify_targets(request_id, "case.started", to())
        };
        let posted = world.client.notify(about("post", SubjectAction::NewMessage)).await.unwrap();
        for verdict in &posted.verdicts {
            assert_eq!(verdict.sentence, "Queued.");
        }
        world.client.ended(TENANT, &posted.notification_id).await;
        for (request_id, action, sentence) in [
            (
                "done",
                SubjectAction::Done,
                "Queued: the messages about the subject will be marked as done.",
            ),
            (
                "gone",
                SubjectAction::Retract,
                "Queued: the messages about the subject will be deleted.",
            ),
        ] {
            let answer = world.client.notify(about(request_id, action)).await.unwrap();
            for verdict in &answer.verdicts {
                assert_eq!(verdict.sentence, sentence);
            }
            world.client.ended(TENANT, &answer.notification_id).await;
        }
        // If sending is switched off, nothing is lost either.
        world.client.switch_sending(TENANT, false).await;
        let off = world.client.notify(about("off", SubjectAction::Done)).await.unwrap();
        let deliveries = world.client.ended(TENANT, &off.notification_id).await;
        let told = told(world, 8).await;
        for verdict in &off.verdicts {
            assert_eq!(verdict.kind(), VerdictKind::Suppressed);
            assert_eq!(verdict.fallback(), Fallback::NotWanted);
            let change = told[&verdict.delivery_id].last().unwrap();
            assert_eq!(change.state(), State::Suppressed);
            assert_eq!(change.fallback(), Fallback::NotWanted);
        }
        assert!(deliveries.iter().all(|one| one.fallback() == Fallback::NotWanted));
    })
    .await;
}

#[tokio::test]
async fn a_call_that_waits_says_whether_slack_knows_them() {
    for_each_database(async |world| {
        joins(world, "UNEW", "new@demo.example");
        let people = ["new", "gone"].map(|name| person(name, &format!("{name}@demo.example")));
        world.client.upsert(TENANT, people.to_vec()).await;
        // Slack first asks Herald to wait; the call waits for that too.
        let kind =
            FaultKind::Status { code: 429, body: String::new(), retry_after: Some("1".into()) };
        world.sandbox.script(Fault::new("users.lookupByEmail", kind).times(1));
        let request = waiting("one", &["new", "gone"], 10_000);
        let answer = world.client.notify(request.clone()).await.unwrap();
        let [new, gone] = &answer.verdicts[..] else { panic!("{answer:?}") };
        assert_eq!(new.kind(), VerdictKind::Queued);
        assert_eq!(new.member.as_ref().unwrap().slack_user_id, "UNEW");
        assert_eq!((gone.kind(), gone.fallback()), (VerdictKind::Unreachable, Fallback::Wanted));
        assert_eq!(lookups(world), 3);
        let told = told(world, 2).await;
        assert_eq!(told[&gone.delivery_id].len(), 1, "decided at once");
        assert_eq!(world.messages(1).await[0].user.as_deref(), Some("UNEW"));
        // The same answer, whatever was learned since, and however long the repeated call would
        // wait.
        joins(world, "UGONE", "gone@demo.example");
        for milliseconds in [0, 10_000] {
            let again = waiting("one", &["new", "gone"], milliseconds);
            let again = world.client.notify(again).await.unwrap();
            assert_eq!(again.encode_to_vec(), answer.encode_to_vec());
        }
        assert_eq!(lookups(world), 3);
    })
    .await;
}

#[tokio::test]
async fn a_wait_ends_with_its_time_and_with_the_calls() {
    for_each_database(async |world| {
        let people = ["one", "two"].map(|name| person(name, &format!("{name}@demo.example")));
        world.client.upsert(TENANT, people.to_vec()).await;
        let hangs = FaultKind::Hang { seconds: 10.0 };
        world.sandbox.script(Fault::new("users.lookupByEmail", hangs));
        // The call's own limit, as for a client without a deadline; then a deadline.
        let short = world.client.notify(waiting("short", &["one"], 50)).await.unwrap();
        let mut request = Request::new(waiting("long", &["two"], 10_000));
        request.set_timeout(Duration::from_secs(4));
        let long = world.client.notify(request).await.unwrap();
        for answer in [&short, &long] {
            let verdict = &answer.verdicts[0];
            assert_eq!(verdict.kind(), VerdictKind::Queued);
            assert_eq!(verdict.fallback(), Fallback::Undecided);
            assert!(verdict.member.is_none());
        }
        world.sandbox.clear_faults();
        for answer in [&short, &long] {
            until("the delivery is unreachable", async || {
                let ended = world.client.ended(TENANT, &answer.notification_id).await;
                (ended[0].state() == State::Unreachable).then_some(())
            })
            .await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_wait_has_a_limit() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        let refused = world.client.notify(waiting("one", &["ben"], 10_001)).await.unwrap_err();
        assert_eq!(bad_fields(&refused), ["decide_within"]);
        let negative = prost_types::Duration { seconds: -1, nanos: 0 };
        let request = pb::NotifyRequest { decide_within: Some(negative), ..task("x", &["ben"]) };
        let refused = world.client.notify(request).await.unwrap_err();
        assert_eq!(bad_fields(&refused), ["decide_within"]);
    })
    .await;
}
