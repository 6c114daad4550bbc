//! `conversations.invite`: all or none, and the people who cannot be added.

use serde_json::{Value, json};

use super::{Config, Slack, config, fixture, start};

async fn with_guests() -> (Slack, String) {
    let seed_members = [fixture::demo_members(), fixture::demo_guests()].concat();
    let slack = start(Config { seed_members, ..config() }).await;
    let channel = slack.made("course", false).await;
    (slack, channel)
}

impl Slack {
    pub(super) async fn invite(&self, channel: &str, users: &str) -> Value {
        let body = json!({ "channel": channel, "users": users });
        self.json("conversations.invite", body).await
    }

    /// The people in a channel, without the bot.
    pub(super) fn inside(&self, channel: &str) -> Vec<String> {
        let described = self.sandbox.channel(channel).unwrap();
        let members = described["members"].as_array().unwrap();
        let ids = members.iter().map(|member| member["id"].as_str().unwrap().to_owned());
        ids.filter(|id| *id != self.sandbox.bot_user_id()).collect()
    }
}

#[tokio::test]
async fn one_wrong_id_keeps_everyone_out_unless_forced() {
    let (slack, channel) = with_guests().await;
    assert_eq!(slack.invite(&channel, "U0DEMOBEN").await["ok"], true);
    let mixed = "U0DEMOADA,U0NOBODY,U0DEMOBEN";
    let refused = slack.invite(&channel, mixed).await;
    assert_eq!((&refused["ok"], &refused["error"]), (&json!(false), &json!("user_not_found")));
    let errors = json!([
        { "user": "U0NOBODY", "ok": false, "error": "user_not_found" },
        { "user": "U0DEMOBEN", "ok": false, "error": "already_in_channel" },
    ]);
    assert_eq!(refused["errors"], errors);
    assert_eq!(slack.inside(&channel), ["U0DEMOBEN"]);

    let forced = json!({ "channel": channel, "users": mixed, "force": true });
    let forced = slack.json("conversations.invite", forced).await;
    assert_eq!((&forced["ok"], &forced["errors"]), (&json!(true), &errors));
    assert_eq!(slack.inside(&channel), ["U0DEMOADA", "U0DEMOBEN"]);
    let acts: Vec<_> = slack.sandbox.log().into_iter().filter_map(|entry| entry.act).collect();
    let joined: Vec<_> = acts.iter().map(|act| (act.act, act.joined.join(","))).collect();
    let expected =
        [("create", ""), ("invite", "U0DEMOBEN"), ("invite", ""), ("invite", "U0DEMOADA")];
    assert_eq!(joined, expected.map(|(act, people)| (act, people.to_owned())));
    assert_eq!(acts[2].refused["U0NOBODY"], "user_not_found");
}

#[tokio::test]
async fn deactivated_people_are_an_error_and_the_others_come_in() {
    let (slack, channel) = with_guests().await;
    let answer = slack.invite(&channel, "U0DEMOJON,U0DEMOADA").await;
    assert_eq!((&answer["ok"], &answer["error"]), (&json!(false), &json!("user_disabled")));
    assert_eq!(answer["errors"].as_array().unwrap().len(), 1);
    assert_eq!(slack.inside(&channel), ["U0DEMOADA"]);
}

#[tokio::test]
async fn each_kind_of_person_has_a_verdict() {
    let (slack, channel) = with_guests().await;
    let org = json!({ "id": "U0ORG", "enterprise_user": { "id": "W1", "teams": ["T0OTHER"] } });
    slack.sandbox.add_member(org);
    slack.sandbox.add_member(json!({ "id": "U0STRANGER", "is_stranger": true }));
    let bot = slack.sandbox.bot_user_id();
    for (user, code) in [
        (bot.as_str(), "cant_invite_self"),
        ("USLACKBOT", "cant_invite"),
        ("U0STRANGER", "cant_invite"),
        ("U0DEMOPAT", "no_external_invite_permission"),
        ("U0ORG", "org_user_not_in_team"),
        ("", "no_user"),
    ] {
        assert_eq!(slack.invite(&channel, user).await["error"], code, "{user}");
    }
    // A guest, one of a single channel, and a person who has never signed in; each named twice.
    let twice = "U0DEMOKIM,U0DEMONIA,U0DEMOOLE,U0DEMOKIM";
    assert_eq!(slack.invite(&channel, twice).await["ok"], true);
    assert_eq!(slack.inside(&channel), ["U0DEMOKIM", "U0DEMONIA", "U0DEMOOLE"]);
    let second = slack.made("second", false).await;
    assert_eq!(slack.invite(&second, "U0DEMONIA").await["error"], "ura_max_channels");
    slack.refused("conversations.archive", &channel).await;
    assert_eq!(slack.invite(&second, "U0DEMONIA").await["ok"], true);
}

#[tokio::test]
async fn an_invitation_needs_an_open_channel_and_at_most_100_people() {
    let (slack, channel) = with_guests().await;
    let ids = |count: usize| (0..count).map(|n| format!("UG{n:09}")).collect::<Vec<_>>().join(",");
    assert_eq!(slack.invite(&channel, &ids(101)).await["error"], "too_many_users");
    slack.control("_sandbox/members", json!({ "generate": 100 })).await;
    assert_eq!(slack.invite(&channel, &ids(100)).await["ok"], true);
    assert_eq!(slack.inside(&channel).len(), 100);
    let outside = slack.sandbox.create_channel("outside", false, &["U0DEMOADA"]);
    assert_eq!(slack.invite(&outside, "U0DEMOBEN").await["error"], "not_in_channel");
    let hidden = slack.sandbox.create_channel("hidden", true, &["U0DEMOADA"]);
    assert_eq!(slack.invite(&hidden, "U0DEMOBEN").await["error"], "channel_not_found");
    slack.refused("conversations.archive", &channel).await;
    assert_eq!(slack.invite(&channel, "U0DEMOADA").await["error"], "is_archived");
}
