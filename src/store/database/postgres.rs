//! Connections to PostgreSQL on which every wait has a limit.
//!
//! A connection can break unnoticed: a failover, a firewall or a pulled cable ends it, and neither
//! side hears of it. A statement on it is never answered, and the driver's pool, which tests a
//! connection when it is returned, would wait for that test for ever and so lose the connection's
//! slot. Here every wait has a limit. A connection that exceeds it is dropped, which closes its
//! socket without a goodbye and frees its slot at once. Then all idle connections are tested at the
//! same time, since the connections to one server tend to break together.
//!
//! The driver cannot set TCP keepalive or the TCP user time-out on its sockets. The server is asked
//! to set both on its side; on our side these limits and the test of idle connections replace them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sea_orm::sqlx::pool::PoolConnection;
use sea_orm::sqlx::postgres::PgPoolOptions;
use sea_orm::sqlx::{self, AssertSqlSafe, Connection as _, Executor as _, PgConnection, PgPool};
use sea_orm::sqlx::{Postgres, SqlSafeStr as _, SqlStr};
use sea_orm::{ConnAcquireErr, DbErr, ExecResult, QueryResult, RuntimeErr, Statement};
use sea_orm_migration::async_trait::async_trait;
use sea_query_sqlx::SqlxValues;
use tokio::sync::Mutex;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout, timeout_at};

use super::forgotten::Forgotten;
use super::session::Session;
use crate::store::config::{Config, Pooler};
use crate::store::error::{held_up, is_canceled, is_lost};

/// A connection idle for longer is tested before it is used.
const TEST_IDLE: Duration = Duration::from_secs(2);
/// How long the test of a connection may take.
const TEST: Duration = Duration::from_secs(1);
/// How long returning a connection may take: a statement whose caller is gone ends first.
const GIVE_BACK: Duration = Duration::from_secs(2);
/// The server ends a statement at its time-out; its answer may take this long to arrive.
const GRACE: Duration = Duration::from_millis(500);
/// A statement that takes longer may wait for a row that another transaction holds. Longer than
/// [`Patience`](super::transaction::Patience) allows to most.
const SLOW: Duration = Duration::from_millis(400);
/// A transaction lasts at most as long as this many statements that use up their time.
const STATEMENTS: u32 = 4;

/// The future of a request to a connection.
type Asked<'c, T> = std::pin::Pin<Box<dyn Future<Output = Result<T, sqlx::Error>> + Send + 'c>>;

/// The answer, unless none arrived in time.
type Answered<T> = Result<Result<T, sqlx::Error>, Elapsed>;

/// The pool. Cheap to clone.
#[derive(Clone)]
pub(in crate::store) struct PostgresPool {
    inner: Arc<Inner>,
}

struct Inner {
    connections: PgPool,
    size: u32,
    /// The longest wait for the answer to one statement.
    statement: Duration,
    begin: SqlStr,
    pooler: Pooler,
    forgotten: Forgotten,
    /// An idle connection failed its test, so the others are suspect.
    suspicious: Arc<AtomicBool>,
    sweeping: AtomicBool,
}

impl PostgresPool {
    /// Connects when a connection is needed. `direct` bypasses the pooler.
    pub(in crate::store) fn new(
        session: &Session,
        direct: Option<&Session>,
        config: &Config,
    ) -> Self {
        let size = config.max_connections.max(2);
        let suspicious = Arc::new(AtomicBool::new(false));
        let suspect = suspicious.clone();
        let connections = PgPoolOptions::new()
            .max_connections(size)
            .acquire_timeout(config.acquire_timeout)
            // A caller that waits too long is refused and counted; a warning for each would fill
            // the log during an outage.
            .acquire_slow_threshold(Duration::MAX)
            .test_before_acquire(false)
            .before_acquire(move |connection, about| {
                let suspect = suspect.clone();
                Box::pin(async move {
                    if about.idle_for < TEST_IDLE || answers(connection).await {
                        return Ok(true);
                    }
                    suspect.store(true, Ordering::Release);
                    Ok(false)
                })
            })
            .connect_lazy_with(session.options());
        let inner = Inner {
            connections,
            size,
            statement: config.statement_timeout.saturating_add(GRACE),
            begin: AssertSqlSafe(session.begin()).into_sql_str(),
            pooler: config.pooler,
            forgotten: Forgotten::new(direct.unwrap_or(session).options()),
            suspicious,
            sweeping: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The most connections that may be stale.
    pub(in crate::store) fn size(&self) -> u32 {
        self.inner.size
    }

    pub(in crate::store) async fn begin(&self) -> Result<PostgresTransaction, DbErr> {
        let mut connection = self.take().await?;
        connection.begin().await?;
        Ok(PostgresTransaction { pool: self.clone(), connection: Mutex::new(connection) })
    }

    pub(in crate::store) async fn close(&self) {
        self.inner.connections.close().await;
    }

    fn query(&self, sql: Statement) -> sqlx::query::Query<'static, Postgres, SqlxValues> {
        let values = sql.values.unwrap_or_else(|| sea_orm::Values(Vec::new()));
        sqlx::query_with(AssertSqlSafe(sql.sql), SqlxValues(values))
            .persistent(self.inner.pooler == Pooler::None)
    }

    async fn take(&self) -> Result<Taken, DbErr> {
        let acquired = self.inner.connections.acquire().await;
        if self.inner.suspicious.swap(false, Ordering::AcqRel) {
            self.sweep();
        }
        let connection = acquired.map_err(|error| match error {
            sqlx::Error::PoolTimedOut => DbErr::ConnectionAcquire(ConnAcquireErr::Timeout),
            sqlx::Error::PoolClosed => DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed),
            error => DbErr::Conn(RuntimeErr::SqlxError(error.into())),
        })?;
        Ok(Taken { connection: Some(connection), pool: self.clone(), open: false, ends: None })
    }

    /// Tests all idle connections at once, unless a test is already under way.
    fn sweep(&self) {
        if self.inner.sweeping.swap(true, Ordering::AcqRel) {
            return;
        }
        tracing::info!("a connection to the database did not answer; testing the idle ones");
        let pool = self.clone();
        tokio::spawn(async move {
            let idle = (0..pool.size()).map_while(|_| pool.inner.connections.try_acquire());
            let tests = idle.map(|mut idle| timeout(TEST, idle.return_to_pool()));
            futures_util::future::join_all(tests).await;
            pool.inner.sweeping.store(false, Ordering::Release);
        });
    }

    /// Ends the connection's work and puts it back, or drops it.
    async fn give_back(&self, mut connection: PoolConnection<Postgres>, open: bool) {
        // The driver's pool would test a dropped connection, without a limit, so the connection is
        // detached from the pool first.
        if open && !matches!(timeout(GIVE_BACK, connection.execute("ROLLBACK")).await, Ok(Ok(_))) {
            drop(connection.detach());
            return self.sweep();
        }
        // This also tests the connection. The future owns it: dropping the future drops the
        // connection.
        if timeout(GIVE_BACK, connection.return_to_pool()).await.is_err() {
            self.sweep();
        }
    }
}

impl Inner {
    /// Waits for an answer. One that takes long may wait for a row.
    async fn answered<T>(&self, until: Instant, mut answer: Asked<'_, T>) -> Answered<T> {
        let soon = until.min(Instant::now() + SLOW);
        if let Ok(answer) = timeout_at(soon, &mut answer).await {
            return Ok(answer);
        }
        self.forgotten.look();
        timeout_at(until, answer).await
    }
}

/// Runs statements: each on any connection of a pool, or all in one transaction.
#[async_trait]
pub(in crate::store) trait Statements: Sync {
    fn pool(&self) -> &PostgresPool;

    /// Sends one request.
    async fn run<T: Send>(
        &self,
        ask: impl for<'c> FnOnce(&'c mut PgConnection) -> Asked<'c, T> + Send,
    ) -> Result<T, DbErr>;

    async fn execute(&self, sql: Statement) -> Result<ExecResult, DbErr> {
        let query = self.pool().query(sql);
        Ok(self.run(|connection| connection.execute(query)).await?.into())
    }

    async fn unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        let sql = AssertSqlSafe(sql.to_owned()).into_sql_str();
        Ok(self.run(|connection| connection.execute(sql)).await?.into())
    }

    async fn one(&self, sql: Statement) -> Result<Option<QueryResult>, DbErr> {
        let query = self.pool().query(sql);
        Ok(self.run(|connection| connection.fetch_optional(query)).await?.map(Into::into))
    }

    async fn all(&self, sql: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let query = self.pool().query(sql);
        let rows = self.run(|connection| connection.fetch_all(query)).await?;
        Ok(rows.into_iter().map(Into::into).collect())
    }
}

#[async_trait]
impl Statements for PostgresPool {
    fn pool(&self) -> &PostgresPool {
        self
    }

    /// A pooler that shares connections between transactions knows no statement by its name, and
    /// would send the parse and the execution of a statement to different connections unless a
    /// transaction holds them together.
    async fn run<T: Send>(
        &self,
        ask: impl for<'c> FnOnce(&'c mut PgConnection) -> Asked<'c, T> + Send,
    ) -> Result<T, DbErr> {
        let mut connection = self.take().await?;
        if self.inner.pooler == Pooler::None {
            return connection.ask(ask).await;
        }
        connection.begin().await?;
        let answer = connection.ask(ask).await?;
        connection.end("COMMIT").await?;
        Ok(answer)
    }
}

/// A transaction. Dropped without a commit, it is rolled back.
pub(in crate::store) struct PostgresTransaction {
    pool: PostgresPool,
    connection: Mutex<Taken>,
}

#[async_trait]
impl Statements for PostgresTransaction {
    fn pool(&self) -> &PostgresPool {
        &self.pool
    }

    async fn run<T: Send>(
        &self,
        ask: impl for<'c> FnOnce(&'c mut PgConnection) -> Asked<'c, T> + Send,
    ) -> Result<T, DbErr> {
        self.connection.lock().await.ask(ask).await
    }
}

impl PostgresTransaction {
    pub(in crate::store) async fn commit(self) -> Result<(), DbErr> {
        self.connection.into_inner().end("COMMIT").await
    }

    pub(in crate::store) async fn rollback(self) -> Result<(), DbErr> {
        self.connection.into_inner().end("ROLLBACK").await
    }
}

/// A connection in use. When dropped, it goes back to its pool within a time limit.
struct Taken {
    /// `None` once it was lost.
    connection: Option<PoolConnection<Postgres>>,
    pool: PostgresPool,
    /// A transaction may be open in it.
    open: bool,
    /// When that transaction must have ended.
    ends: Option<Instant>,
}

impl Taken {
    async fn begin(&mut self) -> Result<(), DbErr> {
        self.open = true;
        self.ends = Some(Instant::now() + self.pool.inner.statement * STATEMENTS);
        let begin = self.pool.inner.begin.clone();
        self.ask(|connection| connection.execute(begin)).await.map(drop)
    }

    async fn end(mut self, how: &'static str) -> Result<(), DbErr> {
        self.ask(|connection| connection.execute(how)).await?;
        self.open = false;
        Ok(())
    }

    /// Sends a request and waits for the answer. A connection that broke or did not answer in time
    /// is dropped.
    async fn ask<T>(
        &mut self,
        ask: impl for<'c> FnOnce(&'c mut PgConnection) -> Asked<'c, T> + Send,
    ) -> Result<T, DbErr> {
        let Some(connection) = &mut self.connection else {
            return Err(failed(sqlx::Error::PoolClosed));
        };
        let (began, pool) = (Instant::now(), &self.pool.inner);
        let until = began + pool.statement;
        let until = self.ends.map_or(until, |at| at.min(until));
        match pool.answered(until, ask(connection)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                let error = failed(error);
                // Before its time-out another session ends it only if it waits for a row.
                if is_canceled(&error) && began.elapsed() + GRACE < pool.statement {
                    return Err(held_up());
                }
                if is_lost(&error) {
                    self.discard();
                }
                Err(error)
            }
            Err(_) => {
                self.discard();
                self.pool.sweep();
                Err(failed(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))
            }
        }
    }

    fn discard(&mut self) {
        drop(self.connection.take().map(PoolConnection::detach));
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        let (pool, open) = (self.pool.clone(), self.open);
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => {
                runtime.spawn(async move { pool.give_back(connection, open).await });
            }
            Err(_) => drop(connection.detach()),
        }
    }
}

async fn answers(connection: &mut PgConnection) -> bool {
    matches!(timeout(TEST, connection.ping()).await, Ok(Ok(())))
}

fn failed(error: sqlx::Error) -> DbErr {
    DbErr::Query(RuntimeErr::SqlxError(error.into()))
}
