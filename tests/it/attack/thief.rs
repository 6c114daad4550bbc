//! An attacker with a copy of the database and the key-encryption key. It reads the layouts of
//! encrypted values as `src/store/seal/data_keys.rs` documents them, with code of its own.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use herald::store::Config;
use sea_orm::{ConnectionTrait as _, DatabaseConnection, QueryResult, Statement};

use crate::support::store::{KEY, raw};

const NONCE: usize = 24;

/// A connection to the database, and the key-encryption key.
pub(super) struct Thief {
    pub(super) raw: DatabaseConnection,
    kek: [u8; 32],
}

/// A key of a tenant, an installation or a person, decrypted.
pub(super) struct DataKey {
    pub(super) scope: String,
    pub(super) key: [u8; 32],
}

impl DataKey {
    pub(super) fn is_persons(&self) -> bool {
        self.scope.starts_with("person:")
    }
}

/// An encrypted value and its place.
#[derive(Debug)]
pub(super) struct Stolen {
    pub(super) table: &'static str,
    pub(super) row: String,
    pub(super) column: &'static str,
    pub(super) sealed: Vec<u8>,
}

impl Stolen {
    /// The plain value, if one of these keys is the right one.
    pub(super) fn opened_with<'a>(
        &self,
        keys: impl IntoIterator<Item = &'a DataKey>,
    ) -> Option<Vec<u8>> {
        let header = if self.sealed[0] == 2 { 17 } else { 5 };
        let (header, rest) = self.sealed.split_at(header);
        keys.into_iter().find_map(|key| decrypt(&key.key, &self.bound(header, &key.scope), rest))
    }

    /// The value in layout 1, under the first key of a tenant.
    pub(super) fn sealed_as_before(&self, tenant: &str, key: &[u8; 32], plain: &[u8]) -> Vec<u8> {
        let header = [1, 0, 0, 0, 1];
        let nonce: [u8; NONCE] = rand::random();
        let aad = self.bound(&header, &format!("tenant:{tenant}"));
        let cipher = XChaCha20Poly1305::new(&(*key).into());
        let payload = Payload { msg: plain, aad: &aad };
        let sealed = cipher.encrypt(&XNonce::from(nonce), payload).unwrap();
        [&header[..], &nonce, &sealed].concat()
    }

    fn bound(&self, header: &[u8], scope: &str) -> Vec<u8> {
        bound(header, &["value", scope, self.table, &self.row, self.column])
    }
}

impl Thief {
    pub(super) async fn on(config: &Config) -> Self {
        let raw = raw(config).await;
        let kek: [u8; 32] = BASE64_STANDARD.decode(KEY).unwrap().try_into().unwrap();
        Self { raw, kek }
    }

    async fn rows(&self, text: &str) -> Vec<QueryResult> {
        let backend = self.raw.get_database_backend();
        self.raw.query_all_raw(Statement::from_string(backend, text)).await.unwrap()
    }

    /// All keys in the database.
    pub(super) async fn keys(&self) -> Vec<DataKey> {
        let mut keys = Vec::new();
        for row in self.rows("SELECT scope, wrapped FROM data_keys WHERE key_id = 1").await {
            let scope: String = row.try_get_by_index(0).unwrap();
            let wrapped: Vec<u8> = row.try_get_by_index(1).unwrap();
            let aad = bound(&[1, 0, 0, 0, 1], &["data key", &scope]);
            // The version and the id of the key-encryption key come first.
            let key = decrypt(&self.kek, &aad, &wrapped[9..]).unwrap();
            keys.push(DataKey { scope, key: key.try_into().unwrap() });
        }
        for row in self.rows("SELECT tenant, id, wrapped FROM person_keys").await {
            let tenant: String = row.try_get_by_index(0).unwrap();
            let id: Vec<u8> = row.try_get_by_index(1).unwrap();
            let id = id.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
            let sealed: Vec<u8> = row.try_get_by_index(2).unwrap();
            let scope = format!("person:{tenant}:{id}");
            let wrapped = Stolen { table: "person_keys", row: id, column: "wrapped", sealed };
            let key = wrapped.opened_with(&keys).unwrap();
            keys.push(DataKey { scope, key: key.try_into().unwrap() });
        }
        keys
    }

    /// The record, the name, the content and the trace of the one person of a tenant.
    pub(super) async fn steal(&self, tenant: &str) -> Vec<Stolen> {
        let mut stolen = Vec::new();
        for (table, key, columns) in [
            ("people", "user_id", ["record", "identity_name"]),
            ("deliveries", "id", ["content", "trace"]),
        ] {
            let [one, two] = columns;
            let text = format!("SELECT {key}, {one}, {two} FROM {table} WHERE tenant = '{tenant}'");
            for row in self.rows(&text).await {
                for (number, column) in (1..).zip(columns) {
                    let sealed = row.try_get_by_index(number).unwrap();
                    let row = row.try_get_by_index(0).unwrap();
                    stolen.push(Stolen { table, row, column, sealed });
                }
            }
        }
        assert_eq!(stolen.len(), 4);
        stolen
    }
}

fn decrypt(key: &[u8; 32], aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE>()?;
    let cipher = XChaCha20Poly1305::new(&(*key).into());
    cipher.decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad }).ok()
}

/// The associated data: the header, and each part after its length.
fn bound(header: &[u8], parts: &[&str]) -> Vec<u8> {
    let mut bytes = header.to_vec();
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    bytes
}
