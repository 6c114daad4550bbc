//! Rows that this release cannot read: a newer release wrote them during an upgrade, or they are
//! damaged. A query skips such a row and reads the others; the rows are counted here.

use std::collections::HashSet;
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::store::Store;
use crate::telemetry::Metrics;

/// The kind of the unreadable row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::store) enum UnreadableRow {
    /// A lane with an unknown class of urgency or budget.
    Lane,
    /// The first delivery of a lane.
    Head,
    /// A delivery that waits for its member, its time or its person.
    Waiting,
    /// A change in the feed.
    Change,
    /// A waiting delivery about the subject of a call that overtakes.
    Subject,
    /// A delivery to be replayed.
    DeadLetter,
    ApiKey,
    /// An entry of the audit trail.
    Audit,
    /// The definition of an event type.
    EventType,
    Template,
    /// A channel that Herald keeps.
    Channel,
    /// A member wished for in one.
    ChannelMember,
}

impl UnreadableRow {
    fn code(self) -> &'static str {
        match self {
            Self::Lane => "lane",
            Self::Head => "head",
            Self::Waiting => "waiting",
            Self::Change => "change",
            Self::Subject => "subject",
            Self::DeadLetter => "dead_letter",
            Self::ApiKey => "api_key",
            Self::Audit => "audit",
            Self::EventType => "event_type",
            Self::Template => "template",
            Self::Channel => "channel",
            Self::ChannelMember => "channel_member",
        }
    }
}

/// Where unreadable rows are counted.
#[derive(Default)]
pub(in crate::store) struct UnreadableRows {
    metrics: OnceLock<Metrics>,
    /// The kinds that were logged.
    logged: Mutex<HashSet<UnreadableRow>>,
}

impl UnreadableRows {
    /// `None` before the first call of [`Store::observe`].
    pub(in crate::store) fn metrics(&self) -> Option<&Metrics> {
        self.metrics.get()
    }
}

impl Store {
    /// Counts here from now on; the first call decides.
    pub fn observe(&self, metrics: Metrics) {
        self.inner.unreadable.metrics.set(metrics).ok();
    }

    /// Counts rows that are skipped, and logs that once for each kind.
    pub(in crate::store) fn pass_over(&self, row: UnreadableRow, count: u64) {
        let unreadable = &self.inner.unreadable;
        if count == 0 {
            return;
        }
        if let Some(metrics) = unreadable.metrics() {
            metrics.unreadable_rows(row.code(), count);
        }
        if unreadable.logged.lock().unwrap_or_else(PoisonError::into_inner).insert(row) {
            tracing::error!(
                kind = row.code(),
                "rows cannot be read and are skipped: a newer release wrote them, or they are \
                 damaged; logged once for each kind"
            );
        }
    }
}
