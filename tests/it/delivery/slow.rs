//! Workspaces with a slow Slack, locked rows, and many queues: none of these delays the others
//! (I8).

use std::time::{Duration, Instant};

use herald::delivery::Config;
use herald::domain::delivery::State;
use herald::domain::ids::{DeliveryId, InstallationId, TenantId};
use herald::sandbox::{Fault, FaultKind};
use herald::store::Backend;
use sea_orm::{ConnectionTrait as _, DatabaseConnection, TransactionTrait as _};
use tokio_util::sync::CancellationToken;

use super::resolving::accept_for;
use super::{World, worlds};
use crate::outbox::clock::step_back;
use crate::support::process::until;
use crate::support::store::{counts, test_stores};
use crate::support::world::PATIENCE;

impl World {
    async fn until_of(
        &self,
        tenant: &TenantId,
        id: DeliveryId,
        wanted: impl Fn(State) -> bool,
    ) -> State {
        let mut ends = self.store.outbox().ended();
        loop {
            let state = self.store.records().delivery(tenant, id).await.unwrap().unwrap().state;
            if wanted(state) {
                return state;
            }
            // Steps other than an end give no signal.
            tokio::time::timeout(super::SECOND, ends.recv()).await.ok();
        }
    }

    async fn neighbours(&self, count: usize) -> Vec<(TenantId, InstallationId)> {
        let mut neighbours = Vec::new();
        for number in 0..count {
            neighbours.push(self.neighbour_called(&format!("slow{number:03}")).await);
        }
        neighbours
    }
}

/// As many requests wait at once as there are slow workspaces, which is more than there are
/// workers, and other workspaces are served meanwhile. No slow request is answered before the end
/// of the test.
async fn slow_workspaces(slow: usize, workers: u32) {
    for world in worlds().await {
        let never = FaultKind::Delay { seconds: 600.0 };
        let neighbours = world.neighbours(slow).await;
        let mut held = Vec::new();
        for (number, who) in neighbours.iter().enumerate() {
            let channel = format!("CSLOW{number:03}");
            let fault = Fault::new("chat.postMessage", never.clone());
            world.sandbox.script(Fault { channel: Some(channel.clone()), ..fault });
            held.push((&who.0, world.post_for(who, vec![channel]).await));
        }
        let _running = world.start_with(&Config { workers, ..Config::default() });
        for (tenant, id) in &held {
            world.until_of(tenant, *id, |state| state == State::Sending).await;
        }
        let small = world.neighbour().await;
        for number in 0..3 {
            let mine = world.post_for(&small, vec![format!("C9MINE{number}")]).await;
            world.asked(&small, mine).await;
        }
        for (tenant, id) in &held {
            let record = world.store.records().delivery(tenant, *id).await.unwrap().unwrap();
            assert_eq!((record.state, record.attempt), (State::Sending, 1));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_slow_tenants_leave_two_workers_to_the_others() {
    slow_workspaces(3, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_slow_tenants_do_not_stop_another() {
    slow_workspaces(100, 64).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_workspace_does_not_take_all_places() {
    for world in worlds().await {
        let never = FaultKind::Delay { seconds: 600.0 };
        let lanes: Vec<String> = (0..40).map(|number| format!("CSLOW{number:03}")).collect();
        for lane in &lanes {
            let fault = Fault::new("chat.postMessage", never.clone());
            world.sandbox.script(Fault { channel: Some(lane.clone()), ..fault });
        }
        let neighbours = world.neighbours(3).await;
        let first = world.post_for(&neighbours[0], lanes[..38].to_vec()).await;
        let config = Config { workers: 2, slow_requests: 12, ..Config::default() };
        let _running = world.start_with(&config);
        let raw = world.store.raw().await;
        let sending = async || {
            let counts = counts(&raw, &neighbours[0].0).await;
            counts.get("sending").copied().unwrap_or_default()
        };
        // Its share: half of the places, and the requests that both workers had begun before it was
        // known to be slow.
        until("the slow workspace has its share", async || (sending().await >= 6).then_some(()))
            .await;
        // Two other workspaces that turn slow get places too: each returns its worker.
        let mut held = vec![(&neighbours[0], first)];
        for (number, who) in neighbours.iter().enumerate().skip(1) {
            let id = world.post_for(who, vec![lanes[37 + number].clone()]).await;
            world.until_of(&who.0, id, |state| state == State::Sending).await;
            held.push((who, id));
        }
        let small = world.neighbour().await;
        let mine = world.post_for(&small, vec!["C9MINE".into()]).await;
        tokio::time::timeout(PATIENCE, world.asked(&small, mine)).await.unwrap();
        for (who, id) in held {
            let record = world.store.records().delivery(&who.0, id).await.unwrap().unwrap();
            assert_eq!((record.state, record.attempt), (State::Sending, 1));
        }
        let sending = sending().await;
        assert!(sending <= 7, "{sending}");
    }
}

/// As many lookups of people in one workspace are under way as there may be at once, and more
/// people wait to be looked up; none is answered before the end of the test.
#[tokio::test(flavor = "multi_thread")]
async fn slow_questions_about_people_do_not_stop_another_tenants_resolving() {
    for store in test_stores().await {
        // A lease outlasts the test, so people being looked up stay claimed.
        let world = World::scaled(store, 1.0).await;
        let slow = world.neighbour_called("slow").await;
        let running = world.start();
        let stop = CancellationToken::new();
        let refresher = tokio::spawn(world.directory.clone().run_refresher(stop.clone()));
        for who in [(super::tenant(), world.installation), slow.clone()] {
            world.directory.refresh_soon(who.1).await.unwrap();
            let known = accept_for(&world, &who.0, "U1", "person1@example.com").await;
            world.until_of(&who.0, known, State::is_terminal).await;
        }
        stop.cancel();
        refresher.await.unwrap();
        // The log shows a lookup once it arrives.
        let never = FaultKind::Delay { seconds: 600.0 };
        world.sandbox.script(Fault::new("users.lookupByEmail", never).after());
        for number in 0..20 {
            let email = format!("nobody{number}@example.com");
            accept_for(&world, &slow.0, &format!("U9{number}"), &email).await;
        }
        let asked = || world.calls("users.lookupByEmail").len();
        until("eight questions", async || (asked() >= 8).then_some(())).await;
        let mine = accept_for(&world, &super::tenant(), "U2", "person2@example.com").await;
        let state = world.until_of(&super::tenant(), mine, State::is_terminal).await;
        assert_eq!(state, State::Sent);
        // There is still no answer, and no further lookups were made.
        assert_eq!(asked(), 8);
        assert_eq!(world.store.counts(&slow.0).await["resolving"], 20);
        drop(running);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_account_holds_up_no_other_workspace() {
    const MESSAGES: usize = 20;
    for world in worlds().await {
        // SQLite does not lock rows.
        if world.store.backend() == Backend::Sqlite {
            continue;
        }
        let _running = world.start();
        let stuck = world.neighbour_called("stuck").await;
        let first = world.post_for(&stuck, vec!["CSTUCK0".into()]).await;
        world.asked(&stuck, first).await;
        let held = world.store.raw().await.begin().await.unwrap();
        let lock = "SELECT 1 FROM posting FOR UPDATE";
        assert_eq!(held.execute_unprepared(lock).await.unwrap().rows_affected(), 1);
        let second = world.post_for(&stuck, vec!["CSTUCK1".into()]).await;
        let free = world.neighbour().await;
        let others = async {
            for number in 0..MESSAGES {
                let mine = world.post_for(&free, vec![format!("C9MINE{number}")]).await;
                world.asked(&free, mine).await;
            }
        };
        tokio::time::timeout(PATIENCE, others).await.unwrap();
        let record = world.store.records().delivery(&stuck.0, second).await.unwrap().unwrap();
        assert_eq!(record.state, State::Pending);
        held.rollback().await.unwrap();
        world.asked(&stuck, second).await;
    }
}

/// Each attempt waits a moment for the row, and so does the loop.
#[tokio::test(flavor = "multi_thread")]
async fn a_locked_account_is_not_asked_for_again_and_again() {
    for world in worlds().await {
        // SQLite does not lock rows.
        if world.store.backend() == Backend::Sqlite {
            continue;
        }
        let raw = world.store.raw().await;
        let _running = world.start();
        let stuck = world.neighbour_called("stuck").await;
        let first = world.post_for(&stuck, vec!["CSTUCK0".into()]).await;
        world.asked(&stuck, first).await;
        let held = raw.begin().await.unwrap();
        held.execute_unprepared("SELECT 1 FROM posting FOR UPDATE").await.unwrap();
        raw.execute_unprepared(&counting("posting")).await.unwrap();
        let second = world.post_for(&stuck, vec!["CSTUCK1".into()]).await;
        until("the account was tried", async || (statements(&raw).await > 0).then_some(())).await;
        let begun = world.store.now().await.unwrap();
        // Ten within the first second, and then at most one in half a second.
        let tries = async || (statements(&raw).await > 25).then_some(());
        until("the account was tried again and again", tries).await;
        let took = world.store.now().await.unwrap().since(begun);
        assert!(took >= Duration::from_secs(4), "{took:?}");
        held.rollback().await.unwrap();
        world.asked(&stuck, second).await;
    }
}

/// Counts the statements that change a table, whether they find a row or not.
fn counting(table: &str) -> String {
    format!(
        "CREATE SEQUENCE counted MINVALUE 0;
        SELECT nextval('counted');
        CREATE FUNCTION counted() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM nextval('counted'); RETURN NULL; END $$;
        CREATE TRIGGER counted BEFORE UPDATE ON {table} EXECUTE FUNCTION counted();"
    )
}

/// The number of these statements.
async fn statements(raw: &DatabaseConnection) -> u64 {
    let row = raw.query_one_raw(sea_orm::Statement::from_string(
        sea_orm::DbBackend::Postgres,
        "SELECT last_value FROM counted",
    ));
    let row = row.await.unwrap().unwrap();
    u64::try_from(row.try_get_by_index::<i64>(0).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_lane_is_not_asked_for_again_and_again() {
    for store in test_stores().await {
        // SQLite does not lock rows.
        if store.backend() == Backend::Sqlite {
            continue;
        }
        let world = World::new(store).await;
        let raw = world.store.raw().await;
        raw.execute_unprepared(&counting("lanes")).await.unwrap();
        let (locked, other) = (world.neighbour_called("locked").await, world.neighbour().await);
        let late = world.post_for(&locked, vec!["CLOCKED".into()]).await;
        let lock = raw.begin().await.unwrap();
        lock.execute_unprepared("SELECT * FROM lanes WHERE lane = 'CLOCKED' FOR UPDATE")
            .await
            .unwrap();
        let running = world.start();
        let (begun, mut messages) = (Instant::now(), 0);
        while begun.elapsed() < Duration::from_secs(2) {
            let mine = world.post_for(&other, vec![format!("CFREE{messages:04}")]).await;
            world.asked(&other, mine).await;
            messages += 1;
        }
        let (count, took) = (statements(&raw).await, begun.elapsed());
        // Each message takes four or five; the locked lane is tried at most twenty times a second.
        let most = messages * 8 + u64::try_from(took.as_millis()).unwrap() / 40 + 20;
        assert!(count <= most, "{count} statements for {messages} messages in {took:?}");
        lock.rollback().await.unwrap();
        world.asked(&locked, late).await;
        running.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wake_up_during_a_look_over_many_queues_is_not_lost() {
    for store in test_stores().await {
        // The next poll is an hour away, so delivery depends on wake-ups.
        let world = World::scaled(store, 1.0).await;
        let idle = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 1700)
            INSERT INTO lanes (installation, lane, tenant, class, budget, next_at)
            SELECT 'ffffffff-0000-7000-8000-000000000001', 'C' || n, 't' || n, 2, 0,
            4102444800000000 FROM n";
        world.store.raw().await.execute_unprepared(idle).await.unwrap();
        let config = Config { poll_milliseconds: 3_600_000, ..Config::default() };
        let running = world.start_with(&config);
        for number in 0..30 {
            let id = world.post(&format!("U{}", number + 1), "hello").await;
            assert_eq!(world.ended(id).await.state, State::Sent);
        }
        running.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_clock_stepped_back_messages_go_out_soon_and_once() {
    for world in worlds().await {
        let running = world.start();
        let first = world.post("U1", "first").await;
        world.ended(first).await;
        running.drain().await;
        let waits = world.post("U1", "second").await;
        // By ten minutes.
        step_back(&world.store).await;
        let running = world.start();
        assert_eq!(world.ended(waits).await.state, State::Sent);
        let next = world.post("U1", "third").await;
        assert_eq!(world.ended(next).await.state, State::Sent);
        assert_eq!(world.texts(), ["first", "second", "third"]);
        running.drain().await;
    }
}

/// A clock for the test: PostgreSQL finds it before its own.
pub(super) const OWN_CLOCK: &str = "CREATE SCHEMA clock;
    CREATE TABLE clock.ahead (by interval);
    INSERT INTO clock.ahead VALUES ('10 minutes');
    CREATE FUNCTION clock.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
        $$ SELECT pg_catalog.clock_timestamp() + by FROM clock.ahead $$;
    DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = clock, pg_catalog, public',
        current_database()); END $$;";

#[tokio::test(flavor = "multi_thread")]
async fn a_step_back_while_herald_runs_is_noticed() {
    for mut store in test_stores().await {
        // SQLite uses the machine's clock.
        if store.backend() == Backend::Sqlite {
            continue;
        }
        let raw = store.raw().await;
        raw.execute_unprepared(OWN_CLOCK).await.unwrap();
        store.store = store.replica().await;
        let world = World::new(store).await;
        let running = world.start();
        let first = world.post("U1", "first").await;
        world.ended(first).await;
        raw.execute_unprepared("UPDATE clock.ahead SET by = '0'").await.unwrap();
        let second = world.post("U1", "second").await;
        assert_eq!(world.ended(second).await.state, State::Sent);
        let ahead =
            world.record(first).await.updated_at.since(world.record(second).await.updated_at);
        assert!(ahead > Duration::from_secs(300), "the clock did step: {ahead:?}");
        running.drain().await;
    }
}
