//! Actions of people in the workspace, and the events that follow.

use serde_json::{Value, json};

use super::pushes::app;
use super::{Config, Slack, config, start};

/// The inner event of the next push.
pub(super) async fn next(
    received: &mut tokio::sync::mpsc::UnboundedReceiver<super::pushes::Received>,
) -> Value {
    let (_, body) = received.recv().await.unwrap();
    serde_json::from_slice::<Value>(&body).unwrap()["event"].take()
}

impl Slack {
    pub(super) async fn patch(&self, path: &str, body: Value) {
        let answer = self.http.patch(self.at(path)).json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}");
    }
}

#[tokio::test]
async fn the_app_is_told_of_channels_and_their_members() {
    let (url, mut received) = app(Vec::new()).await;
    let slack = start(Config { events_url: Some(url), ..config() }).await;
    let made = slack.json("conversations.create", json!({ "name": "atlas" })).await;
    let id = made["channel"]["id"].as_str().unwrap();
    let told = next(&mut received).await;
    assert_eq!(
        (&told["type"], &told["channel"]["name"]),
        (&json!("channel_created"), &json!("atlas"))
    );
    let body = json!({ "channel": id, "users": "U0DEMOADA" });
    assert_eq!(slack.json("conversations.invite", body).await["ok"], true);
    let told = next(&mut received).await;
    assert_eq!(
        (&told["type"], &told["user"]),
        (&json!("member_joined_channel"), &json!("U0DEMOADA"))
    );
    assert_eq!(
        (&told["channel_type"], &told["inviter"]),
        (&json!("C"), &json!(slack.sandbox.bot_user_id()))
    );

    let path = format!("_sandbox/conversations/{id}");
    let change = json!({ "name": "atlas-2", "archived": true, "leave": ["U0DEMOADA"] });
    slack.patch(&path, change).await;
    slack.patch(&path, json!({ "archived": false })).await;
    let mut kinds = Vec::new();
    for _ in 0..4 {
        kinds.push(next(&mut received).await["type"].take());
    }
    let expected =
        ["channel_rename", "channel_archive", "member_left_channel", "channel_unarchive"];
    assert_eq!(kinds, expected);
    slack.http.delete(slack.at(&path)).send().await.unwrap();
    let told = next(&mut received).await;
    assert_eq!((&told["type"], &told["channel"]), (&json!("channel_deleted"), &json!(id)));
}

#[tokio::test]
async fn private_channels_have_events_of_their_own_and_only_for_members() {
    let (url, mut received) = app(Vec::new()).await;
    let slack = start(Config { events_url: Some(url), ..config() }).await;
    let bot = slack.sandbox.bot_user_id();
    let stranger = slack.sandbox.create_channel("secret", true, &["U0DEMOADA"]);
    let ours = slack.sandbox.create_channel("ours", true, &[&bot]);
    for id in [stranger, ours] {
        slack.patch(&format!("_sandbox/conversations/{id}"), json!({ "archived": true })).await;
    }
    let told = next(&mut received).await;
    assert_eq!(told["type"], "group_archive");
    slack.form("auth.revoke", &[]).await;
    let kinds =
        [next(&mut received).await["type"].take(), next(&mut received).await["type"].take()];
    assert_eq!(kinds, ["tokens_revoked", "app_uninstalled"]);
}

#[tokio::test]
async fn what_people_write_arrives_and_only_what_was_subscribed_to() {
    let (url, mut received) = app(Vec::new()).await;
    let slack = start(Config { events_url: Some(url), ..config() }).await;
    slack.sandbox.configure(|options| options.bot_events = Some(vec!["message".into()]));
    let posted = slack.form("chat.postMessage", &[("channel", "U0DEMOBEN"), ("text", "a")]).await;
    slack.sandbox.deactivate("U0DEMOADA");
    let written = json!({ "conversation": posted["channel"], "user": "U0DEMOBEN", "text": "hello",
        "thread_ts": posted["ts"] });
    slack.control("_sandbox/messages", written).await;
    let told = next(&mut received).await;
    assert_eq!((&told["type"], &told["text"]), (&json!("message"), &json!("hello")));
    assert_eq!((&told["channel_type"], &told["thread_ts"]), (&json!("im"), &posted["ts"]));
}

#[tokio::test]
async fn an_event_with_nowhere_to_go_is_an_error() {
    let slack = start(config()).await;
    let request = slack.http.post(slack.at("_sandbox/events"));
    let answer = request.json(&json!({ "type": "app_uninstalled" })).send().await.unwrap();
    assert_eq!(answer.status(), 409);
    assert!(answer.text().await.unwrap().contains("--events-url"));
    assert!(slack.sandbox.push_event(json!({ "type": "app_uninstalled" })).is_err());
}
