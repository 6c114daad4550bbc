//! People, pins, the member list, and the kinds of notification.

use herald::rpc::pb::{self, IdentityRule, NoMatchReason};
use tonic::Code;

use crate::support::client::{bad_fields, person, reason, task};
use crate::support::world::{TENANT, World, for_each_database};

async fn pin(
    world: &World,
    tenant: &str,
    user: &str,
    member: &str,
) -> Result<pb::PinIdentityResponse, tonic::Status> {
    let request = pb::PinIdentityRequest {
        tenant_id: tenant.into(),
        user_id: user.into(),
        slack_user_id: member.into(),
        actor: None,
    };
    world.client.pin_identity(request).await
}

#[tokio::test]
async fn people_are_listed_with_who_they_are_in_slack() {
    for_each_database(async |world| {
        world.client.load(&["ben", "clara"]).await;
        world.client.upsert(TENANT, vec![person("zed", "zed@elsewhere.example")]).await;
        world.client.upsert("other", vec![person("mine", "mine@elsewhere.example")]).await;
        let mut request =
            pb::ListPeopleRequest { tenant_id: TENANT.into(), page_size: 2, ..Default::default() };
        let first = world.client.list_people(request.clone()).await.unwrap();
        request.page_token = first.next_page_token;
        let second = world.client.list_people(request).await.unwrap();
        assert!(second.next_page_token.is_empty());
        let people = [first.people, second.people].concat();
        let told: Vec<_> = people
            .iter()
            .map(|one| {
                let member = one.member.as_ref().map_or("", |member| &member.slack_user_id);
                let reason = one.no_match.as_ref().map(pb::NoMatch::reason);
                (one.person.as_ref().unwrap().user_id.as_str(), member, reason)
            })
            .collect();
        let nobody = Some(NoMatchReason::NoMember);
        let expected =
            [("ben", "U0DEMOBEN", None), ("clara", "U0DEMOCLA", None), ("zed", "", nobody)];
        assert_eq!(told, expected);
    })
    .await;
}

#[tokio::test]
async fn a_pin_outranks_the_rules_until_it_is_cleared() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        let pinned = pin(world, TENANT, "ben", "U0DEMOCLA").await.unwrap().identity.unwrap();
        assert_eq!(pinned.rule(), IdentityRule::Pinned);
        assert!(!pinned.member.unwrap().display_name.is_empty());
        world.client.notify(task("to the pin", &["ben"])).await.unwrap();
        let conversation = world.messages(1).await[0].conversation.clone();
        let clear = pb::ClearIdentityRequest {
            tenant_id: TENANT.into(),
            user_id: "ben".into(),
            actor: None,
        };
        assert!(world.client.clear_identity(clear.clone()).await.unwrap().cleared);
        assert!(!world.client.clear_identity(clear).await.unwrap().cleared);
        world.client.notify(task("by the rules", &["ben"])).await.unwrap();
        assert_ne!(world.messages(2).await[1].conversation, conversation);
        let status = pin(world, TENANT, "ben", "U0NOBODY").await.unwrap_err();
        assert_eq!(bad_fields(&status), ["slack_user_id"]);
        // Another tenant has no workspace, and learns nothing about this one's.
        world.client.upsert("other", vec![person("ben", "ben@demo.example")]).await;
        let status = pin(world, "other", "ben", "U0DEMOBEN").await.unwrap_err();
        assert_eq!(reason(&status), "NOT_CONNECTED");
    })
    .await;
}

#[tokio::test]
async fn the_member_list_is_read_anew_on_request() {
    for_each_database(async |world| {
        let before = world.members_read(TENANT, 1).await;
        let request = pb::RefreshDirectoryRequest {
            tenant_id: TENANT.into(),
            ..pb::RefreshDirectoryRequest::default()
        };
        let told = world.client.refresh_directory(request.clone()).await.unwrap();
        assert!(told.directory.unwrap().generation >= before.generation);
        world.members_read(TENANT, before.generation + 1).await;
        let other = pb::RefreshDirectoryRequest {
            tenant_id: "other".into(),
            ..pb::RefreshDirectoryRequest::default()
        };
        let status = world.client.refresh_directory(other).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
    })
    .await;
}

#[tokio::test]
async fn event_types_say_what_they_need_and_whether_they_are_on() {
    for_each_database(async |world| {
        let settings = pb::Settings {
            disabled_event_types: vec!["task.due".into()],
            ..pb::Settings::default()
        };
        world.client.set(TENANT, settings, &["disabled_event_types"]).await.unwrap();
        let request = pb::ListEventTypesRequest { tenant_id: TENANT.into(), ..Default::default() };
        let listed = world.client.list_event_types(request).await.unwrap().event_types;
        assert_eq!(listed.len(), 12);
        for kind in listed {
            assert_eq!(kind.enabled, kind.name != "task.due");
            assert!(kind.fields.iter().any(|field| field.required) || !kind.any_of.is_empty());
            assert!(!kind.summary.is_empty() && kind.demo_data.is_some(), "{}", kind.name);
        }
    })
    .await;
}
