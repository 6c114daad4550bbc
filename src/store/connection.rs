//! Connection pools.
//!
//! SQLite: one connection that writes, and readers apart, so that a reader never waits for a
//! writer nor the reverse (WAL). PostgreSQL: one pool for both. Statements are never logged nor
//! recorded in spans: they would carry nothing but placeholders, at a price for each.

use std::path::Path;
use std::time::Duration;

use sea_orm::{ConnectOptions, Database, DatabaseConnection};

use super::{Config, Error};

/// The SQLite file in the data directory.
const FILE: &str = "herald.db";
/// How long SQLite waits for another process's lock.
const BUSY: Duration = Duration::from_secs(5);
/// A transaction that its client has forgotten is ended by PostgreSQL after this time, so that a
/// frozen replica does not hold row locks for ever (faults.md, 4).
const IDLE_IN_TRANSACTION: &str = "30s";
/// A connection idle for longer is tested before it is used again.
const TEST_IDLE: Duration = Duration::from_secs(2);

/// Which database is behind the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
}

pub(in crate::store) struct Connections {
    backend: Backend,
    reader: DatabaseConnection,
    writer: DatabaseConnection,
}

impl Connections {
    pub(in crate::store) async fn open(config: &Config) -> Result<Self, Error> {
        match &config.url {
            Some(url) => {
                if !url.expose().starts_with("postgres://")
                    && !url.expose().starts_with("postgresql://")
                {
                    return Err(Error::Config(
                        "store.url must start with postgres:// (leave it out for SQLite)".into(),
                    ));
                }
                let pool = Database::connect(postgres(url.expose(), config)).await?;
                Ok(Self { backend: Backend::Postgres, reader: pool.clone(), writer: pool })
            }
            None => {
                make_dir(&config.data_dir)?;
                let path = config.data_dir.join(FILE);
                // The writer first: it creates the file and turns WAL on.
                let writer = Database::connect(sqlite(&path, config, false)).await?;
                let reader = Database::connect(sqlite(&path, config, true)).await?;
                Ok(Self { backend: Backend::Sqlite, reader, writer })
            }
        }
    }

    pub(in crate::store) fn backend(&self) -> Backend {
        self.backend
    }

    pub(in crate::store) fn reader(&self) -> &DatabaseConnection {
        &self.reader
    }

    pub(in crate::store) fn writer(&self) -> &DatabaseConnection {
        &self.writer
    }

    pub(in crate::store) async fn close(&self) {
        // A pool that is closed twice, or in use at the end of the process, is no news.
        self.reader.close_by_ref().await.ok();
        self.writer.close_by_ref().await.ok();
    }
}

fn options(url: &str, config: &Config) -> ConnectOptions {
    let mut options = ConnectOptions::new(url.to_owned());
    options
        .sqlx_logging(false)
        .record_stmt_in_spans(false)
        .acquire_timeout(config.acquire_timeout)
        .connect_timeout(config.acquire_timeout)
        .test_before_acquire(false);
    options
}

fn postgres(url: &str, config: &Config) -> ConnectOptions {
    let mut options = options(url, config);
    options
        .max_connections(config.max_connections.max(2))
        .test_before_acquire_if_idle_for(TEST_IDLE)
        .map_sqlx_postgres_opts(|options| {
            options.application_name("herald").options([
                ("default_transaction_isolation", "read committed"),
                ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION),
            ])
        });
    options
}

fn sqlite(path: &Path, config: &Config, reader: bool) -> ConnectOptions {
    let path = path.to_owned();
    // The path is set as a path: in a URL, `?` and `%` in it would have a meaning.
    let mut options = options("sqlite:herald.db", config);
    options
        .max_connections(if reader { config.max_connections.max(1) } else { 1 })
        .min_connections(u32::from(!reader))
        .idle_timeout(None::<Duration>)
        .max_lifetime(None::<Duration>)
        .map_sqlx_sqlite_opts(move |options| {
            let options = options
                .filename(&path)
                .create_if_missing(!reader)
                .busy_timeout(BUSY)
                .foreign_keys(true)
                .pragma("journal_mode", "WAL")
                .pragma("synchronous", "FULL");
            if reader { options.pragma("query_only", "ON") } else { options }
        });
    options
}

fn make_dir(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| {
        Error::Config(format!("store.data_dir {} cannot be made: {error}", path.display()))
    })
}
