//! The two streams: a notification until it has ended, and the feed of a tenant.

use std::collections::BTreeMap;

use herald::rpc::pb::{self, DeliveryState as State};
use sea_orm::ConnectionTrait as _;
use tonic::{Code, Streaming};

use crate::support::client::{reason, task};
use crate::support::world::{PATIENCE, Plan, TENANT, for_each_database, until};

/// The next message of a stream.
async fn next<T>(stream: &mut Streaming<T>) -> Result<Option<T>, tonic::Status> {
    tokio::time::timeout(PATIENCE, stream.message()).await.unwrap()
}

#[tokio::test]
async fn a_change_that_cannot_be_read_does_not_end_its_stream() {
    for_each_database(async |world| {
        world.client.load(&["ben"]).await;
        let id = world.client.notify(task("one", &["ben"])).await.unwrap().notification_id;
        world.client.ended(TENANT, &id).await;
        let mut stream = world.client.watch_deliveries(TENANT, Some(0)).await.unwrap();
        let told: Vec<i64> = read(&mut stream, 2).await.iter().map(|one| one.sequence).collect();
        assert_eq!(told, [1, 2]);
        let damage = "UPDATE delivery_changes SET delivery = 'x' WHERE sequence = 1";
        world.raw().await.execute_unprepared(damage).await.unwrap();
        let mut stream = world.client.watch_deliveries(TENANT, Some(0)).await.unwrap();
        let told: Vec<i64> = read(&mut stream, 1).await.iter().map(|one| one.sequence).collect();
        assert_eq!(told, [2]);
    })
    .await;
}

/// Reads the feed until it has returned this many more changes.
async fn read(
    stream: &mut Streaming<pb::WatchDeliveriesResponse>,
    count: usize,
) -> Vec<pb::DeliveryChange> {
    let mut changes = Vec::new();
    while changes.len() < count {
        let told = next(stream).await.unwrap().unwrap();
        assert!(told.changes.len() <= 100);
        changes.extend(told.changes);
        assert_eq!(told.last_sequence, changes.last().map_or(0, |change| change.sequence));
    }
    changes
}

#[tokio::test]
async fn a_notification_is_watched_until_it_ended() {
    for_each_database(async |world| {
        world.client.load(&["ben", "clara"]).await;
        world.throttle("U0DEMOBEN", 5);
        let id = world.client.notify(task("a", &["ben", "clara"])).await.unwrap().notification_id;
        let mut stream = world.client.watch_notification(TENANT, &id).await.unwrap();
        let first = next(&mut stream).await.unwrap().unwrap().update.unwrap();
        let pb::watch_notification_response::Update::Notification(first) = first else {
            panic!("{first:?}");
        };
        assert_eq!((first.notification_id.as_str(), first.deliveries.len()), (id.as_str(), 2));
        let mut states: BTreeMap<String, State> =
            first.deliveries.iter().map(|d| (d.delivery_id.clone(), d.state())).collect();
        world.called("chat.postMessage", 1).await;
        world.sandbox.clear_faults();
        while let Some(told) = next(&mut stream).await.unwrap() {
            let Some(pb::watch_notification_response::Update::Change(change)) = told.update else {
                panic!("{told:?}");
            };
            assert_eq!(change.notification_id, id);
            states.insert(change.delivery_id.clone(), change.state());
        }
        assert_eq!(states.into_values().collect::<Vec<_>>(), [State::Sent, State::Sent]);
        let status = world.client.watch_notification("other", &id).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
    })
    .await;
}

#[tokio::test]
async fn the_feed_goes_on_where_its_reader_stopped_at_any_replica() {
    Plan { replicas: 2, ..Plan::default() }
        .run(async |world| {
            world.client.load(&["ben"]).await;
            let other = world.client(1, None).await;
            let mut stream = world.client.watch_deliveries(TENANT, Some(0)).await.unwrap();
            assert!(next(&mut stream).await.unwrap().unwrap().changes.is_empty());
            world.client.notify(task("one", &["ben", "nobody"])).await.unwrap();
            let before = read(&mut stream, 3).await;
            drop(stream);
            // While there is no reader, the other replica accepts a message.
            let id = other.notify(task("two", &["ben"])).await.unwrap().notification_id;
            other.ended(TENANT, &id).await;
            let last = before.last().unwrap().sequence;
            let mut stream = world.client.watch_deliveries(TENANT, Some(last)).await.unwrap();
            let missed = read(&mut stream, 2).await;
            // A change at the other replica reaches an open stream too.
            let id = other.notify(task("three", &["ben"])).await.unwrap().notification_id;
            let live = read_on(&mut stream, &id).await;
            let all: Vec<_> = before.iter().chain(&missed).chain(&live).collect();
            let numbers: Vec<i64> = all.iter().map(|change| change.sequence).collect();
            assert_eq!(numbers, (1..=7).collect::<Vec<_>>());
            let told = |user: &str| -> Vec<State> {
                let of = all.iter().filter(|change| change.user_id == user);
                of.map(|change| change.state()).collect()
            };
            assert_eq!(told("nobody"), [State::Unreachable]);
            assert_eq!(told("ben"), [State::Pending, State::Sent].repeat(3));
            let sent = all.iter().find(|change| change.state() == State::Sent).unwrap();
            assert!(!sent.ts.is_empty() && !sent.channel_id.is_empty() && sent.sentence == "Sent.");
        })
        .await;
}

/// Reads until the notification is reported as sent.
async fn read_on(
    stream: &mut Streaming<pb::WatchDeliveriesResponse>,
    id: &str,
) -> Vec<pb::DeliveryChange> {
    let mut changes: Vec<pb::DeliveryChange> = Vec::new();
    let sent = |c: &pb::DeliveryChange| c.notification_id == id && c.state() == State::Sent;
    while !changes.iter().any(sent) {
        changes.extend(next(stream).await.unwrap().unwrap().changes);
    }
    changes
}

#[tokio::test]
async fn a_position_that_is_not_there_is_refused_with_the_one_that_is() {
    for_each_database(async |world| {
        use sea_orm::ConnectionTrait as _;
        use tonic_types::StatusExt as _;
        world.client.load(&["ben"]).await;
        let id = world.client.notify(task("a", &["ben"])).await.unwrap().notification_id;
        world.client.ended(TENANT, &id).await;
        let mut stream = world.client.watch_deliveries(TENANT, Some(0)).await.unwrap();
        read(&mut stream, 2).await;
        let refused = async |after| {
            let status = world.client.watch_deliveries(TENANT, Some(after)).await.unwrap_err();
            let details = status.get_error_details();
            let info = details.error_info().unwrap().clone();
            (status.code(), info.reason, info.metadata)
        };
        let (code, reason, metadata) = refused(3).await;
        assert_eq!((code, reason.as_str()), (Code::OutOfRange, "FEED_POSITION_UNKNOWN"));
        assert_eq!(metadata["last_sequence"], "2");
        let raw = world.raw().await;
        for statement in
            ["UPDATE feed_heads SET pruned = 1", "DELETE FROM delivery_changes WHERE sequence = 1"]
        {
            raw.execute_unprepared(statement).await.unwrap();
        }
        let (code, reason, metadata) = refused(0).await;
        assert_eq!((code, reason.as_str()), (Code::OutOfRange, "FEED_POSITION_EXPIRED"));
        assert_eq!(metadata["oldest_sequence"], "2");
        let mut stream = world.client.watch_deliveries(TENANT, Some(1)).await.unwrap();
        assert_eq!(read_on(&mut stream, &id).await.len(), 1);
        // A feed is only for its own tenant.
        let status = world.client.watch_deliveries("other", Some(0)).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
    })
    .await;
}

#[tokio::test]
async fn a_drain_ends_streams_so_that_clients_resume() {
    for_each_database(async |world| {
        let settings = world.settings();
        let leaving = crate::support::world::Replica::start(settings).await;
        let client = world.client_at(leaving.rpc).await;
        let mut stream = client.watch_deliveries(TENANT, None).await.unwrap();
        assert!(next(&mut stream).await.unwrap().unwrap().changes.is_empty());
        let stopping = tokio::spawn(leaving.stopped());
        let status = next(&mut stream).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "DRAINING"));
        stopping.await.unwrap();
    })
    .await;
}

/// Each open stream takes a place, which is free again when the client leaves.
#[tokio::test]
async fn streams_are_bounded_in_number() {
    for_each_database(async |world| {
        let mut settings = world.settings();
        settings.rpc.max_watches = 1;
        let replica = crate::support::world::Replica::start(settings).await;
        let client = world.client_at(replica.rpc).await;
        let mut first = client.watch_deliveries(TENANT, None).await.unwrap();
        assert!(next(&mut first).await.unwrap().unwrap().changes.is_empty());
        let status = client.watch_deliveries(TENANT, None).await.unwrap_err();
        let told = (status.code(), reason(&status));
        assert_eq!(told, (Code::ResourceExhausted, "OVERLOADED".to_owned()));
        drop(first);
        until("a free place", async || client.watch_deliveries(TENANT, None).await.ok()).await;
        replica.stopped().await;
    })
    .await;
}

/// Reads of the feed by all connections so far, as PostgreSQL counts them.
async fn reads(raw: &sea_orm::DatabaseConnection) -> i64 {
    use sea_orm::{ConnectionTrait as _, Statement};
    const SQL: &str = "SELECT COALESCE(seq_scan, 0) + COALESCE(idx_scan, 0) AS reads \
        FROM pg_stat_user_tables WHERE relname = 'delivery_changes'";
    let query = Statement::from_string(raw.get_database_backend(), SQL);
    raw.query_one_raw(query).await.unwrap().unwrap().try_get("", "reads").unwrap()
}

/// One tenant has changes; the streams of the others wait and read nothing.
#[tokio::test]
async fn quiet_streams_do_not_read_when_another_tenant_has_changes() {
    const QUIET: i64 = 100;
    const BUSY: usize = 50;
    Plan::default()
        .run(async |world| {
            if !world.is_postgres() {
                return; // SQLite does not count.
            }
            world.client.load(&["ben"]).await;
            let replica = crate::support::world::Replica::start(world.settings()).await;
            let client = world.client_at(replica.rpc).await;
            let mut streams = Vec::new();
            for number in 0..QUIET {
                let quiet = format!("quiet-{number}");
                client.switch_sending(&quiet, true).await;
                let mut stream = client.watch_deliveries(&quiet, None).await.unwrap();
                assert!(next(&mut stream).await.unwrap().unwrap().changes.is_empty());
                streams.push(stream);
            }
            let raw = world.raw().await;
            for number in 0..BUSY {
                let task = task(&format!("busy {number}"), &["ben"]);
                let id = client.notify(task).await.unwrap().notification_id;
                client.ended(TENANT, &id).await;
            }
            // Connections report their counts when they end.
            replica.stopped().await;
            let reads = reads(&raw).await;
            println!("{reads} reads of the feed: {QUIET} quiet streams, {BUSY} messages");
            // Each stream reads when it opens, and perhaps again when its feed is first seen.
            // Upkeep and numbering read too.
            assert!(reads < 4 * QUIET, "{reads}");
        })
        .await;
}
