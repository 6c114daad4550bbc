//! A data key for each person. It encrypts the data that is about this person only: the record, the
//! name of the Slack member, the content and the trace of deliveries, the person's part in the
//! audit trail, and the author of a version of a template. Erasing the key erases this data in
//! every copy that lacks the key. Data about several people, or about a channel, is encrypted with
//! the tenant's key.
//!
//! The key is wrapped by the tenant's key and found by a keyed hash of the user id, so the table
//! identifies no person. The user id itself is stored encrypted, to find keys that encrypt nothing
//! any more (`ends::unused_keys`).
//!
//! Unwrapped keys are kept in memory for a short time, so another replica may have erased one of
//! them. Therefore a statement that stores a value also checks that the value's key still exists,
//! and locks the key's row until the commit ([`key_lives`]). If the key is gone, nothing is written
//! ([`Error::KeyErased`]) and the value is encrypted again, with a new key. Three kinds of values
//! are written without the check: an addition to a trace, because nothing depends on a trace; and
//! entries of the audit trail and versions of templates, for which the use of the key is recorded
//! beforehand (`ends::unused_keys`).
//!
//! Releases before these keys cannot decrypt such values. While they run, `store.person_keys` is
//! off: the tenant's key encrypts new values, and entries of the audit trail have the layout that
//! these releases know. Reading does not depend on the setting.

mod sealing;

mod heir;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;
use sea_orm::{ConnectionTrait, DbBackend, Value};

use super::cache::cache;
use super::cipher::{key_of, new_key};
use super::data_keys::{KeyScope, OF_PERSON, PERSON_ID_BYTES, ScopeKeys, SealedCell};
use crate::domain::ids::{TenantId, UserId};
use crate::domain::time::micros;
use crate::store::database::group::{Bounds, Group};
use crate::store::database::rows::{Column, NewCell, NewRows, given};
use crate::store::database::sql::{self, Row, by_key, params};
use crate::store::database::transaction::{Patience, Tx, at_once};
use crate::store::{Backend, Error, Store};

pub(in crate::store) use heir::{Heir, hand_on, lock};
pub(in crate::store) use sealing::{KeysById, SealingKeys, hold_keys};

/// Names a key; random, so that it says nothing about the person.
pub(in crate::store) type PersonKeyId = Vec<u8>;
/// The keyed hash of a user id.
pub(in crate::store) type PersonHash = [u8; 32];

/// How often a write is encrypted again because a key was erased meanwhile. Each time the person
/// was deleted within a few milliseconds.
pub(in crate::store) const KEY_ATTEMPTS: usize = 4;

/// How often it is recorded at least that a key encrypts entries of the audit trail. A key is
/// removed as unused only if this was not recorded for longer, because an entry is written without
/// a check of its keys.
pub(in crate::store) const NOTED_EVERY: Duration = Duration::from_secs(24 * 3600);

/// How long keys are in memory: a message that waits for nothing is sent in this time.
const CACHED_FOR: Duration = Duration::from_secs(60);

/// The columns of a statement that joins `person_keys` as `k`, for [`WrappedKey::joined`].
pub(in crate::store) const KEY_COLUMNS: &str =
    "k.person AS key_person, k.id AS key_id, k.wrapped AS key_wrapped";

/// The same of a statement that writes `person_keys`.
const RETURNING: &str = "RETURNING person AS key_person, id AS key_id, wrapped AS key_wrapped";

/// A key as stored.
#[derive(Clone)]
pub(in crate::store) struct WrappedKey {
    person: PersonHash,
    id: PersonKeyId,
    wrapped: Vec<u8>,
    /// Its use was not recorded for [`NOTED_EVERY`], or its person is not known.
    unnoted: bool,
}

/// A key that is to be stored.
struct NewKey {
    id: PersonKeyId,
    wrapped: Vec<u8>,
    name: Vec<u8>,
}

impl NewKey {
    /// `keys` are the tenant's.
    fn make(keys: &ScopeKeys, person: &PersonHash, user: &UserId) -> Result<Self, Error> {
        let id: [u8; PERSON_ID_BYTES] = rand::random();
        let wrapped = keys.seal(&place(&hex(&id)), &new_key()[..])?;
        let name = keys.seal(&place_of_name(&hex(person)), user.as_str().as_bytes())?;
        Ok(Self { id: id.to_vec(), wrapped, name })
    }
}

impl WrappedKey {
    /// Reads [`KEY_COLUMNS`]; `None`: the join found no key, or its row is damaged, which is
    /// logged.
    pub(in crate::store) fn joined(row: &Row) -> Result<Option<Self>, Error> {
        let Some(id) = row.named::<Option<PersonKeyId>>("key_id")? else { return Ok(None) };
        let person: Vec<u8> = row.named("key_person")?;
        let Ok(person) = PersonHash::try_from(person) else {
            tracing::error!(key = hex(&id), "the row of a person's key is damaged");
            return Ok(None);
        };
        Ok(Some(Self { person, id, wrapped: row.named("key_wrapped")?, unnoted: false }))
    }

    fn open(&self, keys: &ScopeKeys, tenant: &TenantId) -> Result<Arc<ScopeKeys>, Error> {
        let id = hex(&self.id);
        let plain = keys.open(&place(&id), &self.wrapped)?;
        let key = key_of(&plain).ok_or_else(altered)?;
        let scope = format!("person:{tenant}:{id}");
        Ok(Arc::new(ScopeKeys::of_person(scope, self.id.clone(), key)))
    }

    /// `None`: it is damaged, which is logged. The data of other people must stay readable, and its
    /// person must be deletable.
    fn open_or_report(
        &self,
        keys: &ScopeKeys,
        tenant: &TenantId,
    ) -> Result<Option<Arc<ScopeKeys>>, Error> {
        match self.open(keys, tenant) {
            Err(error @ Error::Sealed(_)) => {
                let key = hex(&self.id);
                tracing::error!(%error, %tenant, key, "a person's key cannot be decrypted");
                Ok(None)
            }
            key => key.map(Some),
        }
    }
}

/// Keys by their people.
type Opened = HashMap<PersonHash, Arc<ScopeKeys>>;

/// People of one tenant whose keys a call needs.
#[derive(Clone)]
struct Wanted {
    tenant: TenantId,
    /// The tenant's.
    keys: Arc<ScopeKeys>,
    people: Vec<(PersonHash, UserId)>,
    need: Need,
}

/// The use that a call makes of the keys.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// It can do without those that do not exist.
    Stored,
    /// Missing keys are made. The write checks that the keys still exist.
    Made,
    /// Missing keys are made, and the use is recorded, because the write does not check the keys.
    Noted,
}

impl Need {
    fn is_met_by(self, stored: Option<&WrappedKey>) -> bool {
        match self {
            Self::Stored => true,
            Self::Made => stored.is_some(),
            Self::Noted => stored.is_some_and(|key| !key.unnoted),
        }
    }
}

impl Wanted {
    /// The people whose keys must be made, or noted.
    fn unmet<'a>(
        &'a self,
        stored: &'a HashMap<PersonHash, WrappedKey>,
    ) -> impl Iterator<Item = (&'a PersonHash, &'a UserId)> {
        let people = self.people.iter().map(|(person, user)| (person, user));
        people.filter(move |(person, _)| !self.need.is_met_by(stored.get(*person)))
    }

    /// [`Error::Sealed`]: one of the keys is damaged.
    fn open(&self, stored: &HashMap<PersonHash, WrappedKey>) -> Result<Opened, Error> {
        let theirs = self.people.iter().filter_map(|(person, _)| stored.get(person));
        let opened = theirs.map(|stored| {
            let key = stored.open_or_report(&self.keys, &self.tenant)?;
            Ok((stored.person, key.ok_or_else(altered)?))
        });
        opened.collect()
    }
}

/// The opened keys in memory, and the calls that read others together.
pub(in crate::store) struct PersonKeys {
    by_person: Cache<PersonHash, Arc<ScopeKeys>>,
    by_id: Cache<(TenantId, PersonKeyId), Arc<ScopeKeys>>,
    reading: Group<TenantId, Wanted, Result<Opened, Error>>,
    /// Whether they encrypt new values; otherwise the tenant's key does (`store.person_keys`).
    in_use: bool,
}

impl PersonKeys {
    pub(in crate::store) fn new(backend: Backend, in_use: bool) -> Self {
        let bounds =
            Bounds { items: 128, rows: 2_000, bytes: usize::MAX, at_once: at_once(backend) };
        Self {
            by_person: cache(CACHED_FOR),
            by_id: cache(CACHED_FOR),
            reading: Group::new(bounds),
            in_use,
        }
    }

    async fn keep(&self, tenant: &TenantId, person: PersonHash, key: &Arc<ScopeKeys>) {
        self.by_person.insert(person, Arc::clone(key)).await;
        if let Some(id) = key.person() {
            self.by_id.insert((tenant.clone(), id.to_vec()), Arc::clone(key)).await;
        }
    }
}

impl Store {
    /// The key of a person for the audit trail, made if it is missing and not taken from memory.
    /// May write, so never use it inside a transaction.
    pub(in crate::store) async fn person_key(
        &self,
        tenant: &TenantId,
        user: &UserId,
    ) -> Result<(PersonKeyId, Arc<ScopeKeys>), Error> {
        let keys = self.keys(&KeyScope::Tenant(tenant.clone())).await?;
        let person = person_hash(&keys, user)?;
        let people = vec![(person, user.clone())];
        let key = self.stored_keys(tenant, &keys, people, Need::Noted).await?.remove(&person);
        let key = key.ok_or_else(|| Error::Bug("a person's key was not made".into()))?;
        let id = key.person().unwrap_or_default().to_vec();
        let in_use = self.inner.person_keys.in_use;
        Ok((id, if in_use { key } else { Arc::new(key.as_before()) }))
    }

    /// Those of these keys that were neither erased nor damaged; not taken from memory.
    pub(in crate::store) async fn person_keys(
        &self,
        tenant: &TenantId,
        ids: &BTreeSet<PersonKeyId>,
    ) -> Result<HashMap<PersonKeyId, Arc<ScopeKeys>>, Error> {
        let read = self.keys_with_ids(tenant, ids).await?;
        Ok(read.into_iter().map(|(wrapped, key)| (wrapped.id, key)).collect())
    }

    async fn keys_with_ids(
        &self,
        tenant: &TenantId,
        ids: &BTreeSet<PersonKeyId>,
    ) -> Result<Vec<(WrappedKey, Arc<ScopeKeys>)>, Error> {
        let keys = self.keys(&KeyScope::Tenant(tenant.clone())).await?;
        let named = ids.iter().map(|id| [tenant.as_str().into(), id.clone().into()]).collect();
        let mut found = Vec::new();
        for wrapped in find(self.reader(), "k.id", named, "").await? {
            if let Some(key) = wrapped.open_or_report(&keys, tenant)? {
                found.push((wrapped, key));
            }
        }
        Ok(found)
    }

    /// The stored keys of these people. Calls at the same time share the statements: one that
    /// reads, and one that makes or notes keys, if any. A call whose keys cannot be made because
    /// another transaction holds a row is tried by itself (`apart`), so that it holds up no other.
    async fn stored_keys(
        &self,
        tenant: &TenantId,
        keys: &Arc<ScopeKeys>,
        people: Vec<(PersonHash, UserId)>,
        need: Need,
    ) -> Result<Opened, Error> {
        let rows = people.len();
        let wanted = Wanted { tenant: tenant.clone(), keys: Arc::clone(keys), people, need };
        let (owner, item) = (tenant.clone(), wanted.clone());
        let group = &self.inner.person_keys.reading;
        let read = group.read(self, owner, item, rows, |store, wanted| async move {
            store.read_or_make(&wanted, Patience::Shared).await
        });
        match read.await {
            Err(Error::Locked(_)) => {}
            read => return read,
        }
        let one = std::slice::from_ref(&wanted);
        let work = |patience| async move {
            let read = self.read_or_make(one, patience).await?.pop();
            read.unwrap_or_else(|| Err(Error::Bug("keys without an outcome".into())))
        };
        self.inner.apart.run(tenant, work).await
    }

    /// One outcome for each, in order. [`Error::Locked`]: keys are missing, and the row of one of
    /// these or of another call is locked, or the tenant's calls must stay out of batches.
    async fn read_or_make(
        &self,
        wanted: &[Wanted],
        patience: Patience,
    ) -> Result<Vec<Result<Opened, Error>>, Error> {
        let mut asked = BTreeSet::new();
        for one in wanted {
            asked.extend(one.people.iter().map(|(person, _)| (one.tenant.as_str(), *person)));
        }
        let mut found = find_people(self.reader(), &asked, "").await?;
        let in_batches =
            |tenant: &TenantId| patience != Patience::Shared || !self.inner.apart.is_apart(tenant);
        let mut new = BTreeMap::new();
        for one in wanted.iter().filter(|one| in_batches(&one.tenant)) {
            for (person, user) in one.unmet(&found) {
                let key = NewKey::make(&one.keys, person, user)?;
                new.entry((one.tenant.as_str(), *person)).or_insert(key);
            }
        }
        let clock = patience.clock(self.writer().get_database_backend());
        match insert(self.writer(), &new, &clock).await {
            Ok(made) => found.extend(made),
            // The calls that need none of the new keys get theirs.
            Err(Error::Locked(_)) => {}
            Err(error) => return Err(error),
        }
        let outcomes = wanted.iter().map(|one| match one.unmet(&found).next() {
            Some(_) => Err(Error::Locked("keys of people".into())),
            None => one.open(&found),
        });
        Ok(outcomes.collect())
    }
}

/// A tenant, and a person of it.
type Named<'a> = (&'a str, PersonHash);

/// The stored keys of these people; `lock` is as in [`find`].
async fn find_people(
    db: &impl ConnectionTrait,
    asked: &BTreeSet<Named<'_>>,
    lock: &str,
) -> Result<HashMap<PersonHash, WrappedKey>, Error> {
    let named = asked.iter().map(|(tenant, person)| [(*tenant).into(), person.to_vec().into()]);
    let found = find(db, "k.person", named.collect(), lock).await?;
    Ok(found.into_iter().map(|key| (key.person, key)).collect())
}

/// The stored keys of these tenants whose `column` has these values; `lock` is the clause that
/// locks their rows, or empty.
async fn find(
    db: &impl ConnectionTrait,
    column: &str,
    named: Vec<[Value; 2]>,
    lock: &str,
) -> Result<Vec<WrappedKey>, Error> {
    let backend = db.get_database_backend();
    let key = by_key(backend, column, "column2");
    let noted = micros(NOTED_EVERY);
    let mut found = Vec::new();
    for (table, values) in given(backend, [Column::Text, Column::Bytes], named) {
        let text = format!(
            "SELECT {KEY_COLUMNS},
                    CASE
                        WHEN k.name IS NOT NULL AND k.used_at > {{now}} - {noted} THEN 0
                        ELSE 1 END AS key_unnoted
                FROM {table}
                JOIN person_keys k ON k.tenant = column1 AND {key} {lock}"
        );
        for row in sql::all(db, &text, values).await? {
            let unnoted = row.named::<i32>("key_unnoted")? != 0;
            found.extend(WrappedKey::joined(&row)?.map(|key| WrappedKey { unnoted, ..key }));
        }
    }
    Ok(found)
}

/// Stores new keys; returns the keys that these people now have, because the first insert decides.
/// The use of one that was there is recorded. The rows that are returned are locked until the
/// commit. `clock` is the table that the time is read from.
async fn insert(
    db: &impl ConnectionTrait,
    new: &BTreeMap<Named<'_>, NewKey>,
    clock: &str,
) -> Result<HashMap<PersonHash, WrappedKey>, Error> {
    let rows = new.iter().map(|((tenant, person), key)| {
        [
            NewCell("tenant", Column::Text, (*tenant).into()),
            NewCell("person", Column::Bytes, person.to_vec().into()),
            NewCell("id", Column::Bytes, key.id.clone().into()),
            NewCell("wrapped", Column::Bytes, key.wrapped.clone().into()),
            NewCell("name", Column::Bytes, key.name.clone().into()),
        ]
    });
    let mut stored = HashMap::new();
    let Some(rows) = NewRows::of(db.get_database_backend(), rows.collect()) else {
        return Ok(stored);
    };
    let (names, values) = (rows.names(), rows.values());
    for (table, parameters) in rows.tables {
        // The update returns the row that was there, and locks it.
        let text = format!(
            "INSERT INTO person_keys ({names}, created_at, used_at)
                SELECT {values}, clock.now, clock.now
                FROM {clock}, {table}
                WHERE TRUE
                ON CONFLICT (tenant, person) DO UPDATE
                SET used_at = excluded.used_at,
                    name = COALESCE(person_keys.name, excluded.name) {RETURNING}"
        );
        for row in sql::all(db, &text, parameters).await? {
            stored.extend(WrappedKey::joined(&row)?.map(|key| (key.person, key)));
        }
    }
    Ok(stored)
}

/// Erases a person's key and returns it, unless it is damaged; `keys` are the tenant's. A write
/// with this key that is under way ends first, so later statements of the transaction find its
/// rows.
pub(in crate::store) async fn erase(
    tx: &Tx,
    keys: &ScopeKeys,
    tenant: &TenantId,
    user: &UserId,
) -> Result<Option<Arc<ScopeKeys>>, Error> {
    let text = format!("DELETE FROM person_keys WHERE tenant = $1 AND person = $2 {RETURNING}");
    let person = person_hash(keys, user)?.to_vec();
    let row = sql::one(tx, &text, params![tenant.as_str(), person]).await?;
    let wrapped = row.as_ref().map(WrappedKey::joined).transpose()?.flatten();
    wrapped.map_or(Ok(None), |wrapped| wrapped.open_or_report(keys, tenant))
}

/// The person's key, from the database; `None`: there is none, or it is damaged, which is logged.
/// `keys` are the tenant's.
pub(in crate::store) async fn stored(
    tx: &Tx,
    keys: &ScopeKeys,
    tenant: &TenantId,
    user: &UserId,
) -> Result<Option<Arc<ScopeKeys>>, Error> {
    let text =
        format!("SELECT {KEY_COLUMNS} FROM person_keys k WHERE k.tenant = $1 AND k.person = $2");
    let person = person_hash(keys, user)?.to_vec();
    let row = sql::one(tx, &text, params![tenant.as_str(), person]).await?;
    let wrapped = row.as_ref().map(WrappedKey::joined).transpose()?.flatten();
    wrapped.map_or(Ok(None), |wrapped| wrapped.open_or_report(keys, tenant))
}

/// Whether the key with the id `id` of the tenant `tenant` (both expressions) exists, as a
/// condition. The key's row is then locked until the commit, so that it cannot be erased before.
pub(in crate::store) fn key_exists(tenant: &str, id: &str) -> String {
    format!(
        "EXISTS (SELECT 1 FROM person_keys k WHERE k.tenant = {tenant}
            AND k.id = {id} {{for_key_share}})"
    )
}

/// [`key_exists`] for the key of a sealed value (an expression); true if no person's key sealed it.
pub(in crate::store) fn key_lives(backend: DbBackend, tenant: &str, sealed: &str) -> String {
    let of_person = match backend {
        DbBackend::Postgres => format!("'\\x{OF_PERSON:02x}'::bytea"),
        _ => format!("x'{OF_PERSON:02x}'"),
    };
    let exists = key_exists(tenant, &named_in(sealed));
    format!("(substr({sealed}, 1, 1) <> {of_person} OR {exists})")
}

/// Joins the key of a sealed value (an expression) as `k`.
pub(in crate::store) fn join_key(backend: DbBackend, tenant: &str, sealed: &str) -> String {
    let id = by_key(backend, "k.id", &named_in(sealed));
    format!("LEFT JOIN person_keys k ON k.tenant = {tenant} AND {id}")
}

/// The id of the key in a value; of a value in another layout, bytes that name no key.
fn named_in(sealed: &str) -> String {
    format!("substr({sealed}, 2, {PERSON_ID_BYTES})")
}

/// The person's hash; `keys` are the tenant's.
pub(in crate::store) fn person_hash(keys: &ScopeKeys, user: &UserId) -> Result<PersonHash, Error> {
    keys.mac("person", &[user.as_str().as_bytes()])
}

fn altered() -> Error {
    Error::Sealed("a person's key: its row was altered".into())
}

fn place(row: &str) -> SealedCell<'_> {
    SealedCell { table: "person_keys", row, column: "wrapped" }
}

/// The place of the user id in the row of a person's hash, under the tenant's key.
pub(in crate::store) fn place_of_name(person: &str) -> SealedCell<'_> {
    SealedCell { table: "person_keys", row: person, column: "name" }
}

/// Two digits for each byte.
pub(in crate::store) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
