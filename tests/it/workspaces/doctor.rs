//! CheckConnection, the checks without a caller, `herald check --tenant`, and alerts to the
//! platform's webhook.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use herald::config::Settings;
use herald::domain::features::FEATURES;
use herald::domain::secret::Secret;
use herald::rpc::pb::{
    CheckConnectionRequest, CheckConnectionResponse, CheckFinding, Connection, ConnectionCheck,
    ConnectionState, WatchWorkspacesResponse,
};
use herald::sandbox::{self, HistoryLimit};
use herald::slack::signature;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::net::TcpListener;
use tonic::{Code, Streaming};
use url::Url;

use crate::events::{caller, metric};
use crate::support::client::notify;
use crate::support::process;
use crate::support::world::{PATIENCE, Plan, Replica, TENANT, World, for_each_database, until};

/// The parts, in the order of the rows.
const PARTS: [&str; 11] = [
    "token",
    "scopes",
    "messages_tab",
    "history",
    "request_url",
    "events",
    "clock",
    "signing_secret",
    "org_install",
    "rate_limit",
    "test_message",
];

fn request(test_user: &str) -> CheckConnectionRequest {
    CheckConnectionRequest { tenant_id: TENANT.into(), test_user_id: test_user.into(), actor: None }
}

pub(super) async fn check(world: &World, test_user: &str) -> CheckConnectionResponse {
    let checked = world.client.check_connection(request(test_user)).await.unwrap();
    if !test_user.is_empty() {
        // The answer does not name the test message; the store must know it.
        for message in world.sandbox.messages() {
            let delivery = message.metadata["event_payload"]["delivery_id"].as_str();
            world.replayed(delivery.unwrap_or_default());
        }
    }
    checked
}

pub(super) fn row<'a>(checked: &'a CheckConnectionResponse, part: &str) -> &'a ConnectionCheck {
    checked.checks.iter().find(|row| row.part == part).unwrap()
}

fn finding(checked: &CheckConnectionResponse, part: &str) -> CheckFinding {
    row(checked, part).finding()
}

/// The parts with this finding.
fn parts(checked: &CheckConnectionResponse, finding: CheckFinding) -> Vec<&str> {
    let rows = checked.checks.iter().filter(|row| row.finding() == finding);
    rows.map(|row| row.part.as_str()).collect()
}

#[tokio::test]
async fn a_connection_that_works_has_no_broken_part() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        let checked = check(world, "ben").await;
        let all: Vec<&str> = checked.checks.iter().map(|row| row.part.as_str()).collect();
        assert_eq!(all, PARTS);
        // No event has arrived, so nothing is known about the three parts that events show.
        let unknown = ["request_url", "events", "signing_secret"];
        assert_eq!(parts(&checked, CheckFinding::Unknown), unknown, "{checked:#?}");
        assert_eq!(parts(&checked, CheckFinding::Broken), [""; 0], "{checked:#?}");
        assert!(checked.checks.iter().all(|row| !row.sentence.is_empty()), "{checked:#?}");
        assert!(checked.checked_at.is_some());
        assert_eq!(world.messages(1).await[0].user.as_deref(), Some("U0DEMOBEN"));
        // Without a person nothing is sent.
        let checked = check(world, "").await;
        assert_eq!(finding(&checked, "test_message"), CheckFinding::Unknown);
        assert_eq!(finding(&checked, "messages_tab"), CheckFinding::Ok, "by the message before");
        world.messages(1).await;
    })
    .await;
}

#[tokio::test]
async fn events_show_three_parts() {
    for_each_database(async |world| {
        let events = format!("http://{}/slack/events", world.replicas[0].http);
        world.sandbox.send_events_to(Url::parse(&events).unwrap());
        world.sandbox.update_member("U0DEMOBEN", &json!({ "profile": { "title": "Clerk" } }));
        let checked = until("the event is known", async || {
            Some(check(world, "").await)
                .filter(|checked| finding(checked, "events") == CheckFinding::Ok)
        })
        .await;
        for part in ["request_url", "events", "signing_secret"] {
            assert_eq!(finding(&checked, part), CheckFinding::Ok, "{checked:#?}");
        }
        for number in 0..3 {
            assert_eq!(repeated(world, number, "ssl_error").await, 200);
        }
        let url = check(world, "").await;
        let url = row(&url, "request_url");
        assert_eq!(url.finding(), CheckFinding::Broken, "{url:?}");
        assert!(
            url.sentence.contains("ssl_error") && url.remedy.contains("certificate"),
            "{url:?}"
        );
    })
    .await;
}

/// Sends an event that Slack says is a repetition.
async fn repeated(world: &World, number: u32, reason: &str) -> u16 {
    let slack = sandbox::Config::default();
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let body = json!({
        "token": "t", "team_id": slack.team.id, "api_app_id": slack.app_id,
        "type": "event_callback", "event_id": format!("EvRepeated{number}"), "event_time": now,
        "event": { "type": "app_home_opened" },
    })
    .to_string();
    let timestamp = now.to_string();
    let signature = signature::sign(&slack.signing_secret, &timestamp, body.as_bytes());
    let request = caller()
        .post(format!("http://{}/slack/events", world.replicas[0].http))
        .header("x-slack-request-timestamp", timestamp)
        .header("x-slack-signature", signature)
        .header("x-slack-retry-num", "1")
        .header("x-slack-retry-reason", reason);
    request.body(body).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn each_broken_part_is_found_with_a_remedy() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        let broken = async |part: &str, said: &str, test_user: &str| {
            let checked = check(world, test_user).await;
            let row = row(&checked, part);
            assert_eq!(row.finding(), CheckFinding::Broken, "{checked:#?}");
            assert!(row.sentence.contains(said), "{row:?}");
            assert!(!row.remedy.is_empty(), "{row:?}");
        };
        world.sandbox.configure(|options| options.messages_tab = false);
        broken("messages_tab", "messages_tab_disabled", "ben").await;
        // The message before still shows it.
        broken("messages_tab", "messages_tab_disabled", "").await;
        world.sandbox.configure(|options| options.messages_tab = true);
        assert_eq!(finding(&check(world, "ben").await, "messages_tab"), CheckFinding::Ok);

        let all = FEATURES.iter().flat_map(|feature| feature.scopes.iter().copied());
        let without = |missing: &str| -> Vec<&str> {
            all.clone().filter(|scope| *scope != missing).collect()
        };
        world.sandbox.set_scopes(&without("im:history"));
        broken("history", "im:history", "").await;
        world.sandbox.set_scopes(&without("chat:write"));
        broken("scopes", "chat:write", "").await;
        world.sandbox.set_scopes(&without(""));
        assert_eq!(parts(&check(world, "").await, CheckFinding::Broken), [""; 0]);

        world.sandbox.revoke_token(None, "token_revoked");
        broken("token", "token_revoked", "").await;
        let checked = check(world, "ben").await;
        assert_eq!(finding(&checked, "test_message"), CheckFinding::Unknown, "nothing was tried");
    })
    .await;
}

#[tokio::test]
async fn the_limit_of_one_reading_a_minute_is_named() {
    for_each_database(async |world| {
        let usual = check(world, "").await;
        assert!(!row(&usual, "rate_limit").sentence.contains("once a minute"), "{usual:#?}");
        world.sandbox.configure(|options| options.history_limit = HistoryLimit::OnePerMinute15);
        let limited = until("the first reading of a minute", async || {
            Some(check(world, "").await)
                .filter(|checked| finding(checked, "rate_limit") != CheckFinding::Unknown)
        })
        .await;
        let row = row(&limited, "rate_limit");
        assert_eq!(row.finding(), CheckFinding::Ok, "Herald works at this rate");
        assert!(row.sentence.contains("once a minute") && !row.remedy.is_empty(), "{row:?}");
    })
    .await;
}

/// The token of the organization still works: only a call for this workspace shows it.
#[tokio::test]
async fn an_organization_that_took_the_app_away_is_named() {
    Plan { ready: false, ..Plan::default() }
        .run(async |world| {
            let slack = sandbox::Config::default();
            world.sandbox.configure(|options| options.org_wide = true);
            world.make_ready().await;
            let checked = check(world, "").await;
            let org = row(&checked, "org_install");
            assert_eq!(org.finding(), CheckFinding::Ok, "{checked:#?}");
            assert!(org.sentence.contains("for the organization"), "{org:?}");
            // No event reports it: Slack has no address for events here.
            let at = [slack.app_id.as_str(), slack.team.id.as_str()];
            assert!(world.sandbox.grant_team_at(at, false));
            let checked = check(world, "").await;
            let org = row(&checked, "org_install");
            assert_eq!(org.finding(), CheckFinding::Broken, "{checked:#?}");
            assert!(org.sentence.contains("team_access_not_granted"), "{org:?}");
            assert!(org.remedy.contains("add the workspace"), "{org:?}");
        })
        .await;
}

#[tokio::test]
async fn an_app_without_a_signing_secret_is_named() {
    let adjust = |settings: &mut Settings| settings.app.signing_secret = Secret::new("");
    Plan { adjust, ..Plan::default() }
        .run(async |world| {
            let checked = check(world, "").await;
            assert_eq!(parts(&checked, CheckFinding::Broken), ["signing_secret"], "{checked:#?}");
            assert!(row(&checked, "signing_secret").remedy.contains("app.signing_secret"));
        })
        .await;
}

#[tokio::test]
async fn what_is_not_there_is_told_as_such() {
    Plan { ready: false, ..Plan::default() }
        .run(async |world| {
            let refused = world.client.check_connection(request("")).await.unwrap_err();
            assert_eq!(refused.code(), Code::NotFound, "no such tenant");
            world.client.begin_connect(TENANT).await.unwrap();
            let checked = check(world, "").await;
            assert_eq!(parts(&checked, CheckFinding::Broken), ["token"], "{checked:#?}");
            let refused = world.client.check_connection(request("nemo")).await.unwrap_err();
            assert_eq!(refused.code(), Code::NotFound, "no such person");
            assert_eq!(world.count("SELECT COUNT(*) FROM connection_checks").await, 0);
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_checks_a_tenant() {
    for_each_database(async |world| {
        let settings = world.settings();
        let store = &settings.store;
        let mut given = vec![
            "rpc.insecure=true".to_owned(),
            format!("slack.base_url={}", settings.slack.base_url),
            format!("slack.time_scale={}", settings.slack.time_scale),
            format!("app.client_id={}", settings.app.client_id),
            format!("app.client_secret={}", settings.app.client_secret.expose()),
            format!("app.signing_secret={}", settings.app.signing_secret.expose()),
            format!("store.data_dir={}", store.data_dir.display()),
        ];
        let secrets = [("url", &store.url), ("key", &store.key)];
        for (name, secret) in secrets {
            given.extend(secret.as_ref().map(|it| format!("store.{name}={}", it.expose())));
        }
        let (fine, said) = process::run(&["check", "--tenant", TENANT], &given);
        assert!(fine, "{said}");
        let marked = |said: &str, mark: &str, part: &str| {
            said.lines().any(|line| {
                let mut words = line.split_whitespace();
                words.next() == Some(mark) && words.next() == Some(part)
            })
        };
        assert!(PARTS.iter().all(|part| said.contains(part)), "{said}");
        assert!(marked(&said, "ok", "token") && marked(&said, "?", "events"), "{said}");
        world.sandbox.revoke_token(None, "account_inactive");
        let (fine, said) = process::run(&["check", "--tenant", TENANT], &given);
        assert!(!fine && marked(&said, "FAIL", "token"), "{said}");
        assert!(said.contains("account_inactive"), "{said}");
    })
    .await;
}

/// The platform's webhook.
#[derive(Clone, Default)]
struct Hook {
    received: Arc<Mutex<Vec<Received>>>,
    /// Requests that are still to be refused.
    refusals: Arc<AtomicU32>,
}

#[derive(Debug, Clone)]
struct Received {
    id: String,
    timestamp: String,
    signature: String,
    body: String,
    accepted: bool,
}

/// 24 bytes in base64.
const KEY: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

impl Hook {
    async fn start() -> (Self, Url) {
        let hook = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let router = Router::new().route("/hook", post(take)).with_state(hook.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (hook, Url::parse(&url).unwrap())
    }

    /// The alerts that were accepted.
    fn accepted(&self) -> Vec<Received> {
        let received = self.received.lock().unwrap();
        received.iter().filter(|one| one.accepted).cloned().collect()
    }

    /// Waits for the alert with this number, and returns its body.
    async fn alert(&self, number: usize) -> Value {
        let alert = until("an alert", async || self.accepted().get(number).cloned()).await;
        serde_json::from_str(&alert.body).unwrap()
    }
}

async fn take(State(hook): State<Hook>, headers: HeaderMap, body: String) -> StatusCode {
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    let left = |left: u32| left.checked_sub(1);
    let refused = hook.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left).is_ok();
    hook.received.lock().unwrap().push(Received {
        id: header("webhook-id"),
        timestamp: header("webhook-timestamp"),
        signature: header("webhook-signature"),
        body,
        accepted: !refused,
    });
    if refused { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::NO_CONTENT }
}

/// The signature that Standard Webhooks prescribes.
fn signed(received: &Received) -> String {
    let key = BASE64_STANDARD.decode(KEY).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    let Received { id, timestamp, body, .. } = received;
    mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
    format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
}

/// Adds a replica that posts alerts, and checks connections so often; 0: never.
async fn reporting(world: &mut World, hook: &Url, check_seconds: u64) -> usize {
    let mut settings = world.settings();
    settings.alerts.webhook_url = Some(hook.clone());
    settings.alerts.webhook_secret = Secret::new(format!("whsec_{KEY}"));
    settings.doctor.check_seconds = check_seconds;
    world.replicas.push(Replica::start(settings).await);
    world.replicas.len() - 1
}

#[tokio::test]
async fn a_dead_token_is_reported_once_and_its_successor_too() {
    for_each_database(async |world| {
        let (hook, url) = Hook::start().await;
        hook.refusals.store(2, Ordering::SeqCst);
        reporting(world, &url, 0).await;
        let second = reporting(world, &url, 0).await;
        world.sandbox.revoke_token(None, "token_revoked");
        // This call meets the dead token; the alert does not need Slack.
        assert_eq!(finding(&check(world, "").await, "token"), CheckFinding::Broken);
        let dead = hook.alert(0).await;
        assert_eq!(dead["type"], "workspace.reconnect_required");
        assert_eq!(dead["data"]["tenant_id"], TENANT);
        assert_eq!(dead["data"]["reason"], "token_revoked");
        assert_eq!(dead["data"]["previous_state"], "active");
        assert!(dead["data"]["sentence"].as_str().unwrap().contains("connected again"), "{dead}");
        let label = r#"state="reconnect_required""#;
        until("the metric counts it", async || {
            (metric(world, second, "herald_workspaces", label).await == 1).then_some(())
        })
        .await;
        assert_eq!(world.connect(TENANT).await.status, 200);
        let well = hook.alert(1).await;
        assert_eq!(well["type"], "workspace.active");
        assert_eq!(well["data"]["previous_state"], "reconnect_required");
        let received = hook.received.lock().unwrap().clone();
        assert_eq!(received.len(), 4, "two refusals and two alerts: {received:#?}");
        assert!(received[..3].iter().all(|one| one.id == received[0].id), "repeated as it was");
        assert_ne!(received[3].id, received[0].id);
        for one in &received {
            assert_eq!(one.signature, signed(one));
        }
    })
    .await;
}

/// Reads until the stream of all connections has one that a check found broken.
async fn degraded(stream: &mut Streaming<WatchWorkspacesResponse>) {
    let broken = |shown: &Connection| {
        shown.state() == ConnectionState::Degraded && shown.reason == "check_failed"
    };
    loop {
        let next = tokio::time::timeout(PATIENCE, stream.message()).await.unwrap();
        if next.unwrap().unwrap().connections.iter().any(broken) {
            return;
        }
    }
}

#[tokio::test]
async fn a_check_without_a_caller_reports_a_broken_part() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        let (hook, url) = Hook::start().await;
        world.sandbox.configure(|options| options.messages_tab = false);
        let answer = world.client.notify(notify("1", "case.started", &["ben"])).await.unwrap();
        world.client.ended(TENANT, &answer.notification_id).await;
        let mut stream = world.client.watch_workspaces().await.unwrap();
        // Every minute, which is a little over a second here.
        reporting(world, &url, 60).await;
        // The other replica has planned the first check for an hour after the connect.
        until("the first check is due", async || {
            let due = "UPDATE connection_checks SET due_at = 1 WHERE due_at IS NOT NULL";
            (world.execute(due).await.unwrap() == 1).then_some(())
        })
        .await;
        let alert = hook.alert(0).await;
        assert_eq!(alert["type"], "workspace.degraded", "{alert}");
        degraded(&mut stream).await;
        let broken = alert["data"]["broken_checks"].as_array().unwrap();
        assert_eq!(broken.len(), 1, "{alert}");
        assert_eq!(broken[0]["part"], "messages_tab");
        assert!(!broken[0]["remedy"].as_str().unwrap().is_empty(), "{alert}");
        // A message that arrives shows that it works again.
        world.sandbox.configure(|options| options.messages_tab = true);
        let answer = world.client.notify(notify("2", "case.started", &["ben"])).await.unwrap();
        world.client.ended(TENANT, &answer.notification_id).await;
        let alert = hook.alert(1).await;
        assert_eq!(alert["type"], "workspace.active", "{alert}");
        assert_eq!(hook.received.lock().unwrap().len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_webhook_that_is_set_later_gets_what_is_not_well() {
    for_each_database(async |world| {
        world.sandbox.revoke_token(None, "token_revoked");
        assert_eq!(finding(&check(world, "").await, "token"), CheckFinding::Broken);
        until("the state is known", async || {
            let known = "SELECT COUNT(*) FROM connection_checks WHERE state <> told";
            (world.count(known).await == 1).then_some(())
        })
        .await;
        assert_eq!(world.count("SELECT COUNT(*) FROM alerts").await, 0);
        let (hook, url) = Hook::start().await;
        reporting(world, &url, 0).await;
        assert_eq!(hook.alert(0).await["type"], "workspace.reconnect_required");
    })
    .await;
}
