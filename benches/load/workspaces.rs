//! Thousands of tenants, each connected to a workspace of its own: connecting, starting, and the
//! cost of two replicas that have nothing to do.
//!
//! All tenants are connected as administrators do it: a link, Slack's consent page, and the way
//! back. The members of all workspaces are the same few people.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use herald::rpc::pb;
use herald::rpc::pb::admin_service_client::AdminServiceClient;
use herald::rpc::pb::herald_service_client::HeraldServiceClient;
use herald::rpc::pb::workspace_service_client::WorkspaceServiceClient;
use herald::sandbox::browser::{Browser, Decision};
use sea_orm::sqlx::{PgConnection, Row as _, raw_sql};
use serde_json::json;
use tonic::transport::Channel;
use url::Url;

use super::latency::percentiles;
use super::processes::{busy, postgres_busy};
use super::stage::{Database, Plan, Replica, Stage, described, memory, tenant};
use super::{Effort, one_feed, tell};

/// Members of each workspace.
const PEOPLE: usize = 20;
/// Administrators who connect at the same time.
const ADMINISTRATORS: usize = 16;
/// Calls under way at the same time.
const AT_ONCE: usize = 32;
/// The pause between two looks whether work is done.
const LOOK: Duration = Duration::from_millis(250);
/// Looks after which it does not end.
const LOOKS: usize = 4 * 60 * 60;
/// The time between two readings of a list, by default.
const REFRESH: Duration = Duration::from_secs(3600);

/// Workspaces whose list was never read.
const UNREAD: &str = "SELECT count(*) FROM tenant_links l
    WHERE NOT EXISTS (SELECT 1 FROM directory d
        WHERE d.installation = l.installation AND d.generation > 0)";
/// Work on workspaces that is due or under way: lists, custom fields, states of connections.
const UNSETTLED: &str = "WITH clock AS
        (SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint) AS now)
    SELECT (SELECT count(*) FROM directory, clock
            WHERE next_refresh_at <= now OR lease_until > now)
        + (SELECT count(*) FROM field_passes p
            JOIN directory d ON d.installation = p.installation, clock
            WHERE p.due_at <= now OR p.lease_until > now OR (p.soon_at <= now
                AND (d.generation <> p.seen_generation OR d.change_sequence <> p.seen_change)))
        + (SELECT count(*) FROM tenant_links l
            LEFT JOIN connection_checks k ON k.tenant = l.tenant
            LEFT JOIN connection_changes c ON c.tenant = l.tenant
            WHERE k.tenant IS NULL OR k.judged <> COALESCE(c.changed_at, 0))";
/// Calls of the database's statements so far. An error if the server does not count them.
const STATEMENTS: &str = "SELECT CAST(COALESCE(sum(calls), 0) AS bigint) FROM pg_stat_statements
    WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())";
const TRANSACTIONS: &str = "SELECT xact_commit + xact_rollback FROM pg_stat_database
    WHERE datname = current_database()";

pub(crate) async fn run(database: Database, effort: Effort) {
    // A SQLite file belongs to a single process.
    if database == Database::Sqlite {
        return;
    }
    let tenants = effort.count(5000, 200);
    let settings = vec![
        "http.slack_requests_per_second=0".to_owned(),
        "app.posts_per_minute=60000".to_owned(),
    ];
    let plan = Plan { people: PEOPLE, time_scale: 1.0, rate_limits: false, settings };
    let mut stage = Stage::start(database, &plan).await;
    make_teams(&stage, tenants).await;
    connect(&stage, tenants).await;
    stage.end();

    let replicas = [stage.replica("first").await, stage.replica("second").await];
    for replica in &replicas {
        let ready = reqwest::get(format!("http://{}/readyz", replica.http)).await.unwrap();
        assert_eq!(ready.status(), 200);
    }
    let took = replicas.each_ref().map(|replica| format!("{} ms", replica.took.as_millis()));
    let row = format!("start until /readyz answers 200, {tenants} workspaces");
    say(&row, &took.join(", "), "-");
    let minute = Duration::from_secs(effort.count(60, 5) as u64);
    settle(&stage, minute).await;
    tell_memory(&replicas, "no list used yet");
    let idle = "two replicas idle, no list used yet";
    tell_cost(&stage, &replicas, idle, "<= 2 %", tokio::time::sleep(minute)).await;

    use_lists(&replicas, tenants).await;
    settle(&stage, minute).await;
    tell_memory(&replicas, "every list in memory");
    let idle = "two replicas idle, every list in memory";
    tell_cost(&stage, &replicas, idle, "<= 2 %", tokio::time::sleep(minute)).await;
    let row = "the same, with each list read again once an hour";
    tell_cost(&stage, &replicas, row, "-", refresh(&replicas, tenants, minute)).await;

    one_feed::run(&replicas, effort).await;
    for size in [100, 1000] {
        list(&replicas[0], tenants, size).await;
    }
}

fn say(row: &str, measured: &str, reach: &str) {
    tell(row, "PostgreSQL", measured, "-", "-", reach);
}

async fn make_teams(stage: &Stage, count: usize) {
    let url = stage.sandbox.url().join("_sandbox/teams").unwrap();
    let client = reqwest::Client::builder().build().unwrap();
    let made = client.post(url).json(&json!({ "count": count })).send().await.unwrap();
    assert!(made.status().is_success(), "{made:?}");
    assert_eq!(stage.sandbox.teams().len(), count);
}

/// Connects all tenants except the first one, which is connected, and waits until their lists are
/// read.
async fn connect(stage: &Stage, tenants: usize) {
    let next = Arc::new(AtomicUsize::new(2));
    let since = Instant::now();
    let administrators = (0..ADMINISTRATORS)
        .map(|_| tokio::spawn(connect_some(stage.channel.clone(), Arc::clone(&next), tenants)));
    for administrator in join_all(administrators).await {
        administrator.unwrap();
    }
    let rate = (tenants - 1) as f64 / since.elapsed().as_secs_f64();
    let row = format!("connecting by {ADMINISTRATORS} at a time, to {tenants} workspaces");
    say(&row, &format!("{rate:.1} connections/s"), "-");
    let since = Instant::now();
    let mut connection = stage.connection().await;
    wait(&mut connection, UNREAD).await;
    let took = since.elapsed().as_secs_f64();
    say("every list read, after the last connect", &format!("{took:.1} s"), "-");
    let linked = count(&mut connection, "SELECT count(*) FROM tenant_links").await;
    assert_eq!(usize::try_from(linked).unwrap(), tenants);

    let allow = stream::iter(2..=tenants).for_each_concurrent(AT_ONCE, |number| {
        let mut admin = AdminServiceClient::new(stage.channel.clone());
        let request = pb::AllowSendingRequest { tenant_id: tenant(number), actor: None };
        async move {
            admin.allow_sending(request).await.unwrap();
        }
    });
    allow.await;
}

/// One administrator after the other, in the same browser.
async fn connect_some(channel: Channel, next: Arc<AtomicUsize>, tenants: usize) {
    let mut admin = AdminServiceClient::new(channel);
    let mut browser = Browser::new().unwrap();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number > tenants {
            return;
        }
        let request = pb::BeginConnectRequest {
            tenant_id: tenant(number),
            ..pb::BeginConnectRequest::default()
        };
        let link = admin.begin_connect(request).await.unwrap().into_inner().authorize_url;
        let page = browser.open(&Url::parse(&link).unwrap()).await.unwrap();
        let consent = page.way_to_slack().unwrap();
        let team = format!("T0SBX{number:06}");
        let answer = browser.consent_in(&consent, Decision::Allow, Some(&team)).await.unwrap();
        let page = browser.open(&answer.back().unwrap()).await.unwrap();
        assert_eq!(page.status, 200, "{}", page.html);
    }
}

/// Waits until nothing on workspaces is due, and still is not after this time.
async fn settle(stage: &Stage, quiet: Duration) {
    let mut connection = stage.connection().await;
    loop {
        wait(&mut connection, UNSETTLED).await;
        tokio::time::sleep(quiet).await;
        if count(&mut connection, UNSETTLED).await == 0 {
            return;
        }
    }
}

/// Waits until this statement counts nothing.
async fn wait(connection: &mut PgConnection, statement: &'static str) {
    for _ in 0..LOOKS {
        if count(connection, statement).await == 0 {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
    panic!("it does not end: {statement}");
}

async fn count(connection: &mut PgConnection, statement: &'static str) -> i64 {
    raw_sql(statement).fetch_one(connection).await.unwrap().get(0)
}

/// Asks each replica about a person of each tenant, which brings every list into its memory.
async fn use_lists(replicas: &[Replica], tenants: usize) {
    for (number, replica) in replicas.iter().enumerate() {
        let since = Instant::now();
        let asking = stream::iter(1..=tenants).for_each_concurrent(AT_ONCE, |number| {
            let mut herald = HeraldServiceClient::new(replica.channel.clone());
            let request = pb::ResolveIdentityRequest {
                tenant_id: tenant(number),
                subject: Some(pb::resolve_identity_request::Subject::Person(described(0))),
                actor: None,
            };
            async move {
                let answer = herald.resolve_identity(request).await.unwrap().into_inner();
                assert!(answer.member.is_some(), "{answer:?}");
            }
        });
        asking.await;
        let took = since.elapsed().as_secs_f64();
        let row = format!("every list used once, replica {}", number + 1);
        say(&row, &format!("{took:.1} s, {:.0} lists/s", tenants as f64 / took), "-");
    }
}

fn tell_memory(replicas: &[Replica], when: &str) {
    let resident = replicas.iter().map(|replica| {
        let (now, peak) = memory(replica.process.id());
        format!("{:.1} MB (peak {:.1} MB)", now as f64 / 1_048_576.0, peak as f64 / 1_048_576.0)
    });
    let row = format!("memory of each replica, {when}");
    say(&row, &resident.collect::<Vec<_>>().join(", "), "-");
}

/// The statements and the processor time that this work costs, beside what the replicas do anyway.
async fn tell_cost(
    stage: &Stage,
    replicas: &[Replica],
    row: &str,
    reach: &str,
    work: impl Future<Output = ()>,
) {
    let mut connection = stage.connection().await;
    let (unit, statement) = counted(&mut connection).await;
    let spent = || replicas.iter().map(|replica| busy(replica.process.id())).collect::<Vec<_>>();
    let calls = count(&mut connection, statement).await;
    let (since, before, server) = (Instant::now(), spent(), postgres_busy());
    work.await;
    let (seconds, after) = (since.elapsed().as_secs_f64(), spent());
    let server = server.zip(postgres_busy()).map(|(before, after)| (after - before) / seconds);
    let calls = (count(&mut connection, statement).await - calls) as f64 / seconds;

    let of_each = calls / replicas.len() as f64;
    say(&format!("{row}: {unit} of each"), &format!("{of_each:.1}/s"), "-");
    let shares = before.iter().zip(&after).map(|(before, after)| {
        // Milliseconds a second are tenths of a per cent.
        format!("{:.2} % of a core", (after - before) / seconds / 10.0)
    });
    say(&format!("{row}: processor"), &shares.collect::<Vec<_>>().join(", "), reach);
    let server = server.map_or_else(|| "not on this machine".into(), |it| format!("{it:.1} ms/s"));
    say(&format!("{row}: processor of PostgreSQL"), &server, "-");
}

/// The unit that the server counts, and the statement that reads the count.
async fn counted(connection: &mut PgConnection) -> (&'static str, &'static str) {
    const EXTENSION: &str = "CREATE EXTENSION IF NOT EXISTS pg_stat_statements";
    let made = raw_sql(EXTENSION).execute(&mut *connection).await.is_ok();
    if made && raw_sql(STATEMENTS).fetch_one(connection).await.is_ok() {
        ("statements", STATEMENTS)
    } else {
        ("transactions", TRANSACTIONS)
    }
}

/// For this time, lists are read again as often as all lists are by default: one after the other,
/// each once an hour. The calls go to the replicas in turn.
async fn refresh(replicas: &[Replica], tenants: usize, span: Duration) {
    let pause = REFRESH / u32::try_from(tenants).unwrap();
    let mut ticks = tokio::time::interval(pause);
    let since = Instant::now();
    for number in 1..=tenants {
        let left = span.saturating_sub(since.elapsed());
        if tokio::time::timeout(left, ticks.tick()).await.is_err() {
            break;
        }
        let channel = replicas[number % replicas.len()].channel.clone();
        let request = pb::RefreshDirectoryRequest {
            tenant_id: tenant(number),
            ..pb::RefreshDirectoryRequest::default()
        };
        AdminServiceClient::new(channel).refresh_directory(request).await.unwrap();
    }
}

/// Lists all workspaces, page by page.
async fn list(replica: &Replica, tenants: usize, page_size: i32) {
    let mut operator = WorkspaceServiceClient::new(replica.channel.clone())
        .max_decoding_message_size(64 * 1024 * 1024);
    let (mut times, mut found, mut page_token) = (Vec::new(), 0, String::new());
    loop {
        let request = pb::ListWorkspacesRequest {
            page_size,
            page_token,
            ..pb::ListWorkspacesRequest::default()
        };
        let asked = Instant::now();
        let page = operator.list_workspaces(request).await.unwrap().into_inner();
        times.push(asked.elapsed().as_micros());
        found += page.workspaces.len();
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(found, tenants);
    say(&format!("ListWorkspaces, a page of {page_size}"), &percentiles(times), "-");
}
