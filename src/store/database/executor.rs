//! Runs statements on the database in use.

use sea_orm::{ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, Statement};
use sea_orm_migration::async_trait::async_trait;

use super::postgres::Statements;
use super::pulse::Pulse;

/// A pool or a transaction, of the type `S` on SQLite and `P` on PostgreSQL. Notes whether the
/// database answers.
#[derive(Clone)]
pub(in crate::store) struct Executor<S, P> {
    pub(super) engine: Engine<S, P>,
    pub(super) pulse: Pulse,
}

#[derive(Clone)]
pub(in crate::store) enum Engine<S, P> {
    Sqlite(S),
    Postgres(P),
}

impl<S, P> Executor<S, P> {
    pub(in crate::store) fn new(engine: Engine<S, P>, pulse: Pulse) -> Self {
        Self { engine, pulse }
    }
}

#[async_trait]
impl<S: ConnectionTrait, P: Statements> ConnectionTrait for Executor<S, P> {
    fn get_database_backend(&self) -> DbBackend {
        match &self.engine {
            Engine::Sqlite(_) => DbBackend::Sqlite,
            Engine::Postgres(_) => DbBackend::Postgres,
        }
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.pulse.felt(match &self.engine {
            Engine::Sqlite(sqlite) => sqlite.execute_raw(statement).await,
            Engine::Postgres(postgres) => postgres.execute(statement).await,
        })
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.pulse.felt(match &self.engine {
            Engine::Sqlite(sqlite) => sqlite.execute_unprepared(sql).await,
            Engine::Postgres(postgres) => postgres.unprepared(sql).await,
        })
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.pulse.felt(match &self.engine {
            Engine::Sqlite(sqlite) => sqlite.query_one_raw(statement).await,
            Engine::Postgres(postgres) => postgres.one(statement).await,
        })
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.pulse.felt(match &self.engine {
            Engine::Sqlite(sqlite) => sqlite.query_all_raw(statement).await,
            Engine::Postgres(postgres) => postgres.all(statement).await,
        })
    }
}
