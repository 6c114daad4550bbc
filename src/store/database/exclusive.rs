//! One process serves from one SQLite file. A second one would not corrupt it, but both would read
//! member lists and compete for the single writer, and neither would hear what the other accepted.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;

use crate::store::{Config, Error};

/// The lock file, beside the SQLite file.
const FILE: &str = "herald.lock";

/// Held for as long as the process serves; the system releases it when the process ends, however
/// it ends.
#[derive(Debug)]
pub struct Exclusive {
    _file: File,
}

impl Exclusive {
    /// Takes the SQLite file for this process; nothing to do on PostgreSQL.
    pub fn take(config: &Config) -> Result<Option<Self>, Error> {
        if config.url.is_some() {
            return Ok(None);
        }
        super::connection::make_dir(&config.data_dir)?;
        let path = config.data_dir.join(FILE);
        let mut options = OpenOptions::new();
        let opened = options.create(true).append(true).mode(0o600).open(&path);
        let refused =
            |error| Error::Config(format!("{} cannot be locked: {error}", path.display()));
        let file = opened.map_err(refused)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Err(Error::Config(format!(
                "another process serves from {}: a SQLite file serves one. Stop it, give this one \
                 another store.data_dir, or set store.url to PostgreSQL, which serves many",
                config.data_dir.display()
            ))),
            Err(TryLockError::Error(error)) => Err(refused(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_taken_once_and_free_again_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { data_dir: dir.path().join("data"), ..Config::default() };
        let first = Exclusive::take(&config).unwrap().unwrap();
        let second = Exclusive::take(&config).unwrap_err();
        assert!(second.to_string().contains("another process serves"), "{second}");
        drop(first);
        assert!(Exclusive::take(&config).unwrap().is_some());
    }
}
