//! A replica that is frozen for longer than its lease: another takes over, and nothing that the
//! frozen one does when it continues has an effect (I6, I7; faults.md 4). PostgreSQL only.

use herald::rpc::pb;
use herald::rpc::pb::herald_service_client::HeraldServiceClient;
use herald::sandbox::{Fault, FaultKind};
use sea_orm::{ConnectionTrait as _, Database, DatabaseConnection, TransactionTrait as _};
use tonic::transport::Channel;
use tonic_types::StatusExt as _;

use super::{Site, all_sent, deliveries, judge, member_id, message, person, service, site_on};
use crate::support::process::{Herald, PATIENCE, until};

const MESSAGES: usize = 4;
/// Calls that a stuck transaction delays besides its own: more than there are batches.
const MORE: usize = 3;
/// An arbitrary number that no other session locks.
const GATE: i64 = 4_711;

async fn notify(herald: &Herald, numbers: std::ops::Range<usize>) -> Vec<String> {
    let mut ids = Vec::new();
    for number in numbers {
        let answer = service(herald.channel()).notify(message(number, 1)).await.unwrap();
        ids.push(answer.into_inner().notification_id);
    }
    ids
}

/// The frozen replica continues, and finds that it is too late.
async fn thaw(frozen: &Herald, site: &Site, rescuer: &Herald, ids: &[String]) {
    let before = deliveries(rescuer.channel(), &ids[0]).await;
    assert!(!frozen.log().contains("another worker has taken this delivery over"));
    frozen.signal("CONT");
    until("the frozen replica's write is refused", async || {
        frozen.log().contains("another worker has taken this delivery over").then_some(())
    })
    .await;
    assert_eq!(deliveries(rescuer.channel(), &ids[0]).await, before);
    assert_eq!(judge::verdict(&site.sandbox.messages(), 1, MESSAGES), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_frozen_after_slack_stored_cannot_settle() {
    let Some(site) = site_on(true, 1).await else { return };
    let frozen = site.start_connected().await;
    // Longer than it takes to freeze it, shorter than a request may take.
    let late = FaultKind::Delay { seconds: 5.0 };
    site.sandbox.script(Fault::new("chat.postMessage", late).after().times(1));
    let ids = notify(&frozen, 0..MESSAGES).await;
    let mut stored = site.sandbox.stored();
    let first = stored.wait_for(|count| *count == 1);
    tokio::time::timeout(PATIENCE, first).await.unwrap().unwrap();
    frozen.freeze().await;
    let rescuer = site.start().await;
    all_sent(&rescuer.channel(), &ids).await;
    let outcomes: Vec<_> = deliveries(rescuer.channel(), &ids[0]).await[0]
        .attempt_log
        .iter()
        .map(|attempt| attempt.outcome.clone())
        .collect();
    assert_eq!(outcomes, ["crashed", "probe_sent"]);
    thaw(&frozen, &site, &rescuer, &ids).await;
}

/// Whether a session waits for such a lock.
async fn waits(database: &DatabaseConnection, condition: &str) -> bool {
    let query = format!("SELECT 1 FROM pg_locks WHERE NOT granted AND {condition}");
    database.query_one_raw(statement(&query)).await.unwrap().is_some()
}

fn statement(sql: &str) -> sea_orm::Statement {
    sea_orm::Statement::from_string(sea_orm::DbBackend::Postgres, sql)
}

/// Sessions that write such rows wait until the gate is free, however long, whatever lock timeout
/// their transaction has.
async fn set_gate(database: &DatabaseConnection, before: &str, which: &str) {
    let trigger = format!(
        "CREATE FUNCTION wait_at_gate() RETURNS trigger LANGUAGE plpgsql SET lock_timeout = 0 \
         AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared({GATE}); RETURN NEW; END $$; \
         CREATE TRIGGER gate BEFORE {before} FOR EACH ROW {which} EXECUTE FUNCTION wait_at_gate()"
    );
    database.execute_unprepared(&trigger).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_frozen_between_intent_and_request_does_not_post() {
    let Some(site) = site_on(true, 1).await else { return };
    let frozen = site.start_connected().await;
    let url = site.store.url.as_ref().unwrap().expose();
    let database = Database::connect(url).await.unwrap();
    // Intents wait at a gate that opens while the replica is frozen. The replica learns of the
    // commit when it continues, so it was frozen between its intent and its request.
    let gate = database.begin().await.unwrap();
    gate.execute_unprepared(&format!("SELECT pg_advisory_xact_lock({GATE})")).await.unwrap();
    set_gate(&database, "UPDATE ON deliveries", "WHEN (NEW.state = 'sending')").await;
    let mut ids = notify(&frozen, 0..1).await;
    until("the intent waits at the gate", async || {
        waits(&database, "locktype = 'advisory'").await.then_some(())
    })
    .await;
    frozen.freeze().await;
    gate.commit().await.unwrap();
    until("the intent is committed", async || {
        let sending = statement("SELECT 1 FROM deliveries WHERE state = 'sending'");
        database.query_one_raw(sending).await.unwrap().map(drop)
    })
    .await;
    let rescuer = site.start().await;
    ids.extend(notify(&rescuer, 1..MESSAGES).await);
    all_sent(&rescuer.channel(), &ids).await;
    thaw(&frozen, &site, &rescuer, &ids).await;
}

/// Message `number` to one person.
fn message_to(number: usize, to: usize) -> pb::NotifyRequest {
    let target = Some(pb::recipient::Target::UserId(person(to)));
    let recipients = vec![pb::Recipient { target, roles: Vec::new() }];
    pb::NotifyRequest { recipients, ..message(number, 0) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_frozen_inside_a_transaction_holds_up_only_what_it_wrote() {
    let Some(site) = site_on(true, 2).await else { return };
    let frozen = site.start_connected().await;
    let rescuer = site.start().await;
    let database = Database::connect(site.store.url.as_ref().unwrap().expose()).await.unwrap();
    // Creates both lanes and all keys.
    let mut ids = vec![notify_once(&rescuer, message(0, 2)).await];
    all_sent(&rescuer.channel(), &ids).await;
    let gate = database.begin().await.unwrap();
    gate.execute_unprepared(&format!("SELECT pg_advisory_xact_lock({GATE})")).await.unwrap();
    set_gate(&database, "INSERT ON deliveries", "").await;
    let stuck = message_to(1, 0);
    let (mut at_frozen, call) = (service(frozen.channel()), stuck.clone());
    let first = tokio::spawn(async move { at_frozen.notify(call).await.map(drop) });
    until("the call waits at the gate", async || {
        waits(&database, "locktype = 'advisory'").await.then_some(())
    })
    .await;
    frozen.freeze().await;
    gate.commit().await.unwrap();
    until("its transaction stays open", async || {
        let idle = statement(
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() \
             AND state = 'idle in transaction' AND query LIKE 'INSERT INTO deliveries%'",
        );
        database.query_one_raw(idle).await.unwrap().map(drop)
    })
    .await;

    // The same call at another replica, and more calls for the same lane: each is refused with a
    // retry time until the transaction is ended, then accepted.
    let more = (0..MORE).map(|number| message_to(2 + MESSAGES + number, 0));
    let held_up = std::iter::once(stuck).chain(more);
    let held_up: Vec<_> =
        held_up.map(|call| tokio::spawn(again(service(rescuer.channel()), call))).collect();
    // Meanwhile other calls are accepted, at the first try, and sent.
    for number in 2..MESSAGES + 2 {
        ids.push(notify_once(&rescuer, message_to(number, 1)).await);
    }
    assert!(
        !held_up.iter().any(tokio::task::JoinHandle::is_finished),
        "the transaction delayed no call"
    );
    all_sent(&rescuer.channel(), &ids).await;
    for held_up in held_up {
        ids.push(tokio::time::timeout(PATIENCE, held_up).await.unwrap().unwrap());
    }
    all_sent(&rescuer.channel(), &ids).await;
    frozen.signal("CONT");
    // Its transaction was ended, and it may not know whether that was committed.
    if let Err(status) = first.await.unwrap() {
        assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
    }
    assert_eq!(site.stored(), [(member_id(0), 2 + MORE), (member_id(1), 1 + MESSAGES)].into());
}

/// Repeats the call until it is accepted; each refusal must say when to retry.
async fn again(mut herald: HeraldServiceClient<Channel>, call: pb::NotifyRequest) -> String {
    loop {
        match herald.notify(call.clone()).await {
            Ok(answer) => return answer.into_inner().notification_id,
            Err(status) => {
                assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
                let details = status.get_error_details();
                assert!(details.retry_info().unwrap().retry_delay.is_some());
            }
        }
    }
}

async fn notify_once(herald: &Herald, call: pb::NotifyRequest) -> String {
    service(herald.channel()).notify(call).await.unwrap().into_inner().notification_id
}
