//! The time from accepting until Slack is called, on an idle server.
//!
//! It is counted from `created_at`, which is set within the transaction, so the commit is included.

use std::time::Duration;

use super::stage::{Database, Plan, Stage, message};
use super::{Effort, tell};

const PEOPLE: usize = 100;

pub(crate) async fn run(database: Database, effort: Effort) {
    // The limit of a workspace must not matter here either.
    let settings = vec!["app.posts_per_minute=60000".to_owned()];
    let plan = Plan { people: PEOPLE, time_scale: 1.0, rate_limits: false, settings };
    let stage = Stage::start(database, &plan).await;
    let times = measure(&stage, effort, PEOPLE).await;
    let reach = "p50 <= 5 ms, p99 <= 50 ms";
    let (sent, answered) = (percentiles(times.sent), percentiles(times.answered));
    tell("commit to Slack request, idle", database.name(), &sent, "-", "-", reach);
    tell("Notify's answer, idle", database.name(), &answered, "-", "-", "-");
}

/// In microseconds.
pub(crate) struct Times {
    /// From the commit until the request to Slack.
    pub(crate) sent: Vec<u128>,
    /// Of the answer to Notify.
    pub(crate) answered: Vec<u128>,
}

/// Single messages, one after the other, to the first `people` people in turn.
pub(crate) async fn measure(stage: &Stage, effort: Effort, people: usize) -> Times {
    let mut stored = stage.sandbox.stored();
    let (mut accepted, mut answered) = (Vec::new(), Vec::new());
    for number in 0..effort.count(300, 100) {
        // Each person gets a message every three seconds or more, so the pace is no limit here.
        tokio::time::sleep(Duration::from_millis(if effort.quick { 15 } else { 35 })).await;
        let before = *stored.borrow();
        let asked = std::time::Instant::now();
        let call = message(&format!("number {number}"), [number % people]);
        let answer = stage.herald().notify(call).await.unwrap().into_inner();
        answered.push(asked.elapsed().as_micros());
        let there = stored.wait_for(|count| *count > before);
        tokio::time::timeout(Duration::from_secs(60), there).await.unwrap().unwrap();
        let begun = stage.sandbox.log().last().unwrap().started_at_micros;
        accepted.push((answer.notification_id, begun));
    }
    let mut sent = Vec::new();
    for (notification, begun) in accepted {
        let request = herald::rpc::pb::GetNotificationRequest {
            tenant_id: super::stage::TENANT.into(),
            notification_id: notification,
            actor: None,
        };
        let found = stage.herald().get_notification(request).await.unwrap().into_inner();
        let created = found.notification.unwrap().created_at.unwrap();
        let created = created.seconds * 1_000_000 + i64::from(created.nanos) / 1000;
        sent.push(u128::try_from(begun - created).unwrap_or(0));
    }
    Times { sent, answered }
}

/// Percentiles of times in microseconds.
pub(crate) fn percentiles(mut times: Vec<u128>) -> String {
    times.sort_unstable();
    let at = |part: usize| times[(times.len() - 1) * part / 100] as f64 / 1000.0;
    format!("p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms", at(50), at(90), at(99))
}
