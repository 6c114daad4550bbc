//! Loads a list from the shared store into memory: the pages of one generation, then the changes
//! after it. Later changes are added on top of the list in memory ([`Snapshot::with_changes`]),
//! without reading the pages again.

use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use moka::ops::compute::Op;

use tokio::sync::SemaphorePermit;

use super::evaluate::Guard;
use super::{Directory, Error, Key};
use crate::domain::directory::member::Member;
use crate::domain::directory::snapshot::{ProfileFields, Snapshot, SnapshotBuilder};
use crate::domain::ids::InstallationId;
use crate::domain::mapping::{Mapping, Stop};
use crate::domain::time::Timestamp;
use crate::store::{self, DirectoryChange, DirectoryPointer, DirectoryState};

/// Separates two members of a page: the record separator of RFC 7464, which JSON never contains
/// raw.
pub(super) const PAGE_SEPARATOR: u8 = 0x1e;

/// A snapshot and the state that it was built from.
pub(super) struct Loaded {
    generation: i64,
    change_sequence: i64,
    /// The sequence of the custom fields in it; `None`: the mapping reads none.
    fields_sequence: Option<i64>,
    /// `None` until the first generation.
    pub(super) snapshot: Option<Arc<Snapshot>>,
    pub(super) read_at: Option<Timestamp>,
    /// The mapping that it was built with; `None` for an empty entry.
    pub(super) mapping: Option<Mapping>,
}

impl Loaded {
    /// The size in bytes, for the bound on memory.
    pub(super) fn weight(&self) -> u32 {
        let bytes = self.snapshot.as_ref().map_or(64, |snapshot| snapshot.bytes());
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }

    pub(super) fn is_current(&self, state: Option<&DirectoryState>) -> bool {
        state.is_none_or(|state| {
            self.has(state.generation, state.change_sequence, state.fields_sequence)
        })
    }

    pub(super) fn follows(&self, pointer: &DirectoryPointer) -> bool {
        self.has(pointer.generation, pointer.change_sequence, pointer.fields_sequence)
    }

    /// Whether it has reached all three numbers.
    fn has(&self, generation: i64, change_sequence: i64, fields_sequence: i64) -> bool {
        (self.generation, self.change_sequence) >= (generation, change_sequence)
            && self.fields_sequence.is_none_or(|fields| fields >= fields_sequence)
    }

    /// Orders what was loaded: by generation, then by change, then by custom fields.
    fn stamp(&self) -> (i64, i64, Option<i64>) {
        (self.generation, self.change_sequence, self.fields_sequence)
    }

    /// The list of a workspace that was disconnected: it was erased, and the next one is not there
    /// yet. It is newer than the erased one, and so replaces it in memory.
    fn emptied(state: &DirectoryState) -> Self {
        let (generation, change_sequence) = (state.generation, state.change_sequence);
        Self { generation, change_sequence, ..Self::nothing() }
    }

    fn nothing() -> Self {
        Self {
            generation: 0,
            change_sequence: 0,
            fields_sequence: None,
            snapshot: None,
            read_at: None,
            mapping: None,
        }
    }
}

/// How often a load starts again because the generation changed during it.
const ATTEMPTS: usize = 5;
/// Changed members that may be added on top of a snapshot before it is built anew: this many, or a
/// [`SHARE_ON_TOP`]th of the members if that is more.
const MOST_ON_TOP: usize = 1000;
const SHARE_ON_TOP: usize = 32;

/// Pages that justify a thread: some 50 ms of work.
const PAGES_OF_A_PART: usize = 10;
/// Threads that read one list. The replica's other work must get its share.
const MOST_PARTS: usize = 4;

impl Directory {
    /// Loads once for all callers that wait.
    pub(super) async fn load_shared(
        &self,
        key: Key,
        mapping: Mapping,
    ) -> Result<Arc<Loaded>, Error> {
        let load = async { self.load(key.0, &mapping).await.map(Arc::new) };
        self.inner.snapshots.try_get_with(key.clone(), load).await.map_err(Error::Shared)
    }

    /// Loads over an empty entry; once for all callers that wait.
    pub(super) async fn load_over_nothing(
        &self,
        key: Key,
        mapping: Mapping,
    ) -> Result<Arc<Loaded>, Error> {
        self.inner
            .snapshots
            .entry(key.clone())
            .and_compute_with(|there| {
                let empty = there.is_some_and(|there| there.into_value().snapshot.is_none());
                std::future::ready(if empty { Op::Remove } else { Op::Nop })
            })
            .await;
        self.load_shared(key, mapping).await
    }

    /// Replaces a stale snapshot, which stays in use meanwhile. One load at a time for each key.
    pub(super) fn reload_behind(&self, key: Key, mapping: Mapping, stale: Arc<Loaded>) {
        if !lock(&self.inner.reloading).insert(key.clone()) {
            return;
        }
        let directory = self.clone();
        tokio::spawn(async move {
            let result = directory.newer(key.0, &mapping, &stale).await.map(Arc::new);
            if let Ok(loaded) = &result {
                directory.put(key.clone(), Arc::clone(loaded)).await;
                if loaded.generation > stale.generation {
                    directory.arrived(key.0);
                }
            }
            lock(&directory.inner.reloading).remove(&key);
            match result {
                // Changes during the load were not announced here: look once more, now that another
                // load may begin.
                Ok(loaded) => {
                    let state =
                        directory.inner.store.member_lists().state(key.0).await.ok().flatten();
                    if !loaded.is_current(state.as_ref()) {
                        directory.reload_behind(key, mapping, loaded);
                    }
                }
                Err(error) => tracing::warn!(
                    workspace = %key.0,
                    %error,
                    "a newer member list could not be loaded; the older one stays in use"
                ),
            }
        });
    }

    /// Stores a snapshot, unless a newer one is there: generations never go back (invariant I9).
    pub(super) async fn put(&self, key: Key, loaded: Arc<Loaded>) {
        self.inner
            .snapshots
            .entry(key)
            .and_compute_with(|there| {
                let newer = there.is_some_and(|there| there.into_value().stamp() > loaded.stamp());
                std::future::ready(if newer { Op::Nop } else { Op::Put(loaded.clone()) })
            })
            .await;
    }

    /// The list as the store has it now: if the generation is the same, the changes since are added
    /// on top of `known`.
    pub(super) async fn newer(
        &self,
        id: InstallationId,
        mapping: &Mapping,
        known: &Loaded,
    ) -> Result<Loaded, Error> {
        match self.with_changes(id, mapping, known).await? {
            Some(loaded) => Ok(loaded),
            None => self.load(id, mapping).await,
        }
    }

    /// Adds the changes since to `known`. `None`: there is another generation or a batch of custom
    /// fields to take up, or there would be too many changes on top.
    async fn with_changes(
        &self,
        id: InstallationId,
        mapping: &Mapping,
        known: &Loaded,
    ) -> Result<Option<Loaded>, Error> {
        let Some(snapshot) = known.snapshot.clone() else { return Ok(None) };
        let store = &self.inner.store;
        let Some(state) = store.member_lists().state(id).await? else { return Ok(None) };
        let fields_moved =
            known.fields_sequence.is_some_and(|fields| fields != state.fields_sequence);
        if state.generation != known.generation || fields_moved {
            return Ok(None);
        }
        let changes = store.member_lists().changes(id, known.change_sequence).await?;
        // Publishing a generation drops changes: the changes read may lack some of them.
        let after = store.member_lists().state(id).await?.map_or(0, |state| state.generation);
        let most = MOST_ON_TOP.max(snapshot.counts().members / SHARE_ON_TOP);
        if after != state.generation || snapshot.changed() + changes.len() > most {
            return Ok(None);
        }
        let last = changes.last().map_or(0, |change| change.sequence);
        let fields = if mapping.slack.reads_profile_fields() {
            self.fields_of(id, changes.iter().map(|change| change.body.as_slice())).await?
        } else {
            ProfileFields::default()
        };
        // Changes on top of a plain path cost next to nothing.
        let _permit =
            if mapping.slack.is_plain() { None } else { Some(self.permit(mapping).await?) };
        let compiled = mapping.clone();
        let stop = Stop::default();
        let guard = Guard::of(&stop);
        let costly = snapshot.counts().too_costly;
        let work = move || {
            let bodies = changes.iter().map(|change| change.body.as_slice());
            let (snapshot, bad) = snapshot.with_changes(&compiled, bodies, &fields, &stop);
            warn_of(bad);
            snapshot
        };
        let snapshot = tokio::task::spawn_blocking(work).await.map_err(|_| Error::Stopped)?;
        guard.done();
        self.inner.metrics.directory_load("changes");
        self.count_costly(snapshot.counts().too_costly.saturating_sub(costly));
        Ok(Some(Loaded {
            generation: state.generation,
            change_sequence: last.max(state.change_sequence),
            fields_sequence: known.fields_sequence,
            snapshot: Some(Arc::new(snapshot)),
            read_at: state.refreshed_at,
            mapping: Some(mapping.clone()),
        }))
    }

    /// Reads one generation and its changes. A generation that is replaced while it is read is kept
    /// for a while; if that was too short, it is given up for the next one, so that two are never
    /// mixed.
    pub(super) async fn load(
        &self,
        id: InstallationId,
        mapping: &Mapping,
    ) -> Result<Loaded, Error> {
        let store = &self.inner.store;
        let _permit = self.permit(mapping).await?;
        for _ in 0..ATTEMPTS {
            let Some(state) =
                store.member_lists().state(id).await?.filter(|state| state.generation > 0)
            else {
                return Ok(Loaded::nothing());
            };
            if state.pages == 0 {
                return Ok(Loaded::emptied(&state));
            }
            let pages = match store.member_lists().pages(id, state.generation).await {
                Err(store::Error::NotFound(_)) => continue,
                pages => pages?,
            };
            let changes = store.member_lists().changes(id, state.changes_base).await?;
            let gone =
                store.member_lists().state(id).await?.map_or(i64::MAX, |state| state.changes_gone);
            if gone > state.changes_base {
                continue;
            }
            let last = changes.last().map_or(0, |change| change.sequence);
            let reads_fields = mapping.slack.reads_profile_fields();
            let fields =
                if reads_fields { self.fields(id).await? } else { ProfileFields::default() };
            let snapshot = build(mapping.clone(), state.generation, pages, changes, fields).await?;
            self.inner.metrics.directory_load("pages");
            self.count_costly(snapshot.counts().too_costly);
            return Ok(Loaded {
                generation: state.generation,
                change_sequence: last.max(state.change_sequence),
                fields_sequence: reads_fields.then_some(state.fields_sequence),
                snapshot: Some(Arc::new(snapshot)),
                read_at: state.refreshed_at,
                mapping: Some(mapping.clone()),
            });
        }
        Err(Error::Moving)
    }

    async fn permit(&self, mapping: &Mapping) -> Result<SemaphorePermit<'_>, Error> {
        let inner = &self.inner;
        let loads = if mapping.slack.is_plain() { &inner.loads } else { &inner.searching_loads };
        loads.acquire().await.map_err(|_| Error::Stopped)
    }

    fn count_costly(&self, members: usize) {
        if members > 0 {
            self.inner.metrics.too_costly("slack_attribute", members as u64);
        }
    }

    /// The custom fields fetched so far.
    async fn fields(&self, id: InstallationId) -> Result<ProfileFields, Error> {
        let mut fields = ProfileFields::default();
        let mut after = String::new();
        loop {
            let chunk = self.inner.store.custom_fields().list_after(id, &after).await?;
            let Some((last, _)) = chunk.last() else { return Ok(fields) };
            after.clone_from(last);
            for (member, json) in chunk {
                fields.insert(&member, &json);
            }
        }
    }

    /// The custom fields of the members in these objects.
    pub(super) async fn fields_of(
        &self,
        id: InstallationId,
        members: impl Iterator<Item = &[u8]>,
    ) -> Result<ProfileFields, Error> {
        let members: Vec<String> = members
            .filter_map(|json| Some(Member::from_slice(json).ok()?.id().to_owned()))
            .collect();
        let mut fields = ProfileFields::default();
        for (member, json) in self.inner.store.custom_fields().of(id, &members).await? {
            fields.insert(&member, &json);
        }
        Ok(fields)
    }
}

/// Builds the snapshot off the runtime: a large workspace takes seconds of processor time.
async fn build(
    mapping: Mapping,
    generation: i64,
    pages: Vec<Vec<u8>>,
    changes: Vec<DirectoryChange>,
    fields: ProfileFields,
) -> Result<Snapshot, Error> {
    let stop = Stop::default();
    let guard = Guard::of(&stop);
    let work = move || {
        let fields = Arc::new(fields);
        let read = |pages: &[Vec<u8>]| {
            let generation = u64::try_from(generation).unwrap_or(0);
            let mut builder = SnapshotBuilder::new(&mapping, generation);
            builder.set_fields(Arc::clone(&fields));
            builder.set_stop(stop.clone());
            let members = pages.iter().flat_map(|page| page.split(|byte| *byte == PAGE_SEPARATOR));
            let bad = push(&mut builder, members, &stop);
            (builder, bad)
        };
        let (mut builder, mut bad) = side_by_side(&pages, read);
        bad += push(&mut builder, changes.iter().map(|change| change.body.as_slice()), &stop);
        warn_of(bad);
        builder.finish()
    };
    let snapshot = tokio::task::spawn_blocking(work).await.map_err(|_| Error::Stopped)?;
    guard.done();
    Ok(snapshot)
}

/// Adds the members; returns how many could not be read. Ends early if no caller waits any longer.
fn push<'a>(
    builder: &mut SnapshotBuilder,
    members: impl Iterator<Item = &'a [u8]>,
    stop: &Stop,
) -> usize {
    let members = members.filter(|member| !member.is_empty()).take_while(|_| !stop.is_set());
    members.map(|member| usize::from(builder.push_json(member).is_err())).sum()
}

/// Reads the pages of a large list on several processors, in their order.
fn side_by_side(
    pages: &[Vec<u8>],
    read: impl Fn(&[Vec<u8>]) -> (SnapshotBuilder, usize) + Sync,
) -> (SnapshotBuilder, usize) {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let parts = (pages.len() / PAGES_OF_A_PART).clamp(1, processors.min(MOST_PARTS));
    let mut parts = pages.chunks(pages.len().div_ceil(parts).max(1));
    let first = parts.next().unwrap_or_default();
    std::thread::scope(|scope| {
        let others: Vec<_> = parts.map(|part| scope.spawn(|| read(part))).collect();
        let (mut builder, mut bad) = read(first);
        for other in others {
            let (later, of_other) = other.join().unwrap_or_else(|panic| resume_unwind(panic));
            bad += of_other + builder.append(later).err().unwrap_or_default();
        }
        (builder, bad)
    })
}

fn warn_of(bad: usize) {
    if bad > 0 {
        tracing::warn!(bad, "members that could not be read were left out");
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
