//! Which Slack member a person is: the two expressions, as callers see them.

use herald::rpc::pb::{
    IdentityRule, NoMatchReason, Person, ResolveIdentityRequest, ResolveIdentityResponse, Settings,
    UpdateSettingsRequest, resolve_identity_request::Subject,
};
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::client::{bad_fields, demo_person, fields, notify, person, task};
use crate::support::world::{Plan, TENANT, World, for_each_database};

/// Members with a number each: Ann's as text, Bob's as a number, Cid's with spaces around it, and
/// two members who share one.
fn numbered() -> Plan {
    let member = |id: &str, number: Value| {
        json!({ "id": id, "name": id.to_lowercase(), "employee": number,
            "profile": {
                "display_name": id,
                "email": format!("{}@firm.example", id.to_lowercase()),
            } })
    };
    let members = vec![
        member("UANN", json!("1001")),
        member("UBOB", json!(1002)),
        member("UCID", json!(" 1003 ")),
        member("UDAN", json!("1004")),
        member("UEVE", json!("1004")),
        member("UFOX", json!("0001005")),
        member("UGUS", json!(true)),
    ];
    Plan { members: Some(members), ..Plan::default() }
}

async fn map(world: &World, user: &str, slack: &str) -> Result<Settings, Status> {
    let settings = Settings {
        user_attribute: user.into(),
        slack_attribute: slack.into(),
        ..Settings::default()
    };
    world.client.set(TENANT, settings, &["user_attribute", "slack_attribute"]).await
}

async fn resolve(world: &World, person: Person) -> ResolveIdentityResponse {
    let request = ResolveIdentityRequest {
        tenant_id: TENANT.into(),
        subject: Some(Subject::Person(person)),
        actor: None,
    };
    world.client.resolve_identity(request).await.unwrap()
}

/// The member's id, or the reason why there is none.
async fn found(world: &World, person: Person) -> Result<String, NoMatchReason> {
    let answer = resolve(world, person).await;
    match (answer.member, answer.no_match) {
        (Some(member), None) => Ok(member.slack_user_id),
        (None, Some(nobody)) => Err(nobody.reason()),
        other => panic!("neither or both: {other:?}"),
    }
}

fn employee(id: Value) -> Person {
    Person { attributes: Some(fields(json!({ "employee_id": id }))), ..person("someone", "") }
}

#[tokio::test]
async fn employee_ids_match_at_the_top_and_in_metadata() {
    numbered()
        .run(async |world| {
            map(world, "employee_id", "employee").await.unwrap();
            for (id, expected) in [
                (json!("1001"), Ok("UANN")),
                (json!(1001), Ok("UANN")),
                (json!("1002"), Ok("UBOB")),
                (json!(1002), Ok("UBOB")),
                (json!("  1003"), Ok("UCID")),
                (json!("1004"), Err(NoMatchReason::Ambiguous)),
                (json!("1005"), Err(NoMatchReason::NoMember)),
                (json!(true), Err(NoMatchReason::NoUserValue)),
                (json!(null), Err(NoMatchReason::NoUserValue)),
                (json!("  "), Err(NoMatchReason::NoUserValue)),
                (json!({ "x": "1001" }), Err(NoMatchReason::NoUserValue)),
            ] {
                let answer = found(world, employee(id.clone())).await;
                assert_eq!(answer, expected.map(str::to_owned), "{id}");
            }
            map(world, "metadata.employee_number", "employee").await.unwrap();
            let metadata = Some(fields(json!({ "employee_number": 1002 })));
            let bob = Person { metadata, ..person("someone", "") };
            assert_eq!(found(world, bob).await, Ok("UBOB".into()));
        })
        .await;
}

#[tokio::test]
async fn messages_follow_the_mapping() {
    numbered()
        .run(async |world| {
            map(world, "metadata.employee_number", "employee").await.unwrap();
            let numbers = [("ann", json!("1001")), ("twin", json!("1004"))];
            let people = numbers.map(|(user, number)| {
                let metadata = Some(fields(json!({ "employee_number": number })));
                Person { metadata, ..person(user, "") }
            });
            world.client.upsert(TENANT, people.to_vec()).await;
            let request = notify("1", "case.started", &["ann", "twin"]);
            let verdicts = world.client.notify(request).await.unwrap().verdicts;
            let refused = verdicts[1].no_match.as_ref().unwrap();
            assert_eq!(refused.reason(), NoMatchReason::Ambiguous);
            world.settled().await;
            let messages = world.messages(1).await;
            assert_eq!(messages[0].user.as_deref(), Some("UANN"));
        })
        .await;
}

#[tokio::test]
async fn case_and_outer_space_of_an_address_do_not_count() {
    for_each_database(async |world| {
        for address in ["ben@demo.example", "BEN@Demo.Example", "  Ben@demo.example "] {
            let answer = resolve(world, person("someone", address)).await;
            assert_eq!(answer.rule(), IdentityRule::Matched);
            assert!(!answer.stale && answer.directory_read_at.is_some());
            assert_eq!(answer.member.unwrap().slack_user_id, "U0DEMOBEN", "{address}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_bad_expression_is_refused_with_its_field_and_place() {
    for_each_database(async |world| {
        let deep = format!("{}a{}", "(".repeat(400), ")".repeat(400));
        let brackets = "[".repeat(1000);
        let nots = "!".repeat(1000);
        let long = "a".repeat(1025);
        for bad in
            [deep.as_str(), &brackets, &nots, &long, "lower(email)", "length()", "email[", "a b"]
        {
            for field in ["user_attribute", "slack_attribute"] {
                let refused = match field {
                    "user_attribute" => map(world, bad, "profile.email").await,
                    _ => map(world, "email", bad).await,
                };
                let refused = refused.unwrap_err();
                assert_eq!(refused.code(), Code::InvalidArgument, "{bad}");
                assert_eq!(bad_fields(&refused), [format!("settings.{field}")], "{bad}");
                let details = refused.get_error_details();
                let told = &details.bad_request().unwrap().field_violations[0].description;
                assert!(told.contains("at byte"), "{told}");
            }
        }
        let unknown = map(world, "email || lower(email)", "profile.email").await.unwrap_err();
        assert!(unknown.message().contains("at byte 9"), "{}", unknown.message());
        // None of that was set, and nothing crashed.
        let settings = world.client.workspace(TENANT).await.unwrap().settings.unwrap();
        assert_eq!(
            (&*settings.user_attribute, &*settings.slack_attribute),
            ("email", "profile.email")
        );
        assert_eq!(found(world, demo_person("ben")).await, Ok("U0DEMOBEN".into()));
    })
    .await;
}

#[tokio::test]
async fn resolving_stores_and_sends_nothing() {
    for_each_database(async |world| {
        assert_eq!(found(world, demo_person("ben")).await, Ok("U0DEMOBEN".into()));
        let missing = world.client.person(TENANT, "ben").await.unwrap_err();
        assert_eq!(missing.code(), Code::NotFound);
        world.client.load(&["ben"]).await;
        let before = world.sandbox.log().len();
        let request = ResolveIdentityRequest {
            tenant_id: TENANT.into(),
            subject: Some(Subject::UserId("ben".into())),
            actor: None,
        };
        let answer = world.client.resolve_identity(request).await.unwrap();
        assert_eq!(answer.member.unwrap().display_name, "ben");
        assert!(world.client.person(TENANT, "ben").await.unwrap().identity.is_none());
        assert_eq!(world.sandbox.log().len(), before, "it answers without Slack");
    })
    .await;
}

#[tokio::test]
async fn a_stored_identity_outlives_a_changed_address_and_says_so() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        world.client.notify(notify("1", "case.started", &["ben"])).await.unwrap();
        world.settled().await;
        world.client.upsert(TENANT, vec![person("ben", "new-address@demo.example")]).await;
        let request = ResolveIdentityRequest {
            tenant_id: TENANT.into(),
            subject: Some(Subject::UserId("ben".into())),
            actor: None,
        };
        let answer = world.client.resolve_identity(request).await.unwrap();
        assert!(answer.stale, "{answer:?}");
        assert_eq!(answer.member.unwrap().slack_user_id, "U0DEMOBEN");
        let again = notify("2", "case.started", &["ben"]);
        world.client.notify(again).await.unwrap();
        world.settled().await;
        assert_eq!(world.messages(2).await[1].user.as_deref(), Some("U0DEMOBEN"));
    })
    .await;
}

#[tokio::test]
async fn settings_change_only_where_they_are_named_and_not_behind_ones_back() {
    for_each_database(async |world| {
        let zone = Settings { time_zone: "Europe/Vienna".into(), ..Settings::default() };
        let first = world.client.set(TENANT, zone, &["time_zone"]).await.unwrap();
        assert!(first.sending_allowed, "was on and was not named");
        let request = |version, locale: &str| UpdateSettingsRequest {
            tenant_id: TENANT.into(),
            settings: Some(Settings { locale: locale.into(), version, ..Settings::default() }),
            ..UpdateSettingsRequest::default()
        };
        let second = world.client.update_settings(request(first.version, "de-AT")).await.unwrap();
        let second = second.settings.unwrap();
        assert_eq!((&*second.locale, &*second.time_zone), ("de-AT", "Europe/Vienna"));
        // The same again is no change.
        let same = world.client.update_settings(request(second.version, "de-AT")).await.unwrap();
        assert_eq!(same.settings.as_ref(), Some(&second));
        let stale = world.client.update_settings(request(first.version, "fr")).await.unwrap_err();
        assert_eq!(stale.code(), Code::Aborted);
        let zone = Settings { time_zone: "Mars/Olympus".into(), ..Settings::default() };
        let refused = world.client.set(TENANT, zone, &["time_zone"]).await.unwrap_err();
        assert_eq!(bad_fields(&refused), ["settings.time_zone"]);
    })
    .await;
}

/// Slack shows them their messages by e-mail until they sign in for the first time.
#[tokio::test]
async fn a_member_who_was_invited_and_never_signed_in_is_matched() {
    let invited = json!({ "id": "U0INVITED", "is_invited_user": true,
        "profile": { "email": "new@firm.example" } });
    let plan = Plan { members: Some(vec![invited]), ..Plan::default() };
    plan.run(async |world| {
        world.client.upsert(TENANT, vec![person("new", "new@firm.example")]).await;
        let sent = world.client.notify(task("welcome", &["new"])).await.unwrap();
        let ended = world.client.ended(TENANT, &sent.notification_id).await;
        assert_eq!(ended[0].slack_target, "U0INVITED");
        assert_eq!(world.messages(1).await[0].user.as_deref(), Some("U0INVITED"));
        let list = world.client.workspace(TENANT).await.unwrap().directory.unwrap();
        assert_eq!((list.matchable, list.invited), (1, 1));
    })
    .await;
}
