//! Messages that were accepted before a change keep the words that they were accepted with.

use herald::domain::limits;
use herald::rpc::pb::{self, VerdictKind as Kind, template::Form};
use tonic::Code;

use super::{HERE, TYPE, get, reader, reset, save, set, template};
use crate::held::{arrive, hold, newcomer};
use crate::support::client::{Client, person, task};
use crate::support::world::{Plan, TENANT, World, for_each_database};

/// Each replica remembers failed lookups for longer than a test takes.
fn remembering() -> Plan {
    Plan { adjust: |settings| settings.directory.absent_seconds = 3600, ..Plan::default() }
}

/// Nia is stored, and Slack has said that it does not know her.
async fn absent_nia(client: &Client) {
    let nia = pb::Person { locale: "de".into(), ..person("nia", "nia@firm.example") };
    client.upsert(TENANT, vec![nia]).await;
    let tested = pb::TestSlackRequest {
        tenant_id: TENANT.into(),
        subject: Some(pb::test_slack_request::Subject::UserId("nia".into())),
        actor: None,
    };
    client.test_slack(tested).await.unwrap();
}

async fn held(client: &Client, request_id: &str, content_id: &str) {
    let request = pb::NotifyRequest {
        request_id: request_id.into(),
        content_id: content_id.into(),
        ..hold(task("Inspection", &["nia"]))
    };
    let answer = client.notify(request).await.unwrap();
    assert_eq!(answer.verdicts[0].kind(), Kind::Held, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_member_is_found_later_has_the_words_of_its_acceptance() {
    let test = async |world: &mut World| {
        let client = &world.client;
        absent_nia(client).await;
        held(client, "built-in", "").await;
        set(client, HERE, "First: {{ task.name }}").await.unwrap();
        set(client, (TYPE, "", "de"), "Zuerst: {{ task.name }}").await.unwrap();
        set(client, (TYPE, "course-7", "de"), "Kurs 7: {{ task.name }}").await.unwrap();
        held(client, "tenant", "").await;
        held(client, "content", "course-7").await;
        for at in [HERE, (TYPE, "", "de"), (TYPE, "course-7", "de")] {
            set(client, at, "Changed").await.unwrap();
        }
        reset(client, (TYPE, "course-7", "de"), "").await.unwrap();
        // Until the version of its acceptance is not kept any more.
        let german = (TYPE, "", "de");
        for number in 0..limits::TEMPLATE_VERSIONS {
            set(client, german, &format!("Changed {number}")).await.unwrap();
        }
        assert_eq!(get(client, german, 1).await.unwrap_err().code(), Code::NotFound);
        arrive(world, [newcomer("UNIA", "nia@firm.example")]).await;
        world.settled().await;
        let messages = world.messages(3).await;
        let texts: Vec<&str> = messages.iter().map(|message| message.text.as_str()).collect();
        let own = ["Zuerst: Inspection", "Kurs 7: Inspection"];
        assert!(own.iter().all(|own| texts.contains(own)), "{texts:?}");
        let others: Vec<_> = texts.iter().filter(|text| !own.contains(text)).collect();
        assert_eq!(others.len(), 1, "{texts:?}");
        assert!(others[0].contains("Inspection") && !others[0].contains("Zuerst"), "{texts:?}");
    };
    remembering().run(test).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_waits_for_its_turn_has_the_words_of_its_acceptance() {
    for_each_database(async |world| {
        let client = &world.client;
        client.upsert(TENANT, vec![reader("ben", "en")]).await;
        set(client, HERE, "First: {{ task.name }}").await.unwrap();
        world.throttle("U0DEMOBEN", 5);
        client.notify(task("Inspection", &["ben"])).await.unwrap();
        world.called("chat.postMessage", 1).await;
        set(client, HERE, "Second: {{ task.name }}").await.unwrap();
        world.sandbox.clear_faults();
        world.settled().await;
        assert_eq!(world.messages(1).await[0].text, "First: Inspection");
    })
    .await;
}

/// A name that the template only shows is not among the words of the acceptance.
#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_message_shows_its_readers_name_of_the_moment_of_sending() {
    for_each_database(async |world| {
        let client = &world.client;
        let called = |name: &str| pb::Person { display_name: name.into(), ..reader("ben", "en") };
        client.upsert(TENANT, vec![called("Ben")]).await;
        let text = "{{ reader.name }} ({{ reader.name | upper }}): {{ task.name }}";
        set(client, HERE, text).await.unwrap();
        world.throttle("U0DEMOBEN", 5);
        client.notify(task("Inspection", &["ben"])).await.unwrap();
        world.called("chat.postMessage", 1).await;
        client.upsert(TENANT, vec![called("Benedikt")]).await;
        world.sandbox.clear_faults();
        world.settled().await;
        assert_eq!(world.messages(1).await[0].text, "Benedikt (BEN): Inspection");
    })
    .await;
}

/// Templates would make each notification larger than its data.
#[tokio::test(flavor = "multi_thread")]
async fn the_words_are_stored_with_a_notification_only_if_a_message_is_written_later() {
    const SIZE: &str = "SELECT CAST(MAX(LENGTH(data)) AS BIGINT) FROM notifications";
    let test = async |world: &mut World| {
        let client = &world.client;
        client.upsert(TENANT, vec![reader("ben", "de")]).await;
        absent_nia(client).await;
        let long = pb::SimpleMessage { body: "A word. ".repeat(100), ..Default::default() };
        save(client, template((TYPE, "", "de"), Form::Simple(long))).await.unwrap();
        client.notify(task("Written", &["ben"])).await.unwrap();
        let data = world.count(SIZE).await;
        assert!(data < 800, "{data}");
        let both = pb::NotifyRequest {
            request_id: "both".into(),
            ..hold(task("Written and held", &["ben", "nia"]))
        };
        client.notify(both).await.unwrap();
        assert!(world.count(SIZE).await > 800);
        arrive(world, [newcomer("UNIA", "nia@firm.example")]).await;
        world.settled().await;
        let messages = world.messages(3).await;
        assert!(messages.iter().all(|it| it.text.contains("A word.")), "{messages:?}");
    };
    remembering().run(test).await;
}
