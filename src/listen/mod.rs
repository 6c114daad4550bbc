//! Connections: accepting them, bounding them, and ending those that do nothing. gRPC, health and
//! HTTP each have a port of their own here, with room of its own, so that none can be kept busy
//! through another.
//!
//! Reading order: `serve` (the loop), `places` (how many, and from where), `life` (when one ends),
//! `io` (what is watched of its bytes), `accept` (what a full table of files does), `rates`, `tls`.

mod accept;
mod config;
mod io;
mod life;
mod places;
mod rates;
mod serve;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

pub use config::Config;
pub use hyper::body::Incoming;
pub use places::network;
pub use rates::Rates;
pub use serve::{Port, serve};
pub use tls::{Files, PeerNames, Tls};

/// What a port speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/2 from the first byte on.
    Grpc,
    /// HTTP/1.1, or HTTP/2 where the client begins with it.
    Http,
}

/// Where a request came from: an extension of every request.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The other end of the connection: the caller, or the last proxy before this server.
    pub address: SocketAddr,
    /// Who it is by its verified certificate; none where it showed none.
    pub names: Option<Arc<PeerNames>>,
}

/// Cancelled when this connection is about to end, a while before it does: streams end by it. An
/// extension of every request.
#[derive(Debug, Clone)]
pub struct Ending(pub CancellationToken);

/// The times of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) handshake: Duration,
    pub(crate) idle: Duration,
    pub(crate) age: Option<Duration>,
    pub(crate) grace: Duration,
}

/// Raises the number of files that this process may open (a connection is one) as far as it may
/// itself. Returns what it is now.
pub fn raise_file_limit() -> std::io::Result<u64> {
    rlimit::increase_nofile_limit(rlimit::INFINITY)
}
