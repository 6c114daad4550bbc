//! The key-encryption key: from the settings, from a file, or generated beside a new SQLite file.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use zeroize::Zeroizing;

use super::{Backend, Config, Error};

/// The file beside the SQLite database.
const FILE: &str = "herald.key";
/// XChaCha20-Poly1305 takes 256 bits.
pub(in crate::store) const KEY_BYTES: usize = 32;

pub(in crate::store) type Key = Zeroizing<[u8; KEY_BYTES]>;

/// The key to use. `in_use`: the database already holds sealed data, so a key that is missing is
/// lost, and a new one would only hide that.
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
        (None, Some(path), _) => read(path, "store.key_file").map_err(|error| missing(&error)),
        (None, None, Backend::Postgres) => Err(Error::Config(
            "PostgreSQL needs a key to seal secrets with: set store.key or store.key_file \
             (32 random bytes in base64)"
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
        Err(error) => Err(missing(&error)),
    }
}

enum Unread {
    Missing,
    Failed(Error),
}

fn missing(error: &Unread) -> Error {
    match error {
        Unread::Missing => Error::Config("store.key_file names a file that does not exist".into()),
        Unread::Failed(error) => error.clone(),
    }
}

fn read(path: &Path, name: &str) -> Result<Key, Unread> {
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
    let key: [u8; KEY_BYTES] = bytes.as_slice().try_into().map_err(|_| wrong())?;
    Ok(Zeroizing::new(key))
}

/// Writes a new key under another name and links it into place: the link fails where a second
/// process was faster, and nobody ever reads half a key.
fn generate(path: &Path) -> Result<Key, Error> {
    let failed = |error: io::Error| Error::Config(format!("{FILE} cannot be made: {error}"));
    let mut key = Zeroizing::new([0u8; KEY_BYTES]);
    rand::fill(&mut key[..]);
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
            read(path, FILE).map_err(|error| missing(&error))
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
