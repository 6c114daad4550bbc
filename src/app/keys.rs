//! The store's API keys in memory, so that the caller of a call is known without asking the
//! database.
//!
//! Every second a replica asks whether any key changed (`api_key_version`), and reads the changed
//! keys. A key that is not in memory is looked up in the database at once, so that a new key works
//! as soon as it is created; the rate of these lookups is bounded, since unknown keys are easily
//! made up. If the database has not answered for [`STALE`], the keys in memory are not trusted
//! either: some may have been revoked in the meantime.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::{Caller, Error};
use crate::domain::access::api_key::{Hash, Standing};
use crate::domain::limits;
use crate::domain::time::Timestamp;
use crate::store::{self, ApiKeyChange, ApiKeysState, KnownApiKey, Store};
use crate::telemetry::Metrics;

/// The time between two questions whether any key changed.
const POLL: Duration = Duration::from_secs(1);
/// The longest that a round takes in good health.
const ROUND: Duration = Duration::from_secs(30);
/// How long the keys in memory are trusted without an answer from the database.
const STALE: Duration = Duration::from_secs(10);
/// The time between two readings of all keys, changed or not.
const ANEW: Duration = Duration::from_secs(60);
/// Keys in one statement.
const BATCH: u32 = 500;
/// Keys in memory; any others are looked up in the database.
const MOST: usize = 100_000;
/// Lookups a second of keys that are not in memory.
const MISSES: u32 = 50;
/// The time between two removals of keys that ended long ago.
const FORGET: Duration = Duration::from_secs(3600);

/// The caller of a key, or why the key does not work, as far as its holder may know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyHolder {
    Known(Caller),
    Expired,
    Revoked,
    Unknown,
}

/// The keys. Cheap to clone.
#[derive(Clone)]
pub struct Keys {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    metrics: Metrics,
    table: RwLock<Table>,
    misses: Mutex<Misses>,
    /// Notified when this process changed a key.
    changed: Notify,
    /// Counts readings of the table.
    readings: watch::Sender<u64>,
}

#[derive(Default)]
struct Table {
    by_hash: HashMap<Hash, KnownApiKey>,
    read: Option<Reading>,
    /// When all keys were last read.
    whole: Option<Instant>,
}

/// The last answer of the database.
#[derive(Clone, Copy)]
struct Reading {
    state: ApiKeysState,
    /// When it was asked, by this process's clock.
    asked: Instant,
}

struct Misses {
    second: Instant,
    left: u32,
}

impl Keys {
    pub(super) fn new(store: Store, metrics: Metrics) -> Self {
        let misses = Mutex::new(Misses { second: Instant::now(), left: MISSES });
        let (table, changed, readings) = (RwLock::default(), Notify::new(), watch::Sender::new(0));
        Self { inner: Arc::new(Inner { store, metrics, table, misses, changed, readings }) }
    }

    /// The holder of the key with this hash.
    pub async fn find(&self, hash: &Hash) -> Result<KeyHolder, Error> {
        let stale = match self.remembered(hash) {
            Remembered::Known(holder) => return Ok(holder),
            Remembered::Nothing => false,
            Remembered::Stale => true,
        };
        if !self.may_ask() {
            return if stale { Err(away()) } else { Ok(KeyHolder::Unknown) };
        }
        let Some((known, now)) = self.inner.store.api_keys().get(hash).await? else {
            return Ok(KeyHolder::Unknown);
        };
        let holder = holder(&known, now);
        self.remember(vec![known]);
        Ok(holder)
    }

    /// Reads the changed keys; the first time, all keys.
    pub async fn refresh(&self) -> Result<(), store::Error> {
        let asked = Instant::now();
        let state = self.inner.store.api_keys().state().await?;
        let before = {
            let table = self.inner.table.read().unwrap_or_else(PoisonError::into_inner);
            let fresh = table.whole.is_some_and(|at| at.elapsed() < ANEW);
            table.read.filter(|read| fresh && !began_anew(&read.state, &state))
        };
        if let Some(before) = before {
            if before.state.version < state.version {
                let (keys, unread) = self.read(before.state.version).await?;
                self.remember(keys);
                self.forget(&unread);
            }
        } else {
            let (keys, _) = self.read(0).await?;
            let by_hash = keys.into_iter().map(|known| (known.hash, known)).collect();
            let mut table = self.table();
            table.by_hash = by_hash;
            table.whole = Some(asked);
        }
        self.table().read = Some(Reading { state, asked });
        self.inner.readings.send_modify(|readings| *readings += 1);
        Ok(())
    }

    /// Waits until this key, which works, no longer does; returns the reason, as far as the replica
    /// knows.
    pub async fn ended(&self, hash: &Hash) -> KeyHolder {
        let mut readings = self.inner.readings.subscribe();
        loop {
            // A moment without the database does not end a stream.
            match self.remembered(hash) {
                Remembered::Known(KeyHolder::Known(_)) | Remembered::Stale => {}
                Remembered::Known(holder) => return holder,
                Remembered::Nothing => return KeyHolder::Unknown,
            }
            // The sender exists as long as `self`. Readings also mark the time: there is one a
            // second.
            if readings.changed().await.is_err() {
                return KeyHolder::Unknown;
            }
        }
    }

    /// The database's time, or a little later; `None` if the database has not answered for too
    /// long.
    #[must_use]
    pub fn now(&self) -> Option<Timestamp> {
        let table = self.inner.table.read().unwrap_or_else(PoisonError::into_inner);
        let read = table.read.filter(|read| read.asked.elapsed() <= STALE)?;
        Some(read.state.now.plus(read.asked.elapsed()))
    }

    /// Waits until the database's time reaches `until`.
    pub async fn passed(&self, until: Timestamp) {
        let mut readings = self.inner.readings.subscribe();
        while self.now().is_none_or(|now| now < until) {
            // The sender exists as long as `self`.
            if readings.changed().await.is_err() {
                return;
            }
        }
    }

    /// Refreshes until stopped.
    pub async fn run(self, stop: CancellationToken) {
        let rounds = self.inner.metrics.watchdog().watch("the API keys", POLL + ROUND);
        let (mut troubled, mut forgot) = (false, None::<Instant>);
        while !stop.is_cancelled() {
            rounds.next();
            let due = forgot.is_none_or(|at| at.elapsed() >= FORGET);
            let done = self.round(due).await;
            match &done {
                Err(error) if !troubled => {
                    tracing::warn!(%error, "changes of API keys were not read; retrying");
                }
                Ok(()) if due => forgot = Some(Instant::now()),
                _ => {}
            }
            troubled = done.is_err();
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(POLL) => {}
                () = self.inner.changed.notified(), if !troubled => {}
            }
        }
    }

    /// Called after a change that this process made.
    pub(super) fn changed(&self) {
        self.inner.changed.notify_one();
    }

    async fn round(&self, forget: bool) -> Result<(), store::Error> {
        self.refresh().await?;
        if forget {
            self.inner.store.api_keys().forget(limits::API_KEY_KEPT, BATCH).await?;
        }
        Ok(())
    }

    /// The keys that changed after a version, at most [`MOST`], and those that this release cannot
    /// read.
    async fn read(&self, version: i64) -> Result<(Vec<KnownApiKey>, Vec<Hash>), store::Error> {
        let (mut keys, mut unread) = (Vec::new(), Vec::new());
        let mut after = ApiKeyChange::last_of(version);
        loop {
            let page = self.inner.store.api_keys().list_changed(&after, BATCH).await?;
            keys.extend(page.keys);
            unread.extend(page.unread);
            match page.more_after {
                Some(last) if keys.len() < MOST => after = last,
                _ => return Ok((keys, unread)),
            }
        }
    }

    fn remembered(&self, hash: &Hash) -> Remembered {
        let table = self.inner.table.read().unwrap_or_else(PoisonError::into_inner);
        let Some(read) = table.read else { return Remembered::Stale };
        let age = read.asked.elapsed();
        if age > STALE {
            return Remembered::Stale;
        }
        match table.by_hash.get(hash) {
            // The database's time is not earlier: it was read after the question was sent.
            Some(known) => Remembered::Known(holder(known, read.state.now.plus(age))),
            None => Remembered::Nothing,
        }
    }

    fn remember(&self, keys: Vec<KnownApiKey>) {
        let mut table = self.table();
        for known in keys {
            let newer =
                table.by_hash.get(&known.hash).is_none_or(|old| old.version < known.version);
            if newer && (table.by_hash.len() < MOST || table.by_hash.contains_key(&known.hash)) {
                table.by_hash.insert(known.hash, known);
            }
        }
    }

    /// These keys changed in a way that this release cannot read.
    fn forget(&self, unread: &[Hash]) {
        let mut table = self.table();
        for hash in unread {
            table.by_hash.remove(hash);
        }
    }

    fn table(&self) -> std::sync::RwLockWriteGuard<'_, Table> {
        self.inner.table.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether one more key may be looked up this second.
    fn may_ask(&self) -> bool {
        let mut misses = self.inner.misses.lock().unwrap_or_else(PoisonError::into_inner);
        if misses.second.elapsed() >= Duration::from_secs(1) {
            *misses = Misses { second: Instant::now(), left: MISSES };
        }
        let may = misses.left > 0;
        misses.left = misses.left.saturating_sub(1);
        may
    }
}

enum Remembered {
    Known(KeyHolder),
    Nothing,
    Stale,
}

fn holder(known: &KnownApiKey, now: Timestamp) -> KeyHolder {
    match known.key.standing(now) {
        Standing::Works => KeyHolder::Known(known.key.caller.clone()),
        Standing::Expired => KeyHolder::Expired,
        Standing::Revoked => KeyHolder::Revoked,
    }
}

/// Whether earlier readings are invalid: keys were erased, or the database is an older copy.
fn began_anew(before: &ApiKeysState, now: &ApiKeysState) -> bool {
    before.erased != now.erased || before.version > now.version
}

fn away() -> Error {
    Error::Unavailable { what: "the database", retry_after: POLL }
}
