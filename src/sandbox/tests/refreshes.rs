//! Refreshes of tokens, as the sandbox judges them.

use serde_json::{Value, json};

use super::apps::{by_app, code};
use super::{Config, Slack, config, start};
use crate::sandbox::{Fault, FaultKind};

/// A sandbox with an installation whose token rotates, and its answer.
async fn rotating() -> (Slack, Value) {
    rotating_in(config()).await
}

async fn rotating_in(config: Config) -> (Slack, Value) {
    let slack = start(config).await;
    slack.sandbox.configure(|options| {
        options.token_rotation = true;
        options.token_seconds = 5;
    });
    let own = slack.sandbox.apps().swap_remove(0);
    let uri = ("redirect_uri", "https://app.example/cb");
    let asked = [("client_id", own.client_id.as_str()), ("scope", "chat:write"), uri];
    let code = code(&slack, &asked).await;
    let granted = by_app(&slack, &own, "oauth.v2.access", &[("code", &code), uri]).await;
    assert_eq!(granted["expires_in"], 5, "{granted}");
    (slack, granted)
}

async fn refresh(slack: &Slack, pair: &Value) -> Value {
    let own = slack.sandbox.apps().swap_remove(0);
    let token = pair["refresh_token"].as_str().unwrap();
    let form = [("grant_type", "refresh_token"), ("refresh_token", token)];
    by_app(slack, &own, "oauth.v2.access", &form).await
}

#[tokio::test]
async fn one_after_the_other_leave_one_refresh_token() {
    let (slack, mut pair) = rotating().await;
    for _ in 0..3 {
        pair = refresh(&slack, &pair).await;
    }
    let told = slack.sandbox.refreshes();
    assert_eq!(told.len(), 3);
    for one in &told {
        assert_eq!((one.overlapping, one.again, one.alive), (false, false, 1), "{one:?}");
        assert_eq!((&*one.app_id, &*one.team_id), ("A0SANDBOX01", "T0SANDBOX01"));
    }
    assert_eq!(slack.sandbox.refreshes_at_once(), 1);
}

#[tokio::test]
async fn an_expired_token_posts_nothing_and_can_still_be_refreshed() {
    let (mut slack, pair) = rotating_in(Config { time_scale: 0.01, ..config() }).await;
    pair["access_token"].as_str().unwrap().clone_into(&mut slack.token);
    let mut answer = slack.form("auth.test", &[]).await;
    while answer["ok"] == true {
        answer = slack.form("auth.test", &[]).await;
    }
    assert_eq!(answer["error"], "token_expired");
    let post = json!({ "channel": "U0DEMOBEN", "text": "late" });
    assert_eq!(slack.json("chat.postMessage", post).await["error"], "token_expired");
    assert!(slack.sandbox.messages().is_empty());
    assert_eq!(refresh(&slack, &pair).await["ok"], true);
}

#[tokio::test]
async fn of_two_with_one_refresh_token_one_has_a_dead_pair() {
    let (slack, pair) = rotating().await;
    let first = refresh(&slack, &pair).await;
    let second = refresh(&slack, &pair).await;
    assert_eq!(second["ok"], true, "it works for a short time after its first use");
    assert_eq!(refresh(&slack, &first).await["error"], "invalid_refresh_token");
    let third = refresh(&slack, &second).await;
    assert_eq!(third["ok"], true);
    // A replica that still has the first refresh token takes the pair from one that continued.
    assert_eq!(refresh(&slack, &pair).await["ok"], true);
    let told: Vec<_> = slack.sandbox.refreshes().iter().map(|one| (one.again, one.alive)).collect();
    assert_eq!(told, [(false, 1), (true, 1), (false, 1), (true, 2)]);
}

#[tokio::test]
async fn one_that_is_under_way_is_seen_by_the_next() {
    let (slack, pair) = rotating().await;
    let slow = FaultKind::Delay { seconds: 3600.0 };
    slack.sandbox.script(Fault::new("oauth.v2.access", slow).times(1).after());
    let own = slack.sandbox.apps().swap_remove(0);
    let token = pair["refresh_token"].as_str().unwrap().to_owned();
    let form = [("grant_type", "refresh_token".to_owned()), ("refresh_token", token)];
    let request = slack.http.post(slack.at("api/oauth.v2.access"));
    let request = request.basic_auth(&own.client_id, Some(&own.client_secret)).form(&form);
    let waiting = tokio::spawn(request.send());
    while slack.read("_sandbox/log").await["entries"].as_array().unwrap().last().unwrap()["fault"]
        .is_null()
    {}
    assert_eq!(refresh(&slack, &pair).await["ok"], true);
    let told = slack.sandbox.refreshes();
    assert_eq!((told.len(), told[0].overlapping), (1, true), "the first is not answered yet");
    let now = slack.read("_sandbox/refreshes/now").await;
    assert_eq!(now["most_at_once"], 2);
    let waits = slack.sandbox.refreshing();
    assert_eq!(now["under_way"], json!(waits));
    assert!(waits.len() == 1 && waits[0] != told[0].from, "{waits:?} {told:?}");
    waiting.abort();
}
