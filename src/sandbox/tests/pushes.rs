//! Requests that the sandbox sends: events with their retries, presses, and answers to a press.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use url::Url;

use super::{Config, Slack, config, start};
use crate::sandbox::world::push::sign;

pub(super) type Received = (HeaderMap, Vec<u8>);
type Answers = (mpsc::UnboundedSender<Received>, Arc<std::sync::Mutex<Vec<u16>>>);

/// An app that answers with these statuses in turn, then 200; and the requests that it received.
pub(super) async fn app(statuses: Vec<u16>) -> (Url, mpsc::UnboundedReceiver<Received>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let statuses = Arc::new(std::sync::Mutex::new(statuses));
    let take =
        async |State((sender, statuses)): State<Answers>, headers: HeaderMap, body: Bytes| {
            sender.send((headers, body.to_vec())).unwrap();
            let mut statuses = statuses.lock().unwrap();
            let status = if statuses.is_empty() { 200 } else { statuses.remove(0) };
            StatusCode::from_u16(status).unwrap()
        };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/slack", listener.local_addr().unwrap())).unwrap();
    let router = Router::new().route("/slack", post(take)).with_state((sender, statuses));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, receiver)
}

fn check_signature((headers, body): &Received) {
    let timestamp = headers["x-slack-request-timestamp"].to_str().unwrap();
    let expected = sign(&config().signing_secret, timestamp, body);
    assert_eq!(headers["x-slack-signature"], expected.as_str());
}

#[tokio::test]
async fn events_are_signed_and_tried_again() {
    let (url, mut received) = app(vec![500, 200]).await;
    let slack = start(Config { events_url: Some(url), time_scale: 0.001, ..config() }).await;
    slack.sandbox.deactivate("U0DEMOADA");
    let first = received.recv().await.unwrap();
    check_signature(&first);
    assert!(first.0.get("x-slack-retry-num").is_none());
    let body: Value = serde_json::from_slice(&first.1).unwrap();
    assert_eq!(
        (&body["type"], &body["event"]["type"]),
        (&json!("event_callback"), &json!("user_change"))
    );
    assert_eq!(body["event"]["user"]["deleted"], true);
    assert!(body["event"]["user"].get("real_name").is_none());
    let second = received.recv().await.unwrap();
    check_signature(&second);
    assert_eq!(second.0["x-slack-retry-num"], "1");
    assert_eq!(second.0["x-slack-retry-reason"], "http_error");
    assert_eq!(second.1, first.1);

    slack.sandbox.delivery_attempts().wait_for(|n| *n == 2).await.unwrap();
    slack.sandbox.uninstall();
    let kinds = [received.recv().await.unwrap(), received.recv().await.unwrap()];
    let kinds = kinds
        .map(|(_, body)| serde_json::from_slice::<Value>(&body).unwrap()["event"]["type"].clone());
    assert_eq!(kinds, ["tokens_revoked", "app_uninstalled"]);
    slack.sandbox.delivery_attempts().wait_for(|n| *n == 4).await.unwrap();
    let told: Vec<_> = slack.sandbox.deliveries().iter().map(|d| (d.attempt, d.status)).collect();
    assert_eq!(told, [(0, Some(500)), (1, Some(200)), (0, Some(200)), (0, Some(200))]);
    let challenge = json!({"type": "url_verification", "challenge": "c"});
    slack.sandbox.push_event(challenge).unwrap();
    let flat: Value = serde_json::from_slice(&received.recv().await.unwrap().1).unwrap();
    assert_eq!((&flat["type"], &flat["challenge"]), (&json!("url_verification"), &json!("c")));
}

#[tokio::test]
async fn opening_the_home_tab_is_told_with_the_view_that_is_there() {
    let (url, mut received) = app(Vec::new()).await;
    let slack = start(Config { events_url: Some(url), ..config() }).await;
    assert!(slack.sandbox.open_home("U0DEMOADA") && !slack.sandbox.open_home("UNOBODY"));
    let first: Value = serde_json::from_slice(&received.recv().await.unwrap().1).unwrap();
    let told = &first["event"];
    assert_eq!((&told["type"], &told["tab"]), (&json!("app_home_opened"), &json!("home")));
    assert_eq!(told["user"], "U0DEMOADA");
    assert!(told["channel"].as_str().unwrap().starts_with('D') && told.get("view").is_none());

    let view = json!({"type": "home", "blocks": [{"type": "divider"}]});
    let body = json!({"user_id": "U0DEMOADA", "view": view});
    let published = slack.json("views.publish", body).await["view"].clone();
    let url = slack.at("_sandbox/members/U0DEMOADA/home");
    let opened = slack.http.post(url).send().await.unwrap().status();
    assert_eq!(opened, StatusCode::NO_CONTENT);
    let second: Value = serde_json::from_slice(&received.recv().await.unwrap().1).unwrap();
    assert_eq!(second["event"]["view"], published);

    slack.sandbox.configure(|options| options.home_tab = false);
    assert!(!slack.sandbox.open_home("U0DEMOADA"));
    slack.sandbox.configure(|options| {
        options.home_tab = true;
        options.bot_events = Some(vec!["user_change".into()]);
    });
    assert!(slack.sandbox.open_home("U0DEMOADA"));
    slack.sandbox.deactivate("U0DEMOADA");
    let next: Value = serde_json::from_slice(&received.recv().await.unwrap().1).unwrap();
    assert_eq!(next["event"]["type"], "user_change", "the app has not subscribed to the other");
}

#[tokio::test]
async fn an_event_can_be_late() {
    let (url, mut received) = app(Vec::new()).await;
    let slack = start(Config { events_url: Some(url), ..config() }).await;
    let late = json!({ "type": "app_uninstalled", "_event_time": 1_700_000_000 });
    slack.sandbox.push_event(late).unwrap();
    let told: Value = serde_json::from_slice(&received.recv().await.unwrap().1).unwrap();
    assert_eq!(told["event_time"], 1_700_000_000);
    let inner = json!({ "type": "app_uninstalled", "event_ts": "1700000000.000000" });
    assert_eq!(told["event"], inner);
}

async fn with_button(slack: &Slack) -> (String, String) {
    let button = json!({"type": "button", "action_id": "mute", "value": "v1",
        "text": {"type": "plain_text", "text": "Mute"}});
    let blocks = json!([{"type": "actions", "block_id": "b1", "elements": [button]}]);
    let body = json!({"channel": "U0DEMOADA", "text": "t", "blocks": blocks});
    let posted = slack.json("chat.postMessage", body).await;
    let text = |key: &str| posted[key].as_str().unwrap().to_owned();
    (text("channel"), text("ts"))
}

#[tokio::test]
async fn a_press_is_told_and_can_be_answered() {
    let (url, mut received) = app(Vec::new()).await;
    let slack = start(Config { interactions_url: Some(url), ..config() }).await;
    let (channel, ts) = with_button(&slack).await;
    assert_eq!(slack.sandbox.press_button(&channel, &ts, "mute").await.unwrap(), 200);
    assert!(slack.sandbox.press_button(&channel, &ts, "other").await.is_err());
    let told = received.recv().await.unwrap();
    check_signature(&told);
    let form: HashMap<_, _> = url::form_urlencoded::parse(&told.1).into_owned().collect();
    let payload: Value = serde_json::from_str(&form["payload"]).unwrap();
    assert_eq!(payload["type"], "block_actions");
    assert_eq!(payload["user"]["id"], "U0DEMOADA");
    let action = &payload["actions"][0];
    assert_eq!((&action["value"], &action["block_id"]), (&json!("v1"), &json!("b1")));

    let response_url = payload["response_url"].as_str().unwrap();
    let body = json!({"replace_original": true, "text": "Muted"});
    for left in (0..6).rev() {
        let answer = slack.http.post(response_url).json(&body).send().await.unwrap();
        assert_eq!(answer.status().is_success(), left > 0, "five uses");
    }
    assert_eq!(slack.sandbox.messages()[0].text, "Muted");
}

/// The person's client opens the link by itself; Slack reports the press all the same, once.
#[tokio::test]
async fn a_press_of_a_link_is_told_once_whatever_the_app_answers() {
    let (url, mut received) = app(vec![500]).await;
    let slack = start(Config { interactions_url: Some(url), ..config() }).await;
    let button = json!({"type": "button", "action_id": "open", "url": "https://a.example/1",
        "text": {"type": "plain_text", "text": "Open"}});
    let blocks = json!([{"type": "actions", "elements": [button]}]);
    let body = json!({"channel": "U0DEMOADA", "text": "t", "blocks": blocks});
    let posted = slack.json("chat.postMessage", body).await;
    let (channel, ts) = (posted["channel"].as_str().unwrap(), posted["ts"].as_str().unwrap());
    for (press, status) in [("first", 500), ("second", 200)] {
        assert_eq!(slack.sandbox.press_button(channel, ts, "open").await.unwrap(), status);
        let told = received.recv().await.unwrap();
        check_signature(&told);
        assert!(!told.0.contains_key("x-slack-retry-num"), "{press}");
        let payload = url::form_urlencoded::parse(&told.1).next().unwrap().1.into_owned();
        let payload: Value = serde_json::from_str(&payload).unwrap();
        let action = &payload["actions"][0];
        assert_eq!((&action["type"], &action["url"]), (&button["type"], &button["url"]));
    }
    assert!(received.try_recv().is_err());
}

#[tokio::test]
async fn buttons_in_cards_and_containers_can_be_pressed() {
    let (url, mut received) = app(Vec::new()).await;
    let slack = start(Config { interactions_url: Some(url), ..config() }).await;
    let text = json!({"type": "plain_text", "text": "Open"});
    let button = |id: &str| json!({"type": "button", "action_id": id, "text": text});
    let card =
        json!({"type": "card", "block_id": "inner", "title": text, "actions": [button("card")]});
    let section = json!({"type": "section", "text": text, "accessory": button("section")});
    let blocks = json!([
        {"type": "carousel", "block_id": "b1", "elements": [card]},
        {"type": "container", "block_id": "b2", "title": text, "child_blocks": [section]},
    ]);
    let body = json!({"channel": "U0DEMOADA", "text": "t", "blocks": blocks});
    let posted = slack.json("chat.postMessage", body).await;
    assert_eq!(posted["ok"], true, "{posted}");
    let (channel, ts) = (posted["channel"].as_str().unwrap(), posted["ts"].as_str().unwrap());
    for (action_id, block_id) in [("card", "inner"), ("section", "b2")] {
        assert_eq!(slack.sandbox.press_button(channel, ts, action_id).await.unwrap(), 200);
        let (_, form) = received.recv().await.unwrap();
        let payload = url::form_urlencoded::parse(&form).next().unwrap().1.into_owned();
        let payload: Value = serde_json::from_str(&payload).unwrap();
        assert_eq!(payload["actions"][0]["block_id"], block_id);
    }
}
