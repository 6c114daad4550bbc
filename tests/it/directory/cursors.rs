//! Cursors that expire and repeat, empty pages, and lists that change while they are read
//! (faults.md 19).

use herald::sandbox::fixture::generated_member;
use herald::sandbox::{Fault, FaultKind};
use serde_json::json;

use super::{
    LAST, MEMBERS, counted, cursor, email, id, is_later, member, page, plan, refresh,
    refresh_in_vain,
};
use super::{small_pages, state};
use crate::support::world::{TENANT, World};

/// Breaks one call after this many.
fn once_after(world: &World, calls: u32, kind: FaultKind) {
    let fault = Fault::new("users.list", kind).times(1);
    world.sandbox.script(Fault { after_calls: calls, ..fault });
}

fn expired() -> FaultKind {
    FaultKind::Error { code: "invalid_cursor".into() }
}

/// The cursors of the calls since `from`; the first page has none.
fn asked(world: &World, from: usize) -> Vec<Option<String>> {
    let cursor = |entry: &herald::sandbox::LogEntry| {
        entry.args.get("cursor").and_then(serde_json::Value::as_str).map(str::to_owned)
    };
    world.calls("users.list")[from..].iter().map(cursor).collect()
}

#[tokio::test]
async fn an_expired_cursor_begins_the_reading_again_once() {
    plan()
        .run(async |world| {
            small_pages(world);
            let (before, calls) = (state(world).await, world.calls("users.list").len());
            once_after(world, 3, expired());
            refresh(world).await;
            let read = world.members_read(TENANT, before.generation + 1).await;
            assert_eq!((read.members, read.last_error.as_str()), (60, ""));
            let asked = asked(world, calls);
            let expected = [0, 10, 20, 30, 0, 10, 20, 30, 40, 50];
            let expected = expected.map(|at| (at > 0).then(|| cursor(at)));
            assert_eq!(asked, expected);
        })
        .await;
}

/// If it happens twice in one reading, that reading fails, the previous list stays, and the next
/// regular reading works.
async fn twice_ends_it(kind: impl Fn() -> FaultKind, code: &str) {
    plan()
        .run(async |world| {
            small_pages(world);
            let (before, calls) = (state(world).await, world.calls("users.list").len());
            once_after(world, 3, kind());
            once_after(world, 7, kind());
            let failed = refresh_in_vain(world).await;
            assert!(failed.last_error.contains(code), "{}", failed.last_error);
            assert_eq!(failed.generation, before.generation);
            assert_eq!(failed.crawl, None, "no pages of it are left");
            assert!(is_later(&failed), "the next one is a regular one");
            assert_eq!(world.calls("users.list").len() - calls, 8);
            assert_eq!(member(&world.client, &email(LAST)).await, Some(id(LAST)));
            refresh(world).await;
            let read = world.members_read(TENANT, before.generation + 1).await;
            assert_eq!((read.members, read.last_error.as_str()), (60, ""));
        })
        .await;
}

#[tokio::test]
async fn a_cursor_that_expires_twice_ends_the_reading() {
    twice_ends_it(expired, "invalid_cursor").await;
}

#[tokio::test]
async fn a_cursor_that_repeats_ends_the_reading() {
    // The fourth page leads back to the second: an endless loop without the same cursor twice in a
    // row.
    let back = || page((30..40).map(generated_member), Some(cursor(10)));
    twice_ends_it(back, "cursor_repeats").await;
}

#[tokio::test]
async fn an_empty_page_with_a_cursor_is_not_the_end() {
    plan()
        .run(async |world| {
            small_pages(world);
            let before = state(world).await;
            // Members 10 and 11 get lost on the way: few enough for the list to be accepted.
            once_after(world, 1, page([], Some(cursor(12))));
            refresh(world).await;
            let read = world.members_read(TENANT, before.generation + 1).await;
            assert_eq!(read.members, 58);
            assert_eq!(member(&world.client, &email(LAST)).await, Some(id(LAST)));
        })
        .await;
}

#[tokio::test]
async fn a_list_may_change_while_it_is_read() {
    plan()
        .run(async |world| {
            small_pages(world);
            let (before, calls) = (state(world).await, world.calls("users.list").len());
            once_after(world, 2, FaultKind::Delay { seconds: 1.5 });
            // One member of the first page is listed again.
            let again = (40..50).chain([3]).map(generated_member);
            once_after(world, 4, page(again, Some(cursor(50))));
            refresh(world).await;
            world.called("users.list", calls + 2).await;
            // Meanwhile a member joins, and a member who was not read yet leaves.
            world.sandbox.add_member(generated_member(MEMBERS));
            world.sandbox.update_member(&id(55), &json!({ "deleted": true }));
            world.members_read(TENANT, before.generation + 1).await;
            counted(world, |list| (list.matchable, list.deactivated) == (59, 1)).await;
            assert_eq!(member(&world.client, &email(3)).await, Some(id(3)), "not ambiguous");
            assert_eq!(member(&world.client, &email(MEMBERS)).await, Some(id(MEMBERS)));
            assert_eq!(member(&world.client, &email(55)).await, None);
        })
        .await;
}
