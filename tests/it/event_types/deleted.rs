//! The switches of a deleted type remain for messages that wait.

use std::time::Duration;

use herald::domain::limits;
use herald::rpc::pb::{self, DeliveryState as State, PreferenceValue, VerdictKind as Kind};

use super::{NAME, cancelled, create, delete, get, named, recipient, training, update};
use crate::held::{arrive, newcomer};
use crate::support::client::{Client, bad_fields, person};
use crate::support::world::{Plan, TENANT, World, for_each_database};

async fn settings(client: &Client) -> pb::Settings {
    client.workspace(TENANT).await.unwrap().settings.unwrap()
}

async fn disable(client: &Client, names: &[&str]) -> Result<pb::Settings, tonic::Status> {
    let names = names.iter().map(ToString::to_string).collect();
    let off = pb::Settings { disabled_event_types: names, ..Default::default() };
    client.set(TENANT, off, &["disabled_event_types"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_message_of_a_type_that_was_off_is_not_sent() {
    for_each_database(async |world| {
        let client = &world.client;
        client.load(&["ben"]).await;
        create(client, training()).await.unwrap();
        let at = world.now().await.plus(Duration::from_secs(3)).0;
        let at = prost_types::Timestamp { seconds: at.div_euclid(1_000_000), nanos: 0 };
        let request = cancelled("later", vec![recipient("ben", &[])]);
        let request = pb::NotifyRequest { deliver_after: Some(at), ..request };
        let id = client.notify(request).await.unwrap().notification_id;
        update(client, named(NAME), &["enabled"]).await.unwrap();
        delete(client, NAME, "").await.unwrap();
        let ended = client.ended(TENANT, &id).await.remove(0);
        assert_eq!((ended.state(), &*ended.reason), (State::Suppressed, "event_type_off"));
        assert!(world.sandbox.messages().is_empty());
    })
    .await;
}

/// Each replica remembers failed lookups for longer than a test takes.
fn remembering() -> Plan {
    Plan { adjust: |settings| settings.directory.absent_seconds = 3600, ..Plan::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn held_messages_keep_the_switches_that_their_type_had() {
    let test = async |world: &mut World| {
        let client = &world.client;
        client.upsert(TENANT, vec![person("nia", "nia@firm.example")]).await;
        let tested = pb::TestSlackRequest {
            tenant_id: TENANT.into(),
            subject: Some(pb::test_slack_request::Subject::UserId("nia".into())),
            actor: None,
        };
        client.test_slack(tested).await.unwrap();
        let types = ["training.off", "training.mandatory"];
        let mut held = Vec::new();
        for name in types {
            let own = pb::EventType {
                name: name.into(),
                hold_until_arrival: true,
                mandatory: name == "training.mandatory",
                ..training()
            };
            create(client, own).await.unwrap();
            let request = cancelled(name, vec![recipient("nia", &[])]);
            let request = pb::NotifyRequest { event_type: name.into(), ..request };
            let answer = client.notify(request).await.unwrap();
            assert_eq!(answer.verdicts[0].kind(), Kind::Held);
            held.push(answer.notification_id);
        }
        update(client, named("training.off"), &["enabled"]).await.unwrap();
        let choice = pb::SetPreferenceRequest {
            tenant_id: TENANT.into(),
            user_id: "nia".into(),
            value: PreferenceValue::Off.into(),
            ..Default::default()
        };
        client.set_preference(choice).await.unwrap();
        for name in types {
            delete(client, name, "").await.unwrap();
        }
        arrive(world, [newcomer("UNIA", "nia@firm.example")]).await;
        let mut ends = Vec::new();
        for id in held {
            let ended = client.ended(TENANT, &id).await.remove(0);
            ends.push((ended.state(), ended.reason));
        }
        assert_eq!(ends[0], (State::Suppressed, "event_type_off".to_owned()));
        assert_eq!(ends[1].0, State::Sent, "{ends:?}");
        world.messages(1).await;
    };
    remembering().run(test).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_switch_of_a_deleted_type_can_be_repeated_and_ends_with_a_new_type() {
    for_each_database(async |world| {
        let client = &world.client;
        let own = pb::EventType { hold_until_arrival: true, ..training() };
        create(client, own).await.unwrap();
        update(client, named(NAME), &["enabled"]).await.unwrap();
        delete(client, NAME, "").await.unwrap();
        let kept = settings(client).await;
        assert_eq!(kept.disabled_event_types, [NAME]);
        assert!(kept.held_event_types.is_empty());
        // The list is read, changed and written.
        disable(client, &["task.due", NAME]).await.unwrap();
        let refused = disable(client, &[NAME, "training.unknown"]).await.unwrap_err();
        assert_eq!(bad_fields(&refused), ["settings.disabled_event_types"]);
        let held = pb::Settings { held_event_types: vec![NAME.into()], ..Default::default() };
        let refused = client.set(TENANT, held, &["held_event_types"]).await.unwrap_err();
        assert_eq!(bad_fields(&refused), ["settings.held_event_types"]);
        // A new type of the name has its own switches.
        assert!(create(client, training()).await.unwrap().enabled);
        assert_eq!(settings(client).await.disabled_event_types, ["task.due"]);
        delete(client, NAME, "").await.unwrap();
        let refused = disable(client, &[NAME]).await.unwrap_err();
        assert_eq!(bad_fields(&refused), ["settings.disabled_event_types"]);
        assert!(get(client, "task.due").await.is_ok_and(|due| !due.enabled));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limited_number_of_deleted_types_remains_in_the_settings() {
    for_each_database(async |world| {
        let client = &world.client;
        let max = limits::DELETED_EVENT_TYPES_IN_SETTINGS;
        let names: Vec<String> = (0..=max).map(|number| format!("own.t{number}")).collect();
        for name in &names {
            let own = pb::EventType { name: name.clone(), ..training() };
            create(client, own).await.unwrap();
        }
        let all: Vec<&str> = names.iter().map(String::as_str).collect();
        disable(client, &all).await.unwrap();
        for name in &names[..max] {
            delete(client, name, "").await.unwrap();
        }
        let last = &*names[max];
        let refused = delete(client, last, "").await.unwrap_err();
        assert_eq!(bad_fields(&refused), ["name"]);
        let told = "30 deleted event types are still switched off";
        assert!(refused.message().contains(told), "{}", refused.message());
        assert_eq!(settings(client).await.disabled_event_types.len(), names.len());
        disable(client, &all[1..]).await.unwrap();
        delete(client, last, "").await.unwrap();
        // A type that is switched on leaves nothing.
        create(client, training()).await.unwrap();
        delete(client, NAME, "").await.unwrap();
        assert_eq!(settings(client).await.disabled_event_types.len(), max);
    })
    .await;
}
