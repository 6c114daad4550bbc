//! Keeping a workspace connected: apps that rotate their tokens by now, and workspaces that take
//! long to move.

use herald::rpc::pb::WorkspaceState;

use super::rotation::{accepted, fresh, paused, rotate, sent, state};
use crate::support::world::{Replica, until};

/// No other installation of the app has a token that expires. Red without the installations of
/// `t` in `find_unrotated` in `store/keep/renewals.rs`.
#[tokio::test(flavor = "multi_thread")]
async fn the_only_installation_of_an_app_that_rotates_by_now_is_exchanged_too() {
    const TRIED: &str = "SELECT COUNT(*) FROM installations \
        WHERE refresh_due_at IS NULL AND refresh_failures = 1";
    fresh(1)
        .run(async |world| {
            world.make_ready().await;
            world.client.load(&["ben"]).await;
            // A day later: the app does not rotate yet, and the workspace lives on.
            let earlier = "UPDATE installations SET installed_at = 0, token_issued_at = 0, \
                refresh_lease_until = 0";
            world.execute(earlier).await.unwrap();
            let second = Replica::start(world.settings()).await;
            world.called("oauth.v2.exchange", 1).await;
            until("the refusal is stored", async || (world.count(TRIED).await == 1).then_some(()))
                .await;
            assert_eq!(state(world).await.0, WorkspaceState::Active);
            second.stopped().await;
            // One more day, and the app rotates.
            rotate(world, 43_200);
            world.execute(earlier).await.unwrap();
            let third = Replica::start(world.settings()).await;
            until("the new token is stored", async || {
                let renewed = "SELECT COUNT(*) FROM installations WHERE renewals = 1";
                (world.count(renewed).await == 1).then_some(())
            })
            .await;
            let id = accepted(world, "after").await;
            assert_eq!(sent(world, &id).await.attempts, 1);
            third.stopped().await;
        })
        .await;
}

/// Red if `MigrationPace::wait` in `store/keep/moving.rs` is always `first`, which is 3 s here.
#[tokio::test(flavor = "multi_thread")]
async fn the_longer_a_workspace_moves_the_rarer_it_is_looked_at() {
    fresh(1)
        .run(async |world| {
            world.make_ready().await;
            world.client.load(&["ben"]).await;
            world.sandbox.migrate_to_org("E0GRID");
            let id = accepted(world, "waits").await;
            paused(world, &id).await;
            // An hour later.
            let earlier = "UPDATE installations SET migration_look_at = 0, \
                migrating_since = migrating_since - 3600000000";
            world.execute(earlier).await.unwrap();
            until("the next look is far ahead", async || {
                let ahead = world.now().await.0 + 20_000_000;
                let booked = "SELECT COUNT(*) FROM installations WHERE migration_look_at > ";
                (world.count(&format!("{booked}{ahead}")).await == 1).then_some(())
            })
            .await;
            assert!(world.sandbox.finish_migration());
            let soon = "UPDATE installations SET migration_look_at = 0";
            world.execute(soon).await.unwrap();
            assert_eq!(sent(world, &id).await.attempts, 1);
        })
        .await;
}
