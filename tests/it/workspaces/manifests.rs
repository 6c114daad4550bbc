//! Manifests of tenants' own Slack apps, and the features that they ask for.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use herald::domain::features::{self, FEATURES};
use herald::rpc::pb::{self, DeliveryState, FeatureState, ManifestAction};
use herald::sandbox::browser::{Browser, Decision};
use herald::sandbox::{Fault, FaultKind};
use serde_json::{Value, json};
use tonic::{Code, Status};
use url::Url;

use crate::events::caller;
use crate::support::client::{bad_fields, reason, task};
use crate::support::world::{Plan, TENANT, World};

/// A tenant with an app of its own.
const OWN: &str = "globex";

fn fresh() -> Plan {
    Plan { ready: false, ..Plan::default() }
}

fn request(tenant: &str, features: &[&str]) -> pb::CreateSlackAppManifestRequest {
    pb::CreateSlackAppManifestRequest {
        tenant_id: tenant.into(),
        features: features.iter().map(ToString::to_string).collect(),
        ..Default::default()
    }
}

/// The same with a question to Slack.
fn asking(action: ManifestAction, token: &str) -> pb::CreateSlackAppManifestRequest {
    let configuration_token = token.to_owned();
    let action = action.into();
    pb::CreateSlackAppManifestRequest { configuration_token, action, ..request(OWN, &[]) }
}

async fn make(
    world: &World,
    request: pb::CreateSlackAppManifestRequest,
) -> Result<pb::CreateSlackAppManifestResponse, Status> {
    world.client.create_slack_app_manifest(request).await
}

fn read(answer: &pb::CreateSlackAppManifestResponse) -> Value {
    serde_json::from_str(&answer.manifest).unwrap()
}

/// An app configuration token.
async fn token(world: &World) -> String {
    let url = world.sandbox.url().join("_sandbox/tokens").unwrap();
    let issue = json!({ "do": "issue_configuration" });
    let issued: Value = caller().post(url).json(&issue).send().await.unwrap().json().await.unwrap();
    issued["token"].as_str().unwrap().to_owned()
}

async fn own_app(world: &World) -> Result<pb::SlackApp, Status> {
    let request = pb::GetSlackAppRequest { tenant_id: OWN.into(), actor: None };
    world.client.get_slack_app(request).await.map(|answer| answer.app.unwrap())
}

/// The scopes for which the page behind a connect link asks Slack.
async fn asked(link: &str) -> BTreeSet<String> {
    let page = Browser::new().unwrap().open(&Url::parse(link).unwrap()).await.unwrap();
    let way = page.way_to_slack().unwrap();
    let scope = way.query_pairs().find(|(key, _)| key == "scope").unwrap().1.into_owned();
    scope.split(',').map(str::to_owned).collect()
}

#[tokio::test]
async fn a_manifest_has_the_tenants_own_addresses_and_the_wanted_features() {
    fresh()
        .run(async |world| {
            let all = make(world, request(OWN, &[])).await.unwrap();
            let manifest = read(&all);
            let redirect = manifest["oauth_config"]["redirect_urls"][0].as_str().unwrap();
            let events = manifest["settings"]["event_subscriptions"]["request_url"].as_str();
            let (redirect, events) = (redirect.to_owned(), events.unwrap().to_owned());
            let path = redirect.strip_suffix("/oauth/callback").unwrap();
            assert_eq!(events, format!("{path}/events"));
            let interactions = &manifest["settings"]["interactivity"]["request_url"];
            assert_eq!(*interactions, json!(format!("{path}/interactions")));
            assert!(path.contains("/slack/apps/"), "{path}");
            let used = features::in_use(&[]);
            let scopes = &manifest["oauth_config"]["scopes"];
            assert_eq!(scopes["bot"], json!(features::scopes(&used)));
            assert_eq!(scopes["bot_optional"], json!(features::optional_scopes(&used)));
            assert_eq!(manifest["display_information"]["name"], "Herald");
            assert!(all.steps.iter().any(|step| step.contains("SetSlackApp")), "{:?}", all.steps);
            assert!(all.done.is_empty() && all.app.is_none() && all.errors.is_empty());

            // The addresses stay, and each tenant has others.
            let wanted = request(OWN, &["members", "events"]);
            let named = pb::CreateSlackAppManifestRequest { name: "Campus".into(), ..wanted };
            let some = read(&make(world, named).await.unwrap());
            assert_eq!(some["oauth_config"]["redirect_urls"][0], json!(redirect));
            assert_eq!(
                some["oauth_config"]["scopes"],
                json!({ "bot": ["chat:write", "users:read"] })
            );
            assert_eq!(some["display_information"]["name"], "Campus");
            let other = read(&make(world, request("initech", &[])).await.unwrap());
            assert_ne!(other["oauth_config"]["redirect_urls"][0], json!(redirect));
            assert!(world.sandbox.log().is_empty(), "Slack was not to be asked");
        })
        .await;
}

#[tokio::test]
async fn each_bad_field_is_named() {
    fresh()
        .run(async |world| {
            let bad = async |request| bad_fields(&make(world, request).await.unwrap_err());
            let base = || request(OWN, &[]);
            let with = |token: &str| pb::CreateSlackAppManifestRequest {
                configuration_token: token.into(),
                ..base()
            };
            assert_eq!(bad(request(OWN, &["members", "nope"])).await, ["features[1]"]);
            assert_eq!(bad(request(OWN, &["members", "members"])).await, ["features[1]"]);
            let name = "n".repeat(36);
            let named = pb::CreateSlackAppManifestRequest { name, ..base() };
            assert_eq!(bad(named).await, ["name"]);
            let name = "two\nlines".into();
            let named = pb::CreateSlackAppManifestRequest { name, ..base() };
            assert_eq!(bad(named).await, ["name"]);
            assert_eq!(bad(with("xoxe.xoxp-1-abc")).await, ["action"]);
            let create = asking(ManifestAction::Create, "");
            assert_eq!(bad(create).await, ["configuration_token"]);
            for token in ["xoxb-1", "xoxe.xoxp-1 2", &format!("xoxe.xoxp-{}", "a".repeat(1100))] {
                let create = asking(ManifestAction::Create, token);
                assert_eq!(bad(create).await, ["configuration_token"], "{token}");
            }
            let unknown = pb::CreateSlackAppManifestRequest { action: 9, ..base() };
            assert_eq!(bad(unknown).await, ["action"]);
            assert!(world.sandbox.log().is_empty(), "Slack was not to be asked");
        })
        .await;
}

/// From the token to a connected workspace: no one copies a secret.
#[tokio::test]
async fn slack_validates_creates_and_updates_the_tenants_app() {
    fresh()
        .run(async |world| {
            let token = token(world).await;
            let ask = async |action| make(world, asking(action, &token)).await;
            let checked = ask(ManifestAction::Validate).await.unwrap();
            assert!(!checked.done.is_empty() && checked.errors.is_empty() && checked.app.is_none());
            assert_eq!(own_app(world).await.unwrap_err().code(), Code::NotFound);
            let early = ask(ManifestAction::Update).await.unwrap_err();
            assert_eq!(early.code(), Code::NotFound);

            let created = ask(ManifestAction::Create).await.unwrap();
            let app = own_app(world).await.unwrap();
            assert_eq!(created.app.as_ref(), Some(&app));
            assert!(created.done.contains(&app.app_id), "{}", created.done);
            let redirect = &read(&created)["oauth_config"]["redirect_urls"][0];
            assert_eq!(*redirect, json!(app.redirect_url));

            let page = world.decide(&created.authorize_url, Decision::Allow).await;
            assert_eq!(page.status, 200, "{}", page.html);
            let workspace = world.client.workspace(OWN).await.unwrap().workspace.unwrap();
            assert_eq!(workspace.app_id, app.app_id);

            // A second app would be one too many, for example after a lost answer.
            let again = ask(ManifestAction::Create).await.unwrap_err();
            assert_eq!(reason(&again), "SLACK_APP_EXISTS");
            assert_eq!(world.calls("apps.manifest.create").len(), 1);

            let fewer = pb::CreateSlackAppManifestRequest {
                features: vec!["members".into()],
                ..asking(ManifestAction::Update, &token)
            };
            let fewer = make(world, fewer).await.unwrap();
            assert!(fewer.done.contains("connect the workspace again"), "{}", fewer.done);
            assert!(fewer.done.contains("/oauth_config/scopes/bot"), "{}", fewer.done);
            assert_eq!(fewer.app.as_ref(), Some(&app));
            let checked = ask(ManifestAction::Validate).await.unwrap();
            assert!(checked.done.contains("would change"), "{}", checked.done);
            ask(ManifestAction::Update).await.unwrap();
            let same = ask(ManifestAction::Update).await.unwrap();
            assert!(same.done.contains("already"), "{}", same.done);
            assert_eq!(world.calls("apps.manifest.update").len(), 2, "not for the same manifest");
        })
        .await;
}

/// Slack takes a while to create the app. Red without `begin_making` in
/// `app/slack_app_manifest.rs`.
#[tokio::test(flavor = "multi_thread")]
async fn two_calls_at_once_make_one_app() {
    fresh()
        .run(async |world| {
            let token = token(world).await;
            let slow = Fault::new("apps.manifest.create", FaultKind::Delay { seconds: 2.0 });
            world.sandbox.script(slow.after().times(1));
            let create = || make(world, asking(ManifestAction::Create, &token));
            let second = async {
                world.called("apps.manifest.create", 1).await;
                create().await
            };
            let (first, second) = tokio::join!(create(), second);
            assert!(first.unwrap().app.is_some());
            assert_eq!(second.unwrap_err().code(), Code::Aborted);
            assert_eq!(world.calls("apps.manifest.create").len(), 1);
            let third = make(world, asking(ManifestAction::Create, &token)).await.unwrap_err();
            assert_eq!(reason(&third), "SLACK_APP_EXISTS", "the right was given back");
        })
        .await;
}

#[tokio::test]
async fn a_refusal_of_slack_changes_nothing_and_says_why() {
    fresh()
        .run(async |world| {
            let foreign = asking(ManifestAction::Create, "xoxe.xoxp-1-none");
            let refused = make(world, foreign).await.unwrap_err();
            assert_eq!(bad_fields(&refused), ["configuration_token"]);

            let token = token(world).await;
            let create = asking(ManifestAction::Create, &token);
            for code in ["invalid_manifest", "no_permission"] {
                let kind = FaultKind::Error { code: code.into() };
                world.sandbox.script(Fault::new("apps.manifest.create", kind).times(1));
                let answer = make(world, create.clone()).await.unwrap();
                assert_eq!(answer.errors.len(), 1, "{answer:?}");
                assert!(answer.errors[0].message.contains(code), "{answer:?}");
                assert!(answer.done.is_empty() && answer.app.is_none());
            }
            assert_eq!(own_app(world).await.unwrap_err().code(), Code::NotFound);

            // The app may exist: another try could make a second one.
            let lost = Fault::new("apps.manifest.create", FaultKind::Reset).times(1).after();
            world.sandbox.script(lost);
            let unclear = make(world, create).await.unwrap_err();
            assert_eq!(reason(&unclear), "SLACK_OUTCOME_UNKNOWN");
            assert_eq!(own_app(world).await.unwrap_err().code(), Code::NotFound);
        })
        .await;
}

#[tokio::test]
async fn a_feature_that_is_switched_off_is_shown_and_asked_for_nowhere() {
    let adjust = |settings: &mut herald::config::Settings| {
        settings.app.features_off = vec!["channels".into()];
    };
    let plan = Plan { adjust, ..fresh() };
    plan.run(async |world| {
        let link = world.client.begin_connect(TENANT).await.unwrap().authorize_url;
        assert!(!asked(&link).await.contains("channels:manage"));
        world.make_ready().await;
        let workspace = world.client.workspace(TENANT).await.unwrap().workspace.unwrap();
        assert!(workspace.missing_scopes.is_empty(), "{workspace:?}");
        let off: Vec<&str> = workspace
            .features
            .iter()
            .filter(|feature| feature.state() == FeatureState::Off)
            .map(|feature| feature.code.as_str())
            .collect();
        assert_eq!(off, ["channels"]);
        assert_eq!(workspace.features.len(), FEATURES.len());

        let manifest = make(world, request(TENANT, &[])).await.unwrap();
        assert!(!manifest.manifest.contains("channels:manage"));
        let refused = make(world, request(TENANT, &["channels"])).await.unwrap_err();
        assert_eq!(bad_fields(&refused), ["features[0]"]);
        let wanted = pb::BeginConnectRequest {
            tenant_id: TENANT.into(),
            features: vec!["messages".into(), "channels".into()],
            ..Default::default()
        };
        let refused = world.client.begin_connect_as(wanted).await.unwrap_err();
        assert_eq!(bad_fields(&refused), ["features[1]"]);

        let wish = pb::ChannelWish { name: "Course".into(), ..Default::default() };
        let ensure = pb::EnsureChannelRequest {
            tenant_id: TENANT.into(),
            channel_key: "course".into(),
            wish: Some(wish),
            ..Default::default()
        };
        let refused = world.client.ensure_channel(ensure).await.unwrap_err();
        assert_eq!(reason(&refused), "FEATURE_OFF");
    })
    .await;
}

/// A person may refuse optional scopes: that is shown, and the rest works.
#[tokio::test]
async fn optional_scopes_that_a_workspace_refuses_are_shown_and_the_rest_works() {
    fresh()
        .run(async |world| {
            let all = features::in_use(&[]);
            let optional = features::optional_scopes(&all);
            let required = features::scopes(&all);
            let required = required.into_iter().filter(|scope| !optional.contains(scope));
            let required: Vec<String> = required.map(str::to_owned).collect();
            world.sandbox.configure(|options| options.granted_scopes = Some(required));
            world.make_ready().await;
            let workspace = world.client.workspace(TENANT).await.unwrap().workspace.unwrap();
            for feature in &workspace.features {
                let of = features::find(&feature.code).unwrap();
                let waits = of.scopes.iter().any(|scope| optional.contains(scope));
                let state = if waits { FeatureState::WaitsForScopes } else { FeatureState::On };
                assert_eq!(feature.state(), state, "{feature:?}");
                assert_eq!(feature.missing_scopes.is_empty(), !waits, "{feature:?}");
                assert!(feature.optional || !waits, "{feature:?}");
            }
            world.client.load(&["ben"]).await;
            let id = world.client.notify(task("1", &["ben"])).await.unwrap().notification_id;
            assert_eq!(world.client.ended(TENANT, &id).await[0].state(), DeliveryState::Sent);
        })
        .await;
}

#[tokio::test]
async fn calls_at_the_same_time_get_the_same_addresses() {
    fresh()
        .run(async |world| {
            let calls = (0..4).map(|_| make(world, request(OWN, &[])));
            let answers: Vec<_> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
            assert!(answers.iter().all(|answer| answer.manifest == answers[0].manifest));
        })
        .await;
}
