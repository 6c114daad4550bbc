//! The member list of one installation under one mapping, made for looking up: small, immutable,
//! complete. What replicas keep in memory (design.md section 4).
//!
//! A million members take some 65 bytes each: one text with all ids and names, a record of 12 bytes,
//! and 20 bytes for each value that the Slack attribute yields. Values themselves are kept as
//! hashes alone ([`super::key`]). Records lie in the order of their ids' hashes, so that an id
//! needs no index of its own.
//!
//! Members that cannot be matched are in a second, sealed index: [`Found::excluded`] tells of what
//! kind the member is that has a value, never which one.

mod buckets;
mod builder;
mod names;

use std::fmt;
use std::hash::{DefaultHasher, Hasher};

use self::buckets::Buckets;
pub use self::builder::SnapshotBuilder;
use super::ids::SlackUserId;
use super::key::{KeyHash, MatchKey};
use super::member::MemberKind;

/// Immutable; share it in an `Arc`.
pub struct Snapshot {
    generation: u64,
    fields_complete: bool,
    counts: Counts,
    /// Ids and names, in the order of the records.
    texts: Box<str>,
    records: Box<[Record]>,
    by_id: Buckets,
    matchable: Index,
    excluded: Index,
    zones: Box<[Box<str>]>,
    locales: Box<[Box<str>]>,
}

/// What is in a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// All of them: the sum of the four that follow.
    pub members: usize,
    pub matchable: usize,
    /// Living people who cannot match for want of an e-mail address.
    pub no_email: usize,
    pub deactivated: usize,
    pub bots: usize,
    /// Matchable members for whom the Slack attribute yields a value.
    pub with_value: usize,
    /// Values that several matchable members have: each makes somebody ambiguous.
    pub duplicate_keys: usize,
    /// Matchable members on whom the expression failed.
    pub errors: usize,
}

/// One member as a snapshot keeps it. `Debug` shows id and kind alone.
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
}

impl<'a> MemberView<'a> {
    #[must_use]
    pub fn id(&self) -> &'a str {
        self.id
    }

    #[must_use]
    pub fn slack_user_id(&self) -> SlackUserId {
        #[expect(clippy::expect_used, reason = "the builder takes members with valid ids alone")]
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

/// Who has a value.
pub struct Found<'a> {
    snapshot: &'a Snapshot,
    slots: &'a [Slot],
    /// Where no matchable member has it: the kind of member that does. Of several kinds, the one
    /// that is told first.
    pub excluded: Option<MemberKind>,
}

impl<'a> Found<'a> {
    /// How many matchable members have it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The matchable members that have it, each once.
    pub fn members(&self) -> impl ExactSizeIterator<Item = MemberView<'a>> + use<'a> {
        let snapshot = self.snapshot;
        self.slots.iter().map(|slot| snapshot.view(&snapshot.records[slot.record as usize]))
    }
}

impl Snapshot {
    /// Who has the value `key`.
    #[must_use]
    pub fn find(&self, key: &MatchKey) -> Found<'_> {
        let hash = key.hash();
        let slots = self.matchable.find(hash);
        let excluded = if slots.is_empty() {
            let kind = |slot: &Slot| self.records[slot.record as usize].kind;
            self.excluded.find(hash).iter().map(kind).min()
        } else {
            None
        };
        Found { snapshot: self, slots, excluded }
    }

    /// The member with this id, of whatever kind.
    #[must_use]
    pub fn member(&self, id: &SlackUserId) -> Option<MemberView<'_>> {
        let records = &self.records[self.by_id.range(id_hash(id.as_str()))];
        records.iter().map(|record| self.view(record)).find(|member| member.id == id.as_str())
    }

    /// All members, of every kind, in no useful order.
    pub fn members(&self) -> impl ExactSizeIterator<Item = MemberView<'_>> {
        self.records.iter().map(|record| self.view(record))
    }

    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether it holds no member at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The generation of the directory that it was built from.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether every member's custom profile fields had been fetched.
    #[must_use]
    pub fn fields_complete(&self) -> bool {
        self.fields_complete
    }

    /// Resident bytes, without the allocator's own.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.texts.len()
            + size_of_val(&*self.records)
            + self.by_id.bytes()
            + self.matchable.bytes()
            + self.excluded.bytes()
            + names::bytes(&self.zones)
            + names::bytes(&self.locales)
    }

    fn view(&self, record: &Record) -> MemberView<'_> {
        let (id, display_name) = record.texts(&self.texts);
        MemberView {
            id,
            display_name,
            kind: record.kind,
            time_zone: names::text(&self.zones, record.zone),
            locale: names::text(&self.locales, record.locale),
        }
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("generation", &self.generation)
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

/// One member: twelve bytes.
#[derive(Clone, Copy)]
struct Record {
    /// Where its id begins; the name follows.
    start: u32,
    name_bytes: u16,
    zone: u16,
    locale: u16,
    id_bytes: u8,
    kind: MemberKind,
}

impl Record {
    fn texts<'a>(&self, texts: &'a str) -> (&'a str, &'a str) {
        let start = self.start as usize;
        let middle = start + usize::from(self.id_bytes);
        (&texts[start..middle], &texts[middle..middle + usize::from(self.name_bytes)])
    }
}

/// One value of one member: twenty bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Slot {
    hash: KeyHash,
    /// Position of the record.
    record: u32,
}

/// Slots sorted by hash.
struct Index {
    slots: Box<[Slot]>,
    buckets: Buckets,
}

impl Index {
    fn of(mut slots: Vec<Slot>) -> Self {
        slots.sort_unstable();
        slots.dedup();
        let buckets = Buckets::of(slots.iter().map(|slot| slot.hash.leading()));
        Self { slots: slots.into_boxed_slice(), buckets }
    }

    fn find(&self, hash: KeyHash) -> &[Slot] {
        let bucket = &self.slots[self.buckets.range(hash.leading())];
        let start = bucket.partition_point(|slot| slot.hash < hash);
        let length = bucket[start..].partition_point(|slot| slot.hash == hash);
        &bucket[start..start + length]
    }

    fn bytes(&self) -> usize {
        size_of_val(&*self.slots) + self.buckets.bytes()
    }
}

/// Spreads ids over buckets. Ids are compared in full, so this need not be strong.
fn id_hash(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(id.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests;
