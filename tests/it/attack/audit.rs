//! The audit trail: every action is recorded, no entry can be removed unseen, and no caller can
//! fill the disk through it.

use herald::domain::access::audit::KINDS;
use herald::rpc::{CallerConfig, RoleConfig, pb};
use herald::store::{Store, Verified};
use prost_types::value::Kind::BoolValue;
use tonic::Code;

use super::changes::{CHANGES, change_everything};
use crate::support::client::{Client, reason};
use crate::support::world::{Plan, TENANT, World, caller, for_each_database, until};

fn request() -> pb::ListAuditRequest {
    pb::ListAuditRequest { tenant_id: TENANT.into(), page_size: 500, ..Default::default() }
}

async fn entries(client: &Client, request: pb::ListAuditRequest) -> Vec<pb::AuditEntry> {
    client.list_audit(request).await.unwrap().entries
}

/// All such entries, as soon as there is one.
pub(super) async fn recorded(
    client: &Client,
    request: pb::ListAuditRequest,
    wanted: impl Fn(&pb::AuditEntry) -> bool,
) -> Vec<pb::AuditEntry> {
    until("the entry is in the trail", async || {
        let mut found = entries(client, request.clone()).await;
        found.retain(&wanted);
        (!found.is_empty()).then_some(found)
    })
    .await
}

/// The first of such entries, as soon as there is one.
async fn found(
    client: &Client,
    request: pb::ListAuditRequest,
    wanted: impl Fn(&pb::AuditEntry) -> bool,
) -> pb::AuditEntry {
    recorded(client, request, wanted).await.remove(0)
}

pub(super) async fn verified(world: &World) -> Verified {
    let store = Store::open(&world.settings().store).await.unwrap();
    let verified = store.audit().verify().await.unwrap();
    store.close().await;
    verified
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_is_told_once_with_who_made_it() {
    for_each_database(async |world| {
        let client = &world.client;
        change_everything(client).await;
        let mut wanted = CHANGES.map(|change| change.action);
        wanted.sort_unstable();
        let by_root = |entry: &pb::AuditEntry| entry.actor_user_id == "root";
        let told = until("every change is in the trail", async || {
            let told = entries(client, request()).await;
            let mut actions: Vec<String> =
                told.iter().filter(|one| by_root(one)).map(|one| one.action.clone()).collect();
            actions.sort_unstable();
            (actions == wanted).then_some(told)
        })
        .await;
        let of = |action: &str| told.iter().find(|one| one.action == action && by_root(one));
        let settings = of("UpdateSettings").unwrap();
        assert_eq!(settings.principal, "insecure");
        assert_eq!(settings.outcome(), pb::AuditOutcome::Done);
        let opt_in = |fields: &Option<prost_types::Struct>| {
            let fields = fields.as_ref().unwrap();
            assert_eq!(fields.fields.len(), 1, "{fields:?}");
            fields.fields["opt_in"].kind.clone()
        };
        assert_eq!(opt_in(&settings.before), Some(BoolValue(false)));
        assert_eq!(opt_in(&settings.after), Some(BoolValue(true)));
        let pin = of("PinIdentity").unwrap();
        assert_eq!((&*pin.subject_user_id, &*pin.subject_detail), ("ben", "member:U0DEMOBEN"));
        assert!(of("CancelNotification").unwrap().object.starts_with("notification:"));
        // The completed connection is in the trail too, but its principal is unknown.
        let connected = found(client, request(), |one| one.action == "CompleteConnect").await;
        assert_eq!(connected.principal, "");
        assert!(told.iter().any(|one| one.action == "BeginConnect"));
        assert_eq!(verified(world).await.broken, None);
    })
    .await;
}

/// A service, a service that acts for users, an administrator, and an administrator of all tenants.
fn callers() -> Vec<CallerConfig> {
    let acting = caller("acting", RoleConfig::Service, &[TENANT]);
    vec![
        caller("plain", RoleConfig::Service, &[TENANT]),
        CallerConfig { may_act_for_users: true, ..acting },
        caller("admin", RoleConfig::Administrator, &[TENANT]),
        caller("chief", RoleConfig::Administrator, &["*"]),
    ]
}

fn closed() -> Plan {
    Plan { callers: callers(), ready: false, ..Plan::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_looks_and_sign_ins_are_told() {
    closed()
        .run(async |world| {
            let admin = world.client(0, Some("admin")).await;
            let chief = world.client(0, Some("chief")).await;
            let plain = world.client(0, Some("plain")).await;
            admin.begin_connect(TENANT).await.unwrap();
            let list = || pb::ListPeopleRequest { tenant_id: TENANT.into(), ..Default::default() };
            assert_eq!(reason(&plain.list_people(list()).await.unwrap_err()), "ROLE_NOT_ALLOWED");
            let refused = found(&admin, request(), |one| one.principal == "plain").await;
            assert_eq!(refused.outcome(), pb::AuditOutcome::Refused);
            assert_eq!((&*refused.action, &*refused.reason), ("ListPeople", "ROLE_NOT_ALLOWED"));
            admin.list_people(list()).await.unwrap();
            let looked =
                |one: &pb::AuditEntry| one.principal == "admin" && one.action == "ListPeople";
            assert_eq!(found(&admin, request(), looked).await.outcome(), pb::AuditOutcome::Done);

            // A tenant's trail does not show calls to tenants that the caller cannot reach; the
            // operator's trail shows such a call and its caller.
            let elsewhere = pb::ListPeopleRequest { tenant_id: "globex".into(), ..list() };
            assert_eq!(
                admin.list_people(elsewhere).await.unwrap_err().code(),
                Code::PermissionDenied
            );
            let of_none = || pb::ListAuditRequest { tenant_id: String::new(), ..request() };
            let there = |one: &pb::AuditEntry| one.object == "tenant:globex";
            assert_eq!(found(&chief, of_none(), there).await.principal, "admin");
            let stranger = world.client(0, Some("stranger")).await;
            let unknown = stranger.list_people(list()).await.unwrap_err();
            assert_eq!(unknown.code(), Code::Unauthenticated);
            let door = |one: &pb::AuditEntry| one.reason == "CREDENTIALS_UNKNOWN";
            assert_eq!(found(&chief, of_none(), door).await.principal, "");
            for who in ["admin", "chief", "plain"] {
                let signed_in =
                    |one: &pb::AuditEntry| one.action == "SignIn" && one.principal == who;
                let entry = found(&chief, of_none(), signed_in).await;
                assert!(entry.object.starts_with("key:") && entry.object.len() == 12, "{entry:?}");
                let all = entries(&chief, of_none()).await;
                assert_eq!(all.iter().filter(|one| signed_in(one)).count(), 1, "{who}");
            }
            assert_eq!(verified(world).await.broken, None);
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_administrators_read_it_each_their_own() {
    closed()
        .run(async |world| {
            let admin = world.client(0, Some("admin")).await;
            let chief = world.client(0, Some("chief")).await;
            admin.begin_connect(TENANT).await.unwrap();
            chief.begin_connect("globex").await.unwrap();
            let of_none = pb::ListAuditRequest { tenant_id: String::new(), ..request() };
            for who in ["plain", "acting"] {
                let client = world.client(0, Some(who)).await;
                let refused = client.list_audit(request()).await.unwrap_err();
                assert_eq!(reason(&refused), "ROLE_NOT_ALLOWED", "{who}");
                let refused = client.list_audit(of_none.clone()).await.unwrap_err();
                assert_eq!(reason(&refused), "ROLE_NOT_ALLOWED", "{who}");
            }
            let refused = admin.list_audit(of_none).await.unwrap_err();
            assert_eq!(reason(&refused), "ROLE_NOT_ALLOWED");
            let globex = pb::ListAuditRequest { tenant_id: "globex".into(), ..request() };
            let refused = admin.list_audit(globex.clone()).await.unwrap_err();
            assert_eq!(reason(&refused), "TENANT_NOT_ALLOWED");
            let begun = |one: &pb::AuditEntry| one.action == "BeginConnect";
            assert_eq!(found(&chief, globex.clone(), begun).await.principal, "chief");
            found(&admin, request(), begun).await;
            assert!(entries(&admin, request()).await.iter().all(|one| one.principal != "chief"));
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_and_filters_find_what_they_name() {
    closed()
        .run(async |world| {
            let admin = world.client(0, Some("admin")).await;
            for _ in 0..7 {
                admin.begin_connect(TENANT).await.unwrap();
            }
            admin.switch_sending(TENANT, true).await;
            let begun = pb::ListAuditRequest { action: "BeginConnect".into(), ..request() };
            let all = until("all are in the trail", async || {
                Some(entries(&admin, begun.clone()).await).filter(|all| all.len() == 7)
            })
            .await;
            let (mut paged, mut token) = (Vec::new(), String::new());
            loop {
                let page =
                    pb::ListAuditRequest { page_size: 3, page_token: token, ..begun.clone() };
                let page = admin.list_audit(page).await.unwrap();
                assert!(page.entries.len() <= 3);
                paged.extend(page.entries);
                token = page.next_page_token;
                if token.is_empty() {
                    break;
                }
            }
            assert_eq!(paged, all);
            let third = all[4].at;
            let from = pb::ListAuditRequest { created_from: third, ..begun.clone() };
            let before = pb::ListAuditRequest { created_before: third, ..begun.clone() };
            let (from, before) = (entries(&admin, from).await, entries(&admin, before).await);
            assert!(from.contains(&all[4]) && !before.contains(&all[4]));
            assert_eq!(from.len() + before.len(), 7);
            let other = pb::ListAuditRequest { principal: "chief".into(), ..begun };
            assert!(entries(&admin, other).await.is_empty());
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_refusals_makes_few_entries_and_none_is_lost() {
    closed()
        .run(async |world| {
            let chief = world.client(0, Some("chief")).await;
            let plain = world.client(0, Some("plain")).await;
            chief.begin_connect(TENANT).await.unwrap();
            // 300 different tenants, and 300 times the same one.
            for number in 0..600 {
                let tenant_id = format!("{}{}", TENANT, if number < 300 { number } else { 0 });
                let list = pb::ListPeopleRequest { tenant_id, ..Default::default() };
                plain.list_people(list).await.unwrap_err();
            }
            found(&chief, pb::ListAuditRequest { tenant_id: String::new(), ..request() }, |one| {
                one.principal == "plain" && one.outcome() == pb::AuditOutcome::Refused
            })
            .await;
            world.drain().await;
            let refusals = "FROM audit_log WHERE principal = 'plain' AND action <> 'SignIn'";
            let rows = world.count(&format!("SELECT COUNT(*) {refusals}")).await;
            // A slow machine may need two windows.
            assert!(rows <= 4 * i64::try_from(KINDS).unwrap(), "{rows}");
            let times = format!("SELECT CAST(SUM(times) AS bigint) {refusals}");
            assert_eq!(world.count(&times).await, 600);
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_out_altered_or_put_in_shows() {
    for_each_database(async |world| {
        change_everything(&world.client).await;
        world.drain().await;
        let whole = verified(world).await;
        assert_eq!(whole.broken, None);
        assert!(whole.entries >= 10 && whole.head == i64::try_from(whole.entries).unwrap());
        world.execute("UPDATE audit_log SET principal = 'nobody'").await.unwrap_err();
        let copy = "CREATE TABLE kept AS SELECT * FROM audit_log";
        world.execute(copy).await.unwrap();
        let alter = "INSERT INTO audit_log SELECT * FROM kept WHERE sequence = 3";
        for (attack, shows) in [
            ("DELETE FROM audit_log WHERE sequence = 3", "entry 3 is missing"),
            ("DELETE FROM audit_log WHERE sequence = 1", "entry 1 is missing"),
            (
                "DELETE FROM audit_log WHERE sequence = (SELECT MAX(sequence) FROM kept)",
                "is missing",
            ),
            ("UPDATE audit_chain SET head = head - 1", "own row was altered"),
            (
                "UPDATE audit_chain SET floor = 3, \
                 floor_hash = (SELECT hash FROM kept WHERE sequence = 3)",
                "own row was altered",
            ),
            (
                "INSERT INTO audit_log SELECT 0, 'x', tenant, at, principal, action, outcome, \
                 reason, times, detail, actor, actor_key, subject, subject_key, hash FROM kept \
                 WHERE sequence = 2",
                "entry 0 was inserted",
            ),
        ] {
            let chain = "CREATE TABLE chain AS SELECT * FROM audit_chain";
            world.execute(chain).await.unwrap();
            world.execute(attack).await.unwrap();
            let broken = verified(world).await.broken.unwrap_or_else(|| panic!("{attack}"));
            assert!(broken.contains(shows), "{attack}: {broken}");
            for undo in [
                "DELETE FROM audit_log",
                "INSERT INTO audit_log SELECT * FROM kept",
                "DELETE FROM audit_chain",
                "INSERT INTO audit_chain SELECT * FROM chain",
                "DROP TABLE chain",
            ] {
                world.execute(undo).await.unwrap();
            }
            assert_eq!(verified(world).await, whole);
        }
        // Entry 3 with altered content in its place.
        world.execute("DELETE FROM audit_log WHERE sequence = 3").await.unwrap();
        world.execute("UPDATE kept SET times = 9 WHERE sequence = 3").await.unwrap();
        world.execute(alter).await.unwrap();
        assert_eq!(verified(world).await.broken.unwrap(), "entry 3 was altered");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_entries_go_and_the_rest_still_holds() {
    for_each_database(async |world| {
        change_everything(&world.client).await;
        world.drain().await;
        let whole = verified(world).await;
        let store = Store::open(&world.settings().store).await.unwrap();
        let day = std::time::Duration::from_secs(86_400);
        assert_eq!(store.audit().prune(day, 100).await.unwrap(), 0);
        assert_eq!(store.audit().prune(std::time::Duration::ZERO, 4).await.unwrap(), 4);
        let rest = verified(world).await;
        assert_eq!((rest.broken.clone(), rest.entries), (None, whole.entries - 4));
        assert_eq!(rest.hash, whole.hash);
        // Another entry removed from the middle is still detected.
        world.execute("DELETE FROM audit_log WHERE sequence = 5").await.unwrap();
        assert_eq!(verified(world).await.broken.unwrap(), "entry 5 is missing");
        store.close().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_recorded_is_not_done() {
    for_each_database(async |world| {
        let opt_in =
            async || world.client.workspace(TENANT).await.unwrap().settings.unwrap().opt_in;
        assert!(!opt_in().await);
        world.execute("ALTER TABLE audit_inbox RENAME TO away").await.unwrap();
        let settings = pb::Settings { opt_in: true, ..Default::default() };
        world.client.set(TENANT, settings.clone(), &["opt_in"]).await.unwrap_err();
        assert!(!opt_in().await);
        world.execute("ALTER TABLE away RENAME TO audit_inbox").await.unwrap();
        world.client.set(TENANT, settings, &["opt_in"]).await.unwrap();
        assert!(opt_in().await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_make_one_chain() {
    let plan = Plan { replicas: 2, ready: false, ..Plan::default() };
    plan.run(async |world| {
        if !world.is_postgres() {
            return;
        }
        let calls = (0..40).map(async |number| {
            let client = world.client(number % 2, None).await;
            client.begin_connect(TENANT).await.unwrap();
        });
        futures_util::future::join_all(calls).await;
        world.drain().await;
        let begun = "SELECT COUNT(*) FROM audit_log WHERE action = 'BeginConnect'";
        assert_eq!(world.count(begun).await, 40);
        assert_eq!(verified(world).await.broken, None);
    })
    .await;
}
