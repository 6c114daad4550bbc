//! Held until arrival: a message to a person who is not in Slack yet waits, is sent once when they
//! appear, and can end in every other way.

mod life;

use std::collections::BTreeMap;

use herald::rpc::pb::{
    self, DeliveryState as State, HoldPolicy, NoMatchReason, NotifyRequest, Settings, VerdictKind,
};
use serde_json::{Value, json};

use crate::support::client::{Client, demo_person, fields, notify, person, task};
use crate::support::world::{Plan, TENANT, World};

pub(crate) fn hold(request: NotifyRequest) -> NotifyRequest {
    NotifyRequest { hold: HoldPolicy::Hold.into(), ..request }
}

pub(crate) fn newcomer(id: &str, email: &str) -> Value {
    json!({ "id": id, "profile": { "display_name": id.to_lowercase(), "email": email } })
}

/// Adds the members to Slack and reads the member list again.
pub(crate) async fn arrive(world: &World, members: impl IntoIterator<Item = Value>) {
    for member in members {
        world.sandbox.add_member(member);
    }
    let generation = world.members_read(TENANT, 1).await.generation;
    let request = pb::RefreshDirectoryRequest { tenant_id: TENANT.into(), ..Default::default() };
    world.client.refresh_directory(request).await.unwrap();
    world.members_read(TENANT, generation + 1).await;
}

/// Each replica remembers failed lookups for longer than a test takes.
fn remembering() -> Plan {
    Plan { adjust: |settings| settings.directory.absent_seconds = 3600, ..Plan::default() }
}

/// Slack reports that no member has their address; from then on Notify does not look them up.
async fn unknown(client: &Client, users: &[&str]) {
    for user in users {
        let request = pb::TestSlackRequest {
            tenant_id: TENANT.into(),
            subject: Some(pb::test_slack_request::Subject::UserId((*user).into())),
            actor: None,
        };
        let answer = client.test_slack(request).await.unwrap();
        assert_eq!(answer.no_match.unwrap().reason(), NoMatchReason::NoMember);
    }
}

async fn held(client: &Client, request: NotifyRequest) -> (String, pb::Verdict) {
    let answer = client.notify(hold(request)).await.unwrap();
    let verdict = answer.verdicts.into_iter().next().unwrap();
    assert_eq!(verdict.kind(), VerdictKind::Held, "{verdict:?}");
    (answer.notification_id, verdict)
}

pub(crate) async fn only(world: &World, id: &str) -> pb::Delivery {
    world.client.notification(TENANT, id).await.unwrap().deliveries.remove(0)
}

pub(crate) async fn load_nia(world: &World) {
    world.client.upsert(TENANT, vec![person("nia", "nia@firm.example")]).await;
}

#[tokio::test]
async fn it_waits_for_the_person_and_goes_out_once_behind_what_is_queued() {
    let test = async |world: &mut World| {
        load_nia(world).await;
        unknown(&world.client, &["nia"]).await;
        let (id, verdict) = held(&world.client, task("one", &["nia"])).await;
        let why = verdict.no_match.as_ref().unwrap();
        assert_eq!(why.reason(), NoMatchReason::NoMember);
        assert!(verdict.sentence.contains("until the person appears"), "{}", verdict.sentence);
        assert!(!verdict.delivery_id.is_empty() && verdict.delivery_guarantee != 0);
        // The same call gets the same answer.
        let again = world.client.notify(hold(task("one", &["nia"]))).await.unwrap();
        assert_eq!(again.verdicts, std::slice::from_ref(&verdict));
        let (second, _) = held(&world.client, task("two", &["nia"])).await;
        let shown = only(world, &id).await;
        assert_eq!((shown.state(), shown.reason.as_str()), (State::Held, "no_member"));
        assert!(shown.sentence.contains("until the person appears"), "{}", shown.sentence);

        // The arrival of another person wakes nothing.
        arrive(world, [newcomer("UOTHER", "other@firm.example")]).await;
        assert_eq!(only(world, &id).await.state(), State::Held);

        arrive(world, [newcomer("UNIA", "Nia@firm.example")]).await;
        for id in [&id, &second] {
            let sent = world.client.ended(TENANT, id).await.remove(0);
            assert_eq!((sent.state(), sent.slack_target.as_str()), (State::Sent, "UNIA"));
        }
        let messages = world.messages(2).await;
        assert!(messages.iter().all(|message| message.user.as_deref() == Some("UNIA")));
        let person = world.client.person(TENANT, "nia").await.unwrap();
        assert_eq!(person.identity.unwrap().member.unwrap().slack_user_id, "UNIA");
        // Later calls find them at once.
        let later = world.client.notify(hold(task("three", &["nia"]))).await.unwrap();
        assert_eq!(later.verdicts[0].kind(), VerdictKind::Queued);
        world.settled().await;
        world.messages(3).await;
    };
    remembering().run(test).await;
}

#[tokio::test]
async fn the_setting_and_the_call_decide_and_only_arrival_is_waited_for() {
    let test = async |world: &mut World| {
        load_nia(world).await;
        world.client.upsert(TENANT, vec![person("blank", "")]).await;
        world.sandbox.deactivate("U0DEMOBEN");
        arrive(world, []).await;
        world.client.load(&["ben"]).await;
        unknown(&world.client, &["nia"]).await;
        let kind = async |request: NotifyRequest| {
            world.client.notify(request).await.unwrap().verdicts.remove(0).kind()
        };
        assert_eq!(
            kind(task("a", &["nia"])).await,
            VerdictKind::Unreachable,
            "neither the setting nor the call holds it"
        );
        let settings =
            Settings { held_event_types: vec!["task.assigned".into()], ..Settings::default() };
        let set = world.client.set(TENANT, settings, &["held_event_types"]).await.unwrap();
        assert_eq!(set.held_event_types, ["task.assigned"]);
        assert_eq!(kind(task("b", &["nia"])).await, VerdictKind::Held);
        assert_eq!(kind(notify("c", "task.due", &["nia"])).await, VerdictKind::Unreachable);
        let not = NotifyRequest { hold: HoldPolicy::DoNotHold.into(), ..task("d", &["nia"]) };
        assert_eq!(kind(not).await, VerdictKind::Unreachable);
        // One has left, and the other has no attribute to be found by.
        assert_eq!(kind(task("e", &["ben"])).await, VerdictKind::Unreachable);
        assert_eq!(kind(task("f", &["blank"])).await, VerdictKind::Unreachable);
        arrive(world, [newcomer("UNIA", "nia@firm.example")]).await;
        world.settled().await;
        world.messages(1).await;
    };
    remembering().run(test).await;
}

#[tokio::test]
async fn pins_records_and_mappings_wake_it_too() {
    let test = async |world: &mut World| {
        let pinned = person("pinned", "pinned@firm.example");
        let renamed = person("renamed", "old@firm.example");
        let mut numbered = person("numbered", "numbered@firm.example");
        numbered.attributes = Some(fields(json!({ "handle": "hugo.demo" })));
        world.client.upsert(TENANT, vec![pinned, renamed, numbered]).await;
        unknown(&world.client, &["pinned", "renamed", "numbered"]).await;
        let mut ids = BTreeMap::new();
        for user in ["pinned", "renamed", "numbered"] {
            ids.insert(user, held(&world.client, task(user, &[user])).await.0);
        }
        let target = async |user: &str| {
            let sent = world.client.ended(TENANT, &ids[user]).await.remove(0);
            assert_eq!(sent.state(), State::Sent, "{sent:?}");
            sent.slack_target
        };
        let pin = pb::PinIdentityRequest {
            tenant_id: TENANT.into(),
            user_id: "pinned".into(),
            slack_user_id: "U0DEMOADA".into(),
            actor: None,
        };
        world.client.pin_identity(pin).await.unwrap();
        assert_eq!(target("pinned").await, "U0DEMOADA");
        let moved = pb::Person { user_id: "renamed".into(), ..demo_person("clara") };
        world.client.upsert(TENANT, vec![moved]).await;
        assert_eq!(target("renamed").await, "U0DEMOCLA");
        assert_eq!(only(world, &ids["numbered"]).await.state(), State::Held);
        let settings = Settings {
            user_attribute: "handle".into(),
            slack_attribute: "name".into(),
            ..Settings::default()
        };
        let paths = ["user_attribute", "slack_attribute"];
        world.client.set(TENANT, settings, &paths).await.unwrap();
        assert_eq!(target("numbered").await, "U0DEMOHUG");
        world.messages(3).await;
    };
    remembering().run(test).await;
}

#[tokio::test]
async fn it_ends_like_every_other() {
    let test = async |world: &mut World| {
        let people: Vec<_> = ["canceled", "deleted", "late", "off"]
            .map(|user| person(user, &format!("{user}@firm.example")))
            .to_vec();
        world.client.upsert(TENANT, people).await;
        unknown(&world.client, &["canceled", "deleted", "late", "off"]).await;
        let (canceled, _) = held(&world.client, task("canceled", &["canceled"])).await;
        let (deleted, _) = held(&world.client, task("deleted", &["deleted"])).await;
        let short = prost_types::Duration { seconds: 1, nanos: 0 };
        let late = NotifyRequest { expires_in: Some(short), ..task("late", &["late"]) };
        let (late, _) = held(&world.client, late).await;
        let (off, _) = held(&world.client, task("off", &["off"])).await;

        let request = pb::CancelNotificationRequest {
            tenant_id: TENANT.into(),
            notification_id: canceled.clone(),
            actor: None,
        };
        let answer = world.client.cancel_notification(request).await.unwrap();
        assert_eq!(answer.canceled_deliveries, 1);
        let request = pb::DeletePersonRequest {
            tenant_id: TENANT.into(),
            user_id: "deleted".into(),
            actor: None,
        };
        let answer = world.client.delete_person(request).await.unwrap();
        assert_eq!((answer.canceled_deliveries, answer.in_flight_deliveries), (1, 0));
        let state = async |id: &str| world.client.ended(TENANT, id).await[0].state();
        assert_eq!(state(&canceled).await, State::Canceled);
        assert_eq!(state(&deleted).await, State::Canceled);
        assert_eq!(state(&late).await, State::Expired);
        world.client.switch_sending(TENANT, false).await;
        let all = ["canceled", "deleted", "late", "off"];
        let members = all.map(|user| {
            newcomer(&format!("U{}", user.to_uppercase()), &format!("{user}@firm.example"))
        });
        arrive(world, members).await;
        assert_eq!(state(&off).await, State::Suppressed);
        assert!(world.messages(0).await.is_empty());

        // The feed has reported each step.
        let mut told: BTreeMap<String, Vec<State>> = BTreeMap::new();
        let mut stream = world.client.watch_deliveries(TENANT, Some(0)).await.unwrap();
        while told.values().flatten().count() < 9 {
            for change in stream.message().await.unwrap().unwrap().changes {
                told.entry(change.notification_id.clone()).or_default().push(change.state());
            }
        }
        assert_eq!(told[&canceled], [State::Held, State::Canceled]);
        assert_eq!(told[&deleted], [State::Held, State::Canceled]);
        assert_eq!(told[&late], [State::Held, State::Expired]);
        assert_eq!(told[&off], [State::Held, State::Resolving, State::Suppressed]);
    };
    remembering().run(test).await;
}

/// Accepted before the member list was ever read: it is resolved first, then it waits.
#[tokio::test]
async fn what_is_resolved_to_nobody_waits_as_well() {
    let plan = Plan { ready: false, ..Plan::default() };
    plan.run(async |world| {
        world.sandbox.script(herald::sandbox::Fault::new(
            "users.list",
            herald::sandbox::FaultKind::Error { code: "internal_error".into() },
        ));
        world.client.begin_connect(TENANT).await.unwrap();
        world.client.switch_sending(TENANT, true).await;
        assert_eq!(world.connect(TENANT).await.status, 200);
        load_nia(world).await;
        let answer = world.client.notify(hold(task("early", &["nia"]))).await.unwrap();
        assert_eq!(answer.verdicts[0].kind(), VerdictKind::Queued, "{answer:?}");
        world.called("users.list", 1).await;
        world.sandbox.clear_faults();
        let request =
            pb::RefreshDirectoryRequest { tenant_id: TENANT.into(), ..Default::default() };
        world.client.refresh_directory(request).await.unwrap();
        let id = &answer.notification_id;
        let is_held = |delivery: &pb::Delivery| delivery.state() == State::Held;
        world.client.deliveries_until(TENANT, id, is_held).await;
        arrive(world, [newcomer("UNIA", "nia@firm.example")]).await;
        assert_eq!(world.client.ended(TENANT, id).await[0].state(), State::Sent);
        world.messages(1).await;
    })
    .await;
}

/// Three replicas check, and each message is sent once.
#[tokio::test]
async fn many_wait_and_each_gets_theirs_once() {
    let plan = Plan { replicas: 3, ..Plan::default() };
    plan.run(async |world| {
        let address = |n: usize| format!("n{n}@firm.example");
        let users: Vec<String> = (0..300).map(|n| format!("n{n:03}")).collect();
        let people = users.iter().enumerate().map(|(n, user)| person(user, &address(n)));
        world.client.upsert(TENANT, people.collect()).await;
        let named: Vec<&str> = users.iter().map(String::as_str).collect();
        let answer = world.client.notify(hold(task("all", &named))).await.unwrap();
        // The first fifty or so are looked up in Slack before they are held.
        let kinds: Vec<_> = answer.verdicts.iter().map(pb::Verdict::kind).collect();
        assert!(kinds[..50].iter().all(|kind| *kind == VerdictKind::Queued), "{kinds:?}");
        assert!(kinds[50..].iter().all(|kind| *kind == VerdictKind::Held), "{kinds:?}");
        let arrived = (0..300).filter(|n| n % 3 != 0);
        arrive(world, arrived.map(|n| newcomer(&format!("UN{n:03}"), &address(n)))).await;
        let mut sent = world.messages(200).await;
        sent.sort_by(|a, b| a.user.cmp(&b.user));
        sent.dedup_by(|a, b| a.user == b.user);
        assert_eq!(sent.len(), 200);
        let request = pb::CancelNotificationRequest {
            tenant_id: TENANT.into(),
            notification_id: answer.notification_id.clone(),
            actor: None,
        };
        // All posts are settled before the rest is canceled.
        let over = |delivery: &pb::Delivery| matches!(delivery.state(), State::Sent | State::Held);
        world.client.deliveries_until(TENANT, &answer.notification_id, over).await;
        let canceled = world.client.cancel_notification(request).await.unwrap();
        assert_eq!(canceled.canceled_deliveries, 100);
    })
    .await;
}
