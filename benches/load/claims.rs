//! The rate at which lanes are claimed with 100,000 messages behind one paused channel, compared
//! with the rate without them.

use std::time::{Duration, Instant};

use herald::domain::capacity::priority::Priority;
use herald::domain::delivery::subject::SlackRequestKind;
use herald::domain::ids::{
    DeliveryId, EventType, InstallationId, NotificationId, Principal, RequestId, TenantId,
};
use herald::store::{
    Accept, DeliveryKind, LaneClaim, NewDelivery, Settle, SettleContext, Store, Target, WaitScope,
    lease_token,
};
use uuid::Uuid;

use super::stage::{Database, store_config};
use super::{Effort, tell_ratio};

const LANES: usize = 2_000;
const LEASE: Duration = Duration::from_secs(3600);

pub(crate) async fn run(database: Database, effort: Effort) {
    let without = rate(database, 0).await;
    let with = rate(database, effort.count(100, 10)).await;
    tell_ratio(
        "claims beside 100,000 behind one channel",
        database.name(),
        with,
        without,
        ">= 0.8 x",
    );
}

/// Lanes per second that are claimed, inspected and given back; `behind` thousands wait elsewhere.
async fn rate(database: Database, behind: usize) -> f64 {
    let (config, _dir) = store_config(database).await;
    let store = Store::open(&config).await.unwrap();
    store.migrate().await.unwrap();
    for _ in 0..behind {
        store.outbox().accept(call(vec!["C0HOT"; 1000])).await.unwrap();
    }
    for claim in claim(&store, 10).await {
        let head = store.lanes().head(&claim).await.unwrap().unwrap();
        let outbox = store.outbox();
        let intent = outbox.intend(&claim, head.delivery, LEASE, SlackRequestKind::Post, None);
        assert!(intent.await.unwrap().is_some());
        let wait = Settle::Wait { after: LEASE, scope: WaitScope::Lane };
        assert!(
            store
                .outbox()
                .settle(&claim, head.delivery, &wait, SettleContext::default())
                .await
                .unwrap()
        );
    }
    let lanes: Vec<String> = (0..LANES).map(|number| format!("U{number}")).collect();
    for lanes in lanes.chunks(1000) {
        store.outbox().accept(call(lanes.iter().map(String::as_str).collect())).await.unwrap();
    }
    let (since, mut claimed) = (Instant::now(), 0);
    while claimed < LANES {
        for claim in claim(&store, 64).await {
            claimed += 1;
            let head = store.lanes().head(&claim).await.unwrap().unwrap();
            let failed =
                Settle::Failed { reason: herald::domain::reason::Failure::Template, code: None };
            assert!(
                store
                    .outbox()
                    .settle(&claim, head.delivery, &failed, SettleContext::default())
                    .await
                    .unwrap()
            );
        }
    }
    claimed as f64 / since.elapsed().as_secs_f64()
}

/// Claims up to `limit` due lanes, the most urgent queues first.
async fn claim(store: &Store, limit: u32) -> Vec<LaneClaim> {
    let mut found = store.lanes().queues(None, limit).await.unwrap();
    found.queues.retain(|queue| queue.next_at <= found.now);
    found.queues.sort_by_key(|queue| (queue.key.class, queue.next_at));
    let mut claims = Vec::new();
    for queue in found.queues {
        let left = limit.saturating_sub(u32::try_from(claims.len()).unwrap_or(limit));
        if left > 0 {
            let claim = store.lanes().claim_queue(&queue.key, lease_token(), left, LEASE, None);
            claims.extend(claim.await.unwrap());
        }
    }
    claims
}

pub(crate) fn call(lanes: Vec<&str>) -> Accept {
    let installation = InstallationId::parse("018f0000-0000-7000-8000-000000000001").unwrap();
    let deliveries = lanes.into_iter().map(|lane| NewDelivery {
        id: DeliveryId(Uuid::now_v7()),
        user: None,
        channel: None,
        target: Target::Lane { installation, lane: lane.into() },
        content: Some(vec![b'x'; 600]),
        kind: DeliveryKind::Normal,
        priority: Priority::Normal,
        also: Vec::new(),
        trace: None,
    });
    Accept {
        id: NotificationId(Uuid::now_v7()),
        tenant: TenantId::parse("acme").unwrap(),
        principal: Principal::parse("bench").unwrap(),
        request_id: RequestId::parse(Uuid::now_v7().to_string()).unwrap(),
        fingerprint: [7; 32],
        event_type: EventType::parse("task.assigned").unwrap(),
        data: b"{}".to_vec(),
        link: None,
        about: herald::store::NotificationTerms::default(),
        answer: b"answer".to_vec(),
        deliveries: deliveries.collect(),
        people: Vec::new(),
        identities: Vec::new(),
        expires_in: LEASE,
        trace_context: None,
    }
}
