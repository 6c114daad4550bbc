//! Each cell of the table of rights, tested through the API.

use herald::domain::access::{About, Cell, Refusal, Right, TABLE, Who, Whose};
use herald::rpc::{CallerConfig, RoleConfig, pb};
use prost::Message as _;
use tonic::Code;

use super::door::{Answer, Caller, Door, Ids, names_an_actor, path};
use crate::support::client::{micros, task};
use crate::support::world::{Plan, TENANT, World, caller};

/// Does not exist: an allowed DeleteTenant must not erase the tenant of the other calls.
const ENDING: &str = "ending";

/// The person who acts, and another person.
const OWN: &str = "ben";
const OTHER: &str = "ada";

const EDIT: &[pb::Permission] = &[pb::Permission::EditOwnProfile];
const ADMINISTER: &[pb::Permission] = &[pb::Permission::Administer];

/// Callers with that identity; some identities can be reached in several ways. Calls about all
/// tenants need a caller for all tenants.
fn callers_as(who: Who, about: About) -> Vec<Caller> {
    let of = |key, actor| Caller { key, actor };
    match who {
        Who::Service if about == About::AllTenants => vec![of("platform-of-all", None)],
        Who::Administrator if about == About::AllTenants => vec![of("operator", None)],
        Who::User if about == About::AllTenants => vec![of("user-of-all", None)],
        Who::Service => vec![of("platform", None), of("deputy", None)],
        Who::Administrator => vec![
            of("admin", None),
            of("admin-for-users", None),
            of("admin-for-users", Some((OWN, ADMINISTER))),
            of("deputy", Some((OWN, ADMINISTER))),
        ],
        Who::User => vec![of("user", None)],
        Who::Actor => {
            vec![of("platform", Some((OWN, &[]))), of("admin-for-users", Some((OWN, &[])))]
        }
        Who::Editor => vec![of("platform", Some((OWN, EDIT))), of("deputy", Some((OWN, EDIT)))],
    }
}

fn plan() -> Plan {
    let acting =
        |name, role| CallerConfig { may_act_for_users: true, ..caller(name, role, &[TENANT]) };
    let user =
        CallerConfig { user_id: Some(OWN.into()), ..caller("user", RoleConfig::User, &[TENANT]) };
    let deputy =
        CallerConfig { may_administer_for_users: true, ..acting("deputy", RoleConfig::Service) };
    let user_of_all = CallerConfig {
        user_id: Some(OWN.into()),
        ..caller("user-of-all", RoleConfig::User, &["*"])
    };
    let callers = vec![
        caller("operator", RoleConfig::Administrator, &["*"]),
        caller("platform-of-all", RoleConfig::Service, &["*"]),
        user_of_all,
        caller("admin", RoleConfig::Administrator, &[TENANT, ENDING]),
        CallerConfig {
            tenants: vec![TENANT.into(), ENDING.into()],
            ..acting("admin-for-users", RoleConfig::Administrator)
        },
        acting("platform", RoleConfig::Service),
        deputy,
        user,
    ];
    Plan { callers, ready: false, ..Plan::default() }
}

fn reason(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Role => "ROLE_NOT_ALLOWED",
        Refusal::NotOwn => "NOT_OWN_PROFILE",
        Refusal::Permission => "PERMISSION_MISSING",
        Refusal::ActorRequired => "ACTOR_REQUIRED",
    }
}

/// The ids of each of the two people, and ids that do not exist.
struct Things {
    own: Ids,
    other: Ids,
    nobody: Ids,
}

impl Things {
    async fn make(world: &mut World) -> Self {
        world.client = world.client(0, Some("admin")).await;
        world.make_ready().await;
        world.client.load(&[OWN, OTHER]).await;
        let mut of = Vec::new();
        for user in [OWN, OTHER] {
            let answer = world.client.notify(task(&format!("for {user}"), &[user])).await.unwrap();
            of.push(Ids {
                tenant: TENANT.into(),
                user: user.into(),
                notification: answer.notification_id,
                delivery: answer.verdicts[0].delivery_id.clone(),
                email: format!("{user}@demo.example"),
            });
        }
        world.settled().await;
        let nothing = uuid::Uuid::now_v7().to_string();
        let nobody = Ids { notification: nothing.clone(), delivery: nothing, ..of[1].clone() };
        let other = of.pop().unwrap();
        Self { own: of.pop().unwrap(), other, nobody }
    }

    fn of(&self, whose: Whose) -> &Ids {
        match whose {
            Whose::Own => &self.own,
            Whose::Other => &self.other,
        }
    }
}

/// Calls after which a person has ended.
const ENDS: [&str; 3] = ["DeletePerson", "RenamePerson", "MergePeople"];

/// Allowed calls may change data, so they come last, and those that end people at the very end.
fn order(right: &Right, cell: Cell) -> u8 {
    match cell {
        Cell::Refused(_) | Cell::Absent => 0,
        Cell::Allowed if ENDS.iter().any(|end| right.method.ends_with(end)) => 2,
        Cell::Allowed => 1,
    }
}

#[tokio::test]
async fn each_cell_of_the_table_holds_at_the_front_door() {
    plan()
        .run(async |world| {
            let things = Things::make(world).await;
            let door = Door::new(world.replicas[0].rpc).await;
            let mut cells = Vec::new();
            for right in TABLE {
                for who in Who::ALL {
                    for whose in [Whose::Own, Whose::Other] {
                        cells.push((right, *who, whose, right.cell(*who, whose)));
                    }
                }
            }
            cells.sort_by_key(|(right, _, _, cell)| order(right, *cell));
            for (right, who, whose, cell) in &cells {
                let method = door.method(right.method);
                let callers = callers_as(*who, right.about).into_iter();
                let named = names_an_actor(&method, right.form);
                let mut ids = things.of(*whose).clone();
                if right.method.ends_with("DeleteTenant") && *cell == Cell::Allowed {
                    ids.tenant = ENDING.into();
                }
                for caller in callers.filter(|caller| named || caller.actor.is_none()) {
                    let answer = door.call(&method, right.form, &caller, &ids).await;
                    if right.method.ends_with("TestSlack") && answer.code == Code::Ok {
                        let told = pb::TestSlackResponse::decode(answer.body.as_slice()).unwrap();
                        world.client.book_test(TENANT, &told);
                    }
                    let at = format!("{right:?} {who:?} {whose:?} {caller:?}: {answer:?}");
                    match cell {
                        Cell::Allowed => assert!(answer.let_in(), "{at}"),
                        Cell::Refused(refusal) => {
                            let refused = (answer.code, answer.reason.as_str());
                            assert_eq!(refused, (Code::PermissionDenied, reason(*refusal)), "{at}");
                        }
                        Cell::Absent => {
                            let nobody = &things.nobody;
                            let absent = door.call(&method, right.form, &caller, nobody).await;
                            assert_eq!(answer.code, Code::NotFound, "{at}");
                            assert_eq!(answer, absent, "{at}");
                        }
                    }
                }
            }
            world.settled().await;
        })
        .await;
}

/// A caller for one tenant makes no call about all tenants, whatever its role.
#[tokio::test]
async fn a_caller_of_one_tenant_does_not_oversee_all() {
    plan()
        .run(async |world| {
            let door = Door::new(world.replicas[0].rpc).await;
            let rights = TABLE.iter().filter(|right| right.about == About::AllTenants);
            let mut tried = 0;
            for right in rights {
                for key in ["admin", "admin-for-users", "platform", "user"] {
                    let caller = Caller { key, actor: None };
                    let method = door.method(right.method);
                    let answer = door.call(&method, right.form, &caller, &Ids::default()).await;
                    assert_eq!(answer.code, Code::PermissionDenied, "{right:?} {key} {answer:?}");
                    tried += 1;
                }
            }
            assert!(tried > 0, "no call is about all tenants");
        })
        .await;
}

/// Every method has rows in the table, and the table has no others.
#[tokio::test]
async fn each_method_has_a_row() {
    let mut with_rows: Vec<&str> = TABLE.iter().map(|right| right.method).collect();
    with_rows.dedup();
    let methods: Vec<String> = pb_methods();
    assert_eq!(with_rows, methods, "left: domain::access::TABLE, right: proto/herald/v1");
}

fn pb_methods() -> Vec<String> {
    let pool = prost_reflect::DescriptorPool::decode(pb::DESCRIPTORS).unwrap();
    let mut services: Vec<_> =
        pool.services().filter(|one| one.package_name() == "herald.v1").collect();
    // In the order of the table: the service that all callers use comes first.
    services.sort_by_key(|service| service.name() != "HeraldService");
    services.iter().flat_map(|one| one.methods().map(|method| path(&method))).collect()
}

/// A notification to several people shows each of them only their own part.
#[tokio::test]
async fn an_actor_sees_of_a_notification_what_reaches_them() {
    plan()
        .run(async |world| {
            world.client = world.client(0, Some("admin")).await;
            world.make_ready().await;
            world.client.load(&[OWN, OTHER, "clara"]).await;
            // Another user who is the same Slack member as `ben`.
            let twin = crate::support::client::person("ben-2", "ben@demo.example");
            world.client.upsert(TENANT, vec![twin]).await;
            let users = [OTHER, OWN, "ben-2"];
            let answer = world.client.notify(task("for several", &users)).await.unwrap();
            world.settled().await;
            let door = Door::new(world.replicas[0].rpc).await;
            let get = door.method("herald.v1.HeraldService/GetNotification");
            let watch = door.method("herald.v1.HeraldService/WatchNotification");
            let ids = Ids {
                tenant: TENANT.into(),
                notification: answer.notification_id.clone(),
                ..Ids::default()
            };
            let all = world.client.notification(TENANT, &answer.notification_id).await.unwrap();
            assert_eq!(all.deliveries.len(), 2, "{all:?}");
            for user in ["ada", "ben", "ben-2"] {
                let caller = Caller { key: "platform", actor: Some((user, &[])) };
                let seen = door.call(&get, "", &caller, &ids).await;
                let seen = pb::GetNotificationResponse::decode(seen.body.as_slice()).unwrap();
                let seen = seen.notification.unwrap();
                assert_theirs(&seen, user);
                let told = door.call(&watch, "", &caller, &ids).await;
                let told = pb::WatchNotificationResponse::decode(told.body.as_slice()).unwrap();
                let Some(pb::watch_notification_response::Update::Notification(told)) = told.update
                else {
                    panic!("the first message of a watch is the notification");
                };
                assert_theirs(&told, user);
                assert_eq!(micros(&told.created_at.unwrap()), micros(&seen.created_at.unwrap()));
            }
            let stranger = Caller { key: "platform", actor: Some(("clara", EDIT)) };
            for method in [&get, &watch] {
                let answer: Answer = door.call(method, "", &stranger, &ids).await;
                assert_eq!((answer.code, answer.reason.as_str()), (Code::NotFound, "NOT_FOUND"));
            }
        })
        .await;
}

fn assert_theirs(seen: &pb::Notification, user: &str) {
    let named: Vec<_> = seen.deliveries.iter().map(|one| one.user_id.as_str()).collect();
    assert_eq!(named, [user], "{seen:?}");
    assert!(seen.deliveries[0].also_user_ids.is_empty(), "{seen:?}");
}

/// Changes after the first message are limited too: an actor does not see what happens to the
/// deliveries of others.
#[tokio::test]
async fn an_actor_s_watch_tells_of_their_own_deliveries_alone() {
    plan()
        .run(async |world| {
            world.client = world.client(0, Some("admin")).await;
            world.make_ready().await;
            world.client.load(&[OWN, OTHER]).await;
            let soon = world.now().await.0 / 1_000_000 + 3600;
            let soon = prost_types::Timestamp { seconds: soon, nanos: 0 };
            let later =
                pb::NotifyRequest { deliver_after: Some(soon), ..task("later", &[OTHER, OWN]) };
            let answer = world.client.notify(later).await.unwrap();
            let platform = world.client(0, Some("platform")).await;
            let actor = Some(pb::Actor { user_id: OWN.into(), permissions: Vec::new() });
            let request = pb::WatchNotificationRequest {
                tenant_id: TENANT.into(),
                notification_id: answer.notification_id.clone(),
                actor,
            };
            let mut watch = platform.watch_notification_as(request).await.unwrap();
            assert!(watch.message().await.unwrap().is_some());
            let cancel = pb::CancelNotificationRequest {
                tenant_id: TENANT.into(),
                notification_id: answer.notification_id,
                actor: None,
            };
            world.client.cancel_notification(cancel).await.unwrap();
            let mut told = Vec::new();
            while let Some(message) = watch.message().await.unwrap() {
                let Some(pb::watch_notification_response::Update::Change(change)) = message.update
                else {
                    panic!("only the first message is the notification");
                };
                told.push((change.user_id, change.also_user_ids));
            }
            assert_eq!(told, [(OWN.to_owned(), Vec::new())]);
        })
        .await;
}
