//! build -> start -> ready -> drain: the only file that knows every part.
//!
//! Start: bind every address (so that a wrong one is reported at once), open the store, check the
//! schema, start delivery and the refresher, and only then report SERVING.
//!
//! Drain (invariant I11): first NOT_SERVING, then a pause in which load balancers notice, then no
//! new calls. Calls and turns under way finish. Whatever is left at the end of the grace period is
//! dropped, which loses nothing: accepted work is in the store, and leases expire.

mod error;

mod ports;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::{self, App};
use crate::channels::Channels;
use crate::config::Settings;
use crate::delivery::Delivery;
use crate::directory::Directory;
use crate::doctor::Doctor;
use crate::domain::capacity::slack_method::Method as SlackMethod;
use crate::keep::Keeper;
use crate::listen::Port;
use crate::store::{Backend, SchemaStatus, Store};
use crate::telemetry::{Exposition, Metrics, Watchdog};
use crate::tokens::Issuers;
use crate::workspace::Workspaces;
use crate::{http, rpc, slack};
pub use error::Error;
use ports::{Listeners, Ports, Secured};

/// A server that is ready.
pub struct RunningServer {
    /// Where gRPC is served.
    pub rpc: SocketAddr,
    /// Where health is served in plain text.
    pub health: SocketAddr,
    /// Where HTTP is served.
    pub http: SocketAddr,
    parts: Parts,
}

struct Parts {
    serving: rpc::Health,
    readiness: watch::Sender<http::Readiness>,
    /// Stops listeners: no new calls.
    close: CancellationToken,
    /// Stops background work.
    stop: CancellationToken,
    /// Ends health, which keeps answering until the very end.
    end: CancellationToken,
    tasks: JoinSet<&'static str>,
    health_task: JoinSet<&'static str>,
    /// OAuth exchanges under way.
    exchanges: TaskTracker,
    store: Store,
    trail: app::Trail,
    exposition: Exposition,
    lame_duck: Duration,
    grace: Duration,
}

/// The parts that answer calls and deliver messages, without ports and tasks.
struct Core {
    store: Store,
    directory: Directory,
    app: App,
    delivery: Delivery,
    channels: Channels,
    keeper: Keeper,
    doctor: Doctor,
}

/// Time allowed for the last writes, and for closing the connections to the database. With the
/// other bounds, a process ends within two seconds after its grace, whatever does not answer.
const CLOSING: Duration = Duration::from_secs(1);
/// How often health checks the database and the loops. A check that took longer is followed by the
/// next one at once.
///
/// By these bounds an outage is reported at most a heartbeat and one [`ANSWER`] late: a check was
/// answered just before it. (A check that began before the outage, while other calls were answered,
/// waits until none was answered for [`ANSWER`].) The limit of five seconds (I14) leaves two
/// seconds for a busy machine and for the probe.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long the database may take to answer before health reports it as unavailable. A shorter time
/// would report a database that only pauses, for example to write its buffers to the disk.
const ANSWER: Duration = Duration::from_secs(2);

impl RunningServer {
    /// Starts everything and returns once it is SERVING.
    pub async fn start(settings: Settings) -> Result<Self, Error> {
        let (callers, issuers) = callers(&settings.rpc)?;
        let secured = Secured::load(&settings)?;
        let listeners = Listeners::bind(&settings).await?;
        let (rpc_address, health_address, http_address) = listeners.addresses();
        let (serving, health) = rpc::Health::new().await;
        let (end, mut health_task) = (CancellationToken::new(), JoinSet::new());
        let exposition = Exposition::new(&settings.otlp)?;
        let metrics = exposition.metrics();
        let port = Port::of_health(listeners.health, metrics.clone(), &settings.listen);
        let probe = rpc::serve_health(port, health.clone(), end.clone());
        health_task.spawn(background("the health port", probe));

        let http_config = http::Config { address: http_address, ..settings.http.clone() };
        let core = Core::build(&settings, &http_config, &metrics).await?;
        let (readiness, ready) = watch::channel(http::Readiness::waiting_for(["start"]));
        let mut parts = Parts {
            serving,
            readiness,
            close: CancellationToken::new(),
            stop: CancellationToken::new(),
            end,
            tasks: JoinSet::new(),
            health_task,
            exchanges: TaskTracker::new(),
            store: core.store.clone(),
            trail: core.app.trail().clone(),
            exposition,
            lame_duck: Duration::from_secs(settings.process.lame_duck_seconds),
            grace: Duration::from_secs(settings.process.grace_seconds),
        };
        let app = core.app.clone();
        let state = parts.pages(app.clone(), &http_config, ready);
        let server = rpc::Server::new(app, Arc::new(callers), metrics.clone(), &settings.rpc);
        let mut ports = Ports::new(listeners.rpc, listeners.http, &metrics, &settings.listen);
        ports.http = ports.http.behind(http_config.trusted_proxies);
        let (rpc_port, http_port) = secured.on(ports, &parts.stop, &mut parts.tasks);
        let (limit, close) = (settings.rpc.max_request_bytes, parts.close.clone());
        let grpc = rpc::serve(rpc_port, server, health, limit, close.clone());
        parts.tasks.spawn(named("gRPC", grpc));
        let pages = http::serve(http_port, http::router(state), close);
        parts.tasks.spawn(background("HTTP", pages));
        parts.spawn_loops(core, issuers, metrics.watchdog().clone());

        parts.serving.set(true).await;
        parts.readiness.send_replace(http::Readiness::ready());
        tracing::info!(
            rpc = %rpc_address, health = %health_address, http = %http_address, "serving"
        );
        Ok(Self { rpc: rpc_address, health: health_address, http: http_address, parts })
    }

    /// The background loops whose progress health reports.
    #[must_use]
    pub fn watchdog(&self) -> Watchdog {
        self.parts.exposition.metrics().watchdog().clone()
    }

    /// Serves until `stop`, then drains. If a part ends by itself, the whole server stops.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), Error> {
        let ended = tokio::select! {
            () = stop.cancelled() => None,
            ended = self.parts.tasks.join_next() => Some(match ended {
                Some(Ok(name)) => name,
                Some(Err(_)) | None => "a task",
            }),
        };
        self.parts.drain().await;
        ended.map_or(Ok(()), |name| Err(Error::Ended(name)))
    }
}

impl Core {
    /// Opens the store, checks its schema, and builds the parts that use it.
    async fn build(
        settings: &Settings,
        http: &http::Config,
        metrics: &Metrics,
    ) -> Result<Self, Error> {
        let store = Store::open(&settings.store).await?;
        check_schema(&store).await?;
        let methods: Vec<_> = SlackMethod::ALL.iter().map(|method| method.name()).collect();
        metrics.begin(&methods, rpc::pb::METHODS);
        let client = slack::Client::new(&settings.slack, metrics.clone())?;
        let workspaces = Workspaces::new(store.clone(), client, settings.app.clone());
        let directory = Directory::new(
            store.clone(),
            workspaces.clone(),
            metrics.clone(),
            settings.directory.clone(),
        );
        let config = app::Config {
            redirect_url: http.redirect_url(),
            events_url: http.events_url(),
            interactions_url: http.interactions_url(),
            apps_url: http.apps_url(),
            connect_url: http.connect_url(),
            identity_url: http.identity_url(),
            preview_url: http.preview_url(),
            return_origins: http.return_origins(),
            display_name: settings.app.display_name.trim().to_owned(),
            connect_link_lifetime: Duration::from_secs(60 * settings.process.connect_link_minutes),
            max_waiting: settings.delivery.max_waiting,
            audit: settings.audit.clone(),
        };
        let app =
            App::new(store.clone(), workspaces.clone(), directory.clone(), metrics.clone(), config);
        let delivery = Delivery::new(
            store.clone(),
            workspaces.clone(),
            directory.clone(),
            metrics.clone(),
            &settings.delivery,
        );
        let keeper = Keeper::new(store.clone(), workspaces.clone(), metrics.clone());
        let doctor = doctor(settings, &store, &workspaces, metrics)?;
        let channels = Channels::new(
            store.clone(),
            workspaces,
            directory.clone(),
            metrics.clone(),
            &settings.channels,
        );
        // Boxed, because the caller that starts a server holds this in its own future.
        Box::pin(app.keys().refresh()).await?;
        Ok(Self { store, directory, app, delivery, channels, keeper, doctor })
    }
}

impl Parts {
    /// The state of the HTTP routes.
    fn pages(
        &self,
        app: App,
        config: &http::Config,
        readiness: watch::Receiver<http::Readiness>,
    ) -> http::HttpState {
        http::HttpState {
            app,
            readiness,
            exposition: self.exposition.clone(),
            edge: http::Edge::new(config, self.exposition.metrics()),
            tasks: self.exchanges.clone(),
            cookies: http::Cookies::of(config),
        }
    }

    /// Starts the loops. Those that calls depend on run until no new call is taken.
    fn spawn_loops(&mut self, core: Core, issuers: Issuers, watchdog: Watchdog) {
        let Core { store, directory, app, delivery, channels, keeper, doctor } = core;
        let (close, stop) = (&self.close, &self.stop);
        let tasks = &mut self.tasks;
        tasks.spawn(background("delivery", delivery.run(stop.clone())));
        tasks.spawn(background("the channels", channels.run(stop.clone())));
        tasks.spawn(background("the tokens", keeper.run(stop.clone())));
        tasks.spawn(background("the doctor", doctor.run(stop.clone())));
        let follower = directory.clone().run_follower(stop.clone());
        tasks.spawn(background("the directory's follower", follower));
        let inbox = directory.clone().run_inbox(stop.clone());
        tasks.spawn(background("the inbox of events", inbox));
        tasks.spawn(background("the refresher", directory.clone().run_refresher(stop.clone())));
        tasks.spawn(background("the custom fields", directory.run_fields(stop.clone())));
        tasks.spawn(background("the audit trail", app.trail().clone().run(close.clone())));
        tasks.spawn(background("the API keys", app.keys().clone().run(close.clone())));
        tasks.spawn(background("the notices of channels", app.clone().run_notices(stop.clone())));
        tasks.spawn(background("the Home tabs", app.clone().run_homes(stop.clone())));
        let connections = app.clone().run_connections(stop.clone());
        tasks.spawn(background("the watchers of connections", connections));
        let erasing = app.clone().run_leaving(stop.clone());
        tasks.spawn(background("the erasures of workspaces", erasing));
        tasks.spawn(background("the issuers of tokens", issuers.run(close.clone())));
        let (serving, readiness) = (self.serving.clone(), self.readiness.clone());
        let watching = watch(store, watchdog, serving, readiness, stop.clone());
        tasks.spawn(background("the health watch", watching));
    }

    async fn drain(mut self) {
        let until = Instant::now() + self.grace;
        tracing::info!(grace = ?self.grace, "stopping");
        // The watch must not report SERVING again.
        self.stop.cancel();
        self.serving.set(false).await;
        self.readiness.send_replace(http::Readiness::waiting_for(["stopping"]));
        tokio::time::sleep(self.lame_duck).await;
        self.close.cancel();
        self.exchanges.close();
        let finish = async {
            while self.tasks.join_next().await.is_some() {}
            self.exchanges.wait().await;
        };
        if tokio::time::timeout_at(until, finish).await.is_err() {
            tracing::warn!("the grace period is over: unfinished calls and turns are dropped");
        }
        self.tasks.shutdown().await;
        self.end.cancel();
        self.health_task.shutdown().await;
        // Neither a database nor a collector that hangs may block the process.
        let until = Instant::now() + CLOSING;
        // Writes the audit entries of the last calls.
        match tokio::time::timeout(CLOSING / 2, self.trail.flush()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last audit entries were not written"),
            Err(_) => tracing::warn!("the last audit entries were not written in time"),
        }
        let closing = tokio::time::timeout_at(until, self.store.close());
        let (closed, sent) = tokio::join!(closing, self.exposition.shutdown());
        if closed.is_err() {
            tracing::warn!("the connections to the database did not close in time");
        }
        if let Err(error) = sent {
            tracing::warn!(%error, "the last metrics were not sent");
        }
        tracing::info!("stopped");
    }
}

/// The callers in the settings, and the issuers whose keys must be kept up to date.
fn callers(config: &rpc::Config) -> Result<(rpc::Callers, Issuers), Error> {
    let wrong = |sentence: String| Error::Setting(format!("rpc.{sentence}"));
    let issuers = Issuers::new(&config.issuers).map_err(wrong)?;
    let callers =
        rpc::Callers::new(&config.callers, issuers.clone(), config.insecure, config.address);
    Ok((callers.map_err(Error::Setting)?, issuers))
}

fn doctor(
    settings: &Settings,
    store: &Store,
    workspaces: &Workspaces,
    metrics: &Metrics,
) -> Result<Doctor, Error> {
    let (store, workspaces, metrics) = (store.clone(), workspaces.clone(), metrics.clone());
    Doctor::new(store, workspaces, metrics, &settings.doctor, &settings.alerts)
        .map_err(|sentence| Error::Setting(format!("alerts.{sentence}")))
}

/// A SQLite file belongs to one process, so that process migrates it. A PostgreSQL database is
/// migrated by `herald migrate`, run once before the replicas.
async fn check_schema(store: &Store) -> Result<(), Error> {
    match (store.schema_status().await?, store.backend()) {
        (SchemaStatus::Current, _) => Ok(()),
        (SchemaStatus::Pending(_), Backend::Sqlite) => Ok(store.migrate().await.map(drop)?),
        (SchemaStatus::Pending(missing), Backend::Postgres) => Err(Error::Schema(missing)),
        (SchemaStatus::TooNew(_), _) => Err(Error::SchemaTooNew),
        (SchemaStatus::Newer(by), _) => {
            tracing::warn!(by, "the schema is newer than this version, as in a rolling update");
            Ok(())
        }
    }
}

/// Health must tell the truth: without the database nothing can be accepted, and a stalled loop
/// leaves its work undone.
async fn watch(
    store: Store,
    watchdog: Watchdog,
    serving: rpc::Health,
    readiness: watch::Sender<http::Readiness>,
    stop: CancellationToken,
) {
    let mut said: Vec<&'static str> = Vec::new();
    let mut beats = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(beats.tick()).await.is_some() {
        let mut missing = watchdog.overdue();
        if !store.answers(ANSWER).await {
            missing.insert(0, "database");
        }
        if missing == said || stop.is_cancelled() {
            continue;
        }
        serving.set(missing.is_empty()).await;
        if missing.is_empty() {
            tracing::info!("the database answers and every loop is running");
            readiness.send_replace(http::Readiness::ready());
        } else {
            tracing::warn!(?missing, "not serving: the database is down, or a loop has stalled");
            readiness.send_replace(http::Readiness::waiting_for(missing.clone()));
        }
        said = missing;
    }
}

async fn named<E: std::fmt::Display>(
    name: &'static str,
    task: impl Future<Output = Result<(), E>>,
) -> &'static str {
    if let Err(error) = task.await {
        tracing::error!(%error, "{name} failed");
    }
    name
}

async fn background(name: &'static str, task: impl Future<Output = ()>) -> &'static str {
    task.await;
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store;

    #[tokio::test]
    async fn health_names_a_loop_that_stands_still() {
        let dir = tempfile::tempdir().unwrap();
        let config = store::Config { data_dir: dir.path().to_owned(), ..store::Config::default() };
        let store = Store::open(&config).await.unwrap();
        let (watchdog, stop) = (Watchdog::default(), CancellationToken::new());
        let still = watchdog.watch("still", Duration::ZERO);
        let (serving, _health) = rpc::Health::new().await;
        let (readiness, mut said) = watch::channel(http::Readiness::ready());
        let watching = tokio::spawn(watch(store, watchdog, serving, readiness, stop.clone()));
        said.wait_for(|said| said.waiting_for == ["still"]).await.unwrap();
        drop(still);
        said.wait_for(|said| said.ready).await.unwrap();
        stop.cancel();
        watching.await.unwrap();
    }
}
