//! The cost of quiet streams while one tenant is busy: PostgreSQL's transactions with 200 streams
//! of other tenants, compared with the same load without them.

use std::time::{Duration, Instant};

use herald::rpc::pb;
use herald::rpc::pb::admin_service_client::AdminServiceClient;
use herald::rpc::pb::herald_service_client::HeraldServiceClient;
use tonic::Streaming;
use tonic::transport::Channel;

use super::accept::put_to_sleep;
use super::stage::{Database, Plan, Stage, message};
use super::{Effort, tell_ratio};

const PEOPLE: usize = 1000;
const STREAMS: usize = 200;
/// The tenants that they belong to.
const TENANTS: usize = 20;
/// Pause between two calls of the busy tenant.
const TICK: Duration = Duration::from_millis(20);

pub(crate) async fn run(database: Database, effort: Effort) {
    // SQLite does not count transactions.
    if database == Database::Sqlite {
        return;
    }
    let settings = vec![format!("rpc.max_watches={}", 4 * STREAMS)];
    let plan = Plan { people: PEOPLE, time_scale: 1.0, rate_limits: false, settings };
    let stage = Stage::start(database, &plan).await;
    // Only the changes are measured, and not their delivery.
    put_to_sleep(&stage).await;
    let without = stage.transactions(busy(&stage, effort)).await;
    let streams = open(&stage).await;
    let with = stage.transactions(busy(&stage, effort)).await;
    drop(streams);
    let row = format!("transactions beside {STREAMS} quiet streams");
    tell_ratio(&row, database.name(), with, without, "<= 1.1 x");
}

/// Calls of the busy tenant at a steady rate.
async fn busy(stage: &Stage, effort: Effort) {
    let (since, mut ticks) = (Instant::now(), tokio::time::interval(TICK));
    while since.elapsed() < 2 * effort.span {
        ticks.tick().await;
        let id = uuid::Uuid::now_v7().to_string();
        stage.herald().notify(message(&id, [rand::random_range(0..PEOPLE)])).await.unwrap();
    }
}

/// The streams, each of which has begun.
async fn open(stage: &Stage) -> Vec<Streaming<pb::WatchDeliveriesResponse>> {
    // One connection carries at most 256 streams.
    let channel = Channel::from_shared(format!("http://{}", stage.rpc)).unwrap();
    let channel = channel.connect().await.unwrap();
    let mut admin = AdminServiceClient::new(channel.clone());
    let mut herald = HeraldServiceClient::new(channel);
    let tenant = |number: usize| format!("quiet-{}", number % TENANTS);
    for number in 0..TENANTS {
        let request = pb::AllowSendingRequest { tenant_id: tenant(number), actor: None };
        admin.allow_sending(request).await.unwrap();
    }
    let mut streams = Vec::new();
    for number in 0..STREAMS {
        let request = pb::WatchDeliveriesRequest {
            tenant_id: tenant(number),
            after_sequence: None,
            actor: None,
        };
        let mut stream = herald.watch_deliveries(request).await.unwrap().into_inner();
        stream.message().await.unwrap();
        streams.push(stream);
    }
    streams
}
