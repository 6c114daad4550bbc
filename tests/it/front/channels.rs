//! The answers of ChannelService before Slack is asked: obstacles of the workspace, dry runs,
//! counts and the audit trail.

use herald::rpc::pb::{self, ChannelObstacle as Obstacle, ChannelState as State};
use tonic::Code;

use crate::support::client::reason;
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
