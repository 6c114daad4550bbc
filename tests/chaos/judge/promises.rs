//! The three promises about time, as they are written. The findings have tolerances (the p99 of
//! calls before the faults, the time between two probes); these figures have none.

use super::{Figures, bystanders, health, seconds};

/// One promise, and the time that was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Promise {
    name: &'static str,
    bound: i64,
    /// `None` if the run judged nothing of it.
    measured: Option<i64>,
}

/// The promises, in the order in which they are printed.
pub(crate) fn promises(figures: &Figures) -> [Promise; 3] {
    let p99 = |times: &bystanders::Times| (times.count > 0).then_some(times.p99);
    [
        Promise {
            name: "p99 of unaffected calls",
            bound: bystanders::ACCEPTED,
            measured: p99(&figures.witness_calls),
        },
        Promise {
            name: "of their messages",
            bound: bystanders::ON_ITS_WAY,
            measured: p99(&figures.witness_messages),
        },
        Promise { name: "health untrue", bound: health::TRUE, measured: figures.untrue_for },
    ]
}

impl Promise {
    /// Whether it holds as it is written; `None` if nothing was judged.
    pub(crate) fn holds(&self) -> Option<bool> {
        self.measured.map(|measured| measured <= self.bound)
    }
}

impl std::fmt::Display for Promise {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, bound, measured } = self;
        let bound = bound / 1_000_000;
        let measured = measured.map(seconds).unwrap_or_default();
        match self.holds() {
            Some(true) => write!(f, "{name} {measured} (at most {bound} s: holds)"),
            Some(false) => write!(f, "{name} {measured} (at most {bound} s: DOES NOT HOLD)"),
            None => write!(f, "{name} (at most {bound} s): not judged"),
        }
    }
}
