//! The member list of one installation under one mapping, built for lookups: small, immutable,
//! complete. Replicas keep it in memory.
//!
//! - `packed`: the result of one reading of the workspace. A million members take some 80 bytes
//!   each: one text with all ids and names, a record of 24 bytes, and 20 bytes for each value that
//!   the Slack attribute yields. Values are stored only as hashes
//!   ([`crate::domain::mapping::key`]). Records are in the order of their ids' hashes, so ids need
//!   no index of their own.
//! - `overlay`: members that have changed since. A change makes a new snapshot that shares the
//!   packed list with the previous one, so it costs as much as the changed members, not all of
//!   them.
//!
//! Members that cannot be matched are in a second index: [`MatchedMembers::excluded`] reveals the
//! kind of an excluded member that has a value, never which member it is.

mod buckets;
mod digest;
mod evaluate;
mod names;

mod packed;

mod builder;
mod overlay;

#[cfg(test)]
mod costs;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use super::member::MemberKind;
use crate::domain::ids::SlackUserId;
use crate::domain::mapping::key::MatchKey;
pub use builder::SnapshotBuilder;
pub use evaluate::ProfileFields;
use evaluate::Yielded;
use overlay::{Keyed, Overlay};
use packed::{Packed, ValueSlot};

/// Immutable; share it in an `Arc`.
pub struct Snapshot {
    packed: Arc<Packed>,
    overlay: Option<Overlay>,
}

/// The numbers of members in a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SnapshotCounts {
    /// Those that can match, and the three kinds that follow.
    pub members: usize,
    pub matchable: usize,
    /// Active people who cannot match because they have no e-mail address.
    pub no_email: usize,
    pub deactivated: usize,
    pub bots: usize,
    /// Matchable members who were invited and have never signed in.
    pub invited: usize,
    /// Matchable members with a value of the Slack attribute.
    pub with_value: usize,
    /// Values that several matchable members have: people with such a value are ambiguous.
    pub duplicate_keys: usize,
    /// Matchable members for which the expression failed.
    pub errors: usize,
    /// Matchable members for which it costs too much; all of them, if it costs too much for the
    /// whole list.
    pub too_costly: usize,
    /// Matchable members whose custom profile fields, which the expression reads, have never been
    /// fetched.
    pub without_fields: usize,
}

impl SnapshotCounts {
    fn add(&mut self, kind: MemberKind, invited: bool, yielded: Yielded) {
        self.members += 1;
        *self.of(kind) += 1;
        self.invited += usize::from(invited && kind == MemberKind::Matchable);
        if let Some(count) = self.of_yielded(kind, yielded) {
            *count += 1;
        }
    }

    fn remove(&mut self, kind: MemberKind, invited: bool, yielded: Yielded) {
        self.members -= 1;
        *self.of(kind) -= 1;
        self.invited -= usize::from(invited && kind == MemberKind::Matchable);
        if let Some(count) = self.of_yielded(kind, yielded) {
            *count -= 1;
        }
    }

    fn of_yielded(&mut self, kind: MemberKind, yielded: Yielded) -> Option<&mut usize> {
        if kind != MemberKind::Matchable {
            return None;
        }
        match yielded {
            Yielded::Nothing => None,
            Yielded::Values => Some(&mut self.with_value),
            Yielded::Failed => Some(&mut self.errors),
            Yielded::TooCostly => Some(&mut self.too_costly),
            Yielded::Waits => Some(&mut self.without_fields),
        }
    }

    fn of(&mut self, kind: MemberKind) -> &mut usize {
        match kind {
            MemberKind::Matchable => &mut self.matchable,
            MemberKind::NoEmail => &mut self.no_email,
            MemberKind::Deactivated => &mut self.deactivated,
            MemberKind::Bot => &mut self.bots,
        }
    }
}

/// One member in a snapshot. `Debug` shows only id and kind.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct MemberView<'a> {
    id: &'a str,
    /// May be empty. Cut to 320 bytes.
    pub display_name: &'a str,
    pub kind: MemberKind,
    /// IANA name.
    pub time_zone: Option<&'a str>,
    /// Such as `de-DE`.
    pub locale: Option<&'a str>,
    /// Unix seconds of the last change; 0 if Slack does not give it.
    pub updated: i64,
}

/// How a member object differs from a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// The member is new, or has different content that some expression could read, even one that
    /// is not set yet. Changes of keys that change by themselves all day do not count (`digest`
    /// lists them), unless the Slack attribute in force yields other values.
    Changed,
    /// No such difference, for example only a new status.
    Same,
    /// It is older than the snapshot's.
    Older,
}

impl<'a> MemberView<'a> {
    #[must_use]
    pub fn id(&self) -> &'a str {
        self.id
    }

    #[must_use]
    pub fn slack_user_id(&self) -> SlackUserId {
        #[expect(clippy::expect_used, reason = "the builder accepts only valid ids")]
        SlackUserId::parse(self.id).expect("a valid id")
    }

    /// Whether messages reach this member.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.kind.is_alive()
    }
}

impl fmt::Debug for MemberView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemberView")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// The members that have a value.
pub struct MatchedMembers<'a> {
    snapshot: &'a Snapshot,
    slots: &'a [ValueSlot],
    changed: &'a [Keyed],
    len: usize,
    /// If no matchable member has the value: the kind of an excluded member that has it. Of several
    /// kinds, the one that is reported first.
    pub excluded: Option<MemberKind>,
}

impl<'a> MatchedMembers<'a> {
    /// The number of matchable members that have it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The matchable members that have it, each once.
    pub fn members(&self) -> impl Iterator<Item = MemberView<'a>> + use<'a> {
        let snapshot = self.snapshot;
        let packed = self.slots.iter().filter(|slot| snapshot.is_current(slot.record));
        let packed = packed.map(|slot| snapshot.packed.view(snapshot.packed.record(slot.record)));
        packed.chain(self.changed.iter().filter(|keyed| keyed.is_matchable()).map(Keyed::view))
    }
}

impl Snapshot {
    /// The members that have the value `key`.
    #[must_use]
    pub fn find(&self, key: &MatchKey) -> MatchedMembers<'_> {
        let hash = key.hash();
        let slots = self.packed.matchable.find(hash);
        let Some(overlay) = &self.overlay else {
            let excluded = slots.is_empty().then(|| self.excluded(self.packed.excluded.find(hash)));
            let (len, excluded) = (slots.len(), excluded.flatten());
            return MatchedMembers { snapshot: self, slots, changed: &[], len, excluded };
        };
        let changed = overlay.find(hash);
        let len = slots.iter().filter(|slot| self.is_current(slot.record)).count()
            + changed.iter().filter(|keyed| keyed.is_matchable()).count();
        let excluded = if len == 0 {
            let packed = self.excluded(self.packed.excluded.find(hash));
            packed.into_iter().chain(changed.iter().map(Keyed::kind)).min()
        } else {
            None
        };
        MatchedMembers { snapshot: self, slots, changed, len, excluded }
    }

    fn excluded(&self, slots: &[ValueSlot]) -> Option<MemberKind> {
        let current = slots.iter().filter(|slot| self.is_current(slot.record));
        current.map(|slot| self.packed.record(slot.record).kind).min()
    }

    /// Whether no changed member replaces this record.
    fn is_current(&self, record: u32) -> bool {
        self.overlay.as_ref().is_none_or(|overlay| !overlay.replaces(record))
    }

    /// The member with this id, of any kind.
    #[must_use]
    pub fn member(&self, id: &SlackUserId) -> Option<MemberView<'_>> {
        let changed = self.overlay.as_ref().and_then(|overlay| overlay.member(id.as_str()));
        changed.or_else(|| {
            let position = self.packed.position(id.as_str())?;
            Some(self.packed.view(self.packed.record(position)))
        })
    }

    /// All members, of every kind, in no particular order.
    pub fn members(&self) -> impl Iterator<Item = MemberView<'_>> {
        let packed = (0..).zip(&self.packed.records).filter(|(at, _)| self.is_current(*at));
        let changed = self.overlay.iter().flat_map(Overlay::members);
        packed.map(|(_, record)| self.packed.view(record)).chain(changed)
    }

    #[must_use]
    pub fn counts(&self) -> SnapshotCounts {
        self.overlay.as_ref().map_or(self.packed.counts, Overlay::counts)
    }

    /// Whether it holds no member at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts().members == 0
    }

    /// The generation of the directory that it was built from.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.packed.generation
    }

    /// Whether all custom profile fields have been fetched, so that a missing value is also missing
    /// in Slack.
    #[must_use]
    pub fn fields_complete(&self) -> bool {
        self.counts().without_fields == 0
    }

    /// How many members have changed since the packed list was built.
    #[must_use]
    pub fn changed(&self) -> usize {
        self.overlay.as_ref().map_or(0, Overlay::len)
    }

    /// Resident bytes, without the allocator's overhead. The packed list counts in each snapshot
    /// that shares it.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.packed.bytes() + self.overlay.as_ref().map_or(0, Overlay::bytes)
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("generation", &self.generation())
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}
