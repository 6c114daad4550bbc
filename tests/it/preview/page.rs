//! The page of a preview: its link, its content, its headers and its end.

use herald::rpc::pb::{self, preview_template_request::Source};
use herald::sandbox::{Fault, FaultKind};
use reqwest::{Response, StatusCode};
use serde_json::Value;
use tonic::Code;

use super::{data, preview, request, simple};
use crate::events::caller;
use crate::support::client::{demo_person, reason, task};
use crate::support::world::{Plan, TENANT, World, for_each_database};

/// Reads an address at this replica, as a browser does.
async fn open(world: &World, replica: usize, url: &str) -> Response {
    let mut url = url::Url::parse(url).unwrap();
    url.set_port(Some(world.replicas[replica].http.port())).unwrap();
    caller().get(url).send().await.unwrap()
}

/// Makes a preview for browsers; returns its link.
async fn link(world: &World, request: pb::PreviewTemplateRequest) -> String {
    let shown = preview(world, pb::PreviewTemplateRequest { open_in_browser: true, ..request });
    let shown = shown.await;
    assert!(shown.browser_url.contains("/slack/preview/"), "{}", shown.browser_url);
    shown.browser_url
}

async fn message(world: &World, url: &str) -> Value {
    let answer = open(world, 0, &format!("{url}/message.json")).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["content-type"], "application/json");
    answer.json().await.unwrap()
}

fn guarded(answer: &Response) {
    for (name, value) in [
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
        ("x-robots-tag", "noindex"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
    ] {
        assert_eq!(answer.headers()[name], value, "{name}");
    }
    let policy = answer.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
}

/// The answer for a link that shows nothing.
async fn nothing(answer: Response) -> String {
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    guarded(&answer);
    answer.text().await.unwrap()
}

#[tokio::test]
async fn every_replica_shows_the_page_and_the_message_is_beside_it() {
    let plan = Plan { replicas: 2, ..Plan::default() };
    plan.run(async |world| {
        let wanted = pb::PreviewTemplateRequest {
            source: Some(data("Sign the contract")),
            content_id: "course-7".into(),
            locale: "de".into(),
            open_in_browser: true,
            ..request()
        };
        let shown = preview(world, wanted).await;
        let url = shown.browser_url.as_str();
        let id = url.rsplit('/').next().unwrap();
        assert_eq!(id.len(), 22, "128 bits: {url}");
        let left = shown.browser_url_expire_time.unwrap().seconds - world.now().await.0 / 1_000_000;
        assert!((3_500..=3_600).contains(&left), "{left}");
        for replica in [0, 1] {
            let page = open(world, replica, url).await;
            assert_eq!(page.status(), StatusCode::OK);
            guarded(&page);
            let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
            assert!(policy.contains("script-src 'self'"), "{policy}");
            let html = page.text().await.unwrap();
            assert!(!html.contains("Sign the contract") && html.contains("This is a preview"));
            for file in html.split('"').filter(|part| part.starts_with("files/")) {
                let file = url.replace(id, file);
                let answer = open(world, replica, &file).await;
                assert_eq!(answer.status(), StatusCode::OK, "{file}");
                guarded(&answer);
            }
        }
        let answer = message(world, url).await;
        let end = shown.browser_url_expire_time.unwrap();
        assert_eq!(answer["expires_at"].as_i64().unwrap() / 1000, end.seconds);
        let page = &answer["preview"];
        assert_eq!(page["text"], shown.text);
        assert!(page["blocks"].to_string().contains("Sign the contract"));
        assert_eq!((&page["level"], &page["locale"]), (&"built_in".into(), &"de".into()));
        assert_eq!(page["content_id"], "course-7");
        let sizes = page["sizes"].as_array().unwrap();
        assert_eq!(sizes.len(), shown.sizes.len());
        assert_eq!(sizes[0][0], "text");
    })
    .await;
}

#[tokio::test]
async fn the_page_names_members_that_the_message_mentions() {
    for_each_database(async |world| {
        let literal = pb::Template {
            form: Some(pb::template::Form::Blocks(pb::BlocksMessage {
                text: "Ask <@U0DEMOBEN>".into(),
                blocks_json: "[]".into(),
            })),
            ..simple("en", "", "")
        };
        let url = link(world, pb::PreviewTemplateRequest { template: Some(literal), ..request() });
        let page = message(world, &url.await).await;
        assert_eq!(page["preview"]["names"]["U0DEMOBEN"], "ben");
        assert_eq!(page["preview"]["level"], Value::Null);
    })
    .await;
}

#[tokio::test]
async fn an_altered_an_ended_and_an_unknown_link_get_the_same_answer() {
    for_each_database(async |world| {
        let url = link(world, request()).await;
        let last = if url.ends_with('A') { "Q" } else { "A" };
        let altered = format!("{}{last}", &url[..url.len() - 1]);
        let unknown = url.replace(url.rsplit('/').next().unwrap(), "x");
        let bytes = format!("{}%ff", &url[..url.len() - 1]);
        let answer = nothing(open(world, 0, &altered).await).await;
        for other in [&unknown, &bytes] {
            assert_eq!(nothing(open(world, 0, other).await).await, answer, "{other}");
        }
        let beside = nothing(open(world, 0, &format!("{altered}/message.json")).await).await;
        assert_eq!(beside, answer);
        let ended = "UPDATE previews SET expires_at = created_at - 1";
        assert_eq!(world.execute(ended).await, Ok(1));
        assert_eq!(nothing(open(world, 0, &url).await).await, answer);
        let beside = nothing(open(world, 0, &format!("{url}/message.json")).await).await;
        assert_eq!(beside, answer);
        // Previews that have ended are removed soon.
        crate::support::world::until("upkeep removed it", async || {
            (world.count("SELECT COUNT(*) FROM previews").await == 0).then_some(())
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn the_database_has_neither_the_link_nor_the_message() {
    for_each_database(async |world| {
        let wanted = pb::PreviewTemplateRequest { source: Some(data("canary words")), ..request() };
        let url = link(world, wanted).await;
        let id = url.rsplit('/').next().unwrap();
        for part in [id, "canary words", "task.assigned"] {
            let digit = |half: u8| char::from_digit(half.into(), 16).unwrap().to_ascii_uppercase();
            let hex: String =
                part.bytes().flat_map(|byte| [byte >> 4, byte & 15].map(digit)).collect();
            let content =
                if world.is_postgres() { "upper(encode(content, 'hex'))" } else { "hex(content)" };
            let found = format!(
                "SELECT COUNT(*) FROM previews \
                 WHERE id_hash LIKE '%{part}%' OR {content} LIKE '%{hex}%'"
            );
            assert_eq!(world.count(&found).await, 0, "{part}");
        }
        assert_eq!(world.count("SELECT COUNT(*) FROM previews").await, 1);
        // A message is bound to its link: another's does not open in its place.
        let other = link(world, request()).await;
        let copied = "UPDATE previews SET content = \
            (SELECT content FROM previews ORDER BY id_hash LIMIT 1)";
        assert_eq!(world.execute(copied).await, Ok(2));
        let mut statuses = Vec::new();
        for url in [&url, &other] {
            statuses.push(open(world, 0, url).await.status().as_u16());
        }
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 500]);
    })
    .await;
}

#[tokio::test]
async fn the_deletion_of_a_person_removes_the_previews_of_its_tenant() {
    for_each_database(async |world| {
        world.client.load(&["ben", "ada"]).await;
        world.client.upsert("umbrella", vec![demo_person("ben")]).await;
        let about = pb::PreviewTemplateRequest { user_id: "ben".into(), ..request() };
        let url = link(world, about).await;
        let elsewhere = pb::PreviewTemplateRequest { tenant_id: "umbrella".into(), ..request() };
        let elsewhere = link(world, elsewhere).await;
        let (tenant_id, user_id) = (TENANT.into(), "ben".into());
        let delete = pb::DeletePersonRequest { tenant_id, user_id, actor: None };
        world.client.delete_person(delete).await.unwrap();
        nothing(open(world, 0, &url).await).await;
        assert_eq!(open(world, 0, &elsewhere).await.status(), StatusCode::OK);
        let gone = pb::PreviewTemplateRequest { user_id: "ben".into(), ..request() };
        let gone = world.client.preview_template(gone).await.unwrap_err();
        assert_eq!(gone.code(), Code::NotFound);
    })
    .await;
}

/// The deletion comes between the reading of the notification and the page, while Slack checks the
/// blocks.
#[tokio::test]
async fn a_page_does_not_outlive_the_person_whose_data_it_shows() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        let sent = world.client.notify(task("Sign the contract", &["ben"])).await.unwrap();
        world.client.ended(TENANT, &sent.notification_id).await;
        let slow = Fault::new("blocks.validate", FaultKind::Delay { seconds: 1.0 });
        world.sandbox.script(slow.after());
        let past = pb::PreviewTemplateRequest {
            source: Some(Source::NotificationId(sent.notification_id)),
            open_in_browser: true,
            check_with_slack: true,
            ..request()
        };
        let deletion = async {
            world.called("blocks.validate", 1).await;
            let (tenant_id, user_id) = (TENANT.into(), "ben".into());
            let delete = pb::DeletePersonRequest { tenant_id, user_id, actor: None };
            world.client.delete_person(delete).await.unwrap();
        };
        let (shown, ()) = tokio::join!(world.client.preview_template(past), deletion);
        match shown {
            Err(refused) => {
                assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
                assert_eq!(reason(&refused), "NOTIFICATION_ERASED");
            }
            // The deletion took longer than Slack's answer.
            Ok(shown) => drop(nothing(open(world, 0, &shown.browser_url).await).await),
        }
        assert_eq!(world.count("SELECT COUNT(*) FROM previews").await, 0);
    })
    .await;
}

#[tokio::test]
async fn the_oldest_previews_of_a_tenant_make_room() {
    for_each_database(async |world| {
        world.client.upsert("umbrella", vec![demo_person("ben")]).await;
        let other = pb::PreviewTemplateRequest { tenant_id: "umbrella".into(), ..request() };
        let other = link(world, other).await;
        let first = link(world, request()).await;
        // On SQLite the clock has milliseconds: the first is the oldest beyond doubt.
        let older = "UPDATE previews SET created_at = created_at - 1000000 \
            WHERE tenant = 'acme'";
        assert_eq!(world.execute(older).await, Ok(1));
        let second = link(world, request()).await;
        for _ in 0..99 {
            link(world, request()).await;
        }
        let count = "SELECT COUNT(*) FROM previews WHERE tenant = 'acme'";
        assert_eq!(world.count(count).await, 100);
        nothing(open(world, 0, &first).await).await;
        for url in [&second, &other] {
            assert_eq!(open(world, 0, url).await.status(), StatusCode::OK);
        }
    })
    .await;
}

#[tokio::test]
async fn the_page_is_only_read() {
    for_each_database(async |world| {
        let url = link(world, request()).await;
        let answer = caller().post(&url).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
        let file = url.replace(url.rsplit('/').next().unwrap(), "files/x.js");
        let absent = open(world, 0, &file);
        assert_eq!(absent.await.status(), StatusCode::NOT_FOUND);
    })
    .await;
}
