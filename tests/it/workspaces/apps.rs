//! Slack apps of tenants beside the deployment's: their credentials, their addresses, and the
//! requests that count for each.

use std::sync::atomic::{AtomicU32, Ordering};

use herald::domain::secret::Secret;
use herald::rpc::pb;
use herald::sandbox::browser::{Browser, Decision};
use herald::sandbox::{self, SandboxApp};
use herald::slack::signature;
use reqwest::{Response, StatusCode};
use sea_orm::{ConnectionTrait as _, Statement};
use serde_json::{Value, json};
use tonic::Code;
use tonic_types::StatusExt as _;
use url::Url;

use crate::events::caller;
use crate::support::world::{Plan, TENANT, World, for_each_database};

/// A tenant with an app of its own.
pub(super) const OWN: &str = "globex";
/// Another one.
pub(super) const OTHER: &str = "initech";

fn fresh() -> Plan {
    Plan { ready: false, ..Plan::default() }
}

/// A call that sets an app of the sandbox as the tenant's own.
pub(super) fn with(tenant: &str, app: &SandboxApp) -> pb::SetSlackAppRequest {
    pb::SetSlackAppRequest {
        tenant_id: tenant.into(),
        app_id: app.app_id.clone(),
        client_id: app.client_id.clone(),
        client_secret: app.client_secret.clone(),
        signing_secret: app.signing_secret.clone(),
        keep_previous: None,
        actor: None,
    }
}

async fn get(world: &World, tenant: &str) -> Result<pb::SlackApp, tonic::Status> {
    let request = pb::GetSlackAppRequest { tenant_id: tenant.into(), actor: None };
    world.client.get_slack_app(request).await.map(|answer| answer.app.unwrap())
}

pub(super) async fn set(world: &World, request: pb::SetSlackAppRequest) -> pb::SlackApp {
    world.client.set_slack_app(request).await.unwrap().app.unwrap()
}

async fn delete(world: &World, tenant: &str, disconnect: bool) -> Result<(), tonic::Status> {
    let request = pb::DeleteSlackAppRequest { tenant_id: tenant.into(), disconnect, actor: None };
    world.client.delete_slack_app(request).await.map(drop)
}

/// Calls one of Slack's methods with an app configuration token.
async fn configure(world: &World, token: &str, method: &str, body: Value) -> Value {
    let url = world.sandbox.url().join(&format!("api/{method}")).unwrap();
    let answer = caller().post(url).bearer_auth(token).json(&body).send().await.unwrap();
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(answer["ok"], true, "{method}: {answer}");
    answer
}

/// With the addresses that Herald names, once it has named them.
fn manifest(world: &World, shown: Option<&pb::SlackApp>) -> Value {
    let redirect = shown.map_or("http://127.0.0.1:9/", |shown| shown.redirect_url.as_str());
    let mut manifest = json!({
        "display_information": { "name": "Own" },
        "features": { "bot_user": { "display_name": "own" } },
        "oauth_config": {
            "redirect_urls": [redirect], "scopes": { "bot": world.settings().app.scopes },
        },
    });
    if let Some(shown) = shown {
        manifest["settings"] = json!({
            "event_subscriptions": { "request_url": shown.events_url,
                "bot_events": ["user_change", "app_uninstalled"] },
            "interactivity": { "is_enabled": true, "request_url": shown.interactions_url },
        });
    }
    manifest
}

/// Makes an app in Slack and sets it as the tenant's own, with the addresses that Herald names.
pub(super) async fn make_app(world: &World, tenant: &str) -> SandboxApp {
    let url = world.sandbox.url().join("_sandbox/tokens").unwrap();
    let issue = json!({ "do": "issue_configuration" });
    let issued: Value = caller().post(url).json(&issue).send().await.unwrap().json().await.unwrap();
    let token = issued["token"].as_str().unwrap();
    let body = json!({ "manifest": manifest(world, None) });
    let id = configure(world, token, "apps.manifest.create", body).await["app_id"].clone();
    let app = in_slack(world, id.as_str().unwrap());
    let shown = set(world, with(tenant, &app)).await;
    let manifest = manifest(world, Some(&shown));
    let body = json!({ "app_id": id, "manifest": manifest });
    configure(world, token, "apps.manifest.update", body).await;
    in_slack(world, &app.app_id)
}

/// The app as its page in Slack shows it.
fn in_slack(world: &World, app_id: &str) -> SandboxApp {
    let mut apps = world.sandbox.apps().into_iter();
    apps.find(|app| app.app_id == app_id).unwrap()
}

/// Posts as Slack does, with a secret.
pub(super) async fn post(url: &str, secret: &str, body: &Value) -> Response {
    let (body, now) = (body.to_string().into_bytes(), std::time::UNIX_EPOCH.elapsed().unwrap());
    let timestamp = now.as_secs().to_string();
    let signature = signature::sign(&Secret::new(secret), &timestamp, &body);
    caller()
        .post(url)
        .header("x-slack-request-timestamp", timestamp)
        .header("x-slack-signature", signature)
        .body(body)
        .send()
        .await
        .unwrap()
}

/// An event of this app about a member of the sandbox's workspace.
pub(super) fn event(id: &str, app_id: &str) -> Value {
    let team = sandbox::Config::default().team.id;
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    json!({
        "team_id": team, "api_app_id": app_id, "type": "event_callback", "event_id": id,
        "event_time": now, "authorizations": [{ "team_id": team, "is_bot": true }],
        "event": { "type": "user_change", "event_ts": format!("{now}.000100"),
            "user": { "id": "UMEMBER", "updated": now, "profile": { "display_name": id } } },
    })
}

/// The app ids of the installations for which an event was taken.
pub(super) async fn taken_for(world: &World, event: &str) -> Vec<String> {
    let text = format!(
        "SELECT i.app_id FROM seen_events e JOIN installations i ON i.id = e.installation \
         WHERE e.event_id = '{event}'"
    );
    let raw = world.raw().await;
    let statement = Statement::from_string(raw.get_database_backend(), text);
    let rows = raw.query_all_raw(statement).await.unwrap();
    rows.into_iter().map(|row| row.try_get_by_index(0).unwrap()).collect()
}

/// Whether an event that is signed with this secret counts for the app.
async fn counts(world: &World, app: &SandboxApp, secret: &str) -> bool {
    static EVENTS: AtomicU32 = AtomicU32::new(0);
    let id = format!("EvCounts{}", EVENTS.fetch_add(1, Ordering::Relaxed));
    let address = app.events_url.as_ref().unwrap();
    let answer = post(address, secret, &event(&id, &app.app_id)).await;
    // Slack is not asked to stop: by its next try the tenant may have set the new secret.
    assert!(!answer.headers().contains_key("x-slack-no-retry"));
    let counted = taken_for(world, &id).await.len() == 1;
    assert_eq!(counted, answer.status() == StatusCode::OK);
    counted
}

async fn installations(world: &World, app_id: &str) -> i64 {
    world.count(&format!("SELECT COUNT(*) FROM installations WHERE app_id = '{app_id}'")).await
}

/// The app id and the app path of the tenant's installation belong together.
pub(super) async fn connected_by(world: &World, tenant: &str, app_id: &str) -> bool {
    let by = format!(
        "SELECT COUNT(*) FROM tenant_links l JOIN installations i ON i.id = l.installation \
         LEFT JOIN slack_app_paths p ON p.tenant = l.tenant \
         WHERE l.tenant = '{tenant}' AND i.app_id = '{app_id}' \
         AND i.app_path = CASE WHEN '{app_id}' = '{}' THEN '' ELSE p.path END",
        sandbox::Config::default().app_id
    );
    world.count(&by).await == 1
}

#[tokio::test]
async fn secrets_are_kept_and_never_returned() {
    fresh()
        .run(async |world| {
            assert_eq!(get(world, OWN).await.unwrap_err().code(), Code::NotFound);
            let app = make_app(world, OWN).await;
            let shown = get(world, OWN).await.unwrap();
            assert_eq!((&shown.app_id, &shown.client_id), (&app.app_id, &app.client_id));
            assert_eq!(shown.previous_until, None);
            let base = format!("http://{}/slack/apps/", world.replicas[0].http);
            let path = shown.events_url.strip_prefix(&base).unwrap().strip_suffix("/events");
            let path = path.expect("an address of events");
            assert_eq!(path.len(), 22);
            assert_eq!(shown.redirect_url, format!("{base}{path}/oauth/callback"));
            assert_eq!(shown.interactions_url, format!("{base}{path}/interactions"));
            let said = format!("{shown:?}");
            assert!(!said.contains(&app.client_secret) && !said.contains(&app.signing_secret));
            // Another tenant has other addresses.
            make_app(world, OTHER).await;
            let other = get(world, OTHER).await.unwrap();
            assert_ne!(other.events_url, shown.events_url);
            // Forgotten, and set again at the same addresses.
            delete(world, OWN, false).await.unwrap();
            assert_eq!(get(world, OWN).await.unwrap_err().code(), Code::NotFound);
            assert_eq!(delete(world, OWN, false).await.unwrap_err().code(), Code::NotFound);
            assert_eq!(set(world, with(OWN, &app)).await.events_url, shown.events_url);
        })
        .await;
}

#[tokio::test]
async fn every_bad_field_is_named() {
    fresh()
        .run(async |world| {
            let bad = pb::SetSlackAppRequest {
                tenant_id: OWN.into(),
                app_id: "T1".into(),
                client_id: "one".into(),
                client_secret: "with space".into(),
                signing_secret: "s".repeat(129),
                keep_previous: Some(prost_types::Duration { seconds: 8 * 86_400, nanos: 0 }),
                actor: None,
            };
            let named = async |request| {
                let refused = world.client.set_slack_app(request).await.unwrap_err();
                assert_eq!(refused.code(), Code::InvalidArgument);
                let details = refused.get_error_details();
                let bad = details.bad_request().unwrap().field_violations.clone();
                bad.into_iter().map(|bad| bad.field).collect::<Vec<_>>().join(" ")
            };
            let all = "app_id client_id client_secret signing_secret keep_previous";
            assert_eq!(named(bad.clone()).await, all);
            // A new app needs both secrets.
            let none = pb::SetSlackAppRequest {
                app_id: "A1".into(),
                client_id: "1.2".into(),
                client_secret: String::new(),
                signing_secret: String::new(),
                keep_previous: None,
                ..bad
            };
            assert_eq!(named(none).await, "client_secret signing_secret");
            assert_eq!(get(world, OWN).await.unwrap_err().code(), Code::NotFound);
        })
        .await;
}

/// Three apps in one workspace: the deployment's, and those of two tenants. A request counts only
/// if address, secret and app id are of one app, and then only for its own installation.
#[tokio::test]
async fn what_is_signed_for_one_app_never_counts_for_another() {
    for_each_database(async |world| {
        let slack = sandbox::Config::default();
        let events = format!("http://{}/slack/events", world.replicas[0].http);
        let mut apps = vec![(events, slack.signing_secret.expose().to_owned(), slack.app_id)];
        for tenant in [OWN, OTHER] {
            let app = make_app(world, tenant).await;
            assert_eq!(world.connect(tenant).await.status, 200);
            assert!(connected_by(world, tenant, &app.app_id).await);
            apps.push((app.events_url.unwrap(), app.signing_secret, app.app_id));
        }
        assert!(connected_by(world, TENANT, &apps[0].2).await);
        for (at, (address, ..)) in apps.iter().enumerate() {
            for (signer, (_, secret, _)) in apps.iter().enumerate() {
                for (named, (_, _, app_id)) in apps.iter().enumerate() {
                    let id = format!("Ev{at}{signer}{named}");
                    let answer = post(address, secret, &event(&id, app_id)).await;
                    let theirs = at == signer;
                    let status = if theirs { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
                    assert_eq!(answer.status(), status, "{id}");
                    let counts = theirs && signer == named;
                    let wanted: Vec<_> = counts.then(|| app_id.clone()).into_iter().collect();
                    assert_eq!(taken_for(world, &id).await, wanted, "{id}");
                }
            }
        }
    })
    .await;
}

/// A tenant may write any app id into its own settings. It then speaks for that app at its own
/// address only, where the app has no installation.
#[tokio::test]
async fn the_id_of_another_app_gives_no_voice_in_it() {
    for_each_database(async |world| {
        let slack = sandbox::Config::default();
        let app = make_app(world, OWN).await;
        let borrowed = SandboxApp { app_id: slack.app_id.clone(), ..app.clone() };
        let shown = set(world, with(OWN, &borrowed)).await;
        let forged = event("Ev1", &slack.app_id);
        let answer = post(&shown.events_url, &app.signing_secret, &forged).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(taken_for(world, "Ev1").await.is_empty());
        // Its own credentials install its own app, which the page refuses to take for the other.
        let before = installations(world, &slack.app_id).await;
        let page = world.connect(OWN).await;
        assert_eq!(page.status, 502, "{}", page.html);
        assert!(page.html.contains("app_id_mismatch"), "{}", page.html);
        assert_eq!(installations(world, &slack.app_id).await, before);
        assert_eq!(installations(world, &app.app_id).await, 0);
    })
    .await;
}

#[tokio::test]
async fn an_answer_at_the_address_of_another_app_is_not_one_to_the_attempt() {
    fresh()
        .run(async |world| {
            let apps = [make_app(world, OWN).await, make_app(world, OTHER).await];
            let link = world.client.begin_connect(OWN).await.unwrap().authorize_url;
            let mut browser = Browser::new().unwrap();
            let start = browser.open(&Url::parse(&link).unwrap()).await.unwrap();
            let consent = start.way_to_slack().unwrap();
            let asked = consent.query_pairs().find(|(key, _)| key == "client_id").unwrap().1;
            assert_eq!(asked, apps[0].client_id);
            let back = browser.consent(&consent, Decision::Allow).await.unwrap().back().unwrap();
            let [own, other] = apps.each_ref().map(|app| app.redirect_urls[0].clone());
            assert!(back.as_str().starts_with(&own), "{back}");
            let shared = format!("http://{}/slack/oauth/callback", world.replicas[0].http);
            let unknown = own.replace("/oauth", "x/oauth");
            for wrong in [&other, &shared, &unknown] {
                let wrong = Url::parse(&back.as_str().replace(&own, wrong)).unwrap();
                let page = browser.open(&wrong).await.unwrap();
                assert_eq!(page.status, 400, "{wrong}: {}", page.html);
            }
            // None of them used the link up. (The page of an unknown link removes its cookie.)
            browser.open(&Url::parse(&link).unwrap()).await.unwrap();
            let page = browser.open(&back).await.unwrap();
            assert_eq!(page.status, 200, "{}", page.html);
            assert!(connected_by(world, OWN, &apps[0].app_id).await);
            assert_eq!(installations(world, &apps[1].app_id).await, 0);
        })
        .await;
}

#[tokio::test]
async fn a_signing_secret_is_exchanged_without_a_gap() {
    fresh()
        .run(async |world| {
            let app = make_app(world, OWN).await;
            assert_eq!(world.connect(OWN).await.status, 200);
            let taken = async |secret: &str| counts(world, &app, secret).await;
            assert!(taken(&app.signing_secret).await && !taken("new-secret").await);

            let only = |signing: &str| pb::SetSlackAppRequest {
                client_secret: String::new(),
                signing_secret: signing.into(),
                ..with(OWN, &app)
            };
            let shown = set(world, only("new-secret")).await;
            let until = shown.previous_until.unwrap().seconds - shown.updated_at.unwrap().seconds;
            assert!((86_390..=86_410).contains(&until), "{until}");
            assert!(taken("new-secret").await && taken(&app.signing_secret).await);
            // A repeated call does not forget the secret before.
            set(world, only("new-secret")).await;
            assert!(taken(&app.signing_secret).await);

            let end = "UPDATE slack_apps SET previous_signing_until = 1";
            world.execute(end).await.unwrap();
            assert!(taken("new-secret").await && !taken(&app.signing_secret).await);
            assert_eq!(get(world, OWN).await.unwrap().previous_until, None);
            // Or at once.
            let none = Some(prost_types::Duration { seconds: 0, nanos: 0 });
            set(world, pb::SetSlackAppRequest { keep_previous: none, ..only("third") }).await;
            assert!(taken("third").await && !taken("new-secret").await);
        })
        .await;
}

#[tokio::test]
async fn a_client_secret_is_exchanged_without_a_gap() {
    fresh()
        .run(async |world| {
            let app = make_app(world, OWN).await;
            world.sandbox.regenerate_client_secret(&app.app_id);
            assert_eq!(world.connect(OWN).await.status, 200, "Slack takes the old one");
            let new = in_slack(world, &app.app_id);
            assert_ne!(new.client_secret, app.client_secret);
            set(world, with(OWN, &new)).await;
            assert_eq!(world.connect(OWN).await.status, 200);
            // One that Slack does not know: the one before still works.
            let wrong = SandboxApp { client_secret: "mistyped".into(), ..new.clone() };
            set(world, with(OWN, &wrong)).await;
            assert_eq!(world.connect(OWN).await.status, 200);
            let none = Some(prost_types::Duration { seconds: 0, nanos: 0 });
            let request = pb::SetSlackAppRequest { keep_previous: none, ..with(OWN, &wrong) };
            set(world, request).await;
            let page = world.connect(OWN).await;
            assert_eq!(page.status, 502, "{}", page.html);
            assert!(page.html.contains("bad_client_secret"), "{}", page.html);
        })
        .await;
}

/// From the deployment's app to an own one, and on to another: each connection stays until the next
/// one, with its events.
#[tokio::test]
async fn a_workspace_stays_connected_by_the_app_before() {
    for_each_database(async |world| {
        let slack = sandbox::Config::default();
        let shared = format!("http://{}/slack/events", world.replicas[0].http);
        let secret = slack.signing_secret.expose();
        let first = make_app(world, TENANT).await;
        assert!(connected_by(world, TENANT, &slack.app_id).await);
        post(&shared, secret, &event("Ev1", &slack.app_id)).await;
        assert_eq!(taken_for(world, "Ev1").await, *std::slice::from_ref(&slack.app_id));

        assert_eq!(world.connect(TENANT).await.status, 200);
        assert!(connected_by(world, TENANT, &first.app_id).await);
        let second = make_app(world, TENANT).await;
        assert_eq!(second.events_url, first.events_url, "the tenant keeps its addresses");
        assert!(connected_by(world, TENANT, &first.app_id).await);
        let url = first.events_url.clone().unwrap();
        post(&url, &first.signing_secret, &event("Ev2", &first.app_id)).await;
        assert_eq!(taken_for(world, "Ev2").await, *std::slice::from_ref(&first.app_id));

        assert_eq!(world.connect(TENANT).await.status, 200);
        assert!(connected_by(world, TENANT, &second.app_id).await);
        // Its secret, which is still known, gives no voice in the app that follows it.
        post(&url, &first.signing_secret, &event("EvBetween", &second.app_id)).await;
        assert!(taken_for(world, "EvBetween").await.is_empty());
        // The next change forgets the app that no connection uses.
        set(world, with(TENANT, &second)).await;
        let late = post(&url, &first.signing_secret, &event("Ev3", &first.app_id)).await;
        assert_eq!(late.status(), StatusCode::UNAUTHORIZED);
        post(&url, &second.signing_secret, &event("Ev4", &second.app_id)).await;
        assert_eq!(taken_for(world, "Ev4").await, *std::slice::from_ref(&second.app_id));
    })
    .await;
}

#[tokio::test]
async fn an_app_in_use_is_not_forgotten_by_accident() {
    fresh()
        .run(async |world| {
            let app = make_app(world, OWN).await;
            let link = world.client.begin_connect(OWN).await.unwrap().authorize_url;
            assert_eq!(world.connect(OWN).await.status, 200);
            let refused = delete(world, OWN, false).await.unwrap_err();
            assert_eq!(refused.code(), Code::FailedPrecondition);
            let details = refused.get_error_details();
            assert_eq!(details.error_info().unwrap().reason, "APP_IN_USE");
            assert!(connected_by(world, OWN, &app.app_id).await);

            delete(world, OWN, true).await.unwrap();
            assert!(world.client.workspace(OWN).await.unwrap().workspace.is_none());
            let gone =
                post(app.events_url.as_ref().unwrap(), &app.signing_secret, &json!({})).await;
            assert_eq!(gone.status(), StatusCode::UNAUTHORIZED);
            // A link of the forgotten app leads nowhere; a new one uses the deployment's.
            let page = world.decide(&link, Decision::Allow).await;
            assert_eq!(page.status, 400, "{}", page.html);
            assert_eq!(world.connect(OWN).await.status, 200);
            assert!(connected_by(world, OWN, &sandbox::Config::default().app_id).await);
        })
        .await;
}

/// Slack checks the address while it saves the manifest, before Herald knows the secrets.
#[tokio::test]
async fn the_address_of_events_answers_slack_s_check() {
    fresh()
        .run(async |world| {
            let app = make_app(world, OWN).await;
            let url = app.events_url.unwrap();
            let check = json!({ "token": "t", "challenge": "ch4ll<>", "type": "url_verification" });
            let answer = post(&url, "not-known-yet", &check).await;
            assert_eq!(answer.status(), StatusCode::OK);
            assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/plain"));
            assert_eq!(answer.text().await.unwrap(), "ch4ll<>");
            let shared = format!("http://{}/slack/events", world.replicas[0].http);
            let unknown = url.replace("/slack/apps/", "/slack/apps/x");
            let none = url.replace(url.rsplit('/').nth(1).unwrap(), &"A".repeat(22));
            for closed in [shared, unknown, none] {
                let answer = post(&closed, "not-known-yet", &check).await;
                assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{closed}");
            }
            let long = json!({ "type": "url_verification", "challenge": "c".repeat(1024) });
            let answer = post(&url, "not-known-yet", &long).await;
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        })
        .await;
}
