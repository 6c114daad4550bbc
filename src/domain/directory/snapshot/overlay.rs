//! Members that have changed since the packed list was built, above that list. Immutable like the
//! list: a change makes a new overlay, which shares the unchanged members with the previous one.

use std::collections::HashMap;
use std::sync::Arc;

use super::evaluate::{Attribute, ProfileFields, Yielded, shown_name};
use super::packed::{Packed, seconds, supersedes};
use super::{Difference, MemberView, Snapshot, SnapshotCounts, digest};
use crate::domain::directory::member::{BadMember, MemberKind};
use crate::domain::ids::SlackUserId;
use crate::domain::limits::SHORT_TEXT_BYTES;
use crate::domain::mapping::key::KeyHash;
use crate::domain::mapping::{Mapping, Pass, Stop};

/// The stored data of one changed member.
pub(super) struct Changed {
    id: Box<str>,
    display_name: Box<str>,
    time_zone: Option<Box<str>>,
    locale: Option<Box<str>>,
    updated: u32,
    /// The content of its object ([`digest`]).
    digest: u64,
    kind: MemberKind,
    invited: bool,
    yielded: Yielded,
    /// Sorted, each once.
    keys: Box<[KeyHash]>,
}

/// One value of one changed member.
pub(super) struct Keyed {
    key: KeyHash,
    member: Arc<Changed>,
}

/// See the module's documentation.
pub(super) struct Overlay {
    members: HashMap<Box<str>, Arc<Changed>>,
    /// Sorted by key.
    by_key: Box<[Keyed]>,
    /// A bit for each record of the packed list that a changed member replaces.
    replaced: Box<[u64]>,
    counts: SnapshotCounts,
}

impl Snapshot {
    /// This snapshot with changed members in its overlay, and the number of them that could not be
    /// read. A member that is older than the known one changes nothing. The result is the same as
    /// building a new list with these members pushed last, except that they have their own budget.
    /// `mapping` must be the one that the snapshot was built with, and `fields` must have the
    /// custom fields of the changed members if it reads any.
    #[must_use]
    pub fn with_changes<'a>(
        &self,
        mapping: &Mapping,
        changes: impl IntoIterator<Item = &'a [u8]>,
        fields: &ProfileFields,
        stop: &Stop,
    ) -> (Self, usize) {
        let mut attribute = Attribute::of(mapping);
        let mut pass = self.pass(stop);
        let mut members = self.overlay.as_ref().map_or_else(HashMap::new, |o| o.members.clone());
        let mut bad = 0;
        for json in changes {
            let Ok(changed) = Changed::read(&mut attribute, json, fields, &mut pass) else {
                bad += 1;
                continue;
            };
            let known = members.get(&changed.id).map(|known| known.updated).or_else(|| {
                let position = self.packed.position(&changed.id)?;
                Some(self.packed.record(position).updated)
            });
            if known.is_none_or(|known| supersedes(changed.updated, known)) {
                members.insert(changed.id.clone(), Arc::new(changed));
            }
        }
        let overlay = (!members.is_empty()).then(|| Overlay::of(&self.packed, members));
        (Self { packed: Arc::clone(&self.packed), overlay }, bad)
    }

    /// How a member object differs from this snapshot. A missing language is not a difference,
    /// because events may omit it. `mapping` and `fields` as in [`Snapshot::with_changes`].
    pub fn news(
        &self,
        mapping: &Mapping,
        json: &[u8],
        fields: &ProfileFields,
        stop: &Stop,
    ) -> Result<Difference, BadMember> {
        let mut pass = self.pass(stop);
        let told = Changed::read(&mut Attribute::of(mapping), json, fields, &mut pass)?;
        let Ok(id) = SlackUserId::parse(&*told.id) else { return Err(BadMember::Id) };
        let Some(known) = self.member(&id) else { return Ok(Difference::Changed) };
        if !supersedes(told.updated, seconds(known.updated)) {
            return Ok(Difference::Older);
        }
        let same_locale = told.locale.is_none() || told.locale.as_deref() == known.locale;
        let same = same_locale && self.says_the_same(&told);
        Ok(if same { Difference::Same } else { Difference::Changed })
    }

    /// The budget for the overlay: spent if the packed list was too costly as a whole.
    fn pass(&self, stop: &Stop) -> Pass {
        if self.packed.exhausted { Pass::spent() } else { Pass::new(stop.clone()) }
    }

    /// Ignores the language. The values are compared too, because they may come from custom fields,
    /// or from keys that the digest excludes.
    fn says_the_same(&self, told: &Changed) -> bool {
        if let Some(known) = self.overlay.as_ref().and_then(|o| o.members.get(&told.id)) {
            return known.digest == told.digest
                && known.keys == told.keys
                && known.yielded == told.yielded;
        }
        self.packed.position(&told.id).is_some_and(|position| {
            let record = self.packed.record(position);
            let yielded = record.yielded();
            record.digest == told.digest
                && yielded == told.yielded
                && (yielded != Yielded::Values || self.packed.has_values(position, &told.keys))
        })
    }
}

impl Overlay {
    fn of(packed: &Packed, members: HashMap<Box<str>, Arc<Changed>>) -> Self {
        let mut by_key: Vec<Keyed> = members
            .values()
            .flat_map(|member| {
                member.keys.iter().map(|key| Keyed { key: *key, member: Arc::clone(member) })
            })
            .collect();
        by_key.sort_unstable_by_key(|keyed| keyed.key);
        let mut replaced = vec![0; packed.records.len().div_ceil(64)];
        for position in members.keys().filter_map(|id| packed.position(id)) {
            replaced[position as usize / 64] |= 1 << (position % 64);
        }
        let mut overlay = Self {
            members,
            by_key: by_key.into_boxed_slice(),
            replaced: replaced.into_boxed_slice(),
            counts: packed.counts,
        };
        overlay.counts = overlay.count(packed);
        overlay
    }

    /// The counts of the packed list and the overlay together.
    fn count(&self, packed: &Packed) -> SnapshotCounts {
        let mut counts = packed.counts;
        let replaced = (0..).zip(&packed.records).filter(|(at, _)| self.replaces(*at));
        for (_, record) in replaced {
            counts.remove(record.kind, record.is_invited(), record.yielded());
        }
        for member in self.members.values() {
            counts.add(member.kind, member.invited, member.yielded);
        }
        // Values whose holders may have changed: those of the replaced members and those of the
        // changed ones.
        let gone = packed.matchable.slots.iter().filter(|slot| self.replaces(slot.record));
        let came = self.by_key.iter().filter(|keyed| keyed.is_matchable());
        let mut keys: Vec<KeyHash> =
            gone.map(|slot| slot.hash).chain(came.map(|keyed| keyed.key)).collect();
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            let slots = packed.matchable.find(key);
            let before = slots.len();
            let after = slots.iter().filter(|slot| !self.replaces(slot.record)).count()
                + self.find(key).iter().filter(|keyed| keyed.is_matchable()).count();
            counts.duplicate_keys -= usize::from(before > 1);
            counts.duplicate_keys += usize::from(after > 1);
        }
        counts
    }

    pub(super) fn replaces(&self, record: u32) -> bool {
        let word = self.replaced.get(record as usize / 64).copied().unwrap_or(0);
        word >> (record % 64) & 1 == 1
    }

    pub(super) fn find(&self, key: KeyHash) -> &[Keyed] {
        let start = self.by_key.partition_point(|keyed| keyed.key < key);
        let length = self.by_key[start..].partition_point(|keyed| keyed.key == key);
        &self.by_key[start..start + length]
    }

    pub(super) fn member(&self, id: &str) -> Option<MemberView<'_>> {
        self.members.get(id).map(|member| member.view())
    }

    pub(super) fn members(&self) -> impl Iterator<Item = MemberView<'_>> {
        self.members.values().map(|member| member.view())
    }

    pub(super) fn counts(&self) -> SnapshotCounts {
        self.counts
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn bytes(&self) -> usize {
        let member = |member: &Arc<Changed>| {
            size_of::<Changed>() + 2 * member.id.len() + member.display_name.len()
                + member.time_zone.as_ref().map_or(0, |zone| zone.len())
                + member.locale.as_ref().map_or(0, |locale| locale.len())
                + size_of_val(&*member.keys)
                // Its entry in the map.
                + 2 * size_of::<(Box<str>, Arc<Changed>)>()
        };
        self.members.values().map(member).sum::<usize>()
            + size_of_val(&*self.by_key)
            + size_of_val(&*self.replaced)
    }
}

impl Keyed {
    pub(super) fn kind(&self) -> MemberKind {
        self.member.kind
    }

    pub(super) fn is_matchable(&self) -> bool {
        self.member.kind == MemberKind::Matchable
    }

    pub(super) fn view(&self) -> MemberView<'_> {
        self.member.view()
    }
}

impl Changed {
    fn read(
        attribute: &mut Attribute,
        json: &[u8],
        fields: &ProfileFields,
        pass: &mut Pass,
    ) -> Result<Self, BadMember> {
        let mut keys = Vec::new();
        let (member, yielded) = attribute.read(json, fields, pass, &mut keys)?;
        let short = |text: Option<&str>| {
            text.filter(|text| text.len() <= SHORT_TEXT_BYTES).map(Box::<str>::from)
        };
        Ok(Self {
            id: member.id().into(),
            display_name: shown_name(&member).into(),
            time_zone: short(member.time_zone.as_deref()),
            locale: short(member.locale.as_deref()),
            updated: seconds(member.updated),
            digest: digest::of(json),
            kind: member.kind,
            invited: member.invited,
            yielded,
            keys: keys.into_boxed_slice(),
        })
    }

    fn view(&self) -> MemberView<'_> {
        MemberView {
            id: &self.id,
            display_name: &self.display_name,
            kind: self.kind,
            time_zone: self.time_zone.as_deref(),
            locale: self.locale.as_deref(),
            updated: i64::from(self.updated),
        }
    }
}
