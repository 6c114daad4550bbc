//! SetPreference: its effects on storage and on messages, conflicting settings, and permissions.

use herald::rpc::pb::{
    Actor, Permission, PreferenceValue, SetPreferenceRequest, SetPreferenceResponse, Settings,
    SuppressionReason,
};
use herald::rpc::{CallerConfig, RoleConfig};
use tonic::{Code, Status};

use crate::support::client::{Client, notify, person, reason, task};
use crate::support::world::{Plan, TENANT, World, caller, for_each_database};

fn preference(user: &str, event_type: &str, value: PreferenceValue) -> SetPreferenceRequest {
    SetPreferenceRequest {
        tenant_id: TENANT.into(),
        user_id: user.into(),
        event_type: event_type.into(),
        value: value.into(),
        actor: None,
    }
}

async fn set(
    world: &World,
    user: &str,
    event_type: &str,
    value: PreferenceValue,
) -> SetPreferenceResponse {
    world.client.set_preference(preference(user, event_type, value)).await.unwrap()
}

#[tokio::test]
async fn turning_on_opens_the_conversation_that_messages_then_go_to() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        let on = set(world, "ben", "", PreferenceValue::On).await;
        assert!(on.effective && on.obstacles.is_empty(), "{on:?}");
        assert_eq!(on.member.unwrap().slack_user_id, "U0DEMOBEN");
        assert!(on.channel_id.starts_with('D'), "{}", on.channel_id);
        let stored = world.client.person(TENANT, "ben").await.unwrap();
        assert_eq!(stored.preference(), PreferenceValue::On);
        assert!(stored.identity.is_some());
        world.client.notify(notify("1", "case.started", &["ben"])).await.unwrap();
        world.settled().await;
        assert_eq!(world.messages(1).await[0].conversation, on.channel_id);
    })
    .await;
}

#[tokio::test]
async fn turning_on_says_what_stands_in_the_way() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        world.client.upsert(TENANT, vec![person("nobody", "nobody@demo.example")]).await;
        let codes = |answer: &SetPreferenceResponse| -> Vec<String> {
            assert!(answer.obstacles.iter().all(|obstacle| !obstacle.sentence.is_empty()));
            answer.obstacles.iter().map(|obstacle| obstacle.code.clone()).collect()
        };
        let nobody = set(world, "nobody", "", PreferenceValue::On).await;
        assert_eq!(codes(&nobody), ["no_member"]);
        assert!(nobody.effective && nobody.member.is_none());

        world.client.switch_sending(TENANT, false).await;
        let off = set(world, "ben", "", PreferenceValue::On).await;
        assert_eq!(codes(&off), ["sending_off"]);
        assert_eq!(off.suppression(), SuppressionReason::SendingOff);
        assert!(!off.effective && !off.channel_id.is_empty());

        world.client.switch_sending(TENANT, true).await;
        set(world, "ben", "", PreferenceValue::Off).await;
        let beaten = set(world, "ben", "task.due", PreferenceValue::On).await;
        assert_eq!(codes(&beaten), ["preference_all_off"], "off for everything beats on for one");
    })
    .await;
}

#[tokio::test]
async fn values_fall_back_from_the_narrow_to_the_wide() {
    for_each_database(async |world| {
        use PreferenceValue::{Inherit, Off, On};
        world.client.load(&["ben"]).await;
        assert!(!set(world, "ben", "task.due", Off).await.effective);
        assert!(set(world, "ben", "task.assigned", Inherit).await.effective);
        assert!(set(world, "ben", "task.due", Inherit).await.effective);
        let opt_in = Settings { opt_in: true, ..Settings::default() };
        world.client.set(TENANT, opt_in, &["opt_in"]).await.unwrap();
        let inherited = set(world, "ben", "task.due", Inherit).await;
        assert_eq!(inherited.suppression(), SuppressionReason::OptIn);
        assert!(set(world, "ben", "task.due", On).await.effective);
        assert!(!set(world, "ben", "task.assigned", Inherit).await.effective);
        assert!(set(world, "ben", "", On).await.effective);
        assert!(set(world, "ben", "task.assigned", Inherit).await.effective);
        let unknown = world.client.set_preference(preference("ben", "no.such", On)).await;
        assert_eq!(unknown.unwrap_err().code(), Code::InvalidArgument);
    })
    .await;
}

/// Callers of each role; none of them may use another tenant.
fn guarded() -> Plan {
    let platform = CallerConfig {
        may_act_for_users: true,
        may_administer_for_users: true,
        ..caller("platform", RoleConfig::Service, &[TENANT])
    };
    let ben =
        CallerConfig { user_id: Some("ben".into()), ..caller("ben", RoleConfig::User, &[TENANT]) };
    let callers = vec![
        caller("admin", RoleConfig::Administrator, &[TENANT, "second"]),
        caller("plain", RoleConfig::Service, &[TENANT]),
        platform,
        ben,
    ];
    // Both tenants use one workspace.
    let adjust = |settings: &mut herald::config::Settings| {
        settings.app.workspace_sharing = herald::domain::access::sharing::Sharing::Allow;
    };
    Plan { callers, ready: false, adjust, ..Plan::default() }
}

fn refusal(result: Result<SetPreferenceResponse, Status>) -> String {
    let status = result.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    reason(&status)
}

#[tokio::test]
async fn people_choose_for_themselves_and_administrators_for_anybody() {
    guarded()
        .run(async |world| {
            let stranger = world.client(0, Some("nobody's key")).await;
            for client in [&world.client, &stranger] {
                let refused = client.workspace(TENANT).await.unwrap_err();
                assert_eq!(refused.code(), Code::Unauthenticated);
            }
            world.client = world.client(0, Some("admin")).await;
            world.make_ready().await;
            world.client.load(&["ben", "ada"]).await;

            let off = |user: &str| preference(user, "", PreferenceValue::Off);
            let as_ = |user: &str, permissions: &[Permission]| {
                let permissions = permissions.iter().map(|it| (*it).into()).collect();
                Some(Actor { user_id: user.into(), permissions })
            };
            let own = [Permission::EditOwnProfile];
            let key = async |key: &str| -> Client { world.client(0, Some(key)).await };
            let (ben, plain, platform) =
                (key("ben").await, key("plain").await, key("platform").await);

            ben.set_preference(off("ben")).await.unwrap();
            assert_eq!(refusal(ben.set_preference(off("ada")).await), "NOT_OWN_PROFILE");
            let posing = SetPreferenceRequest { actor: as_("ada", &own), ..off("ada") };
            assert_eq!(refusal(ben.set_preference(posing.clone()).await), "ACTOR_NOT_ALLOWED");
            assert_eq!(refusal(plain.set_preference(posing.clone()).await), "ACTOR_NOT_ALLOWED");
            assert_eq!(refusal(platform.set_preference(off("ada")).await), "ACTOR_REQUIRED");
            platform.set_preference(posing).await.unwrap();
            let other = SetPreferenceRequest { actor: as_("ada", &own), ..off("ben") };
            assert_eq!(refusal(platform.set_preference(other).await), "NOT_OWN_PROFILE");
            let bare = SetPreferenceRequest { actor: as_("ada", &[]), ..off("ada") };
            assert_eq!(refusal(platform.set_preference(bare).await), "PERMISSION_MISSING");
            let administering = [Permission::Administer];
            let for_ben = SetPreferenceRequest { actor: as_("ada", &administering), ..off("ben") };
            platform.set_preference(for_ben).await.unwrap();
            world.client.set_preference(off("ada")).await.unwrap();

            let refused = ben.notify(task("no", &["ben"])).await.unwrap_err();
            assert_eq!(reason(&refused), "ROLE_NOT_ALLOWED");
            let refused = plain.begin_connect(TENANT).await.unwrap_err();
            assert_eq!(reason(&refused), "ROLE_NOT_ALLOWED");
        })
        .await;
}

#[tokio::test]
async fn a_tenant_cannot_be_looked_into_from_another() {
    guarded()
        .run(async |world| {
            world.client = world.client(0, Some("admin")).await;
            world.make_ready().await;
            world.connect("second").await;
            let plain = world.client(0, Some("plain")).await;
            world.client.load(&["ben"]).await;
            let answer = plain.notify(task("mine", &["ben"])).await.unwrap();
            world.settled().await;
            let id = &answer.notification_id;
            plain.notification(TENANT, id).await.unwrap();

            let through_the_other = world.client.notification("second", id).await.unwrap_err();
            let unknown = uuid::Uuid::nil().to_string();
            let of_nobody = world.client.notification("second", &unknown).await.unwrap_err();
            assert_eq!(through_the_other.code(), Code::NotFound);
            assert_eq!(through_the_other.message(), of_nobody.message());

            for tenant in ["second", "never-heard-of"] {
                let refused = plain.notification(tenant, id).await.unwrap_err();
                assert_eq!(refused.code(), Code::PermissionDenied);
                assert_eq!(reason(&refused), "TENANT_NOT_ALLOWED");
            }
            // Both use one workspace; each sees its own people.
            let both = world.client.workspace("second").await.unwrap().workspace.unwrap();
            let mine = world.client.workspace(TENANT).await.unwrap().workspace.unwrap();
            assert_eq!(both.workspace_id, mine.workspace_id);
            let hidden = world.client.person("second", "ben").await.unwrap_err();
            assert_eq!(hidden.code(), Code::NotFound);
        })
        .await;
}
