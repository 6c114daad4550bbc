//! Methods that few apps use, tested against Slack's documentation.

use serde_json::{Value, json};

use super::{Config, Slack, config, pushes, start};

#[tokio::test]
async fn conversations_are_listed_by_person_and_closed() {
    let slack = start(config()).await;
    let bot = slack.sandbox.bot_user_id();
    let ours = slack.sandbox.create_channel("ours", true, &[&bot, "U0DEMOADA"]);
    slack.sandbox.create_channel("secret", true, &["U0DEMOADA"]);
    let types = ("types", "public_channel,private_channel");
    let found = slack.form("users.conversations", &[("user", "U0DEMOADA"), types]).await;
    let ids: Vec<_> = found["channels"].as_array().unwrap().iter().map(|c| &c["id"]).collect();
    assert_eq!(ids, [&json!(ours)], "what the bot cannot see is not shown");
    for limit in ["1000", "-1", "many"] {
        let refused = slack.form("conversations.list", &[("limit", limit)]).await;
        assert_eq!(refused["error"], "invalid_limit", "{limit}");
    }
    assert_eq!(slack.form("conversations.list", &[("limit", "999")]).await["ok"], true);

    let opened = slack.json("conversations.open", json!({ "users": "U0DEMOBEN" })).await;
    let channel = json!({ "channel": opened["channel"]["id"] });
    let closed = slack.json("conversations.close", channel.clone()).await;
    assert_eq!((&closed["ok"], closed.get("no_op")), (&json!(true), None));
    assert_eq!(slack.json("conversations.close", channel).await["already_closed"], true);
    let again = slack.json("conversations.open", json!({ "users": "U0DEMOBEN" })).await;
    assert!(again.get("already_open").is_none(), "{again}");
}

#[tokio::test]
async fn groups_bots_and_who_is_not_to_be_disturbed() {
    let slack = start(config()).await;
    let group = json!({ "name": "Platform", "handle": "platform", "users": ["U0DEMOADA"] });
    let id = slack.control("_sandbox/usergroups", group).await["id"].take();
    let listed = slack.form("usergroups.list", &[("include_users", "true")]).await;
    assert_eq!(listed["usergroups"][0]["users"], json!(["U0DEMOADA"]));
    let members = slack.form("usergroups.users.list", &[("usergroup", id.as_str().unwrap())]).await;
    assert_eq!(members["users"], json!(["U0DEMOADA"]));
    let other = slack.form("usergroups.users.list", &[("usergroup", "S0")]).await;
    assert_eq!(other["error"], "no_such_subteam");

    assert_eq!(slack.form("bots.info", &[]).await["bot"]["app_id"], "A0SANDBOX01");
    let deploy = slack.form("bots.info", &[("bot", "B0DEMOBOT")]).await;
    assert_eq!(deploy["bot"]["user_id"], "U0DEMOBOT");
    assert_eq!(slack.form("bots.info", &[("bot", "B0")]).await["error"], "bot_not_found");

    let dnd = json!({ "dnd_enabled": true, "next_dnd_start_ts": 5, "next_dnd_end_ts": 9 });
    let path = slack.at("_sandbox/members/U0DEMOADA/dnd");
    slack.http.patch(path).json(&dnd).send().await.unwrap();
    let info = slack.form("dnd.info", &[("user", "U0DEMOADA")]).await;
    assert_eq!((&info["dnd_enabled"], &info["next_dnd_end_ts"]), (&json!(true), &json!(9)));
    let team = slack.form("dnd.teamInfo", &[("users", "U0DEMOADA,U0DEMOBEN")]).await;
    assert_eq!(team["users"]["U0DEMOBEN"]["dnd_enabled"], false);
    let nobody = slack.form("dnd.teamInfo", &[]).await;
    assert_eq!(nobody["error"], "no_users_provided");

    let apart = slack.form("migration.exchange", &[("users", "U0DEMOADA")]).await;
    assert_eq!(apart["error"], "not_enterprise_team");
    slack.sandbox.configure(|options| options.org_wide = true);
    slack.sandbox.update_member("U0DEMOADA", &json!({ "enterprise_user": { "id": "W1" } }));
    let map = slack.form("migration.exchange", &[("users", "U0DEMOADA,U0NOBODY")]).await;
    assert_eq!(map["user_id_map"], json!({ "U0DEMOADA": "W1" }));
    assert_eq!(map["invalid_user_ids"], json!(["U0NOBODY"]));
}

#[tokio::test]
async fn what_is_wrong_with_blocks_is_said_without_sending() {
    let slack = start(config()).await;
    let good = json!([{ "type": "divider" }]);
    let answer = slack.json("blocks.validate", json!({ "blocks": good })).await;
    assert_eq!(answer["ok"], true, "{answer}");
    let bad = json!([{ "type": "section", "text": { "type": "html", "text": "a" } }]);
    let answer = slack.json("blocks.validate", json!({ "blocks": bad })).await;
    let error = &answer["errors"][0];
    assert_eq!(
        (&answer["error"], &error["pointer"]),
        (&json!("invalid_blocks"), &json!("/0/text/type"))
    );
    assert_eq!(
        error["constraint"],
        json!({ "type": "enum", "expected": ["mrkdwn", "plain_text"] })
    );
    let both = slack.json("blocks.validate", json!({ "blocks": good, "view": {} })).await;
    assert_eq!(both["error"], "invalid_arguments");
    let message = json!({ "message": { "blocks": bad } });
    assert_eq!(slack.json("blocks.validate", message).await["error"], "invalid_message");
}

#[tokio::test]
async fn a_modal_is_opened_by_a_press_and_changed() {
    let (url, mut received) = pushes::app(Vec::new()).await;
    let slack = start(Config { interactions_url: Some(url), ..config() }).await;
    let button = json!({ "type": "button", "action_id": "a",
        "text": { "type": "plain_text", "text": "Open" } });
    let blocks = json!([{ "type": "actions", "elements": [button] }]);
    let body = json!({ "channel": "U0DEMOBEN", "blocks": blocks });
    let posted = slack.json("chat.postMessage", body).await;
    assert!(posted["warning"].as_str().unwrap().contains("missing_text_in_message"));
    let (channel, ts) = (posted["channel"].as_str().unwrap(), posted["ts"].as_str().unwrap());
    slack.sandbox.press_button(channel, ts, "a").await.unwrap();
    let (_, form) = received.recv().await.unwrap();
    let payload = url::form_urlencoded::parse(&form).next().unwrap().1.into_owned();
    let trigger = serde_json::from_str::<Value>(&payload).unwrap()["trigger_id"].take();

    let modal = |title: &str| {
        json!({ "type": "modal", "blocks": [{ "type": "divider" }],
        "title": { "type": "plain_text", "text": title }, "callback_id": "c" })
    };
    let open = json!({ "trigger_id": trigger, "view": modal("One") });
    let opened = slack.json("views.open", open.clone()).await;
    assert_eq!(opened["view"]["root_view_id"], opened["view"]["id"], "{opened}");
    assert_eq!(slack.json("views.open", open).await["error"], "exchanged_trigger_id");
    let made_up = json!({ "trigger_id": "1.2", "view": modal("Two") });
    assert_eq!(slack.json("views.push", made_up).await["error"], "invalid_trigger_id");
    let view = &opened["view"];
    let stale = json!({ "view_id": view["id"], "hash": "0", "view": modal("Two") });
    assert_eq!(slack.json("views.update", stale).await["error"], "hash_conflict");
    let update = json!({ "view_id": view["id"], "hash": view["hash"], "view": modal("Two") });
    assert_eq!(slack.json("views.update", update).await["view"]["title"]["text"], "Two");
}

#[tokio::test]
async fn messages_for_one_person_and_metadata_that_is_taken_away() {
    let slack = start(config()).await;
    let bot = slack.sandbox.bot_user_id();
    let channel = slack.sandbox.create_channel("news", false, &[&bot, "U0DEMOADA"]);
    let to = |user: &str| json!({ "channel": channel, "user": user, "text": "a" });
    assert!(slack.json("chat.postEphemeral", to("U0DEMOADA")).await["message_ts"].is_string());
    let outside = slack.json("chat.postEphemeral", to("U0DEMOBEN")).await;
    assert_eq!(outside["error"], "user_not_in_channel");
    assert_eq!(slack.sandbox.messages().len(), 0);

    let metadata = json!({ "event_type": "t", "event_payload": {} });
    let body = json!({ "channel": channel, "text": "a", "metadata": metadata });
    let posted = slack.json("chat.postMessage", body).await;
    let change = |metadata: Value| {
        json!({ "channel": channel, "ts": posted["ts"], "text": "b",
        "metadata": metadata })
    };
    slack.json("chat.update", change(Value::Null)).await;
    assert_eq!(slack.sandbox.messages()[0].metadata, metadata);
    slack.json("chat.update", change(json!({}))).await;
    assert_eq!(slack.sandbox.messages()[0].metadata, Value::Null);
}

/// A body about a channel.
type Made = fn(&str) -> Value;

/// The app with only these scopes, and a channel that it is in.
pub(super) async fn with(scopes: &[&str], private: bool) -> (Slack, String) {
    let sandbox = super::Sandbox::start(config()).await.unwrap();
    let token = sandbox.install(scopes).expose().to_owned();
    let channel = sandbox.create_channel("atlas", private, &[&sandbox.bot_user_id()]);
    (Slack { sandbox, http: reqwest::Client::builder().build().unwrap(), token }, channel)
}

/// Slack's reference of methods names several scopes for each; a scope for one kind of channel does
/// not apply to another.
#[tokio::test]
async fn any_of_the_scopes_of_a_method_is_enough_for_its_kind_of_conversation() {
    let channel = |id: &str| json!({ "channel": id });
    let topic = |id: &str| json!({ "channel": id, "topic": "t" });
    let invite = |id: &str| json!({ "channel": id, "users": "U0DEMOADA" });
    let managed: [(&str, Made); 4] = [
        ("conversations.setTopic", topic),
        ("conversations.invite", invite),
        ("conversations.rename", |id| json!({ "channel": id, "name": "atlas-2" })),
        ("conversations.leave", channel),
    ];
    for (scope, other, private) in
        [("channels:manage", "groups:write", false), ("groups:write", "channels:manage", true)]
    {
        let (slack, id) = with(&[scope], private).await;
        let made =
            slack.json("conversations.create", json!({ "name": "b", "is_private": private }));
        assert_eq!(made.await["ok"], true, "{scope}");
        for (method, body) in managed {
            let answer = slack.json(method, body(&id)).await;
            assert_eq!(answer["ok"], true, "{method} with {scope}: {answer}");
        }
        let (slack, id) = with(&[scope], private).await;
        let answer = slack.json("conversations.archive", channel(&id)).await;
        assert_eq!(answer["ok"], true, "archive with {scope}: {answer}");
        let (slack, id) = with(&[other], private).await;
        for (method, body) in managed {
            let answer = slack.json(method, body(&id)).await;
            assert_eq!(answer["error"], "missing_scope", "{method} with {other}: {answer}");
        }
    }
    for (scope, method, body, private) in [
        ("channels:write.topic", "conversations.setTopic", topic as Made, false),
        ("groups:write.topic", "conversations.setTopic", topic, true),
        ("channels:write.invites", "conversations.invite", invite, false),
        ("groups:write.invites", "conversations.invite", invite, true),
        ("im:write", "conversations.open", |_| json!({ "users": "U0DEMOADA" }), false),
        ("mpim:write", "conversations.open", |_| json!({ "users": "U0DEMOADA,U0DEMOBEN" }), false),
    ] {
        let (slack, id) = with(&[scope], private).await;
        let answer = slack.json(method, body(&id)).await;
        assert_eq!(answer["ok"], true, "{method} with {scope}: {answer}");
        let archived = slack.json("conversations.archive", channel(&id)).await;
        assert_eq!(archived["error"], "missing_scope", "{scope}: {archived}");
    }
}
