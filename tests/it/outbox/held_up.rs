//! A transaction that stays open, like that of a frozen process, locks rows: calls of other tenants
//! are accepted and sent meanwhile, and calls that need the rows are refused with that reason.
//! PostgreSQL only: SQLite has one writer.

use std::time::Duration;

use futures_util::future::join_all;
use herald::domain::capacity::budget::Budget;
use herald::domain::capacity::pacing::{Limit, Pace};
use herald::domain::capacity::priority::Class;
use herald::domain::ids::TenantId;
use herald::domain::time::Timestamp;
use herald::store::{
    Accept, Accepted, BudgetStart, Error, LaneClaim, SettleContext, Store, Throttled, lease_token,
};
use sea_orm::{
    ConnectionTrait as _, DatabaseConnection, DatabaseTransaction, Statement, TransactionTrait as _,
};

use super::queues::key;
use super::{
    LEASE, call, claim_lanes, delivered, delivery, installation, intend_post, lane, posting_of,
};
use crate::support::process::until;
use crate::support::store::{TestStore, test_stores};
use crate::support::world::PATIENCE;

async fn postgres() -> Option<TestStore> {
    test_stores().await.into_iter().find(|store| store.config.url.is_some())
}

/// A transaction that executed this and stays open.
async fn forgotten(store: &TestStore, sql: &str) -> DatabaseTransaction {
    let held = store.raw().await.begin().await.unwrap();
    held.execute_unprepared(sql).await.unwrap();
    held
}

/// A call of the tenant with that name.
fn call_of(tenant: &str, request: &str, to: &str) -> Accept {
    let tenant = TenantId::parse(tenant).unwrap();
    Accept { tenant, ..call(request, vec![delivery(lane(to))]) }
}

fn spawn(store: &Store, call: Accept) -> tokio::task::JoinHandle<Result<Accepted, Error>> {
    let store = store.clone();
    tokio::spawn(async move { store.outbox().accept(call).await })
}

/// All at once: `stuck` among the calls of other tenants. Those are accepted while the transaction
/// is open. Returns how `stuck` ended.
async fn beside_others(store: &Store, stuck: Accept) -> Result<Accepted, Error> {
    // Creates the data keys first, so that all calls share a batch.
    for tenant in ["acme", "beta", "gamma"] {
        let warm = spawn(store, call_of(tenant, &format!("warm {tenant}"), tenant));
        assert!(matches!(warm.await.unwrap(), Ok(Accepted::New { .. })));
    }
    let of_others = |number: usize| {
        let tenant = if number.is_multiple_of(2) { "beta" } else { "gamma" };
        spawn(store, call_of(tenant, &format!("r{number}"), &format!("U{number}")))
    };
    let before: Vec<_> = (0..10).map(of_others).collect();
    let stuck = spawn(store, stuck);
    let after: Vec<_> = (10..20).map(of_others).collect();
    let all = tokio::time::timeout(PATIENCE, join_all(before.into_iter().chain(after))).await;
    for outcome in all.unwrap() {
        assert!(matches!(outcome.unwrap(), Ok(Accepted::New { .. })));
    }
    tokio::time::timeout(PATIENCE, stuck).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_request_id_in_a_forgotten_transaction_holds_up_its_repeats_only() {
    let Some(store) = postgres().await else { return };
    let stuck = call_of("acme", "stuck", "U-stuck");
    let held = forgotten(
        &store,
        "INSERT INTO notifications (id, tenant, principal, request_id, fingerprint, event_type, \
         data, answer, created_at, expires_at) VALUES ('018f0000-0000-7000-8000-00000000dead', \
         'acme', 'platform', 'stuck', '\\x07', 'task.assigned', '\\x00', '\\x00', 0, 0)",
    )
    .await;
    let outcome = beside_others(&store, stuck.clone()).await;
    assert!(matches!(outcome, Err(Error::Locked(_))), "{outcome:?}");
    held.rollback().await.unwrap();
    assert!(matches!(store.outbox().accept(stuck).await, Ok(Accepted::New { .. })));
}

#[tokio::test]
async fn a_lane_in_a_forgotten_transaction_holds_up_its_calls_only() {
    let Some(store) = postgres().await else { return };
    store.outbox().accept(call_of("acme", "first", "U-stuck")).await.unwrap();
    let held = forgotten(&store, "SELECT 1 FROM lanes WHERE lane = 'U-stuck' FOR UPDATE").await;
    let stuck = call_of("acme", "stuck", "U-stuck");
    let outcome = beside_others(&store, stuck.clone()).await;
    assert!(matches!(outcome, Err(Error::Locked(_))), "{outcome:?}");
    held.rollback().await.unwrap();
    assert!(matches!(store.outbox().accept(stuck).await, Ok(Accepted::New { .. })));
}

/// After a call of a tenant did not get through, the tenant's calls join no batch for a while: each
/// would delay the batch again.
#[tokio::test]
async fn a_tenant_that_is_held_up_stays_apart_from_the_batches() {
    let Some(store) = postgres().await else { return };
    store.outbox().accept(call_of("acme", "first", "U-stuck")).await.unwrap();
    let raw = store.raw().await;
    raw.execute_unprepared(COUNT).await.unwrap();
    let held = forgotten(&store, "SELECT 1 FROM lanes WHERE lane = 'U-stuck' FOR UPDATE").await;
    let mut made = 0;
    // In a batch, by itself for a moment, and for longer; from then on without the batch.
    for of_this_call in [3, 2] {
        let outcome = store.outbox().accept(call_of("acme", "stuck", "U-stuck")).await;
        assert!(matches!(outcome, Err(Error::Locked(_))), "{outcome:?}");
        made += of_this_call;
        assert_eq!(tries(&raw).await, made);
    }
    held.rollback().await.unwrap();
}

/// Counts the attempts to store notifications, whatever their outcome.
const COUNT: &str = "CREATE SEQUENCE tries;
    CREATE FUNCTION tries() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM nextval('tries'); RETURN NULL; END $$;
    CREATE TRIGGER tries BEFORE INSERT ON notifications EXECUTE FUNCTION tries();";

async fn tries(raw: &DatabaseConnection) -> i64 {
    let seen = Statement::from_string(raw.get_database_backend(), "SELECT last_value FROM tries");
    raw.query_one_raw(seen).await.unwrap().unwrap().try_get_by_index(0).unwrap()
}

/// If one call makes a batch fail, the calls are stored one by one; one that waits for a row there
/// is not refused at once either.
#[tokio::test]
async fn what_is_held_up_beside_a_bad_call_is_tried_apart_too() {
    let Some(store) = postgres().await else { return };
    let known = call_of("beta", "known", "U-known");
    store.outbox().accept(known.clone()).await.unwrap();
    store.outbox().accept(call_of("acme", "first", "U-stuck")).await.unwrap();
    let raw = store.raw().await;
    raw.execute_unprepared(COUNT).await.unwrap();
    let held = forgotten(&store, "SELECT 1 FROM lanes WHERE lane = 'U-stuck' FOR UPDATE").await;
    // A notification with that id exists: the database refuses it before a lane is locked.
    let bad = spawn(&store, Accept { id: known.id, ..call_of("beta", "bad", "U-bad") });
    let stuck = spawn(&store, call_of("acme", "stuck", "U-stuck"));
    // Together, each by itself, and the delayed one for a moment and for longer.
    until("the call waits for long, or has given up", async || {
        (tries(&raw).await == 5 || stuck.is_finished()).then_some(())
    })
    .await;
    assert!(!stuck.is_finished(), "{:?}", stuck.await);
    held.rollback().await.unwrap();
    assert!(matches!(stuck.await.unwrap(), Ok(Accepted::New { .. })));
    assert!(matches!(bad.await.unwrap(), Err(Error::Conflict(_))));
}

/// Claimed lanes of two tenants with one message each; that of `acme` comes first.
async fn two_claims(store: &Store) -> [LaneClaim; 2] {
    store.outbox().accept(call_of("acme", "one", "U-stuck")).await.unwrap();
    store.outbox().accept(call_of("beta", "two", "U-free")).await.unwrap();
    let mut claims = claim_lanes(store.lanes(), 10, LEASE).await.unwrap();
    claims.sort_by(|one, other| one.tenant.cmp(&other.tenant));
    claims.try_into().unwrap()
}

#[tokio::test]
async fn a_lane_in_a_forgotten_transaction_holds_up_no_other_message() {
    let Some(store) = postgres().await else { return };
    let claims = two_claims(&store).await;
    let mut heads = Vec::new();
    for claim in &claims {
        heads.push(store.lanes().head(claim).await.unwrap().unwrap().delivery);
    }
    let lock = "SELECT 1 FROM lanes WHERE lane = 'U-stuck' FOR UPDATE";
    let held = forgotten(&store, lock).await;
    let intents = claims.clone().into_iter().zip(heads.clone()).map(|(claim, head)| {
        let store = store.store.clone();
        tokio::spawn(async move { intend_post(store.outbox(), &claim, head, LEASE).await })
    });
    let intents = tokio::time::timeout(PATIENCE, join_all(intents)).await.unwrap();
    let [stuck, free] = <[_; 2]>::try_from(intents).unwrap().map(Result::unwrap);
    assert!(matches!(stuck, Err(Error::Locked(_))), "{stuck:?}");
    assert_eq!(free, Ok(Some(1)));
    held.rollback().await.unwrap();
    assert_eq!(intend_post(store.outbox(), &claims[0], heads[0], LEASE).await, Ok(Some(1)));

    let held = forgotten(&store, lock).await;
    let mut settles = claims.clone().into_iter().zip(heads).map(|(claim, head)| {
        let store = store.store.clone();
        tokio::spawn(async move {
            store.outbox().settle(&claim, head, &delivered(), SettleContext::default()).await
        })
    });
    let (stuck, free) = (settles.next().unwrap(), settles.next().unwrap());
    let free = tokio::time::timeout(PATIENCE, free).await.unwrap();
    assert_eq!(free.unwrap(), Ok(true));
    // The result of a stored message is written, however long that takes.
    assert!(!stuck.is_finished());
    held.rollback().await.unwrap();
    assert_eq!(tokio::time::timeout(PATIENCE, stuck).await.unwrap().unwrap(), Ok(true));
}

/// Waits until the store has no transaction that wrote. PostgreSQL reports an error before it ends
/// the transaction, whose rows stay locked for a moment.
async fn transactions_are_over(raw: &DatabaseConnection) {
    const OPEN: &str = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() \
        AND application_name LIKE 'herald%' AND backend_xid IS NOT NULL";
    until("the failed transaction is over", async || {
        let open = Statement::from_string(raw.get_database_backend(), OPEN);
        raw.query_one_raw(open).await.unwrap().is_none().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_claim_does_not_wait_for_an_account_in_a_forgotten_transaction() {
    let Some(store) = postgres().await else { return };
    store.outbox().accept(call_of("acme", "one", "U1")).await.unwrap();
    let limit = Limit::default();
    store.budgets().begin_window(installation(), Timestamp(0), &limit).await.unwrap();
    let window = posting_of(&store, installation()).await.window_at;
    let pace = Pace::even(Duration::from_millis(1));
    let claim = async || {
        store.lanes().claim_queue(&key(Class::Normal), lease_token(), 10, LEASE, Some(pace)).await
    };
    let raw = store.raw().await;
    let held = forgotten(&store, "SELECT 1 FROM posting FOR UPDATE").await;
    for _ in 0..2 {
        let claimed = claim().await;
        assert!(matches!(claimed, Err(Error::Locked(_))), "{claimed:?}");
        // The next claim, over another connection, would skip lanes that are still locked.
        transactions_are_over(&raw).await;
    }
    let counted = store.budgets().begin_window(installation(), window, &limit).await;
    assert!(matches!(counted, Err(Error::Locked(_))), "{counted:?}");
    held.rollback().await.unwrap();
    // Lanes that were not claimed are not leased.
    assert_eq!(claim().await.unwrap().len(), 1);
}

/// Taking or returning a start, after a claim or for a lookup, does not wait for long.
#[tokio::test]
async fn starts_do_not_wait_for_an_account_in_a_forgotten_transaction() {
    const METHOD: &str = "users.info";
    let Some(store) = postgres().await else { return };
    let (id, second) = (installation(), Duration::from_secs(1));
    store.budgets().begin_window(id, Timestamp(0), &Limit::default()).await.unwrap();
    store.budgets().open(id, Budget::Updates).await.unwrap();
    let taken = async || store.budgets().reserve(id, METHOD, second, second * 60).await;
    assert!(taken().await.unwrap().taken);
    let mut held = Vec::new();
    for lock in ["SELECT 1 FROM posting FOR UPDATE", "SELECT 1 FROM budgets FOR UPDATE"] {
        held.push(forgotten(&store, lock).await);
    }
    let reserved = taken().await;
    assert!(matches!(reserved, Err(Error::Locked(_))), "{reserved:?}");
    let given_back = store.budgets().return_post_slot(id, second).await;
    assert!(matches!(given_back, Err(Error::Locked(_))), "{given_back:?}");
    // The start that would be returned if it existed.
    let start = BudgetStart { at: Timestamp(0), interval: Duration::ZERO };
    let given_back = store.budgets().return_method_slot(id, Budget::Updates, start).await;
    assert!(matches!(given_back, Err(Error::Locked(_))), "{given_back:?}");
    for held in held {
        held.rollback().await.unwrap();
    }
    assert!(taken().await.unwrap().taken);
}

/// Slack's answers about its limits are written nevertheless, once the row is free.
#[tokio::test]
async fn what_slack_said_of_its_limits_waits_for_the_account() {
    const METHOD: &str = "users.info";
    let Some(store) = postgres().await else { return };
    let (id, minute) = (installation(), Duration::from_secs(60));
    store.budgets().begin_window(id, Timestamp(0), &Limit::default()).await.unwrap();
    store.budgets().pause(id, METHOD, Duration::from_micros(1)).await.unwrap();
    let mut held = Vec::new();
    for lock in ["SELECT 1 FROM posting FOR UPDATE", "SELECT 1 FROM budgets FOR UPDATE"] {
        held.push(forgotten(&store, lock).await);
    }
    let (pausing, throttling) = (store.store.clone(), store.store.clone());
    let pause = tokio::spawn(async move { pausing.budgets().pause(id, METHOD, minute).await });
    let throttled = tokio::spawn(async move {
        let (lane, after, known) = ("U1", minute, false);
        let said = Throttled { installation: id, lane, after, minute, known };
        throttling.budgets().note_throttled(&said).await
    });
    let raw = store.raw().await;
    for table in ["budgets", "posting"] {
        let waits = format!(
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() \
             AND wait_event_type = 'Lock' AND query LIKE '%{table}%' AND query LIKE '%''3s''%'"
        );
        until("the write waits for long", async || {
            let waits = Statement::from_string(raw.get_database_backend(), waits.as_str());
            raw.query_one_raw(waits).await.unwrap().map(drop)
        })
        .await;
    }
    for held in held {
        held.rollback().await.unwrap();
    }
    pause.await.unwrap().unwrap();
    assert!(!store.budgets().pause_left(id, METHOD).await.unwrap().is_zero());
    assert_eq!(throttled.await.unwrap(), Ok(false));
}

/// Broadcasts of one tenant wait behind each other; another tenant's call goes before those that
/// have not begun.
#[tokio::test]
async fn a_small_call_goes_before_broadcasts_that_have_not_begun() {
    const BROADCASTS: usize = 16;
    for store in test_stores().await {
        let broadcast = |number: usize| {
            let to = (0..500).map(|user| delivery(lane(&format!("U{user}")))).collect();
            call(&format!("broadcast {number}"), to)
        };
        store.outbox().accept(call_of("acme", "warm", "U0")).await.unwrap();
        store.outbox().accept(call_of("beta", "warm", "V0")).await.unwrap();
        let calls: Vec<_> = (0..BROADCASTS).map(broadcast).collect();
        let ids: Vec<_> = calls.iter().map(|call| (call.tenant.clone(), call.id)).collect();
        let broadcasts: Vec<_> = calls.into_iter().map(|call| spawn(&store, call)).collect();
        // One was stored, the next is under way: the others were encrypted meanwhile, and wait.
        let mut look = tokio::time::interval(Duration::from_millis(5));
        while !broadcasts.iter().any(tokio::task::JoinHandle::is_finished) {
            look.tick().await;
        }
        let small = call_of("beta", "small", "V0");
        let (tenant, id) = (small.tenant.clone(), small.id);
        store.outbox().accept(small).await.unwrap();
        for broadcast in broadcasts {
            assert!(matches!(broadcast.await.unwrap(), Ok(Accepted::New { .. })));
        }
        let small = store.records().notification(&tenant, id).await.unwrap().unwrap().created_at;
        let mut before = 0;
        for (tenant, id) in ids {
            let stored = store.records().notification(&tenant, id).await.unwrap().unwrap();
            before += usize::from(stored.created_at < small);
        }
        assert!(before <= BROADCASTS / 2, "{before} broadcasts went before it");
    }
}

/// As many workers as a replica has give back lanes that a frozen replica keeps locked. A call of
/// another tenant gets a connection meanwhile. Nor does the renewal of a lease wait for long.
#[tokio::test]
async fn locked_lanes_leave_connections_to_others() {
    let Some(store) = postgres().await else { return };
    let to = (0..64).map(|number| delivery(lane(&format!("U{number}")))).collect();
    store.outbox().accept(call("many", to)).await.unwrap();
    store.outbox().accept(call_of("beta", "warm", "V0")).await.unwrap();
    let mut claims = claim_lanes(store.lanes(), 65, LEASE).await.unwrap();
    claims.retain(|claim| claim.tenant.as_str() != "beta");
    assert_eq!(claims.len(), 64);
    let held = forgotten(&store, "SELECT 1 FROM lanes WHERE lane LIKE 'U%' FOR UPDATE").await;
    let beaten = store.lanes().heartbeat(&claims[0], LEASE).await;
    assert!(matches!(beaten, Err(Error::Locked(_))), "{beaten:?}");
    let release = |claim: LaneClaim| {
        let store = store.store.clone();
        tokio::spawn(async move { store.lanes().release(&claim, Duration::ZERO).await })
    };
    let releases: Vec<_> = claims.into_iter().map(release).collect();
    let raw = store.raw().await;
    until("they wait", async || (waiting(&raw).await > 0).then_some(())).await;
    let small = spawn(&store, call_of("beta", "small", "V0"));
    let small = tokio::time::timeout(PATIENCE, small).await.unwrap().unwrap();
    assert!(matches!(small, Ok(Accepted::New { .. })), "{small:?}");
    assert!(!releases.iter().any(tokio::task::JoinHandle::is_finished));
    held.rollback().await.unwrap();
    for release in releases {
        assert_eq!(release.await.unwrap(), Ok(true));
    }
}

/// As many calls as a replica has workers need a start of a budget whose row a frozen replica keeps
/// locked. They do not take the connections that other calls need.
#[tokio::test]
async fn a_locked_budget_holds_one_connection() {
    let Some(store) = postgres().await else { return };
    let reserve = async |store: Store| {
        let second = Duration::from_secs(1);
        store.budgets().reserve(installation(), "conversations.open", second, 60 * second).await
    };
    assert!(reserve(store.clone()).await.unwrap().taken);
    let held = forgotten(&store, "SELECT 1 FROM budgets FOR UPDATE").await;
    let calls: Vec<_> = (0..64).map(|_| tokio::spawn(reserve(store.clone()))).collect();
    let mut all = Box::pin(join_all(calls));
    let raw = store.raw().await;
    let mut most = 0;
    let ended = loop {
        tokio::select! {
            biased;
            ended = &mut all => break ended,
            waiting = waiting(&raw) => most = most.max(waiting),
        }
    };
    assert_eq!(most, 1, "connections that waited for the row");
    for call in ended {
        assert!(matches!(call.unwrap(), Err(Error::Locked(_))));
    }
    held.rollback().await.unwrap();
    assert!(reserve(store.clone()).await.unwrap().taken);
}

/// The number of connections that wait for a row.
async fn waiting(database: &DatabaseConnection) -> i64 {
    const SQL: &str = "SELECT COUNT(*) FROM pg_stat_activity \
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let row = database.query_one_raw(Statement::from_string(database.get_database_backend(), SQL));
    row.await.unwrap().unwrap().try_get_by_index(0).unwrap()
}
