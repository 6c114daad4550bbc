//! Delivery to a sandbox that answers at once, compared with a bare post between two single-row
//! commits with as many in flight.

use std::sync::Arc;
use std::time::{Duration, Instant};

use herald::rpc::pb;
use herald::rpc::pb::admin_service_client::AdminServiceClient;

use super::accept::put_to_sleep;
use super::floor::{Bare, closed_loop};
use super::latency::{measure, percentiles};
use super::stage::{Database, Plan, Stage, TENANT, message};
use super::{Effort, tell, tell_ratio};

const PEOPLE: usize = 1000;
/// Recipients of one call.
const RECIPIENTS: usize = 1000;
/// The same as `delivery.workers`.
const WORKERS: usize = 64;

pub(crate) async fn run(database: Database, effort: Effort) {
    // The pace is one message a second and conversation, scaled to twenty times faster: with a
    // thousand conversations it is no limit here. A larger factor would also speed up Herald's
    // periodic work.
    let settings = vec!["app.posts_per_minute=1000000".to_owned()];
    let plan = Plan { people: PEOPLE, time_scale: 0.05, rate_limits: false, settings };
    let stage = Stage::start(database, &plan).await;
    put_to_sleep(&stage).await;
    let rounds = effort.count(10, 3);
    for round in 0..rounds {
        stage.herald().notify(message(&format!("round {round}"), 0..PEOPLE)).await.unwrap();
    }
    let ours = woken(&stage, PEOPLE * (rounds + 1)).await;

    let bare = Bare::connect(&stage.store, 64).await;
    bare.prepare_rows().await;
    let token = stage.sandbox.install(&["chat:write"]);
    let url = stage.sandbox.url().join("api/chat.postMessage").unwrap();
    let client = bare_client();
    let secret: Arc<str> = token.expose().into();
    let floor = closed_loop(WORKERS, effort.span, move |_| {
        let (bare, client, url, secret) =
            (bare.clone(), client.clone(), url.clone(), Arc::clone(&secret));
        async move {
            let id = uuid::Uuid::now_v7().to_string();
            bare.insert_row(&id).await;
            let lane = format!("U{:06}", rand::random_range(0..PEOPLE));
            let body = serde_json::json!({ "channel": lane, "text": "A task for you" });
            let post = client.post(url).bearer_auth(&*secret).json(&body);
            let answer: serde_json::Value = post.send().await.unwrap().json().await.unwrap();
            assert_eq!(answer["ok"], true, "{answer}");
            bare.update_row(&id).await;
        }
    })
    .await;
    tell_ratio("delivery, sandbox at once", database.name(), ours, floor, ">= 1 x");
}

/// Connects the workspace again, so that all its lanes wake. Returns messages per second until
/// `total` are in Slack.
async fn woken(stage: &Stage, total: usize) -> f64 {
    let mut stored = stage.sandbox.stored();
    let before = *stored.borrow();
    let mut admin = AdminServiceClient::new(stage.channel.clone());
    let request =
        pb::BeginConnectRequest { tenant_id: TENANT.into(), ..pb::BeginConnectRequest::default() };
    let link = admin.begin_connect(request).await.unwrap().into_inner().authorize_url;
    let link = url::Url::parse(&link).unwrap();
    let (since, allow) = (Instant::now(), herald::sandbox::browser::Decision::Allow);
    herald::sandbox::browser::decide(&link, allow).await.unwrap();
    let all = stored.wait_for(|count| *count >= before + total as u64);
    tokio::time::timeout(Duration::from_secs(600), all).await.unwrap().unwrap();
    total as f64 / since.elapsed().as_secs_f64()
}

/// One message for each of many conversations, twice: with statistics taken while they waited, and
/// with those taken when the outbox was empty again. The second must be as fast. A query plan that
/// is right only with fresh statistics shows here.
pub(crate) async fn run_drained(database: Database, effort: Effort) {
    let settings = vec!["app.posts_per_minute=1000000".to_owned()];
    let people = effort.count(20_000, 2_000);
    let plan = Plan { people, time_scale: 0.05, rate_limits: false, settings };
    let stage = Stage::start(database, &plan).await;
    let mut rates = Vec::new();
    for (name, when) in [("full", "the outbox was full"), ("drained", "it was drained")] {
        stage.sandbox.revoke_token(None, "token_revoked");
        if name == "drained" {
            stage.take_statistics().await;
        }
        for first in (0..people).step_by(RECIPIENTS) {
            let some = first..(first + RECIPIENTS).min(people);
            let call = message(&format!("{name} {first}"), some);
            stage.herald().notify(call).await.unwrap();
        }
        if name == "full" {
            stage.take_statistics().await;
        }
        println!("  {people} conversations wait; statistics were taken when {when}");
        rates.push(woken(&stage, people).await);
    }
    let row = format!("delivery to {people} conversations, statistics of a drained outbox");
    tell_ratio(&row, database.name(), rates[1], rates[0], ">= 0.8 x");
    let sent = percentiles(measure(&stage, effort, people).await.sent);
    let row = format!("commit to Slack request, beside {people} such conversations");
    tell(&row, database.name(), &sent, "-", "-", "as on an idle server");
}

#[expect(clippy::disallowed_methods, reason = "the floor is a bare client")]
fn bare_client() -> reqwest::Client {
    reqwest::Client::new()
}
