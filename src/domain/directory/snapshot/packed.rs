//! The packed list: the result of one reading of the workspace, in as few bytes as possible. It
//! never changes; later changes are in the overlay ([`super::overlay`]).

use std::hash::{DefaultHasher, Hasher};

use super::buckets::Buckets;
use super::evaluate::Yielded;
use super::{MemberView, SnapshotCounts, names};
use crate::domain::directory::member::MemberKind;
use crate::domain::limits::SLACK_ID_BYTES;
use crate::domain::mapping::key::KeyHash;

/// Immutable.
pub(super) struct Packed {
    pub(super) generation: u64,
    /// The Slack attribute costs too much over the whole list: no member has a value.
    pub(super) exhausted: bool,
    pub(super) counts: SnapshotCounts,
    /// Ids and names, in the order of the records.
    pub(super) texts: Box<str>,
    pub(super) records: Box<[Record]>,
    pub(super) by_id: Buckets,
    pub(super) matchable: Index,
    pub(super) excluded: Index,
    pub(super) zones: Box<[Box<str>]>,
    pub(super) locales: Box<[Box<str>]>,
}

impl Packed {
    /// The position of the member with this id.
    pub(super) fn position(&self, id: &str) -> Option<u32> {
        let range = self.by_id.range(id_hash(id));
        let at = range.clone().zip(&self.records[range]);
        let found = at.into_iter().find(|(_, record)| record.texts(&self.texts).0 == id);
        found.and_then(|(position, _)| u32::try_from(position).ok())
    }

    pub(super) fn record(&self, position: u32) -> &Record {
        &self.records[position as usize]
    }

    /// The index of members of this kind.
    pub(super) fn index(&self, kind: MemberKind) -> &Index {
        if kind == MemberKind::Matchable { &self.matchable } else { &self.excluded }
    }

    /// Whether exactly these values were found for a record; `keys` contains each once.
    pub(super) fn has_values(&self, position: u32, keys: &[KeyHash]) -> bool {
        let record = self.record(position);
        let index = self.index(record.kind);
        // The slots of one value are in the order of their records.
        let has = |key: &KeyHash| {
            index.find(*key).binary_search_by_key(&position, |slot| slot.record).is_ok()
        };
        usize::from(record.values) == keys.len() && record.values < MANY && keys.iter().all(has)
    }

    pub(super) fn view(&self, record: &Record) -> MemberView<'_> {
        let (id, display_name) = record.texts(&self.texts);
        MemberView {
            id,
            display_name,
            kind: record.kind,
            time_zone: names::text(&self.zones, record.zone),
            locale: names::text(&self.locales, u16::from(record.locale)),
            updated: i64::from(record.updated),
        }
    }

    /// Resident bytes, without the allocator's overhead.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.texts.len()
            + size_of_val(&*self.records)
            + self.by_id.bytes()
            + self.matchable.bytes()
            + self.excluded.bytes()
            + names::bytes(&self.zones)
            + names::bytes(&self.locales)
    }
}

/// A bit of [`Record::id_bytes`] that no id is long enough to use: the person was invited and has
/// never signed in.
pub(super) const INVITED: u8 = 0x80;
const _: () = assert!(SLACK_ID_BYTES < INVITED as usize);

/// [`Record::values`]: too many to count.
const MANY: u8 = u8::MAX - 3;
/// [`Record::values`]: [`Yielded::TooCostly`].
const COSTLY: u8 = u8::MAX - 2;
/// [`Record::values`]: [`Yielded::Waits`].
const WAITS: u8 = u8::MAX - 1;
/// [`Record::values`]: [`Yielded::Failed`].
const FAILED: u8 = u8::MAX;

/// [`Record::values`] of a member with this number of different values.
pub(super) fn values(count: usize, yielded: Yielded) -> u8 {
    match yielded {
        Yielded::Failed => FAILED,
        Yielded::Waits => WAITS,
        Yielded::TooCostly => COSTLY,
        Yielded::Nothing | Yielded::Values => {
            u8::try_from(count).map_or(MANY, |count| count.min(MANY))
        }
    }
}

/// Unix seconds as stored; 0: unknown.
pub(super) fn seconds(updated: i64) -> u32 {
    u32::try_from(updated.max(0)).unwrap_or(u32::MAX)
}

/// Whether an object that Slack returned with the time `later` replaces one with the time
/// `earlier`, in Unix seconds. If either time is unknown, or if both are equal, the object that
/// arrived later counts.
pub(super) fn supersedes(later: u32, earlier: u32) -> bool {
    later == 0 || earlier == 0 || later >= earlier
}

/// One member: 24 bytes.
#[derive(Clone, Copy)]
pub(super) struct Record {
    /// The content of its object ([`super::digest`]).
    pub(super) digest: u64,
    /// The place where its id begins; the name follows.
    pub(super) start: u32,
    /// Unix seconds of the last change; 0 if Slack does not give it.
    pub(super) updated: u32,
    pub(super) name_bytes: u16,
    pub(super) zone: u16,
    pub(super) locale: u8,
    /// The length of the id, and [`INVITED`].
    pub(super) id_bytes: u8,
    /// The number of different values that the expression yielded ([`values`]).
    pub(super) values: u8,
    pub(super) kind: MemberKind,
}

impl Record {
    pub(super) fn yielded(&self) -> Yielded {
        match self.values {
            FAILED => Yielded::Failed,
            WAITS => Yielded::Waits,
            COSTLY => Yielded::TooCostly,
            0 => Yielded::Nothing,
            _ => Yielded::Values,
        }
    }

    /// Whether the person was invited and has never signed in.
    pub(super) fn is_invited(&self) -> bool {
        self.id_bytes & INVITED != 0
    }

    pub(super) fn id_length(&self) -> usize {
        usize::from(self.id_bytes & !INVITED)
    }

    pub(super) fn texts<'a>(&self, texts: &'a str) -> (&'a str, &'a str) {
        let start = self.start as usize;
        let middle = start + self.id_length();
        (&texts[start..middle], &texts[middle..middle + usize::from(self.name_bytes)])
    }
}

/// One value of one member: twenty bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ValueSlot {
    pub(super) hash: KeyHash,
    /// The position of the record.
    pub(super) record: u32,
}

/// Slots sorted by hash.
pub(super) struct Index {
    pub(super) slots: Box<[ValueSlot]>,
    buckets: Buckets,
}

impl Index {
    pub(super) fn of(mut slots: Vec<ValueSlot>) -> Self {
        slots.sort_unstable();
        slots.dedup();
        let buckets = Buckets::of(slots.iter().map(|slot| slot.hash.leading()));
        Self { slots: slots.into_boxed_slice(), buckets }
    }

    pub(super) fn find(&self, hash: KeyHash) -> &[ValueSlot] {
        let bucket = &self.slots[self.buckets.range(hash.leading())];
        let start = bucket.partition_point(|slot| slot.hash < hash);
        let length = bucket[start..].partition_point(|slot| slot.hash == hash);
        &bucket[start..start + length]
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.slots) + self.buckets.bytes()
    }
}

/// Distributes ids over buckets. Ids are compared in full, so this need not be strong.
pub(super) fn id_hash(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(id.as_bytes());
    hasher.finish()
}
