//! Why the server did not start, or stopped by itself.

use std::net::SocketAddr;

use crate::{slack, store, telemetry};

/// Why the server did not start, or stopped by itself. Each sentence says how to fix it.
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
    #[error("this version does not work with the schema of the database: run a newer version")]
    SchemaTooNew,
    #[error("{0} ended unexpectedly")]
    Ended(&'static str),
}
