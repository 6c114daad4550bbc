//! Encryption at rest: XChaCha20-Poly1305 with a data key per tenant, installation or person.
//!
//! A data key is made on demand, wrapped by the key-encryption key and stored in `data_keys`. A
//! sealed value names its key and is bound to its place (scope, table, row, column): once moved or
//! altered, it no longer decrypts (invariant I12). Random 192-bit nonces need no counter.
//!
//! Layout, version 1: version (1 byte), key id (4, big-endian), nonce (24), ciphertext and tag.
//! Version 2 has the id of a person's key (16 bytes, `person_keys`) in place of the key id. Data of
//! one person is sealed by the tenant's key, in version 1, if it was written before people had
//! keys, or without `store.person_keys`.
//!
//! Deadlock trap: making a data key writes. Call [`Store::keys`] *before* a transaction; sealing
//! itself does not use the database. Opening may read, on the readers' pool.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sea_orm::ConnectionTrait;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::cache::cache;
use super::cipher::{Key, NONCE_BYTES, decrypt, encrypt, new_key};
use super::kek::{KEK_ID_BYTES, Kek, Keks};
use crate::domain::ids::{InstallationId, TenantId};
use crate::domain::time::micros;
use crate::store::database::sql::{self, params};
use crate::store::{Error, Store};

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 1 + 4;
/// The layout of a value that a person's key seals.
pub(in crate::store) const OF_PERSON: u8 = 2;
/// The length of the id of a person's key, which follows the version.
pub(in crate::store) const PERSON_ID_BYTES: usize = 16;
/// How long the keys of a scope are kept in memory.
const CACHED_FOR: Duration = Duration::from_secs(3600);
/// How long the name of a deleted tenant cannot be used again: longer than its destroyed keys are
/// kept in memory.
pub(in crate::store) const NAME_KEPT: Duration = CACHED_FOR.saturating_mul(2);
/// The scope whose key proves the key-encryption key right.
const STORE_SCOPE: &str = "store";

/// The owner of the data key that seals a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) enum KeyScope {
    Tenant(TenantId),
    Installation(InstallationId),
    /// The chain of the audit trail, and its entries without a tenant.
    Audit,
    /// The store's own check value only.
    Store,
}

/// The beginning of the scope of a tenant, before its name.
const OF_TENANT: &str = "tenant:";

impl KeyScope {
    pub(in crate::store) fn text(&self) -> String {
        match self {
            Self::Tenant(tenant) => format!("{OF_TENANT}{tenant}"),
            Self::Installation(id) => format!("installation:{id}"),
            Self::Audit => "audit".to_owned(),
            Self::Store => STORE_SCOPE.to_owned(),
        }
    }
}

/// The place of a sealed value. `row` is the row's key within its scope.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct SealedCell<'a> {
    pub(in crate::store) table: &'static str,
    pub(in crate::store) row: &'a str,
    pub(in crate::store) column: &'static str,
}

impl SealedCell<'_> {
    fn named(&self) -> String {
        format!(
            "{}.{}: the key is a different one, or the value was altered or moved",
            self.table, self.column
        )
    }
}

/// The data keys of one scope. Values are sealed with the newest.
pub(in crate::store) struct ScopeKeys {
    scope: String,
    keys: BTreeMap<u32, Key>,
    /// The id of a person's key, which is then the only key of its scope.
    person: Option<Vec<u8>>,
}

impl ScopeKeys {
    /// Seals `plain` for exactly this `place`.
    pub(in crate::store) fn seal(
        &self,
        place: &SealedCell<'_>,
        plain: &[u8],
    ) -> Result<Vec<u8>, Error> {
        let newest = self.keys.last_key_value();
        let (id, key) = newest.ok_or_else(|| Error::Bug("a scope without a data key".into()))?;
        let header = match &self.person {
            Some(person) => [&[OF_PERSON][..], person].concat(),
            None => header(*id),
        };
        let mut sealed = Vec::with_capacity(header.len() + NONCE_BYTES + plain.len() + 16);
        sealed.extend_from_slice(&header);
        encrypt(key, &self.associated(place, &header), plain, &mut sealed)?;
        Ok(sealed)
    }

    /// Opens a value that [`ScopeKeys::seal`] made for the same place; otherwise [`Error::Sealed`].
    pub(in crate::store) fn open(
        &self,
        place: &SealedCell<'_>,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        let failed = || Error::Sealed(place.named());
        let (key, header, rest) = self.parts(sealed).ok_or_else(failed)?;
        decrypt(key, &self.associated(place, header), rest).ok_or_else(failed)
    }

    /// The key that a value names, the value's header, and the rest of the value.
    fn parts<'a>(&self, sealed: &'a [u8]) -> Option<(&Key, &'a [u8], &'a [u8])> {
        let (key, length) = match person_of(sealed) {
            Some(person) if self.person.as_deref() != Some(person) => return None,
            Some(person) => (self.keys.values().next()?, 1 + person.len()),
            None => (self.keys.get(&key_id(sealed)?)?, HEADER_BYTES),
        };
        let (header, rest) = sealed.split_at_checked(length)?;
        Some((key, header, rest))
    }

    /// The key of one person, with this id, as the only key of its own scope.
    pub(in crate::store) fn of_person(scope: String, id: Vec<u8>, key: Key) -> Self {
        Self { scope, keys: BTreeMap::from([(1, key)]), person: Some(id) }
    }

    /// The same keys, which seal in version 1, for releases that cannot open version 2.
    pub(in crate::store) fn as_before(&self) -> Self {
        Self { scope: self.scope.clone(), keys: self.keys.clone(), person: None }
    }

    /// The id of a person's key; `None`: the keys of another scope.
    pub(in crate::store) fn person(&self) -> Option<&[u8]> {
        self.person.as_deref()
    }

    /// A keyed hash with the oldest key, so that it stays the same when a key is added. `label`
    /// names the purpose: a hash made for one purpose is useless for another.
    pub(in crate::store) fn mac(&self, label: &str, parts: &[&[u8]]) -> Result<[u8; 32], Error> {
        let oldest = self.keys.values().next();
        let key = oldest.ok_or_else(|| Error::Bug("a scope without a data key".into()))?;
        let mut mac = Hmac::<Sha256>::new_from_slice(&key[..])
            .map_err(|_| Error::Bug("a key of no length".into()))?;
        for part in [&[label.as_bytes(), self.scope.as_bytes()], parts].concat() {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        Ok(mac.finalize().into_bytes().into())
    }

    fn associated(&self, place: &SealedCell<'_>, header: &[u8]) -> Vec<u8> {
        bound(header, &["value", &self.scope, place.table, place.row, place.column])
    }
}

/// The id of the person's key that sealed a value; `None`: it has another layout.
pub(in crate::store) fn person_of(sealed: &[u8]) -> Option<&[u8]> {
    let (version, rest) = sealed.split_first()?;
    let id = rest.get(..PERSON_ID_BYTES)?;
    (*version == OF_PERSON).then_some(id)
}

fn header(key_id: u32) -> Vec<u8> {
    [&[VERSION][..], &key_id.to_be_bytes()].concat()
}

fn key_id(sealed: &[u8]) -> Option<u32> {
    let (version, rest) = sealed.split_first()?;
    let id = rest.first_chunk::<4>()?;
    (*version == VERSION).then(|| u32::from_be_bytes(*id))
}

fn associated(parts: &[&str], key_id: u32) -> Vec<u8> {
    bound(&header(key_id), parts)
}

/// Prefixes each part with its length, so that no two lists give the same bytes.
fn bound(header: &[u8], parts: &[&str]) -> Vec<u8> {
    let mut bytes = header.to_vec();
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    bytes
}

/// The key-encryption keys and the data keys in memory.
pub(in crate::store) struct Keyring {
    keks: Keks,
    scopes: moka::future::Cache<String, Arc<ScopeKeys>>,
}

impl Keyring {
    pub(in crate::store) fn new(keks: Keks) -> Self {
        Self { keks, scopes: cache(CACHED_FOR) }
    }

    /// Layout: version, id of the key-encryption key, and its output: nonce, ciphertext and tag, or
    /// the text of a key service.
    async fn wrap(&self, scope: &str, key_id: u32, data_key: &Key) -> Result<Vec<u8>, Error> {
        let kek = &self.keks.wraps;
        let mut wrapped = vec![VERSION];
        wrapped.extend_from_slice(&kek.id());
        wrapped.extend(kek.wrap(&associated(&["data key", scope], key_id), data_key).await?);
        Ok(wrapped)
    }

    async fn unwrap(&self, scope: &str, key_id: u32, wrapped: &[u8]) -> Result<Key, Error> {
        let altered = || Error::Sealed("a data key: its row was altered or moved".into());
        let (kek_id, rest) = parts(wrapped).ok_or_else(altered)?;
        let mut known = std::iter::once(&self.keks.wraps).chain(&self.keks.opens);
        let kek = known.find(|kek| kek.id() == *kek_id).ok_or_else(|| {
            Error::Sealed(
                "the database: store.key is not the key that it was encrypted with (nor is \
                 store.previous_key, or store.vault_key)"
                    .into(),
            )
        })?;
        let aad = associated(&["data key", scope], key_id);
        kek.unwrap(&aad, rest).await?.ok_or_else(altered)
    }

    /// The same data key, wrapped by the current key-encryption key; `None`: it already is.
    pub(in crate::store) async fn rewrap(
        &self,
        scope: &str,
        key_id: u32,
        wrapped: &[u8],
    ) -> Result<Option<Vec<u8>>, Error> {
        let kek: &dyn Kek = self.keks.wraps.as_ref();
        if let Some((id, rest)) = parts(wrapped)
            && *id == kek.id()
            && kek.is_newest(rest).await?
        {
            return Ok(None);
        }
        let key = self.unwrap(scope, key_id, wrapped).await?;
        self.wrap(scope, key_id, &key).await.map(Some)
    }
}

/// The id of the key-encryption key, and its output.
fn parts(wrapped: &[u8]) -> Option<(&[u8; KEK_ID_BYTES], &[u8])> {
    let (version, rest) = wrapped.split_first()?;
    (*version == VERSION).then(|| rest.split_first_chunk::<KEK_ID_BYTES>()).flatten()
}

impl Store {
    /// The data keys of a scope, made if missing. May write, so never use it inside a transaction.
    pub(in crate::store) async fn keys(&self, scope: &KeyScope) -> Result<Arc<ScopeKeys>, Error> {
        let scope = scope.text();
        let keyring = &self.inner.keyring;
        let load = async {
            match self.load_keys(&scope).await? {
                Some(keys) => Ok(Arc::new(keys)),
                None => self.create_key(&scope).await.map(Arc::new),
            }
        };
        let loaded = keyring.scopes.try_get_with_by_ref(&scope, load).await;
        loaded.map_err(|error: Arc<Error>| (*error).clone())
    }

    /// Opens a sealed value. It only reads, on the readers' pool, so it is allowed inside a
    /// transaction. A key that another replica has made meanwhile is loaded.
    pub(in crate::store) async fn unseal(
        &self,
        scope: &KeyScope,
        place: &SealedCell<'_>,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        let scope = scope.text();
        let scopes = &self.inner.keyring.scopes;
        let cached = scopes.get(&scope).await;
        let known =
            cached.filter(|keys| key_id(sealed).is_some_and(|id| keys.keys.contains_key(&id)));
        if let Some(keys) = known {
            return keys.open(place, sealed);
        }
        let Some(keys) = self.load_keys(&scope).await? else {
            return Err(Error::Sealed(place.named()));
        };
        let keys = Arc::new(keys);
        scopes.insert(scope, keys.clone()).await;
        keys.open(place, sealed)
    }

    /// Proves the key-encryption key with the store's own data key, which is made on the first
    /// start.
    pub(in crate::store) async fn verify_key(&self) -> Result<(), Error> {
        self.keys(&KeyScope::Store).await.map(|_| ())
    }

    async fn load_keys(&self, scope: &str) -> Result<Option<ScopeKeys>, Error> {
        const SQL: &str = "SELECT key_id, wrapped FROM data_keys WHERE scope = $1";
        let mut keys = BTreeMap::new();
        for row in sql::all(self.reader(), SQL, params![scope]).await? {
            let id = u32::try_from(row.get::<i32>(0)?)
                .map_err(|_| Error::Sealed("a data key: its row was altered".into()))?;
            let wrapped: Vec<u8> = row.get(1)?;
            keys.insert(id, self.inner.keyring.unwrap(scope, id, &wrapped).await?);
        }
        let scope = scope.to_owned();
        Ok((!keys.is_empty()).then_some(ScopeKeys { scope, keys, person: None }))
    }

    /// The first insert decides; the others read its key. None is made for a tenant that was
    /// deleted so lately that a replica may still have its destroyed key in memory: the two would
    /// have the same id.
    async fn create_key(&self, scope: &str) -> Result<ScopeKeys, Error> {
        const SQL: &str = "INSERT INTO data_keys (scope, key_id, wrapped, created_at)
            SELECT CAST($1 AS text), 1, $2, {now}
            WHERE NOT EXISTS (SELECT 1
                FROM erased_tenants e
                WHERE e.tenant = $3 AND e.erased_at > {now} - CAST($4 AS bigint))
            ON CONFLICT DO NOTHING";
        let key = new_key();
        let wrapped = self.inner.keyring.wrap(scope, 1, &key).await?;
        let tenant = scope.strip_prefix(OF_TENANT);
        let values = params![scope, wrapped, tenant.unwrap_or_default(), micros(NAME_KEPT)];
        sql::execute(self.writer(), SQL, values).await?;
        match self.load_keys(scope).await? {
            Some(keys) => Ok(keys),
            None if tenant.is_some() => Err(Error::TenantDeleted),
            None => Err(Error::Bug("a data key was stored and is not there".into())),
        }
    }

    /// Forgets the keys of a scope that were destroyed.
    pub(in crate::store) async fn forget_keys_of(&self, scope: &KeyScope) {
        self.inner.keyring.scopes.invalidate(&scope.text()).await;
    }
}

/// Whether the database holds sealed data; `false` if there is no schema yet.
pub(in crate::store) async fn in_use(db: &impl ConnectionTrait) -> Result<bool, Error> {
    const SQL: &str = "SELECT 1 FROM data_keys WHERE scope = $1";
    match sql::one(db, SQL, params![STORE_SCOPE]).await {
        Ok(row) => Ok(row.is_some()),
        Err(Error::Schema(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::seal::cipher::KEY_BYTES;

    fn keys(scope: &KeyScope, byte: u8) -> ScopeKeys {
        let keys = BTreeMap::from([(1, Zeroizing::new([byte; KEY_BYTES]))]);
        ScopeKeys { scope: scope.text(), keys, person: None }
    }

    fn persons(id: u8, byte: u8) -> ScopeKeys {
        let key = Zeroizing::new([byte; KEY_BYTES]);
        ScopeKeys::of_person("person:acme".into(), vec![id; PERSON_ID_BYTES], key)
    }

    fn tenant(name: &str) -> KeyScope {
        KeyScope::Tenant(TenantId::parse(name).unwrap())
    }

    const PLACE: SealedCell<'static> = SealedCell { table: "people", row: "u1", column: "record" };

    #[test]
    fn opens_where_it_was_sealed_and_nowhere_else() {
        let ours = keys(&tenant("acme"), 7);
        let sealed = ours.seal(&PLACE, b"hello").unwrap();
        assert_eq!(&**ours.open(&PLACE, &sealed).unwrap(), b"hello");
        let moved = [
            SealedCell { row: "u2", ..PLACE },
            SealedCell { column: "identity_name", ..PLACE },
            SealedCell { table: "preferences", ..PLACE },
        ];
        for place in moved {
            assert!(matches!(ours.open(&place, &sealed), Err(Error::Sealed(_))), "{place:?}");
        }
        // Another tenant, even with the same key bytes; and the same tenant with another key.
        assert!(keys(&tenant("umbrella"), 7).open(&PLACE, &sealed).is_err());
        assert!(keys(&tenant("acme"), 8).open(&PLACE, &sealed).is_err());
    }

    #[test]
    fn no_flipped_bit_and_no_cut_opens() {
        for ours in [keys(&tenant("acme"), 7), persons(1, 7)] {
            let sealed = ours.seal(&PLACE, b"hello").unwrap();
            for bit in 0..sealed.len() * 8 {
                let mut altered = sealed.clone();
                altered[bit / 8] ^= 1 << (bit % 8);
                assert!(ours.open(&PLACE, &altered).is_err(), "bit {bit}");
            }
            for length in 0..sealed.len() {
                assert!(ours.open(&PLACE, &sealed[..length]).is_err(), "cut to {length}");
            }
        }
    }

    #[test]
    fn a_value_of_a_person_names_its_key_and_opens_with_no_other() {
        let ours = persons(1, 7);
        let sealed = ours.seal(&PLACE, b"hello").unwrap();
        assert_eq!(person_of(&sealed), Some(&[1; PERSON_ID_BYTES][..]));
        assert_eq!(&**ours.open(&PLACE, &sealed).unwrap(), b"hello");
        for other in [persons(2, 7), persons(1, 8), keys(&tenant("acme"), 7)] {
            assert!(matches!(other.open(&PLACE, &sealed), Err(Error::Sealed(_))));
        }
        assert_eq!(person_of(&keys(&tenant("acme"), 7).seal(&PLACE, b"hello").unwrap()), None);
    }

    #[test]
    fn a_person_s_key_opens_the_layout_of_older_entries_of_the_trail() {
        let ours = persons(1, 7);
        let old = ScopeKeys { scope: ours.scope.clone(), person: None, ..persons(1, 7) };
        let sealed = old.seal(&PLACE, b"hello").unwrap();
        let as_before = ours.as_before().seal(&PLACE, b"hello").unwrap();
        assert_eq!(as_before[0], VERSION);
        assert_eq!(&**old.open(&PLACE, &as_before).unwrap(), b"hello");
        assert_eq!(sealed[0], VERSION);
        assert_eq!(&**ours.open(&PLACE, &sealed).unwrap(), b"hello");
    }

    #[test]
    fn the_boundaries_of_a_place_are_bound() {
        let ours = keys(&tenant("acme"), 7);
        let one = SealedCell { table: "t", row: "ab", column: "c" };
        let two = SealedCell { table: "ta", row: "b", column: "c" };
        let sealed = ours.seal(&one, b"x").unwrap();
        assert!(ours.open(&two, &sealed).is_err());
    }

    fn local(byte: u8) -> Arc<dyn Kek> {
        Arc::new(crate::store::seal::kek::Local::new(Zeroizing::new([byte; KEY_BYTES])))
    }

    fn ring(wraps: u8, opens: &[u8]) -> Keyring {
        let opens = opens.iter().map(|byte| local(*byte)).collect();
        Keyring::new(Keks { wraps: local(wraps), opens })
    }

    #[tokio::test]
    async fn a_data_key_opens_for_its_scope_and_key_alone() {
        let one = ring(1, &[]);
        let key = Zeroizing::new([9; KEY_BYTES]);
        let wrapped = one.wrap("tenant:acme", 1, &key).await.unwrap();
        assert_eq!(one.unwrap("tenant:acme", 1, &wrapped).await.unwrap(), key);
        assert!(one.unwrap("tenant:umbrella", 1, &wrapped).await.is_err());
        assert!(one.unwrap("tenant:acme", 2, &wrapped).await.is_err());
        let error = ring(2, &[]).unwrap("tenant:acme", 1, &wrapped).await.unwrap_err();
        assert!(error.to_string().contains("store.key"), "{error}");
    }

    #[tokio::test]
    async fn an_older_key_opens_until_the_data_key_is_wrapped_anew() {
        let key = Zeroizing::new([9; KEY_BYTES]);
        let wrapped = ring(1, &[]).wrap("tenant:acme", 1, &key).await.unwrap();
        let both = ring(2, &[1]);
        assert_eq!(both.unwrap("tenant:acme", 1, &wrapped).await.unwrap(), key);
        let anew = both.rewrap("tenant:acme", 1, &wrapped).await.unwrap().unwrap();
        assert_eq!(ring(2, &[]).unwrap("tenant:acme", 1, &anew).await.unwrap(), key);
        assert!(ring(1, &[]).unwrap("tenant:acme", 1, &anew).await.is_err());
        assert_eq!(both.rewrap("tenant:acme", 1, &anew).await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_a_release_before_wrapped_opens() {
        // Layout of the first release: version, id of the key, nonce, ciphertext and tag.
        let (kek, key) = (Zeroizing::new([1; KEY_BYTES]), [9; KEY_BYTES]);
        let digest = <Sha256 as sha2::Digest>::new();
        let digest = sha2::Digest::chain_update(digest, b"herald kek id");
        let digest = sha2::Digest::finalize(sha2::Digest::chain_update(digest, *kek));
        let mut wrapped = vec![VERSION];
        wrapped.extend_from_slice(&digest[..KEK_ID_BYTES]);
        let aad = associated(&["data key", "tenant:acme"], 1);
        encrypt(&kek, &aad, &key, &mut wrapped).unwrap();
        assert_eq!(*ring(1, &[]).unwrap("tenant:acme", 1, &wrapped).await.unwrap(), key);
    }
}
