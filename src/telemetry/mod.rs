//! Logs, metrics and traces: set up once, used everywhere, and independent of the code that
//! reports.
//!
//! `instruments` is the table of all metrics, and `instrument` the form of its rows; `exposition`
//! prints it for `/metrics`; `logs` writes tracing events as text or JSON; `traces` sends spans and
//! carries their context; `watchdog` notices loops that have stopped.

mod instrument;
mod instruments;
mod traces;
mod watchdog;

mod logs;
mod metrics;

mod exposition;

pub use exposition::Exposition;
pub use instrument::{Instrument, InstrumentKind, Label};
pub use instruments::INSTRUMENTS;
pub use logs::{Config, Format, Tracing, init};
pub use metrics::{Metrics, Outbox};
pub use traces::{Config as OtlpConfig, context, continue_from};
pub use watchdog::{Rounds, Watchdog};

/// Telemetry cannot be set up or printed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The setting must be changed; the sentence begins with its name.
    #[error("filter {0:?} is not a log filter such as \"info,herald=debug\"")]
    Filter(String),
    /// `init` has already run in this process.
    #[error("logs are set up already")]
    AlreadySet,
    /// The metrics pipeline refused; the error can only be reported.
    #[error("metrics: {0}")]
    Metrics(String),
    /// The collector's address cannot be used: change `otlp.endpoint`.
    #[error("otlp.endpoint: {0}")]
    Otlp(String),
}
