//! A replica that is frozen for longer than its lease: another takes over, and what the frozen one
//! does when it goes on changes nothing (I6, I7; faults.md 4). PostgreSQL alone.

use herald::sandbox::{Fault, FaultKind};
use sea_orm::{ConnectionTrait as _, Database, DatabaseConnection, TransactionTrait as _};

use super::{Site, all_sent, deliveries, judge, message, service, site_on};
use crate::support::process::{Herald, PATIENCE, until};

const MESSAGES: usize = 4;
/// Any number that nobody else locks.
const GATE: i64 = 4_711;

async fn notify(herald: &Herald, numbers: std::ops::Range<usize>) -> Vec<String> {
    let mut ids = Vec::new();
    for number in numbers {
        let answer = service(herald.channel()).notify(message(number, 1)).await.unwrap();
        ids.push(answer.into_inner().notification_id);
    }
    ids
}

/// The frozen replica goes on, and finds that it is too late.
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

/// Whether somebody waits for such a lock.
async fn waits(database: &DatabaseConnection, condition: &str) -> bool {
    let query = format!("SELECT 1 FROM pg_locks WHERE NOT granted AND {condition}");
    database.query_one_raw(statement(&query)).await.unwrap().is_some()
}

fn statement(sql: &str) -> sea_orm::Statement {
    sea_orm::Statement::from_string(sea_orm::DbBackend::Postgres, sql)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_frozen_between_intent_and_request_does_not_post() {
    let Some(site) = site_on(true, 1).await else { return };
    let frozen = site.start_connected().await;
    let url = site.store.url.as_ref().unwrap().expose();
    let database = Database::connect(url).await.unwrap();
    // Intents wait at a gate; it opens when the replica stands still, which learns of the commit when it
    // goes on: between its intent and its request.
    let gate = database.begin().await.unwrap();
    gate.execute_unprepared(&format!("SELECT pg_advisory_xact_lock({GATE})")).await.unwrap();
    let trigger = format!(
        "CREATE FUNCTION wait_at_gate() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         PERFORM pg_advisory_xact_lock({GATE}); RETURN NEW; END $$; \
         CREATE TRIGGER gate BEFORE UPDATE ON deliveries FOR EACH ROW \
         WHEN (NEW.state = 'sending') EXECUTE FUNCTION wait_at_gate()"
    );
    database.execute_unprepared(&trigger).await.unwrap();
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
