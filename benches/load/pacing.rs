//! The share of Slack's documented rate that is used: one message a second in each conversation,
//! with the limits enforced.

use std::collections::HashMap;
use std::time::Duration;

use super::stage::{Database, Plan, Stage, message};
use super::{Effort, tell};

/// As many as stay below the initial estimate of a workspace's limit: 300 posts a minute.
const PEOPLE: usize = 4;
/// The factor for Slack's durations: unscaled, because Herald's own additions are not scaled.
const SCALE: f64 = 1.0;

pub(crate) async fn run(database: Database, effort: Effort) {
    let plan = Plan { people: PEOPLE, time_scale: SCALE, rate_limits: true, settings: Vec::new() };
    let stage = Stage::start(database, &plan).await;
    let rounds = effort.count(40, 10);
    let mut stored = stage.sandbox.stored();
    for round in 0..rounds {
        stage.herald().notify(message(&format!("round {round}"), 0..PEOPLE)).await.unwrap();
    }
    let total = (PEOPLE * rounds) as u64;
    let all = stored.wait_for(|count| *count >= total);
    tokio::time::timeout(Duration::from_secs(600), all).await.unwrap().unwrap();
    let posts: Vec<_> =
        stage.sandbox.log().into_iter().filter(|call| call.method == "chat.postMessage").collect();
    let refused = posts.iter().filter(|call| call.http_status == 429).count();
    let mut spans: HashMap<String, (i64, i64)> = HashMap::new();
    for post in posts.iter().filter(|call| call.http_status == 200) {
        let lane = post.conversation.clone().unwrap_or_default();
        let span = spans.entry(lane).or_insert((post.started_at_micros, post.started_at_micros));
        span.1 = post.started_at_micros;
    }
    let least = (rounds - 1) as f64 * SCALE;
    let used: f64 = spans
        .values()
        .map(|(first, last)| least / ((last - first) as f64 / 1_000_000.0))
        .sum::<f64>()
        / spans.len() as f64;
    let measured = format!("{:.1} % of 1/s, {refused} refused", used * 100.0);
    let reach = ">= 98 %, no avoidable 429";
    tell(
        "pace of a conversation",
        database.name(),
        &measured,
        "the limit",
        &format!("{used:.3}"),
        reach,
    );
}
