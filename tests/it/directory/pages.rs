//! The size of pages: reduced if Slack finds them too large, increased again after some successes,
//! and kept by a replica that takes over.

use herald::sandbox::fixture::generated_member;
use herald::sandbox::{Fault, FaultKind};

use super::{small_pages, state};
use crate::support::world::{Plan, Replica, TENANT, World, until};

fn limits(world: &World) -> Vec<u64> {
    let limit = |entry: herald::sandbox::LogEntry| entry.args["limit"].as_str()?.parse().ok();
    world.calls("users.list").into_iter().filter_map(limit).collect()
}

fn break_after(world: &World, calls: u32, times: u32, kind: FaultKind) {
    let fault = Fault::new("users.list", kind).times(times);
    world.sandbox.script(Fault { after_calls: calls, ..fault });
}

#[tokio::test]
async fn pages_fall_where_they_are_too_much_and_climb_back() {
    // Thirty pages of ten, with the bot.
    let members = Some((0..299).map(generated_member).collect());
    let plan = Plan { members, ready: false, ..Plan::default() };
    plan.run(async |world| {
        small_pages(world);
        let error = |code: &str| FaultKind::Error { code: code.into() };
        break_after(world, 0, 1, error("limit_required"));
        let status = FaultKind::Status { code: 503, body: String::new(), retry_after: None };
        break_after(world, 1, 1, status);
        // The reading stops here, and the replica that continues it knows the page size.
        let wait =
            FaultKind::Status { code: 429, body: String::new(), retry_after: Some("150".into()) };
        break_after(world, 7, 1, wait);
        world.connect(TENANT).await;
        until("the reading stops", async || {
            let crawl = state(world).await.crawl?;
            (crawl.pages == 5 && crawl.holder.is_empty()).then_some(())
        })
        .await;
        let other = Replica::start(world.settings()).await;
        world.members_read(TENANT, 1).await;
        other.stopped().await;
        let mut expected = vec![999, 500];
        // Five, the one that was told to wait, and eleven more: sixteen successes.
        expected.extend([250; 17]);
        expected.extend([500; 14]);
        assert_eq!(limits(world), expected);
        let read = state(world).await;
        assert_eq!((read.members, read.crawl), (300, None));
    })
    .await;
}
