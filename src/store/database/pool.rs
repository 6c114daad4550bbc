//! The pools that run statements outside a transaction, for either database.

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, DbErr, ExecResult, QueryResult,
    SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait as _,
};
use sea_orm_migration::async_trait::async_trait;

use super::executor::{Engine, Executor};
use super::postgres::PostgresPool;
use super::transaction::{Begun, Tx};
use crate::store::error::is_lost;

/// A pool of connections. Cheap to clone.
pub(in crate::store) type Pool = Executor<DatabaseConnection, PostgresPool>;

impl Pool {
    /// Begins a write transaction: `BEGIN IMMEDIATE` on SQLite, READ COMMITTED on PostgreSQL.
    pub(in crate::store) async fn begin(&self) -> Result<Tx, DbErr> {
        // Nothing was sent on a connection that turns out to be lost, so another one is taken.
        let mut stale = 0;
        loop {
            match self.begin_once().await {
                Err(error) if is_lost(&error) && stale < self.size() => stale += 1,
                begun => return Ok(Tx::new(self.pulse.felt(begun)?, self.pulse.clone())),
            }
        }
    }

    async fn begin_once(&self) -> Result<Begun, DbErr> {
        match &self.engine {
            Engine::Postgres(pool) => Ok(Engine::Postgres(pool.begin().await?)),
            Engine::Sqlite(pool) => Ok(Engine::Sqlite(pool.begin_with_options(immediate()).await?)),
        }
    }

    /// The most connections that may be stale.
    fn size(&self) -> u32 {
        match &self.engine {
            Engine::Sqlite(_) => 1,
            Engine::Postgres(pool) => pool.size(),
        }
    }

    /// A pool that is closed twice, or in use at the end of the process, is not worth a report.
    pub(in crate::store) async fn close(&self) {
        match &self.engine {
            Engine::Sqlite(pool) => drop(pool.close_by_ref().await),
            Engine::Postgres(pool) => pool.close().await,
        }
    }
}

/// Takes SQLite's write lock at the start; does nothing on PostgreSQL.
pub(in crate::store) fn immediate() -> TransactionOptions {
    TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    }
}

/// A pool for read statements, which may therefore be run again: if a connection turns out to be
/// lost, another one is taken. After a restart of the database every connection of the pool is
/// stale, and each would fail one call.
pub(in crate::store) struct ReadPool(pub(in crate::store) Pool);

impl ReadPool {
    async fn insist<T, F>(&self, run: impl Fn() -> F) -> Result<T, DbErr>
    where
        F: Future<Output = Result<T, DbErr>>,
    {
        let mut stale = 0;
        loop {
            match run().await {
                Err(error) if is_lost(&error) && stale < self.0.size() => stale += 1,
                outcome => return outcome,
            }
        }
    }
}

#[async_trait]
impl ConnectionTrait for ReadPool {
    fn get_database_backend(&self) -> DbBackend {
        self.0.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.0.execute_raw(statement).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.0.execute_unprepared(sql).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.insist(|| self.0.query_one_raw(statement.clone())).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.insist(|| self.0.query_all_raw(statement.clone())).await
    }
}
