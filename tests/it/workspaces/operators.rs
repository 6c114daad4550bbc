//! An operator's view of all tenants: lists of tenants and workspaces, and one feed.

use std::collections::BTreeMap;

use herald::rpc::pb::{self, ConnectionState, DeliveryState as State};
use herald::rpc::{CallerConfig, RoleConfig};
use herald::sandbox::browser::Decision;
use tonic::{Code, Streaming};

use crate::support::client::{Client, bad_fields, demo_person, reason, task};
use crate::support::world::{PATIENCE, Plan, TENANT, World, caller};

/// Shares the workspace of the first tenant.
const OTHER: &str = "zenith";
/// Has no workspace.
const BARE: &str = "bare";

fn plan() -> Plan {
    let callers: Vec<CallerConfig> = vec![
        caller("operator", RoleConfig::Administrator, &["*"]),
        caller("platform", RoleConfig::Service, &["*"]),
        caller("of-one", RoleConfig::Service, &[TENANT]),
    ];
    Plan { callers, ready: false, ..Plan::default() }
}

/// Two tenants that are connected and may send, and one that is neither.
async fn tenants(world: &mut World) {
    world.client = world.client(0, Some("operator")).await;
    world.make_ready().await;
    let shared = pb::BeginConnectRequest {
        tenant_id: OTHER.into(),
        allow_shared_workspace: true,
        ..pb::BeginConnectRequest::default()
    };
    let link = world.client.begin_connect_as(shared).await.unwrap();
    let page = world.decide(&link.authorize_url, Decision::Allow).await;
    assert_eq!(page.status, 200, "{}", page.html);
    world.client.switch_sending(OTHER, true).await;
    for tenant in [TENANT, OTHER, BARE] {
        world.client.upsert(tenant, vec![demo_person("ben")]).await;
    }
}

/// Sends one message of a tenant and waits for its end.
async fn sent(world: &World, tenant: &str, text: &str) -> String {
    let request = pb::NotifyRequest { tenant_id: tenant.into(), ..task(text, &["ben"]) };
    let id = world.client.notify(request).await.unwrap().notification_id;
    world.client.ended(tenant, &id).await;
    id
}

/// Reads the feed of all tenants until these notifications are reported as sent.
async fn read_to(
    stream: &mut Streaming<pb::WatchDeliveriesResponse>,
    wanted: &[&str],
) -> Vec<pb::DeliveryChange> {
    let mut changes: Vec<pb::DeliveryChange> = Vec::new();
    let is_sent = |id: &&str, changes: &[pb::DeliveryChange]| {
        changes.iter().any(|one| one.notification_id == **id && one.state() == State::Sent)
    };
    while !wanted.iter().all(|id| is_sent(id, &changes)) {
        let next = tokio::time::timeout(PATIENCE, stream.message()).await.unwrap();
        let next = next.unwrap().unwrap();
        assert!(next.changes.len() <= 100);
        let last = next.changes.last().map(|change| change.position);
        assert!(last.is_none_or(|last| last <= next.last_sequence), "{next:?}");
        changes.extend(next.changes);
    }
    changes
}

#[tokio::test]
async fn one_stream_has_the_changes_of_all_tenants() {
    plan()
        .run(async |world| {
            tenants(world).await;
            let platform = world.client(0, Some("platform")).await;
            let mut stream = platform.watch_deliveries("", Some(0)).await.unwrap();
            let first = sent(world, TENANT, "one").await;
            let second = sent(world, OTHER, "two").await;
            let before = read_to(&mut stream, &[first.as_str(), &second]).await;
            drop(stream);
            // While no one reads.
            let third = sent(world, OTHER, "three").await;
            let last = before.last().unwrap().position;
            let mut stream = platform.watch_deliveries("", Some(last)).await.unwrap();
            let after = read_to(&mut stream, &[third.as_str()]).await;
            let all: Vec<_> = before.iter().chain(&after).collect();
            let positions: Vec<i64> = all.iter().map(|change| change.position).collect();
            assert_eq!(positions, (1..=6).collect::<Vec<_>>());
            let mut of: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
            for change in &all {
                of.entry(&change.tenant_id).or_default().push(change.sequence);
            }
            assert_eq!(of, BTreeMap::from([(TENANT, vec![1, 2]), (OTHER, vec![1, 2, 3, 4])]));
            // Live, too.
            let fourth = sent(world, TENANT, "four").await;
            read_to(&mut stream, &[fourth.as_str()]).await;
        })
        .await;
}

#[tokio::test]
async fn a_caller_of_one_tenant_reads_only_its_changes() {
    plan()
        .run(async |world| {
            tenants(world).await;
            let theirs = sent(world, OTHER, "not yours").await;
            let mine = sent(world, TENANT, "yours").await;
            let restricted = world.client(0, Some("of-one")).await;
            let mut stream = restricted.watch_deliveries("", Some(0)).await.unwrap();
            let told = read_to(&mut stream, &[mine.as_str()]).await;
            assert!(told.iter().all(|change| change.tenant_id == TENANT), "{told:?}");
            assert!(told.iter().all(|change| change.notification_id != theirs), "{told:?}");
            let beyond = restricted.watch_deliveries("", Some(1_000)).await.unwrap_err();
            assert_eq!(
                (beyond.code(), reason(&beyond).as_str()),
                (Code::OutOfRange, "FEED_POSITION_UNKNOWN")
            );
        })
        .await;
}

async fn listed(client: &Client, size: i32) -> Vec<pb::TenantSummary> {
    let mut all = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = pb::ListTenantsRequest { page_size: size, page_token };
        let page = client.list_tenants(request).await.unwrap();
        assert!(page.tenants.len() <= usize::try_from(size).unwrap());
        all.extend(page.tenants);
        if page.next_page_token.is_empty() {
            return all;
        }
        page_token = page.next_page_token;
    }
}

#[tokio::test]
async fn tenants_are_listed_by_name_with_their_state() {
    plan()
        .run(async |world| {
            tenants(world).await;
            for size in [1, 2, 100] {
                let all = listed(&world.client, size).await;
                let told: Vec<_> = all
                    .iter()
                    .map(|one| (one.tenant_id.as_str(), one.state(), one.sending_allowed))
                    .collect();
                let wanted = [
                    (TENANT, ConnectionState::Active, true),
                    (BARE, ConnectionState::Disconnected, false),
                    (OTHER, ConnectionState::Active, true),
                ];
                assert_eq!(told, wanted, "{size}");
                assert!(all[1].workspace_id.is_empty() && !all[0].workspace_id.is_empty());
                assert!(all.iter().all(|one| !one.deleting));
            }
            let restricted = world.client(0, Some("of-one")).await;
            let only: Vec<_> = listed(&restricted, 1).await;
            assert_eq!(only.iter().map(|one| one.tenant_id.as_str()).collect::<Vec<_>>(), [TENANT]);
            let token = "AAAA".to_owned();
            let bad = pb::ListTenantsRequest { page_size: -1, page_token: token };
            let bad = world.client.list_tenants(bad).await.unwrap_err();
            assert_eq!(bad_fields(&bad), ["page_size", "page_token"]);
        })
        .await;
}

async fn workspaces(
    client: &Client,
    request: pb::ListWorkspacesRequest,
) -> Vec<pb::WorkspaceSummary> {
    let page = client.list_workspaces(request).await.unwrap();
    assert_eq!(page.next_page_token, "");
    page.workspaces
}

#[tokio::test]
async fn workspaces_are_listed_with_their_tenants() {
    plan()
        .run(async |world| {
            tenants(world).await;
            let client = &world.client;
            let all = workspaces(client, pb::ListWorkspacesRequest::default()).await;
            assert_eq!(all.len(), 1);
            assert_eq!(all[0].tenant_ids, [TENANT, OTHER]);
            assert_eq!(all[0].state(), ConnectionState::Active);
            let own = client.workspace(TENANT).await.unwrap().workspace.unwrap();
            let shown = all[0].workspace.as_ref().unwrap();
            assert_eq!(
                (&shown.workspace_id, &shown.team_id, &shown.name, &shown.scopes),
                (&own.workspace_id, &own.team_id, &own.name, &own.scopes)
            );
            assert!(all[0].token_issued_at.is_some());
            let bad = pb::ListWorkspacesRequest {
                lacks_feature: "sorcery".into(),
                ..pb::ListWorkspacesRequest::default()
            };
            let bad = client.list_workspaces(bad).await.unwrap_err();
            assert_eq!(bad_fields(&bad), ["lacks_feature"]);
        })
        .await;
}

#[tokio::test]
async fn workspaces_are_found_by_state_feature_and_age_of_token() {
    plan()
        .run(async |world| {
            tenants(world).await;
            let client = &world.client;
            let of = |request: pb::ListWorkspacesRequest| async move {
                workspaces(client, request).await.len()
            };
            let empty = pb::ListWorkspacesRequest::default;
            let in_state = |state: ConnectionState| {
                of(pb::ListWorkspacesRequest { state: state.into(), ..empty() })
            };
            let lacking = |feature: &str| {
                of(pb::ListWorkspacesRequest { lacks_feature: feature.into(), ..empty() })
            };
            let old = || {
                let hour = prost_types::Duration { seconds: 3600, nanos: 0 };
                of(pb::ListWorkspacesRequest { token_older_than: Some(hour), ..empty() })
            };
            assert_eq!(in_state(ConnectionState::Active).await, 1);
            assert_eq!(in_state(ConnectionState::ReconnectRequired).await, 0);
            assert_eq!((lacking("messages").await, lacking("members").await), (0, 0));
            assert_eq!(old().await, 0);
            let aged = "UPDATE installations SET installed_at = installed_at - 7200000000, \
                token_issued_at = token_issued_at - 7200000000";
            world.execute(aged).await.unwrap();
            assert_eq!(old().await, 1);
            let fewer = "UPDATE installations SET scopes = 'chat:write'";
            world.execute(fewer).await.unwrap();
            assert_eq!((lacking("messages").await, lacking("members").await), (0, 1));
            assert_eq!(in_state(ConnectionState::Degraded).await, 1);
            let dies = "UPDATE installations SET state = 'dead', state_reason = 'token_revoked'";
            world.execute(dies).await.unwrap();
            assert_eq!(in_state(ConnectionState::ReconnectRequired).await, 1);
            assert_eq!(in_state(ConnectionState::Active).await, 0);
        })
        .await;
}

#[tokio::test]
async fn workspaces_are_listed_page_by_page() {
    const SECOND: &str = "00000000-0000-7000-8000-000000000001";
    plan()
        .run(async |world| {
            tenants(world).await;
            // Slack has one workspace here: the other one is dead, and is only listed.
            let second = format!(
                "INSERT INTO installations (id, app_id, enterprise_id, team_id, org_wide, \
                 team_name, bot_user_id, bot_name, scopes, state, state_changed_at, installed_at, \
                 token_version, token) SELECT '{SECOND}', app_id, '', 'T0OTHER', FALSE, 'Other', \
                 '', '', '', 'dead', 0, 0, 1, token FROM installations"
            );
            let moved = format!(
                "UPDATE tenant_links SET installation = '{SECOND}' WHERE tenant = '{OTHER}'"
            );
            // At once: an installation without a tenant ends.
            world.execute(&format!("BEGIN; {second}; {moved}; COMMIT")).await.unwrap();
            let mut all = Vec::new();
            let mut page_token = String::new();
            loop {
                let request = pb::ListWorkspacesRequest {
                    page_size: 1,
                    page_token,
                    ..pb::ListWorkspacesRequest::default()
                };
                let page = world.client.list_workspaces(request).await.unwrap();
                assert!(page.workspaces.len() <= 1);
                all.extend(page.workspaces.into_iter().map(|one| (one.state(), one.tenant_ids)));
                if page.next_page_token.is_empty() {
                    break;
                }
                page_token = page.next_page_token;
            }
            let wanted = [
                (ConnectionState::ReconnectRequired, vec![OTHER.to_owned()]),
                (ConnectionState::Active, vec![TENANT.to_owned()]),
            ];
            assert_eq!(all, wanted);
            // A token belongs to one list.
            let list = pb::ListWorkspacesRequest { page_size: 1, ..Default::default() };
            let page_token = world.client.list_workspaces(list).await.unwrap().next_page_token;
            let state = ConnectionState::Active.into();
            let other = pb::ListWorkspacesRequest { page_token, state, ..Default::default() };
            let refused = world.client.list_workspaces(other).await.unwrap_err();
            assert_eq!(bad_fields(&refused), ["page_token"]);
        })
        .await;
}
