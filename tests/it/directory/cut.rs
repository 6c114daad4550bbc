//! A reading that is cut at any point removes no member who was there before (I9).

use herald::rpc::pb;
use herald::sandbox::{Fault, FaultKind};

use super::{LAST, email, id, member, plan, refresh, small_pages, state};
use crate::support::client::{notify, person};
use crate::support::world::{Replica, TENANT, World, until};

const PAGES: u32 = 6;

/// Through Notify and ResolveIdentity, here and on a replica that has nothing in memory yet.
async fn is_reached(world: &World, request: &str) {
    let fresh = Replica::start(world.settings()).await;
    for client in [world.client.clone(), world.client_at(fresh.rpc).await] {
        assert_eq!(member(&client, &email(LAST)).await, Some(id(LAST)));
    }
    fresh.stopped().await;
    let answer = world.client.notify(notify(request, "task.assigned", &["last"])).await.unwrap();
    assert_eq!(answer.verdicts[0].kind(), pb::VerdictKind::Queued, "{answer:?}");
    assert!(answer.verdicts[0].member.is_some(), "resolved at once: {answer:?}");
}

#[tokio::test]
async fn a_reading_cut_at_any_page_makes_nobody_unreachable() {
    plan()
        .run(async |world| {
            world.client.upsert(TENANT, vec![person("last", &email(LAST))]).await;
            small_pages(world);
            for pages in 0..PAGES {
                let before = state(world).await.generation;
                let broken = Fault::new("users.list", FaultKind::Reset);
                world.sandbox.script(Fault { after_calls: pages, ..broken });
                refresh(world).await;
                until("the reading is cut", async || {
                    let state = state(world).await;
                    let crawl = state.crawl?;
                    let cut = crawl.holder.is_empty() && !state.last_error.is_empty();
                    (cut && crawl.pages == i32::try_from(pages).unwrap()).then_some(())
                })
                .await;
                assert_eq!(state(world).await.generation, before);
                is_reached(world, &format!("cut at {pages}")).await;

                // The reading continues where it was cut.
                let calls = world.calls("users.list").len();
                world.sandbox.clear_faults();
                refresh(world).await;
                world.members_read(TENANT, before + 1).await;
                let left = usize::try_from(PAGES - pages).unwrap();
                assert!(world.calls("users.list").len() - calls <= left + 1);
                is_reached(world, &format!("read after {pages}")).await;
            }
            world.settled().await;
        })
        .await;
}
