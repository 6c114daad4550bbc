//! Connection pools.
//!
//! SQLite: one connection that writes, and readers apart, so that a reader never waits for a
//! writer nor the reverse (WAL). PostgreSQL: one pool for both. Statements are never logged nor
//! recorded in spans: they would carry nothing but placeholders, at a price for each.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sea_orm::sqlx::ConnectOptions as _;
use sea_orm::sqlx::postgres::PgConnectOptions;
use sea_orm::{
    ConnAcquireErr, ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend,
    DbErr, ExecResult, QueryResult, RuntimeErr, Statement,
};
use sea_orm_migration::async_trait::async_trait;

use super::error::is_lost;
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
    reader: Reader,
    writer: DatabaseConnection,
    /// The most that the writer's pool may hold.
    size: u32,
    listen: Option<PgConnectOptions>,
    pulse: Pulse,
}

/// When the database answered last. A pool that has no connection in time does not say whether all
/// are in use or none can be made: whether others were answered meanwhile tells.
#[derive(Clone)]
pub(in crate::store) struct Pulse {
    began: Instant,
    /// Milliseconds since then; 0 where it did not answer since a connection was lost.
    answered: Arc<AtomicU64>,
    patience: Duration,
}

impl Pulse {
    fn new(patience: Duration) -> Self {
        Self { began: Instant::now(), answered: Arc::default(), patience: 3 * patience }
    }

    fn since_began(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The outcome, noted; a time-out of the pool as what it means.
    pub(in crate::store) fn felt<T>(&self, outcome: Result<T, DbErr>) -> Result<T, DbErr> {
        match outcome {
            Ok(answer) => {
                self.answered.store(self.since_began().max(1), Ordering::Relaxed);
                Ok(answer)
            }
            Err(error) if timed_out(&error) => {
                let answered = self.answered.load(Ordering::Relaxed);
                let silent = self.since_began().saturating_sub(answered);
                let away = answered == 0 || u128::from(silent) >= self.patience.as_millis();
                Err(DbErr::ConnectionAcquire(if away {
                    ConnAcquireErr::ConnectionClosed
                } else {
                    ConnAcquireErr::Timeout
                }))
            }
            Err(error) => {
                if is_lost(&error) {
                    self.answered.store(0, Ordering::Relaxed);
                }
                Err(error)
            }
        }
    }
}

fn timed_out(error: &DbErr) -> bool {
    use sea_orm::sqlx::error::Error::PoolTimedOut;
    match error {
        DbErr::ConnectionAcquire(ConnAcquireErr::Timeout) => true,
        DbErr::Conn(RuntimeErr::SqlxError(cause))
        | DbErr::Exec(RuntimeErr::SqlxError(cause))
        | DbErr::Query(RuntimeErr::SqlxError(cause)) => matches!(**cause, PoolTimedOut),
        _ => false,
    }
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
        let pool = Database::connect(postgres(url.expose(), config)).await;
        let pool = pool.map_err(|error| match Error::from(error) {
            Error::Unavailable(_) | Error::Busy => Error::Unavailable(
                "store.url was not reached in time; is the server up, and are host, port and \
                 database right?"
                    .into(),
            ),
            other => other,
        })?;
        let listen = if config.listen { Some(listener(url.expose())?) } else { None };
        let size = config.max_connections.max(2);
        let pulse = Pulse::new(config.acquire_timeout);
        let reader = Reader { pool: pool.clone(), size, pulse: pulse.clone() };
        Ok(Self { backend: Backend::Postgres, reader, writer: pool, size, listen, pulse })
    }

    async fn open_file(config: &Config) -> Result<Self, Error> {
        make_dir(&config.data_dir)?;
        let path = config.data_dir.join(FILE);
        make_file(&path)?;
        // The writer first: it turns WAL on.
        let writer = Database::connect(sqlite(&path, config, false)).await?;
        let reader = Database::connect(sqlite(&path, config, true)).await?;
        let pulse = Pulse::new(config.acquire_timeout);
        let reader = Reader { pool: reader, size: config.max_connections, pulse: pulse.clone() };
        Ok(Self { backend: Backend::Sqlite, reader, writer, size: 1, listen: None, pulse })
    }

    pub(in crate::store) fn backend(&self) -> Backend {
        self.backend
    }

    /// How to make the connection that listens for hints; `None` where there is nothing to hear.
    pub(in crate::store) fn listen(&self) -> Option<&PgConnectOptions> {
        self.listen.as_ref()
    }

    pub(in crate::store) fn reader(&self) -> &Reader {
        &self.reader
    }

    pub(in crate::store) fn writer(&self) -> &DatabaseConnection {
        &self.writer
    }

    pub(in crate::store) fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// How many connections of the writer's pool may be stale at most.
    pub(in crate::store) fn size(&self) -> u32 {
        self.size
    }

    pub(in crate::store) async fn close(&self) {
        // A pool that is closed twice, or in use at the end of the process, is no news.
        self.reader.pool.close_by_ref().await.ok();
        self.writer.close_by_ref().await.ok();
    }
}

/// A pool for statements that read, and may therefore be run again: where the connection turns out
/// to be lost, another is taken. After a restart of the database every connection of the pool is
/// stale, and each would fail one call.
pub(in crate::store) struct Reader {
    pool: DatabaseConnection,
    size: u32,
    pulse: Pulse,
}

impl Reader {
    async fn insist<T, F>(&self, run: impl Fn() -> F) -> Result<T, DbErr>
    where
        F: Future<Output = Result<T, DbErr>>,
    {
        let mut stale = 0;
        loop {
            match run().await {
                Err(error) if is_lost(&error) && stale < self.size => stale += 1,
                outcome => return self.pulse.felt(outcome),
            }
        }
    }
}

#[async_trait]
impl ConnectionTrait for Reader {
    fn get_database_backend(&self) -> DbBackend {
        self.pool.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.pool.execute_raw(statement).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.pool.execute_unprepared(sql).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.insist(|| self.pool.query_one_raw(statement.clone())).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.insist(|| self.pool.query_all_raw(statement.clone())).await
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

fn listener(url: &str) -> Result<PgConnectOptions, Error> {
    let options: PgConnectOptions = url
        .parse()
        .map_err(|error| Error::from(DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error)))))?;
    Ok(options.application_name("herald listens").disable_statement_logging())
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

/// Makes the file before SQLite does, which would leave its mode to the umask. SQLite gives its
/// companions (`-wal`, `-shm`) the mode of the file.
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
    use crate::store::sql;

    async fn pragma(db: &DatabaseConnection, name: &str) -> String {
        // Some pragmas answer text, some numbers: read all as text.
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
