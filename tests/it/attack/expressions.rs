//! Mapping expressions that cost too much are refused when they are set. If such an expression is
//! stored nevertheless, or costs too much only for some people, those people get that as the
//! reason, and others are not affected.

use std::time::Duration;

use herald::rpc::pb;
use herald::rpc::pb::admin_service_client::AdminServiceClient;
use herald::rpc::pb::herald_service_client::HeraldServiceClient;
use herald::sandbox::browser::{self, Decision};
use sea_orm::{ConnectionTrait as _, Database, DatabaseConnection, Statement};
use serde_json::{Value, json};
use tonic::{Code, Request};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_types::StatusExt as _;
use url::Url;

use crate::crash::{Site, member_id, person, site_on};
use crate::support::client::{bad_fields, fields, person as described, task};
use crate::support::process::Herald;
use crate::support::world::{Replica, TENANT, World, for_each_database};

/// The most memory in bytes that a process may have resident, whatever its tenants' expressions
/// are.
const MEMORY: u64 = 256 * 1024 * 1024;

/// Exponential time, exponential memory, and much of both without a literal.
fn attacks() -> [String; 3] {
    let nested = |before: &str, after: &str, depth: usize| {
        format!("{}`1`{}", before.repeat(depth), after.repeat(depth))
    };
    [
        nested("`[0,0]`[?", "]", 40),
        nested("map(&", ",`[0,0,0,0]`)", 20),
        format!("metadata.l|{}", ["[@,@][]"; 10].join("|")),
    ]
}

/// Cheap enough for an ordinary record, but too costly for a large one.
pub(super) fn accepted() -> String {
    format!("metadata.l|{}", ["[@,@][]"; 6].join("|"))
}

/// A person with a list of this many equal numbers.
pub(super) fn with_list(user: &str, count: usize) -> pb::Person {
    let metadata = Some(fields(json!({ "l": vec![7; count] })));
    pb::Person { metadata, ..described(user, &format!("{user}@example.com")) }
}

fn resolve(user: &str) -> pb::ResolveIdentityRequest {
    pb::ResolveIdentityRequest {
        tenant_id: TENANT.into(),
        subject: Some(pb::resolve_identity_request::Subject::UserId(user.into())),
        actor: None,
    }
}

fn no_match(answer: pb::ResolveIdentityResponse) -> pb::NoMatchReason {
    assert!(answer.member.is_none(), "{answer:?}");
    answer.no_match.unwrap().reason()
}

/// Stores expressions that UpdateSettings would have refused.
async fn store_mapping(connection: &DatabaseConnection, user: &str, slack: &str) {
    let backend = connection.get_database_backend();
    let read = format!("SELECT settings FROM tenants WHERE tenant = '{TENANT}'");
    let row = connection.query_one_raw(Statement::from_string(backend, read)).await.unwrap();
    let settings: String = row.unwrap().try_get("", "settings").unwrap();
    let mut settings: Value = serde_json::from_str(&settings).unwrap();
    settings["user_attribute"] = user.into();
    settings["slack_attribute"] = slack.into();
    let write = format!(
        "UPDATE tenants SET settings = $1, version = version + 1 WHERE tenant = '{TENANT}'"
    );
    let write = Statement::from_sql_and_values(backend, write, [settings.to_string().into()]);
    assert_eq!(connection.execute_raw(write).await.unwrap().rows_affected(), 1);
}

async fn problems(world: &World) -> Vec<pb::MappingProblem> {
    world.client.workspace(TENANT).await.unwrap().mapping_problems
}

#[tokio::test]
async fn what_can_never_work_is_refused_with_its_place() {
    for_each_database(async |world| {
        for attack in attacks() {
            for field in ["user_attribute", "slack_attribute"] {
                let mut settings = pb::Settings::default();
                let mut simulated =
                    pb::SimulateMappingRequest { tenant_id: TENANT.into(), ..Default::default() };
                if field == "user_attribute" {
                    settings.user_attribute.clone_from(&attack);
                    simulated.user_attribute.clone_from(&attack);
                } else {
                    settings.slack_attribute.clone_from(&attack);
                    simulated.slack_attribute.clone_from(&attack);
                }
                let refused = world.client.set(TENANT, settings, &[field]).await.unwrap_err();
                assert_eq!(bad_fields(&refused), [format!("settings.{field}")]);
                let details = refused.get_error_details();
                let told = &details.bad_request().unwrap().field_violations[0].description;
                assert!(told.contains("100000 steps") && told.contains("(at byte "), "{told}");
                let refused = world.client.simulate_mapping(simulated).await.unwrap_err();
                assert_eq!(bad_fields(&refused), [field]);
            }
        }
        world.client.load(&["ben"]).await;
        let answer = world.client.resolve_identity(resolve("ben")).await.unwrap();
        assert!(answer.member.is_some(), "{answer:?}");
        assert_eq!(problems(world).await, []);
    })
    .await;
}

#[tokio::test]
async fn who_is_too_costly_is_told_so_and_others_are_found() {
    for_each_database(async |world| {
        let settings = pb::Settings {
            user_attribute: format!("({} | [0]) || email", accepted()),
            ..Default::default()
        };
        world.client.set(TENANT, settings, &["user_attribute"]).await.unwrap();
        assert_eq!(problems(world).await, []);
        world.client.load(&["ben"]).await;
        world.client.upsert(TENANT, vec![with_list("large", 4000)]).await;
        // Without a list, the expression falls back to the address.
        let verdicts = world.client.notify(task("one", &["ben", "large"])).await.unwrap().verdicts;
        assert_eq!(verdicts[0].kind(), pb::VerdictKind::Queued, "{verdicts:#?}");
        let reason = verdicts[1].no_match.as_ref().unwrap().reason();
        assert_eq!(reason, pb::NoMatchReason::ExpressionTooCostly, "{verdicts:#?}");
        let answer = world.client.resolve_identity(resolve("large")).await.unwrap();
        assert_eq!(no_match(answer), pb::NoMatchReason::ExpressionTooCostly);
        let coverage =
            pb::GetMatchCoverageRequest { tenant_id: TENANT.into(), ..Default::default() };
        let coverage = world.client.get_match_coverage(coverage).await.unwrap().coverage.unwrap();
        let costly = pb::NoMatchReason::ExpressionTooCostly;
        let costly = coverage.unmatched.iter().find(|one| one.reason() == costly);
        assert_eq!((coverage.matched, costly.map(|one| one.people)), (1, Some(1)));
        // Every replica reports it.
        let settings = world.settings();
        world.replicas.push(Replica::start(settings).await);
        let other = world.client(1, None).await;
        let told = other.workspace(TENANT).await.unwrap().mapping_problems;
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0].field, "user_attribute");
        assert!(told[0].sentence.contains("broken") && told[0].seen_at.is_some(), "{told:?}");
        // Until another expression is set.
        let settings = pb::Settings { user_attribute: "email".into(), ..Default::default() };
        world.client.set(TENANT, settings, &["user_attribute"]).await.unwrap();
        assert_eq!(problems(world).await, []);
        world.settled().await;
    })
    .await;
}

/// Each person costs less than the limit of one, but together they exceed the limit of a call.
#[tokio::test]
async fn a_call_to_many_is_bounded_as_a_whole() {
    for_each_database(async |world| {
        let settings = pb::Settings { user_attribute: accepted(), ..Default::default() };
        world.client.set(TENANT, settings, &["user_attribute"]).await.unwrap();
        let users: Vec<String> = (0..300).map(|number| format!("user{number}")).collect();
        let people = users.iter().map(|user| with_list(user, 300)).collect();
        world.client.upsert(TENANT, people).await;
        let users: Vec<&str> = users.iter().map(String::as_str).collect();
        let verdicts = world.client.notify(task("all", &users)).await.unwrap().verdicts;
        let costly = verdicts
            .iter()
            .filter(|verdict| {
                let reason = verdict.no_match.as_ref().map(pb::NoMatch::reason);
                reason == Some(pb::NoMatchReason::ExpressionTooCostly)
            })
            .count();
        assert!((200..300).contains(&costly), "{costly}");
        // In a call of its own, each of them is evaluated.
        let last = world.client.resolve_identity(resolve("user299")).await.unwrap();
        assert_eq!(no_match(last), pb::NoMatchReason::NoMember);
        world.settled().await;
    })
    .await;
}

#[tokio::test]
async fn a_slack_attribute_that_costs_too_much_is_told_of() {
    for_each_database(async |world| {
        let connection = world.raw().await;
        store_mapping(&connection, "email", &attacks()[0]).await;
        world.client.load(&["ben"]).await;
        let answer = world.client.resolve_identity(resolve("ben")).await.unwrap();
        assert_eq!(no_match(answer), pb::NoMatchReason::ExpressionTooCostly);
        let told = problems(world).await;
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!((told[0].field.as_str(), told[0].seen_at), ("slack_attribute", None));
        assert!(told[0].sentence.contains("broken"), "{told:?}");
    })
    .await;
}

#[tokio::test]
async fn a_stored_expression_that_is_refused_now_does_not_hide_the_rest() {
    for_each_database(async |world| {
        let connection = world.raw().await;
        store_mapping(&connection, "lower(email)", "profile.email").await;
        let refused = world.client.resolve_identity(resolve("ben")).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        let workspace = world.client.workspace(TENANT).await.unwrap();
        let told = &workspace.mapping_problems;
        assert_eq!((told.len(), told[0].field.as_str()), (1, "user_attribute"), "{told:?}");
        assert!(told[0].sentence.contains("there is no function lower"), "{told:?}");
        assert!(workspace.workspace.is_some() && workspace.directory.is_some());
        world.client.switch_sending(TENANT, false).await;
        assert!(!world.client.workspace(TENANT).await.unwrap().settings.unwrap().sending_allowed);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_attacks_stop_nobody_on_sqlite() {
    stored_attacks_stop_nobody(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_attacks_stop_nobody_on_postgresql() {
    stored_attacks_stop_nobody(true).await;
}

/// A separate process, because the attack harms the process.
async fn stored_attacks_stop_nobody(postgres: bool) {
    let Some(site) = site_on(postgres, 2).await else { return };
    let mut herald = site.start_connected().await;
    join_another_tenant(&herald).await;
    let connection = raw(&site).await;
    let mut admin = AdminServiceClient::new(herald.channel());
    let upsert = pb::UpsertPeopleRequest {
        tenant_id: TENANT.into(),
        people: vec![with_list("one", 4000), with_list("two", 4000)],
        actor: None,
    };
    admin.upsert_people(upsert).await.unwrap();
    for (number, attack) in attacks().into_iter().enumerate() {
        store_mapping(&connection, &attack, "profile.email").await;
        let calls = ["one", "two"].map(|user| {
            let mut service = HeraldServiceClient::new(herald.channel());
            tokio::spawn(async move { service.resolve_identity(resolve(user)).await })
        });
        assert_eq!(herald.status().await, Some(ServingStatus::Serving));
        let mut service = HeraldServiceClient::new(herald.channel());
        let answer = service.notify(to_another_tenant(number)).await.unwrap().into_inner();
        assert_eq!(answer.verdicts[0].kind(), pb::VerdictKind::Queued, "{answer:?}");
        for call in calls {
            let answer = call.await.unwrap().unwrap().into_inner();
            assert_eq!(no_match(answer), pb::NoMatchReason::ExpressionTooCostly, "{attack}");
        }
        // Also on members, in the background.
        store_mapping(&connection, "email", &attack).await;
        let refresh =
            pb::RefreshDirectoryRequest { tenant_id: TENANT.into(), ..Default::default() };
        admin.refresh_directory(refresh).await.unwrap();
        let mut late = Request::new(resolve("one"));
        late.set_timeout(Duration::from_millis(1));
        drop(service.resolve_identity(late).await);
        service.resolve_identity(resolve("one")).await.unwrap();
        store_mapping(&connection, &attack, &attack).await;
    }
    let workspace = pb::GetWorkspaceRequest { tenant_id: TENANT.into(), actor: None };
    let told = admin.get_workspace(workspace).await.unwrap().into_inner().mapping_problems;
    assert!(told.iter().any(|problem| problem.field == "user_attribute"), "{told:?}");
    let page = reqwest::get(format!("http://{}/metrics", herald.http)).await.unwrap();
    let page = page.text().await.unwrap();
    let of = |line: &&str| {
        line.starts_with("herald_mapping_too_costly_total") && line.contains("\"user_attribute\"")
    };
    let counted = page.lines().find(of).and_then(|line| line.rsplit(' ').next()).unwrap();
    assert!(counted.parse::<f64>().unwrap() >= 6.0, "{counted}");
    let peak = peak_memory(&herald);
    assert!(peak < MEMORY, "{peak} bytes");
    // Two lookups are under way while it is told to end.
    let calls = ["one", "two"].map(|user| {
        let mut service = HeraldServiceClient::new(herald.channel());
        tokio::spawn(async move { service.resolve_identity(resolve(user)).await })
    });
    herald.signal("TERM");
    assert_eq!(herald.ended().await.code(), Some(0));
    assert!(herald.log().contains("\"stopped\""));
    for call in calls {
        drop(call.await.unwrap());
    }
}

/// Connects another tenant to the same workspace, which may send to its first member.
async fn join_another_tenant(herald: &Herald) {
    let mut admin = AdminServiceClient::new(herald.channel());
    let tenant_id = "other".to_owned();
    let begin = pb::BeginConnectRequest {
        tenant_id: tenant_id.clone(),
        allow_shared_workspace: true,
        ..pb::BeginConnectRequest::default()
    };
    let link = admin.begin_connect(begin).await.unwrap().into_inner().authorize_url;
    let page = browser::decide(&Url::parse(&link).unwrap(), Decision::Allow).await.unwrap();
    assert_eq!(page.status, 200, "{}", page.html);
    let allow = pb::AllowSendingRequest { tenant_id: tenant_id.clone(), actor: None };
    admin.allow_sending(allow).await.unwrap();
    let people = vec![described(&person(0), &crate::crash::email(0))];
    let upsert = pb::UpsertPeopleRequest { tenant_id, people, actor: None };
    admin.upsert_people(upsert).await.unwrap();
    assert_eq!(member_id(0), "U000");
}

fn to_another_tenant(number: usize) -> pb::NotifyRequest {
    let request = task(&format!("message {number}"), &[&person(0)]);
    pb::NotifyRequest { tenant_id: "other".into(), ..request }
}

async fn raw(site: &Site) -> DatabaseConnection {
    Database::connect(site.database()).await.unwrap()
}

/// The most memory that the process ever had resident, in bytes.
fn peak_memory(herald: &Herald) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", herald.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
}
