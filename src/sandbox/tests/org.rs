//! Installations: org-wide ones, exchanged tokens, approvals, and apps made from manifests.

use serde_json::{Value, json};

use super::{Config, Slack, config, start};

const APP: (&str, &str) = ("1234567890.0987654321", "sandbox-client-secret");

/// The authorize page's answer to this decision.
async fn decide(slack: &Slack, decision: &str) -> reqwest::Response {
    let form = [
        ("client_id", APP.0),
        ("scope", "users:read"),
        ("redirect_uri", "https://app.example/cb"),
        ("decision", decision),
    ];
    slack.http.post(slack.at("oauth/v2/authorize")).form(&form).send().await.unwrap()
}

async fn as_app(slack: &Slack, method: &str, form: &[(&str, &str)]) -> Value {
    let request =
        slack.http.post(slack.at(&format!("api/{method}"))).basic_auth(APP.0, Some(APP.1));
    request.form(form).send().await.unwrap().json().await.unwrap()
}

async fn install(slack: &Slack) -> Value {
    let location = decide(slack, "allow").await.headers()["location"].clone();
    let location = url::Url::parse(location.to_str().unwrap()).unwrap();
    let code = location.query_pairs().find(|(key, _)| key == "code").unwrap().1.into_owned();
    let form = [("code", code.as_str()), ("redirect_uri", "https://app.example/cb")];
    as_app(slack, "oauth.v2.access", &form).await
}

#[tokio::test]
async fn an_org_wide_token_names_the_workspace_in_each_call() {
    let slack = start(config()).await;
    slack.sandbox.revoke_token(None, "token_revoked");
    slack.sandbox.configure(|options| options.org_wide = true);
    let granted = install(&slack).await;
    assert_eq!((&granted["team"], &granted["is_enterprise_install"]), (&Value::Null, &json!(true)));
    let enterprise = granted["enterprise"]["id"].as_str().unwrap().to_owned();
    let token = granted["access_token"].as_str().unwrap().to_owned();
    let slack = Slack { token, ..slack };
    let test = slack.form("auth.test", &[]).await;
    assert_eq!(
        (&test["is_enterprise_install"], &test["enterprise_id"]),
        (&json!(true), &json!(enterprise))
    );
    assert_eq!(slack.form("users.list", &[]).await["error"], "missing_argument");
    let teams = slack.form("auth.teams.list", &[]).await;
    let team = teams["teams"][0]["id"].as_str().unwrap().to_owned();
    let named = [("team_id", team.as_str())];
    assert_eq!(slack.form("users.list", &named).await["ok"], true);
    slack.control("_sandbox/team-access", json!({ "granted": false })).await;
    assert_eq!(slack.form("users.list", &named).await["error"], "team_access_not_granted");
    assert_eq!(slack.form("auth.teams.list", &[]).await["teams"], json!([]));
}

#[tokio::test]
async fn a_token_is_exchanged_once_for_a_pair_that_expires() {
    let slack = start(config()).await;
    let form = [("token", slack.token.as_str())];
    let refused = as_app(&slack, "oauth.v2.exchange", &form).await;
    assert_eq!(refused["error"], "token_rotation_not_enabled");
    slack.sandbox.configure(|options| options.token_rotation = true);
    let pair = as_app(&slack, "oauth.v2.exchange", &form).await;
    assert_eq!((&pair["ok"], &pair["expires_in"]), (&json!(true), &json!(43_200)), "{pair}");
    assert_eq!(
        as_app(&slack, "oauth.v2.exchange", &form).await["error"],
        "token_already_exchanged"
    );
    assert_eq!(slack.form("auth.test", &[]).await["error"], "token_revoked");
}

#[tokio::test]
async fn after_an_approval_the_person_begins_again() {
    let slack = start(config()).await;
    slack.sandbox.configure(|options| options.require_approval = true);
    assert!(decide(&slack, "request").await.headers().get("location").is_none());
    let requests = slack.read("_sandbox/approvals").await;
    assert_eq!(requests[0]["scopes"], json!(["users:read"]));
    let decision = format!("_sandbox/approvals/{}", requests[0]["id"].as_str().unwrap());
    slack.control(&decision, json!({ "approve": false })).await;
    assert!(decide(&slack, "allow").await.headers().get("location").is_none());
    slack.control(&decision, json!({ "approve": true })).await;
    assert_eq!(install(&slack).await["ok"], true);
}

#[tokio::test]
async fn apps_are_made_with_a_configuration_token() {
    let slack = start(config()).await;
    let manifest = json!({ "display_information": { "name": "Herald" },
        "oauth_config": { "scopes": { "bot": ["chat:write"] } } });
    let bot = slack.json("apps.manifest.create", json!({ "manifest": manifest })).await;
    assert_eq!(bot["error"], "not_allowed_token_type");
    let issued = slack.control("_sandbox/tokens", json!({ "do": "issue_configuration" })).await;
    let slack = Slack { token: issued["token"].as_str().unwrap().to_owned(), ..slack };
    // As a string, which is what Slack's SDKs send.
    let made = slack.form("apps.manifest.create", &[("manifest", &manifest.to_string())]).await;
    assert!(made["credentials"]["signing_secret"].is_string(), "{made}");
    let id = &made["app_id"];
    let mut other = manifest.clone();
    other["oauth_config"]["scopes"]["bot"] = json!(["chat:write", "im:write"]);
    let body = json!({ "app_id": id, "manifest": other });
    assert_eq!(slack.json("apps.manifest.update", body).await["permissions_updated"], true);
    let exported = slack.json("apps.manifest.export", json!({ "app_id": id })).await;
    assert_eq!(exported["manifest"], other);
    other["display_information"]["name"] = json!("x".repeat(36));
    let refused = slack.json("apps.manifest.validate", json!({ "manifest": other })).await;
    assert_eq!(refused["error"], "invalid_manifest");
    assert_eq!(refused["errors"][0]["pointer"], "/display_information/name");
    assert_eq!(slack.json("apps.manifest.delete", json!({ "app_id": id })).await["ok"], true);
    let gone = slack.json("apps.manifest.export", json!({ "app_id": id })).await;
    assert_eq!(gone["error"], "invalid_app_id");
}

#[tokio::test]
async fn people_are_sent_back_to_the_apps_own_addresses_only() {
    let own = "https://app.example/cb";
    let slack = start(Config { redirect_urls: vec![own.into()], ..config() }).await;
    let decided = async |redirect: &str| {
        let form = [
            ("client_id", APP.0),
            ("scope", "users:read"),
            ("redirect_uri", redirect),
            ("decision", "allow"),
        ];
        slack.http.post(slack.at("oauth/v2/authorize")).form(&form).send().await.unwrap()
    };
    // The first registered one if none is named.
    for (named, back) in [("", own), (own, own), ("https://app.example/cb/x?y=1", own)] {
        let answer = decided(named).await;
        let location = answer.headers()["location"].to_str().unwrap().to_owned();
        assert!(location.starts_with(back), "{named}: {location}");
    }
    for foreign in [
        "https://app.example/cbx",
        "https://app.example/",
        "https://evil.example/cb",
        "https://app.example/cb#x",
        "http://127.0.0.1:9/cb",
    ] {
        let answer = decided(foreign).await;
        assert_eq!((answer.status().as_u16(), answer.headers().get("location")), (400, None));
        let page = answer.text().await.unwrap();
        assert!(page.contains("bad_redirect_uri"), "{foreign}: {page}");
    }
}

#[tokio::test]
async fn an_app_that_is_uninstalled_is_told_so_and_its_tokens_are_dead() {
    let slack = start(config()).await;
    let app = [("client_id", APP.0), ("client_secret", APP.1)];
    assert_eq!(slack.form("apps.uninstall", &app).await["uninstalled"], true);
    assert_eq!(slack.form("auth.test", &[]).await["error"], "account_inactive");
}
