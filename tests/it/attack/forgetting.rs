//! After DeletePerson the database has no data of the person: in every byte of the SQLite file and
//! its log, and in every column of every table on PostgreSQL.

use herald::rpc::pb::{self, DeliveryState};
use sea_orm::{ConnectionTrait as _, Statement};

use super::dump::{Part, found};
use crate::support::client::{fields, notify_targets};
use crate::support::world::{Plan, TENANT, World, for_each_database, until};

/// In everything that names the person.
const USER: &str = "canary-user-4711@victim.example";
const NAME: &str = "Canary Surname4711";
const WORDS: &str = "canary words 4711";
const REQUEST: &str = "invite:canary-request-4711";
const SUBJECT: &str = "canary-subject-4711";
/// Ben's Slack account in the demo workspace, which is the person's.
const MEMBER: &str = "U0DEMOBEN";

/// In a channel, which stays.
const ROLE: &str = "canary-role-4711";
const CHANNEL: &str = "track:4711";

const CANARIES: [&str; 7] = [USER, NAME, WORDS, REQUEST, SUBJECT, ROLE, "victim.example"];

fn person() -> pb::Person {
    pb::Person {
        user_id: USER.into(),
        email: "ben@demo.example".into(),
        display_name: NAME.into(),
        ..pb::Person::default()
    }
}

fn request(id: &str) -> pb::NotifyRequest {
    let data =
        serde_json::json!({ "task": { "name": WORDS }, "process": { "name": "Onboarding" } });
    pb::NotifyRequest {
        request_id: id.into(),
        subject_key: SUBJECT.into(),
        data: Some(fields(data)),
        ..notify_targets("", "task.assigned", [pb::recipient::Target::Person(person())])
    }
}

async fn dump(world: &World) -> Vec<Part> {
    let config = world.settings().store;
    super::dump::dump(&world.raw().await, &config.data_dir).await
}

async fn plant(world: &World) -> String {
    let client = &world.client;
    let preference = pb::SetPreferenceRequest {
        tenant_id: TENANT.into(),
        user_id: USER.into(),
        event_type: "task.due".into(),
        value: pb::PreferenceValue::Off.into(),
        actor: Some(pb::Actor {
            user_id: USER.into(),
            permissions: vec![pb::Permission::EditOwnProfile.into()],
        }),
    };
    client.set_preference(preference).await.unwrap();
    let sent = client.notify(request(REQUEST)).await.unwrap();
    let ended = client.ended(TENANT, &sent.notification_id).await;
    assert_eq!(ended[0].state(), DeliveryState::Sent);
    let pin = pb::PinIdentityRequest {
        tenant_id: TENANT.into(),
        user_id: USER.into(),
        slack_user_id: MEMBER.into(),
        actor: None,
    };
    client.pin_identity(pin).await.unwrap();
    join_channel(world).await;
    until("the trail has their entries", async || {
        let list = pb::ListAuditRequest { tenant_id: TENANT.into(), ..Default::default() };
        let told = client.list_audit(list).await.unwrap().entries;
        told.iter().any(|one| one.subject_user_id == USER).then_some(())
    })
    .await;
    sent.notification_id
}

/// The person is in a channel, by a call that names no other.
async fn join_channel(world: &World) {
    let client = &world.client;
    let wish = pb::ChannelWish { name: "Track 4711".into(), ..Default::default() };
    let ensure = pb::EnsureChannelRequest {
        tenant_id: TENANT.into(),
        channel_key: CHANNEL.into(),
        wish: Some(wish),
        ..Default::default()
    };
    client.ensure_channel(ensure).await.unwrap();
    let target = Some(pb::channel_member::Target::UserId(USER.into()));
    let add = pb::AddChannelMembersRequest {
        tenant_id: TENANT.into(),
        channel_key: CHANNEL.into(),
        members: vec![pb::ChannelMember { target, roles: vec![ROLE.into()] }],
        actor: None,
    };
    client.add_channel_members(add).await.unwrap();
    until("the person is in the channel", async || {
        let list = pb::ListChannelMembersRequest {
            tenant_id: TENANT.into(),
            channel_key: CHANNEL.into(),
            ..Default::default()
        };
        let members = client.list_channel_members(list).await.unwrap().members;
        let inside = |one: &pb::ChannelMemberStatus| one.slack_user_id == MEMBER;
        members.iter().any(inside).then_some(())
    })
    .await;
}

async fn delete(world: &World) -> pb::DeletePersonResponse {
    let request =
        pb::DeletePersonRequest { tenant_id: TENANT.into(), user_id: USER.into(), actor: None };
    world.client.delete_person(request).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_byte_of_the_database_is_left_of_a_person() {
    for_each_database(async |world| {
        let notification = plant(world).await;
        let before = dump(world).await;
        for readable in [USER, REQUEST, SUBJECT, ROLE] {
            assert!(!found(&before, readable).is_empty(), "{readable} was not planted");
        }
        let deleted = delete(world).await;
        assert!(deleted.deleted && deleted.in_flight_deliveries == 0, "{deleted:?}");
        // The feed may have been numbered meanwhile.
        until("nothing is left", async || {
            let dump = dump(world).await;
            let left: Vec<_> =
                CANARIES.iter().map(|canary| (canary, found(&dump, canary))).collect();
            left.iter().all(|(_, places)| places.is_empty()).then_some(())
        })
        .await;
        // The lane named the member. Only the member list may still show that the workspace has
        // them.
        let raw = world.raw().await;
        let lanes = format!("SELECT COUNT(*) FROM lanes WHERE lane = '{MEMBER}'");
        let statement = Statement::from_string(raw.get_database_backend(), lanes);
        let lanes: i64 =
            raw.query_one_raw(statement).await.unwrap().unwrap().try_get_by_index(0).unwrap();
        assert_eq!(lanes, 0);
        drop(raw);

        // The same call is still recognized and not sent again.
        let again = world.client.notify(request(REQUEST)).await.unwrap();
        assert_eq!(again.notification_id, notification);
        let data = Some(fields(
            serde_json::json!({ "task": { "name": "x" }, "process": { "name": "y" } }),
        ));
        let other = pb::NotifyRequest { data, ..request(REQUEST) };
        let refused = world.client.notify(other).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::AlreadyExists);
        assert_eq!(world.sandbox.messages().len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trail_stays_whole_and_names_the_deleted_no_more() {
    Plan::default()
        .run(async |world| {
            plant(world).await;
            delete(world).await;
            let list = || pb::ListAuditRequest {
                tenant_id: TENANT.into(),
                page_size: 500,
                ..Default::default()
            };
            let told = until("the deletion is in the trail", async || {
                let told = world.client.list_audit(list()).await.unwrap().entries;
                told.iter().any(|one| one.action == "DeletePerson").then_some(told)
            })
            .await;
            assert!(
                told.iter().all(|one| one.actor_user_id != USER && one.subject_user_id != USER)
            );
            let preference = told.iter().find(|one| one.action == "SetPreference").unwrap();
            assert!(preference.actor_erased && preference.subject_erased);
            let pin = told.iter().find(|one| one.action == "PinIdentity").unwrap();
            assert!(pin.subject_erased && pin.subject_detail.is_empty());
            let joined = told.iter().find(|one| one.action == "AddChannelMembers").unwrap();
            assert!(joined.subject_erased && joined.object.ends_with(CHANNEL));
            world.drain().await;
            let store = herald::store::Store::open(&world.settings().store).await.unwrap();
            assert_eq!(store.audit().verify().await.unwrap().broken, None);
            store.close().await;
        })
        .await;
}
