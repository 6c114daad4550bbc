//! One stream of all tenants' changes, and a second one that resumes in its middle on the other
//! replica.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use herald::rpc::pb;
use herald::rpc::pb::herald_service_client::HeraldServiceClient;
use tonic::Streaming;
use tonic::transport::Channel;

use super::stage::{Replica, described, message, tenant};
use super::{Effort, tell};

/// Calls under way at the same time.
const AT_ONCE: usize = 32;
/// The longest wait for the next changes.
const PATIENCE: Duration = Duration::from_secs(60);

type Changes = Streaming<pb::WatchDeliveriesResponse>;

pub(crate) async fn run(replicas: &[Replica], effort: Effort) {
    let messages = effort.count(2000, 100);
    let stream = watch(&replicas[0].channel, None).await;
    let since = Instant::now();
    let reading = tokio::spawn(until_sent(stream, messages));
    send(replicas, messages).await;
    let accepted = since.elapsed().as_secs_f64();
    let changes = reading.await.unwrap();
    let took = since.elapsed().as_secs_f64();
    check(&changes, messages);

    let row = format!("one stream beside messages to {messages} tenants");
    let measured = format!("{:.0} changes/s", changes.len() as f64 / took);
    tell(&row, "PostgreSQL", &measured, "-", "-", "-");
    let measured = format!("{:.0}/s", messages as f64 / accepted);
    tell("Notify during this, one for each tenant", "PostgreSQL", &measured, "-", "-", "-");

    let middle = changes.len() / 2;
    let stream = watch(&replicas[1].channel, Some(changes[middle].position)).await;
    let rest = &changes[middle + 1..];
    let since = Instant::now();
    let resumed = some(stream, rest.len()).await;
    assert!(resumed == rest, "the rest of the feed is another one on the other replica");
    let rate = rest.len() as f64 / since.elapsed().as_secs_f64();
    let row = "the second half again, by the other replica";
    tell(row, "PostgreSQL", &format!("{rate:.0} changes/s"), "-", "-", "-");
}

/// The stream of all tenants. It has begun, so later changes are in it.
async fn watch(channel: &Channel, after_sequence: Option<i64>) -> Changes {
    let request =
        pb::WatchDeliveriesRequest { tenant_id: String::new(), after_sequence, actor: None };
    let mut herald = HeraldServiceClient::new(channel.clone());
    let mut stream = herald.watch_deliveries(request).await.unwrap().into_inner();
    if after_sequence.is_none() {
        let first = stream.message().await.unwrap().unwrap();
        assert!(first.changes.is_empty(), "{first:?}");
    }
    stream
}

/// One message for each tenant, accepted by the replicas in turn.
async fn send(replicas: &[Replica], messages: usize) {
    let calls = stream::iter(1..=messages).for_each_concurrent(AT_ONCE, |number| {
        let channel = replicas[number % replicas.len()].channel.clone();
        async move {
            let target = Some(pb::recipient::Target::Person(described(0)));
            let recipients = vec![pb::Recipient { target, roles: Vec::new() }];
            let call = message(&format!("feed {number}"), []);
            let call = pb::NotifyRequest { tenant_id: tenant(number), recipients, ..call };
            HeraldServiceClient::new(channel).notify(call).await.unwrap();
        }
    });
    calls.await;
}

/// Reads until so many messages were sent.
async fn until_sent(mut stream: Changes, messages: usize) -> Vec<pb::DeliveryChange> {
    let (mut changes, mut sent) = (Vec::new(), HashSet::new());
    while sent.len() < messages {
        let more = next(&mut stream).await;
        let done = more.iter().filter(|change| change.state() == pb::DeliveryState::Sent);
        sent.extend(done.map(|change| change.delivery_id.clone()));
        changes.extend(more);
    }
    changes
}

/// Reads so many changes.
async fn some(mut stream: Changes, count: usize) -> Vec<pb::DeliveryChange> {
    let mut changes = Vec::new();
    while changes.len() < count {
        changes.extend(next(&mut stream).await);
    }
    changes.truncate(count);
    changes
}

async fn next(stream: &mut Changes) -> Vec<pb::DeliveryChange> {
    let next = tokio::time::timeout(PATIENCE, stream.message()).await.unwrap();
    next.unwrap().unwrap().changes
}

/// Every tenant is there with all its changes, in the order of their positions.
fn check(changes: &[pb::DeliveryChange], messages: usize) {
    assert!(changes.windows(2).all(|two| two[0].position < two[1].position));
    let mut sequences = HashMap::<&str, Vec<i64>>::new();
    for change in changes {
        sequences.entry(&change.tenant_id).or_default().push(change.sequence);
    }
    assert_eq!(sequences.len(), messages, "each tenant has one message");
    for (tenant, sequences) in sequences {
        let gapless = sequences.windows(2).all(|two| two[0] + 1 == two[1]);
        assert!(gapless && sequences.len() > 1, "{tenant}: {sequences:?}");
    }
}
