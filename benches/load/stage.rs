//! `herald serve` as a process on a fresh database, a sandbox, and a tenant for which sending is
//! on.

use std::fs::File;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use herald::domain::secret::Secret;
use herald::rpc::pb;
use herald::rpc::pb::admin_service_client::AdminServiceClient;
use herald::rpc::pb::herald_service_client::HeraldServiceClient;
use herald::sandbox::browser::{self, Decision};
use herald::sandbox::{self, Sandbox};
use herald::store;
use sea_orm::sqlx::{Connection as _, PgConnection, Row as _, raw_sql};
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::transport::Channel;
use url::Url;

pub(crate) const TENANT: &str = "acme";
/// 32 zero bytes; nothing here is secret.
const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const PATIENCE: Duration = Duration::from_secs(300);

/// The database of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Database {
    Sqlite,
    Postgres,
}

impl Database {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "tests/run names the server this way")]
fn server() -> Option<String> {
    std::env::var("HERALD_TEST_POSTGRES").ok()
}

pub(crate) fn databases() -> Vec<Database> {
    match server() {
        Some(_) => vec![Database::Sqlite, Database::Postgres],
        None => vec![Database::Sqlite],
    }
}

pub(crate) async fn describe_postgres() -> String {
    let Some(url) = server() else {
        return "PostgreSQL is left out: HERALD_TEST_POSTGRES is not set".into();
    };
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let sql = "SELECT current_setting('server_version'), current_setting('fsync'), \
               current_setting('synchronous_commit'), current_setting('shared_buffers')";
    let row = raw_sql(sql).fetch_one(&mut connection).await.unwrap();
    let text = |index: usize| row.get::<String, _>(index);
    format!(
        "PostgreSQL {} with fsync={}, synchronous_commit={}, shared_buffers={}",
        text(0),
        text(1),
        text(2),
        text(3)
    )
}

/// The setup of a stage.
pub(crate) struct Plan {
    pub(crate) people: usize,
    pub(crate) time_scale: f64,
    pub(crate) rate_limits: bool,
    /// `section.key=value`.
    pub(crate) settings: Vec<String>,
}

pub(crate) struct Stage {
    pub(crate) sandbox: Sandbox,
    pub(crate) store: store::Config,
    pub(crate) channel: Channel,
    pub(crate) process: Child,
    pub(crate) rpc: SocketAddr,
    pub(crate) health: SocketAddr,
    settings: Vec<String>,
    dir: TempDir,
}

impl Stage {
    pub(crate) async fn start(database: Database, plan: &Plan) -> Self {
        let sandbox = Sandbox::start(sandbox::Config {
            addr: ([127, 0, 0, 1], 0).into(),
            rate_limits: plan.rate_limits,
            time_scale: plan.time_scale,
            seed_members: (0..plan.people).map(member).collect(),
            ..sandbox::Config::default()
        })
        .await
        .unwrap();
        let (store, dir) = store_config(database).await;
        let slack = sandbox::Config::default();
        let mut settings = vec![
            "rpc.insecure=true".to_owned(),
            // Only one caller and one tenant are measured, so their rates must not be limited.
            "rpc.caller_calls_per_second=0".to_owned(),
            "rpc.tenant_calls_per_second=0".to_owned(),
            "rpc.caller_bytes_per_second=0".to_owned(),
            format!("slack.base_url={}", sandbox.url()),
            format!("slack.time_scale={}", plan.time_scale),
            format!("app.client_id={}", slack.client_id),
            format!("app.client_secret={}", slack.client_secret.expose()),
            // No scaled duration may end during a measurement.
            format!("delivery.lease_seconds={}", (60.0 / plan.time_scale).min(3600.0) as u64),
            format!("directory.refresh_seconds={}", 24 * 3600),
            "log.filter=warn,herald::server=info".to_owned(),
            "log.format=json".to_owned(),
        ];
        settings.extend(plan.settings.iter().cloned());
        settings.extend(store_settings(&store));
        let log = dir.path().join("log");
        let (process, rpc, health, _) = serve(&settings, &log).await;
        let channel =
            Channel::from_shared(format!("http://{rpc}")).unwrap().connect().await.unwrap();
        let stage = Self { sandbox, store, channel, process, rpc, health, settings, dir };
        stage.connect(plan.people).await;
        stage
    }

    /// Another replica.
    pub(crate) async fn another(&self) -> (Child, HeraldServiceClient<Channel>) {
        let (process, rpc, ..) = serve(&self.settings, &self.dir.path().join("another")).await;
        let channel = Channel::from_shared(format!("http://{rpc}")).unwrap().connect().await;
        (process, HeraldServiceClient::new(channel.unwrap()))
    }

    /// A replica that is measured by itself; `log` is the name of its file.
    pub(crate) async fn replica(&self, log: &str) -> Replica {
        let since = Instant::now();
        let (process, rpc, _, http) = serve(&self.settings, &self.dir.path().join(log)).await;
        let took = since.elapsed();
        let channel = Channel::from_shared(format!("http://{rpc}")).unwrap().connect().await;
        Replica { process, channel: channel.unwrap(), http, took }
    }

    /// Kills the process with which the stage began.
    pub(crate) fn end(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(crate) fn herald(&self) -> HeraldServiceClient<Channel> {
        HeraldServiceClient::new(self.channel.clone())
    }

    /// Connects the tenant, turns sending on, and registers its people.
    pub(crate) async fn connect(&self, people: usize) {
        let mut admin = AdminServiceClient::new(self.channel.clone());
        let request = pb::BeginConnectRequest {
            tenant_id: TENANT.into(),
            ..pb::BeginConnectRequest::default()
        };
        let link = admin.begin_connect(request).await.unwrap().into_inner().authorize_url;
        let page = browser::decide(&Url::parse(&link).unwrap(), Decision::Allow).await.unwrap();
        assert_eq!(page.status, 200, "{}", page.html);
        let read = pb::GetWorkspaceRequest { tenant_id: TENANT.into(), actor: None };
        until("the member list is read", async || {
            let workspace = admin.clone().get_workspace(read.clone()).await.unwrap().into_inner();
            workspace.directory.is_some_and(|directory| directory.members > 0)
        })
        .await;
        let workspace = admin.get_workspace(read).await.unwrap().into_inner();
        let version = workspace.settings.as_ref().map_or(0, |settings| settings.version);
        let settings = pb::Settings { sending_allowed: true, version, ..pb::Settings::default() };
        let request = pb::UpdateSettingsRequest {
            tenant_id: TENANT.into(),
            settings: Some(settings),
            ..pb::UpdateSettingsRequest::default()
        };
        admin.update_settings(request).await.unwrap();
        let people: Vec<_> = (0..people).map(described).collect();
        for people in people.chunks(500) {
            let people = people.to_vec();
            let request = pb::UpsertPeopleRequest { tenant_id: TENANT.into(), people, actor: None };
            admin.upsert_people(request).await.unwrap();
        }
    }

    /// A connection to its database, which is PostgreSQL.
    pub(crate) async fn connection(&self) -> PgConnection {
        PgConnection::connect(self.store.url.as_ref().unwrap().expose()).await.unwrap()
    }

    /// PostgreSQL's transactions a second during this work. Its processes report their counts a
    /// second late, so the work must last for much longer.
    pub(crate) async fn transactions(&self, work: impl Future<Output = ()>) -> f64 {
        const COUNT: &str = "SELECT xact_commit + xact_rollback FROM pg_stat_database \
            WHERE datname = current_database()";
        let mut connection = self.connection().await;
        let since = Instant::now();
        let before = raw_sql(COUNT).fetch_one(&mut connection).await.unwrap();
        work.await;
        let after = raw_sql(COUNT).fetch_one(&mut connection).await.unwrap();
        (after.get::<i64, _>(0) - before.get::<i64, _>(0)) as f64 / since.elapsed().as_secs_f64()
    }

    /// Makes PostgreSQL collect its statistics now, and not on its own later.
    pub(crate) async fn take_statistics(&self) {
        if self.store.url.is_none() {
            return;
        }
        let mut connection = self.connection().await;
        for table in ["deliveries", "lanes"] {
            let manual = format!("ALTER TABLE {table} SET (autovacuum_enabled = off)");
            for sql in [manual, format!("VACUUM ANALYZE {table}")] {
                let sql = sea_orm::sqlx::AssertSqlSafe(sql);
                raw_sql(sql).execute(&mut connection).await.unwrap();
            }
        }
    }

    /// Resident bytes of the process: now, and the peak.
    pub(crate) fn memory(&self) -> (u64, u64) {
        memory(self.process.id())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// A process beside the one of the stage; killed when dropped.
pub(crate) struct Replica {
    pub(crate) process: Child,
    pub(crate) channel: Channel,
    pub(crate) http: SocketAddr,
    /// From the start of the process until it reported that it serves.
    pub(crate) took: Duration,
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Resident bytes of a process: now, and the peak.
pub(crate) fn memory(process: u32) -> (u64, u64) {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let read = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    };
    (read("VmRSS:"), read("VmHWM:"))
}

pub(crate) async fn store_config(database: Database) -> (store::Config, TempDir) {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let dir = TempDir::new().unwrap();
    let mut config = store::Config { data_dir: dir.path().into(), ..store::Config::default() };
    if database == Database::Postgres {
        let server = server().unwrap();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("herald_bench_{}_{number}", std::process::id());
        let mut admin = PgConnection::connect(&server).await.unwrap();
        for sql in [format!("DROP DATABASE IF EXISTS {name}"), format!("CREATE DATABASE {name}")] {
            raw_sql(sea_orm::sqlx::AssertSqlSafe(sql)).execute(&mut admin).await.unwrap();
        }
        let mut url = Url::parse(&server).unwrap();
        url.set_path(&name);
        (config.url, config.key) = (Some(Secret::new(url.as_str())), Some(Secret::new(KEY)));
        let migrated = command("migrate", &store_settings(&config)).output().unwrap();
        assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
    }
    (config, dir)
}

fn store_settings(store: &store::Config) -> Vec<String> {
    let mut settings = vec![format!("store.data_dir={}", store.data_dir.display())];
    if let (Some(url), Some(key)) = (&store.url, &store.key) {
        settings.push(format!("store.url={}", url.expose()));
        settings.push(format!("store.key={}", key.expose()));
    }
    settings
}

pub(crate) fn command(name: &str, settings: &[String]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_herald"));
    command.arg(name).stdin(Stdio::null()).stdout(Stdio::null());
    for setting in settings {
        command.args(["--set", setting]);
    }
    command
}

/// Starts `herald serve` on free ports and waits until it reports that it serves. Its addresses are
/// those of gRPC, health and HTTP.
pub(crate) async fn serve(
    settings: &[String],
    log: &std::path::Path,
) -> (Child, SocketAddr, SocketAddr, SocketAddr) {
    let mut command = command("serve", settings);
    for name in ["rpc.address", "rpc.health_address", "http.address"] {
        command.args(["--set", &format!("{name}=127.0.0.1:0")]);
    }
    let process = command.stderr(File::create(log).unwrap()).spawn().unwrap();
    let mut addresses = None;
    until("it serves", async || {
        let text = std::fs::read_to_string(log).unwrap();
        addresses = text.lines().find(|line| line.contains("\"serving\"")).map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            let address = |name: &str| line[name].as_str().unwrap().parse().unwrap();
            (address("rpc"), address("health"), address("http"))
        });
        addresses.is_some()
    })
    .await;
    let (rpc, health, http) = addresses.unwrap();
    (process, rpc, health, http)
}

/// Polls every millisecond: other processes give no signal.
pub(crate) async fn until(what: &str, mut look: impl AsyncFnMut() -> bool) {
    let since = Instant::now();
    while !look().await {
        assert!(since.elapsed() < PATIENCE, "timed out: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// One of many tenants, counted from 1: the first one is [`TENANT`].
pub(crate) fn tenant(number: usize) -> String {
    if number == 1 { TENANT.to_owned() } else { format!("tenant-{number}") }
}

fn member(number: usize) -> Value {
    json!({
        "id": format!("U{number:06}"),
        "name": format!("person{number}"),
        "profile": {
            "email": email(number),
            "real_name": format!("Person {number}"),
            "display_name": format!("person{number}"),
        },
    })
}

pub(crate) fn person(number: usize) -> String {
    format!("person-{number}")
}

pub(crate) fn email(number: usize) -> String {
    format!("person{number}@example.com")
}

pub(crate) fn described(number: usize) -> pb::Person {
    pb::Person { user_id: person(number), email: email(number), ..pb::Person::default() }
}

/// A notification to people, given by their numbers.
pub(crate) fn message(
    request_id: &str,
    people: impl IntoIterator<Item = usize>,
) -> pb::NotifyRequest {
    let data = json!({
        "task": { "name": "Prepare the workplace" },
        "process": { "name": "New hire onboarding" },
        "due_at": "2026-11-27T16:00:00Z",
    });
    let recipients = people.into_iter().map(|number| pb::Recipient {
        target: Some(pb::recipient::Target::UserId(person(number))),
        roles: Vec::new(),
    });
    pb::NotifyRequest {
        tenant_id: TENANT.into(),
        request_id: request_id.into(),
        event_type: "task.assigned".into(),
        recipients: recipients.collect(),
        data: Some(herald::rpc::to_struct(data.as_object().cloned().unwrap())),
        link: "https://platform.example/task/1".into(),
        ..pb::NotifyRequest::default()
    }
}
