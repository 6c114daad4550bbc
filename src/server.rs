//! build -> start -> ready -> drain: the one file that knows every part.
//!
//! Start: bind every address (so that a wrong one is told at once), open the store, check the
//! schema, start delivery and the refresher, and only then say SERVING.
//!
//! Drain (invariant I11): NOT_SERVING first, a pause in which load balancers notice, then no new
//! calls; calls and turns under way finish; whatever is left at the end of the grace is dropped,
//! which loses nothing: accepted work is in the store, and leases run out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::{self, App};
use crate::config::Settings;
use crate::delivery::Delivery;
use crate::directory::Directory;
use crate::store::{self, Backend, SchemaStatus, Store};
use crate::telemetry::Exposition;
use crate::workspace::Workspaces;
use crate::{http, rpc, slack, telemetry};

/// Why the server did not start or stopped by itself. Each says what to change.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {setting} {address}: {source}")]
    Listen { setting: &'static str, address: SocketAddr, source: std::io::Error },
    #[error("{0}")]
    Setting(String),
    #[error("the store: {0}")]
    Store(#[from] store::Error),
    #[error("slack.{0}")]
    Slack(#[from] slack::ConfigError),
    #[error("telemetry: {0}")]
    Telemetry(#[from] telemetry::Error),
    #[error("the database has an older schema ({0} migrations are missing): run `herald migrate`")]
    Schema(usize),
    #[error("{0} ended unexpectedly")]
    Ended(&'static str),
}

/// A server that is ready.
pub struct Server {
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
    /// Health goes on to answer until the very end.
    end: CancellationToken,
    tasks: JoinSet<&'static str>,
    health_task: JoinSet<&'static str>,
    /// OAuth exchanges under way.
    exchanges: TaskTracker,
    store: Store,
    exposition: Exposition,
    lame_duck: Duration,
    grace: Duration,
}

struct Listeners {
    rpc: TcpListener,
    health: TcpListener,
    http: TcpListener,
}

/// How long the connections to the database may take to close.
const CLOSING: Duration = Duration::from_secs(2);
/// How often the database is asked whether it is there.
const HEARTBEAT: Duration = Duration::from_secs(2);

impl Server {
    /// Starts everything and returns once it is SERVING.
    pub async fn start(settings: Settings) -> Result<Self, Error> {
        let callers =
            rpc::Callers::new(&settings.rpc.callers, settings.rpc.insecure, settings.rpc.address)
                .map_err(Error::Setting)?;
        let listeners = listen(&settings).await?;
        let (rpc_address, health_address, http_address) = listeners.addresses();
        let (serving, health) = rpc::Health::new().await;
        let (end, mut health_task) = (CancellationToken::new(), JoinSet::new());
        let probe = rpc::serve_health(listeners.health, health.clone(), end.clone());
        health_task.spawn(named("the health port", probe));

        let store = Store::open(&settings.store).await?;
        check_schema(&store).await?;
        let exposition = Exposition::new(&settings.otlp)?;
        let metrics = exposition.metrics();
        let client = slack::Client::new(&settings.slack, metrics.clone())?;
        let workspaces = Workspaces::new(store.clone(), client, settings.app);
        let directory =
            Directory::new(store.clone(), workspaces.clone(), metrics.clone(), settings.directory);
        let http_config = http::Config { address: http_address, ..settings.http };
        let config = app::Config {
            redirect_url: http_config.redirect_url(),
            connect_link_lifetime: Duration::from_secs(60 * settings.process.connect_link_minutes),
            max_waiting: settings.delivery.max_waiting,
        };
        let app =
            App::new(store.clone(), workspaces.clone(), directory.clone(), metrics.clone(), config);
        let delivery = Delivery::new(
            store.clone(),
            workspaces,
            directory.clone(),
            metrics.clone(),
            &settings.delivery,
        );

        let (close, stop) = (CancellationToken::new(), CancellationToken::new());
        let (readiness, ready) = watch::channel(http::Readiness::waiting_for(["start"]));
        let exchanges = TaskTracker::new();
        let state = http::State {
            app: app.clone(),
            readiness: ready,
            exposition: exposition.clone(),
            tasks: exchanges.clone(),
        };
        let server = rpc::Server::new(app, Arc::new(callers), metrics, &settings.rpc);
        let limit = settings.rpc.max_request_bytes;
        let grpc = rpc::serve(listeners.rpc, server, health, limit, close.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(named("gRPC", grpc));
        tasks.spawn(named("HTTP", http::serve(listeners.http, http::router(state), close.clone())));
        tasks.spawn(background("delivery", delivery.run(stop.clone())));
        let follower = directory.clone().run_follower(stop.clone());
        tasks.spawn(background("the directory's follower", follower));
        let inbox = directory.clone().run_inbox(stop.clone());
        tasks.spawn(background("the inbox of events", inbox));
        tasks.spawn(background("the refresher", directory.clone().run_refresher(stop.clone())));
        tasks.spawn(background("the custom fields", directory.run_fields(stop.clone())));
        let watching = watch_store(store.clone(), serving.clone(), readiness.clone(), stop.clone());
        tasks.spawn(background("the health watch", watching));

        serving.set(true).await;
        readiness.send_replace(http::Readiness::ready());
        tracing::info!(
            rpc = %rpc_address, health = %health_address, http = %http_address, "serving"
        );
        let parts = Parts {
            serving,
            readiness,
            close,
            stop,
            end,
            tasks,
            health_task,
            exchanges,
            store,
            exposition,
            lame_duck: Duration::from_secs(settings.process.lame_duck_seconds),
            grace: Duration::from_secs(settings.process.grace_seconds),
        };
        Ok(Self { rpc: rpc_address, health: health_address, http: http_address, parts })
    }

    /// Serves until `stop`, then drains. A part that ends by itself stops the whole.
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

impl Parts {
    async fn drain(mut self) {
        let until = tokio::time::Instant::now() + self.grace;
        tracing::info!(grace = ?self.grace, "stopping");
        // The watch must not say SERVING again.
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
            tracing::warn!("the grace is over: what is still under way is dropped; it is stored");
        }
        self.tasks.shutdown().await;
        self.end.cancel();
        self.health_task.shutdown().await;
        // Neither a database nor a collector that hangs must hold the process.
        let closing = tokio::time::timeout(CLOSING, self.store.close());
        let (closed, sent) = tokio::join!(closing, self.exposition.shutdown());
        if closed.is_err() {
            tracing::warn!("the database did not let go of its connections in time");
        }
        if let Err(error) = sent {
            tracing::warn!(%error, "the last metrics were not sent");
        }
        tracing::info!("stopped");
    }
}

impl Listeners {
    fn addresses(&self) -> (SocketAddr, SocketAddr, SocketAddr) {
        let address = |listener: &TcpListener| {
            listener.local_addr().unwrap_or_else(|_| SocketAddr::from(([127, 0, 0, 1], 0)))
        };
        (address(&self.rpc), address(&self.health), address(&self.http))
    }
}

async fn listen(settings: &Settings) -> Result<Listeners, Error> {
    let bind = async |setting: &'static str, address: SocketAddr| {
        TcpListener::bind(address).await.map_err(|source| Error::Listen {
            setting,
            address,
            source,
        })
    };
    Ok(Listeners {
        rpc: bind("rpc.address", settings.rpc.address).await?,
        health: bind("rpc.health_address", settings.rpc.health_address).await?,
        http: bind("http.address", settings.http.address).await?,
    })
}

/// SQLite belongs to one process, so that process brings it up to date; on PostgreSQL that is
/// `herald migrate`, run once before the replicas.
async fn check_schema(store: &Store) -> Result<(), Error> {
    match (store.schema_status().await?, store.backend()) {
        (SchemaStatus::Current, _) => Ok(()),
        (SchemaStatus::Pending(_), Backend::Sqlite) => Ok(store.migrate().await.map(drop)?),
        (SchemaStatus::Pending(missing), Backend::Postgres) => Err(Error::Schema(missing)),
        (SchemaStatus::Newer(by), _) => {
            tracing::warn!(by, "the database is newer than this binary; a rolling update?");
            Ok(())
        }
    }
}

/// Health tells the truth: without the database nothing can be accepted.
async fn watch_store(
    store: Store,
    serving: rpc::Health,
    readiness: watch::Sender<http::Readiness>,
    stop: CancellationToken,
) {
    let mut was_up = true;
    while stop.run_until_cancelled(tokio::time::sleep(HEARTBEAT)).await.is_some() {
        // Busy is not away: calls are shed, and others answered.
        let up = matches!(store.now().await, Ok(_) | Err(store::Error::Busy));
        if up == was_up || stop.is_cancelled() {
            continue;
        }
        was_up = up;
        serving.set(up).await;
        let said =
            if up { http::Readiness::ready() } else { http::Readiness::waiting_for(["database"]) };
        readiness.send_replace(said);
        if up {
            tracing::info!("the database is back");
        } else {
            tracing::warn!("the database is away");
        }
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
