//! The matrix across tenants: each method, called by callers of another tenant with ids of the
//! first. Two of the tenants share a Slack workspace. No answer reveals data of the first tenant,
//! none of its data changes, and whether an id exists there makes no difference.

use std::collections::BTreeSet;

use herald::domain::access::{About, Cell, Right, TABLE, Who, Whose};
use herald::rpc::{CallerConfig, RoleConfig, pb};
use tonic::Code;

use super::door::{
    Answer, Caller, Door, Ids, event_type_of, key_of_channel, names_a_tenant, names_an_actor,
    names_an_id, path, shown,
};
use super::is_one_person;
use crate::support::client::{notify, person};
use crate::support::world::{Plan, TENANT, World, caller};

/// Shares its Slack workspace with the first tenant.
const SHARING: &str = "sharing";
/// Has no workspace.
const APART: &str = "apart";
/// Does not exist.
const NOWHERE: &str = "nowhere";

/// A person of the first tenant, whose id does not exist in the others.
const SECRET_PERSON: &str = "canary-person-7f3a";
const SECRET_NAME: &str = "Canary Name 7f3a";
const SECRET_EMAIL: &str = "ada@demo.example";
const SECRET_REQUEST: &str = "canary-request-7f3a";
const SECRETS: [&str; 2] = [SECRET_NAME, SECRET_REQUEST];
/// The actor in the other tenants; the first tenant has a person with the same id.
const SAME_ID: &str = "ben";

const EDIT: &[pb::Permission] = &[pb::Permission::EditOwnProfile];
const ADMINISTER: &[pb::Permission] = &[pb::Permission::Administer];

/// The names of the keys of a tenant's callers.
fn keys(tenant: &str) -> [&'static str; 3] {
    match tenant {
        SHARING => ["admin-of-sharing", "platform-of-sharing", "user-of-sharing"],
        _ => ["admin-of-apart", "platform-of-apart", "user-of-apart"],
    }
}

/// A tenant in reach of a tenant's administrator, which does not exist: DeleteTenant must not erase
/// the one that the other calls are about.
fn ending(tenant: &str) -> String {
    format!("{tenant}-ending")
}

/// A caller of every kind, of one tenant.
fn strangers(tenant: &str) -> Vec<(Who, Caller)> {
    let [admin, platform, user] = keys(tenant);
    let of = |key, actor| Caller { key, actor };
    vec![
        (Who::Service, of(platform, None)),
        (Who::Administrator, of(admin, None)),
        (Who::Administrator, of(platform, Some((SAME_ID, ADMINISTER)))),
        (Who::User, of(user, None)),
        (Who::Actor, of(platform, Some((SAME_ID, &[])))),
        (Who::Editor, of(platform, Some((SAME_ID, EDIT)))),
    ]
}

fn plan() -> Plan {
    let mut callers = vec![caller("admin", RoleConfig::Administrator, &[TENANT])];
    for tenant in [SHARING, APART] {
        let [admin, platform, user] = keys(tenant);
        let ending = ending(tenant);
        callers.push(caller(admin, RoleConfig::Administrator, &[tenant, &ending]));
        callers.push(CallerConfig {
            may_act_for_users: true,
            may_administer_for_users: true,
            ..caller(platform, RoleConfig::Service, &[tenant])
        });
        callers.push(CallerConfig {
            user_id: Some(SAME_ID.into()),
            ..caller(user, RoleConfig::User, &[tenant])
        });
    }
    // Connects the second tenant, and does nothing else.
    callers.push(caller("operator", RoleConfig::Administrator, &["*"]));
    Plan { callers, ready: false, ..Plan::default() }
}

/// Creates the data of the first tenant: people, a notification, an event type with a template, a
/// channel. Returns the ids.
async fn first_tenant(world: &mut World) -> Ids {
    world.client = world.client(0, Some("operator")).await;
    world.make_ready().await;
    world.connect(SHARING).await;
    world.client = world.client(0, Some("admin")).await;
    world.client.load(&[SAME_ID]).await;
    let secret =
        pb::Person { display_name: SECRET_NAME.into(), ..person(SECRET_PERSON, SECRET_EMAIL) };
    world.client.upsert(TENANT, vec![secret]).await;
    let own = pb::EventType {
        name: event_type_of(SECRET_PERSON),
        display_name: SECRET_NAME.into(),
        ..pb::EventType::default()
    };
    let own =
        pb::CreateEventTypeRequest { tenant_id: TENANT.into(), event_type: Some(own), actor: None };
    world.client.create_event_type(own).await.unwrap();
    let simple = pb::SimpleMessage { heading: SECRET_NAME.into(), ..Default::default() };
    let template = pb::Template {
        event_type: event_type_of(SECRET_PERSON),
        locale: "en".into(),
        form: Some(pb::template::Form::Simple(simple)),
        ..pb::Template::default()
    };
    let template = pb::SetTemplateRequest {
        tenant_id: TENANT.into(),
        template: Some(template),
        ..Default::default()
    };
    world.client.set_template(template).await.unwrap();
    secret_channel(world).await;
    let request = notify(SECRET_REQUEST, "task.assigned", &[SECRET_PERSON]);
    let answer = world.client.notify(request).await.unwrap();
    world.settled().await;
    Ids {
        tenant: TENANT.into(),
        user: SECRET_PERSON.into(),
        notification: answer.notification_id,
        delivery: answer.verdicts[0].delivery_id.clone(),
        // Not a Slack member: testing a described person sends nothing.
        email: "nobody@nowhere.example".into(),
    }
}

/// A channel of the first tenant's, which waits for its time: Slack is not asked for it.
async fn secret_channel(world: &World) {
    let later = world.now().await.0 / 1_000_000 + 86_400;
    let wish = pb::ChannelWish {
        name: SECRET_NAME.into(),
        create_not_before: Some(prost_types::Timestamp { seconds: later, nanos: 0 }),
        ..pb::ChannelWish::default()
    };
    let target = Some(pb::channel_member::Target::UserId(SECRET_PERSON.into()));
    let members = vec![pb::ChannelMember { target, roles: vec!["enrolled".into()] }];
    let request = pb::EnsureChannelRequest {
        tenant_id: TENANT.into(),
        channel_key: key_of_channel(SECRET_PERSON),
        wish: Some(wish),
        members: Some(pb::ChannelMembers { members }),
        ..pb::EnsureChannelRequest::default()
    };
    world.client.ensure_channel(request).await.unwrap();
}

/// The first tenant as its own administrator sees it.
async fn portrait(world: &World, ids: &Ids) -> String {
    let mut workspace = world.client.workspace(TENANT).await.unwrap();
    // These change by themselves.
    if let Some(directory) = &mut workspace.directory {
        directory.age = None;
        directory.next_refresh_at = None;
    }
    let people: Vec<_> = [
        world.client.person(TENANT, SECRET_PERSON).await.unwrap(),
        world.client.person(TENANT, SAME_ID).await.unwrap(),
    ]
    .into();
    let notification = world.client.notification(TENANT, &ids.notification).await.unwrap();
    let list = pb::ListNotificationsRequest { tenant_id: TENANT.into(), ..Default::default() };
    let list = world.client.list_notifications(list).await.unwrap();
    let types = pb::ListEventTypesRequest { tenant_id: TENANT.into(), ..Default::default() };
    let types = world.client.list_event_types(types).await.unwrap();
    let words = pb::ListTemplatesRequest { tenant_id: TENANT.into(), ..Default::default() };
    let words = world.client.list_templates(words).await.unwrap();
    let channels = pb::ListChannelsRequest { tenant_id: TENANT.into(), ..Default::default() };
    let channels = world.client.list_channels(channels).await.unwrap();
    let members = pb::ListChannelMembersRequest {
        tenant_id: TENANT.into(),
        channel_key: key_of_channel(SECRET_PERSON),
        ..Default::default()
    };
    let members = world.client.list_channel_members(members).await.unwrap();
    assert_eq!((channels.channels.len(), members.members.len()), (1, 1));
    let (settings, attempt) = (workspace.settings, workspace.connect_attempt);
    let channels = format!("{:?} {channels:?} {members:?}", workspace.channels);
    format!(
        "{settings:?} {attempt:?} {people:?} {notification:?} {list:?} {types:?} {words:?} \
         {channels}"
    )
}

/// The subjects of one caller and one row: with ids that exist in the first tenant, and with ids
/// that exist nowhere.
fn subjects(first: &Ids, who: Who) -> Vec<(Whose, Ids, Ids)> {
    let nothing = uuid::Uuid::now_v7().to_string();
    let nobody = Ids {
        user: "nobody-9c41".into(),
        notification: nothing.clone(),
        delivery: nothing,
        ..first.clone()
    };
    let mut subjects = vec![(Whose::Other, first.clone(), nobody.clone())];
    if is_one_person(who) {
        // The caller's own id, which a person of the first tenant has too.
        let own = |ids: &Ids| Ids { user: SAME_ID.into(), ..ids.clone() };
        subjects.push((Whose::Own, own(first), own(&nobody)));
    }
    subjects
}

/// In the first tenant, or in one that does not exist, every request is refused in the same way.
async fn out_of_reach(
    door: &Door,
    right: &Right,
    caller: &Caller,
    (whose, first, nobody): &(Whose, Ids, Ids),
) -> usize {
    let method = door.method(right.method);
    if !names_a_tenant(&method, right.form) {
        return 0;
    }
    let in_tenant = |ids: &Ids, tenant: &str| Ids { tenant: tenant.into(), ..ids.clone() };
    let mut answers = Vec::new();
    for ids in [first, nobody] {
        for tenant in [TENANT, NOWHERE] {
            let ids = in_tenant(ids, tenant);
            let answer = door.call(&method, right.form, caller, &ids).await;
            let refused = (answer.code, answer.reason.as_str());
            let wanted = (Code::PermissionDenied, "TENANT_NOT_ALLOWED");
            assert_eq!(refused, wanted, "{right:?} {caller:?} {whose:?} {ids:?}");
            answers.push(answer);
        }
    }
    assert!(answers.windows(2).all(|two| two[0] == two[1]), "{answers:?}");
    answers.len()
}

/// In the caller's own tenant, ids of the first tenant are treated like ids that exist nowhere.
async fn in_their_own(
    door: &Door,
    right: &Right,
    (who, caller): (Who, &Caller),
    tenant: &str,
    (whose, first, nobody): &(Whose, Ids, Ids),
) -> usize {
    let method = door.method(right.method);
    if caller.actor.is_some() && !names_an_actor(&method, right.form) {
        return 0;
    }
    let mut refusals = Vec::new();
    let at = format!("{right:?} {caller:?} {whose:?} in {tenant}");
    for ids in [first, nobody] {
        let mut ids = Ids { tenant: tenant.into(), ..ids.clone() };
        if right.method.ends_with("DeleteTenant") && right.cell(who, *whose) == Cell::Allowed {
            ids.tenant = ending(tenant);
        }
        let answer: Answer = door.call(&method, right.form, caller, &ids).await;
        match right.cell(who, *whose) {
            // These callers are of one tenant.
            _ if right.about == About::AllTenants => {
                assert_eq!(answer.code, Code::PermissionDenied, "{at}: {answer:?}");
            }
            Cell::Allowed => assert!(answer.let_in(), "{at}: {answer:?}"),
            Cell::Absent => assert_eq!(answer.code, Code::NotFound, "{at}: {answer:?}"),
            Cell::Refused(_) => assert_eq!(answer.code, Code::PermissionDenied, "{at}"),
        }
        assert_tells_nothing(&answer, &method, &at);
        refusals.push(answer);
    }
    // A call that names nothing but the tenant is the same call twice.
    if !names_an_id(&method, right.form, caller) {
        return refusals.len();
    }
    let [one, other] = [&refusals[0], &refusals[1]].map(Answer::refusal);
    assert_eq!(one, other, "{at}: the answer reveals whether the id exists in another tenant");
    refusals.len()
}

/// The answer has no data of the first tenant's people or messages.
fn assert_tells_nothing(answer: &Answer, method: &prost_reflect::MethodDescriptor, at: &str) {
    let body = shown(method.output(), &answer.body);
    for secret in SECRETS {
        assert!(!body.contains(secret), "{at}: {body}");
        assert!(!answer.message.contains(secret), "{at}: {answer:?}");
    }
}

#[tokio::test]
async fn nothing_of_a_tenant_is_told_or_changed_by_callers_of_another() {
    plan()
        .run(async |world| {
            let first = first_tenant(world).await;
            let before = portrait(world, &first).await;
            let door = Door::new(world.replicas[0].rpc).await;
            let (mut cells, mut tried) = (0, BTreeSet::new());
            for tenant in [SHARING, APART] {
                for (who, caller) in strangers(tenant) {
                    for right in TABLE {
                        tried.insert(right.method.to_owned());
                        for subject in subjects(&first, who) {
                            cells += out_of_reach(&door, right, &caller, &subject).await;
                            let who = (who, &caller);
                            cells += in_their_own(&door, right, who, tenant, &subject).await;
                        }
                    }
                }
            }
            let methods: BTreeSet<_> = door.methods().iter().map(path).collect();
            assert_eq!(tried, methods, "a method without a row is not tried");
            assert!(cells >= 2000, "{cells} cells");
            println!("{cells} cells");
            assert_eq!(
                portrait(world, &first).await,
                before,
                "the data of the first tenant changed"
            );
        })
        .await;
}
