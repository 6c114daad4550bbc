//! A reading that lost members: refused, reported, and accepted once it is confirmed.

use herald::rpc::pb;
use herald::sandbox::Fault;
use herald::sandbox::fixture::generated_member;

use super::{MEMBERS, email, id, is_later, member, page, plan, refresh, state};
use crate::support::world::{TENANT, World, until};

/// From now on, Slack lists only the first `members`.
fn shows(world: &World, members: u64) {
    world.sandbox.clear_faults();
    let list = page((0..members).map(generated_member), None);
    world.sandbox.script(Fault::new("users.list", list));
}

/// Waits until a reading that found this many was refused.
async fn refused(world: &World, members: i64) -> pb::PendingShrink {
    until("a reading is refused", async || {
        let state = state(world).await;
        let shrink = state.pending_shrink?;
        (shrink.members == members && state.crawl.is_none() && is_later(&state)).then_some(shrink)
    })
    .await
}

async fn last_is_there(world: &World) -> bool {
    member(&world.client, &email(MEMBERS - 1)).await == Some(id(MEMBERS - 1))
}

#[tokio::test]
async fn a_loss_is_believed_when_a_second_reading_shows_the_same() {
    plan()
        .run(async |world| {
            let before = state(world).await.generation;
            shows(world, 53);
            refresh(world).await;
            assert!(!refused(world, 53).await.accepted);
            let shown = state(world).await;
            assert_eq!((shown.generation, shown.members), (before, 60));
            assert!(shown.last_error.contains("53 members"), "{}", shown.last_error);
            assert!(last_is_there(world).await);

            // Another loss is not a confirmation.
            shows(world, 20);
            refresh(world).await;
            refused(world, 20).await;
            assert_eq!(state(world).await.generation, before);

            refresh(world).await;
            let read = world.members_read(TENANT, before + 1).await;
            assert_eq!((read.members, read.pending_shrink), (20, None));
            assert_eq!(read.last_error, "");
            until("the lost members are gone", async || {
                (!last_is_there(world).await).then_some(())
            })
            .await;
        })
        .await;
}

#[tokio::test]
async fn a_loss_that_was_none_is_forgotten() {
    plan()
        .run(async |world| {
            let before = state(world).await.generation;
            shows(world, 0);
            refresh(world).await;
            refused(world, 0).await;
            assert!(last_is_there(world).await);
            world.sandbox.clear_faults();
            refresh(world).await;
            let read = world.members_read(TENANT, before + 1).await;
            assert_eq!((read.members, read.pending_shrink), (60, None));
        })
        .await;
}

#[tokio::test]
async fn nobody_at_all_is_believed_the_second_time() {
    plan()
        .run(async |world| {
            let before = state(world).await.generation;
            shows(world, 0);
            for _ in 0..2 {
                assert!(last_is_there(world).await);
                refresh(world).await;
                until("the reading ends", async || {
                    let state = state(world).await;
                    let ended = state.pending_shrink.is_some() || state.generation > before;
                    (ended && is_later(&state)).then_some(())
                })
                .await;
            }
            assert_eq!(state(world).await.generation, before + 1);
            until("all members are gone", async || (!last_is_there(world).await).then_some(()))
                .await;
        })
        .await;
}

#[tokio::test]
async fn an_administrator_accepts_what_was_shown_and_no_more() {
    plan()
        .run(async |world| {
            let before = state(world).await.generation;
            shows(world, 30);
            refresh(world).await;
            refused(world, 30).await;
            let accept = pb::RefreshDirectoryRequest {
                tenant_id: TENANT.into(),
                accept_shrink: true,
                actor: None,
            };
            shows(world, 10);
            let told = world.client.refresh_directory(accept.clone()).await.unwrap();
            let pending = told.directory.unwrap().pending_shrink;
            assert!(pending.is_none_or(|shrink| shrink.accepted || shrink.members == 10));
            assert!(!refused(world, 10).await.accepted, "more is lost than was accepted");
            assert_eq!(state(world).await.generation, before);

            shows(world, 12);
            world.client.refresh_directory(accept).await.unwrap();
            let read = world.members_read(TENANT, before + 1).await;
            assert_eq!((read.members, read.pending_shrink), (12, None));
        })
        .await;
}
