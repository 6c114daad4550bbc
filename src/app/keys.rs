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
use crate::domain::access::api_key::{Hash, KeyStanding};
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
    /// Keys in memory, and keys of one reading, including those that cannot be read.
    most: usize,
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

/// Keys that changed.
struct Changes {
    keys: Vec<KnownApiKey>,
    /// Those that this release cannot read.
    unread: Vec<Hash>,
    /// Whether there are no others.
    all: bool,
}

struct Misses {
    second: Instant,
    left: u32,
}

impl Keys {
    pub(super) fn new(store: Store, metrics: Metrics) -> Self {
        Self::of_at_most(MOST, store, metrics)
    }

    fn of_at_most(most: usize, store: Store, metrics: Metrics) -> Self {
        let misses = Mutex::new(Misses { second: Instant::now(), left: MISSES });
        let (table, changed, readings) = (RwLock::default(), Notify::new(), watch::Sender::new(0));
        Self { inner: Arc::new(Inner { store, metrics, most, table, misses, changed, readings }) }
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
        let version = before.map(|before| before.state.version);
        if version.is_none_or(|version| version < state.version) {
            let changes = self.read(version.unwrap_or(0)).await?;
            if version.is_some() && changes.all {
                self.remember(changes.keys);
                self.forget(&changes.unread);
            } else {
                // All keys, or more changes than fit: no other key in memory is up to date.
                let keys = changes.keys.into_iter();
                self.table().by_hash = keys.map(|known| (known.hash, known)).collect();
            }
        }
        if version.is_none() {
            self.table().whole = Some(asked);
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

    /// The keys that changed after a version, the earliest changes first, as many as fit in memory.
    async fn read(&self, version: i64) -> Result<Changes, store::Error> {
        let mut changes = Changes { keys: Vec::new(), unread: Vec::new(), all: false };
        let (mut after, mut left) = (ApiKeyChange::last_of(version), self.inner.most);
        while left > 0 {
            let limit = u32::try_from(left).map_or(BATCH, |left| left.min(BATCH));
            let page = self.inner.store.api_keys().list_changed(&after, limit).await?;
            changes.keys.extend(page.keys);
            changes.unread.extend(page.unread);
            let Some(last) = page.more_after else {
                changes.all = true;
                break;
            };
            // Only a full page has more after it.
            (after, left) = (last, left - limit as usize);
        }
        Ok(changes)
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
            let most = self.inner.most;
            if newer && (table.by_hash.len() < most || table.by_hash.contains_key(&known.hash)) {
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
        KeyStanding::Works => KeyHolder::Known(known.key.caller.clone()),
        KeyStanding::Expired => KeyHolder::Expired,
        KeyStanding::Revoked => KeyHolder::Revoked,
    }
}

/// Whether earlier readings are invalid: keys were erased, or the database is an older copy.
fn began_anew(before: &ApiKeysState, now: &ApiKeysState) -> bool {
    before.erased != now.erased || before.version > now.version
}

fn away() -> Error {
    Error::Unavailable { what: "the database", retry_after: POLL }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::app::{Reach, Role};
    use crate::domain::ids::{ApiKeyId, Principal, TenantId};
    use crate::store::{ApiKeyMade, NewApiKey};

    /// Keys in memory, at most this many, over an empty store in the folder.
    async fn keys(most: usize, dir: &tempfile::TempDir) -> Keys {
        let config = store::Config { data_dir: dir.path().to_owned(), ..store::Config::default() };
        let store = Store::open(&config).await.unwrap();
        store.migrate().await.unwrap();
        Keys::of_at_most(most, store, Metrics::unobserved())
    }

    /// Makes a key that reaches these tenants. Without a tenant, it is stored in a way that cannot
    /// be read.
    async fn make(keys: &Keys, hash: Hash, tenants: &[&str]) -> ApiKeyId {
        let tenants: BTreeSet<_> = tenants.iter().map(|id| TenantId::parse(*id).unwrap()).collect();
        let caller = Caller {
            principal: Principal::parse(format!("caller-{}", hash[0])).unwrap(),
            role: Role::Service,
            reach: Reach::Only(tenants),
            may_act_for_users: false,
            may_administer_for_users: false,
        };
        let created_by = Principal::parse("admin").unwrap();
        let life = Duration::from_secs(3600);
        let (tenant, caller, created_by) = (None, &caller, &created_by);
        let new = NewApiKey { tenant, hash, caller, created_by, life };
        match keys.inner.store.api_keys().create(&new).await.unwrap() {
            ApiKeyMade::Made(key) => key.id,
            refused => panic!("{refused:?}"),
        }
    }

    #[tokio::test]
    async fn the_bound_counts_the_keys_that_cannot_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let keys = keys(4, &dir).await;
        for number in 0..3 {
            make(&keys, [2 * number; 32], &["acme"]).await;
            make(&keys, [2 * number + 1; 32], &[]).await;
        }
        let changes = keys.read(0).await.unwrap();
        let read: Vec<_> = changes.keys.iter().map(|known| known.hash[0]).collect();
        let unread: Vec<_> = changes.unread.iter().map(|hash| hash[0]).collect();
        assert_eq!((read, unread, changes.all), (vec![0, 2], vec![1, 3], false));
    }

    #[tokio::test]
    async fn a_key_is_not_trusted_after_more_changes_than_fit() {
        let dir = tempfile::tempdir().unwrap();
        let keys = keys(2, &dir).await;
        let revoked = make(&keys, [1; 32], &["acme"]).await;
        keys.refresh().await.unwrap();
        let known = |holder: Remembered| matches!(holder, Remembered::Known(KeyHolder::Known(_)));
        assert!(known(keys.remembered(&[1; 32])));
        for number in [2, 3] {
            make(&keys, [number; 32], &["acme"]).await;
        }
        // The last of three changes, of which two fit.
        keys.inner.store.api_keys().revoke(None, revoked).await.unwrap();
        keys.refresh().await.unwrap();
        assert!(known(keys.remembered(&[3; 32])));
        assert_eq!(keys.find(&[1; 32]).await.unwrap(), KeyHolder::Revoked);
    }
}
