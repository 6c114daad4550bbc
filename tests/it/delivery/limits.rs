//! The scope of a 429 on a post: its conversation, or, if another conversation gets one too, the
//! workspace (faults.md 15, I5; docs/decisions/0020-posting-limits.md).

use std::time::Duration;

use herald::domain::delivery::State;
use herald::domain::ids::SlackUserId;
use herald::domain::time::{Timestamp, micros};
use herald::sandbox::{Fault, FaultKind, LogEntry};
use herald::store::DeliveryRecord;
use herald::workspace::Method;
use sea_orm::{ConnectionTrait as _, Statement};

use super::{SECOND, World, worlds};
use crate::outbox::next_due;
use crate::support::process::until;
use crate::support::store::{TestStore, test_stores};

/// Posts to this member are answered with 429 this many times.
fn throttle(world: &World, member: &str, retry_after: &str, times: u32) {
    let retry_after = (!retry_after.is_empty()).then(|| retry_after.to_owned());
    let kind = FaultKind::Status { code: 429, body: String::new(), retry_after };
    let fault = Fault { channel: Some(member.into()), ..Fault::new("chat.postMessage", kind) };
    world.sandbox.script(fault.times(times));
}

/// Whether a refusal by Slack was settled. On a busy machine, an earlier attempt may have ended too
/// late to be recorded. The attempts are read after the row, which must show the refusal too.
fn throttled(record: &DeliveryRecord) -> bool {
    record.code.as_deref() == Some("ratelimited")
        && record.attempts.iter().any(|attempt| attempt.outcome == "throttled")
}

fn refused(posts: &[LogEntry]) -> usize {
    posts.iter().filter(|post| post.http_status == 429).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_429_on_one_channel_holds_back_no_other() {
    for world in worlds().await {
        throttle(&world, "U1", "120", u32::MAX);
        let stuck = world.post("U1", "stuck").await;
        let running = world.start();
        world.until(stuck, throttled).await;
        for number in 2..=9 {
            let other = world.post(&format!("U{number}"), "goes on").await;
            assert_eq!(world.ended(other).await.state, State::Sent);
        }
        // It was the first to be refused, and is sent when the others are.
        world.sandbox.clear_faults();
        assert_eq!(world.ended(stuck).await.state, State::Sent);
        let posts = world.posts();
        let theirs: Vec<_> = posts.iter().filter(|post| post.args["channel"] == "U1").collect();
        assert_eq!((theirs.len() - 1, posts.len() - theirs.len()), (refused(&posts), 8));
        assert_eq!(theirs[0].http_status, 429);
        for pair in theirs.windows(2) {
            let waited = pair[1].started_at_micros - pair[0].ended_at_micros;
            assert!(waited >= micros(SECOND * 120), "{waited} µs");
        }
        running.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_429_on_a_second_conversation_pauses_the_workspace_on_all_replicas() {
    for world in worlds().await {
        throttle(&world, "U1", "100", 1);
        throttle(&world, "U2", "100", 1);
        let (running, other) = (world.start(), world.replica().await);
        for member in ["U1", "U2"] {
            let id = world.post(member, "one").await;
            world.until(id, throttled).await;
        }
        let third = world.post("U3", "two").await;
        assert_eq!(world.ended(third).await.state, State::Sent);
        let posts = world.posts();
        assert_eq!((posts[0].http_status, posts[1].http_status), (429, 429));
        for post in &posts[2..] {
            let waited = post.started_at_micros - posts[1].ended_at_micros;
            assert!(waited >= micros(SECOND * 100), "{waited} µs");
        }
        running.drain().await;
        other.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_that_works_in_between_tells_that_each_429_was_its_conversations() {
    for world in worlds().await {
        throttle(&world, "U1", "1000", 1);
        throttle(&world, "U2", "1000", 1);
        let running = world.start();
        let first = world.post("U1", "one").await;
        world.until(first, throttled).await;
        let between = world.post("U3", "works").await;
        assert_eq!(world.ended(between).await.state, State::Sent);
        let second = world.post("U2", "one").await;
        world.until(second, throttled).await;
        let after = world.post("U4", "works").await;
        assert_eq!(world.ended(after).await.state, State::Sent);
        assert_eq!(world.record(first).await.state, State::Pending);
        assert_eq!(world.record(second).await.state, State::Pending);
        running.drain().await;
    }
}

/// In every form in which Slack, or a proxy before it, may state the wait.
#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_retry_after_is_kept() {
    for world in worlds().await {
        // A date is compared with the answer's own, which has whole seconds.
        let date = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(600);
        let date = date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        // A missing or unreadable value means 30 s; a huge one means a day.
        for (member, retry_after, seconds) in [
            ("U1", "", 30),
            ("U2", "soon", 30),
            ("U3", "1", 1),
            ("U4", "99999999999999999999", 24 * 3600),
            ("U5", "120", 120),
            ("U6", &*date, 500),
        ] {
            throttle(&world, member, retry_after, 1);
            let before = world.store.now().await.unwrap();
            let id = world.post(member, "one").await;
            let running = world.start();
            let throttled =
                world.until(id, |record| throttled(record) && record.attempt == 0).await;
            let wait = throttled.due_at.since(before);
            assert!(
                wait >= SECOND * seconds,
                "{retry_after:?}: {wait:?}, {:?}",
                throttled.attempts
            );
            // A successful post shows that the workspace is not limited.
            let works = world.post("U9", "works").await;
            assert_eq!(world.ended(works).await.state, State::Sent);
            running.drain().await;
        }
    }
}

/// While one conversation waits as long as Slack says, the others are not affected: all their
/// messages are sent, and no request is made for the waiting one (faults.md 15).
#[tokio::test(flavor = "multi_thread")]
async fn one_throttled_conversation_costs_the_others_nothing() {
    const EACH: usize = 12;
    for world in worlds().await {
        throttle(&world, "U1", "3000", 1);
        let stuck = world.post("U1", "stuck").await;
        let running = world.start();
        world.until(stuck, throttled).await;
        let mut others = Vec::new();
        for number in 0..EACH {
            for member in 2..=9 {
                others.push(world.post(&format!("U{member}"), &number.to_string()).await);
            }
        }
        for other in &others {
            assert_eq!(world.ended(*other).await.state, State::Sent);
        }
        let posts = world.posts();
        let of_the_one = posts.iter().filter(|post| post.args["channel"] == "U1").count();
        assert_eq!((of_the_one, posts.len() - of_the_one), (1, others.len()), "of all, 100 %");
        assert!(posts.iter().filter(|post| post.http_status == 429).count() == 1);
        running.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_token_puts_every_lane_to_sleep_at_once() {
    for world in worlds().await {
        let later = world.post("U2", "two").await;
        let token = world.store.tenancy().token(world.installation).await.unwrap();
        let killed = world.store.tenancy().mark_installation_dead(
            world.installation,
            token.version,
            "token_revoked",
        );
        assert!(killed.await.unwrap());
        assert_eq!(next_due(world.store.lanes()).await, None);
        super::connect(&world.store, &world.sandbox, super::SCOPES).await;
        let running = world.start();
        assert_eq!(world.ended(later).await.state, State::Sent);
        running.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_auth_is_asked_about_before_it_stops_a_workspace() {
    for world in worlds().await {
        let fault = FaultKind::Error { code: "invalid_auth".into() };
        world.sandbox.script(Fault::new("chat.postMessage", fault).times(1));
        let id = world.post("U1", "one").await;
        let running = world.start();
        let record = world.ended(id).await;
        assert_eq!((record.state, record.attempt), (State::Sent, 2));
        assert_eq!(record.attempts[0].outcome, "not_sent");
        assert_eq!(world.calls("auth.test").len(), 1);
        running.drain().await;
    }
}

/// The next free start of a method, by the database's clock.
async fn next_start(world: &World, method: Method) -> i64 {
    let raw = world.store.raw().await;
    let text = format!("SELECT next_at FROM budgets WHERE method = '{}'", method.name());
    let next = raw.query_one_raw(Statement::from_string(raw.get_database_backend(), text)).await;
    next.unwrap().unwrap().try_get_by_index(0).unwrap()
}

/// Blocks this test's thread until the database's clock has reached that time.
fn stand_still(store: &TestStore, until: Timestamp) {
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let replica = store.replica().await;
                while replica.now().await.unwrap() < until {}
                replica.close().await;
            });
        });
        waits.join().unwrap();
    });
}

/// A process that is blocked, as if frozen, while its calls wait for their starts: when it
/// continues, all starts have passed, and the calls would begin at the same time.
#[tokio::test]
async fn starts_that_were_slept_through_are_not_used() {
    const METHOD: Method = Method::UsersInfo;
    const SCALE: f64 = 0.1;
    const CALLS: u32 = 3;
    let (away, frozen) = (Duration::from_secs(2), Duration::from_millis(4_500));
    for store in test_stores().await {
        let world = World::scaled(store, SCALE).await;
        let id = world.installation;
        world.store.budgets().reserve(id, METHOD.name(), away, away).await.unwrap();
        let first = next_start(&world, METHOD).await;
        let calls: Vec<_> = (0..CALLS)
            .map(|_| {
                let workspaces = world.workspaces.clone();
                let member = SlackUserId::parse("U1").unwrap();
                tokio::spawn(async move { workspaces.user_info(id, &member).await })
            })
            .collect();
        let booked = first + i64::from(CALLS) * micros(METHOD.interval().mul_f64(SCALE));
        until("each call has its start", async || {
            (next_start(&world, METHOD).await >= booked).then_some(())
        })
        .await;
        let thawed = world.store.now().await.unwrap().plus(frozen);
        stand_still(&world.store, thawed);
        for call in calls {
            assert!(call.await.unwrap().unwrap().is_some());
        }
        let next = next_start(&world, METHOD).await;
        assert!(next > thawed.0, "the starts that had passed were used");
    }
}
