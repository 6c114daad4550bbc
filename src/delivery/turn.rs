//! The state of a turn.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use super::slots::Slot;
use crate::domain::delivery::Outcome;
use crate::domain::delivery::trace::{Trace, TraceDecision};
use crate::store::{Head, LaneClaim};

/// Whether a request was begun, which uses up the start that the claim took from the budget.
pub(super) enum StartUsed {
    Yes,
    No,
}

/// A head and when it was read, from which the database's time later in the turn is computed.
pub(super) struct Turn<'a> {
    pub(super) claim: &'a LaneClaim,
    pub(super) slot: &'a Slot,
    pub(super) head: Head,
    pub(super) read: Instant,
    /// The reasons of the decisions so far.
    pub(super) why: Mutex<Trace>,
}

impl Turn<'_> {
    /// The database's time, computed from the time passed since the head was read.
    pub(super) fn now(&self) -> crate::domain::time::Timestamp {
        self.head.now.plus(self.read.elapsed())
    }

    pub(super) fn note(&self, decision: TraceDecision) {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).decided(decision);
    }

    /// Keeps Slack's explanation, encrypted with the trace: it may quote the message.
    pub(super) fn explained(&self, outcome: &Outcome) {
        if let Outcome::Rejected { detail: Some(detail), .. } = outcome {
            let mut why = self.why.lock().unwrap_or_else(PoisonError::into_inner);
            why.detail = Some(detail.clone());
        }
    }

    pub(super) fn trace(&self) -> Trace {
        self.why.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
