//! The key-encryption key, which wraps data keys. It comes from the settings or from a file, is
//! generated beside a new SQLite file, or is kept by Vault (`transit`).

mod transit;

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sea_orm_migration::async_trait::async_trait;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::cipher::{Key, decrypt, encrypt, key_of, new_key};
use crate::store::{Backend, Config, Error};
use transit::Transit;

/// The file beside the SQLite database.
const FILE: &str = "herald.key";
/// Identifies a key-encryption key without revealing anything about it.
pub(in crate::store) const KEK_ID_BYTES: usize = 8;

/// Wraps data keys, each bound to its place (`aad`).
#[async_trait]
pub(in crate::store) trait Kek: Send + Sync {
    /// Precedes each key that it wrapped.
    fn id(&self) -> [u8; KEK_ID_BYTES];

    async fn wrap(&self, aad: &[u8], key: &Key) -> Result<Vec<u8>, Error>;

    /// `None`: it did not wrap this key, or not for this place.
    async fn unwrap(&self, aad: &[u8], wrapped: &[u8]) -> Result<Option<Key>, Error>;

    /// Whether it would wrap the same key under the same version of its own key.
    async fn is_newest(&self, wrapped: &[u8]) -> Result<bool, Error>;
}

/// The key that wraps, and all keys that may have wrapped stored data keys.
pub(in crate::store) struct Keks {
    pub(in crate::store) wraps: Arc<dyn Kek>,
    pub(in crate::store) opens: Vec<Arc<dyn Kek>>,
}

/// A key in this process's memory.
pub(in crate::store) struct Local {
    key: Key,
    id: [u8; KEK_ID_BYTES],
}

impl Local {
    pub(in crate::store) fn new(key: Key) -> Self {
        let id = kek_id(&key[..]);
        Self { key, id }
    }
}

#[async_trait]
impl Kek for Local {
    fn id(&self) -> [u8; KEK_ID_BYTES] {
        self.id
    }

    async fn wrap(&self, aad: &[u8], key: &Key) -> Result<Vec<u8>, Error> {
        let mut wrapped = Vec::new();
        encrypt(&self.key, aad, &**key, &mut wrapped)?;
        Ok(wrapped)
    }

    async fn unwrap(&self, aad: &[u8], wrapped: &[u8]) -> Result<Option<Key>, Error> {
        Ok(decrypt(&self.key, aad, wrapped).and_then(|plain| key_of(&plain)))
    }

    async fn is_newest(&self, _: &[u8]) -> Result<bool, Error> {
        Ok(true)
    }
}

fn kek_id(of: &[u8]) -> [u8; KEK_ID_BYTES] {
    let digest = Sha256::new().chain_update(b"herald kek id").chain_update(of).finalize();
    let mut id = [0; KEK_ID_BYTES];
    id.copy_from_slice(&digest[..KEK_ID_BYTES]);
    id
}

/// The keys named in the settings. `in_use`: the database already holds encrypted data.
pub(in crate::store) fn keks(
    config: &Config,
    backend: Backend,
    in_use: bool,
) -> Result<Keks, Error> {
    let mut opens: Vec<Arc<dyn Kek>> = Vec::new();
    if let Some(key) = &config.previous_key {
        opens.push(Arc::new(Local::new(parse(key.expose(), "store.previous_key")?)));
    }
    if let Some(path) = &config.previous_key_file {
        const NAME: &str = "store.previous_key_file";
        let key = read(path, NAME).map_err(|error| missing(&error, NAME))?;
        opens.push(Arc::new(Local::new(key)));
    }
    let transit: Option<Arc<dyn Kek>> = match Transit::new(config)? {
        Some(transit) => Some(Arc::new(transit)),
        None => None,
    };
    let wraps = match transit {
        Some(transit) if !config.vault_opens_only => {
            if config.key.is_some() || config.key_file.is_some() {
                opens.push(Arc::new(Local::new(load(config, backend, true)?)));
            }
            transit
        }
        transit => {
            opens.extend(transit);
            Arc::new(Local::new(load(config, backend, in_use)?))
        }
    };
    Ok(Keks { wraps, opens })
}

/// The key to use. `in_use`: the database already holds encrypted data, so a missing key is lost,
/// and a new one would only hide that.
pub(in crate::store) fn load(
    config: &Config,
    backend: Backend,
    in_use: bool,
) -> Result<Key, Error> {
    match (&config.key, &config.key_file, backend) {
        (Some(_), Some(_), _) => {
            Err(Error::Config("store.key and store.key_file are both set; set one".into()))
        }
        (Some(key), None, _) => parse(key.expose(), "store.key"),
        (None, Some(path), _) => {
            const NAME: &str = "store.key_file";
            read(path, NAME).map_err(|error| missing(&error, NAME))
        }
        (None, None, Backend::Postgres) => Err(Error::Config(
            "PostgreSQL needs a key to encrypt secrets: set store.key or store.key_file \
             (32 random bytes in base64), or store.vault_address"
                .into(),
        )),
        (None, None, Backend::Sqlite) => beside(&config.data_dir.join(FILE), in_use),
    }
}

fn beside(path: &Path, in_use: bool) -> Result<Key, Error> {
    match read(path, FILE) {
        Ok(key) => Ok(key),
        Err(Unread::Missing) if in_use => Err(Error::Sealed(format!(
            "the database: {FILE} is missing beside it; restore that file or set store.key"
        ))),
        Err(Unread::Missing) => generate(path),
        Err(error) => Err(missing(&error, FILE)),
    }
}

enum Unread {
    Missing,
    Failed(Error),
}

fn missing(error: &Unread, name: &str) -> Error {
    match error {
        Unread::Missing => Error::Config(format!("{name} names a file that does not exist")),
        Unread::Failed(error) => error.clone(),
    }
}

/// The refused permissions of others: to read or write, or to write as a member of the file's
/// group. A group may read, because that is how Kubernetes gives a Secret to a process that is not
/// root (`fsGroup`).
const EXPOSED: u32 = 0o027;

/// Refuses a file that others can read or replace, as PostgreSQL and SSH do with theirs: the key
/// and a copy of the database reveal every token.
fn refuse_exposed(path: &Path, name: &str) -> Result<(), Unread> {
    let mode = match fs::metadata(path) {
        Ok(metadata) => metadata.permissions().mode() & 0o777,
        // Reading the file reports the reason.
        Err(_) => return Ok(()),
    };
    if mode & EXPOSED == 0 {
        return Ok(());
    }
    Err(Unread::Failed(Error::Config(format!(
        "{name} can be read or changed by others (mode {mode:04o}): `chmod 600 {}`; in Kubernetes \
         mount the Secret with defaultMode 0440",
        path.display()
    ))))
}

fn read(path: &Path, name: &str) -> Result<Key, Unread> {
    refuse_exposed(path, name)?;
    let text = match fs::read_to_string(path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Unread::Missing),
        Err(error) => {
            return Err(Unread::Failed(Error::Config(format!("{name} cannot be read: {error}"))));
        }
    };
    parse(&text, name).map_err(Unread::Failed)
}

fn parse(text: &str, name: &str) -> Result<Key, Error> {
    let wrong = || Error::Config(format!("{name} must be 32 bytes in base64"));
    let bytes = Zeroizing::new(BASE64.decode(text.trim()).map_err(|_| wrong())?);
    key_of(&bytes).ok_or_else(wrong)
}

/// Writes a new key under another name and links it into place: the link fails if another process
/// was faster, and no process ever reads half a key.
fn generate(path: &Path) -> Result<Key, Error> {
    let failed = |error: io::Error| Error::Config(format!("{FILE} cannot be created: {error}"));
    let key = new_key();
    let text = Zeroizing::new(BASE64.encode(key.as_slice()));
    let draft = path.with_extension(format!("key.{:016x}", rand::random::<u64>()));
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(failed)?;
    let linked = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::hard_link(&draft, path));
    fs::remove_file(&draft).map_err(failed)?;
    match linked {
        Ok(()) => sync_dir(path).map_err(failed).map(|()| key),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            read(path, FILE).map_err(|error| missing(&error, FILE))
        }
        Err(error) => Err(failed(error)),
    }
}

/// Makes the new name itself durable.
fn sync_dir(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(dir) => fs::File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::domain::secret::Secret;
    use crate::store::seal::cipher::KEY_BYTES;

    fn config(dir: &Path) -> Config {
        Config { data_dir: dir.to_owned(), ..Config::default() }
    }

    #[test]
    fn generated_once_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let first = load(&config(dir.path()), Backend::Sqlite, false).unwrap();
        let again = load(&config(dir.path()), Backend::Sqlite, true).unwrap();
        assert_eq!(first, again);
        let mode = fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no draft left behind");
    }

    #[test]
    fn a_key_that_others_read_or_replace_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kek");
        fs::write(&path, BASE64.encode([7; KEY_BYTES])).unwrap();
        let config = Config { key_file: Some(path.clone()), ..Config::default() };
        let with = |mode| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            load(&config, Backend::Postgres, false)
        };
        for open in [0o644, 0o604, 0o660, 0o602, 0o620, 0o777] {
            let error = with(open).unwrap_err().to_string();
            assert!(error.contains("store.key_file can be read") && error.contains("chmod 600"));
        }
        for closed in [0o600, 0o400, 0o440, 0o640] {
            assert!(with(closed).is_ok(), "{closed:o}");
        }
    }

    #[test]
    fn a_lost_key_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let error = load(&config(dir.path()), Backend::Sqlite, true).unwrap_err();
        assert!(matches!(error, Error::Sealed(_)), "{error}");
        assert!(!dir.path().join(FILE).exists());
    }

    #[test]
    fn postgres_names_the_setting() {
        let error = load(&Config::default(), Backend::Postgres, false).unwrap_err();
        assert!(error.to_string().contains("store.key"), "{error}");
    }

    #[test]
    fn a_bad_key_is_not_repeated_in_the_error() {
        let config = Config { key: Some(Secret::new("hunter2")), ..Config::default() };
        let error = load(&config, Backend::Postgres, false).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
