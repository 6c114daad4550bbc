//! SimulateMapping and GetMatchCoverage: the effect of a pair of expressions on all known people.

use std::collections::BTreeMap;

use herald::rpc::RoleConfig;
use herald::rpc::pb::{
    self, GetMatchCoverageRequest, MatchCoverage, MatchFinding, NoMatchReason, Person,
    SimulateMappingRequest,
};
use serde_json::{Value, json};
use tonic::Code;

use crate::support::client::{bad_fields, fields, person, reason};
use crate::support::world::{Plan, TENANT, World, caller};

/// `U1` to `U5`, each with a badge; the last two share one; `U3` is deactivated.
fn members() -> Vec<Value> {
    let one = |id: &str, badge: &str, deleted: bool| {
        json!({ "id": id, "badge": badge, "deleted": deleted,
            "profile": {
                "display_name": id,
                "email": format!("{}@firm.example", id.to_lowercase()),
            } })
    };
    vec![
        one("U1", "B1", false),
        one("U2", "B2", false),
        one("U3", "B3", true),
        one("U4", "B45", false),
        one("U5", "B45", false),
    ]
}

fn with_badge(user: &str, email: &str, badge: Value) -> Person {
    Person { attributes: Some(fields(json!({ "badge": badge }))), ..person(user, email) }
}

/// One person of each kind, if the badge replaced the address.
fn people() -> Vec<Person> {
    vec![
        with_badge("ambiguous", "nobody@firm.example", json!("B45")),
        with_badge("changed", "u1@firm.example", json!("B2")),
        with_badge("left", "u3@firm.example", json!("B3")),
        with_badge("lost", "u2@firm.example", json!("B9")),
        with_badge("newly", "nobody@firm.example", json!("B1")),
        with_badge("none", "nobody@firm.example", json!("")),
        with_badge("pinned", "u4@firm.example", json!("B1")),
        with_badge("same", "u1@firm.example", json!("B1")),
        with_badge("torn", "u4@firm.example", json!("B45")),
    ]
}

async fn prepared(world: &World) {
    world.client.upsert(TENANT, people()).await;
    world.client.upsert("other", vec![with_badge("theirs", "u1@firm.example", json!("B1"))]).await;
    let pin = pb::PinIdentityRequest {
        tenant_id: TENANT.into(),
        user_id: "pinned".into(),
        slack_user_id: "U2".into(),
        actor: None,
    };
    world.client.pin_identity(pin).await.unwrap();
}

fn badges() -> SimulateMappingRequest {
    SimulateMappingRequest {
        tenant_id: TENANT.into(),
        user_attribute: "badge".into(),
        slack_attribute: "badge".into(),
        ..SimulateMappingRequest::default()
    }
}

fn unmatched(coverage: &MatchCoverage) -> BTreeMap<i32, i64> {
    coverage.unmatched.iter().map(|one| (one.reason, one.people)).collect()
}

fn reasons<const N: usize>(counts: [(NoMatchReason, i64); N]) -> BTreeMap<i32, i64> {
    counts.into_iter().map(|(reason, people)| (reason.into(), people)).collect()
}

#[tokio::test]
async fn what_another_mapping_would_change() {
    Plan { members: Some(members()), ..Plan::default() }
        .run(async |world| {
            prepared(world).await;
            let asked = world.sandbox.log().len();
            let before = world.client.workspace(TENANT).await.unwrap();
            let answer = world.client.simulate_mapping(badges()).await.unwrap();
            let counts = answer.counts.unwrap();
            let (current, proposed) = (counts.current.unwrap(), counts.proposed.unwrap());
            assert_eq!((counts.newly_matched, counts.lost, counts.changed_member), (1, 2, 1));
            assert_eq!((current.people, current.pinned, current.matched), (9, 1, 4));
            assert_eq!((proposed.people, proposed.pinned, proposed.matched), (9, 1, 3));
            let nobody = [(NoMatchReason::NoMember, 3), (NoMatchReason::MemberDeactivated, 1)];
            assert_eq!(unmatched(&current), reasons(nobody));
            let nobody = [
                (NoMatchReason::NoUserValue, 1),
                (NoMatchReason::MemberDeactivated, 1),
                (NoMatchReason::Ambiguous, 2),
                (NoMatchReason::NoMember, 1),
            ];
            assert_eq!(unmatched(&proposed), reasons(nobody));
            let told: Vec<_> = answer
                .examples
                .iter()
                .map(|example| {
                    let id = |member: &Option<pb::SlackMember>| {
                        member.as_ref().map_or(String::new(), |member| member.slack_user_id.clone())
                    };
                    let found = (id(&example.current), id(&example.proposed));
                    (example.user_id.as_str(), example.finding(), found)
                })
                .collect();
            let found = |a: &str, b: &str| (a.to_owned(), b.to_owned());
            let expected = [
                ("ambiguous", MatchFinding::Ambiguous, found("", "")),
                ("changed", MatchFinding::ChangedMember, found("U1", "U2")),
                ("left", MatchFinding::Unmatched, found("", "")),
                ("lost", MatchFinding::Lost, found("U2", "")),
                ("newly", MatchFinding::NewlyMatched, found("", "U1")),
                ("none", MatchFinding::Unmatched, found("", "")),
                ("torn", MatchFinding::Lost, found("U4", "")),
            ];
            assert_eq!(told, expected);
            let torn = answer.examples[6].no_match.as_ref().unwrap();
            assert_eq!(torn.reason(), NoMatchReason::Ambiguous);
            assert!(answer.next_page_token.is_empty() && answer.directory_read_at.is_some());

            // The simulation had no effects: no call, no setting, no identity.
            assert_eq!(world.sandbox.log().len(), asked);
            assert_eq!(world.client.workspace(TENANT).await.unwrap().settings, before.settings);
            assert!(world.client.person(TENANT, "newly").await.unwrap().identity.is_none());
        })
        .await;
}

#[tokio::test]
async fn how_the_mapping_in_force_does() {
    Plan { members: Some(members()), ..Plan::default() }
        .run(async |world| {
            prepared(world).await;
            let request =
                GetMatchCoverageRequest { tenant_id: TENANT.into(), ..Default::default() };
            let answer = world.client.get_match_coverage(request).await.unwrap();
            let coverage = answer.coverage.unwrap();
            assert_eq!((coverage.people, coverage.pinned, coverage.matched), (9, 1, 4));
            let nobody = [(NoMatchReason::NoMember, 3), (NoMatchReason::MemberDeactivated, 1)];
            assert_eq!(unmatched(&coverage), reasons(nobody));
            let told: Vec<_> = answer.examples.iter().map(|one| one.user_id.as_str()).collect();
            assert_eq!(told, ["ambiguous", "left", "newly", "none"]);
            assert_eq!(answer.members_without_custom_fields, 0);
            // The other tenant has its own people, and no workspace.
            let request =
                GetMatchCoverageRequest { tenant_id: "other".into(), ..Default::default() };
            let coverage =
                world.client.get_match_coverage(request).await.unwrap().coverage.unwrap();
            assert_eq!(unmatched(&coverage), reasons([(NoMatchReason::NotConnected, 1)]));
        })
        .await;
}

#[tokio::test]
async fn examples_come_in_pages_of_one_finding_or_all() {
    Plan { members: Some(members()), ..Plan::default() }
        .run(async |world| {
            prepared(world).await;
            let mut request = SimulateMappingRequest { page_size: 2, ..badges() };
            let mut seen = Vec::new();
            let mut pages = 0;
            loop {
                let answer = world.client.simulate_mapping(request.clone()).await.unwrap();
                assert_eq!(
                    answer.counts.is_some(),
                    pages == 0,
                    "counts come only with the first page"
                );
                assert!(answer.examples.len() <= 2);
                seen.extend(answer.examples.into_iter().map(|one| one.user_id));
                pages += 1;
                if answer.next_page_token.is_empty() {
                    break;
                }
                request.page_token = answer.next_page_token;
            }
            let all = ["ambiguous", "changed", "left", "lost", "newly", "none", "torn"];
            assert_eq!((seen, pages), (all.map(String::from).to_vec(), 4));
            let request = SimulateMappingRequest {
                finding: MatchFinding::Lost.into(),
                page_size: 2,
                ..badges()
            };
            let answer = world.client.simulate_mapping(request).await.unwrap();
            let lost: Vec<_> = answer.examples.iter().map(|one| one.user_id.as_str()).collect();
            assert_eq!((lost, answer.next_page_token.as_str()), (vec!["lost", "torn"], ""));
            // A token that belongs to another request.
            let request = SimulateMappingRequest { page_token: "AAAA".into(), ..badges() };
            let refused = world.client.simulate_mapping(request).await.unwrap_err();
            assert_eq!(bad_fields(&refused), ["page_token"]);
        })
        .await;
}

/// More people than one read returns.
#[tokio::test]
async fn everybody_is_counted() {
    Plan::default()
        .run(async |world| {
            let crowd = (0..1000).map(|n| person(&format!("c{n:04}"), "nobody@firm.example"));
            world.client.upsert(TENANT, crowd.collect()).await;
            world.client.load(&["ben", "clara"]).await;
            let mut request = GetMatchCoverageRequest {
                tenant_id: TENANT.into(),
                page_size: 100,
                ..Default::default()
            };
            let answer = world.client.get_match_coverage(request.clone()).await.unwrap();
            let coverage = answer.coverage.unwrap();
            assert_eq!((coverage.people, coverage.matched), (1002, 2));
            let mut examples = answer.examples.len();
            request.page_token = answer.next_page_token;
            while !request.page_token.is_empty() {
                let answer = world.client.get_match_coverage(request.clone()).await.unwrap();
                examples += answer.examples.len();
                request.page_token = answer.next_page_token;
            }
            assert_eq!(examples, 1000);
        })
        .await;
}

#[tokio::test]
async fn bad_expressions_and_strangers_are_refused() {
    let callers = vec![
        caller("admin", RoleConfig::Administrator, &[TENANT]),
        caller("service", RoleConfig::Service, &[TENANT]),
    ];
    let plan = Plan { callers, ready: false, ..Plan::default() };
    plan.run(async |world| {
        let admin = world.client(0, Some("admin")).await;
        let link = admin.begin_connect(TENANT).await.unwrap();
        assert!(!link.authorize_url.is_empty());
        let request = SimulateMappingRequest {
            user_attribute: "email.".into(),
            slack_attribute: "lower(name)".into(),
            ..badges()
        };
        let refused = admin.simulate_mapping(request).await.unwrap_err();
        assert_eq!(bad_fields(&refused), ["user_attribute", "slack_attribute"]);
        assert!(refused.message().contains("at byte"), "{}", refused.message());
        let finding = SimulateMappingRequest { finding: 99, page_size: -1, ..badges() };
        let refused = admin.simulate_mapping(finding).await.unwrap_err();
        assert_eq!(bad_fields(&refused), ["finding", "page_size"]);

        let service = world.client(0, Some("service")).await;
        let refused = service.simulate_mapping(badges()).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
        let request = GetMatchCoverageRequest { tenant_id: TENANT.into(), ..Default::default() };
        let refused = service.get_match_coverage(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
        let beside = SimulateMappingRequest { tenant_id: "other".into(), ..badges() };
        let refused = admin.simulate_mapping(beside).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).is_empty()), (Code::PermissionDenied, false));
        // Without a workspace there is no member to find.
        let answer = admin.simulate_mapping(badges()).await.unwrap();
        assert_eq!(answer.counts.unwrap().proposed.unwrap().people, 0);
    })
    .await;
}
