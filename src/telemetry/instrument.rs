//! The parts of an instrument.

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
