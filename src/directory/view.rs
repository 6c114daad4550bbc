//! What a question sees of a workspace's member list: one generation, whole.

use std::sync::Arc;

use super::load::Loaded;
use crate::domain::ids::SlackUserId;
use crate::domain::snapshot::{MemberView, Snapshot};
use crate::domain::time::Timestamp;

/// One generation of one workspace under one mapping. Without a snapshot the workspace was never
/// read, or none is connected.
#[derive(Clone, Default)]
pub struct View {
    pub snapshot: Option<Arc<Snapshot>>,
    /// When Slack was asked for this generation.
    pub read_at: Option<Timestamp>,
}

impl View {
    pub(super) fn of(loaded: &Loaded) -> Self {
        Self { snapshot: loaded.snapshot.clone(), read_at: loaded.read_at }
    }

    /// A member of any kind.
    #[must_use]
    pub fn member(&self, id: &SlackUserId) -> Option<MemberView<'_>> {
        self.snapshot.as_ref()?.member(id)
    }

    /// Whether the member's account is in use; `None` where the list does not know.
    #[must_use]
    pub fn alive(&self, id: &SlackUserId) -> Option<bool> {
        self.member(id).map(|member| member.kind().is_alive())
    }
}
