//! Interactions: a person presses a link button, and Herald acknowledges it to the app that wrote
//! the message. Events and interactions that are signed for one app never count for another.

use herald::config::Settings;
use herald::domain::secret::Secret;
use herald::domain::time::Timestamp;
use herald::rpc::pb::{self, DeliveryState};
use herald::sandbox;
use herald::slack::interactions::BODY_BYTES;
use herald::slack::signature;
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use url::Url;

use super::apps::{OTHER, OWN, connected_by, event, make_app, post, set, taken_for, with};
use crate::events::{caller, metric};
use crate::support::client::{demo_person, notify};
use crate::support::world::{Plan, TENANT, World, for_each_database};

/// The content type of an interaction.
const FORM: &str = "application/x-www-form-urlencoded";
/// The signing secret of the deployment's app before the current one.
const BEFORE: &str = "deployment-secret-before";
/// The signing secret that replaces the one of [`OWN`]'s app.
const REPLACED_BY: &str = "own-secret-after";

/// An app, and its addresses.
struct AppAt {
    id: String,
    events: String,
    interactions: String,
}

/// The deployment's app, and those of [`OWN`] and [`OTHER`].
struct Apps {
    all: [AppAt; 3],
    /// Secrets: the current one of each app, the one before of the deployment's, the one before of
    /// [`OWN`]'s.
    secrets: [String; 5],
}

/// Connects the three apps to one workspace, and exchanges the signing secret of one.
async fn three_apps(world: &World) -> Apps {
    let slack = sandbox::Config::default();
    let below = |path: &str| format!("http://{}/slack/{path}", world.replicas[0].http);
    assert!(connected_by(world, TENANT, &slack.app_id).await);
    let (own, other) = (make_app(world, OWN).await, make_app(world, OTHER).await);
    for (tenant, app) in [(OWN, &own), (OTHER, &other)] {
        assert_eq!(world.connect(tenant).await.status, 200);
        assert!(connected_by(world, tenant, &app.app_id).await);
    }
    let exchange = pb::SetSlackAppRequest {
        client_secret: String::new(),
        signing_secret: REPLACED_BY.into(),
        ..with(OWN, &own)
    };
    set(world, exchange).await;
    let secrets = [
        slack.signing_secret.expose().to_owned(),
        REPLACED_BY.to_owned(),
        other.signing_secret,
        BEFORE.to_owned(),
        own.signing_secret,
    ];
    let all = [
        AppAt { id: slack.app_id, events: below("events"), interactions: below("interactions") },
        AppAt {
            id: own.app_id,
            events: own.events_url.unwrap(),
            interactions: own.interactions_url.unwrap(),
        },
        AppAt {
            id: other.app_id,
            events: other.events_url.unwrap(),
            interactions: other.interactions_url.unwrap(),
        },
    ];
    Apps { all, secrets }
}

fn now() -> u64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

/// A request as Slack signs it in this second.
fn signed(url: &str, secret: &str, at: u64, body: String) -> RequestBuilder {
    let timestamp = at.to_string();
    let signature = signature::sign(&Secret::new(secret), &timestamp, body.as_bytes());
    caller()
        .post(url)
        .header("x-slack-request-timestamp", timestamp)
        .header("x-slack-signature", signature)
        .body(body)
}

/// The status of the answer, which must be empty.
async fn status(request: RequestBuilder) -> StatusCode {
    let answer = request.send().await.unwrap();
    let status = answer.status();
    assert_eq!(answer.text().await.unwrap(), "");
    status
}

/// The press of a link button in a message of this app, in the sandbox's workspace.
fn pressed(app_id: &str) -> Value {
    let team = sandbox::Config::default().team;
    json!({
        "type": "block_actions", "api_app_id": app_id, "enterprise": null,
        "team": { "id": team.id, "domain": "demo" }, "user": { "id": "UMEMBER" },
        "actions": [{ "type": "button", "action_id": "open_link", "url": "https://a.example/" }],
    })
}

fn form(payload: &str) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("payload", payload).finish()
}

/// The number of interactions with this result.
async fn counted(world: &World, result: &str) -> u64 {
    let label = format!(r#"result="{result}""#);
    metric(world, 0, "herald_slack_interactions_total", &label).await
}

/// Sends an event and an interaction with each secret to each address, in the name of each app.
/// `owners` has for each secret the app that it is a live secret of. Both count only if address,
/// secret and name are of one app.
async fn judge(world: &World, round: &str, apps: &Apps, owners: [Option<usize>; 5]) {
    for (secret, owner) in apps.secrets.iter().zip(owners) {
        for (at, address) in apps.all.iter().enumerate() {
            for (named, app) in apps.all.iter().enumerate() {
                let theirs = owner == Some(at);
                let expected = if theirs { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
                let counts = theirs && named == at;
                let case = format!("{round}: {secret} at {at} for {named}");

                let id = format!("Ev{}", case.replace([' ', ':'], ""));
                let answer = post(&address.events, secret, &event(&id, &app.id)).await;
                assert_eq!(answer.status(), expected, "event, {case}");
                let wanted: Vec<_> = counts.then(|| app.id.clone()).into_iter().collect();
                assert_eq!(taken_for(world, &id).await, wanted, "event, {case}");

                let before = counted(world, "acknowledged").await;
                let body = form(&pressed(&app.id).to_string());
                let request = signed(&address.interactions, secret, now(), body);
                let answered = status(request.header("content-type", FORM)).await;
                assert_eq!(answered, expected, "interaction, {case}");
                let more = counted(world, "acknowledged").await - before;
                assert_eq!(more, u64::from(counts), "interaction, {case}");
            }
        }
    }
}

/// The settings while the signing secret of the deployment's app is exchanged.
fn exchanging(settings: &mut Settings) {
    settings.app.previous_signing_secret = Secret::new(BEFORE);
    settings.app.previous_until = Some(Timestamp(i64::MAX));
}

/// The same after the end of the one before.
fn exchanged(settings: &mut Settings) {
    exchanging(settings);
    settings.app.previous_until = Some(Timestamp(1));
}

#[tokio::test]
async fn each_request_counts_for_the_app_of_its_secret_at_its_address() {
    let plan = Plan { adjust: exchanging, ..Plan::default() };
    plan.run(async |world| {
        let apps = three_apps(world).await;
        judge(world, "live", &apps, [Some(0), Some(1), Some(2), Some(0), Some(1)]).await;
    })
    .await;
}

#[tokio::test]
async fn a_previous_secret_counts_nowhere_after_its_end() {
    let plan = Plan { adjust: exchanged, ..Plan::default() };
    plan.run(async |world| {
        let apps = three_apps(world).await;
        world.execute("UPDATE slack_apps SET previous_signing_until = 1").await.unwrap();
        judge(world, "over", &apps, [Some(0), Some(1), Some(2), None, None]).await;
    })
    .await;
}

#[tokio::test]
async fn a_pressed_link_button_is_acknowledged() {
    for_each_database(async |world| {
        let url = format!("http://{}/slack/interactions", world.replicas[0].http);
        world.sandbox.send_interactions_to(Url::parse(&url).unwrap());
        make_app(world, OWN).await;
        assert_eq!(world.connect(OWN).await.status, 200);
        world.client.switch_sending(OWN, true).await;
        world.members_read(OWN, 1).await;
        for (count, tenant) in [(1, TENANT), (2, OWN)] {
            world.client.upsert(tenant, vec![demo_person("ben")]).await;
            let wanted = notify("1", "task.assigned", &["ben"]);
            let wanted = pb::NotifyRequest { tenant_id: tenant.into(), ..wanted };
            let id = world.client.notify(wanted).await.unwrap().notification_id;
            let ended = world.client.ended(tenant, &id).await;
            assert_eq!(ended[0].state(), DeliveryState::Sent);
            let message = world.messages(count).await.pop().unwrap();
            let place = &message.conversation;
            let answered = world.sandbox.press_button(place, &message.ts, "open_link").await;
            assert_eq!(answered.unwrap(), 200, "{tenant}");
            assert_eq!(counted(world, "acknowledged").await, count as u64, "{tenant}");
        }
    })
    .await;
}

/// The messages stay in Slack after the end of a connection, and their buttons are pressed.
#[tokio::test]
async fn an_interaction_that_concerns_no_connection_is_acknowledged_and_counted() {
    for_each_database(async |world| {
        let slack = sandbox::Config::default();
        let secret = slack.signing_secret.expose();
        let url = format!("http://{}/slack/interactions", world.replicas[0].http);
        let mut elsewhere = pressed(&slack.app_id);
        elsewhere["team"]["id"] = json!("T0ELSEWHERE");
        let mut of_another_type = pressed(&slack.app_id);
        of_another_type["type"] = json!("view_closed");
        let other_app = pressed("A0ANOTHER");
        for (payload, result, count) in [
            (&elsewhere, "unknown_workspace", 1),
            (&other_app, "unknown_workspace", 2),
            (&of_another_type, "unused", 1),
        ] {
            let request = signed(&url, secret, now(), form(&payload.to_string()));
            assert_eq!(status(request.header("content-type", FORM)).await, StatusCode::OK);
            assert_eq!(counted(world, result).await, count, "{payload}");
        }
        // A tenant's own app is known by its id.
        let own = make_app(world, OWN).await;
        let url = own.interactions_url.unwrap();
        let request = signed(&url, &own.signing_secret, now(), form(&other_app.to_string()));
        assert_eq!(status(request.header("content-type", FORM)).await, StatusCode::OK);
        assert_eq!(counted(world, "other_app").await, 1);
        assert_eq!(counted(world, "acknowledged").await, 0);
    })
    .await;
}

#[tokio::test]
async fn what_is_not_an_interaction_of_slack_is_refused() {
    for_each_database(async |world| {
        let slack = sandbox::Config::default();
        let secret = slack.signing_secret.expose();
        let base = format!("http://{}/slack", world.replicas[0].http);
        let url = format!("{base}/interactions");
        let payload = pressed(&slack.app_id).to_string();
        let good = || form(&payload);
        let check = json!({ "type": "url_verification", "challenge": "c" }).to_string();
        for (kind, body) in [
            (FORM, String::new()),
            (FORM, "other=1".to_owned()),
            (FORM, form("{not JSON")),
            (FORM, form("[]")),
            ("application/json", payload.clone()),
            ("application/json", check),
        ] {
            let request = signed(&url, secret, now(), body.clone()).header("content-type", kind);
            assert_eq!(status(request).await, StatusCode::BAD_REQUEST, "{body}");
        }
        // Slack does not sign the content type, so it decides nothing.
        let plain = signed(&url, secret, now(), good()).header("content-type", "text/plain");
        assert_eq!(status(plain).await, StatusCode::OK);

        let unknown = format!("{base}/apps/{}/interactions", "A".repeat(22));
        let malformed = format!("{base}/apps/x/interactions");
        for (url, secret, at) in [
            (&url, "another-secret", now()),
            (&url, secret, now() - 310),
            (&url, secret, now() + 310),
            (&unknown, secret, now()),
            (&malformed, secret, now()),
        ] {
            let request = signed(url, secret, at, good()).header("content-type", FORM);
            assert_eq!(status(request).await, StatusCode::UNAUTHORIZED, "{url} {secret} {at}");
        }
        let bare = caller().post(&url).header("content-type", FORM).body(good());
        assert_eq!(status(bare).await, StatusCode::UNAUTHORIZED);
        let read = caller().get(&url).send().await.unwrap();
        assert_eq!(read.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(answer_to_two_mebibytes(world).await, "HTTP/1.1 413");

        for (result, count) in [("unreadable", 6), ("acknowledged", 1), ("refused", 6)] {
            assert_eq!(counted(world, result).await, count, "{result}");
        }
    })
    .await;
}

/// The beginning of the answer to a body of 2 MiB. It comes as soon as one byte too many has
/// arrived.
async fn answer_to_two_mebibytes(world: &World) -> String {
    let mut stream = TcpStream::connect(world.replicas[0].http).await.unwrap();
    let length = 2 << 20;
    let head = format!(
        "POST /slack/interactions HTTP/1.1\r\nhost: herald\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all("x".repeat(BODY_BYTES + 1).as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    String::from_utf8(answer.to_vec()).unwrap()
}
