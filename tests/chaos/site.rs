//! Where a run takes place: Slack, the database, the replicas, and a tenant that is ready.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use herald::rpc::pb;
use herald::rpc::pb::admin_service_client::AdminServiceClient;
use herald::sandbox;
use herald::sandbox::browser::{self, Decision};
use tonic::transport::Channel;
use url::Url;

use crate::client::{Audience, TENANT, described};
use crate::link::Link;
use crate::nemesis::Kind;
use crate::postgres::Postgres;
use crate::replica::{Plan, Replica};
use crate::slack::{Slack, member_id};

/// Seconds of a lease and of a request, before the time factor (the latter is not scaled).
pub(crate) const LEASE_SECONDS: u64 = 30;
const REQUEST_TIMEOUT: &str = "1400ms";
/// Seconds in which a replica must end.
pub(crate) const GRACE: Duration = Duration::from_secs(8);
/// Between two looks, and how often one is taken.
const LOOK: Duration = Duration::from_millis(20);
const LOOKS: usize = 3_000;
/// A key-encryption key for nothing but this.
const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const FAKETIME: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
];

/// How large it is.
pub(crate) struct Size<'a> {
    pub(crate) program: &'a Path,
    pub(crate) replicas: usize,
    pub(crate) people: usize,
    pub(crate) channels: usize,
    pub(crate) scale: f64,
    pub(crate) limits: bool,
    pub(crate) kinds: &'a [Kind],
    /// Settings on top of the usual ones.
    pub(crate) more: &'a [String],
}

/// All that runs.
pub(crate) struct Site {
    pub(crate) slack: Slack,
    pub(crate) postgres: Postgres,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) audience: Audience,
    pub(crate) clock: PathBuf,
}

/// The library that makes a clock wrong, where it is installed.
pub(crate) fn faketime() -> Option<&'static str> {
    FAKETIME.into_iter().find(|path| Path::new(path).is_file())
}

impl Site {
    pub(crate) async fn start(bin: PathBuf, dir: &Path, size: &Size<'_>) -> io::Result<Self> {
        // Another part of the process may have chosen it.
        drop(rustls::crypto::ring::default_provider().install_default());
        let postgres = tokio::task::spawn_blocking(move || Postgres::start(bin)).await;
        let postgres = postgres.map_err(io::Error::other)??;
        let slack = Slack::start(dir, size.people, size.scale, size.limits).await?;
        let audience = Audience { people: size.people, channels: slack.channels(size.channels) };
        let clock = dir.join("clock");
        std::fs::write(&clock, "+0")?;
        migrate(size, &postgres)?;
        let mut replicas = Vec::new();
        for number in 0..size.replicas {
            let name = format!("replica-{number}");
            let to_slack = Link::listen(Some(slack.address()), Some(&name)).await?;
            let to_database = Link::listen(Some(postgres.address()), None).await?;
            let wrong = number == 0 && size.kinds.contains(&Kind::Clock);
            let replica = Replica::new(Plan {
                number,
                program: size.program.to_owned(),
                settings: settings(size, to_slack.address, to_database.address),
                environment: if wrong { clock_environment(&clock) } else { Vec::new() },
                logs: dir.to_owned(),
                slack: to_slack,
                database: to_database,
            })
            .await?;
            replica.held().await.start().await?;
            replicas.push(replica);
        }
        let site = Self { slack, postgres, replicas, audience, clock };
        site.make_ready().await?;
        Ok(site)
    }

    /// Everybody whom a message can be for.
    pub(crate) fn lanes(&self) -> Vec<String> {
        let people = (0..self.audience.people).map(member_id);
        people.chain(self.audience.channels.iter().cloned()).collect()
    }

    /// Connects the tenant, allows sending, stores people, and waits for the member list.
    async fn make_ready(&self) -> io::Result<()> {
        let channel = self.replicas[0].channel();
        let mut admin = AdminServiceClient::new(channel);
        let request = pb::BeginConnectRequest { tenant_id: TENANT.into(), actor: None };
        let link = admin.begin_connect(request).await.map_err(io::Error::other)?;
        let link = Url::parse(&link.into_inner().authorize_url).map_err(io::Error::other)?;
        let page = browser::decide(&link, Decision::Allow).await.map_err(io::Error::other)?;
        if page.status != 200 {
            return Err(io::Error::other(format!("connecting: {}", page.html)));
        }
        let request = pb::UpdateSettingsRequest {
            tenant_id: TENANT.into(),
            settings: Some(pb::Settings { sending_allowed: true, ..pb::Settings::default() }),
            ..pb::UpdateSettingsRequest::default()
        };
        admin.update_settings(request).await.map_err(io::Error::other)?;
        let people = (0..self.audience.people).map(described).collect();
        let request = pb::UpsertPeopleRequest { tenant_id: TENANT.into(), people, actor: None };
        admin.upsert_people(request).await.map_err(io::Error::other)?;
        for replica in &self.replicas {
            members_read(replica.channel()).await?;
        }
        Ok(())
    }
}

async fn members_read(channel: Channel) -> io::Result<()> {
    let mut admin = AdminServiceClient::new(channel);
    for _ in 0..LOOKS {
        let request = pb::GetWorkspaceRequest { tenant_id: TENANT.into(), actor: None };
        let answer = admin.get_workspace(request).await.map_err(io::Error::other)?;
        if answer.into_inner().directory.is_some_and(|directory| directory.generation > 0) {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
    Err(io::Error::other("the member list was not read"))
}

/// `herald migrate`.
fn migrate(size: &Size<'_>, postgres: &Postgres) -> io::Result<()> {
    let mut command = std::process::Command::new(size.program);
    command.arg("migrate").stdout(std::process::Stdio::null());
    let settings = [
        "rpc.insecure=true".to_owned(),
        format!("store.url={}", Postgres::url(postgres.address())),
        format!("store.key={KEY}"),
    ];
    for setting in settings {
        command.args(["--set", &setting]);
    }
    let output = command.stderr(std::process::Stdio::piped()).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()))
}

fn settings(
    size: &Size<'_>,
    slack: std::net::SocketAddr,
    database: std::net::SocketAddr,
) -> Vec<String> {
    let app = sandbox::Config::default();
    let mut settings = vec![
        "rpc.address=127.0.0.1:0".into(),
        "rpc.health_address=127.0.0.1:0".into(),
        "rpc.insecure=true".into(),
        "http.address=127.0.0.1:0".into(),
        format!("slack.base_url={}", Slack::behind(slack)),
        format!("slack.time_scale={}", size.scale),
        "slack.connect_timeout=700ms".into(),
        format!("slack.request_timeout={REQUEST_TIMEOUT}"),
        format!("app.client_id={}", app.client_id),
        format!("app.client_secret={}", app.client_secret.expose()),
        format!("store.url={}", Postgres::url(database)),
        format!("store.key={KEY}"),
        "store.acquire_timeout=2s".into(),
        format!("delivery.lease_seconds={LEASE_SECONDS}"),
        // What fails for good cannot be told from what was lost; here nothing needs to.
        "delivery.max_attempts=1000".into(),
        "delivery.max_delay_seconds=10".into(),
        "directory.refresh_seconds=100000".into(),
        "directory.refresh_with_events_seconds=100000".into(),
        "log.format=json".into(),
        "log.filter=info,herald=debug".into(),
        "process.lame_duck_seconds=0".into(),
        "process.grace_seconds=6".into(),
    ];
    settings.extend_from_slice(size.more);
    settings
}

fn clock_environment(clock: &Path) -> Vec<(String, String)> {
    let library = faketime().unwrap_or_default();
    [
        ("LD_PRELOAD", library),
        ("FAKETIME_TIMESTAMP_FILE", &clock.display().to_string()),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("DONT_FAKE_MONOTONIC", "1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}
