//! API keys that are created at run time: every replica knows them at once, no replica accepts them
//! seconds after they are revoked, they never have more rights than their creator, and the database
//! does not contain them.

use std::collections::BTreeSet;

use futures_util::FutureExt as _;
use herald::domain::limits;
use herald::rpc::{CallerConfig, RoleConfig, pb};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::attack::dump::{dump, found};
use crate::support::client::{Client, bad_fields, reason};
use crate::support::world::{PATIENCE, Plan, TENANT, World, caller, until};

const OTHER: &str = "globex";

/// An administrator of all tenants, one administrator with a key for each of two tenants, one who
/// may act for users, a service whose actors may administer, and a plain service.
fn plan() -> Plan {
    let admin = |name, tenant| caller(name, RoleConfig::Administrator, &[tenant]);
    let callers = vec![
        admin("chief", "*"),
        admin("admin", TENANT),
        admin("admin-of-other", OTHER),
        CallerConfig { may_act_for_users: true, ..admin("acting", TENANT) },
        CallerConfig {
            may_act_for_users: true,
            may_administer_for_users: true,
            ..caller("deputy", RoleConfig::Service, &[TENANT])
        },
        caller("plain", RoleConfig::Service, &[TENANT]),
    ];
    Plan { callers, ready: false, replicas: 2, ..Plan::default() }
}

fn asked(principal: &str) -> pb::CreateApiKeyRequest {
    pb::CreateApiKeyRequest {
        tenant_id: TENANT.into(),
        principal: principal.into(),
        role: pb::ApiKeyRole::Administrator.into(),
        ..Default::default()
    }
}

async fn make(
    client: &Client,
    request: pb::CreateApiKeyRequest,
) -> Result<(String, pb::ApiKey), Status> {
    let made = client.create_api_key(request).await?;
    Ok((made.secret, made.api_key.unwrap()))
}

fn list(tenant: &str) -> pb::ListApiKeysRequest {
    pb::ListApiKeysRequest { tenant_id: tenant.into(), ..Default::default() }
}

fn revoke(tenant: &str, key: &pb::ApiKey) -> pb::RevokeApiKeyRequest {
    let key_id = key.key_id.clone();
    pb::RevokeApiKeyRequest { tenant_id: tenant.into(), key_id, actor: None }
}

/// Lists the API keys of a tenant with this key.
async fn tries(world: &World, replica: usize, secret: &str, tenant: &str) -> Result<(), Status> {
    world.bearing(replica, Some(secret)).list_api_keys(list(tenant)).await.map(drop)
}

/// Waits until both replicas refuse this key, and returns the reasons.
async fn refused(world: &World, secret: &str) -> BTreeSet<String> {
    let mut reasons = BTreeSet::new();
    for replica in 0..2 {
        let status =
            until("the key is refused", async || tries(world, replica, secret, TENANT).await.err());
        let status = status.await;
        assert_eq!(status.code(), Code::Unauthenticated);
        reasons.insert(reason(&status));
    }
    reasons
}

fn one(reason: &str) -> BTreeSet<String> {
    BTreeSet::from([reason.to_owned()])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_works_everywhere_at_once_and_is_refused_everywhere_once_revoked() {
    plan()
        .run(async |world| {
            let admin = world.client(0, Some("admin")).await;
            let (secret, key) = make(&admin, asked("acme:ci")).await.unwrap();
            assert!(secret.starts_with("herald_") && secret.len() == 71, "{}", secret.len());
            for replica in [1, 0] {
                tries(world, replica, &secret, TENANT).await.unwrap();
            }
            let elsewhere = tries(world, 1, &secret, OTHER).await.unwrap_err();
            assert_eq!(reason(&elsewhere), "TENANT_NOT_ALLOWED");
            let life = key.expires_at.unwrap().seconds - key.created_at.unwrap().seconds;
            assert_eq!(u64::try_from(life).unwrap(), limits::API_KEY_DEFAULT_LIFE.as_secs());

            // Revoked at the other replica.
            let there = world.client(1, Some("admin")).await;
            let revoked = there.revoke_api_key(revoke(TENANT, &key)).await.unwrap();
            let at = revoked.api_key.unwrap().revoked_at;
            assert!(at.is_some());
            assert_eq!(refused(world, &secret).await, one("CREDENTIALS_REVOKED"));
            let again = there.revoke_api_key(revoke(TENANT, &key)).await.unwrap();
            assert_eq!(again.api_key.unwrap().revoked_at, at);
            let unknown = tries(world, 0, "herald_unknown", TENANT).await.unwrap_err();
            assert_eq!(reason(&unknown), "CREDENTIALS_UNKNOWN");
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_expires_by_the_database_s_clock() {
    plan()
        .run(async |world| {
            let admin = world.client(0, Some("admin")).await;
            let expires_in = Some(prost_types::Duration { seconds: 2, nanos: 0 });
            let short = pb::CreateApiKeyRequest { expires_in, ..asked("acme:short") };
            let (secret, key) = make(&admin, short).await.unwrap();
            assert_eq!(refused(world, &secret).await, one("CREDENTIALS_EXPIRED"));
            let expires_at = crate::support::client::micros(&key.expires_at.unwrap());
            assert!(world.now().await.0 >= expires_at, "refused before its time");

            // The row decides, whatever a replica has cached.
            let (secret, key) = make(&admin, asked("acme:long")).await.unwrap();
            tries(world, 0, &secret, TENANT).await.unwrap();
            let text = format!(
                "UPDATE api_keys SET expires_at = created_at, version = (SELECT version + 1 FROM \
                 api_key_version) WHERE id = '{}'",
                key.key_id
            );
            world.execute(&text).await.unwrap();
            world.execute("UPDATE api_key_version SET version = version + 1").await.unwrap();
            assert_eq!(refused(world, &secret).await, one("CREDENTIALS_EXPIRED"));
        })
        .await;
}

/// Such as during an upgrade.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_only_a_newer_release_can_read_stops_no_other_key() {
    plan()
        .run(async |world| {
            let admin = world.client(0, Some("admin")).await;
            let (newer, key) = make(&admin, asked("acme:newer")).await.unwrap();
            let (other, _) = make(&admin, asked("acme:other")).await.unwrap();
            tries(world, 1, &newer, TENANT).await.unwrap();
            let text = format!(
                "UPDATE api_keys SET role = 'oracle', version = (SELECT version + 1 FROM \
                 api_key_version) WHERE id = '{}'",
                key.key_id
            );
            world.execute(&text).await.unwrap();
            world.execute("UPDATE api_key_version SET version = version + 1").await.unwrap();
            assert_eq!(refused(world, &newer).await, one("CREDENTIALS_UNKNOWN"));
            let (later, _) = make(&admin, asked("acme:later")).await.unwrap();
            for secret in [&other, &later] {
                for replica in 0..2 {
                    tries(world, replica, secret, TENANT).await.unwrap();
                }
            }
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_the_key_that_opened_it() {
    plan()
        .run(async |world| {
            let admin = world.client(0, Some("admin")).await;
            admin.upsert(TENANT, vec![crate::support::client::demo_person("ben")]).await;
            let (secret, key) = make(&admin, asked("acme:reader")).await.unwrap();
            let (other_secret, _) = make(&admin, asked("acme:other")).await.unwrap();
            let open = async |secret: &str| {
                let client = world.bearing(1, Some(secret));
                client.watch_deliveries(TENANT, Some(0)).await.unwrap()
            };
            let (mut ends, mut stays) = (open(&secret).await, open(&other_secret).await);
            admin.revoke_api_key(revoke(TENANT, &key)).await.unwrap();
            assert_eq!(reason(&until_ended(&mut ends).await), "CREDENTIALS_REVOKED");
            // The other stream continues.
            let said = stays.message().now_or_never();
            assert!(!matches!(said, Some(Err(_) | Ok(None))), "{said:?}");
        })
        .await;
}

async fn until_ended(stream: &mut tonic::Streaming<pb::WatchDeliveriesResponse>) -> Status {
    let end = async {
        loop {
            if let Err(status) = stream.message().await {
                return status;
            }
        }
    };
    tokio::time::timeout(PATIENCE, end).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_has_two_keys_that_work_and_no_third() {
    plan()
        .run(async |world| {
            let admin = world.client(0, Some("admin")).await;
            let (_, first) = make(&admin, asked("acme:ci")).await.unwrap();
            let (_, second) = make(&admin, asked("acme:ci")).await.unwrap();
            let third = make(&admin, asked("acme:ci")).await.unwrap_err();
            assert_eq!(
                (third.code(), &*reason(&third)),
                (Code::FailedPrecondition, "API_KEY_LIMIT")
            );
            let named = third.get_details_error_info().unwrap().metadata["key_ids"].clone();
            assert_eq!(named, format!("{},{}", first.key_id, second.key_id));
            admin.revoke_api_key(revoke(TENANT, &first)).await.unwrap();
            make(&admin, asked("acme:ci")).await.unwrap();

            // Ten at once, at two replicas: two of them succeed.
            let there = world.client(1, Some("admin")).await;
            let tries = (0..10).map(|number| {
                let client = if number % 2 == 0 { &admin } else { &there };
                make(client, asked("acme:both"))
            });
            let made = futures_util::future::join_all(tries).await;
            assert_eq!(made.iter().filter(|made| made.is_ok()).count(), 2);

            // Each tenant has a limit.
            for number in 4..limits::API_KEYS_OF_TENANT {
                make(&admin, asked(&format!("acme:{number}"))).await.unwrap();
            }
            let full = make(&admin, asked("acme:full")).await.unwrap_err();
            assert_eq!(reason(&full), "API_KEY_LIMIT");
            assert!(full.get_details_error_info().unwrap().metadata.is_empty());
            let of_other =
                pb::CreateApiKeyRequest { tenant_id: OTHER.into(), ..asked("globex:ci") };
            make(&world.client(0, Some("admin-of-other")).await, of_other).await.unwrap();
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gives_more_than_they_have() {
    plan()
        .run(async |world| {
            let client = async |name| world.client(0, Some(name)).await;
            let admin = client("admin").await;
            let acts = |asked| pb::CreateApiKeyRequest { may_act_for_users: true, ..asked };
            let administers =
                |asked| pb::CreateApiKeyRequest { may_administer_for_users: true, ..acts(asked) };
            let exceeds = async |client: &Client, request| {
                let status = make(client, request).await.unwrap_err();
                assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
                assert_eq!(reason(&status), "API_KEY_EXCEEDS_CALLER");
            };
            exceeds(&admin, acts(asked("acme:a"))).await;
            for name in ["platform", "globex:a", "acme", "acme:a:b"] {
                exceeds(&admin, asked(name)).await;
            }
            make(&client("acting").await, administers(asked("acme:a"))).await.unwrap();

            // An actor who administers through a service cannot create administrators.
            let deputy = client("deputy").await;
            let permissions = vec![pb::Permission::Administer.into()];
            let actor = Some(pb::Actor { user_id: "root".into(), permissions });
            let by_actor = |asked| pb::CreateApiKeyRequest { actor: actor.clone(), ..asked };
            exceeds(&deputy, by_actor(asked("acme:b"))).await;
            let service = pb::ApiKeyRole::Service.into();
            let as_service = pb::CreateApiKeyRequest { role: service, ..asked("acme:b") };
            make(&deputy, by_actor(administers(as_service.clone()))).await.unwrap();
            let (none, plain) = (make(&deputy, as_service.clone()).await, client("plain").await);
            assert_eq!(reason(&none.unwrap_err()), "ROLE_NOT_ALLOWED");
            assert_eq!(reason(&make(&plain, as_service).await.unwrap_err()), "ROLE_NOT_ALLOWED");

            // Only an administrator of all tenants can create keys for several tenants.
            let none = || pb::CreateApiKeyRequest { tenant_id: String::new(), ..asked("platform") };
            let all = || pb::CreateApiKeyRequest { all_tenants: true, ..none() };
            let tenant_ids = vec![TENANT.to_owned(), OTHER.to_owned()];
            let several = || pb::CreateApiKeyRequest { tenant_ids: tenant_ids.clone(), ..none() };
            for request in [all(), several()] {
                let refused = make(&admin, request).await.unwrap_err();
                assert_eq!(reason(&refused), "ROLE_NOT_ALLOWED");
            }
            let chief = client("chief").await;
            make(&chief, administers(all())).await.unwrap();
            let (secret, key) = make(&chief, several()).await.unwrap();
            assert_eq!((key.tenant_ids, key.all_tenants), (tenant_ids.clone(), false));
            for tenant in [TENANT, OTHER] {
                tries(world, 1, &secret, tenant).await.unwrap();
            }
            tries(world, 1, &secret, "elsewhere").await.unwrap_err();
            // A created key has the same restrictions as one in the settings.
            let of_several = world.bearing(0, Some(&secret));
            assert_eq!(reason(&make(&of_several, all()).await.unwrap_err()), "ROLE_NOT_ALLOWED");
            make(&of_several, asked("acme:by-key")).await.unwrap();
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused_field_by_field() {
    plan()
        .run(async |world| {
            let chief = world.client(0, Some("chief")).await;
            let user = pb::ApiKeyRole::User.into();
            let long = Some(prost_types::Duration { seconds: 401 * 86_400, nanos: 0 });
            let zero = Some(prost_types::Duration::default());
            let base = || asked("acme:x");
            let cases = [
                (pb::CreateApiKeyRequest { role: 0, ..base() }, "role"),
                (pb::CreateApiKeyRequest { role: user, ..base() }, "user_id"),
                (pb::CreateApiKeyRequest { user_id: "ben".into(), ..base() }, "user_id"),
                (pb::CreateApiKeyRequest { expires_in: long, ..base() }, "expires_in"),
                (pb::CreateApiKeyRequest { expires_in: zero, ..base() }, "expires_in"),
                (pb::CreateApiKeyRequest { all_tenants: true, ..base() }, "tenant_id"),
                (pb::CreateApiKeyRequest { tenant_id: String::new(), ..base() }, "tenant_id"),
                (pb::CreateApiKeyRequest { principal: "a b".into(), ..base() }, "principal"),
                (
                    pb::CreateApiKeyRequest { may_administer_for_users: true, ..base() },
                    "may_administer_for_users",
                ),
            ];
            for (request, field) in cases {
                let status = make(&chief, request.clone()).await.unwrap_err();
                assert_eq!(status.code(), Code::InvalidArgument, "{request:?}");
                assert_eq!(bad_fields(&status), [field], "{request:?}");
            }
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_tenant_lists_and_revokes_its_own_page_by_page() {
    plan()
        .run(async |world| {
            let admin = world.client(0, Some("admin")).await;
            let other = world.client(0, Some("admin-of-other")).await;
            let chief = world.client(0, Some("chief")).await;
            let mut made = Vec::new();
            for number in 0..7 {
                made.push(make(&admin, asked(&format!("acme:{number}"))).await.unwrap().1);
            }
            tries(world, 0, &make(&admin, asked("acme:7")).await.unwrap().0, TENANT).await.unwrap();
            let used = until("its use is recorded", async || {
                let newest = admin.list_api_keys(list(TENANT)).await.unwrap().api_keys.remove(0);
                newest.last_used_at
            });
            used.await;
            let mut request = pb::ListApiKeysRequest { page_size: 3, ..list(TENANT) };
            let mut listed = Vec::new();
            loop {
                let page = admin.list_api_keys(request.clone()).await.unwrap();
                assert!(page.api_keys.len() <= 3);
                listed.extend(page.api_keys);
                if page.next_page_token.is_empty() {
                    break;
                }
                request.page_token = page.next_page_token;
            }
            assert_eq!(listed.len(), 8);
            listed.remove(0);
            made.reverse();
            assert_eq!(listed, made);
            assert_eq!(listed[0].created_by, "admin");

            assert!(other.list_api_keys(list(OTHER)).await.unwrap().api_keys.is_empty());
            let elsewhere = pb::ListApiKeysRequest { tenant_id: OTHER.into(), ..request };
            let status = chief.list_api_keys(elsewhere).await.unwrap_err();
            assert_eq!(bad_fields(&status), ["page_token"]);
            // A key of another tenant gets the same answer as a key that does not exist.
            let theirs = other.revoke_api_key(revoke(OTHER, &made[0])).await.unwrap_err();
            let nobody = pb::ApiKey { key_id: uuid::Uuid::now_v7().to_string(), ..made[0].clone() };
            let nobody = other.revoke_api_key(revoke(OTHER, &nobody)).await.unwrap_err();
            assert_eq!(theirs.code(), Code::NotFound);
            assert_eq!((theirs.code(), theirs.message()), (nobody.code(), nobody.message()));
            let still = admin.list_api_keys(list(TENANT)).await.unwrap().api_keys;
            assert!(still.iter().all(|key| key.revoked_at.is_none()), "{still:?}");
            for client in [&admin, &other] {
                let of_none = client.list_api_keys(list("")).await.unwrap_err();
                assert_eq!(reason(&of_none), "ROLE_NOT_ALLOWED");
            }
            assert!(chief.list_api_keys(list("")).await.unwrap().api_keys.is_empty());
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_nowhere_in_the_database_and_all_about_it_is_in_the_trail() {
    plan()
        .run(async |world| {
            let admin = world.client(0, Some("admin")).await;
            let chief = world.client(0, Some("chief")).await;
            let (secret, key) = make(&admin, asked("acme:ci")).await.unwrap();
            tries(world, 0, &secret, TENANT).await.unwrap();
            let all = pb::CreateApiKeyRequest {
                tenant_id: String::new(),
                all_tenants: true,
                ..asked("platform")
            };
            make(&chief, all).await.unwrap();
            admin.revoke_api_key(revoke(TENANT, &key)).await.unwrap();
            let told = async |tenant: &str, action: &str, who: &str| {
                until("the change is in the trail", async || {
                    let tenant_id = tenant.into();
                    let request =
                        pb::ListAuditRequest { tenant_id, page_size: 500, ..Default::default() };
                    let entries = chief.list_audit(request).await.unwrap().entries;
                    entries.into_iter().find(|one| one.action == action && one.principal == who)
                })
                .await
            };
            let entry = told(TENANT, "CreateApiKey", "admin").await;
            assert_eq!(entry.object, format!("key:{}", key.fingerprint));
            assert!(entry.after.unwrap().fields.contains_key("principal"));
            let entry = told(TENANT, "RevokeApiKey", "admin").await;
            assert_eq!(entry.object, format!("api_key:{}", key.key_id));
            told("", "CreateApiKey", "chief").await;
            let entry = told("", "SignIn", "acme:ci").await;
            assert_eq!(entry.object, format!("key:{}", key.fingerprint));

            let settings = world.settings();
            world.drain().await;
            let parts = dump(&world.raw().await, &settings.store.data_dir).await;
            assert_eq!(found(&parts, &secret), Vec::<String>::new());
            assert_eq!(found(&parts, &secret["herald_".len()..]), Vec::<String>::new());
            assert!(!found(&parts, "acme:ci").is_empty(), "the dump was not parsed");
        })
        .await;
}

/// A person's own key is deleted together with the person.
#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_a_deleted_person_is_unknown() {
    plan()
        .run(async |world| {
            let admin = world.client(0, Some("admin")).await;
            admin.load(&["ben"]).await;
            let role = pb::ApiKeyRole::User.into();
            let user_id = "ben".to_owned();
            let request = pb::CreateApiKeyRequest { role, user_id, ..asked("acme:ben") };
            let (secret, _) = make(&admin, request).await.unwrap();
            let preferences = async |replica| {
                let client = world.bearing(replica, Some(&secret));
                let (tenant_id, user_id) = (TENANT.into(), "ben".into());
                let request = pb::GetPreferencesRequest { tenant_id, user_id, actor: None };
                client.get_preferences(request).await
            };
            for replica in 0..2 {
                preferences(replica).await.unwrap();
            }
            let (tenant_id, user_id) = (TENANT.into(), "ben".into());
            let delete = pb::DeletePersonRequest { tenant_id, user_id, actor: None };
            admin.delete_person(delete).await.unwrap();
            for replica in 0..2 {
                let status =
                    until("the key is unknown", async || preferences(replica).await.err()).await;
                assert_eq!(reason(&status), "CREDENTIALS_UNKNOWN");
            }
        })
        .await;
}
