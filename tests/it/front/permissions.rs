//! Which callers may call which methods: each method, each role, each actor; decided before any
//! lookup.

use herald::rpc::{CallerConfig, RoleConfig, pb};
use tonic::Code;

use crate::support::client::{Client, reason};
use crate::support::world::{Plan, TENANT, caller};

/// A caller by its name in the tests, and the actor that it names.
type Who = (&'static str, Option<pb::Actor>);

fn actor(user: &str, permissions: &[pb::Permission]) -> pb::Actor {
    let permissions = permissions.iter().map(|permission| (*permission).into()).collect();
    pb::Actor { user_id: user.into(), permissions }
}

/// Calls every method of reading and administration about `ben`; returns the name of each with the
/// reason of its refusal, if it was refused.
#[expect(clippy::needless_update, reason = "one macro for requests of every shape")]
async fn denials(client: &Client, actor: Option<&pb::Actor>) -> Vec<(&'static str, String)> {
    let (tenant_id, user_id) = (TENANT.to_owned(), "ben".to_owned());
    let notification_id = uuid::Uuid::now_v7().to_string();
    let mut denied = Vec::new();
    macro_rules! ask {
        ($method:ident, $request:ident { $($field:ident $(: $value:expr)?),* }) => {
            let request = pb::$request {
                tenant_id: tenant_id.clone(),
                actor: actor.cloned(),
                $($field $(: $value)?,)*
                ..Default::default()
            };
            if let Err(status) = client.$method(request).await
                && status.code() == Code::PermissionDenied
            {
                denied.push((stringify!($method), reason(&status)));
            }
        };
    }
    ask!(get_preferences, GetPreferencesRequest { user_id: user_id.clone() });
    ask!(list_notifications, ListNotificationsRequest {});
    ask!(list_notifications, ListNotificationsRequest { user_id: user_id.clone() });
    ask!(list_people, ListPeopleRequest {});
    ask!(delete_person, DeletePersonRequest { user_id: user_id.clone() });
    ask!(pin_identity, PinIdentityRequest { user_id: user_id.clone(), slack_user_id: "U1".into() });
    ask!(clear_identity, ClearIdentityRequest { user_id: user_id.clone() });
    ask!(refresh_directory, RefreshDirectoryRequest {});
    ask!(list_event_types, ListEventTypesRequest {});
    ask!(allow_sending, AllowSendingRequest {});
    ask!(stop_sending, StopSendingRequest {});
    ask!(cancel_notification, CancelNotificationRequest { notification_id });
    ask!(list_failed, ListFailedRequest {});
    let delivery_ids = vec![uuid::Uuid::now_v7().to_string()];
    let request_id = delivery_ids[0].clone();
    ask!(replay_deliveries, ReplayDeliveriesRequest { request_id, delivery_ids });
    denied
}

fn callers() -> Vec<CallerConfig> {
    let user =
        CallerConfig { user_id: Some("ben".into()), ..caller("user", RoleConfig::User, &[TENANT]) };
    let backend = CallerConfig {
        may_act_for_users: true,
        ..caller("backend", RoleConfig::Service, &[TENANT])
    };
    let deputy = CallerConfig {
        may_act_for_users: true,
        may_administer_for_users: true,
        ..caller("deputy", RoleConfig::Service, &[TENANT])
    };
    vec![
        deputy,
        caller("administrator", RoleConfig::Administrator, &[TENANT]),
        caller("service", RoleConfig::Service, &[TENANT]),
        caller("stranger", RoleConfig::Administrator, &["other"]),
        user,
        backend,
    ]
}

#[tokio::test]
async fn each_role_may_do_its_own() {
    const ROLE: &str = "ROLE_NOT_ALLOWED";
    const NOT_OWN: &str = "NOT_OWN_PROFILE";
    const EDIT: pb::Permission = pb::Permission::EditOwnProfile;
    let administration = [
        "list_people",
        "pin_identity",
        "clear_identity",
        "refresh_directory",
        "list_event_types",
        "allow_sending",
        "stop_sending",
        "list_failed",
        "replay_deliveries",
    ];
    let platform = [
        "list_notifications",
        "list_people",
        "delete_person",
        "pin_identity",
        "clear_identity",
        "refresh_directory",
        "list_event_types",
        "allow_sending",
        "stop_sending",
        "cancel_notification",
        "list_failed",
        "replay_deliveries",
    ];
    let everything = [
        "get_preferences",
        "list_notifications",
        "list_notifications",
        "list_people",
        "delete_person",
        "pin_identity",
        "clear_identity",
        "refresh_directory",
        "list_event_types",
        "allow_sending",
        "stop_sending",
        "cancel_notification",
        "list_failed",
        "replay_deliveries",
    ];
    let same = |methods: &[&'static str], reason: &str| -> Vec<(&'static str, String)> {
        methods.iter().map(|method| (*method, reason.to_owned())).collect()
    };
    let mut of_another = same(&everything, ROLE);
    of_another[0].1 = NOT_OWN.into();
    of_another[2].1 = NOT_OWN.into();
    let cases: Vec<(Who, Vec<(&str, String)>)> = vec![
        (("administrator", None), Vec::new()),
        (("service", None), same(&administration, ROLE)),
        (("user", None), same(&platform, ROLE)),
        (("stranger", None), same(&everything, "TENANT_NOT_ALLOWED")),
        (("service", Some(actor("ben", &[EDIT]))), same(&everything, "ACTOR_NOT_ALLOWED")),
        (("backend", Some(actor("ben", &[EDIT]))), same(&platform, ROLE)),
        (("backend", Some(actor("clara", &[EDIT]))), of_another),
        (
            ("backend", Some(actor("clara", &[pb::Permission::Administer]))),
            same(&everything, "ACTOR_PERMISSION_NOT_ALLOWED"),
        ),
        (("deputy", Some(actor("clara", &[pb::Permission::Administer]))), Vec::new()),
    ];
    let plan = Plan { callers: callers(), ready: false, ..Plan::default() };
    plan.run(async |world| {
        for ((key, actor), expected) in &cases {
            let client = world.client(0, Some(key)).await;
            assert_eq!(&denials(&client, actor.as_ref()).await, expected, "{key} {actor:?}");
        }
        // The streams too.
        for (key, expected) in [("user", "ROLE_NOT_ALLOWED"), ("stranger", "TENANT_NOT_ALLOWED")] {
            let client = world.client(0, Some(key)).await;
            let status = client.watch_deliveries(TENANT, None).await.unwrap_err();
            assert_eq!(reason(&status), expected);
            let id = uuid::Uuid::now_v7().to_string();
            let status = client.watch_notification(TENANT, &id).await.unwrap_err();
            assert_eq!(reason(&status), expected);
        }
    })
    .await;
}
