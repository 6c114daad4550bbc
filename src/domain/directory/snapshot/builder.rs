//! Builds a snapshot from member objects, one at a time.

use std::sync::Arc;

use serde_json::Value;

use super::buckets::Buckets;
use super::evaluate::{Attribute, ProfileFields, Yielded, shown_name};
use super::names::Names;
use super::packed::{
    INVITED, Index, Packed, Record, ValueSlot, id_hash, seconds, supersedes, values,
};
use super::{Snapshot, SnapshotCounts, digest};
use crate::domain::directory::member::{BadMember, MemberKind};
use crate::domain::mapping::key::KeyHash;
use crate::domain::mapping::{Mapping, Pass, Stop};

/// Takes members in any order. Of several with the same id the newest one counts (`updated`), and
/// of equally new ones the last, so a directory's changes are pushed after its pages.
pub struct SnapshotBuilder {
    attribute: Attribute,
    /// Empty if the expression reads none.
    fields: Arc<ProfileFields>,
    generation: u64,
    texts: String,
    pushed: Vec<Record>,
    slots: Vec<ValueSlot>,
    zones: Names,
    locales: Names,
    /// The values of the current member.
    keys: Vec<KeyHash>,
    /// The budget of all members together.
    pass: Pass,
}

impl SnapshotBuilder {
    /// `generation` is that of the directory.
    #[must_use]
    pub fn new(mapping: &Mapping, generation: u64) -> Self {
        Self {
            attribute: Attribute::of(mapping),
            fields: Arc::default(),
            generation,
            texts: String::new(),
            pushed: Vec::new(),
            slots: Vec::new(),
            zones: Names::default(),
            locales: Names::default(),
            keys: Vec::new(),
            pass: Pass::default(),
        }
    }

    /// Ends evaluation early once `stop` is set; the result is then useless.
    pub fn set_stop(&mut self, stop: Stop) {
        self.pass = Pass::new(stop);
    }

    /// Custom profile fields for the members pushed from now on. Has no effect if the expression
    /// reads none.
    pub fn set_fields(&mut self, fields: Arc<ProfileFields>) {
        if self.attribute.reads_fields() {
            self.fields = fields;
        }
    }

    /// Takes a member from its parsed object.
    pub fn push_value(&mut self, value: &Value) -> Result<(), BadMember> {
        self.push_json(&serde_json::to_vec(value).map_err(|_| BadMember::Json)?)
    }

    /// Takes a member from the raw bytes of its object. An invalid member leaves the builder
    /// unchanged.
    pub fn push_json(&mut self, json: &[u8]) -> Result<(), BadMember> {
        let (member, yielded) =
            self.attribute.read(json, &self.fields, &mut self.pass, &mut self.keys)?;
        let (id, name) = (member.id(), shown_name(&member));
        let position = u32::try_from(self.pushed.len()).map_err(|_| BadMember::Full)?;
        let start = u32::try_from(self.texts.len()).map_err(|_| BadMember::Full)?;
        u32::try_from(self.slots.len() + self.keys.len()).map_err(|_| BadMember::Full)?;
        u32::try_from(self.texts.len() + id.len() + name.len()).map_err(|_| BadMember::Full)?;
        let record = Record {
            digest: digest::of(json),
            start,
            updated: seconds(member.updated),
            name_bytes: u16::try_from(name.len()).map_err(|_| BadMember::Full)?,
            zone: self.zones.number(member.time_zone.as_deref()),
            // No workspace has 256 languages; members with a later one have none.
            locale: u8::try_from(self.locales.number(member.locale.as_deref())).unwrap_or(0),
            id_bytes: u8::try_from(id.len()).map_err(|_| BadMember::Id)?
                | if member.invited { INVITED } else { 0 },
            values: values(self.keys.len(), yielded),
            kind: member.kind,
        };
        self.texts.push_str(id);
        self.texts.push_str(name);
        self.pushed.push(record);
        self.slots.extend(self.keys.iter().map(|hash| ValueSlot { hash: *hash, record: position }));
        Ok(())
    }

    /// Takes the members of `later`, as if they were pushed now: parts of a list can be read in
    /// parallel. If the result would be too long, the builder stays unchanged, and the error is the
    /// number of members left out.
    pub fn append(&mut self, later: Self) -> Result<(), usize> {
        let all = [
            self.pushed.len() + later.pushed.len(),
            self.texts.len() + later.texts.len(),
            self.slots.len() + later.slots.len(),
        ];
        let fits = all.into_iter().all(|all| u32::try_from(all).is_ok());
        let starts = (u32::try_from(self.pushed.len()), u32::try_from(self.texts.len()));
        let (true, (Ok(members), Ok(start))) = (fits, starts) else {
            return Err(later.pushed.len());
        };
        self.pass.join(&later.pass);
        let zones = self.zones.take(later.zones);
        let locales = self.locales.take(later.locales);
        self.texts.push_str(&later.texts);
        self.pushed.extend(later.pushed.into_iter().map(|record| Record {
            start: start + record.start,
            zone: zones[usize::from(record.zone)],
            locale: u8::try_from(locales[usize::from(record.locale)]).unwrap_or(0),
            ..record
        }));
        let slots = later.slots.into_iter();
        self.slots.extend(slots.map(|slot| ValueSlot { record: members + slot.record, ..slot }));
        Ok(())
    }

    /// Builds the index. If the members together were too costly, none has a value: with the values
    /// of only some, a person could be matched to another person's member.
    #[must_use]
    pub fn finish(mut self) -> Snapshot {
        let exhausted = self.pass.is_exhausted();
        if exhausted {
            self.slots.clear();
        }
        let order = self.order();
        let mut counts = SnapshotCounts::default();
        let mut texts = String::with_capacity(self.text_bytes(&order));
        let mut records = Vec::with_capacity(order.len());
        // The new place of each pushed member; `None` for those that were replaced.
        let mut moved: Vec<Option<u32>> = vec![None; self.pushed.len()];
        for (position, (_, pushed)) in (0..).zip(&order) {
            let record = &self.pushed[*pushed as usize];
            let (id, name) = record.texts(&self.texts);
            // No longer than the pushed texts, whose length fits in 32 bits.
            let start = u32::try_from(texts.len()).unwrap_or(u32::MAX);
            texts.push_str(id);
            texts.push_str(name);
            let mut record = Record { start, ..*record };
            if exhausted {
                record.values = values(0, Yielded::TooCostly);
            }
            records.push(record);
            moved[*pushed as usize] = Some(position);
            counts.add(record.kind, record.is_invited(), record.yielded());
        }
        let slots = self.slots.into_iter().filter_map(|slot| {
            moved[slot.record as usize].map(|record| ValueSlot { record, ..slot })
        });
        let (matchable, excluded): (Vec<_>, Vec<_>) =
            slots.partition(|slot| records[slot.record as usize].kind == MemberKind::Matchable);
        let matchable = Index::of(matchable);
        counts.duplicate_keys =
            matchable.slots.chunk_by(|a, b| a.hash == b.hash).filter(|same| same.len() > 1).count();
        let packed = Packed {
            generation: self.generation,
            exhausted,
            counts,
            texts: texts.into_boxed_str(),
            records: records.into_boxed_slice(),
            by_id: Buckets::of(order.iter().map(|(hash, _)| *hash)),
            matchable,
            excluded: Index::of(excluded),
            zones: self.zones.into_texts(),
            locales: self.locales.into_texts(),
        };
        Snapshot { packed: Arc::new(packed), overlay: None }
    }

    /// The members that count, in the order of their ids' hashes.
    fn order(&self) -> Vec<(u64, u32)> {
        let record = |at: u32| &self.pushed[at as usize];
        let id = |at: u32| record(at).texts(&self.texts).0;
        let mut order: Vec<(u64, u32)> =
            (0..).zip(&self.pushed).map(|(at, _)| (id_hash(id(at)), at)).collect();
        order.sort_unstable_by(|a, b| {
            a.0.cmp(&b.0).then_with(|| id(a.1).cmp(id(b.1))).then(a.1.cmp(&b.1))
        });
        order.dedup_by(|later, kept| {
            let same = later.0 == kept.0 && id(later.1) == id(kept.1);
            if same && supersedes(record(later.1).updated, record(kept.1).updated) {
                kept.1 = later.1;
            }
            same
        });
        order
    }

    fn text_bytes(&self, order: &[(u64, u32)]) -> usize {
        order
            .iter()
            .map(|(_, pushed)| self.pushed[*pushed as usize])
            .map(|record| record.id_length() + usize::from(record.name_bytes))
            .sum()
    }
}
