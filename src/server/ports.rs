//! The ports of the server: their listeners, TLS, and how many connections they take.

use std::net::SocketAddr;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::error::Error;
use crate::config::Settings;
use crate::listen::{self, Files, Port, Protocol, Tls};
use crate::telemetry::Metrics;

/// The bound addresses.
pub(super) struct Listeners {
    pub(super) rpc: TcpListener,
    pub(super) health: TcpListener,
    pub(super) http: TcpListener,
}

impl Listeners {
    pub(super) async fn bind(settings: &Settings) -> Result<Self, Error> {
        let bind = async |setting: &'static str, address: SocketAddr| {
            TcpListener::bind(address).await.map_err(|source| Error::Listen {
                setting,
                address,
                source,
            })
        };
        Ok(Self {
            rpc: bind("rpc.address", settings.rpc.address).await?,
            health: bind("rpc.health_address", settings.rpc.health_address).await?,
            http: bind("http.address", settings.http.address).await?,
        })
    }

    /// The addresses of gRPC, health and HTTP.
    pub(super) fn addresses(&self) -> (SocketAddr, SocketAddr, SocketAddr) {
        let address = |listener: &TcpListener| {
            listener.local_addr().unwrap_or_else(|_| SocketAddr::from(([127, 0, 0, 1], 0)))
        };
        (address(&self.rpc), address(&self.health), address(&self.http))
    }
}

/// TLS of the two ports for callers.
pub(super) struct Secured {
    rpc: Option<Tls>,
    http: Option<Tls>,
}

impl Secured {
    pub(super) fn load(settings: &Settings) -> Result<Self, Error> {
        let load = |section: &str, files: Result<Option<Files>, String>, protocol| {
            let files =
                files.and_then(|files| files.map(|files| Tls::load(files, protocol)).transpose());
            files.map_err(|sentence| Error::Setting(format!("{section} TLS: {sentence}")))
        };
        Ok(Self {
            rpc: load("rpc", settings.rpc.tls(), Protocol::Grpc)?,
            http: load("http", settings.http.tls(), Protocol::Http)?,
        })
    }

    /// The ports with TLS, whose certificates are reloaded in tasks.
    pub(super) fn on(
        self,
        ports: Ports,
        stop: &CancellationToken,
        tasks: &mut JoinSet<&'static str>,
    ) -> (Port, Port) {
        for tls in [&self.rpc, &self.http].into_iter().flatten() {
            let following = tls.clone().follow(stop.clone());
            tasks.spawn(async move {
                following.await;
                "the watch over certificates"
            });
        }
        (ports.rpc.with_tls(self.rpc), ports.http.with_tls(self.http))
    }
}

/// The two ports for callers.
pub(super) struct Ports {
    pub(super) rpc: Port,
    pub(super) http: Port,
}

/// Files that are open for other purposes: the database, Slack, the log, health.
const OTHER_FILES: u64 = 200;

impl Ports {
    /// Allows as many connections as the settings say, or fewer if the process may not open so many
    /// files.
    pub(super) fn new(
        rpc: TcpListener,
        http: TcpListener,
        metrics: &Metrics,
        config: &listen::Config,
    ) -> Self {
        let wanted = config.max_connections;
        let most = match listen::raise_file_limit() {
            Ok(files) => {
                let room = usize::try_from(files.saturating_sub(OTHER_FILES) / 2).unwrap_or(wanted);
                if room < wanted {
                    tracing::warn!(
                        files,
                        connections = room.max(1),
                        "the limit of open files is too low for listen.max_connections"
                    );
                }
                wanted.min(room.max(1))
            }
            Err(error) => {
                tracing::warn!(%error, "the limit of open files could not be read");
                wanted
            }
        };
        let port = |name, listener, protocol| {
            Port::new(name, listener, protocol, metrics.clone(), config, most)
        };
        Self { rpc: port("gRPC", rpc, Protocol::Grpc), http: port("HTTP", http, Protocol::Http) }
    }
}
