//! Attempts to connect another tenant's workspace, or to connect for another tenant.

use herald::domain::access::sharing::Sharing;
use herald::domain::limits;
use herald::rpc::RoleConfig;
use herald::rpc::pb::{self, ConnectState, Settings};
use herald::sandbox::browser::{Browser, Decision, Page};
use tonic::Code;
use tonic_types::StatusExt as _;
use url::Url;

use super::audit::{self, verified};
use super::changes::{accept, refuse};
use crate::support::client::reason;
use crate::support::world::{Plan, TENANT, World, caller};

/// The tenant that connects second.
const SECOND: &str = "beta";

fn fresh() -> Plan {
    Plan { ready: false, ..Plan::default() }
}

/// A link for the tenant, which no one has allowed to share another tenant's workspace.
async fn link(world: &World, tenant: &str) -> Url {
    let request =
        pb::BeginConnectRequest { tenant_id: tenant.into(), ..pb::BeginConnectRequest::default() };
    Url::parse(&world.client.begin_connect_as(request).await.unwrap().authorize_url).unwrap()
}

/// Opens a link and approves; returns where Slack sends the browser.
async fn approved(browser: &mut Browser, link: &Url) -> Url {
    let consent = browser.open(link).await.unwrap().way_to_slack().unwrap();
    browser.consent(&consent, Decision::Allow).await.unwrap().back().unwrap()
}

/// Connects the tenant in a new browser.
async fn connect(world: &World, tenant: &str) -> Page {
    let mut browser = Browser::new().unwrap();
    let back = approved(&mut browser, &link(world, tenant).await).await;
    browser.open(&back).await.unwrap()
}

async fn workspace_of(world: &World, tenant: &str) -> Option<pb::Workspace> {
    world.client.workspace(tenant).await.unwrap().workspace
}

/// The entries of one action in a tenant's audit trail, as soon as there is one.
async fn recorded(world: &World, tenant: &str, action: &str) -> Vec<pb::AuditEntry> {
    let (tenant_id, action) = (tenant.to_owned(), action.to_owned());
    let request = pb::ListAuditRequest { tenant_id, action, ..pb::ListAuditRequest::default() };
    audit::recorded(&world.client, request, |_| true).await
}

fn argument(url: &Url, name: &str) -> String {
    url.query_pairs().find(|(key, _)| key == name).unwrap().1.into_owned()
}

/// The attacker passes the link on, or sends a victim straight to Slack, so that no page of
/// Herald's names the tenant.
#[tokio::test]
async fn an_answer_of_slacks_counts_in_the_browser_that_opened_the_link_only() {
    fresh()
        .run(async |world| {
            let link = link(world, TENANT).await;
            let (mut attacker, mut victim) = (Browser::new().unwrap(), Browser::new().unwrap());
            let page = attacker.open(&link).await.unwrap();
            let title = format!("Connect Slack to “{TENANT}”");
            assert!(page.html.contains(&title), "{}", page.html);
            let consent = page.way_to_slack().unwrap();
            let back = victim.consent(&consent, Decision::Allow).await.unwrap().back().unwrap();
            let page = victim.open(&back).await.unwrap();
            assert_eq!(page.status, 403, "{}", page.html);
            assert!(page.html.contains("open the connect link again"), "{}", page.html);
            assert!(workspace_of(world, TENANT).await.is_none());
            assert!(world.calls("oauth.v2.access").is_empty(), "the code was not redeemed");
            let told = recorded(world, TENANT, "CompleteConnect").await;
            assert_eq!(told.len(), 1, "{told:?}");
            assert_eq!(told[0].outcome(), pb::AuditOutcome::Refused);
            assert_eq!((&*told[0].reason, &*told[0].principal), ("other_browser", ""));
            // A cookie of another attempt does not count, nor does this attempt's cookie under
            // another name.
            let other = self::link(world, SECOND).await;
            victim.open(&other).await.unwrap();
            assert_eq!(victim.open(&back).await.unwrap().status, 403);
            // The browser that began the attempt can still finish it: nothing was used up.
            let again = approved(&mut attacker, &link).await;
            assert_eq!(attacker.open(&again).await.unwrap().status, 200);
            assert!(workspace_of(world, TENANT).await.is_some());
        })
        .await;
}

/// With the attacker's code in the victim's attempt, the victim's tenant would post to the
/// attacker's Slack.
#[tokio::test]
async fn a_code_of_one_tenant_is_nothing_under_anothers_state() {
    for pkce in [false, true] {
        let plan = if pkce {
            Plan { adjust: |settings| settings.app.pkce = true, ..fresh() }
        } else {
            fresh()
        };
        plan.run(async |world| {
            world.sandbox.configure(|options| options.pkce = pkce);
            let (mut attacker, mut victim) = (Browser::new().unwrap(), Browser::new().unwrap());
            let theirs = approved(&mut attacker, &link(world, SECOND).await).await;
            let ours = link(world, TENANT).await;
            let consent = victim.open(&ours).await.unwrap().way_to_slack().unwrap();
            let mut forged = Url::parse(&argument(&consent, "redirect_uri")).unwrap();
            forged
                .query_pairs_mut()
                .append_pair("code", &argument(&theirs, "code"))
                .append_pair("state", &argument(&consent, "state"));
            let page = victim.open(&forged).await.unwrap();
            assert_eq!(page.status, 502, "{}", page.html);
            assert!(page.html.contains("bad_redirect_uri"), "{}", page.html);
            for tenant in [TENANT, SECOND] {
                assert!(workspace_of(world, tenant).await.is_none(), "{tenant}");
            }
            assert_eq!(connect(world, TENANT).await.status, 200);
        })
        .await;
    }
}

/// An intercepted code with its state is useless without the server's secret.
#[tokio::test]
async fn with_pkce_a_code_needs_the_verifier_of_its_state() {
    let plan = Plan { adjust: |settings| settings.app.pkce = true, ..fresh() };
    plan.run(async |world| {
        world.sandbox.configure(|options| options.pkce = true);
        let mut browser = Browser::new().unwrap();
        let consent = browser.open(&link(world, TENANT).await).await.unwrap().way_to_slack();
        let consent = consent.unwrap();
        assert_eq!(argument(&consent, "code_challenge_method"), "S256");
        let challenge = argument(&consent, "code_challenge");
        assert_eq!(challenge.len(), 43);
        let mut another = Browser::new().unwrap();
        let next = another.open(&link(world, SECOND).await).await.unwrap().way_to_slack().unwrap();
        assert_ne!(argument(&next, "code_challenge"), challenge, "each state has its own");
        let back = browser.consent(&consent, Decision::Allow).await.unwrap().back().unwrap();
        let client = reqwest::Client::builder().build().unwrap();
        let exchange = client
            .post(world.sandbox.url().join("api/oauth.v2.access").unwrap())
            .basic_auth("1234567890.0987654321", Some("sandbox-client-secret"))
            .form(&[
                ("code", argument(&back, "code")),
                ("redirect_uri", argument(&consent, "redirect_uri")),
            ]);
        let stolen: serde_json::Value = exchange.send().await.unwrap().json().await.unwrap();
        assert_eq!(stolen["error"], "invalid_code_verifier");
        assert_eq!(connect(world, TENANT).await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn a_workspace_is_not_taken_over_by_a_second_tenant() {
    fresh()
        .run(async |world| {
            assert_eq!(connect(world, TENANT).await.status, 200);
            let before = workspace_of(world, TENANT).await.unwrap();
            assert_eq!((before.installed_by.as_str(), before.other_tenants), ("U0DEMOADA", 0));
            let page = connect(world, SECOND).await;
            assert_eq!(page.status, 409, "{}", page.html);
            assert!(page.html.contains("connected to another tenant"), "{}", page.html);
            assert!(!page.html.contains(TENANT), "the other tenant is not named");
            let overview = world.client.workspace(SECOND).await.unwrap();
            assert!(overview.workspace.is_none());
            assert_eq!(overview.connect_attempt.unwrap().state(), ConnectState::Failed);
            assert_eq!(
                workspace_of(world, TENANT).await.unwrap(),
                before,
                "the workspace is unchanged"
            );
            // The tenant that is connected may connect again.
            assert_eq!(connect(world, TENANT).await.status, 200);

            // Its administrator allows sharing, and sees that another tenant joined.
            let settings = Settings { share_workspace: true, ..Settings::default() };
            world.client.set(TENANT, settings, &["share_workspace"]).await.unwrap();
            assert_eq!(connect(world, SECOND).await.status, 200);
            assert_eq!(workspace_of(world, TENANT).await.unwrap().other_tenants, 1);
            let told = recorded(world, TENANT, "ShareWorkspace").await;
            assert!(told.len() == 1 && !format!("{told:?}").contains(SECOND), "{told:?}");
            // An established share stays.
            world.client.set(TENANT, Settings::default(), &["share_workspace"]).await.unwrap();
            assert_eq!(connect(world, SECOND).await.status, 200);
            assert_eq!(connect(world, "third").await.status, 409);
        })
        .await;
}

/// The connection, the end of the attempt and the entries of both tenants are one transaction.
#[tokio::test]
async fn a_connection_that_cannot_be_recorded_is_not_made() {
    fresh()
        .run(async |world| {
            refuse(world, "CompleteConnect").await;
            let page = connect(world, TENANT).await;
            assert_eq!(page.status, 500, "{}", page.html);
            let overview = world.client.workspace(TENANT).await.unwrap();
            assert!(overview.workspace.is_none());
            assert_eq!(overview.connect_attempt.unwrap().state(), ConnectState::AwaitingCallback);
            assert_eq!(world.count("SELECT COUNT(*) FROM installations").await, 0);
            accept(world).await;
            assert_eq!(connect(world, TENANT).await.status, 200);
            let connected = recorded(world, TENANT, "CompleteConnect").await;
            assert_eq!(connected.len(), 1, "{connected:?}");
            assert_eq!(connected[0].outcome(), pb::AuditOutcome::Done);
            assert!(connected[0].object.starts_with("workspace:"), "{connected:?}");

            // A second tenant joins only if the first one's trail has it.
            let settings = Settings { share_workspace: true, ..Settings::default() };
            world.client.set(TENANT, settings, &["share_workspace"]).await.unwrap();
            let token = "SELECT MAX(token_version) FROM installations";
            refuse(world, "ShareWorkspace").await;
            assert_eq!(connect(world, SECOND).await.status, 500);
            assert!(workspace_of(world, SECOND).await.is_none());
            assert_eq!(workspace_of(world, TENANT).await.unwrap().other_tenants, 0);
            assert_eq!(world.count(token).await, 1, "the first token stays");
            accept(world).await;
            assert_eq!(connect(world, SECOND).await.status, 200);
            assert_eq!(workspace_of(world, TENANT).await.unwrap().other_tenants, 1);
            for (tenant, action) in [(SECOND, "CompleteConnect"), (TENANT, "ShareWorkspace")] {
                assert_eq!(recorded(world, tenant, action).await.len(), 1, "{tenant}: {action}");
            }
            assert_eq!(verified(world).await.broken, None);
        })
        .await;
}

#[tokio::test]
async fn only_a_caller_for_all_tenants_lets_a_tenant_in_by_the_link() {
    let callers = vec![
        caller("operator", RoleConfig::Administrator, &["*"]),
        caller("both", RoleConfig::Administrator, &[TENANT, SECOND]),
    ];
    let plan = Plan { callers, ..fresh() };
    plan.run(async |world| {
        let shared = |tenant: &str| pb::BeginConnectRequest {
            tenant_id: tenant.into(),
            allow_shared_workspace: true,
            ..pb::BeginConnectRequest::default()
        };
        let both = world.client(0, Some("both")).await;
        let refused = both.begin_connect_as(shared(SECOND)).await.unwrap_err();
        assert_eq!(
            (refused.code(), &*reason(&refused)),
            (Code::PermissionDenied, "ROLE_NOT_ALLOWED")
        );
        let operator = world.client(0, Some("operator")).await;
        for (tenant, others) in [(TENANT, 0), (SECOND, 1)] {
            let link = operator.begin_connect_as(shared(tenant)).await.unwrap().authorize_url;
            let page = world.decide(&link, Decision::Allow).await;
            assert_eq!(page.status, 200, "{}", page.html);
            let workspace = operator.workspace(tenant).await.unwrap().workspace.unwrap();
            assert_eq!(workspace.other_tenants, others);
        }
    })
    .await;
}

/// The link in the refusal of a wish for which the workspace lacks scopes.
async fn link_for_scopes(world: &World) -> Url {
    let wish = pb::ChannelWish { name: "Track".into(), ..pb::ChannelWish::default() };
    let request = pb::EnsureChannelRequest {
        tenant_id: TENANT.into(),
        channel_key: "track:1".into(),
        wish: Some(wish),
        ..pb::EnsureChannelRequest::default()
    };
    let refused = world.client.ensure_channel(request).await.unwrap_err();
    assert_eq!(reason(&refused), "MISSING_SCOPES");
    assert!(!refused.message().contains("state="), "{refused:?}");
    let details = refused.get_error_details();
    Url::parse(&details.error_info().unwrap().metadata["connect_url"]).unwrap()
}

/// Each refusal stores a link, and a service may be refused as often as it calls.
#[tokio::test(flavor = "multi_thread")]
async fn links_of_refused_wishes_do_not_pile_up() {
    fresh()
        .run(async |world| {
            let begun = link(world, TENANT).await;
            world.sandbox.configure(|it| it.granted_scopes = Some(vec!["chat:write".into()]));
            assert_eq!(connect(world, TENANT).await.status, 200);
            let oldest = link_for_scopes(world).await;
            let bytes = if world.is_postgres() { "bytea" } else { "BLOB" };
            let more = limits::CONNECT_LINKS - 1;
            let copies = format!(
                "INSERT INTO connect_attempts (tenant, state_hash, redirect_uri, created_at, \
                 expires_at, shared_with, scopes) \
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {more}) \
                 SELECT tenant, CAST('copy' || n.i AS {bytes}), redirect_uri, created_at + n.i, \
                 expires_at, shared_with, scopes FROM connect_attempts, n WHERE shared_with = '='"
            );
            assert_eq!(world.execute(&copies).await.unwrap(), u64::from(more));
            let open = async |link: &Url| Browser::new().unwrap().open(link).await.unwrap().status;
            assert_eq!(open(&oldest).await, 200);
            let newest = link_for_scopes(world).await;
            let kept = "SELECT COUNT(*) FROM connect_attempts WHERE shared_with = '='";
            assert_eq!(world.count(kept).await, i64::from(limits::CONNECT_LINKS));
            // The oldest one had to go. A link of an administrator's is of another kind.
            assert_ne!(open(&oldest).await, 200);
            assert_eq!((open(&newest).await, open(&begun).await), (200, 200));
        })
        .await;
}

/// A service that states a wish gets a link for the scopes that the wish needs. It must not connect
/// the tenant to a workspace of the service's choice, which takes an administrator.
#[tokio::test]
async fn a_link_for_more_scopes_connects_no_other_workspace() {
    fresh()
        .run(async |world| {
            world.sandbox.configure(|it| it.granted_scopes = Some(vec!["chat:write".into()]));
            assert_eq!(connect(world, TENANT).await.status, 200);
            let link = link_for_scopes(world).await;
            // The sandbox has one workspace: from now on, the tenant's is another one.
            world.execute("UPDATE installations SET team_id = 'T0OTHER'").await.unwrap();
            let mut browser = Browser::new().unwrap();
            let back = approved(&mut browser, &link).await;
            let page = browser.open(&back).await.unwrap();
            assert_eq!(page.status, 409, "{}", page.html);
            assert!(page.html.contains("not the right workspace"), "{}", page.html);
            let kept = workspace_of(world, TENANT).await.unwrap();
            assert_eq!((kept.team_id.as_str(), kept.scopes.len()), ("T0OTHER", 1));
            let request = pb::ListAuditRequest {
                tenant_id: TENANT.into(),
                action: "CompleteConnect".into(),
                ..pb::ListAuditRequest::default()
            };
            let is_of_this = |entry: &pb::AuditEntry| entry.reason == "other_workspace";
            audit::recorded(&world.client, request, is_of_this).await;
        })
        .await;
}

#[tokio::test]
async fn where_the_operator_says_so_the_person_confirms() {
    let adjust = |settings: &mut herald::config::Settings| {
        settings.app.workspace_sharing = Sharing::Confirm;
    };
    let plan = Plan { adjust, ..fresh() };
    plan.run(async |world| {
        assert_eq!(connect(world, TENANT).await.status, 200);
        let mut browser = Browser::new().unwrap();
        let back = approved(&mut browser, &link(world, SECOND).await).await;
        let page = browser.open(&back).await.unwrap();
        assert_eq!(page.status, 409, "{}", page.html);
        assert!(page.html.contains(&format!("“{SECOND}” will find the same people")));
        assert!(
            workspace_of(world, SECOND).await.is_none(),
            "not connected before the confirmation"
        );
        // The confirmation is also bound to this browser.
        let consent = page.way_to_slack().unwrap();
        let mut other = Browser::new().unwrap();
        let elsewhere = other.consent(&consent, Decision::Allow).await.unwrap().back().unwrap();
        assert_eq!(other.open(&elsewhere).await.unwrap().status, 403);
        let back = browser.consent(&consent, Decision::Allow).await.unwrap().back().unwrap();
        let page = browser.open(&back).await.unwrap();
        assert_eq!(page.status, 200, "{}", page.html);
        assert_eq!(workspace_of(world, SECOND).await.unwrap().other_tenants, 1);
        assert_eq!(workspace_of(world, TENANT).await.unwrap().other_tenants, 1);
    })
    .await;
}
