//! Connections: accepting them, limiting them, and ending idle ones. gRPC, health and HTTP each
//! have their own port with its own limit, so that load on one cannot exhaust another.
//!
//! Reading order: `serve` (the loop), `places` (how many, and from where), `life` (when one ends),
//! `io` (observing its bytes), `unused` (how fast useless bytes are read), `accept` (when no more
//! files can be opened), `rates`, `pool`, `tls`.

mod accept;
mod config;
mod life;
mod places;
mod pool;
mod rates;
mod tls;
mod unused;

mod io;

mod serve;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

pub use config::Config;
pub use hyper::body::Incoming;
pub use places::network;
pub use pool::{Held, ResourcePool};
pub use rates::Rates;
pub use serve::{Port, holding, serve};
pub use tls::{Files, PeerNames, Tls};
pub use unused::UnusedBytes;

/// The protocol of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/2 from the first byte.
    Grpc,
    /// HTTP/1.1, or HTTP/2 if the client begins with it.
    Http,
}

/// The source of a request: an extension of every request.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The other end of the connection: the caller, or the last proxy before this server.
    pub address: SocketAddr,
    /// The names in its verified certificate; none if it showed none.
    pub names: Option<Arc<PeerNames>>,
}

/// Cancelled a while before this connection ends, so that streams can end first. An extension of
/// every request.
#[derive(Debug, Clone)]
pub struct Ending(pub CancellationToken);

/// The time limits of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) handshake: Duration,
    pub(crate) idle: Duration,
    pub(crate) age: Option<Duration>,
    pub(crate) grace: Duration,
}

/// Raises the number of files that this process may open (a connection is one) as far as the
/// process is allowed to. Returns the new limit.
pub fn raise_file_limit() -> std::io::Result<u64> {
    rlimit::increase_nofile_limit(rlimit::INFINITY)
}
