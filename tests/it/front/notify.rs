//! Notify: the right people get a message, and they get it once.

use futures_util::future::join_all;
use herald::domain::message::event;
use herald::domain::message::render::Language;
use herald::rpc::pb::{self, DeliveryGuarantee, DeliveryState, VerdictKind};
use herald::sandbox::fixture;
use prost::Message as _;
use tonic::Code;

use crate::support::client::{
    bad_fields, demo_person, fields, notify, notify_targets, person, reason, task,
};
use crate::support::world::{Plan, TENANT, for_each_database};

const PEOPLE: [&str; 9] = ["ada", "ben", "clara", "daichi", "elif", "fabio", "gita", "hugo", "lea"];

/// The member of the demo workspace with this name.
fn member(name: &str) -> String {
    format!("U0DEMO{}", &name[..3].to_uppercase())
}

/// The language of that member's locale in Slack.
fn language(name: &str) -> Language {
    match name {
        "clara" => Language::German,
        "daichi" => Language::Japanese,
        "fabio" => Language::Portuguese,
        "hugo" => Language::French,
        "lea" => Language::Spanish,
        _ => Language::English,
    }
}

/// In their language, without any setting of their own.
#[tokio::test]
async fn every_built_in_type_reaches_its_person() {
    for_each_database(async |world| {
        world.client.load(&PEOPLE).await;
        let mut expected = Vec::new();
        for (number, event) in event::catalogue().iter().enumerate() {
            let name = PEOPLE[number % PEOPLE.len()];
            let link = format!("https://platform.example/{}/{number}", event.name);
            let request = pb::NotifyRequest {
                link: link.clone(),
                ..notify(&format!("request-{number}"), event.name, &[name])
            };
            let answer = world.client.notify(request).await.unwrap();
            let verdict = &answer.verdicts[0];
            assert_eq!(verdict.kind(), VerdictKind::Queued);
            assert_eq!(verdict.member.as_ref().unwrap().slack_user_id, member(name));
            assert_eq!(verdict.delivery_guarantee(), DeliveryGuarantee::EffectivelyOnce);
            let button = event.button(language(name));
            expected.push((verdict.delivery_id.clone(), member(name), link, button));
        }
        let messages = world.messages(expected.len()).await;
        for (delivery, member, link, button) in expected {
            let of_it = |message: &&herald::sandbox::StoredMessage| {
                message.metadata["event_payload"]["delivery_id"] == delivery
            };
            let message = messages.iter().find(of_it).unwrap();
            assert_eq!(message.user.as_deref(), Some(member.as_str()));
            let shown = message.blocks.to_string();
            assert!(shown.contains(&link) && shown.contains(button), "{shown}");
        }
        world.settled().await;
    })
    .await;
}

#[tokio::test]
async fn a_request_repeated_is_answered_the_same_and_sends_once() {
    for_each_database(async |world| {
        world.client.load(&["ben", "ida"]).await;
        let request = notify("same", "task.assigned", &["ben", "ida"]);
        let first = world.client.notify(request.clone()).await.unwrap();
        let second = world.client.notify(request.clone()).await.unwrap();
        assert_eq!(first.encode_to_vec(), second.encode_to_vec());
        world.settled().await;
        // Data that Herald has learned since does not change the answer.
        let third = world.client.notify(request.clone()).await.unwrap();
        assert_eq!(first.encode_to_vec(), third.encode_to_vec());
        assert_eq!(world.messages(1).await.len(), 1);

        for other in [
            pb::NotifyRequest { link: "https://platform.example/2".into(), ..request.clone() },
            pb::NotifyRequest { content_id: "c".into(), ..request.clone() },
            notify("same", "task.assigned", &["ben"]),
            notify("same", "task.due", &["ben", "ida"]),
        ] {
            let refused = world.client.notify(other).await.unwrap_err();
            assert_eq!(refused.code(), Code::AlreadyExists);
            assert_eq!(reason(&refused), "REQUEST_ID_REUSED");
        }
        // A refused call stores nothing: the first payload still has its answer.
        let last = world.client.notify(request).await.unwrap();
        assert_eq!(first.encode_to_vec(), last.encode_to_vec());
    })
    .await;
}

#[tokio::test]
async fn a_request_raced_from_two_replicas_is_one_notification() {
    Plan { replicas: 2, ..Plan::default() }
        .run(async |world| {
            world.client.load(&["ben"]).await;
            let clients = [world.client(0, None).await, world.client(1, None).await];
            let request = notify("raced", "case.started", &["ben"]);
            let race = (0..50).map(|number| clients[number % 2].notify(request.clone()));
            let answers: Vec<_> =
                join_all(race).await.into_iter().map(|answer| answer.unwrap()).collect();
            for answer in &answers {
                assert_eq!(answer.encode_to_vec(), answers[0].encode_to_vec());
            }
            world.settled().await;
            world.messages(1).await;
        })
        .await;
}

#[tokio::test]
async fn a_member_named_several_times_gets_one_message() {
    for_each_database(async |world| {
        world.client.load(&["ben", "ada"]).await;
        world.client.upsert(TENANT, vec![person("ben-again", "BEN@demo.example ")]).await;
        let request = notify("one", "case.started", &["ben", "ada", "ben", "ben-again"]);
        let verdicts = world.client.notify(request).await.unwrap().verdicts;
        let names: Vec<_> = verdicts.iter().map(|verdict| verdict.recipient.clone()).collect();
        let user = |name: &str| Some(pb::verdict::Recipient::UserId(name.into()));
        assert_eq!(names, [user("ben"), user("ada"), user("ben"), user("ben-again")]);
        assert_eq!(verdicts[0].delivery_id, verdicts[2].delivery_id);
        assert_eq!(verdicts[0].delivery_id, verdicts[3].delivery_id);
        assert_ne!(verdicts[0].delivery_id, verdicts[1].delivery_id);
        world.settled().await;
        world.messages(2).await;
    })
    .await;
}

#[tokio::test]
async fn a_person_described_in_the_call_is_stored_and_reached() {
    for_each_database(async |world| {
        let described = pb::Person { display_name: "Ben".into(), ..demo_person("ben") };
        let to = [pb::recipient::Target::Person(described.clone())];
        let answer = world.client.notify(notify_targets("1", "case.started", to)).await.unwrap();
        assert_eq!(answer.verdicts[0].kind(), VerdictKind::Queued);
        world.settled().await;
        let stored = world.client.person(TENANT, "ben").await.unwrap();
        assert_eq!(stored.person.unwrap().display_name, "Ben");
        assert_eq!(stored.identity.unwrap().member.unwrap().slack_user_id, "U0DEMOBEN");
    })
    .await;
}

#[tokio::test]
async fn a_thousand_recipients_fit_in_one_call() {
    // One in ten is in Slack; the others get a verdict too.
    let members = (1..=100).map(fixture::generated_member).collect();
    Plan { members: Some(members), ..Plan::default() }
        .run(async |world| {
            let names: Vec<String> = (1..=1000).map(|number| format!("user-{number}")).collect();
            let people = (1..=1000)
                .map(|n| person(&format!("user-{n}"), &format!("person{n}@generated.example")));
            world.client.upsert(TENANT, people.collect()).await;
            let users: Vec<&str> = names.iter().map(String::as_str).collect();
            let request = notify("broadcast", "process.imported", &users);
            let answer = world.client.notify(request).await.unwrap();
            assert_eq!(answer.verdicts.len(), 1000);
            for (number, verdict) in (1..).zip(&answer.verdicts) {
                // About fifty strangers are looked up in Slack; for the others the list decides.
                let queued = number <= 150;
                assert_eq!(verdict.kind() == VerdictKind::Queued, queued, "{verdict:?}");
                assert_eq!(verdict.member.is_some(), number <= 100, "{verdict:?}");
            }
            let messages = world.messages(100).await;
            let reached: std::collections::BTreeSet<_> =
                messages.iter().filter_map(|message| message.user.clone()).collect();
            assert_eq!(reached.len(), 100);
            world.settled().await;
            assert!(world.calls("users.info").is_empty(), "liveness comes from the list");

            let one_more = notify("more", "process.imported", &[users, vec!["another"]].concat());
            let refused = world.client.notify(one_more).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument);
            assert_eq!(bad_fields(&refused), ["recipients"]);
        })
        .await;
}

#[tokio::test]
async fn all_bad_fields_are_told_in_one_answer_and_nothing_is_stored() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        let bad = pb::NotifyRequest {
            link: "javascript:alert(1)".into(),
            recipients: Vec::new(),
            request_id: String::new(),
            ..notify("bad", "task.assigned", &[])
        };
        let refused = world.client.notify(bad).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        let fields_named = bad_fields(&refused);
        for field in ["link", "recipients", "request_id"] {
            assert!(fields_named.iter().any(|named| named == field), "{fields_named:?}");
        }
        let incomplete = pb::NotifyRequest {
            data: Some(fields(serde_json::json!({ "task": {} }))),
            link: String::new(),
            ..notify("kept", "task.assigned", &["ben"])
        };
        let refused = world.client.notify(incomplete).await.unwrap_err();
        let named = bad_fields(&refused);
        assert!(named.iter().any(|field| field.contains("task.name")), "{named:?}");
        assert!(named.iter().any(|field| field.contains("process.name")), "{named:?}");
        assert!(named.contains(&"link".to_owned()), "{named:?}");
        // The id of a refused call is free.
        world.client.notify(notify("kept", "task.assigned", &["ben"])).await.unwrap();
        world.settled().await;
    })
    .await;
}

#[tokio::test]
async fn what_was_accepted_can_be_asked_about() {
    for_each_database(async |world| {
        world.client.load(&["ben", "ida"]).await;
        let request = task("asked", &["ben", "ida"]);
        let id = world.client.notify(request).await.unwrap().notification_id;
        world.settled().await;
        let told = world.client.notification(TENANT, &id).await.unwrap();
        assert_eq!(
            (told.request_id.as_str(), told.event_type.as_str()),
            ("asked", "task.assigned")
        );
        let created = told.created_at.unwrap().seconds;
        assert_eq!(told.expires_at.unwrap().seconds - created, 72 * 3600);
        let of = |user: &str| told.deliveries.iter().find(|it| it.user_id == user).unwrap();
        let (ben, ida) = (of("ben"), of("ida"));
        assert_eq!(ben.state(), DeliveryState::Sent);
        let message = &world.sandbox.messages()[0];
        assert_eq!((&ben.channel_id, &ben.ts), (&message.conversation, &message.ts));
        assert_eq!((ben.attempts, ben.attempt_log.len()), (1, 1));
        assert_eq!(ben.attempt_log[0].outcome, "sent");
        assert_eq!(ben.slack_target, "U0DEMOBEN");
        assert_eq!(ida.state(), DeliveryState::Unreachable);
        assert_eq!(ida.reason, "no_member");

        let unknown = world.client.notification(TENANT, &uuid::Uuid::nil().to_string()).await;
        assert_eq!(unknown.unwrap_err().code(), Code::NotFound);
        let nonsense = world.client.notification(TENANT, "nonsense").await;
        assert_eq!(nonsense.unwrap_err().code(), Code::InvalidArgument);
    })
    .await;
}
