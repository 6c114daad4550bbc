//! Sealing at rest: XChaCha20-Poly1305 under a data key per tenant or installation.
//!
//! A data key is made on demand, wrapped by the key-encryption key and kept in `data_keys`. A
//! sealed value names its key and is bound to its place (scope, table, row, column): moved or
//! altered, it never opens (invariant I12). Random 192-bit nonces need no counter.
//!
//! Layout, version 1: version (1 byte), key id (4, big-endian), nonce (24), ciphertext and tag.
//!
//! Deadlock trap: making a data key writes. Call [`Store::keys`] *before* a transaction; sealing
//! itself touches no database. Opening may read, on the readers' pool.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use sea_orm::ConnectionTrait;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::kek::{KEY_BYTES, Key};
use super::sql::{self, params};
use super::{Error, Store};
use crate::domain::ids::{InstallationId, TenantId};

const VERSION: u8 = 1;
const NONCE_BYTES: usize = 24;
const HEADER_BYTES: usize = 1 + 4;
/// Identifies a key-encryption key without giving anything of it away.
const KEK_ID_BYTES: usize = 8;
/// Scopes whose keys are kept in memory, and for how long.
const CACHED_SCOPES: u64 = 10_000;
const CACHED_FOR: Duration = Duration::from_secs(3600);
/// The scope whose key proves the key-encryption key right.
const STORE_SCOPE: &str = "store";

/// Whose data key seals a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) enum Scope {
    Tenant(TenantId),
    Installation(InstallationId),
    /// Nobody's: the check value alone.
    Store,
}

impl Scope {
    fn text(&self) -> String {
        match self {
            Self::Tenant(tenant) => format!("tenant:{tenant}"),
            Self::Installation(id) => format!("installation:{id}"),
            Self::Store => STORE_SCOPE.to_owned(),
        }
    }
}

/// Where a sealed value stands. `row` is the row's key within its scope.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Place<'a> {
    pub(in crate::store) table: &'static str,
    pub(in crate::store) row: &'a str,
    pub(in crate::store) column: &'static str,
}

impl Place<'_> {
    fn named(&self) -> String {
        format!(
            "{}.{}: the key is another one, or the value was altered or moved",
            self.table, self.column
        )
    }
}

/// The data keys of one scope. Values are sealed with the newest.
pub(in crate::store) struct ScopeKeys {
    scope: String,
    keys: BTreeMap<u32, Key>,
}

impl ScopeKeys {
    /// Seals `plain` for exactly `place`.
    pub(in crate::store) fn seal(&self, place: &Place<'_>, plain: &[u8]) -> Result<Vec<u8>, Error> {
        let newest = self.keys.last_key_value();
        let (id, key) = newest.ok_or_else(|| Error::Bug("a scope without a data key".into()))?;
        let mut sealed = Vec::with_capacity(HEADER_BYTES + NONCE_BYTES + plain.len() + 16);
        sealed.push(VERSION);
        sealed.extend_from_slice(&id.to_be_bytes());
        encrypt(key, &self.associated(place, *id), plain, &mut sealed)?;
        Ok(sealed)
    }

    /// Opens what [`ScopeKeys::seal`] made for the same place; else [`Error::Sealed`].
    pub(in crate::store) fn open(
        &self,
        place: &Place<'_>,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        let failed = || Error::Sealed(place.named());
        let id = key_id(sealed).ok_or_else(failed)?;
        let key = self.keys.get(&id).ok_or_else(failed)?;
        decrypt(key, &self.associated(place, id), &sealed[HEADER_BYTES..]).ok_or_else(failed)
    }

    fn associated(&self, place: &Place<'_>, key_id: u32) -> Vec<u8> {
        associated(&["value", &self.scope, place.table, place.row, place.column], key_id)
    }
}

fn key_id(sealed: &[u8]) -> Option<u32> {
    let (version, rest) = sealed.split_first()?;
    let id = rest.first_chunk::<4>()?;
    (*version == VERSION).then(|| u32::from_be_bytes(*id))
}

/// Each part with its length before it, so that no two lists give the same bytes.
fn associated(parts: &[&str], key_id: u32) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&key_id.to_be_bytes());
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    bytes
}

fn encrypt(key: &Key, aad: &[u8], plain: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let nonce: [u8; NONCE_BYTES] = rand::random();
    let cipher = XChaCha20Poly1305::new(&(**key).into());
    let sealed = cipher
        .encrypt(&XNonce::from(nonce), Payload { msg: plain, aad })
        .map_err(|_| Error::Bug("a value is too long to seal".into()))?;
    out.extend_from_slice(&nonce);
    out.extend_from_slice(&sealed);
    Ok(())
}

fn decrypt(key: &Key, aad: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>()?;
    let cipher = XChaCha20Poly1305::new(&(**key).into());
    let plain = cipher.decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad }).ok()?;
    Some(Zeroizing::new(plain))
}

/// The key-encryption key and the data keys in memory.
pub(in crate::store) struct Keyring {
    kek: Key,
    kek_id: [u8; KEK_ID_BYTES],
    scopes: moka::future::Cache<String, Arc<ScopeKeys>>,
}

impl Keyring {
    pub(in crate::store) fn new(kek: Key) -> Self {
        let digest = Sha256::new().chain_update(b"herald kek id").chain_update(*kek).finalize();
        let mut kek_id = [0; KEK_ID_BYTES];
        kek_id.copy_from_slice(&digest[..KEK_ID_BYTES]);
        let scopes = moka::future::Cache::builder()
            .max_capacity(CACHED_SCOPES)
            .eviction_policy(moka::policy::EvictionPolicy::lru())
            .time_to_live(CACHED_FOR)
            .build();
        Self { kek, kek_id, scopes }
    }

    /// Layout: version, id of the key-encryption key, nonce, ciphertext and tag.
    fn wrap(&self, scope: &str, key_id: u32, data_key: &Key) -> Result<Vec<u8>, Error> {
        let mut wrapped = vec![VERSION];
        wrapped.extend_from_slice(&self.kek_id);
        encrypt(&self.kek, &associated(&["data key", scope], key_id), &**data_key, &mut wrapped)?;
        Ok(wrapped)
    }

    fn unwrap(&self, scope: &str, key_id: u32, wrapped: &[u8]) -> Result<Key, Error> {
        let altered = || Error::Sealed("a data key: its row was altered or moved".into());
        let (version, rest) = wrapped.split_first().ok_or_else(altered)?;
        let (kek_id, rest) = rest.split_first_chunk::<KEK_ID_BYTES>().ok_or_else(altered)?;
        if *version != VERSION {
            return Err(altered());
        }
        if *kek_id != self.kek_id {
            return Err(Error::Sealed(
                "the database: store.key is not the key that it was sealed with".into(),
            ));
        }
        let aad = associated(&["data key", scope], key_id);
        let plain = decrypt(&self.kek, &aad, rest).ok_or_else(altered)?;
        let key: [u8; KEY_BYTES] = plain.as_slice().try_into().map_err(|_| altered())?;
        Ok(Zeroizing::new(key))
    }
}

impl Store {
    /// The data keys of a scope, made where there are none. May write: never inside a transaction.
    pub(in crate::store) async fn keys(&self, scope: &Scope) -> Result<Arc<ScopeKeys>, Error> {
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

    /// Opens a sealed value. Reads at most, on the readers' pool: allowed inside a transaction.
    /// A key that another replica made meanwhile is loaded.
    pub(in crate::store) async fn unseal(
        &self,
        scope: &Scope,
        place: &Place<'_>,
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

    /// Proves the key-encryption key by the store's own data key, making that on the first start.
    pub(in crate::store) async fn verify_key(&self) -> Result<(), Error> {
        self.keys(&Scope::Store).await.map(|_| ())
    }

    async fn load_keys(&self, scope: &str) -> Result<Option<ScopeKeys>, Error> {
        const SQL: &str = "SELECT key_id, wrapped FROM data_keys WHERE scope = $1";
        let mut keys = BTreeMap::new();
        for row in sql::all(self.reader(), SQL, params![scope]).await? {
            let id = u32::try_from(row.get::<i32>(0)?)
                .map_err(|_| Error::Sealed("a data key: its row was altered".into()))?;
            let wrapped: Vec<u8> = row.get(1)?;
            keys.insert(id, self.inner.keyring.unwrap(scope, id, &wrapped)?);
        }
        Ok((!keys.is_empty()).then(|| ScopeKeys { scope: scope.to_owned(), keys }))
    }

    /// Whoever inserts first decides; the others read what is there.
    async fn create_key(&self, scope: &str) -> Result<ScopeKeys, Error> {
        const SQL: &str = "INSERT INTO data_keys (scope, key_id, wrapped, created_at)
            VALUES ($1, 1, $2, {now}) ON CONFLICT DO NOTHING";
        let mut key = Zeroizing::new([0u8; KEY_BYTES]);
        rand::fill(&mut key[..]);
        let wrapped = self.inner.keyring.wrap(scope, 1, &key)?;
        sql::execute(self.writer(), SQL, params![scope, wrapped]).await?;
        let keys = self.load_keys(scope).await?;
        keys.ok_or_else(|| Error::Bug("a data key was stored and is not there".into()))
    }
}

/// Whether the database holds sealed data. False where there is no schema yet.
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

    fn keys(scope: &Scope, byte: u8) -> ScopeKeys {
        let keys = BTreeMap::from([(1, Zeroizing::new([byte; KEY_BYTES]))]);
        ScopeKeys { scope: scope.text(), keys }
    }

    fn tenant(name: &str) -> Scope {
        Scope::Tenant(TenantId::parse(name).unwrap())
    }

    const PLACE: Place<'static> = Place { table: "people", row: "u1", column: "record" };

    #[test]
    fn opens_where_it_was_sealed_and_nowhere_else() {
        let ours = keys(&tenant("acme"), 7);
        let sealed = ours.seal(&PLACE, b"hello").unwrap();
        assert_eq!(&**ours.open(&PLACE, &sealed).unwrap(), b"hello");
        let moved = [
            Place { row: "u2", ..PLACE },
            Place { column: "identity_name", ..PLACE },
            Place { table: "preferences", ..PLACE },
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
        let ours = keys(&tenant("acme"), 7);
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

    #[test]
    fn the_boundaries_of_a_place_are_bound() {
        let ours = keys(&tenant("acme"), 7);
        let one = Place { table: "t", row: "ab", column: "c" };
        let two = Place { table: "ta", row: "b", column: "c" };
        let sealed = ours.seal(&one, b"x").unwrap();
        assert!(ours.open(&two, &sealed).is_err());
    }

    #[test]
    fn a_data_key_opens_for_its_scope_and_key_alone() {
        let ring = Keyring::new(Zeroizing::new([1; KEY_BYTES]));
        let key = Zeroizing::new([9; KEY_BYTES]);
        let wrapped = ring.wrap("tenant:acme", 1, &key).unwrap();
        assert_eq!(ring.unwrap("tenant:acme", 1, &wrapped).unwrap(), key);
        assert!(ring.unwrap("tenant:umbrella", 1, &wrapped).is_err());
        assert!(ring.unwrap("tenant:acme", 2, &wrapped).is_err());
        let other = Keyring::new(Zeroizing::new([2; KEY_BYTES]));
        let error = other.unwrap("tenant:acme", 1, &wrapped).unwrap_err();
        assert!(error.to_string().contains("store.key"), "{error}");
    }
}
