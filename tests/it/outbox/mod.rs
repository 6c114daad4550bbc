//! The outbox's contract, on every database.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod accept;
pub(crate) mod clock;
mod clock_before_repair;
mod clock_of_lists;
mod connections;
mod erasing;
mod fencing;
mod held_up;
mod history;
mod lanes;
mod newer;
mod newer_calls;
mod order;
mod queues;
mod races;
mod recovery;
mod replays;
mod resolving;
mod settle;
mod subjects;
mod together;
mod turns;
mod upkeep;
mod wakeups;

use std::time::Duration;

use herald::domain::capacity::priority::Priority;
use herald::domain::delivery::State;
use herald::domain::delivery::subject::SlackRequestKind;
use herald::domain::ids::{
    ChannelId, DeliveryId, EventType, InstallationId, NotificationId, Principal, RequestId,
    TenantId, UserId,
};
use herald::domain::time::Timestamp;
use herald::store::{
    Accept, Backlog, DeliveryKind, DeliveryRecord, Error, Head, LaneClaim, Lanes, NewDelivery,
    Outbox, Posting, Settle, SettleContext, Store, Target, lease_token,
};
use sea_orm::{ConnectionTrait as _, DatabaseConnection, Statement};

use crate::support::store::TestStore;

/// Longer than any test.
pub(crate) const LEASE: Duration = Duration::from_secs(600);
/// A lease that has run out when it begins.
const OVER: Duration = Duration::ZERO;
const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn tenant() -> TenantId {
    TenantId::parse("acme").unwrap()
}

pub(crate) fn installation() -> InstallationId {
    InstallationId::parse("018f0000-0000-7000-8000-000000000001").unwrap()
}

pub(crate) fn uuid() -> uuid::Uuid {
    uuid::Uuid::now_v7()
}

pub(crate) fn delivery(target: Target) -> NewDelivery {
    NewDelivery {
        id: DeliveryId(uuid()),
        user: Some(UserId::parse("someone").unwrap()),
        channel: None,
        target,
        content: Some(b"the rendered message".to_vec()),
        kind: DeliveryKind::Normal,
        priority: Priority::Normal,
        also: Vec::new(),
        trace: None,
    }
}

pub(crate) fn lane(name: &str) -> Target {
    Target::Lane { installation: installation(), lane: name.into() }
}

pub(crate) fn call(request: &str, deliveries: Vec<NewDelivery>) -> Accept {
    Accept {
        id: NotificationId(uuid()),
        tenant: tenant(),
        principal: Principal::parse("platform").unwrap(),
        request_id: RequestId::parse(request).unwrap(),
        fingerprint: [7; 32],
        event_type: EventType::parse("task.assigned").unwrap(),
        data: b"{\"task\":\"the data\"}".to_vec(),
        link: Some("https://platform.example/task/1".into()),
        about: herald::store::NotificationTerms::default(),
        answer: format!("answer to {request}").into_bytes(),
        deliveries,
        people: Vec::new(),
        identities: Vec::new(),
        expires_in: HOUR,
        trace_context: None,
    }
}

/// Accepts one message to `name`.
pub(crate) async fn post(store: &Store, name: &str) -> DeliveryId {
    let new = delivery(lane(name));
    let id = new.id;
    store.outbox().accept(call(&uuid().to_string(), vec![new])).await.unwrap();
    id
}

/// Claims the one lane that is due.
async fn claim(store: &Store, lease: Duration) -> LaneClaim {
    let mut claims = claim_lanes(store.lanes(), 10, lease).await.unwrap();
    assert_eq!(claims.len(), 1, "{claims:?}");
    claims.remove(0)
}

/// Claims the one lane that is due and reads its head.
pub(crate) async fn head(store: &Store) -> (LaneClaim, Head) {
    let claim = claim(store, LEASE).await;
    let head = store.lanes().head(&claim).await.unwrap().unwrap();
    (claim, head)
}

/// Claims up to `limit` due lanes, the most urgent queues first, regardless of budgets and pauses.
pub(crate) async fn claim_lanes(
    lanes: Lanes<'_>,
    limit: u32,
    lease: Duration,
) -> Result<Vec<LaneClaim>, Error> {
    let mut found = lanes.queues(None, limit).await?;
    found.queues.retain(|queue| queue.next_at <= found.now);
    found.queues.sort_by_key(|queue| (queue.key.class, queue.next_at));
    let mut claims = Vec::new();
    for queue in found.queues {
        let left = limit.saturating_sub(u32::try_from(claims.len()).unwrap_or(limit));
        if left > 0 {
            let claim = lanes.claim_queue(&queue.key, lease_token(), left, lease, None);
            claims.extend(claim.await?);
        }
    }
    Ok(claims)
}

/// How long until the earliest lane can be claimed: zero if one is due, `None` if all are empty or
/// asleep.
pub(crate) async fn next_due(lanes: Lanes<'_>) -> Option<Duration> {
    let found = lanes.queues(None, 1_000_000).await.unwrap();
    let next = found.queues.iter().map(|queue| queue.next_at).min();
    next.map(|next| next.since(found.now))
}

/// The deliveries that wait in one lane.
async fn backlog_of(lanes: Lanes<'_>, lane: &str) -> Backlog {
    let mut found = lanes.backlogs(installation(), &[lane]).await.unwrap();
    found.remove(lane).unwrap_or_default()
}

/// Commits the intent to post the head of a lane as a new message, outside any thread.
pub(crate) async fn intend_post(
    outbox: Outbox<'_>,
    claim: &LaneClaim,
    delivery: DeliveryId,
    lease: Duration,
) -> Result<Option<u32>, Error> {
    outbox.intend(claim, delivery, lease, SlackRequestKind::Post, None).await
}

/// The account of the posts to a workspace that had one.
pub(crate) async fn posting_of(store: &Store, id: InstallationId) -> Posting {
    store.lanes().workspace_backlog(id).await.unwrap().posting.unwrap()
}

/// The earliest time at which a delivery of the tenant that waits for a member is due; `None` if
/// none waits.
async fn resolving_due(raw: &DatabaseConnection, of: &TenantId) -> Option<Timestamp> {
    let due = format!(
        "SELECT MIN(due_at) FROM deliveries WHERE state = 'resolving' AND tenant = '{}'",
        of.as_str()
    );
    let read = Statement::from_string(raw.get_database_backend(), due);
    let row = raw.query_one_raw(read).await.unwrap().unwrap();
    row.try_get_by_index::<Option<i64>>(0).unwrap().map(Timestamp)
}

/// Like [`head`], and commits the intent to send it.
pub(crate) async fn sending(store: &Store) -> (LaneClaim, DeliveryId) {
    let (claim, head) = head(store).await;
    assert!(intend_post(store.outbox(), &claim, head.delivery, LEASE).await.unwrap().is_some());
    (claim, head.delivery)
}

/// Settles the head of a lane; returns whether it was settled.
pub(crate) async fn settled(
    store: &Store,
    claim: &LaneClaim,
    id: DeliveryId,
    outcome: &Settle,
) -> bool {
    store.outbox().settle(claim, id, outcome, SettleContext::default()).await.unwrap()
}

pub(crate) fn delivered() -> Settle {
    Settle::Delivered { channel: ChannelId::parse("D0001").unwrap(), ts: "1.000100".into() }
}

/// Looks at all lanes; returns how many were repaired.
async fn repair(store: &Store) -> u64 {
    let done = store.lanes().repair(None, 1_000).await.unwrap();
    assert_eq!((done.skipped, done.next), (0, None));
    done.repaired
}

async fn record(store: &Store, id: DeliveryId) -> DeliveryRecord {
    store.records().delivery(&tenant(), id).await.unwrap().unwrap()
}

async fn state(store: &Store, id: DeliveryId) -> State {
    record(store, id).await.state
}

async fn total(store: &TestStore) -> i64 {
    store.counts(&tenant()).await.values().sum()
}
