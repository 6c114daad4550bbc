//! The words that each reader gets.

use herald::rpc::pb::{self, template::Form};

use super::{HERE, TYPE, heading, reader, reset, save, sent, set, template};
use crate::support::client::task;
use crate::support::world::{Plan, TENANT, World, for_each_database};

const BEN: &str = "U0DEMOBEN";
const ADA: &str = "U0DEMOADA";

/// A notification for both readers, about this content item.
fn about(request_id: &str, content_id: &str) -> pb::NotifyRequest {
    let request = task("Inspection", &["ben", "ada"]);
    pb::NotifyRequest { request_id: request_id.into(), content_id: content_id.into(), ..request }
}

/// The first lines that Ben and Ada get.
async fn read(world: &World, request: pb::NotifyRequest) -> [String; 2] {
    let texts = sent(world, request).await;
    [BEN, ADA].map(|member| texts[member].lines().next().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_german_and_an_english_reader_get_their_words_and_an_override_replaces_them() {
    for_each_database(async |world| {
        let client = &world.client;
        client.upsert(TENANT, vec![reader("ben", "de-AT"), reader("ada", "en-GB")]).await;
        let built_in = read(world, about("built-in", "")).await;
        assert_ne!(built_in[0], built_in[1]);
        set(client, (TYPE, "", "de"), "Neu: {{ task.name }}").await.unwrap();
        set(client, HERE, "New: {{ task.name }}").await.unwrap();
        let own = ["Neu: Inspection", "New: Inspection"].map(String::from);
        assert_eq!(read(world, about("tenant", "")).await, own);
        assert_eq!(read(world, about("tenant-7", "course-7")).await, own);
        // The override has no English, and still replaces the tenant's words for all readers.
        set(client, (TYPE, "course-7", "de"), "Kurs 7").await.unwrap();
        let seven = ["Kurs 7", "Kurs 7"].map(String::from);
        assert_eq!(read(world, about("override", "course-7")).await, seven);
        assert_eq!(read(world, about("other", "course-8")).await, own);
        set(client, (TYPE, "course-7", "en"), "Course 7").await.unwrap();
        let seven = ["Kurs 7", "Course 7"].map(String::from);
        assert_eq!(read(world, about("both", "course-7")).await, seven);
        // Without the override, the next level's words.
        for locale in ["de", "en"] {
            reset(client, (TYPE, "course-7", locale), "").await.unwrap();
        }
        assert_eq!(read(world, about("reset-7", "course-7")).await, own);
        for locale in ["de", "en"] {
            reset(client, (TYPE, "", locale), "").await.unwrap();
        }
        assert_eq!(read(world, about("reset", "course-7")).await, built_in);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_falls_back_to_its_language_and_a_language_that_is_missing_to_english() {
    for_each_database(async |world| {
        let client = &world.client;
        client.upsert(TENANT, vec![reader("ben", "pt-PT"), reader("ada", "fr")]).await;
        set(client, (TYPE, "", "pt-BR"), "Nova tarefa").await.unwrap();
        set(client, HERE, "New task").await.unwrap();
        let read_now = read(world, about("one", "")).await;
        assert_eq!(read_now, ["Nova tarefa", "New task"].map(String::from));
        // Other types have their own words.
        let due = crate::support::client::notify("due", "task.due", &["ben"]);
        assert!(!sent(world, due).await[BEN].contains("Nova tarefa"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_are_sent_as_they_were_written() {
    for_each_database(async |world| {
        let client = &world.client;
        client.upsert(TENANT, vec![reader("ben", "en")]).await;
        let blocks = pb::BlocksMessage {
            text: "Do {{ task.name }}".into(),
            blocks_json: r#"[{"type": "section",
                "text": {"type": "mrkdwn", "text": "*{{ task.name }}*"}}]"#
                .into(),
        };
        let at = (TYPE, "course-7", "en");
        let saved = save(client, template(at, Form::Blocks(blocks.clone()))).await.unwrap();
        assert_eq!(saved.form, Some(Form::Blocks(blocks)));
        let request = pb::NotifyRequest {
            content_id: "course-7".into(),
            ..task("<!channel> tidy", &["ben"])
        };
        client.notify(request).await.unwrap();
        let message = world.messages(1).await.remove(0);
        assert_eq!(message.text, "Do &lt;!channel&gt; tidy");
        let shown = message.blocks.to_string();
        assert!(shown.contains("*&lt;!channel&gt; tidy*") && !shown.contains("<!channel>"));
        world.settled().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_shows_the_words() {
    for_each_database(async |world| {
        let client = &world.client;
        client.upsert(TENANT, vec![reader("ben", "en")]).await;
        set(client, HERE, "Own: {{ task.name }}").await.unwrap();
        let request = pb::NotifyRequest { dry_run: true, ..task("Inspection", &["ben"]) };
        let tried = client.notify(request).await.unwrap().verdicts.remove(0);
        assert_eq!(tried.preview.unwrap().text, "Own: Inspection");
        assert!(world.sandbox.messages().is_empty());
    })
    .await;
}

/// Every replica reads the version of the words for each call, so none is behind.
#[tokio::test(flavor = "multi_thread")]
async fn every_replica_uses_a_change_for_the_next_call() {
    let test = async |world: &mut World| {
        world.client.upsert(TENANT, vec![reader("ben", "en")]).await;
        let mut clients = Vec::new();
        for replica in 0..world.replicas.len() {
            clients.push(world.client(replica, None).await);
        }
        let mut number = 0;
        let mut previews = async || {
            let mut texts = Vec::new();
            for client in &clients {
                number += 1;
                let request = pb::NotifyRequest {
                    request_id: number.to_string(),
                    dry_run: true,
                    ..task("x", &["ben"])
                };
                let tried = client.notify(request).await.unwrap().verdicts.remove(0);
                texts.push(tried.preview.unwrap().text);
            }
            texts
        };
        let built_in = previews().await;
        for (number, text) in ["First", "Second", "Third"].into_iter().enumerate() {
            let client = &clients[number % clients.len()];
            save(client, template(HERE, heading(text))).await.unwrap();
            assert!(previews().await.iter().all(|shown| shown == text));
        }
        reset(&clients[0], HERE, "").await.unwrap();
        assert_eq!(previews().await, built_in);
    };
    let plan = Plan { replicas: 2, ..Plan::default() };
    plan.run(test).await;
}
