//! Tests how PostgreSQL finds the rows of the statements that every message goes through: by their
//! keys and by the index of the lane's head, whatever its statistics say.
//!
//! The statements are not listed here: a message is taken from its acceptance to its end, and the
//! statements that the store executes on the way are examined with EXPLAIN.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sea_orm::{
    ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection, DbBackend, Statement, Value,
};
use uuid::Uuid;

use super::channels::{NEXT_DUE, due_first};
use super::database::sql;
use super::ends::erase::{OF_CHANNEL, OF_DELIVERY, out_of};
use super::lanes::claim::lease_token;
use super::lanes::order::RESOLVES_DUE;
use super::lanes::repair::page;
use super::upkeep::clock::{deliveries, lanes};
use super::{
    Accept, Config, DeliveryKind, DeliveryTrace, LanePace, NewDelivery, NotificationTerms,
    ResolveOutcome, Settle, SettleContext, Store, Target, WaitScope,
};
use crate::domain::capacity::pacing;
use crate::domain::capacity::priority::Priority;
use crate::domain::delivery::subject::{Action, SlackRequestKind};
use crate::domain::ids::{
    ChannelId, DeliveryId, EventType, InstallationId, NotificationId, Principal, RequestId,
    SubjectKey, TenantId, UserId,
};
use crate::domain::secret::Secret;

/// Any 32 bytes.
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const LEASE: Duration = Duration::from_secs(600);
const WORKSPACE: &str = "018f0000-0000-7000-8000-000000000001";

/// The statements executed on PostgreSQL, each with the values of the last time.
static EXECUTED: Mutex<BTreeMap<String, Vec<Value>>> = Mutex::new(BTreeMap::new());

pub(in crate::store) fn note(statement: &Statement) {
    if statement.db_backend == DbBackend::Postgres {
        let values = statement.values.as_ref().map(|values| values.0.clone()).unwrap_or_default();
        let mut executed = EXECUTED.lock().unwrap_or_else(PoisonError::into_inner);
        executed.insert(statement.sql.clone(), values);
    }
}

/// Permitted access paths to the two tables that grow with the backlog; for each index, the columns
/// that a search of it must name.
const WAYS: [(&str, &[&str]); 10] = [
    ("deliveries_pkey", &["sequence"]),
    ("deliveries_id", &["id"]),
    ("deliveries_in_lane", &["installation", "lane"]),
    ("deliveries_of", &["tenant", "notification"]),
    ("deliveries_subject_lane", &["tenant", "subject_key"]),
    ("deliveries_subject_person", &["tenant", "subject_key"]),
    ("deliveries_resolving_of", &["tenant", "user_id"]),
    ("deliveries_resolving_due", &["due_at"]),
    ("lanes_pkey", &["installation", "lane"]),
    ("lanes_queued", &["installation", "tenant"]),
];

const FILL: &str = "
INSERT INTO lanes (installation, lane, next_at, tenant)
SELECT '018f0000-0000-7000-8000-000000000001', 'F' || n, 1, 'acme'
FROM generate_series(1, 20000) n ON CONFLICT DO NOTHING;
UPDATE lanes SET next_at = 1;
INSERT INTO deliveries (id, tenant, notification, user_id, installation, lane, position, state,
    attempt, probes, crashes, due_at, expires_at, content, priority, kind, event_type,
    created_at, updated_at)
SELECT gen_random_uuid(), 'acme', gen_random_uuid(), 'p' || n,
    '018f0000-0000-7000-8000-000000000001', 'F' || n, n, 'pending', 0, 0, 0, 1,
    9000000000000000, decode(repeat('ab', 600), 'hex'), 0, 'normal', 'task.assigned', 1, 1
FROM generate_series(1, 20000) n;
INSERT INTO deliveries (id, tenant, notification, user_id, position, state, attempt, probes,
    crashes, due_at, expires_at, priority, kind, event_type, created_at, updated_at)
SELECT gen_random_uuid(), 'acme', gen_random_uuid(), 'r' || n, n, 'resolving', 0, 0, 0, 1,
    9000000000000000, 0, 'normal', 'task.assigned', 1, 1
FROM generate_series(1, 5000) n;";
const SENT: &str = "UPDATE deliveries SET state = 'sent'; UPDATE lanes SET next_at = NULL;";

#[tokio::test(flavor = "multi_thread")]
async fn hot_statements_find_rows_by_their_keys_whatever_the_statistics_say() {
    let Some((store, raw)) = fresh("hot").await else {
        println!("skipped: HERALD_TEST_POSTGRES is not set");
        return;
    };
    let hot = hot(&store).await;
    assert!(hot.len() >= 20, "{}", hot.len());
    for statement in [RESOLVES_DUE, "LEFT JOIN people"] {
        assert!(hot.iter().any(|(text, _)| text.contains(statement)), "{statement}");
    }
    let mut wrong = Vec::new();
    for (outbox, changes) in [
        ("new", &[][..]),
        ("full", &[FILL, "VACUUM ANALYZE"][..]),
        ("drained", &[SENT, "VACUUM ANALYZE"]),
        ("full, with the statistics of a drained one", &[FILL]),
        ("empty", &["DELETE FROM deliveries", SENT, "VACUUM ANALYZE"]),
        ("full, with the statistics of an empty one", &[FILL]),
    ] {
        for change in changes {
            raw.execute_unprepared(change).await.unwrap();
        }
        for (text, values) in &hot {
            // As the store does in the transaction that claims deliveries waiting for a member.
            let set = if text.contains(RESOLVES_DUE) { "off" } else { "on" };
            let set = format!("SET enable_sort = {set}; SET enable_seqscan = {set}");
            raw.execute_unprepared(&set).await.unwrap();
            for plan in [custom(&raw, text, values).await, generic(&raw, text, values).await] {
                wrong.extend(plan.err().map(|found| format!("{outbox}: {found}\n{text}")));
            }
        }
    }
    assert!(wrong.is_empty(), "{} plans:\n{}", wrong.len(), wrong.join("\n\n"));
}

/// Otherwise erasing a person reads the changes of all tenants.
#[tokio::test(flavor = "multi_thread")]
async fn a_persons_changes_are_found_by_their_index() {
    const DELIVERIES: &str = "
        INSERT INTO delivery_changes (tenant, sequence, delivery, notification, user_id,
            event_type, state, at, sequenced_at)
        SELECT 'acme', n, 'd' || n, 'n' || n, 'p' || n % 5000, 'task.assigned', 'sent', 1, 1
        FROM generate_series(1, 50000) n";
    const CHANNELS: &str = "
        INSERT INTO channel_changes (tenant, sequence, channel_key, kind, user_id, state, at,
            sequenced_at)
        SELECT 'acme', n, 'c' || n, 'member', 'p' || n % 5000, 'member', 1, 1
        FROM generate_series(1, 50000) n";
    let Some((_store, raw)) = fresh("person").await else { return };
    for change in [DELIVERIES, CHANNELS, "VACUUM ANALYZE delivery_changes, channel_changes"] {
        raw.execute_unprepared(change).await.unwrap();
    }
    for (table, set) in [("delivery_changes", OF_DELIVERY), ("channel_changes", OF_CHANNEL)] {
        let values: [Value; 2] = ["acme".into(), "p1".into()];
        let explain = format!("EXPLAIN {}", out_of(table, "sequence", set));
        let explain = Statement::from_sql_and_values(DbBackend::Postgres, explain, values);
        let plan = lines(&raw, explain).await.join("\n");
        assert!(plan.contains(&format!("{table}_of_person")), "{plan}");
        assert!(!plan.contains("Seq Scan"), "{plan}");
    }
}

/// Otherwise each claim reads the channels that have nothing to do.
#[tokio::test(flavor = "multi_thread")]
async fn channels_that_are_due_are_found_by_their_indexes() {
    const CHANNELS: &str = "ALTER TABLE channels DISABLE TRIGGER USER;
        INSERT INTO channels (id, tenant, channel_key, wish, progress, state, due_at, touched_at,
            created_at, changed_at)
        SELECT 'c' || n, 't' || n % 10, 'k' || n, '', '', 'ready',
            CASE n % 3 WHEN 0 THEN 9000000000000000 END, 1, 1, 1 FROM generate_series(1, 30000) n;
        INSERT INTO channel_sweeps (tenant) SELECT 't' || n FROM generate_series(0, 9) n;";
    let Some((_store, raw)) = fresh("channels").await else { return };
    let next = NEXT_DUE.replace("{known}", "'ready', 'blocked'");
    let due_first = due_first(DbBackend::Postgres);
    for (change, sizes) in
        [(CHANNELS, "unknown"), ("VACUUM ANALYZE channels, channel_sweeps", "known")]
    {
        raw.execute_unprepared(change).await.unwrap();
        for (text, index) in [(&due_first, "channels_due_of"), (&next, "channels_due")] {
            let explain = format!("EXPLAIN {}", sql::expand(DbBackend::Postgres, text));
            let explain = Statement::from_string(DbBackend::Postgres, explain);
            let plan = lines(&raw, explain).await.join("\n");
            assert!(plan.contains(index), "{sizes}: {plan}");
            assert!(!plan.contains("Seq Scan on channels "), "{sizes}: {plan}");
        }
    }
}

/// Otherwise the search for lanes to repair takes longer than a statement may.
#[tokio::test(flavor = "multi_thread")]
async fn lanes_to_repair_are_searched_by_key_whatever_the_statistics_say() {
    let Some((_store, raw)) = fresh("repair").await else { return };
    let values: [Value; 2] = [WORKSPACE.into(), "F5".into()];
    judge_pages(&raw, &[(page(1_000), values.to_vec())]).await;
}

/// Otherwise each page of the repair after a step of the clock reads a whole table.
#[tokio::test(flavor = "multi_thread")]
async fn times_ahead_are_searched_by_key_whatever_the_statistics_say() {
    let Some((_store, raw)) = fresh("clock").await else { return };
    let (lanes, deliveries) = (lanes(1), deliveries());
    let lane: [Value; 2] = [WORKSPACE.into(), "F5".into()];
    let numbers: [Value; 2] = [5_i64.into(), 2_005_i64.into()];
    let pages = [
        (lanes.page(), [&lanes.values[..], &lane[..]].concat()),
        (deliveries.page(), [&deliveries.values[..], &numbers[..1]].concat()),
        (deliveries.text(), [&deliveries.values[..], &numbers[..]].concat()),
    ];
    judge_pages(&raw, &pages).await;
}

/// Statements that go through a table page by page, with their values.
async fn judge_pages(raw: &DatabaseConnection, pages: &[(String, Vec<Value>)]) {
    let mut wrong = Vec::new();
    for (outbox, changes) in [
        ("full", &[FILL, "VACUUM ANALYZE"][..]),
        ("drained", &[SENT, "VACUUM ANALYZE"]),
        ("full, with the statistics of a drained one", &[FILL]),
    ] {
        for change in changes {
            raw.execute_unprepared(change).await.unwrap();
        }
        for (text, values) in pages {
            let text = sql::expand(DbBackend::Postgres, text);
            for plan in [custom(raw, &text, values).await, generic(raw, &text, values).await] {
                wrong.extend(plan.err().map(|found| format!("{outbox}: {found}\n{text}")));
            }
        }
    }
    assert!(wrong.is_empty(), "{} plans:\n{}", wrong.len(), wrong.join("\n\n"));
}

/// A new database; one more connection to it besides the store's.
pub(super) async fn fresh(name: &str) -> Option<(Store, DatabaseConnection)> {
    #[expect(clippy::disallowed_methods, reason = "tests/run names the server this way")]
    let server = std::env::var("HERALD_TEST_POSTGRES").ok()?;
    let name = format!("herald_plans_{name}_{}", std::process::id());
    let admin = Database::connect(&server).await.unwrap();
    for sql in [format!("DROP DATABASE IF EXISTS {name}"), format!("CREATE DATABASE {name}")] {
        admin.execute_unprepared(&sql).await.unwrap();
    }
    let mut url = url::Url::parse(&server).unwrap();
    url.set_path(&name);
    let config = Config {
        url: Some(Secret::new(url.as_str())),
        key: Some(Secret::new(KEY)),
        acquire_timeout: Duration::from_secs(60),
        ..Config::default()
    };
    let store = Store::open(&config).await.unwrap();
    store.migrate().await.unwrap();
    let mut options = ConnectOptions::new(url.as_str());
    options.max_connections(1);
    let raw = Database::connect(options).await.unwrap();
    // The statistics must be those that the test takes.
    let manual = "ALTER TABLE deliveries
        SET (autovacuum_enabled = off); ALTER TABLE lanes
        SET (autovacuum_enabled = off);";
    raw.execute_unprepared(manual).await.unwrap();
    Some((store, raw))
}

/// The statements about deliveries and lanes in the lives of a few messages.
async fn hot(store: &Store) -> Vec<(String, Vec<Value>)> {
    EXECUTED.lock().unwrap().clear();
    store.outbox().accept(call("U1", Action::Post)).await.unwrap();
    let retry = Settle::Retry { after: Duration::ZERO, code: "trouble".into() };
    let wait = Settle::Wait { after: Duration::ZERO, scope: WaitScope::Lane };
    let channel = ChannelId::parse("D1").unwrap();
    let sent = Settle::Delivered { channel, ts: "1.1".into() };
    for end in [None, Some(retry), Some(wait), Some(sent.clone())] {
        turn(store, end.as_ref()).await;
    }
    // The second replaces the first, which waits; the third replaces what the second posted.
    store.outbox().accept(call("U2", Action::Post)).await.unwrap();
    store.outbox().accept(call("U2", Action::Replace)).await.unwrap();
    turn(store, Some(&sent)).await;
    store.outbox().accept(call("U2", Action::Replace)).await.unwrap();
    turn(store, Some(&sent)).await;
    // The first reads of Notify, and a delivery that waits for a member.
    let (tenant, user) = (TenantId::parse("acme").unwrap(), UserId::parse("someone").unwrap());
    store.people().facts(&tenant, std::slice::from_ref(&user)).await.unwrap();
    let mut waits = call("U3", Action::Post);
    waits.deliveries[0].target = Target::Resolving;
    store.outbox().accept(waits).await.unwrap();
    let claimed = store.waiting().claim_resolving(10, LEASE).await.unwrap().remove(0);
    let lane = ResolveOutcome::Lane {
        installation: InstallationId::parse(WORKSPACE).unwrap(),
        lane: "U3".into(),
        content: Some(b"the message".to_vec()),
        identity: None,
    };
    let settled =
        store.waiting().settle_resolving(claimed.token, claimed.delivery, &lane, None).await;
    assert!(settled.unwrap().is_some());
    let executed = EXECUTED.lock().unwrap().clone();
    let about = |text: &str| text.contains("deliveries") || text.contains("lanes");
    executed.into_iter().filter(|(text, _)| about(text)).collect()
}

/// Claims the lane that is due and takes its head to an end; `None`: gives it back.
async fn turn(store: &Store, end: Option<&Settle>) {
    let pace = Some(pacing::Pace { interval: Duration::from_micros(1), depth: LEASE });
    let found = store.lanes().queues(None, 10).await.unwrap();
    let token = lease_token();
    let claims =
        store.lanes().claim_queue(&found.queues[0].key, token, 1, LEASE, pace).await.unwrap();
    let [claim] = &claims[..] else { panic!("{claims:?}") };
    let head = store.lanes().head(claim).await.unwrap().unwrap();
    assert!(store.lanes().heartbeat(claim, LEASE).await.unwrap());
    if let Some(subject) = &head.subject {
        let user = head.user.as_ref();
        store.outbox().subject_messages(&head.tenant, subject, claim, user).await.unwrap();
    }
    let Some(end) = end else {
        assert!(store.lanes().release(claim, Duration::from_micros(1)).await.unwrap());
        return;
    };
    let attempt = store
        .outbox()
        .intend_to(claim, head.delivery, LEASE, SlackRequestKind::Post, None)
        .await
        .unwrap();
    assert!(attempt.is_some());
    let began = Some(LanePace { started_ago: Duration::ZERO, interval: Duration::ZERO });
    let (tenant, user) = (&head.tenant, head.user.as_ref());
    let trace = Some(DeliveryTrace { tenant, user, trace: b"why" });
    let context = SettleContext { pace: began, trace, ..SettleContext::default() };
    assert!(store.outbox().settle(claim, head.delivery, end, context).await.unwrap());
}

fn call(lane: &str, action: Action) -> Accept {
    let installation = InstallationId::parse(WORKSPACE).unwrap();
    let subject = Some(SubjectKey::parse("task:1").unwrap());
    let delivery = NewDelivery {
        id: DeliveryId(Uuid::now_v7()),
        user: Some(UserId::parse("someone").unwrap()),
        channel: None,
        target: Target::Lane { installation, lane: lane.into() },
        content: Some(b"the message".to_vec()),
        kind: DeliveryKind::Normal,
        priority: Priority::Normal,
        also: Vec::new(),
        trace: Some(b"why".to_vec()),
    };
    Accept {
        id: NotificationId(Uuid::now_v7()),
        tenant: TenantId::parse("acme").unwrap(),
        principal: Principal::parse("platform").unwrap(),
        request_id: RequestId::parse(Uuid::now_v7().to_string()).unwrap(),
        fingerprint: [7; 32],
        event_type: EventType::parse("task.assigned").unwrap(),
        data: b"{}".to_vec(),
        link: None,
        about: NotificationTerms { subject, action, deliver_after: None },
        answer: b"answer".to_vec(),
        deliveries: vec![delivery],
        people: Vec::new(),
        identities: Vec::new(),
        expires_in: LEASE,
        trace_context: None,
    }
}

/// Explains the plan for these values, and returns whether it is as it should be.
async fn custom(raw: &DatabaseConnection, text: &str, values: &[Value]) -> Result<(), String> {
    let explain = format!("EXPLAIN {text}");
    let explain =
        Statement::from_sql_and_values(DbBackend::Postgres, explain, values.iter().cloned());
    judge("planned for its values", &lines(raw, explain).await)
}

/// The plan that PostgreSQL keeps for all values.
async fn generic(raw: &DatabaseConnection, text: &str, values: &[Value]) -> Result<(), String> {
    let nothing = vec!["NULL"; values.len()].join(", ");
    let given = if values.is_empty() { String::new() } else { format!("({nothing})") };
    let prepare = format!("SET plan_cache_mode = force_generic_plan; PREPARE hot AS {text}");
    raw.execute_unprepared(&prepare).await.unwrap();
    let explain = format!("EXPLAIN EXECUTE hot{given}");
    let explain = Statement::from_string(DbBackend::Postgres, explain);
    let plan = lines(raw, explain).await;
    raw.execute_unprepared("DEALLOCATE hot; RESET plan_cache_mode").await.unwrap();
    judge("planned for all values", &plan)
}

async fn lines(raw: &DatabaseConnection, explain: Statement) -> Vec<String> {
    let rows = raw.query_all_raw(explain).await.unwrap();
    rows.iter().map(|row| row.try_get_by_index(0).unwrap()).collect()
}

fn judge(how: &str, plan: &[String]) -> Result<(), String> {
    for (at, line) in plan.iter().enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let scans = words.contains(&"Scan") && !line.contains("CTE Scan");
        // `… Scan using index on table`, `Seq Scan on table`, `Bitmap Index Scan on index`.
        let after = |word: &str| {
            let place = words.iter().position(|other| *other == word);
            place.and_then(|place| words.get(place + 1).copied())
        };
        let (table, index) = (after("on"), after("using"));
        let index = index.or(table.filter(|_| line.contains("Bitmap Index Scan")));
        let about = |name: &str| {
            let table = ["deliveries", "lanes"].contains(&name);
            table || name.starts_with("lanes_") || is_of_deliveries(name)
        };
        let reads = table.is_some_and(about) && !line.contains("Bitmap Heap Scan");
        if !scans || !reads {
            continue;
        }
        let way = WAYS.iter().find(|(name, _)| Some(*name) == index);
        let condition = plan.get(at + 1).filter(|next| next.contains("Index Cond:"));
        let named = |way: &(&str, &[&str])| {
            condition.is_some_and(|condition| way.1.iter().all(|name| condition.contains(name)))
        };
        // The queues are found by the first entry of an index, and scanned from there.
        let first = index == Some("lanes_queued");
        if !way.is_some_and(|way| named(way) || first) {
            return Err(format!("{how}:{line}\n{}", plan.join("\n")));
        }
    }
    Ok(())
}

/// Whether this is an index of `deliveries`, not of its history.
fn is_of_deliveries(name: &str) -> bool {
    name.starts_with("deliveries_") && !name.starts_with("deliveries_history")
}
