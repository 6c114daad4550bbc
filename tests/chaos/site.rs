//! The setup of a run: Slack, the database, the replicas, and a tenant that is ready.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use herald::rpc::pb;
use herald::rpc::pb::admin_service_client::AdminServiceClient;
use herald::sandbox;
use herald::sandbox::browser::{self, Browser, ConsentAnswer, Decision, Page};
use tonic::transport::Channel;
use url::Url;

use crate::client::{Audience, described};
use crate::clock;
use crate::link::{Link, Routes, Stamp};
use crate::nemesis::Kind;
use crate::pooler::Pooler;
use crate::postgres::Postgres;
use crate::replica::{OwnSettings, Plan, Replica};
use crate::slack::Slack;
use crate::tenant::Tenant;

/// The length of a lease in seconds, before the time factor, and of a request, which is not scaled.
pub(crate) const LEASE_SECONDS: u64 = 30;
const REQUEST_TIMEOUT: &str = "1400ms";
/// The time in which a replica must end.
pub(crate) const GRACE: Duration = Duration::from_secs(8);
/// The pause between two checks, and the number of checks.
const LOOK: Duration = Duration::from_millis(20);
const LOOKS: usize = 3_000;
/// So many that none of their messages waits for another.
const WITNESS_PEOPLE: usize = 60;
/// Enough to keep every worker of three replicas busy, if Herald let them.
const SLOW_TENANTS: usize = 3;
pub(crate) const SLOW_PEOPLE: usize = 70;
/// A key-encryption key that is used only here.
const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// The parameters of a site.
pub(crate) struct Size<'a> {
    /// The newest program, which runs the migrations.
    pub(crate) program: &'a Path,
    /// The program that replicas start with.
    pub(crate) first: &'a Path,
    /// Whether replicas of an earlier release take turns with it.
    pub(crate) mixed: bool,
    pub(crate) replicas: usize,
    pub(crate) people: usize,
    pub(crate) channels: usize,
    pub(crate) scale: f64,
    pub(crate) limits: bool,
    pub(crate) kinds: &'a [Kind],
    /// The pooler between the replicas and the database, if any.
    pub(crate) pooler: Option<&'a Path>,
    /// Settings in addition to the usual ones.
    pub(crate) more: &'a [String],
}

impl Size<'_> {
    /// The tenants, with the number of people of each.
    fn tenants(&self) -> Vec<(Tenant, usize)> {
        let mut tenants = vec![(Tenant::MAIN, self.people), (Tenant::WITNESS, WITNESS_PEOPLE)];
        if self.kinds.contains(&Kind::Tenants) {
            tenants.extend((0..SLOW_TENANTS).map(|number| (Tenant(2 + number), SLOW_PEOPLE)));
        }
        tenants
    }

    fn has(&self, kind: Kind) -> bool {
        self.kinds.contains(&kind)
    }

    /// Settings that an earlier release refuses.
    fn own_settings(&self) -> OwnSettings {
        // An earlier release cannot decrypt data under the keys of people.
        let settings = if self.mixed { vec!["store.person_keys=false".into()] } else { Vec::new() };
        OwnSettings { program: self.program.to_owned(), settings }
    }
}

/// Everything that runs.
pub(crate) struct Site {
    pub(crate) slack: Slack,
    pub(crate) postgres: Postgres,
    pub(crate) replicas: Vec<Replica>,
    /// The people and channels of each tenant.
    pub(crate) audiences: Vec<Audience>,
    pub(crate) clock: PathBuf,
    pooler: Option<Pooler>,
    routes: Routes,
}

impl Site {
    pub(crate) async fn start(bin: PathBuf, dir: &Path, size: &Size<'_>) -> io::Result<Self> {
        // Another part of the process may have installed one already.
        drop(rustls::crypto::ring::default_provider().install_default());
        let steps = size.has(Kind::Step);
        let postgres = tokio::task::spawn_blocking(move || Postgres::start(bin, steps)).await;
        let postgres = postgres.map_err(io::Error::other)??;
        let tenants = size.tenants();
        let slack = Slack::start(dir, &tenants, size.scale, size.limits).await?;
        let channels = slack.channels(size.channels);
        let audience = |(tenant, people)| Audience {
            tenant,
            people,
            channels: if tenant == Tenant::MAIN { channels.clone() } else { Vec::new() },
        };
        let audiences = tenants.into_iter().map(audience).collect();
        let clock = dir.join("clock");
        clock::create(&clock)?;
        migrate(size, &postgres)?;
        let (replicas, routes) = (Vec::new(), Routes::default());
        let pooler = match size.pooler {
            Some(program) => Some(Pooler::start(program, &postgres).await?),
            None => None,
        };
        let mut site = Self { slack, postgres, replicas, audiences, clock, pooler, routes };
        for number in 0..size.replicas {
            let replica = site.replica(number, dir, size).await?;
            site.replicas.push(replica);
        }
        // The main tenant comes last, and its list is not awaited.
        for audience in site.audiences.iter().rev() {
            if audience.tenant == Tenant::MAIN {
                site.slack.hold_list();
            }
            site.make_ready(audience).await?;
            if audience.tenant != Tenant::MAIN {
                site.members_read(audience.tenant).await?;
            }
        }
        site.lead_to(Tenant::MAIN);
        Ok(site)
    }

    /// Waits until every replica has the tenant's member list.
    pub(crate) async fn members_read(&self, tenant: Tenant) -> io::Result<()> {
        for replica in &self.replicas {
            members_read(tenant, replica.channel()).await?;
        }
        Ok(())
    }

    /// Starts one replica.
    async fn replica(&self, number: usize, dir: &Path, size: &Size<'_>) -> io::Result<Replica> {
        let name = format!("replica-{number}").into();
        let stamp = Stamp { name, routes: self.routes.clone() };
        let main = self.slack.address(Tenant::MAIN);
        let to_slack = Link::listen(Some(main), Some(stamp)).await?;
        let to_database = Link::listen(Some(self.way_to_database()), None).await?;
        let wrong = number == 0 && size.has(Kind::Clock);
        let replica = Replica::new(Plan {
            number,
            program: size.first.to_owned(),
            settings: settings(size, to_slack.address, to_database.address),
            own_settings: size.own_settings(),
            environment: if wrong { clock::environment(&self.clock) } else { Vec::new() },
            logs: dir.to_owned(),
            slack: to_slack,
            database: to_database,
        })
        .await?;
        replica.held().await.start().await?;
        Ok(replica)
    }

    /// Where the replicas' connections to the database lead.
    pub(crate) fn way_to_database(&self) -> SocketAddr {
        self.pooler.as_ref().map_or(self.postgres.address(), |pooler| pooler.address)
    }

    /// Every person and channel of the main tenant that a message can go to.
    pub(crate) fn lanes(&self) -> Vec<String> {
        let audience = &self.audiences[Tenant::MAIN.0];
        let people = (0..audience.people).map(|number| Tenant::MAIN.member_id(number));
        people.chain(audience.channels.iter().cloned()).collect()
    }

    /// Sets where requests without a known token go.
    fn lead_to(&self, tenant: Tenant) {
        for replica in &self.replicas {
            replica.slack().lead_to(Some(self.slack.address(tenant)));
        }
    }

    /// Connects the tenant, allows sending, and stores people.
    async fn make_ready(&self, audience: &Audience) -> io::Result<()> {
        let (tenant, tenant_id) = (audience.tenant, audience.tenant.name());
        self.lead_to(tenant);
        let channel = self.replicas[0].channel();
        let mut admin = AdminServiceClient::new(channel);
        let request = pb::BeginConnectRequest {
            tenant_id: tenant_id.clone(),
            ..pb::BeginConnectRequest::default()
        };
        let link = admin.begin_connect(request).await.map_err(io::Error::other)?;
        let link = Url::parse(&link.into_inner().authorize_url).map_err(io::Error::other)?;
        let page = connect(&link).await.map_err(io::Error::other)?;
        if page.status != 200 {
            return Err(io::Error::other(format!("connecting: {}", page.html)));
        }
        self.routes.add(self.slack.token(tenant).expose(), self.slack.address(tenant));
        let request = pb::UpdateSettingsRequest {
            tenant_id: tenant_id.clone(),
            settings: Some(pb::Settings { sending_allowed: true, ..pb::Settings::default() }),
            ..pb::UpdateSettingsRequest::default()
        };
        admin.update_settings(request).await.map_err(io::Error::other)?;
        let people = (0..audience.people).map(described).collect();
        let request = pb::UpsertPeopleRequest { tenant_id, people, actor: None };
        admin.upsert_people(request).await.map_err(io::Error::other)?;
        Ok(())
    }
}

async fn members_read(tenant: Tenant, channel: Channel) -> io::Result<()> {
    let mut admin = AdminServiceClient::new(channel);
    for _ in 0..LOOKS {
        let request = pb::GetWorkspaceRequest { tenant_id: tenant.name(), actor: None };
        let answer = admin.get_workspace(request).await.map_err(io::Error::other)?;
        if answer.into_inner().directory.is_some_and(|directory| directory.generation > 0) {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
    Err(io::Error::other("the member list was not read"))
}

/// Approves the app and returns to it. Links of earlier releases lead straight to Slack's page.
async fn connect(link: &Url) -> Result<Page, reqwest::Error> {
    if !link.path().ends_with("/oauth/v2/authorize") {
        return browser::decide(link, Decision::Allow).await;
    }
    let mut browser = Browser::new()?;
    match browser.consent(link, Decision::Allow).await? {
        ConsentAnswer::Back(back) => browser.open(&back).await,
        ConsentAnswer::Page(page) => Ok(page),
    }
}

/// `herald migrate`.
fn migrate(size: &Size<'_>, postgres: &Postgres) -> io::Result<()> {
    let mut command = std::process::Command::new(size.program);
    command.arg("migrate").stdout(std::process::Stdio::null());
    for setting in store_settings(postgres) {
        command.args(["--set", &setting]);
    }
    let output = command.stderr(std::process::Stdio::piped()).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()))
}

/// The settings with which a command connects to the database itself.
pub(crate) fn store_settings(postgres: &Postgres) -> Vec<String> {
    vec![
        "rpc.insecure=true".to_owned(),
        format!("store.url={}", Postgres::url(postgres.address())),
        format!("store.key={KEY}"),
    ]
}

fn settings(size: &Size<'_>, slack: SocketAddr, database: SocketAddr) -> Vec<String> {
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
        // A message that fails for good cannot be distinguished from a lost one, so none may fail
        // here.
        "delivery.max_attempts=1000".into(),
        "delivery.max_delay_seconds=10".into(),
        "directory.refresh_seconds=100000".into(),
        "directory.refresh_with_events_seconds=100000".into(),
        "log.format=json".into(),
        "log.filter=info,herald=debug".into(),
        "process.lame_duck_seconds=0".into(),
        "process.grace_seconds=6".into(),
    ];
    if size.pooler.is_some() {
        settings.push("store.pooler=transaction".into());
    }
    if !size.mixed {
        // The shortest lease, so that many channels change hands; and few looks, because the
        // machine has other work.
        settings.push("channels.lease_seconds=43".into());
        settings.push("channels.poll_milliseconds=5000".into());
        settings.push("channels.blocked_retry_seconds=100".into());
    }
    settings.extend_from_slice(size.more);
    settings
}
