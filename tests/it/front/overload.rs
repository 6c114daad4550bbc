//! Overload: calls beyond a limit are refused at once, with the limit and the time to retry; calls
//! under way end, and health keeps telling the truth (faults.md 7 and 11).

use std::time::Duration;

use futures_util::future::join_all;
use herald::rpc::pb;
use herald::rpc::pb::herald_service_client::HeraldServiceClient;
use herald::sandbox::{Fault, FaultKind};
use sea_orm::TransactionTrait as _;
use sea_orm::{ConnectionTrait as _, DbBackend};
use tonic::{Code, Request, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;

use crate::support::client::{reason, task};
use crate::support::world::{Replica, TENANT, World, for_each_database, until};

async fn herald(replica: &Replica) -> HeraldServiceClient<tonic::transport::Channel> {
    HeraldServiceClient::connect(format!("http://{}", replica.rpc)).await.unwrap()
}

/// One more replica, with a limit of its own.
pub(super) async fn limited(
    world: &mut World,
    limit: impl FnOnce(&mut herald::config::Settings),
) -> usize {
    let mut settings = world.settings();
    limit(&mut settings);
    world.replicas.push(Replica::start(settings).await);
    world.replicas.len() - 1
}

pub(super) fn assert_shed(status: &Status, because: &str, limit: &str) {
    assert_eq!((status.code(), reason(status).as_str()), (Code::ResourceExhausted, because));
    let info = status.get_details_error_info().unwrap();
    assert_eq!(info.metadata.get("limit").map(String::as_str), Some(limit));
    assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());
}

async fn assert_healthy(replica: &Replica) {
    for address in [replica.rpc, replica.health] {
        let channel = tonic::transport::Channel::from_shared(format!("http://{address}")).unwrap();
        let mut health = HealthClient::new(channel.connect().await.unwrap());
        let asked = health.check(HealthCheckRequest { service: String::new() }).await;
        assert_eq!(asked.unwrap().into_inner().status, ServingStatus::Serving as i32);
    }
}

fn resolve(user: &str) -> pb::ResolveIdentityRequest {
    pb::ResolveIdentityRequest {
        tenant_id: TENANT.into(),
        subject: Some(pb::resolve_identity_request::Subject::UserId(user.into())),
        actor: None,
    }
}

#[tokio::test]
async fn a_caller_beyond_its_quota_is_told_to_slow_down() {
    for_each_database(async |world| {
        let replica = limited(world, |settings| settings.rpc.caller_calls_per_second = 1).await;
        let client = world.client(replica, None).await;
        let calls = (0..20).map(|_| client.resolve_identity(resolve("ben")));
        let answers = join_all(calls).await;
        let refused: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
        assert!(!refused.is_empty() && refused.len() < 20, "{answers:?}");
        for status in refused {
            assert_shed(status, "QUOTA_EXCEEDED", "rpc.caller_calls_per_second");
        }
        assert_healthy(&world.replicas[replica]).await;
    })
    .await;
}

#[tokio::test]
async fn calls_beyond_the_limit_are_refused_at_once_and_health_is_not() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        let replica = limited(world, |settings| settings.rpc.max_concurrent_calls = 1).await;
        let late = FaultKind::Delay { seconds: 5.0 };
        world.sandbox.script(Fault::new("chat.postMessage", late).after().times(1));
        let mut stored = world.sandbox.stored();
        let client = world.client(replica, None).await;
        let test = pb::TestSlackRequest {
            tenant_id: TENANT.into(),
            subject: Some(pb::test_slack_request::Subject::UserId("ben".into())),
            actor: None,
        };
        let asking = client.clone();
        let under_way = tokio::spawn(async move { asking.test_slack(test).await });
        stored.wait_for(|count| *count == 1).await.unwrap();
        let refused = client.resolve_identity(resolve("ben")).await.unwrap_err();
        assert_shed(&refused, "OVERLOADED", "rpc.max_concurrent_calls");
        assert_healthy(&world.replicas[replica]).await;
        under_way.await.unwrap().unwrap();
        client.resolve_identity(resolve("ben")).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_tenants_backlog_is_bounded_and_drains() {
    for_each_database(async |world| {
        world.client.load(&["ben", "ada"]).await;
        let replica = limited(world, |settings| settings.delivery.max_waiting = 2).await;
        let client = world.client(replica, None).await;
        for member in ["U0DEMOBEN", "U0DEMOADA"] {
            world.throttle(member, 300);
        }
        client.notify(task("one", &["ben", "ada"])).await.unwrap();
        let refused = client.notify(task("two", &["ben"])).await.unwrap_err();
        assert_shed(&refused, "BACKLOG_FULL", "delivery.max_waiting");
        // A call that adds nothing to the backlog is answered: there is no user with that name.
        client.notify(task("three", &["nobody"])).await.unwrap();
        world.sandbox.clear_faults();
        until("there is room", async || client.notify(task("two", &["ben"])).await.ok()).await;
        world.settled().await;
    })
    .await;
}

#[tokio::test]
async fn what_is_replayed_is_of_the_backlog_too() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        let refusing = FaultKind::Error { code: "restricted_action".into() };
        world.sandbox.script(Fault::new("chat.postMessage", refusing));
        let mut dead = Vec::new();
        for name in ["one", "two", "three"] {
            let answer = world.client.notify(task(name, &["ben"])).await.unwrap();
            world.client.ended(TENANT, &answer.notification_id).await;
            dead.push(answer.verdicts[0].delivery_id.clone());
        }
        world.sandbox.clear_faults();
        let replica = limited(world, |settings| settings.delivery.max_waiting = 2).await;
        let client = world.client(replica, None).await;
        let replay = |deliveries: &[String]| pb::ReplayDeliveriesRequest {
            tenant_id: TENANT.into(),
            request_id: "again".into(),
            delivery_ids: deliveries.to_vec(),
            ..pb::ReplayDeliveriesRequest::default()
        };
        let refused = client.replay_deliveries(replay(&dead)).await.unwrap_err();
        assert_shed(&refused, "BACKLOG_FULL", "delivery.max_waiting");
        // The refused call did nothing, so its request id is free and nothing counts as replayed.
        world.throttle("U0DEMOBEN", 300);
        let done = client.replay_deliveries(replay(&dead[..2])).await.unwrap();
        assert_eq!(done.deliveries.len(), 2);
        assert!(done.deliveries.iter().all(|one| one.skipped() == pb::ReplaySkip::Unspecified));
        for one in &done.deliveries {
            world.replayed(&one.replayed_as);
        }
        let refused = client.notify(task("four", &["ben"])).await.unwrap_err();
        assert_shed(&refused, "BACKLOG_FULL", "delivery.max_waiting");
        // The same call again is answered, even if the backlog is full.
        let again = client.replay_deliveries(replay(&dead[..2])).await.unwrap();
        assert_eq!(again.deliveries, done.deliveries);
        world.sandbox.clear_faults();
        world.settled().await;
        assert_eq!(world.messages(2).await.len(), 2);
    })
    .await;
}

/// Locks a table (PostgreSQL) or the writer (SQLite) until it is dropped.
async fn hold(world: &World, table: &str) -> sea_orm::DatabaseTransaction {
    let raw = world.raw().await;
    let held = raw.begin().await.unwrap();
    match raw.get_database_backend() {
        DbBackend::Postgres => {
            held.execute_unprepared(&format!("LOCK TABLE {table}")).await.unwrap();
        }
        // Any row: SQLite locks the whole database.
        _ => drop(held.execute_unprepared("UPDATE tenants SET version = version").await.unwrap()),
    }
    held
}

#[tokio::test]
async fn a_deadline_that_passes_tears_nothing() {
    Box::pin(for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        // The server's own bound: a client also enforces a deadline that it sets itself.
        let soon = Duration::from_millis(500);
        let replica = limited(world, |settings| settings.rpc.longest_call = soon).await;
        let client = world.client(replica, None).await;
        let held = hold(world, "notifications").await;
        let calls = (0..5).map(async |number| {
            client.notify(task(&format!("task {number}"), &["ben"])).await.unwrap_err()
        });
        for status in join_all(calls).await {
            assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
            assert_eq!(reason(&status), "DEADLINE_EXCEEDED");
        }
        held.rollback().await.unwrap();
        for number in 0..5 {
            let call = task(&format!("task {number}"), &["ben"]);
            let first = world.client.notify(call.clone()).await.unwrap();
            assert_eq!(world.client.notify(call).await.unwrap(), first);
        }
        assert_eq!(world.settled().await.len(), 5);
    }))
    .await;
}

#[tokio::test]
async fn callers_that_go_away_leave_nothing_half_done_and_no_connection_behind() {
    for_each_database(async |world| {
        world.client.load(&["ben", "ada"]).await;
        let calls: Vec<_> = (0..40).map(|n| task(&format!("task {n}"), &["ben", "ada"])).collect();
        let client = herald(&world.replicas[0]).await;
        for (polls, call) in calls.iter().enumerate() {
            let goes_away = async {
                for _ in 0..polls * 20 {
                    tokio::task::yield_now().await;
                }
            };
            let mut asking = client.clone();
            tokio::select! {
                biased;
                _ = asking.notify(call.clone()) => {}
                () = goes_away => {}
            }
        }
        // All at once: a connection that was not returned would be missing.
        let again = join_all(calls.iter().map(|call| world.client.notify(call.clone()))).await;
        for answer in again {
            assert_eq!(answer.unwrap().verdicts.len(), 2);
        }
        assert_eq!(world.settled().await.len(), 80);
    })
    .await;
}

#[tokio::test]
async fn without_a_free_connection_calls_are_shed_and_health_stays() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        let raw = world.raw().await;
        if raw.get_database_backend() != DbBackend::Postgres {
            // In SQLite, a reader never waits for a writer.
            return;
        }
        let replica = limited(world, |settings| {
            settings.store.max_connections = 2;
            settings.store.acquire_timeout = Duration::from_secs(1);
        })
        .await;
        let client = world.client(replica, None).await;
        client.resolve_identity(resolve("ben")).await.unwrap();
        let held = hold(world, "people").await;
        // Longer than two of the health checks take.
        for _ in 0..4 {
            let shed = until("calls are shed", async || {
                let answers = join_all((0..8).map(|_| async {
                    let mut call = Request::new(resolve("ben"));
                    call.set_timeout(Duration::from_secs(3));
                    herald(&world.replicas[replica]).await.resolve_identity(call).await
                }));
                answers
                    .await
                    .into_iter()
                    .filter_map(Result::err)
                    .find(|status| status.code() == Code::ResourceExhausted)
            })
            .await;
            assert_shed(&shed, "OVERLOADED", "store.max_connections");
            assert_healthy(&world.replicas[replica]).await;
        }
        held.rollback().await.unwrap();
        until("the replica answers again", async || {
            client.resolve_identity(resolve("ben")).await.ok()
        })
        .await;
    })
    .await;
}
