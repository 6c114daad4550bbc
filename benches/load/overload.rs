//! Offers three times the sustainable rate: the throughput in time that remains, and the memory
//! used.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::accept::{notify_rate, put_to_sleep};
use super::stage::{Database, Plan, Stage, message};
use super::{Effort, tell};

const PEOPLE: usize = 1000;
/// The deadline that callers set.
const DEADLINE: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(10);

#[derive(Default)]
struct Count {
    done: AtomicU64,
    shed: AtomicU64,
    late: AtomicU64,
    other: AtomicU64,
}

pub(crate) async fn run(database: Database, effort: Effort) {
    // A single caller gets half of them.
    let settings = vec!["rpc.max_concurrent_calls=512".to_owned()];
    let plan = Plan { people: PEOPLE, time_scale: 1.0, rate_limits: false, settings };
    let stage = Stage::start(database, &plan).await;
    put_to_sleep(&stage).await;
    let peak = notify_rate(&stage, 64, effort.span).await;
    let (before, _) = stage.memory();
    let count = Arc::new(Count::default());
    let (since, mut sent, mut tasks) = (Instant::now(), 0u64, tokio::task::JoinSet::new());
    let mut ticks = tokio::time::interval(TICK);
    let uri = format!("http://{}", stage.health);
    let channel = tonic::transport::Channel::from_shared(uri).unwrap().connect_lazy();
    let mut health = HealthClient::new(channel);
    let (mut asked, mut slowest) = (Instant::now(), Duration::ZERO);
    // A channel allows 256 streams at once: more callers need more channels.
    let uri = format!("http://{}", stage.rpc);
    let mut channels = Vec::new();
    for _ in 0..8 {
        let channel = tonic::transport::Channel::from_shared(uri.clone()).unwrap();
        channels.push(channel.connect().await.unwrap());
    }
    while since.elapsed() < 2 * effort.span {
        ticks.tick().await;
        let due = (3.0 * peak * since.elapsed().as_secs_f64()) as u64;
        for number in sent..due {
            let channel = channels[number as usize % channels.len()].clone();
            let mut herald =
                herald::rpc::pb::herald_service_client::HeraldServiceClient::new(channel);
            let count = Arc::clone(&count);
            tasks.spawn(async move {
                let id = uuid::Uuid::now_v7().to_string();
                let mut call = Request::new(message(&id, [rand::random_range(0..PEOPLE)]));
                call.set_timeout(DEADLINE);
                let counter = match herald.notify(call).await {
                    Ok(_) => &count.done,
                    Err(status) => match status.code() {
                        Code::ResourceExhausted => &count.shed,
                        Code::DeadlineExceeded | Code::Cancelled => &count.late,
                        _ => &count.other,
                    },
                };
                counter.fetch_add(1, Ordering::Relaxed);
            });
        }
        sent = due;
        while tasks.try_join_next().is_some() {}
        if asked.elapsed() > Duration::from_millis(500) {
            asked = Instant::now();
            health.check(HealthCheckRequest { service: String::new() }).await.unwrap();
            slowest = slowest.max(asked.elapsed());
        }
    }
    let elapsed = since.elapsed().as_secs_f64();
    let done = count.done.load(Ordering::Relaxed) as f64 / elapsed;
    while tasks.join_next().await.is_some() {}
    let (_, most) = stage.memory();
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let measured = format!(
        "{done:.0}/s of {:.0}/s offered; {} shed, {} late, {} otherwise; {} -> {} MB; \
         health within {} ms",
        sent as f64 / elapsed,
        read(&count.shed),
        read(&count.late),
        read(&count.other),
        before >> 20,
        most >> 20,
        slowest.as_millis(),
    );
    let (floor, ratio) = (format!("{peak:.0}/s"), format!("{:.0} %", 100.0 * done / peak));
    tell(
        "three times the rate",
        database.name(),
        &measured,
        &floor,
        &ratio,
        ">= 70 %, memory bounded",
    );
}
