//! Logs and metrics: set up once, used everywhere, knowing nothing of what they report on.
//!
//! `instruments` is the one table of what is measured; `exposition` prints it for `/metrics`;
//! `logs` writes tracing events as text or JSON.

mod exposition;
mod instruments;
mod logs;
mod metrics;

pub use exposition::Exposition;
pub use instruments::{INSTRUMENTS, Instrument, Kind, Label};
pub use logs::{Config, Format, init};
pub use metrics::Metrics;

/// Telemetry cannot be set up or printed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The setting must be changed; the sentence begins with its name.
    #[error("filter {0:?} is not a log filter such as \"info,herald=debug\"")]
    Filter(String),
    /// `init` ran before in this process.
    #[error("logs are set up already")]
    AlreadySet,
    /// The metrics pipeline refused; nothing to do but report.
    #[error("metrics: {0}")]
    Metrics(String),
}
