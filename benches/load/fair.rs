//! The latency of a small tenant's single Notify while another tenant's broadcasts are accepted,
//! compared with the same calls on an idle server.
//!
//! Both tenants are in one workspace whose token is dead: nothing is delivered meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use herald::rpc::pb;
use herald::rpc::pb::admin_service_client::AdminServiceClient;

use super::accept::put_to_sleep;
use super::latency::percentiles;
use super::stage::{Database, Plan, Stage, described, message};
use super::{Effort, tell};

const PEOPLE: usize = 1000;
const BROADCASTS: usize = 16;
const SMALL: &str = "small";
/// Pause between two calls of the small tenant.
const TICK: Duration = Duration::from_millis(50);

pub(crate) async fn run(database: Database, effort: Effort) {
    let settings = vec!["delivery.max_waiting=10000000".to_owned()];
    let plan = Plan { people: PEOPLE, time_scale: 1.0, rate_limits: false, settings };
    let stage = Stage::start(database, &plan).await;
    begin_small(&stage).await;
    put_to_sleep(&stage).await;
    let alone = small_calls(&stage, effort.span).await;

    let stop = Arc::new(AtomicBool::new(false));
    let broadcasts: Vec<_> = (0..BROADCASTS)
        .map(|_| {
            let (stop, mut herald) = (Arc::clone(&stop), stage.herald());
            tokio::spawn(async move {
                let mut done = 0usize;
                while !stop.load(Ordering::Relaxed) {
                    let id = uuid::Uuid::now_v7().to_string();
                    herald.notify(message(&id, 0..PEOPLE)).await.unwrap();
                    done += 1;
                }
                done
            })
        })
        .collect();
    // Waits until all of them are under way.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let since = Instant::now();
    let beside = small_calls(&stage, effort.span).await;
    let elapsed = since.elapsed();
    stop.store(true, Ordering::Relaxed);
    let mut done = 0;
    for broadcast in broadcasts {
        done += broadcast.await.unwrap();
    }
    let (p50, p50_alone) = (median(&beside), median(&alone));
    let row = format!("Notify of one beside {BROADCASTS} broadcasts of {PEOPLE}");
    let ratio = format!("{:.1} x", p50 / p50_alone);
    let reach = "p50 <= 100 ms";
    tell(&row, database.name(), &percentiles(beside), &percentiles(alone), &ratio, reach);
    let rate = (done * PEOPLE) as f64 / elapsed.as_secs_f64();
    let rate = format!("about {rate:.0} recipients/s");
    tell("those broadcasts", database.name(), &rate, "-", "-", "-");
}

/// A tenant of its own, with one person.
async fn begin_small(stage: &Stage) {
    let mut admin = AdminServiceClient::new(stage.channel.clone());
    let request = pb::AllowSendingRequest { tenant_id: SMALL.into(), actor: None };
    admin.allow_sending(request).await.unwrap();
    let people = vec![described(0)];
    let request = pb::UpsertPeopleRequest { tenant_id: SMALL.into(), people, actor: None };
    admin.upsert_people(request).await.unwrap();
}

/// The duration of each of its calls, in microseconds.
async fn small_calls(stage: &Stage, span: Duration) -> Vec<u128> {
    let (since, mut times) = (Instant::now(), Vec::new());
    let mut ticks = tokio::time::interval(TICK);
    while since.elapsed() < span {
        ticks.tick().await;
        let id = uuid::Uuid::now_v7().to_string();
        let call = pb::NotifyRequest { tenant_id: SMALL.into(), ..message(&id, [0]) };
        let asked = Instant::now();
        stage.herald().notify(call).await.unwrap();
        times.push(asked.elapsed().as_micros());
    }
    times
}

fn median(times: &[u128]) -> f64 {
    let mut times = times.to_vec();
    times.sort_unstable();
    times[times.len() / 2] as f64
}
