//! `conversations.*` for channels, tested against Slack's reference of methods and against reports
//! of its users.

use serde_json::{Value, json};

use super::methods::with;
use super::{Config, Slack, config, fixture, start};
use crate::sandbox::{ChannelChange, NewChannel};

impl Slack {
    /// A channel that the app makes; its id.
    pub(super) async fn made(&self, name: &str, private: bool) -> String {
        let body = json!({ "name": name, "is_private": private });
        let made = self.json("conversations.create", body).await;
        made["channel"]["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned()
    }

    /// The error of a call about this channel, or null.
    pub(super) async fn refused(&self, method: &str, channel: &str) -> Value {
        self.json(method, json!({ "channel": channel })).await["error"].take()
    }
}

#[tokio::test]
async fn a_name_has_slacks_letters_and_is_given_once() {
    let slack = start(config()).await;
    let create = async |name: Value| -> Value {
        let made = slack.json("conversations.create", json!({ "name": name })).await;
        if made["ok"] == true { made["channel"]["name"].clone() } else { made["error"].clone() }
    };
    let long = "a".repeat(81);
    for (name, code) in [
        (json!(""), "invalid_name_required"),
        (Value::Null, "invalid_name_required"),
        (json!(long), "invalid_name_maxlength"),
        (json!("--_"), "invalid_name_punctuation"),
        (json!("Kurs 7"), "invalid_name_specials"),
        (json!(["kurs"]), "invalid_name"),
    ] {
        assert_eq!(create(name.clone()).await, code, "{name}");
    }
    let longest = "ö".repeat(80);
    for name in ["kurs-7_b", "会議", longest.as_str()] {
        assert_eq!(create(json!(name)).await, name);
    }

    // A name stays taken by an archived channel, and by a private one that the app cannot see.
    let archived = slack.made("archived", false).await;
    assert_eq!(slack.refused("conversations.archive", &archived).await, Value::Null);
    slack.sandbox.create_channel("hidden", true, &["U0DEMOADA"]);
    for name in ["archived", "hidden", "kurs-7_b", "general"] {
        assert_eq!(create(json!(name)).await, "name_taken", "{name}");
    }
    assert!(slack.sandbox.delete_channel(&archived));
    assert_eq!(create(json!("archived")).await, "archived", "a deleted channel frees its name");
}

#[tokio::test]
async fn only_the_creator_renames_a_channel() {
    let slack = start(config()).await;
    let rename = async |channel: &str, name: &str| -> Value {
        slack.json("conversations.rename", json!({ "channel": channel, "name": name })).await
    };
    let ours = slack.made("ours", false).await;
    let renamed = rename(&ours, "ours-2").await;
    assert_eq!(
        (&renamed["channel"]["name"], &renamed["channel"]["previous_names"]),
        (&json!("ours-2"), &json!(["ours"]))
    );
    assert_eq!(rename(&ours, "general").await["error"], "name_taken");
    assert_eq!(rename(&ours, "A").await["error"], "invalid_name_specials");

    let new =
        NewChannel { name: "theirs".into(), members: vec!["bot".into()], ..NewChannel::default() };
    let theirs = slack.sandbox.make_channel(&new);
    assert_eq!(rename(&theirs, "mine").await["error"], "not_authorized");
    slack.refused("conversations.archive", &ours).await;
    assert_eq!(rename(&ours, "ours-3").await["error"], "is_archived");
}

#[tokio::test]
async fn channels_are_left_and_archived_as_slack_allows() {
    let slack = start(config()).await;
    let general = general(&slack).await;
    let outside = slack.sandbox.create_channel("outside", false, &["U0DEMOADA"]);
    let hidden = slack.sandbox.create_channel("hidden", true, &["U0DEMOADA"]);
    let direct = slack.json("conversations.open", json!({ "users": "U0DEMOBEN" })).await;
    let direct = direct["channel"]["id"].as_str().unwrap();
    let ours = slack.made("ours", true).await;
    for method in ["conversations.archive", "conversations.rename", "conversations.kick"] {
        assert_eq!(slack.refused(method, &outside).await, "not_in_channel", "{method}");
        assert_eq!(slack.refused(method, &hidden).await, "channel_not_found", "{method}");
        assert_eq!(slack.refused(method, "C0NONE").await, "channel_not_found", "{method}");
    }
    let unsupported = "method_not_supported_for_channel_type";
    for method in ["archive", "unarchive", "rename", "kick", "join", "leave", "invite"] {
        let method = format!("conversations.{method}");
        assert_eq!(slack.refused(&method, direct).await, unsupported, "{method}");
    }
    assert_eq!(slack.refused("conversations.join", &ours).await, unsupported);
    assert_eq!(slack.refused("conversations.join", &hidden).await, "channel_not_found");

    slack.json("conversations.join", json!({ "channel": general })).await;
    assert_eq!(slack.refused("conversations.archive", &general).await, "cant_archive_general");
    assert_eq!(slack.refused("conversations.leave", &general).await, "cant_leave_general");
    assert_eq!(slack.refused("conversations.leave", &ours).await, "last_member");
    let not_there = slack.json("conversations.leave", json!({ "channel": outside })).await;
    assert_eq!((&not_there["ok"], &not_there["not_in_channel"]), (&json!(true), &json!(true)));

    let kick = async |channel: &str, user: &str| -> Value {
        let body = json!({ "channel": channel, "user": user });
        slack.json("conversations.kick", body).await["error"].take()
    };
    assert_eq!(kick(&ours, "U0NOBODY").await, "user_not_found");
    assert_eq!(kick(&ours, "U0DEMOADA").await, "not_in_channel");
    assert_eq!(kick(&ours, &slack.sandbox.bot_user_id()).await, "cant_kick_self");
    assert_eq!(kick(&general, "U0DEMOADA").await, "cant_kick_from_general");
}

async fn general(slack: &Slack) -> String {
    let listed = slack.form("conversations.list", &[]).await;
    let channels = listed["channels"].as_array().unwrap();
    let general = channels.iter().find(|channel| channel["is_general"] == true).unwrap();
    general["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_bot_does_not_bring_an_archived_channel_back() {
    let slack = start(config()).await;
    let ours = slack.made("ours", false).await;
    assert_eq!(slack.refused("conversations.unarchive", &ours).await, "not_archived");
    assert_eq!(slack.refused("conversations.archive", &ours).await, Value::Null);
    assert_eq!(slack.refused("conversations.archive", &ours).await, "already_archived");
    // "Bot tokens (xoxb-...) cannot currently be used to unarchive conversations."
    assert_eq!(slack.refused("conversations.unarchive", &ours).await, "not_in_channel");
    assert_eq!(slack.refused("conversations.join", &ours).await, "is_archived");
    assert_eq!(slack.refused("conversations.leave", &ours).await, "is_archived");
    let topic = json!({ "channel": ours, "topic": "t" });
    assert_eq!(slack.json("conversations.setTopic", topic).await["error"], "is_archived");

    slack.sandbox.configure(|options| options.bot_unarchive = true);
    assert_eq!(slack.refused("conversations.unarchive", &ours).await, Value::Null);
    let info = slack.form("conversations.info", &[("channel", &ours)]).await;
    let channel = &info["channel"];
    assert_eq!((&channel["is_archived"], &channel["is_member"]), (&json!(false), &json!(true)));
}

#[tokio::test]
async fn a_topic_and_a_purpose_have_250_characters_and_an_author() {
    let slack = start(config()).await;
    let ours = slack.made("ours", false).await;
    for (method, key) in
        [("conversations.setTopic", "topic"), ("conversations.setPurpose", "purpose")]
    {
        let longest = "é".repeat(250);
        let set = slack.json(method, json!({ "channel": ours, key: longest })).await;
        assert_eq!(set["channel"][key]["value"], longest);
        assert_eq!(set["channel"][key]["creator"], slack.sandbox.bot_user_id());
        assert!(set["channel"][key]["last_set"].as_i64().unwrap() > 0);
        let sent = json!({ "channel": ours, key: "<a> & b" });
        let set = slack.json(method, sent).await;
        assert_eq!(set["channel"][key]["value"], "&lt;a&gt; &amp; b");
        let long = slack.json(method, json!({ "channel": ours, key: "é".repeat(251) })).await;
        assert_eq!(long["error"], "too_long");
    }
}

#[tokio::test]
async fn channels_and_their_members_are_read_in_pages() {
    let slack = start(config()).await;
    let ids = [slack.made("a", false).await, slack.made("b", true).await];
    slack.refused("conversations.archive", &ids[0]).await;
    slack.sandbox.create_channel("hidden", true, &["U0DEMOADA"]);
    let first = slack.form("conversations.list", &[("limit", "2")]).await;
    assert_eq!(first["channels"].as_array().unwrap().len(), 2, "public channels only");
    let both = ("types", "public_channel,private_channel");
    let page = [both, ("limit", "2"), ("exclude_archived", "true")];
    let first = slack.form("conversations.list", &page).await;
    // `#general` and the archived one make the page, and the archived one is left out of it.
    assert_eq!(first["channels"].as_array().unwrap().len(), 1);
    let cursor = first["response_metadata"]["next_cursor"].as_str().unwrap();
    let rest = slack.form("conversations.list", &[both, ("cursor", cursor)]).await;
    let rest = rest["channels"].as_array().unwrap();
    assert_eq!(rest.iter().map(|c| &c["id"]).collect::<Vec<_>>(), [&json!(ids[1])]);

    let people: Vec<String> = (0..105).map(|n| format!("UG{n:09}")).collect();
    let change = ChannelChange { join: people, ..ChannelChange::default() };
    assert!(slack.sandbox.change_channel(&ids[1], &change));
    let members = slack.form("conversations.members", &[("channel", &ids[1])]).await;
    assert_eq!(members["members"].as_array().unwrap().len(), 100, "by default");
    let cursor = members["response_metadata"]["next_cursor"].as_str().unwrap();
    let next = [("channel", ids[1].as_str()), ("cursor", cursor)];
    let members = slack.form("conversations.members", &next).await;
    assert_eq!(members["members"].as_array().unwrap().len(), 6, "with the bot");
    assert_eq!(members["response_metadata"]["next_cursor"], "");
    let wrong = [("channel", ids[1].as_str()), ("limit", "many")];
    assert_eq!(slack.form("conversations.members", &wrong).await["error"], "invalid_limit");
    let counted = [("channel", ids[1].as_str()), ("include_num_members", "true")];
    let info = slack.form("conversations.info", &counted).await;
    assert_eq!(info["channel"]["num_members"], 106);
}

#[tokio::test]
async fn a_missing_scope_is_named_for_the_kind_of_channel() {
    let (slack, public) = with(&["groups:write"], false).await;
    for (method, needed) in [
        ("conversations.archive", "channels:manage"),
        ("conversations.invite", "channels:manage,channels:write.invites"),
        ("conversations.setTopic", "channels:manage,channels:write.topic"),
    ] {
        let body = json!({ "channel": public, "users": "U0DEMOADA", "topic": "t" });
        let answer = slack.json(method, body).await;
        assert_eq!(
            (&answer["error"], &answer["needed"], &answer["provided"]),
            (&json!("missing_scope"), &json!(needed), &json!("groups:write")),
            "{method}"
        );
    }
    let made = slack.json("conversations.create", json!({ "name": "b" })).await;
    assert_eq!(
        (&made["error"], &made["needed"]),
        (&json!("missing_scope"), &json!("channels:manage"))
    );
}

#[tokio::test]
async fn each_method_has_the_budget_of_its_tier() {
    let slack = start(Config { rate_limits: true, ..config() }).await;
    for (method, budget) in [
        ("conversations.create", 22),
        ("conversations.archive", 22),
        ("conversations.list", 22),
        ("conversations.invite", 55),
        ("conversations.kick", 55),
        ("conversations.members", 110),
    ] {
        for _ in 0..budget {
            assert_eq!(slack.send(method, &[]).await.unwrap().status(), 200, "{method}");
        }
        let limited = slack.send(method, &[]).await.unwrap();
        assert_eq!(limited.status(), 429, "{method}");
        assert!(limited.headers().contains_key("retry-after"), "{method}");
    }
}

#[tokio::test]
async fn channels_and_guests_are_loaded_from_the_start() {
    let seed_members = [fixture::demo_members(), fixture::demo_guests()].concat();
    let slack =
        start(Config { seed_members, seed_channels: fixture::demo_channels(), ..config() }).await;
    let atlas = slack.sandbox.channels_named("project-atlas").remove(0);
    let id = atlas["id"].as_str().unwrap();
    assert_eq!(slack.read(&format!("_sandbox/conversations/{id}")).await, atlas);
    let labels: Vec<_> =
        atlas["members"].as_array().unwrap().iter().filter_map(|m| m["label"].as_str()).collect();
    assert_eq!(labels, ["guest", "single-channel guest", "app"]);
    let listed = slack.form("users.list", &[("limit", "200")]).await;
    let ids: Vec<_> = listed["members"].as_array().unwrap().iter().map(|m| &m["id"]).collect();
    assert!(ids.contains(&&json!("U0DEMONIA")) && !ids.contains(&&json!("U0DEMOPAT")));
    let other = slack.form("users.info", &[("user", "U0DEMOPAT")]).await;
    assert_eq!(other["ok"], true, "people of other companies are found by their id");

    let shown = slack.read("_sandbox/conversations").await;
    let shown = shown.as_array().unwrap().iter().find(|c| c["id"] == id).unwrap();
    assert_eq!(
        (&shown["is_private"], &shown["is_archived"], &shown["member_count"]),
        (&json!(false), &json!(false), &json!(4))
    );
}

#[tokio::test]
async fn a_channels_history_has_lines_of_slacks_own() {
    let slack = start(config()).await;
    let ours = slack.made("ours", false).await;
    slack.invite(&ours, "U0DEMOADA").await;
    slack.json("chat.postMessage", json!({ "channel": ours, "text": "hello" })).await;
    slack.json("conversations.setTopic", json!({ "channel": ours, "topic": "t" })).await;
    let history = slack.form("conversations.history", &[("channel", &ours)]).await;
    let messages = history["messages"].as_array().unwrap();
    let kinds: Vec<_> = messages.iter().map(|message| &message["subtype"]).collect();
    assert_eq!(kinds, [&json!("channel_topic"), &Value::Null, &json!("channel_join")]);
    assert_eq!(messages[2]["text"], "<@U0DEMOADA> has joined the channel");
    assert_eq!(slack.sandbox.messages().len(), 1, "only those that were sent");
    let line = json!({ "channel": ours, "ts": messages[0]["ts"], "text": "mine" });
    assert_eq!(slack.json("chat.update", line).await["error"], "cant_update_message");
}
