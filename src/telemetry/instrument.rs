//! The form of a row of the table of instruments.

/// Seconds of one call: from a cached answer to Slack's time-out.
pub(super) const CALL_SECONDS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Seconds from acceptance to Slack: from immediately to about the default expiry.
pub(super) const LATENCY_SECONDS: &[f64] =
    &[0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 86400.0];

/// A label and its possible values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// Its name at `/metrics`.
    pub name: &'static str,
    /// Its values. Empty if the code fixes the list elsewhere: the methods of the protos, the Slack
    /// methods that are called, the version of this build.
    pub values: &'static [&'static str],
}

/// The kind of an instrument.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum InstrumentKind {
    /// Only grows.
    Counter,
    /// The current value.
    Gauge,
    /// A distribution over these upper bounds.
    Histogram(&'static [f64]),
}

/// One instrument.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Instrument {
    /// Its name at `/metrics`, verbatim.
    pub name: &'static str,
    /// Its unit in UCUM: `s`, `{request}`.
    pub unit: &'static str,
    pub kind: InstrumentKind,
    pub labels: &'static [Label],
    /// One sentence for the reader of a dashboard.
    pub description: &'static str,
}
