//! The answers of ChannelService before Slack is asked: obstacles of the workspace, dry runs,
//! counts and the audit trail.

use herald::domain::limits;
use herald::rpc::pb::{self, ChannelObstacle as Obstacle, ChannelState as State};
use tonic::Code;

use crate::support::client::{bad_fields, reason};
use crate::support::world::{Plan, TENANT, World, until};

const KEY: &str = "track:1";

fn ensured() -> pb::EnsureChannelRequest {
    let target = Some(pb::channel_member::Target::UserId("ben".into()));
    let members = vec![pb::ChannelMember { target, roles: vec!["enrolled".into()] }];
    let wish = pb::ChannelWish { name: "Track № 1".into(), ..pb::ChannelWish::default() };
    pb::EnsureChannelRequest {
        tenant_id: TENANT.into(),
        channel_key: KEY.into(),
        wish: Some(wish),
        members: Some(pb::ChannelMembers { members }),
        ..pb::EnsureChannelRequest::default()
    }
}

fn tried() -> pb::EnsureChannelRequest {
    pb::EnsureChannelRequest { dry_run: true, ..ensured() }
}

fn unready() -> Plan {
    Plan { ready: false, ..Plan::default() }
}

async fn attempts(world: &World) -> i64 {
    world.count("SELECT COUNT(*) FROM connect_attempts").await
}

#[tokio::test]
async fn a_wish_without_a_workspace_is_stored_and_names_the_obstacle() {
    unready()
        .run(async |world| {
            let client = &world.client;
            let shown = client.ensure_channel(ensured()).await.unwrap().channel.unwrap();
            assert_eq!((shown.state(), shown.obstacle()), (State::Blocked, Obstacle::NotConnected));
            assert!(shown.obstacle_sentence.contains("BeginConnect"), "{shown:?}");
            assert!(!shown.settled && !shown.name.is_empty(), "{shown:?}");
            let default = shown.wish.unwrap().archive_notice.unwrap();
            assert_eq!((default.seconds, default.nanos), (3 * 86_400, 0));
            let list = pb::ListChannelMembersRequest {
                tenant_id: TENANT.into(),
                channel_key: KEY.into(),
                ..pb::ListChannelMembersRequest::default()
            };
            let members = client.list_channel_members(list).await.unwrap().members;
            assert_eq!(members.len(), 1);
            assert_eq!(members[0].user_id, "ben");
            assert_eq!(members[0].roles, ["enrolled"]);
        })
        .await;
}

/// A dry run stores nothing: no channel, no tenant, and no attempt to connect.
#[tokio::test]
async fn a_dry_run_shows_the_obstacle_and_stores_nothing() {
    unready()
        .run(async |world| {
            let client = &world.client;
            let shown = client.ensure_channel(tried()).await.unwrap().channel.unwrap();
            assert_eq!(shown.obstacle(), Obstacle::NotConnected);
            assert_eq!(world.count("SELECT COUNT(*) FROM tenants").await, 0);
            let scopes = vec!["chat:write".to_owned()];
            world.sandbox.configure(|options| options.granted_scopes = Some(scopes));
            assert_eq!(world.connect(TENANT).await.status, 200);
            let before = attempts(world).await;
            let shown = client.ensure_channel(tried()).await.unwrap().channel.unwrap();
            assert_eq!(shown.obstacle(), Obstacle::MissingScopes);
            assert!(shown.missing_scopes.contains(&"channels:manage".to_owned()), "{shown:?}");
            assert_eq!(shown.members.unwrap().queued, 1);
            assert_eq!(attempts(world).await, before);
            assert_eq!(world.count("SELECT COUNT(*) FROM channels").await, 0);
            // The real call stores the wish and a link.
            let refused = client.ensure_channel(ensured()).await.unwrap_err();
            assert_eq!(refused.code(), Code::FailedPrecondition);
            assert_eq!(reason(&refused), "MISSING_SCOPES");
            assert_eq!(attempts(world).await, before + 1);
            assert_eq!(world.count("SELECT COUNT(*) FROM channels").await, 1);
        })
        .await;
}

/// Rows like that of [`KEY`], in a state that no reconciler of this release touches. Made without
/// Herald: ten thousand calls would take long.
async fn copies(world: &World, count: u32) {
    let text = format!(
        "INSERT INTO channels (id, tenant, channel_key, wish, progress, state, touched_at, \
         created_at, changed_at) \
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) \
         SELECT 'row' || n.i, tenant, 'copy:' || n.i, wish, progress, 'newer', touched_at, \
         created_at, changed_at FROM channels, n WHERE channel_key = '{KEY}'"
    );
    assert_eq!(world.execute(&text).await.unwrap(), u64::from(count));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_has_a_limited_number_of_channels() {
    unready()
        .run(async |world| {
            let client = &world.client;
            let other = |number: u32| pb::EnsureChannelRequest {
                channel_key: format!("other:{number}"),
                ..ensured()
            };
            client.ensure_channel(ensured()).await.unwrap();
            copies(world, limits::CHANNELS_OF_TENANT - 1).await;
            let tried = pb::EnsureChannelRequest { dry_run: true, ..other(1) };
            for request in [tried, other(1)] {
                let refused = client.ensure_channel(request).await.unwrap_err();
                assert_eq!(bad_fields(&refused), ["channel_key"]);
                assert!(refused.message().contains("10000 channels"), "{}", refused.message());
            }
            // Those that exist can be changed, and other tenants have room of their own.
            client.ensure_channel(ensured()).await.unwrap();
            let elsewhere = pb::EnsureChannelRequest { tenant_id: "globex".into(), ..other(1) };
            client.ensure_channel(elsewhere).await.unwrap();
            // Calls at the same time do not exceed it either.
            let release = pb::ReleaseChannelRequest {
                tenant_id: TENANT.into(),
                channel_key: KEY.into(),
                actor: None,
            };
            client.release_channel(release).await.unwrap();
            let calls = (0..8).map(|number| client.ensure_channel(other(number)));
            let answers = futures_util::future::join_all(calls).await;
            assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
            let count = format!("SELECT COUNT(*) FROM channels WHERE tenant = '{TENANT}'");
            assert_eq!(world.count(&count).await, i64::from(limits::CHANNELS_OF_TENANT));
        })
        .await;
}

/// The objects of the entries of an action, as soon as there are as many.
async fn recorded(world: &World, action: &str, count: usize) -> Vec<String> {
    let request = pb::ListAuditRequest {
        tenant_id: TENANT.into(),
        action: action.into(),
        ..pb::ListAuditRequest::default()
    };
    until("the entries are in the trail", async || {
        let entries = world.client.list_audit(request.clone()).await.unwrap().entries;
        let mut objects: Vec<_> = entries.into_iter().map(|entry| entry.object).collect();
        objects.sort_unstable();
        (objects.len() >= count).then_some(objects)
    })
    .await
}

#[tokio::test]
async fn channels_are_counted_and_their_changes_recorded() {
    unready()
        .run(async |world| {
            let client = &world.client;
            for key in [KEY, "track:2"] {
                let request = pb::EnsureChannelRequest { channel_key: key.into(), ..ensured() };
                client.ensure_channel(request).await.unwrap();
            }
            let counted = client.workspace(TENANT).await.unwrap().channels.unwrap();
            // The reconciler may not have stored the obstacle yet.
            assert_eq!(counted.creating + counted.blocked, 2, "{counted:?}");
            let release = pb::ReleaseChannelRequest {
                tenant_id: TENANT.into(),
                channel_key: "track:2".into(),
                actor: None,
            };
            let released = client.release_channel(release).await.unwrap();
            assert_eq!((&*released.channel_id, released.messages_ended), ("", 0));
            let counted = client.workspace(TENANT).await.unwrap().channels.unwrap();
            assert_eq!(counted.creating + counted.blocked, 1, "{counted:?}");
            for (action, objects) in [
                ("EnsureChannel", &["channel:track:1", "channel:track:2"][..]),
                ("ReleaseChannel", &["channel:track:2"][..]),
            ] {
                assert_eq!(recorded(world, action, objects.len()).await, objects, "{action}");
            }
        })
        .await;
}
