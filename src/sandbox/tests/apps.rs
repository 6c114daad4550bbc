//! Several apps in one sandbox: each has its own secrets, its own tokens and its own events.

use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;

use super::pushes::{Received, app};
use super::{Config, Slack, config, start};
use crate::domain::secret::Secret;
use crate::sandbox::world::push::sign;
use crate::sandbox::{PushError, SandboxApp};

const THEIRS: &str = "https://theirs.example/cb";

/// A manifest of an app without events.
fn manifest() -> Value {
    json!({
        "display_information": { "name": "Theirs" },
        "oauth_config": { "redirect_urls": [THEIRS],
            "scopes": { "bot": ["chat:write", "im:history"], "bot_optional": ["users:read"] } },
    })
}

/// Makes an app from a manifest, as the holder of an app configuration token.
async fn make(slack: &Slack, manifest: &Value) -> Value {
    let issued = slack.control("_sandbox/tokens", json!({ "do": "issue_configuration" })).await;
    let url = slack.at("api/apps.manifest.create");
    let request = slack.http.post(url).bearer_auth(issued["token"].as_str().unwrap());
    let made = request.json(&json!({ "manifest": manifest })).send().await.unwrap();
    let made: Value = made.json().await.unwrap();
    assert_eq!(made["ok"], true, "{made}");
    made
}

/// The code that the authorize page gives to an app.
pub(super) async fn code(slack: &Slack, form: &[(&str, &str)]) -> String {
    let allow = [form, &[("decision", "allow")]].concat();
    let decided = slack.http.post(slack.at("oauth/v2/authorize")).form(&allow);
    let decided = decided.send().await.unwrap();
    assert_eq!(decided.status(), 302, "{}", decided.text().await.unwrap());
    let back = url::Url::parse(decided.headers()["location"].to_str().unwrap()).unwrap();
    back.query_pairs().find(|(key, _)| key == "code").unwrap().1.into_owned()
}

/// A method called with an app's id and secret.
pub(super) async fn by_app(
    slack: &Slack,
    app: &SandboxApp,
    method: &str,
    form: &[(&str, &str)],
) -> Value {
    let request = slack.http.post(slack.at(&format!("api/{method}")));
    let request = request.basic_auth(&app.client_id, Some(&app.client_secret)).form(form);
    request.send().await.unwrap().json().await.unwrap()
}

/// The app made from the manifest, installed; and its token.
async fn installed(slack: &Slack) -> (SandboxApp, String) {
    let app = slack.sandbox.apps().pop().unwrap();
    let asked = [("client_id", app.client_id.as_str()), ("scope", "chat:write,im:history")];
    let code = code(slack, &asked).await;
    let granted = by_app(slack, &app, "oauth.v2.access", &[("code", &code)]).await;
    assert_eq!(granted["app_id"], app.app_id, "{granted}");
    let token = granted["access_token"].as_str().unwrap().to_owned();
    (app, token)
}

/// The body of the next request, which must be signed with this secret.
async fn signed(received: &mut UnboundedReceiver<Received>, secret: &str) -> Vec<u8> {
    let (headers, body) = received.recv().await.unwrap();
    let timestamp = headers["x-slack-request-timestamp"].to_str().unwrap();
    let expected = sign(&Secret::new(secret), timestamp, &body);
    assert_eq!(headers["x-slack-signature"], expected.as_str());
    body
}

/// The next event, which must be signed with this secret.
async fn next(received: &mut UnboundedReceiver<Received>, secret: &str) -> Value {
    serde_json::from_slice(&signed(received, secret).await).unwrap()
}

#[tokio::test]
async fn an_app_from_a_manifest_hears_of_its_workspace_with_its_own_secret() {
    let (own_url, mut own) = app(Vec::new()).await;
    let (url, mut theirs) = app(Vec::new()).await;
    let slack = start(Config { events_url: Some(own_url), ..config() }).await;
    let mut with_events = manifest();
    with_events["settings"]["event_subscriptions"] =
        json!({ "request_url": url.as_str(), "bot_events": ["user_change", "tokens_revoked"] });
    let made = make(&slack, &with_events).await;
    let secret = made["credentials"]["signing_secret"].as_str().unwrap().to_owned();
    assert_eq!(next(&mut theirs, &secret).await["type"], "url_verification");
    let apps = slack.sandbox.apps();
    assert_eq!(apps.len(), 2);
    assert_eq!(apps[0].signing_secret, "sandbox-signing-secret", "its own app is the first");
    assert_eq!((&apps[1].signing_secret, &apps[1].events_url), (&secret, &Some(url.into())));

    // Before it is installed, it hears of nothing.
    slack.sandbox.deactivate("U0DEMOADA");
    let own_secret = apps[0].signing_secret.clone();
    assert_eq!(next(&mut own, &own_secret).await["api_app_id"], "A0SANDBOX01");
    let (app, token) = installed(&slack).await;
    slack.sandbox.deactivate("U0DEMOBEN");
    let heard = next(&mut theirs, &secret).await;
    assert_eq!(heard["api_app_id"], app.app_id);
    assert_eq!(heard["event"]["user"]["id"], "U0DEMOBEN");

    let theirs_of_it = Slack { token, ..slack };
    assert_eq!(theirs_of_it.form("auth.revoke", &[("test", "1")]).await["revoked"], false);
    assert_eq!(theirs_of_it.form("auth.revoke", &[]).await["revoked"], true);
    let heard = next(&mut theirs, &secret).await;
    assert_eq!(heard["event"]["type"], "tokens_revoked", "app_uninstalled was not subscribed to");
}

#[tokio::test]
async fn what_people_do_goes_to_the_app_that_wrote_to_them() {
    let (own_url, mut own) = app(Vec::new()).await;
    let (url, mut theirs) = app(Vec::new()).await;
    let (events_url, interactions_url) = (Some(own_url.clone()), Some(own_url));
    let slack = start(Config { events_url, interactions_url, ..config() }).await;
    let mut interactive = manifest();
    interactive["settings"] = json!({
        "event_subscriptions": { "request_url": url.as_str(), "bot_events": ["message.im"] },
        "interactivity": { "is_enabled": true, "request_url": url.as_str() },
    });
    make(&slack, &interactive).await;
    let (app, token) = installed(&slack).await;
    let secret = app.signing_secret.as_str();
    assert_eq!(next(&mut theirs, secret).await["type"], "url_verification");
    let slack = Slack { token, ..slack };
    let button = json!({ "type": "button", "action_id": "mute",
        "text": { "type": "plain_text", "text": "Mute" } });
    let blocks = json!([{ "type": "actions", "elements": [button] }]);
    let body = json!({ "channel": "U0DEMOADA", "text": "t", "blocks": blocks });
    let posted = slack.json("chat.postMessage", body).await;
    let (channel, ts) = (posted["channel"].as_str().unwrap(), posted["ts"].as_str().unwrap());
    assert_eq!(slack.sandbox.press_button(channel, ts, "mute").await.unwrap(), 200);
    let form = signed(&mut theirs, secret).await;
    let payload = url::form_urlencoded::parse(&form).next().unwrap().1.into_owned();
    let payload: Value = serde_json::from_str(&payload).unwrap();
    assert_eq!(payload["api_app_id"], app.app_id);
    let written = json!({ "conversation": channel, "user": "U0DEMOADA", "text": "hello" });
    slack.control("_sandbox/messages", written).await;
    assert_eq!(next(&mut theirs, secret).await["event"]["text"], "hello");
    // The sandbox's own app heard of nothing before this event.
    slack.sandbox.push_event(json!({ "type": "team_rename" })).unwrap();
    let heard = next(&mut own, "sandbox-signing-secret").await;
    assert_eq!(heard["event"]["type"], "team_rename");
}

#[tokio::test]
async fn tokens_codes_and_conversations_of_an_app_are_its_own() {
    let slack = start(config()).await;
    let own_token = slack.token.clone();
    make(&slack, &manifest()).await;
    let (app, token) = installed(&slack).await;
    let own = slack.sandbox.apps().swap_remove(0);
    let theirs = Slack { token, ..slack };
    let test = theirs.form("auth.test", &[]).await;
    assert_eq!((&test["app_id"], &test["app_name"]), (&json!(app.app_id), &json!("Theirs")));
    let to_ada = [("channel", "U0DEMOADA"), ("text", "a")];
    let posted = theirs.form("chat.postMessage", &to_ada).await;
    assert_eq!(posted["message"]["app_id"], app.app_id);
    let slack = Slack { token: own_token, ..theirs };
    let answer = slack.form("chat.postMessage", &to_ada).await;
    assert_ne!(answer["channel"], posted["channel"], "each bot has its own direct message");
    let channel = posted["channel"].as_str().unwrap();
    let history = slack.form("conversations.history", &[("channel", channel)]).await;
    assert_eq!(history["error"], "channel_not_found");

    // Another app's code and refresh token are nothing, and people are sent to its own address.
    let asked = [("client_id", app.client_id.as_str()), ("scope", "chat:write")];
    let spent = code(&slack, &asked).await;
    let refused = by_app(&slack, &own, "oauth.v2.access", &[("code", &spent)]).await;
    assert_eq!(refused["error"], "invalid_code");
    let foreign = [&asked[..], &[("redirect_uri", "https://app.example/cb")]].concat();
    let page = slack.http.post(slack.at("oauth/v2/authorize")).form(&foreign).send().await.unwrap();
    assert!(page.text().await.unwrap().contains("bad_redirect_uri"));
    let (id, secret) = (app.client_id.as_str(), app.client_secret.as_str());
    let credentials = [("client_id", id), ("client_secret", secret)];
    let other = slack.form("apps.uninstall", &credentials).await;
    assert_eq!(other["error"], "client_id_token_mismatch");
    assert_eq!(slack.form("auth.test", &[]).await["ok"], true);
    assert!(slack.sandbox.uninstall_at([&app.app_id, "T0SANDBOX01"]));
    assert_eq!(slack.form("auth.test", &[]).await["ok"], true, "only the other app has gone");
}

#[tokio::test]
async fn secrets_are_exchanged() {
    let (url, mut received) = app(Vec::new()).await;
    let slack = start(Config { events_url: Some(url), time_scale: 0.0, ..config() }).await;
    let old = slack.sandbox.apps().swap_remove(0);
    let new = slack.sandbox.regenerate_signing_secret(&old.app_id).unwrap();
    assert_ne!(new.signing_secret, old.signing_secret);
    slack.sandbox.push_event(json!({ "type": "team_rename" })).unwrap();
    assert_eq!(next(&mut received, &new.signing_secret).await["event"]["type"], "team_rename");
    let new = slack.sandbox.regenerate_client_secret(&old.app_id).unwrap();
    let with =
        async |app: &SandboxApp| by_app(&slack, app, "oauth.v2.access", &[]).await["error"].take();
    assert_eq!(with(&new).await, "invalid_code", "the secret is right");
    // A day of this sandbox is over at once.
    assert_eq!(with(&old).await, "bad_client_secret");
    assert!(slack.sandbox.regenerate_client_secret("A0NONE").is_none());

    let slack = start(config()).await;
    slack.sandbox.regenerate_client_secret(&old.app_id).unwrap();
    let refused = by_app(&slack, &old, "oauth.v2.access", &[]).await;
    assert_eq!(refused["error"], "invalid_code", "the old secret works for a day");
}

#[tokio::test]
async fn a_person_can_refuse_optional_scopes() {
    let slack = start(config()).await;
    make(&slack, &manifest()).await;
    let app = slack.sandbox.apps().pop().unwrap();
    let asked = [("client_id", app.client_id.as_str()), ("scope", "chat:write,users:read")];
    let page = url::Url::parse_with_params(slack.at("oauth/v2/authorize").as_str(), asked).unwrap();
    let page = slack.http.get(page).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("<li><code>chat:write</code></li>"), "{page}");
    assert!(page.contains("name=\"optional users:read\" value=\"1\" checked"), "{page}");
    let refused = [&asked[..], &[("choice", "1")]].concat();
    let taken = [&refused[..], &[("optional users:read", "1")]].concat();
    for (form, scopes) in [(refused, "chat:write"), (taken, "chat:write,users:read")] {
        let code = code(&slack, &form).await;
        let granted = by_app(&slack, &app, "oauth.v2.access", &[("code", &code)]).await;
        assert_eq!(granted["scope"], scopes);
    }
}

#[tokio::test]
async fn a_manifest_switches_what_its_app_can_do() {
    let slack = start(config()).await;
    let mut manifest = manifest();
    manifest["features"]["app_home"] =
        json!({ "messages_tab_enabled": false, "home_tab_enabled": false });
    manifest["settings"]["token_rotation_enabled"] = json!(true);
    make(&slack, &manifest).await;
    let (_, token) = installed(&slack).await;
    assert!(token.starts_with("xoxe.xoxb-"), "{token}");
    let theirs = Slack { token, ..slack };
    let posted = theirs.form("chat.postMessage", &[("channel", "U0DEMOADA"), ("text", "a")]).await;
    assert_eq!(posted["error"], "messages_tab_disabled");
    let home = json!({ "user_id": "U0DEMOADA", "view": { "type": "home", "blocks": [] } });
    assert_eq!(theirs.json("views.publish", home).await["error"], "not_enabled");
    let missing = theirs.sandbox.push_event_at(["A0NONE", "T0SANDBOX01"], json!({ "type": "x" }));
    assert!(matches!(missing, Err(PushError::NotFound)));
}
