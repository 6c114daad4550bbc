//! Connection pools.
//!
//! SQLite: one connection that writes, and separate readers, so that readers and the writer never
//! wait for each other (WAL). PostgreSQL: one pool for both. Statements are never logged or
//! recorded in spans: they would show only placeholders, at a cost for each.

use std::path::Path;
use std::time::Duration;

use sea_orm::sqlx::postgres::PgConnectOptions;
use sea_orm::{ConnectOptions, Database, DatabaseConnection};

use super::executor::Engine;
use super::pool::{Pool, ReadPool};
use super::postgres::PostgresPool;
use super::protection::Protection;
use super::pulse::Pulse;
use super::session::{Session, listener};
use crate::store::config::{Config, Pooler};
use crate::store::{Backend, Error};

/// The SQLite file in the data directory.
const FILE: &str = "herald.db";
/// How long SQLite waits for another process's lock.
const BUSY: Duration = Duration::from_secs(5);
/// The pages that SQLite's writer keeps in memory, in KiB (SQLite takes that as a negative number).
/// A transaction that changes more pages writes some of them to the log, and reads them again,
/// before its commit. The default is 2 MB, and 1,000 recipients can be in as many conversations,
/// each with its own page of an index.
const WRITER_CACHE: &str = "-8192";
/// A shorter limit on statements would end healthy ones.
const SHORTEST: Duration = Duration::from_millis(100);

pub(in crate::store) struct Connections {
    backend: Backend,
    /// `None`: SQLite, a file.
    protection: Option<Protection>,
    /// Of connections that bypass the pooler; `None` without `store.direct_url`.
    direct_protection: Option<Protection>,
    reader: ReadPool,
    writer: Pool,
    listen: Option<PgConnectOptions>,
    pulse: Pulse,
    /// How the pool connects; `None` if the database is a file.
    session: Option<Box<Session>>,
    migrations: Migrations,
}

/// Where migrations run.
enum Migrations {
    File(DatabaseConnection),
    /// `None` behind a pooler that shares connections between transactions.
    Session(Option<Box<Session>>),
}

impl Connections {
    pub(in crate::store) async fn open(config: &Config) -> Result<Self, Error> {
        let Some(url) = &config.url else {
            return Self::open_file(config).await;
        };
        let scheme = url.expose().split_once("://").map(|(scheme, _)| scheme);
        if !matches!(scheme, Some("postgres" | "postgresql")) {
            return Err(Error::Config(
                "store.url must start with postgres:// (leave it out for SQLite)".into(),
            ));
        }
        if config.statement_timeout < SHORTEST {
            return Err(Error::Config("store.statement_timeout must be 100ms or longer".into()));
        }
        let session = Box::new(Session::serving(url.expose(), config)?);
        session.reach(config.acquire_timeout).await?;
        let protection = session.protection();
        let direct = match (&config.direct_url, config.pooler) {
            (Some(direct), _) => Some(direct),
            (None, Pooler::None) => Some(url),
            (None, Pooler::Transaction) => None,
        };
        let listen = direct.filter(|_| config.listen).map(|url| listener(url.expose()));
        let migrations = direct.map(|url| Session::migrating(url.expose())).transpose()?;
        let directly = migrations.as_ref().filter(|_| config.direct_url.is_some());
        let direct_protection = directly.map(Session::protection);
        for weak in [Some(protection), direct_protection].into_iter().flatten() {
            if weak.is_weak() {
                tracing::warn!("PostgreSQL is reached {weak}");
            }
        }
        let pulse = Pulse::new(config.acquire_timeout, config.statement_timeout);
        let pool = Engine::Postgres(PostgresPool::new(&session, directly, config));
        let writer = Pool::new(pool, pulse.clone());
        Ok(Self {
            backend: Backend::Postgres,
            protection: Some(protection),
            direct_protection,
            reader: ReadPool(writer.clone()),
            writer,
            listen: listen.transpose()?,
            pulse,
            session: Some(session),
            migrations: Migrations::Session(migrations.map(Box::new)),
        })
    }

    async fn open_file(config: &Config) -> Result<Self, Error> {
        make_dir(&config.data_dir)?;
        let path = config.data_dir.join(FILE);
        make_file(&path)?;
        // The writer first, because it turns WAL on.
        let writer = Database::connect(sqlite(&path, config, false)).await?;
        let reader = Database::connect(sqlite(&path, config, true)).await?;
        let pulse = Pulse::new(config.acquire_timeout, config.statement_timeout);
        Ok(Self {
            backend: Backend::Sqlite,
            protection: None,
            direct_protection: None,
            reader: ReadPool(Pool::new(Engine::Sqlite(reader), pulse.clone())),
            writer: Pool::new(Engine::Sqlite(writer.clone()), pulse.clone()),
            listen: None,
            pulse,
            session: None,
            migrations: Migrations::File(writer),
        })
    }

    pub(in crate::store) fn backend(&self) -> Backend {
        self.backend
    }

    pub(in crate::store) fn protection(&self) -> Option<Protection> {
        self.protection
    }

    pub(in crate::store) fn direct_protection(&self) -> Option<Protection> {
        self.direct_protection
    }

    /// How to make the connection that listens for hints; `None` if there are no hints.
    pub(in crate::store) fn listen(&self) -> Option<&PgConnectOptions> {
        self.listen.as_ref()
    }

    pub(in crate::store) fn reader(&self) -> &ReadPool {
        &self.reader
    }

    pub(in crate::store) fn writer(&self) -> &Pool {
        &self.writer
    }

    /// A connection for migrations, as SeaORM needs it. It has no limit on statements: a migration
    /// may build an index for as long as that takes.
    pub(in crate::store) async fn migrator(&self) -> Result<DatabaseConnection, Error> {
        match &self.migrations {
            Migrations::File(writer) => Ok(writer.clone()),
            Migrations::Session(Some(session)) => session.connect().await,
            Migrations::Session(None) => Err(Error::Config(
                "migrations need their own session, which store.pooler does not provide: set \
                 store.direct_url to the database itself"
                    .into(),
            )),
        }
    }

    pub(in crate::store) fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// Whether the database is working for the connections of the pool, even though none is free
    /// and none gets an answer. Broken connections that the database does not know of do not count.
    /// The caller sets the time limit.
    pub(in crate::store) async fn is_at_work(&self) -> bool {
        match &self.session {
            Some(session) => session.is_at_work().await,
            None => false,
        }
    }

    pub(in crate::store) async fn close(&self) {
        self.reader.0.close().await;
        self.writer.close().await;
    }
}

fn sqlite(path: &Path, config: &Config, reader: bool) -> ConnectOptions {
    let path = path.to_owned();
    // The path is set as a path: in a URL, `?` and `%` in it would have a meaning.
    let mut options = ConnectOptions::new("sqlite:herald.db");
    options
        .sqlx_logging(false)
        .record_stmt_in_spans(false)
        .acquire_timeout(config.acquire_timeout)
        .connect_timeout(config.acquire_timeout)
        .test_before_acquire(false)
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
                .pragma("synchronous", "FULL")
                // Deleted data is overwritten (`tidy`).
                .pragma("secure_delete", "ON");
            if reader {
                options.pragma("query_only", "ON")
            } else {
                options.pragma("cache_size", WRITER_CACHE)
            }
        });
    options
}

pub(in crate::store) fn make_dir(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| {
        Error::Config(format!("store.data_dir {} cannot be created: {error}", path.display()))
    })
}

/// Makes the file before SQLite does: SQLite would leave its mode to the umask. SQLite gives the
/// files beside it (`-wal`, `-shm`) the mode of the file.
fn make_file(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let made = options.create(true).append(true).mode(0o600).open(path);
    made.map(|_| ())
        .map_err(|error| Error::Config(format!("{} cannot be written: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::store::database::sql;

    async fn pragma(db: &impl sea_orm::ConnectionTrait, name: &str) -> String {
        // Some pragmas return text, some numbers: read all as text.
        let text =
            format!("SELECT CAST(value AS TEXT) FROM (SELECT {name} AS value FROM pragma_{name})");
        sql::one(db, &text, Vec::new()).await.unwrap().unwrap().get(0).unwrap()
    }

    #[tokio::test]
    async fn sqlite_is_durable_and_private_and_readers_only_read() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().join("deep/data");
        let config = Config { data_dir: data_dir.clone(), ..Config::default() };
        let connections = Connections::open(&config).await.unwrap();
        let (reader, writer) = (connections.reader(), connections.writer());
        assert_eq!(pragma(writer, "journal_mode").await, "wal");
        assert_eq!(pragma(writer, "synchronous").await, "2", "FULL");
        assert_eq!(pragma(writer, "foreign_keys").await, "1");
        assert_eq!(pragma(writer, "secure_delete").await, "1");
        assert_eq!(pragma(writer, "cache_size").await, WRITER_CACHE);
        sql::execute(writer, "CREATE TABLE t (a TEXT)", Vec::new()).await.unwrap();
        assert!(sql::execute(reader, "INSERT INTO t VALUES ('x')", Vec::new()).await.is_err());
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&data_dir), 0o700);
        for name in ["herald.db", "herald.db-wal", "herald.db-shm"] {
            assert_eq!(mode(&data_dir.join(name)), 0o600, "{name}");
        }
    }

    #[tokio::test]
    async fn other_databases_are_refused_by_name_of_the_setting() {
        let url = Some(crate::domain::secret::Secret::new("mysql://root:hunter2@db/x"));
        let config = Config { url, ..Config::default() };
        let error = Connections::open(&config).await.err().unwrap();
        assert!(error.to_string().contains("store.url"), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
