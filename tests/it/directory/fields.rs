//! Custom profile fields through the API: fetched member by member within Slack's limits, matched
//! as they arrive, and reported.

use herald::rpc::pb::{
    CustomFields, NoMatchReason, Person, ResolveIdentityRequest, Settings, TestSlackRequest,
    VerdictKind, resolve_identity_request::Subject, test_slack_request,
};
use herald::sandbox::{Fault, FaultKind};
use serde_json::{Value, json};

use crate::support::client::{Client, fields, notify, person};
use crate::support::world::{Plan, TENANT, World, until};

const GET: &str = "users.profile.get";
const SLOW: FaultKind = FaultKind::Delay { seconds: 6.0 };

/// Member `n`: `UF003` with the address `m3@firm.example` and the number `E-3` in a custom field.
fn member(n: usize) -> Value {
    json!({ "id": format!("UF{n:03}"), "updated": 1_760_000_000,
        "profile": { "display_name": format!("member {n}"), "email": format!("m{n}@firm.example") },
        "_fields": { "XF12345": format!("E-{n}"), "XF67890": format!("room {n}") } })
}

/// The platform's person `n`, known by number and, where asked, by address.
fn employee(n: usize, with_address: bool) -> Person {
    let email = if with_address { format!("m{n}@firm.example") } else { String::new() };
    let attributes = Some(fields(json!({ "employee_id": format!("E-{n}") })));
    Person { attributes, ..person(&format!("p{n:03}"), &email) }
}

async fn map(client: &Client, user: &str, slack: &str) {
    let settings = Settings {
        user_attribute: user.into(),
        slack_attribute: slack.into(),
        ..Settings::default()
    };
    client.set(TENANT, settings, &["user_attribute", "slack_attribute"]).await.unwrap();
}

/// The member's id, or the reason why there is none.
async fn found(client: &Client, n: usize) -> Result<String, NoMatchReason> {
    let request = ResolveIdentityRequest {
        tenant_id: TENANT.into(),
        subject: Some(Subject::UserId(format!("p{n:03}"))),
        actor: None,
    };
    let answer = client.resolve_identity(request).await.unwrap();
    match (answer.member, answer.no_match) {
        (Some(member), None) => Ok(member.slack_user_id),
        (None, Some(nobody)) => Err(nobody.reason()),
        other => panic!("neither or both: {other:?}"),
    }
}

async fn progress(client: &Client) -> Option<CustomFields> {
    client.workspace(TENANT).await.unwrap().directory.unwrap().custom_fields
}

async fn complete(client: &Client) -> CustomFields {
    until("all custom fields are fetched and nothing is under way", async || {
        let progress = progress(client).await?;
        (progress.complete && progress.fetching_since.is_none()).then_some(progress)
    })
    .await
}

async fn is_found(client: &Client, n: usize, id: &str) {
    until("the snapshot has the fields", async || {
        (found(client, n).await.as_deref() == Ok(id)).then_some(())
    })
    .await;
}

/// The members that were looked up in Slack.
fn asked(world: &World) -> Vec<String> {
    let calls = world.calls(GET);
    calls.iter().map(|call| call.args["user"].as_str().unwrap().to_owned()).collect()
}

/// A worked example, on one of the demo's conditions: no custom field is known when the mapping is
/// set.
#[tokio::test]
async fn the_worked_example() {
    const MEMBERS: usize = 300;
    // People with a known address: their members are looked up first.
    const KNOWN: std::ops::Range<usize> = 240..300;
    let mut members: Vec<Value> = (0..MEMBERS).map(member).collect();
    let never = [
        json!({ "id": "UGONE", "deleted": true, "profile": { "email": "gone@firm.example" } }),
        json!({ "id": "UBOT", "is_bot": true, "profile": { "display_name": "bot" } }),
        json!({ "id": "UMUTE", "profile": { "display_name": "no address" } }),
    ];
    members.extend(never);
    let plan = Plan { rate_limits: true, scale: 0.05, members: Some(members), ..Plan::default() };
    plan.run(async |world| {
        let people = (0..MEMBERS).map(|n| employee(n, KNOWN.contains(&n))).collect();
        world.client.upsert(TENANT, people).await;
        assert_eq!(progress(&world.client).await, None, "no mapping needs custom fields");
        assert_eq!(asked(world).len(), 0);

        // One answer takes two thirds of the whole time, however slowly the test polls.
        let late = Fault { channel: Some("UF010".into()), ..Fault::new(GET, SLOW) };
        world.sandbox.script(late.times(1));
        map(&world.client, "employee_id", "profile.fields.XF12345.value").await;
        // Fetched members match, and the others say why they do not.
        is_found(&world.client, 250, "UF250").await;
        assert_eq!(found(&world.client, 10).await, Err(NoMatchReason::CustomFieldsNotFetched));
        let during = progress(&world.client).await.unwrap();
        assert_eq!(during.wanted, 300, "{during:?}");
        assert!(during.fetched > 0 && during.fetched < 300 && !during.complete, "{during:?}");
        assert!(during.fetching_since.is_some() && during.last_error.is_empty(), "{during:?}");
        let early = notify("early", "case.started", &["p250", "p010"]);
        let verdicts = world.client.notify(early).await.unwrap().verdicts;
        assert_eq!(verdicts[0].kind(), VerdictKind::Queued, "{verdicts:?}");
        assert_eq!(verdicts[1].kind(), VerdictKind::Unreachable);
        let why = verdicts[1].no_match.as_ref().unwrap();
        assert_eq!(why.reason(), NoMatchReason::CustomFieldsNotFetched);

        let done = complete(&world.client).await;
        assert_eq!((done.wanted, done.fetched), (300, 300));
        // The last batch comes into use a moment after the pass has ended.
        for n in 0..MEMBERS {
            is_found(&world.client, n, &format!("UF{n:03}")).await;
        }
        let nobody = Person {
            attributes: Some(fields(json!({ "employee_id": "e-10" }))),
            ..person("p999", "")
        };
        world.client.upsert(TENANT, vec![nobody]).await;
        assert_eq!(found(&world.client, 999).await, Err(NoMatchReason::NoMember), "case counts");

        let users: Vec<String> = (0..MEMBERS).map(|n| format!("p{n:03}")).collect();
        let users: Vec<&str> = users.iter().map(String::as_str).collect();
        let verdicts =
            world.client.notify(notify("all", "case.started", &users)).await.unwrap().verdicts;
        assert!(verdicts.iter().all(|verdict| verdict.kind() == VerdictKind::Queued));
        let messages = world.settled().await;
        assert_eq!(messages.len(), 301);

        // Each member who can match was looked up once, those with known addresses first, and never
        // too fast.
        let asked = asked(world);
        let mut each = asked.clone();
        each.sort_unstable();
        each.dedup();
        assert_eq!((each.len(), asked.len()), (300, 300));
        assert!(!each.iter().any(|id| ["UGONE", "UBOT", "UMUTE"].contains(&id.as_str())));
        let first: Vec<usize> = asked[..55].iter().map(|id| id[2..].parse().unwrap()).collect();
        assert!(first.iter().all(|n| KNOWN.contains(n)), "{first:?}");
        let mut calls = world.calls(GET);
        calls.retain(|call| call.http_status != 200);
        assert!(calls.is_empty(), "{calls:?}");
    })
    .await;
}

#[tokio::test]
async fn only_who_is_new_or_moved_is_asked_for_again() {
    let plan = Plan { members: Some((0..12).map(member).collect()), ..Plan::default() };
    plan.run(async |world| {
        world.client.upsert(TENANT, (0..13).map(|n| employee(n, false)).collect()).await;
        map(&world.client, "employee_id", "profile.fields.XF12345.value").await;
        complete(&world.client).await;
        is_found(&world.client, 3, "UF003").await;
        assert_eq!(asked(world).len(), 12);

        // Another field of the same profiles, and a whole expression over them: no further lookup.
        map(&world.client, "join(' ', ['room', '4'])", "profile.fields.XF67890.value").await;
        is_found(&world.client, 0, "UF004").await;
        map(&world.client, "employee_id", "profile.fields.*.value | [?starts_with(@, 'E-')]").await;
        is_found(&world.client, 5, "UF005").await;
        assert_eq!(asked(world).len(), 12);

        // A new member, one who changed, one who left, and one whose edit no event reports.
        world.sandbox.add_member(member(12));
        world.sandbox.set_profile_fields("UF003", &json!({ "XF12345": "E-3b" }));
        world.sandbox.update_member("UF003", &json!({ "profile": { "title": "moved" } }));
        world.sandbox.set_profile_fields("UF004", &json!({ "XF12345": "E-4b" }));
        world.sandbox.deactivate("UF006");
        let generation = world.members_read(TENANT, 1).await.generation;
        let request = herald::rpc::pb::RefreshDirectoryRequest {
            tenant_id: TENANT.into(),
            ..Default::default()
        };
        world.client.refresh_directory(request).await.unwrap();
        world.members_read(TENANT, generation + 1).await;
        is_found(&world.client, 12, "UF012").await;
        // In use after a later batch, since new members come first.
        until("the changed member is in use", async || {
            (found(&world.client, 3).await == Err(NoMatchReason::NoMember)).then_some(())
        })
        .await;
        let mut again = asked(world).split_off(12);
        again.sort_unstable();
        assert_eq!(again, ["UF003", "UF012"]);
        assert_eq!(found(&world.client, 4).await, Ok("UF004".into()), "until the rolling pass");
        assert_eq!(found(&world.client, 6).await, Err(NoMatchReason::MemberDeactivated));
    })
    .await;
}

#[tokio::test]
async fn edits_that_nobody_tells_of_are_found_in_time() {
    let members = Some((0..4).map(member).collect());
    let plan = Plan { fields_refresh_seconds: 60, members, ..Plan::default() };
    plan.run(async |world| {
        world.client.upsert(TENANT, (0..4).map(|n| employee(n, false)).collect()).await;
        map(&world.client, "employee_id", "profile.fields.XF12345.value").await;
        is_found(&world.client, 2, "UF002").await;
        world.sandbox.set_profile_fields("UF003", &json!({ "XF12345": "E-2" }));
        world.sandbox.set_profile_fields("UF002", &json!({ "XF12345": "E-3" }));
        is_found(&world.client, 2, "UF003").await;
        is_found(&world.client, 3, "UF002").await;
    })
    .await;
}

/// A workspace whose pass is stuck: TestSlack looks the member up by the address and requests only
/// this member's fields.
#[tokio::test]
async fn a_test_does_not_wait_for_the_pass() {
    let plan = Plan { members: Some((0..50).map(member).collect()), ..Plan::default() };
    plan.run(async |world| {
        let failing = FaultKind::Error { code: "internal_error".into() };
        world.sandbox.script(Fault::new(GET, failing));
        world.client.upsert(TENANT, vec![employee(7, true), employee(8, false)]).await;
        map(&world.client, "employee_id", "profile.fields.XF12345.value").await;
        let stuck = until("the pass gave up for now", async || {
            progress(&world.client).await.filter(|progress| !progress.last_error.is_empty())
        })
        .await;
        assert_eq!((stuck.fetched, stuck.wanted), (0, 50));
        world.sandbox.clear_faults();
        let before = asked(world).len();
        let test = |n: usize| TestSlackRequest {
            tenant_id: TENANT.into(),
            subject: Some(test_slack_request::Subject::UserId(format!("p{n:03}"))),
            actor: None,
        };
        let tested = world.client.test_slack(test(7)).await.unwrap();
        assert_eq!(tested.member.unwrap().slack_user_id, "UF007");
        assert_eq!(asked(world)[before..], ["UF007"]);
        let unknown = world.client.test_slack(test(8)).await.unwrap();
        assert_eq!(unknown.message, "Could not find this user's Slack account.");
        let why = unknown.no_match.unwrap().reason();
        assert_eq!(why, NoMatchReason::CustomFieldsNotFetched);
    })
    .await;
}

#[tokio::test]
async fn replicas_share_one_pass() {
    let members = (0..60).map(member).collect();
    let plan = Plan { replicas: 3, members: Some(members), rate_limits: true, ..Plan::default() };
    plan.run(async |world| {
        world.client.upsert(TENANT, (0..60).map(|n| employee(n, false)).collect()).await;
        map(&world.client, "employee_id", "profile.fields.XF12345.value").await;
        complete(&world.client).await;
        for replica in 0..3 {
            let client = world.client(replica, None).await;
            is_found(&client, 59, "UF059").await;
        }
        assert_eq!(asked(world).len(), 60);
    })
    .await;
}
