//! The database's clock steps back while turns and transactions are under way. PostgreSQL only:
//! SQLite uses the machine's clock.

use std::time::Duration;

use herald::domain::delivery::State;
use herald::store::Backend;
use sea_orm::{ConnectionTrait as _, DatabaseConnection, DbBackend, Statement};

use super::slow::OWN_CLOCK;
use super::{PATIENCE, World};
use crate::support::gate::Gate;
use crate::support::process::until;
use crate::support::store::test_stores;

/// A world whose clock this SQL replaces, and a connection that bypasses the store.
async fn with_clock(clock: &str) -> Option<(World, DatabaseConnection)> {
    let mut stores = test_stores().await.into_iter();
    let mut store = stores.find(|store| store.backend() == Backend::Postgres)?;
    let raw = store.raw().await;
    raw.execute_unprepared(clock).await.unwrap();
    // A commit waits at a gate for longer than a statement may usually take.
    store.config.statement_timeout = PATIENCE;
    store.store = store.replica().await;
    Some((World::new(store).await, raw))
}

/// How often the replaced clock counted.
async fn counted(raw: &DatabaseConnection) -> i64 {
    let read = Statement::from_string(DbBackend::Postgres, "SELECT last_value FROM clock.counted");
    raw.query_one_raw(read).await.unwrap().unwrap().try_get_by_index(0).unwrap()
}

/// Replaces the function of [`OWN_CLOCK`] by one that counts how often Herald reads the clock to
/// find out whether it stepped.
const COUNTS_LOOKS: &str = "CREATE SEQUENCE clock.counted MINVALUE 0;
    SELECT nextval('clock.counted');
    CREATE OR REPLACE FUNCTION clock.clock_timestamp() RETURNS timestamptz
        LANGUAGE plpgsql VOLATILE AS $$ BEGIN
        IF current_query() LIKE 'SELECT (SELECT CAST(extract%' THEN
            PERFORM nextval('clock.counted');
        END IF;
        RETURN pg_catalog.clock_timestamp() + (SELECT ahead.by FROM clock.ahead);
    END $$;";

/// A transaction reads the clock, the clock steps back, and the transaction is committed when
/// replicas have already found nothing more to correct.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_comes_after_the_step_leaves_no_time_ahead() {
    let clock = format!("{OWN_CLOCK}{COUNTS_LOOKS}");
    let Some((world, raw)) = with_clock(&clock).await else { return };
    let running = world.start();
    let first = world.post("U1", "first").await;
    world.ended(first).await;
    let gate = Gate::before_commit(&world.store, "notifications").await;
    let meanwhile = async {
        gate.reached().await;
        raw.execute_unprepared("UPDATE clock.ahead SET by = '0'").await.unwrap();
        let before = counted(&raw).await;
        // The first look notices the step, and the following ones have nothing to correct.
        until("the clock is read again and again", async || {
            (counted(&raw).await > before + 3).then_some(())
        })
        .await;
        gate.open().await;
    };
    let (second, ()) = tokio::join!(world.post("U2", "second"), meanwhile);
    let record = world.ended(second).await;
    assert_eq!(record.state, State::Sent);
    let ahead = record.created_at.since(record.updated_at);
    assert!(ahead > Duration::from_secs(300), "it was accepted before the step: {ahead:?}");
    running.drain().await;
}

/// The clock is ten minutes ahead for the statement that claims lanes, and for no other.
const AHEAD_AT_CLAIMS: &str = "CREATE SCHEMA clock;
    CREATE SEQUENCE clock.counted MINVALUE 0;
    SELECT nextval('clock.counted');
    CREATE FUNCTION clock.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql VOLATILE AS
        $$ BEGIN
        IF current_query() LIKE 'WITH clock AS MATERIALIZED%' THEN
            PERFORM nextval('clock.counted');
            RETURN pg_catalog.clock_timestamp() + interval '10 minutes';
        END IF;
        RETURN pg_catalog.clock_timestamp();
    END $$;
    DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = clock, pg_catalog, public',
        current_database()); END $$;";

/// The clock steps back between a claim and its turn: the start that the claim took lies ten
/// minutes ahead of the turn's clock.
#[tokio::test(flavor = "multi_thread")]
async fn a_turn_waits_no_longer_for_its_start_than_at_the_claim() {
    let Some((world, raw)) = with_clock(AHEAD_AT_CLAIMS).await else { return };
    let running = world.start();
    let id = world.post("U1", "hello").await;
    assert_eq!(world.ended(id).await.state, State::Sent);
    assert!(counted(&raw).await > 0, "no claim was made by the clock that is ahead");
    running.drain().await;
}
