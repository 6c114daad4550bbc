//! Scripted faults of channels: two channels of one name, lost answers, and refusals of single
//! people.

use serde_json::{Value, json};

use super::{Fault, FaultKind, Slack, config, start};
use crate::sandbox::ChannelAct;

impl Slack {
    async fn fault(&self, fault: Value) {
        self.control("_sandbox/faults", fault).await;
    }

    fn acts(&self) -> Vec<ChannelAct> {
        self.sandbox.log().into_iter().filter_map(|entry| entry.act).collect()
    }
}

#[tokio::test]
async fn two_calls_at_once_can_make_two_channels_of_one_name() {
    let slack = start(config()).await;
    let race = json!({ "method": "conversations.create", "channel": "course", "after_calls": 1,
        "times": 1, "kind": "name_race" });
    slack.fault(race).await;
    let one = slack.made("course", false).await;
    assert_ne!(slack.made("other", false).await, one, "another name is not struck");
    let two = slack.made("course", false).await;
    let third = slack.json("conversations.create", json!({ "name": "course" })).await;
    assert_eq!(third["error"], "name_taken");
    let named: Vec<_> =
        slack.sandbox.channels_named("course").into_iter().map(|mut c| c["id"].take()).collect();
    assert_eq!(named, [json!(one), json!(two)]);
    assert_eq!(slack.sandbox.log()[2].fault.as_deref(), Some("name race"));
}

#[tokio::test]
async fn an_answer_can_be_lost_with_and_without_the_act() {
    let slack = start(config()).await;
    let ours = slack.made("ours", false).await;
    let reset = |method: &str| Fault::new(method, FaultKind::Reset).times(1);
    let archive = async || slack.send("conversations.archive", &[("channel", &ours)]).await;
    slack.sandbox.script(reset("conversations.archive"));
    assert!(archive().await.is_err());
    assert_eq!(slack.sandbox.channel(&ours).unwrap()["is_archived"], false);
    slack.sandbox.script(reset("conversations.archive").after());
    assert!(archive().await.is_err());
    assert_eq!(slack.sandbox.channel(&ours).unwrap()["is_archived"], true);

    let broken = json!({ "method": "conversations.create", "times": 1, "when": "after", "kind":
        { "status": { "code": 500, "body": "{\"ok\":false,\"error\":\"internal_error\"}" } } });
    slack.fault(broken).await;
    let made = slack.send("conversations.create", &[("name", "lost")]).await.unwrap();
    assert_eq!(made.status(), 500);
    assert_eq!(made.json::<Value>().await.unwrap()["error"], "internal_error");
    let lost = slack.sandbox.channels_named("lost").remove(0);
    let last = slack.sandbox.log().pop().unwrap();
    let act = last.act.unwrap();
    assert_eq!(
        (last.http_status, act.act, json!(act.channel)),
        (500, "create", lost["id"].clone())
    );
    let acts: Vec<_> = slack.acts().iter().map(|act| act.act).collect();
    assert_eq!(acts, ["create", "archive", "create"], "only what was done");
}

#[tokio::test]
async fn single_people_can_be_refused_and_an_invitation_done_in_part() {
    let slack = start(config()).await;
    let ours = slack.made("ours", false).await;
    let kind = json!({ "invite_errors": { "errors": { "U0DEMOBEN": "user_is_restricted" } } });
    slack.fault(json!({ "method": "conversations.invite", "times": 1, "kind": kind })).await;
    let refused = slack.invite(&ours, "U0DEMOADA,U0DEMOBEN").await;
    assert_eq!(refused["error"], "user_is_restricted");
    assert_eq!(refused["errors"][0]["user"], "U0DEMOBEN");
    assert_eq!(slack.inside(&ours), [""; 0]);

    let kind = json!({ "invite_part": { "joined": 1 } });
    slack.fault(json!({ "method": "conversations.invite", "times": 1, "kind": kind })).await;
    let part = slack.invite(&ours, "U0DEMOBEN,U0DEMOADA").await;
    assert_eq!(part["error"], "internal_error");
    assert_eq!(slack.inside(&ours), ["U0DEMOBEN"]);
    assert_eq!(slack.acts().last().unwrap().joined, ["U0DEMOBEN"]);

    let wait = json!({ "status": { "code": 429, "retry_after": "30" } });
    slack.fault(json!({ "method": "conversations.invite", "times": 1, "kind": wait })).await;
    let users = [("channel", ours.as_str()), ("users", "U0DEMOADA")];
    let limited = slack.send("conversations.invite", &users).await.unwrap();
    assert_eq!(
        (limited.status().as_u16(), &limited.headers()["retry-after"]),
        (429, &"30".parse().unwrap())
    );
    assert_eq!(slack.invite(&ours, "U0DEMOADA").await["ok"], true);
}
