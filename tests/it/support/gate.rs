//! A gate in PostgreSQL. Certain statements wait at their first use of the clock, after they took
//! their snapshot, until it opens: they do not see commits made meanwhile, unless they read a row
//! again. Or certain transactions wait at their commit, or certain updates before they are made.
//! PostgreSQL only.

use sea_orm::{
    ConnectionTrait as _, DatabaseConnection, DatabaseTransaction, TransactionTrait as _,
};

use super::process::until;
use super::store::TestStore;

/// An arbitrary number that no other session locks.
const NUMBER: i64 = 4_712;

pub(crate) struct Gate {
    shut: DatabaseTransaction,
}

impl Gate {
    /// Shuts the gate for statements like this one. The store is opened anew: its connections find
    /// the gate's clock before the database's own.
    pub(crate) async fn before(store: &mut TestStore, statement: &str) -> Self {
        let raw = store.raw().await;
        let clock = format!(
            "CREATE SCHEMA gate;
            CREATE FUNCTION gate.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql VOLATILE
                SET lock_timeout = 0 AS $$ BEGIN
                IF current_query() LIKE '{statement}' THEN
                    PERFORM pg_catalog.pg_advisory_xact_lock_shared({NUMBER});
                END IF;
                RETURN pg_catalog.clock_timestamp();
            END $$;
            DO $$ BEGIN EXECUTE format(
                'ALTER DATABASE %I SET search_path = gate, pg_catalog, public',
                current_database()); END $$;"
        );
        raw.execute_unprepared(&clock).await.unwrap();
        store.store = store.replica().await;
        Self::close(&raw).await
    }

    /// Shuts the gate for transactions that add a row to this table: they wait at their commit.
    pub(crate) async fn before_commit(store: &TestStore, table: &str) -> Self {
        let raw = store.raw().await;
        let trigger = format!(
            "CREATE FUNCTION wait_at_commit() RETURNS trigger LANGUAGE plpgsql
                SET lock_timeout = 0 AS $$ BEGIN
                PERFORM pg_advisory_xact_lock_shared({NUMBER});
                RETURN NULL;
            END $$;
            CREATE CONSTRAINT TRIGGER gate AFTER INSERT ON {table}
                DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait_at_commit()"
        );
        raw.execute_unprepared(&trigger).await.unwrap();
        Self::close(&raw).await
    }

    /// From now on, while a gate is shut ([`Gate::close`]), updates of this table's rows wait at it
    /// if the condition holds.
    pub(crate) async fn guard(raw: &DatabaseConnection, table: &str, condition: &str) {
        let trigger = format!(
            "CREATE FUNCTION wait_at_update() RETURNS trigger LANGUAGE plpgsql
                SET lock_timeout = 0 AS $$ BEGIN
                PERFORM pg_advisory_xact_lock_shared({NUMBER});
                RETURN NEW;
            END $$;
            CREATE TRIGGER gate BEFORE UPDATE ON {table}
                FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION wait_at_update()"
        );
        raw.execute_unprepared(&trigger).await.unwrap();
    }

    /// Shuts the gate of [`Gate::guard`].
    pub(crate) async fn close(raw: &DatabaseConnection) -> Self {
        let shut = raw.begin().await.unwrap();
        let lock = format!("SELECT pg_advisory_xact_lock({NUMBER})");
        shut.execute_unprepared(&lock).await.unwrap();
        Self { shut }
    }

    /// Waits until a statement, or a commit, has reached the gate.
    pub(crate) async fn reached(&self) {
        let waits = sea_orm::Statement::from_string(
            sea_orm::DbBackend::Postgres,
            "SELECT 1 FROM pg_locks WHERE NOT granted AND locktype = 'advisory' AND database = \
             (SELECT oid FROM pg_database WHERE datname = current_database())",
        );
        until("a statement waits at the gate", async || {
            self.shut.query_one_raw(waits.clone()).await.unwrap().map(drop)
        })
        .await;
    }

    pub(crate) async fn open(self) {
        self.shut.commit().await.unwrap();
    }
}
