//! Connecting as the platform's settings page needs it: the way back with the outcome, the expected
//! workspace, permissions by feature, and the streams of states.

use std::collections::{BTreeMap, BTreeSet};

use herald::config::Settings;
use herald::domain::features;
use herald::rpc::pb::{self, ConnectState, ConnectionState, WorkspaceState};
use herald::rpc::{CallerConfig, RoleConfig};
use herald::sandbox::browser::{self, Decision, Page};
use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use serde_json::json;
use tonic::{Code, Streaming};
use url::Url;

use crate::support::client::{bad_fields, reason, task};
use crate::support::world::{PATIENCE, Plan, TENANT, World, caller};

const PLATFORM: &str = "https://platform.example.com";
/// The workspace of the sandbox.
const TEAM: &str = "T0SANDBOX01";

fn fresh() -> Plan {
    let adjust = |settings: &mut Settings| {
        settings.http.return_origins = vec![PLATFORM.to_owned()];
        "Acme Learning".clone_into(&mut settings.app.display_name);
    };
    Plan { ready: false, adjust, ..Plan::default() }
}

/// A person's browser, which does not follow redirects.
struct Person {
    client: reqwest::Client,
    cookie: Option<String>,
}

/// An answer to the browser.
struct Seen {
    page: Page,
    location: Option<Url>,
}

impl Person {
    fn new() -> Self {
        let no_redirect = reqwest::redirect::Policy::none();
        let client = reqwest::Client::builder().redirect(no_redirect).build().unwrap();
        Self { client, cookie: None }
    }

    async fn open(&mut self, url: &Url) -> Seen {
        let request = self.client.get(url.clone());
        let request = request.header(COOKIE, self.cookie.clone().unwrap_or_default());
        let answer = request.send().await.unwrap();
        if let Some(set) = answer.headers().get(SET_COOKIE) {
            let pair = set.to_str().unwrap().split(';').next().unwrap();
            self.cookie = Some(pair.to_owned());
        }
        let location = answer.headers().get(LOCATION);
        let location = location.map(|to| Url::parse(to.to_str().unwrap()).unwrap());
        let status = answer.status().as_u16();
        Seen { page: Page { status, html: answer.text().await.unwrap() }, location }
    }

    /// Opens a link and decides on Slack's page; returns where Slack sends the browser.
    async fn decide(&mut self, link: &Url, decision: Decision) -> Url {
        let start = self.open(link).await;
        let consent = start.page.way_to_slack().unwrap_or_else(|| panic!("{}", start.page.html));
        let slack = browser::Browser::new().unwrap();
        slack.consent(&consent, decision).await.unwrap().back().unwrap()
    }
}

/// A link that leads back to the platform.
fn returning() -> pb::BeginConnectRequest {
    pb::BeginConnectRequest {
        tenant_id: TENANT.into(),
        return_url: format!("{PLATFORM}/settings?tab=slack"),
        ..pb::BeginConnectRequest::default()
    }
}

async fn link(world: &World, request: pb::BeginConnectRequest) -> Url {
    Url::parse(&world.client.begin_connect_as(request).await.unwrap().authorize_url).unwrap()
}

/// The status and the reason that the platform's page got.
fn came_back(seen: &Seen) -> (String, String) {
    assert_eq!(seen.page.status, 303, "{}", seen.page.html);
    let url = seen.location.as_ref().unwrap();
    assert!(url.as_str().starts_with(&format!("{PLATFORM}/settings?tab=slack&status=")), "{url}");
    let value = |name: &str| url.query_pairs().find(|(key, _)| key == name).unwrap().1.into_owned();
    assert_eq!(url.query_pairs().count(), 3, "nothing else: {url}");
    (value("status"), value("reason"))
}

fn of(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

#[tokio::test]
async fn the_browser_goes_back_to_the_platform_with_the_outcome() {
    fresh()
        .run(async |world| {
            let mut person = Person::new();
            let first = link(world, returning()).await;
            let back = person.decide(&first, Decision::Cancel).await;
            assert_eq!(came_back(&person.open(&back).await), of("denied", "access_denied"));
            let again = came_back(&person.open(&first).await);
            assert_eq!(again, of("used", "link_used"), "the link itself");

            let forged = link(world, returning()).await;
            let mut back = person.decide(&forged, Decision::Allow).await;
            let state = forged.query_pairs().find(|(name, _)| name == "state").unwrap().1;
            back.set_query(Some(&format!("code=made-up&state={state}")));
            assert_eq!(came_back(&person.open(&back).await), of("refused", "invalid_code"));

            let wrong =
                pb::BeginConnectRequest { expected_team_id: "T0ELSEWHERE".into(), ..returning() };
            let back = person.decide(&link(world, wrong).await, Decision::Allow).await;
            let seen = came_back(&person.open(&back).await);
            assert_eq!(seen, of("wrong_workspace", "other_workspace"));
            assert!(world.client.workspace(TENANT).await.unwrap().workspace.is_none());

            let late = link(world, returning()).await;
            let back = person.decide(&late, Decision::Allow).await;
            let expire = "UPDATE connect_attempts SET expires_at = created_at - 1";
            world.execute(expire).await.unwrap();
            assert_eq!(came_back(&person.open(&back).await), of("expired", "link_expired"));

            let right = pb::BeginConnectRequest { expected_team_id: TEAM.into(), ..returning() };
            let back = person.decide(&link(world, right).await, Decision::Allow).await;
            assert_eq!(came_back(&person.open(&back).await), of("connected", ""));
            let overview = world.client.workspace(TENANT).await.unwrap();
            assert_eq!(overview.workspace.unwrap().state(), WorkspaceState::Active);
            assert_eq!(overview.connect_attempt.unwrap().state(), ConnectState::Completed);
        })
        .await;
}

#[tokio::test]
async fn a_workspace_without_all_permissions_is_connected_and_the_platform_hears_of_it() {
    fresh()
        .run(async |world| {
            world.sandbox.configure(|it| it.granted_scopes = Some(vec!["chat:write".into()]));
            let mut person = Person::new();
            let back = person.decide(&link(world, returning()).await, Decision::Allow).await;
            let (status, codes) = came_back(&person.open(&back).await);
            assert_eq!(status, "missing_scopes");
            let codes: Vec<&str> = codes.split(',').collect();
            assert!(codes.contains(&"members") && !codes.contains(&"messages"), "{codes:?}");
            let mut stream = world.client.watch_workspace(TENANT).await.unwrap();
            let shown = next_connection(&mut stream).await;
            assert_eq!(shown.state(), ConnectionState::Degraded);
            assert_eq!(shown.reason, "missing_scopes");
            assert!(shown.sentence.contains("permissions"), "{}", shown.sentence);
        })
        .await;
}

#[tokio::test]
async fn a_browser_that_did_not_open_the_link_stays_on_a_page_of_herald_s() {
    fresh()
        .run(async |world| {
            let link = link(world, returning()).await;
            let back = Person::new().decide(&link, Decision::Allow).await;
            let seen = Person::new().open(&back).await;
            assert_eq!((seen.page.status, seen.location), (403, None));
            assert!(seen.page.html.contains("Acme Learning"), "{}", seen.page.html);
        })
        .await;
}

#[tokio::test]
async fn only_origins_of_the_settings_get_a_browser_back() {
    fresh()
        .run(async |world| {
            for url in [
                "https://platform.example.com.evil.test/",
                "https://platform.example.com:8443/",
                "http://platform.example.com/",
                "https://user@platform.example.com/",
                "https://platform.example.com/#part",
                "javascript:alert(1)",
                "/settings",
            ] {
                let request = pb::BeginConnectRequest { return_url: url.into(), ..returning() };
                let refused = world.client.begin_connect_as(request).await.unwrap_err();
                assert_eq!(refused.code(), Code::InvalidArgument, "{url}");
            }
            let bad_team =
                pb::BeginConnectRequest { expected_team_id: "E0ORG".into(), ..returning() };
            let refused = world.client.begin_connect_as(bad_team).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument);
            assert_eq!(world.count("SELECT COUNT(*) FROM connect_attempts").await, 0);
        })
        .await;
}

#[tokio::test]
async fn a_link_asks_for_the_permissions_of_its_features() {
    fresh()
        .run(async |world| {
            let request = pb::BeginConnectRequest {
                features: vec!["channels".into()],
                expected_team_id: TEAM.into(),
                ..returning()
            };
            let start = Person::new().open(&link(world, request).await).await;
            assert!(start.page.html.contains("for one workspace"), "{}", start.page.html);
            assert!(start.page.html.contains("Back to Acme Learning"), "{}", start.page.html);
            let asked = asked(&start.page);
            assert_eq!(asked["team"], TEAM);
            let scopes: BTreeSet<&str> = asked["scope"].split(',').collect();
            let used = ["messages", "channels"].map(|code| features::find(code).unwrap());
            let wanted: BTreeSet<&str> = features::scopes(&used).into_iter().collect();
            assert_eq!(scopes, wanted);

            let bad = async |features: &[&str]| {
                let features = features.iter().map(ToString::to_string).collect();
                let request = pb::BeginConnectRequest { features, ..returning() };
                bad_fields(&world.client.begin_connect_as(request).await.unwrap_err())
            };
            assert_eq!(bad(&["messages", "telepathy"]).await, ["features[1]"]);
            assert_eq!(bad(&["channels", "channels"]).await, ["features[1]"]);
        })
        .await;
}

/// The parameters with which the page of a link leads to Slack.
fn asked(page: &Page) -> BTreeMap<String, String> {
    page.way_to_slack().unwrap().query_pairs().into_owned().collect()
}

#[tokio::test]
async fn connecting_again_asks_for_exactly_what_is_missing() {
    fresh()
        .run(async |world| {
            let before = ["chat:write", "users:read", "users:read.email"].map(str::to_owned);
            world.sandbox.configure(|it| it.granted_scopes = Some(before.to_vec()));
            assert_eq!(world.connect(TENANT).await.status, 200);
            let workspace = world.client.workspace(TENANT).await.unwrap().workspace.unwrap();
            let waits = |workspace: &pb::Workspace, code: &str| {
                let feature = workspace.features.iter().find(|feature| feature.code == code);
                feature.unwrap().missing_scopes.clone()
            };
            let missing = waits(&workspace, "channels");
            assert!(!missing.is_empty() && !waits(&workspace, "profile_fields").is_empty());

            world.sandbox.configure(|it| it.granted_scopes = None);
            let again =
                pb::BeginConnectRequest { features: vec!["channels".into()], ..returning() };
            let link = link(world, again).await;
            let mut person = Person::new();
            let start = person.open(&link).await;
            let scopes: BTreeSet<String> =
                asked(&start.page)["scope"].split(',').map(str::to_owned).collect();
            let wanted: BTreeSet<String> = before.into_iter().chain(missing).collect();
            assert_eq!(scopes, wanted);
            let back = person.decide(&link, Decision::Allow).await;
            assert_eq!(came_back(&person.open(&back).await), of("connected", ""));
            let workspace = world.client.workspace(TENANT).await.unwrap().workspace.unwrap();
            assert!(waits(&workspace, "channels").is_empty(), "{workspace:?}");
            assert!(!waits(&workspace, "profile_fields").is_empty(), "it was not asked for");
        })
        .await;
}

/// The addresses on a page that choose a workspace.
fn choices(page: &Page) -> Vec<Url> {
    let links = page.html.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let plain = |link: &str| link.replace("&#x2f;", "/").replace("&amp;", "&");
    let links = links.filter_map(|link| Url::parse(&plain(link)).ok());
    links.filter(|url| url.path().ends_with("/connect/team")).collect()
}

#[tokio::test]
async fn a_workspace_of_an_organization_is_chosen_once_in_the_browser_that_connected_it() {
    fresh()
        .run(async |world| {
            let teams = world.sandbox.url().join("_sandbox/teams").unwrap();
            let more = crate::events::caller().post(teams).json(&json!({ "count": 3 }));
            let more = more.send().await.unwrap();
            assert!(more.status().is_success(), "{more:?}");
            world.sandbox.configure(|options| options.org_wide = true);
            let mut person = Person::new();
            let back = person.decide(&link(world, returning()).await, Decision::Allow).await;
            let seen = person.open(&back).await;
            assert_eq!((seen.page.status, &seen.location), (200, &None), "{}", seen.page.html);
            let choices = choices(&seen.page);
            assert_eq!(choices.len(), 3, "{}", seen.page.html);
            assert_eq!(Person::new().open(&choices[1]).await.page.status, 403);
            assert!(world.client.workspace(TENANT).await.unwrap().workspace.is_none());

            assert_eq!(came_back(&person.open(&choices[1]).await), of("connected", ""));
            let workspace = world.client.workspace(TENANT).await.unwrap().workspace.unwrap();
            let chosen = choices[1].query_pairs().find(|(name, _)| name == "team").unwrap().1;
            assert_eq!(workspace.team_id, chosen);
            let again = person.open(&choices[2]).await;
            assert_eq!(again.page.status, 403, "the cookie of the attempt is gone");
            let workspace = world.client.workspace(TENANT).await.unwrap().workspace.unwrap();
            assert_eq!(workspace.team_id, chosen);
        })
        .await;
}

async fn next<T>(stream: &mut Streaming<T>) -> T {
    let message = tokio::time::timeout(PATIENCE, stream.message()).await;
    message.unwrap().unwrap().unwrap()
}

async fn next_connection(stream: &mut Streaming<pb::WatchWorkspaceResponse>) -> pb::Connection {
    next(stream).await.connection.unwrap()
}

/// Reads until the connection is in this state.
async fn in_state(
    stream: &mut Streaming<pb::WatchWorkspaceResponse>,
    state: ConnectionState,
) -> pb::Connection {
    loop {
        let shown = next_connection(stream).await;
        if shown.state() == state {
            return shown;
        }
    }
}

#[tokio::test]
async fn a_settings_page_is_live() {
    fresh()
        .run(async |world| {
            let refused = world.client.watch_workspace("unknown").await.unwrap_err();
            assert_eq!(refused.code(), Code::NotFound);

            let link = link(world, returning()).await;
            let mut stream = world.client.watch_workspace(TENANT).await.unwrap();
            let shown = next_connection(&mut stream).await;
            assert_eq!(shown.state(), ConnectionState::Disconnected);
            assert!(shown.workspace.is_none() && !shown.sentence.is_empty(), "{shown:?}");
            assert_eq!(shown.connect_attempt.unwrap().state(), ConnectState::AwaitingCallback);

            let mut person = Person::new();
            let back = person.decide(&link, Decision::Allow).await;
            let shown = in_state(&mut stream, ConnectionState::Connecting).await;
            assert!(shown.sentence.contains("approve"), "{}", shown.sentence);
            assert_eq!(came_back(&person.open(&back).await), of("connected", ""));
            let shown = in_state(&mut stream, ConnectionState::Active).await;
            assert_eq!((shown.reason.as_str(), shown.sentence.as_str()), ("", ""));
            assert_eq!(shown.workspace.unwrap().team_id, TEAM);
            assert!(shown.changed_at.is_some());
        })
        .await;
}

/// Slack reports no approval: the wait is visible, and ends with the link.
#[tokio::test]
async fn the_wait_for_an_approval_is_visible_and_ends() {
    Plan { require_approval: true, ..fresh() }
        .run(async |world| {
            let link = link(world, returning()).await;
            let page = world.decide(link.as_str(), Decision::Allow).await;
            assert!(page.html.contains("request"), "{}", page.html);
            let mut stream = world.client.watch_workspace(TENANT).await.unwrap();
            in_state(&mut stream, ConnectionState::Connecting).await;

            let soon = world.now().await.0 + 300_000;
            let expire = format!("UPDATE connect_attempts SET expires_at = {soon}");
            world.execute(&expire).await.unwrap();
            let shown = in_state(&mut stream, ConnectionState::Disconnected).await;
            assert_eq!(shown.reason, "link_expired");
            assert!(shown.sentence.contains("Connect again"), "{}", shown.sentence);

            world.sandbox.configure(|options| options.require_approval = false);
            assert_eq!(world.connect(TENANT).await.status, 200);
            in_state(&mut stream, ConnectionState::Active).await;
        })
        .await;
}

#[tokio::test]
async fn a_dead_token_is_reported_and_connecting_again_ends_that() {
    Plan { replicas: 2, ..Plan::default() }
        .run(async |world| {
            world.client.load(&["ben"]).await;
            // Another replica than the one that meets the dead token may serve the stream.
            let second = world.client(1, world.client.key()).await;
            let mut stream = second.watch_workspace(TENANT).await.unwrap();
            in_state(&mut stream, ConnectionState::Active).await;
            world.sandbox.revoke_token(None, "token_revoked");
            world.client.notify(task("one", &["ben"])).await.unwrap();
            let shown = in_state(&mut stream, ConnectionState::ReconnectRequired).await;
            assert_eq!(shown.reason, "token_revoked");
            assert!(shown.sentence.contains("revoked"), "{}", shown.sentence);
            assert_eq!(shown.workspace.unwrap().state(), WorkspaceState::ReconnectRequired);

            assert_eq!(world.connect(TENANT).await.status, 200);
            in_state(&mut stream, ConnectionState::Active).await;
            world.settled().await;
        })
        .await;
}

fn operators() -> Vec<CallerConfig> {
    vec![
        caller("operator", RoleConfig::Administrator, &["*"]),
        caller("one", RoleConfig::Administrator, &[TENANT]),
    ]
}

#[tokio::test]
async fn an_operator_watches_all_connections() {
    Plan { callers: operators(), ..fresh() }
        .run(async |world| {
            let one = world.client(0, Some("one")).await;
            let refused = one.watch_workspaces().await.unwrap_err();
            assert_eq!(
                (refused.code(), &*reason(&refused)),
                (Code::PermissionDenied, "ROLE_NOT_ALLOWED")
            );

            let operator = world.client(0, Some("operator")).await;
            let begin = |tenant: &str| pb::BeginConnectRequest {
                tenant_id: tenant.into(),
                ..pb::BeginConnectRequest::default()
            };
            let link = operator.begin_connect_as(begin(TENANT)).await.unwrap().authorize_url;
            assert_eq!(world.decide(&link, Decision::Allow).await.status, 200);
            let link = operator.begin_connect_as(begin("globex")).await.unwrap().authorize_url;

            let mut stream = operator.watch_workspaces().await.unwrap();
            let unwell = next(&mut stream).await.connections;
            let names: Vec<&str> = unwell.iter().map(|shown| shown.tenant_id.as_str()).collect();
            assert_eq!(names, ["globex"], "the connection of the other tenant is well");
            assert!(next(&mut stream).await.connections.is_empty(), "the list has ended");

            world.decide(&link, Decision::Cancel).await;
            let denied = until_reported(&mut stream, "globex", "access_denied").await;
            assert_eq!(denied.state(), ConnectionState::Disconnected);
            let kill = "UPDATE installations SET state = 'dead', state_reason = 'token_revoked'";
            world.execute(kill).await.unwrap();
            let dead = until_reported(&mut stream, TENANT, "token_revoked").await;
            assert_eq!(dead.state(), ConnectionState::ReconnectRequired);
        })
        .await;
}

/// Reads until a tenant's connection has this reason.
async fn until_reported(
    stream: &mut Streaming<pb::WatchWorkspacesResponse>,
    tenant: &str,
    reason: &str,
) -> pb::Connection {
    loop {
        let connections = next(stream).await.connections;
        assert!(connections.len() <= 100);
        let wanted = |shown: &pb::Connection| shown.tenant_id == tenant && shown.reason == reason;
        if let Some(shown) = connections.into_iter().find(wanted) {
            return shown;
        }
    }
}
