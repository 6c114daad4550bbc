//! 429 on users.list (faults.md 15): every replica waits as long as required, without a call, a
//! clamp or a storm (I5, I10).

use std::time::Duration;

use herald::sandbox::{Fault, FaultKind, LogEntry};

use super::{
    LAST, email, id, is_later, member, plan, refresh, refresh_in_vain, small_pages, state,
};
use crate::support::world::{Plan, SCALE, TENANT, World, until};

fn throttle(world: &World, retry_after: Option<String>) {
    let kind = FaultKind::Status { code: 429, body: "slow down".into(), retry_after };
    let fault = Fault::new("users.list", kind).times(1);
    world.sandbox.script(Fault { after_calls: 2, ..fault });
}

#[expect(clippy::disallowed_methods, reason = "a date for a header that the sandbox sends")]
fn date(ahead: Duration) -> String {
    let then = std::time::SystemTime::now() + ahead;
    let then = jiff::Timestamp::try_from(then).unwrap();
    jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&then).unwrap()
}

/// The time from the answer with the wait to the next request.
fn waited(calls: &[LogEntry], told: usize) -> Duration {
    let micros = calls[told + 1].started_at_micros - calls[told].ended_at_micros;
    Duration::from_micros(u64::try_from(micros).unwrap())
}

#[tokio::test]
async fn a_reading_waits_as_long_as_slack_says_and_goes_on() {
    let plan = Plan { replicas: 2, ..plan() };
    plan.run(async |world| {
        small_pages(world);
        for (retry_after, seconds) in [
            (Some("1".to_owned()), 1),
            (Some("120".to_owned()), 120),
            (None, 30),
            (Some("soon".to_owned()), 30),
            (Some("date".to_owned()), 55),
        ] {
            let retry_after = match retry_after.as_deref() {
                // Computed now, and read a moment later.
                Some("date") => Some(date(Duration::from_secs(60))),
                _ => retry_after,
            };
            let (before, calls) = (state(world).await, world.calls("users.list").len());
            throttle(world, retry_after.clone());
            refresh(world).await;
            world.called("users.list", calls + 3).await;
            // Requesting a reading does not shorten the wait.
            refresh(world).await;
            assert_eq!(member(&world.client, &email(LAST)).await, Some(id(LAST)));
            world.members_read(TENANT, before.generation + 1).await;
            let log = world.calls("users.list");
            assert_eq!(log.len(), calls + 7, "only the refused page was requested again");
            let wait = Duration::from_secs(seconds).mul_f64(SCALE);
            assert!(waited(&log, calls + 2) >= wait, "{retry_after:?}");
            world.sandbox.clear_faults();
        }
    })
    .await;
}

#[tokio::test]
async fn a_wait_without_end_is_shown_and_kept_to_a_day() {
    plan()
        .run(async |world| {
            small_pages(world);
            let before = state(world).await.generation;
            throttle(world, Some("99999999999999999999".into()));
            let stopped = refresh_in_vain(world).await;
            assert!(stopped.last_error.contains("asks to wait"), "{}", stopped.last_error);
            assert_eq!(
                (stopped.generation, stopped.crawl.map(|crawl| crawl.pages)),
                (before, Some(2))
            );
            // A day, scaled.
            let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
            let wait = stopped.next_refresh_at.unwrap().seconds.cast_unsigned() - now;
            assert!((1000..=1728).contains(&wait), "{wait}");

            // No request gets around the wait.
            let calls = world.calls("users.list").len();
            for _ in 0..3 {
                refresh(world).await;
                until("the try ends", async || is_later(&state(world).await).then_some(())).await;
            }
            assert_eq!(world.calls("users.list").len(), calls);
            assert_eq!(member(&world.client, &email(LAST)).await, Some(id(LAST)));
        })
        .await;
}

#[tokio::test]
async fn a_reading_keeps_within_slacks_tier() {
    // Sixty pages of one member, with a tier that allows twenty-two in a minute.
    let plan = Plan { rate_limits: true, replicas: 2, ..plan() };
    plan.run(async |world| {
        world.sandbox.configure(|options| options.max_page = 1);
        let before = state(world).await.generation;
        refresh(world).await;
        world.members_read(TENANT, before + 1).await;
        let calls = world.calls("users.list");
        assert!(calls.len() >= 60);
        let refused: Vec<_> = calls.iter().filter(|call| call.http_status == 429).collect();
        assert!(refused.is_empty(), "{refused:?}");
    })
    .await;
}
