//! A workspace's member list as one question sees it: a single generation, whole.

use std::sync::Arc;
use std::time::Duration;

use super::load::Loaded;
use crate::domain::directory::member::MemberKind;
use crate::domain::directory::snapshot::{MemberView, Snapshot};
use crate::domain::identity::matching::{self, Match, MemberDecision};
use crate::domain::ids::SlackUserId;
use crate::domain::mapping::{Mapping, Values};
use crate::domain::message::render::mentions::Mentions;
use crate::domain::settings::Identity;
use crate::domain::time::Timestamp;
use crate::store::DirectoryState;

/// One generation of one workspace under one mapping. It has no snapshot if the workspace was never
/// read, or if none is connected.
#[derive(Clone, Default)]
pub struct View {
    pub snapshot: Option<Arc<Snapshot>>,
    /// When Slack was asked for this generation.
    pub read_at: Option<Timestamp>,
    /// When it was last known to be complete: read, or kept up to date by an event.
    pub current_at: Option<Timestamp>,
    /// Older than `directory.max_stale_seconds`, as of at most a poll interval ago.
    pub stale: bool,
}

impl View {
    pub(super) fn of(loaded: &Loaded) -> Self {
        let (read_at, snapshot) = (loaded.read_at, loaded.snapshot.clone());
        Self { snapshot, read_at, current_at: read_at, stale: false }
    }

    /// Adds the store's state: when events were last received, and whether the list is stale, that
    /// is, last known to be complete longer than `max_stale` ago.
    pub(super) fn aged(self, state: Option<&DirectoryState>, max_stale: Duration) -> Self {
        let heard = state.and_then(|state| state.event_heard_at);
        let current_at = self.current_at.max(heard);
        let age = state.zip(current_at).map(|(state, at)| state.as_of.since(at));
        Self { current_at, stale: age.is_some_and(|age| age > max_stale), ..self }
    }

    /// The list for identifying people; `None` if there is none that is young enough. For answers
    /// that decide nothing use `snapshot`.
    #[must_use]
    pub fn deciding(&self) -> Option<&Snapshot> {
        self.snapshot.as_deref().filter(|_| !self.stale)
    }

    /// A person's member by the list that decides, and the result of the rules. `stored` is the
    /// identity in this workspace, `values` are the values of the mapping's user attribute for the
    /// person.
    #[must_use]
    pub fn decide(
        &self,
        mapping: &Mapping,
        stored: Option<&Identity>,
        values: &Values,
    ) -> (MemberDecision, Match) {
        self.decide_by(self.deciding(), mapping, stored, values)
    }

    /// The same, by the list of any age: for answers about one person that a caller asked for.
    #[must_use]
    pub fn decide_at_any_age(
        &self,
        mapping: &Mapping,
        stored: Option<&Identity>,
        values: &Values,
    ) -> (MemberDecision, Match) {
        self.decide_by(self.snapshot.as_deref(), mapping, stored, values)
    }

    fn decide_by(
        &self,
        snapshot: Option<&Snapshot>,
        mapping: &Mapping,
        stored: Option<&Identity>,
        values: &Values,
    ) -> (MemberDecision, Match) {
        let matched = matching::resolve(snapshot, mapping, values);
        let kind = stored.and_then(|identity| self.kind(&identity.slack_user_id));
        (matching::decide(stored, &matched, kind), matched)
    }

    /// The number of the reading; 0 if there was none.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.snapshot.as_ref().map_or(0, |snapshot| snapshot.generation())
    }

    /// A member of any kind.
    #[must_use]
    pub fn member(&self, id: &SlackUserId) -> Option<MemberView<'_>> {
        self.snapshot.as_ref()?.member(id)
    }

    /// The people that a message mentions, as this list knows them: a member whose account is
    /// deactivated is named, because a mention would notify no person.
    #[must_use]
    pub fn mentionable(&self, people: Mentions) -> Mentions {
        people.only_members(|member| self.kind(member) != Some(MemberKind::Deactivated))
    }

    /// The kind of the member; `None` if the list does not contain it.
    #[must_use]
    pub fn kind(&self, id: &SlackUserId) -> Option<MemberKind> {
        self.member(id).map(|member| member.kind)
    }
}
