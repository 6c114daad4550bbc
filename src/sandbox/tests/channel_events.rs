//! Events about channels: of the app's own acts, and of people and administrators.

use serde_json::{Value, json};

use super::happenings::next;
use super::pushes::{Received, app};
use super::{Config, Slack, config, start};

type Events = tokio::sync::mpsc::UnboundedReceiver<Received>;

async fn listening() -> (Slack, Events) {
    let (url, received) = app(Vec::new()).await;
    (start(Config { events_url: Some(url), ..config() }).await, received)
}

impl Slack {
    /// A person makes a channel; its id.
    async fn people_make(&self, body: Value) -> String {
        let made = self.control("_sandbox/conversations", body).await;
        made["id"].as_str().unwrap().to_owned()
    }

    async fn change(&self, channel: &str, change: Value) {
        self.patch(&format!("_sandbox/conversations/{channel}"), change).await;
    }
}

/// The next event, without its time.
async fn event(received: &mut Events) -> Value {
    let mut event = next(received).await;
    assert!(event.as_object_mut().unwrap().remove("event_ts").is_some(), "{event}");
    event
}

#[tokio::test]
async fn the_apps_own_acts_come_back_as_events() {
    let (slack, mut received) = listening().await;
    let bot = slack.sandbox.bot_user_id();
    let id = slack.made("course", false).await;
    let created = event(&mut received).await;
    assert_eq!(
        (&created["type"], &created["channel"]["creator"]),
        (&json!("channel_created"), &json!(bot))
    );
    slack.invite(&id, "U0DEMOADA,U0DEMOBEN").await;
    for user in ["U0DEMOADA", "U0DEMOBEN"] {
        let joined = json!({ "type": "member_joined_channel", "user": user, "channel": id,
            "channel_type": "C", "team": "T0SANDBOX01", "inviter": bot });
        assert_eq!(event(&mut received).await, joined);
    }
    slack.json("conversations.kick", json!({ "channel": id, "user": "U0DEMOBEN" })).await;
    let left = json!({ "type": "member_left_channel", "user": "U0DEMOBEN", "channel": id,
        "channel_type": "C", "team": "T0SANDBOX01" });
    assert_eq!(event(&mut received).await, left);
    slack.json("conversations.rename", json!({ "channel": id, "name": "course-2" })).await;
    assert_eq!(event(&mut received).await["channel"]["name"], "course-2");
    slack.refused("conversations.archive", &id).await;
    let archived = json!({ "type": "channel_archive", "channel": id, "user": bot, "is_moved": 0 });
    assert_eq!(event(&mut received).await, archived);
}

#[tokio::test]
async fn administrators_act_in_channels_and_the_app_hears_of_its_own() {
    let (slack, mut received) = listening().await;
    let bot = slack.sandbox.bot_user_id();
    let hidden = json!({ "name": "hidden", "is_private": true, "members": ["U0DEMOADA"] });
    let hidden = slack.people_make(hidden).await;
    slack.change(&hidden, json!({ "name": "hidden-2", "join": ["U0DEMOBEN"] })).await;
    let ours = json!({ "name": "ours", "is_private": true, "members": ["bot", "U0DEMOADA"] });
    let ours = slack.people_make(ours).await;
    let inviter = json!("U0DEMOADA");
    let joined = event(&mut received).await;
    assert_eq!(
        (&joined["user"], &joined["channel_type"], &joined["inviter"]),
        (&json!(bot), &json!("G"), &inviter),
        "nothing of the channel that the app is not in"
    );
    assert_eq!(event(&mut received).await["user"], "U0DEMOADA");

    slack.change(&ours, json!({ "name": "ours-2", "archived": true })).await;
    assert_eq!(event(&mut received).await["type"], "group_rename");
    let archived = json!({ "type": "group_archive", "channel": ours, "user": "U0DEMOADA",
        "is_moved": 0 });
    assert_eq!(event(&mut received).await, archived);
    slack.change(&ours, json!({ "user": "U0DEMOBEN", "archived": false })).await;
    let back = json!({ "type": "group_unarchive", "channel": ours, "actor_id": "U0DEMOBEN" });
    assert_eq!(event(&mut received).await, back);

    slack.change(&ours, json!({ "shared_with": "T0PARTNER01", "id": "C0SHARED" })).await;
    let moved = json!({ "type": "channel_id_changed", "old_channel_id": ours,
        "new_channel_id": "C0SHARED" });
    assert_eq!(event(&mut received).await, moved);
    let old = slack.form("conversations.info", &[("channel", &ours)]).await;
    assert_eq!(old["error"], "channel_not_found");
    let new = slack.form("conversations.info", &[("channel", "C0SHARED")]).await;
    assert_eq!(new["channel"]["is_ext_shared"], true);

    slack.change("C0SHARED", json!({ "leave": ["bot"] })).await;
    assert_eq!(event(&mut received).await["type"], "member_left_channel");
    let left = json!({ "type": "group_left", "channel": "C0SHARED", "actor_id": "U0DEMOADA" });
    assert_eq!(event(&mut received).await, left);
    slack.change("C0SHARED", json!({ "archived": true })).await;
    slack.people_make(json!({ "name": "news" })).await;
    assert_eq!(event(&mut received).await["type"], "channel_created", "it left the other one");
}

#[tokio::test]
async fn deletion_differs_by_kind_of_channel() {
    let (slack, mut received) = listening().await;
    let public = slack.made("public", false).await;
    let private = slack.made("private", true).await;
    assert_eq!(event(&mut received).await["type"], "channel_created");
    for id in [&public, &private] {
        let path = slack.at(&format!("_sandbox/conversations/{id}"));
        assert_eq!(slack.http.delete(path).send().await.unwrap().status(), 204);
    }
    let gone = json!({ "type": "channel_deleted", "channel": public });
    assert_eq!(event(&mut received).await, gone);
    let gone = event(&mut received).await;
    assert_eq!(
        (&gone["type"], &gone["channel"], &gone["actor_id"]),
        (&json!("group_deleted"), &json!(private), &json!("U0DEMOADA"))
    );
}

#[tokio::test]
async fn an_event_needs_the_scope_of_its_kind_of_channel() {
    let (slack, mut received) = listening().await;
    slack.sandbox.set_scopes(&["groups:read", "groups:write", "channels:manage"]);
    slack.made("public", false).await;
    let private = slack.made("private", true).await;
    slack.refused("conversations.archive", &private).await;
    assert_eq!(event(&mut received).await["type"], "group_archive");
}
