//! What a question sees of a workspace's member list: one generation, whole.

use std::sync::Arc;
use std::time::Duration;

use super::load::Loaded;
use crate::domain::ids::SlackUserId;
use crate::domain::member::MemberKind;
use crate::domain::snapshot::{MemberView, Snapshot};
use crate::domain::time::Timestamp;

/// One generation of one workspace under one mapping. Without a snapshot the workspace was never
/// read, or none is connected.
#[derive(Clone, Default)]
pub struct View {
    pub snapshot: Option<Arc<Snapshot>>,
    /// When Slack was asked for this generation.
    pub read_at: Option<Timestamp>,
    /// Older than `directory.max_stale_seconds`, as of at most a poll interval ago.
    pub stale: bool,
}

impl View {
    pub(super) fn of(loaded: &Loaded) -> Self {
        Self { snapshot: loaded.snapshot.clone(), read_at: loaded.read_at, stale: false }
    }

    /// Stale where it is older than `max_stale` at that time.
    pub(super) fn aged(self, now: Option<Timestamp>, max_stale: Duration) -> Self {
        let age = now.zip(self.read_at).map(|(now, read)| now.since(read));
        Self { stale: age.is_some_and(|age| age > max_stale), ..self }
    }

    /// The list for deciding who somebody is; `None` where there is none that is young enough. For
    /// answers that decide nothing take `snapshot`.
    #[must_use]
    pub fn deciding(&self) -> Option<&Snapshot> {
        self.snapshot.as_deref().filter(|_| !self.stale)
    }

    /// A member of any kind.
    #[must_use]
    pub fn member(&self, id: &SlackUserId) -> Option<MemberView<'_>> {
        self.snapshot.as_ref()?.member(id)
    }

    /// What kind of member it is; `None` where the list does not know.
    #[must_use]
    pub fn kind(&self, id: &SlackUserId) -> Option<MemberKind> {
        self.member(id).map(|member| member.kind)
    }
}
