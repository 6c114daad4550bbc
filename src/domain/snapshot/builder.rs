//! Builds a snapshot from member objects, one at a time.

use std::cmp::Ordering;

use serde::Deserializer;
use serde_json::Value;

use super::super::key::{KeyHash, canonical_text};
use super::super::limits::SHORT_TEXT_BYTES;
use super::super::mapping::{Event, Expression, Mapping};
use super::super::member::{BadMember, Member, MemberKind};
use super::names::Names;
use super::{Buckets, Counts, Index, Record, Slot, Snapshot, id_hash};

/// Takes members in any order; of several with one id the last one counts, so that a directory's
/// changes are pushed after its pages.
pub struct SnapshotBuilder {
    expression: Expression,
    /// The default mapping: the value is among the facts that are read anyway.
    by_email: bool,
    generation: u64,
    texts: String,
    pushed: Vec<Pushed>,
    slots: Vec<Slot>,
    zones: Names,
    locales: Names,
    /// The values of the member at hand.
    keys: Vec<KeyHash>,
}

struct Pushed {
    record: Record,
    /// The expression could not be evaluated.
    failed: bool,
    has_value: bool,
}

impl SnapshotBuilder {
    /// `generation` is that of the directory.
    #[must_use]
    pub fn new(mapping: &Mapping, generation: u64) -> Self {
        Self {
            expression: mapping.slack.clone(),
            by_email: mapping.slack.is_path(&["profile", "email"]),
            generation,
            texts: String::new(),
            pushed: Vec::new(),
            slots: Vec::new(),
            zones: Names::default(),
            locales: Names::default(),
            keys: Vec::new(),
        }
    }

    /// Takes a member from the raw bytes of its object. A bad member leaves the builder as it was.
    pub fn push_json(&mut self, json: &[u8]) -> Result<(), BadMember> {
        let member = Member::from_slice(json)?;
        self.push(&member, &mut serde_json::Deserializer::from_slice(json))
    }

    /// Takes a member from its parsed object.
    pub fn push_value(&mut self, value: &Value) -> Result<(), BadMember> {
        let member = Member::from_value(value)?;
        self.push(&member, value)
    }

    fn push<'de, D: Deserializer<'de>>(
        &mut self,
        member: &Member<'_>,
        json: D,
    ) -> Result<(), BadMember> {
        let id = member.id();
        let name = &*member.display_name;
        let name = &name[..name.floor_char_boundary(SHORT_TEXT_BYTES)];
        let failed = self.evaluate(member, json);

        let position = u32::try_from(self.pushed.len()).map_err(|_| BadMember::Full)?;
        let start = u32::try_from(self.texts.len()).map_err(|_| BadMember::Full)?;
        u32::try_from(self.slots.len() + self.keys.len()).map_err(|_| BadMember::Full)?;
        u32::try_from(self.texts.len() + id.len() + name.len()).map_err(|_| BadMember::Full)?;
        let record = Record {
            start,
            name_bytes: u16::try_from(name.len()).map_err(|_| BadMember::Full)?,
            zone: self.zones.number(member.time_zone.as_deref()),
            locale: self.locales.number(member.locale.as_deref()),
            id_bytes: u8::try_from(id.len()).map_err(|_| BadMember::Id)?,
            kind: member.kind,
        };
        self.texts.push_str(id);
        self.texts.push_str(name);
        self.pushed.push(Pushed { record, failed, has_value: !self.keys.is_empty() });
        self.slots.extend(self.keys.iter().map(|hash| Slot { hash: *hash, record: position }));
        Ok(())
    }

    /// Evaluates the expression into `self.keys`; whether it failed. Members that never match are
    /// evaluated too, for the sealed index.
    fn evaluate<'de, D: Deserializer<'de>>(&mut self, member: &Member<'_>, json: D) -> bool {
        let keys = &mut self.keys;
        keys.clear();
        if self.by_email {
            let email = member.email.as_deref().and_then(canonical_text);
            keys.extend(email.map(|text| KeyHash::of(&text)));
            return false;
        }
        let read = self.expression.read(json, &mut |event| match event {
            Event::Restart => keys.clear(),
            Event::Text(text) => keys.push(KeyHash::of(text)),
        });
        if read.is_err() {
            keys.clear();
        }
        read.is_err()
    }

    /// Puts the index together. `fields_complete`: every member's custom fields had been fetched,
    /// so that a missing value is missing in Slack.
    #[must_use]
    pub fn finish(self, fields_complete: bool) -> Snapshot {
        let order = self.order();
        let mut counts = Counts { members: order.len(), ..Counts::default() };
        let mut texts = String::with_capacity(self.text_bytes(&order));
        let mut records = Vec::with_capacity(order.len());
        // Where each pushed member went; those that were replaced went nowhere.
        let mut moved: Vec<Option<u32>> = vec![None; self.pushed.len()];
        for (position, (_, pushed)) in (0..).zip(&order) {
            let Pushed { record, failed, has_value } = &self.pushed[*pushed as usize];
            let (id, name) = record.texts(&self.texts);
            // No more than was pushed, which was counted in 32 bits.
            let start = u32::try_from(texts.len()).unwrap_or(u32::MAX);
            texts.push_str(id);
            texts.push_str(name);
            records.push(Record { start, ..*record });
            moved[*pushed as usize] = Some(position);
            match record.kind {
                MemberKind::Matchable => {
                    counts.matchable += 1;
                    counts.with_value += usize::from(*has_value);
                    counts.errors += usize::from(*failed);
                }
                MemberKind::NoEmail => counts.no_email += 1,
                MemberKind::Deactivated => counts.deactivated += 1,
                MemberKind::Bot => counts.bots += 1,
            }
        }
        let slots = self
            .slots
            .into_iter()
            .filter_map(|slot| moved[slot.record as usize].map(|record| Slot { record, ..slot }));
        let (matchable, excluded): (Vec<_>, Vec<_>) =
            slots.partition(|slot| records[slot.record as usize].kind == MemberKind::Matchable);
        let matchable = Index::of(matchable);
        counts.duplicate_keys =
            matchable.slots.chunk_by(|a, b| a.hash == b.hash).filter(|same| same.len() > 1).count();
        Snapshot {
            generation: self.generation,
            fields_complete,
            counts,
            texts: texts.into_boxed_str(),
            records: records.into_boxed_slice(),
            by_id: Buckets::of(order.iter().map(|(hash, _)| *hash)),
            matchable,
            excluded: Index::of(excluded),
            zones: self.zones.into_texts(),
            locales: self.locales.into_texts(),
        }
    }

    /// The members that count, in the order of their ids' hashes.
    fn order(&self) -> Vec<(u64, u32)> {
        let id = |pushed: u32| self.pushed[pushed as usize].record.texts(&self.texts).0;
        let mut order: Vec<(u64, u32)> =
            (0..).zip(&self.pushed).map(|(at, _)| (id_hash(id(at)), at)).collect();
        order.sort_unstable_by(|a, b| match a.0.cmp(&b.0) {
            // The last one of an id first, because the first one stays.
            Ordering::Equal => id(a.1).cmp(id(b.1)).then(b.1.cmp(&a.1)),
            unequal => unequal,
        });
        order.dedup_by(|later, kept| later.0 == kept.0 && id(later.1) == id(kept.1));
        order
    }

    fn text_bytes(&self, order: &[(u64, u32)]) -> usize {
        order
            .iter()
            .map(|(_, pushed)| self.pushed[*pushed as usize].record)
            .map(|record| usize::from(record.id_bytes) + usize::from(record.name_bytes))
            .sum()
    }
}
