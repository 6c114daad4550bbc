//! Transactions: short, retried if that helps, and never two at once from one task.
//!
//! SQLite has one writer. `BEGIN IMMEDIATE` takes the write lock at the start: a transaction that
//! reads first and upgrades later fails at once, whatever the busy time-out. A task that holds a
//! transaction must not begin another, nor create a data key (see `seal`): both would wait for the
//! connection that this very task holds.

use std::marker::PhantomData;
use std::pin::Pin;
use std::time::Duration;

use sea_orm::{DatabaseTransaction, DbBackend, DbErr};

use super::executor::{Engine, Executor};
use super::postgres::PostgresTransaction;
use super::session::{BRIEFLY, OWN_NAME};
use crate::store::error::ended_while_idle;
use crate::store::{Backend, Error, Store};

/// An open transaction. If dropped without a commit, it is rolled back.
pub(in crate::store) type Tx = Executor<DatabaseTransaction, PostgresTransaction>;

/// A transaction of either database.
pub(in crate::store) type Begun = Engine<DatabaseTransaction, PostgresTransaction>;

/// How often work is run before contention is reported.
const ATTEMPTS: u32 = 8;
/// How often it is run if the connection broke before the commit was sent, which undoes the work.
const ATTEMPTS_AWAY: u32 = 3;
/// The wait before the second attempt; it doubles, and each wait is drawn from 0 to twice its mean.
const FIRST_WAIT: Duration = Duration::from_millis(5);

/// Batches of one kind that are written at the same time. SQLite has one writer; on PostgreSQL two
/// overlap: one waits for the disk while the other's statements run.
pub(in crate::store) fn at_once(backend: Backend) -> usize {
    match backend {
        Backend::Sqlite => 1,
        Backend::Postgres => 2,
    }
}

/// How long the statements of a transaction wait for a row that another transaction holds. Only
/// PostgreSQL gets this limit: SQLite has one writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Patience {
    /// Shared by calls of several tenants: one locked row must not hold all of them up.
    Shared,
    /// The first attempt of a call that a locked row may have held up.
    Brief,
    /// The last attempt.
    Long,
}

impl Patience {
    /// An additional column for a subselect that the first statement of a transaction reads before
    /// it locks anything: sets the limit for this transaction without a round trip.
    /// <https://www.postgresql.org/docs/current/runtime-config-client.html#GUC-LOCK-TIMEOUT>
    ///
    /// Where the wait is to be brief, the session says so by its name: PostgreSQL may forget to end
    /// the wait (`forgotten`).
    pub(in crate::store) fn column(self, backend: DbBackend) -> String {
        let limit = match (backend, self) {
            (DbBackend::Postgres, Self::Shared) => "200ms",
            (DbBackend::Postgres, Self::Brief) => "50ms",
            (DbBackend::Postgres, Self::Long) => {
                return ", set_config('lock_timeout', '3s', TRUE) AS patience".to_owned();
            }
            _ => return String::new(),
        };
        format!(
            ", set_config('lock_timeout', '{limit}', TRUE) AS patience, \
             set_config('application_name', {OWN_NAME} || '{BRIEFLY}', TRUE) AS briefly"
        )
    }

    /// The time, read by a statement that also sets the limit.
    pub(in crate::store) fn clock(self, backend: DbBackend) -> String {
        format!("(SELECT {{now}} AS now{}) AS clock", self.column(backend))
    }
}

impl Store {
    /// Begins a write transaction: `BEGIN IMMEDIATE` on SQLite, READ COMMITTED on PostgreSQL.
    pub(in crate::store) async fn write(&self) -> Result<Tx, Error> {
        Ok(self.writer().begin().await?)
    }

    /// Runs `work` in a write transaction and commits. Deadlocks, serialization failures and a
    /// locked file run it again, a limited number of times; `work` must therefore have no effect
    /// outside the transaction. A connection that breaks before the commit also runs it again, a
    /// few times. One that breaks during the commit does not: the outcome is unknown
    /// ([`Error::Unavailable`]), unless the server says that the transaction was idle for too long.
    ///
    /// `store.transaction(|tx| scoped(async move { … }))`; everything that the block borrows must
    /// already be a reference.
    pub(in crate::store) async fn transaction<'env, T, F>(&self, work: F) -> Result<T, Error>
    where
        F: for<'tx> Fn(&'tx Tx) -> Scoped<'env, 'tx, T> + Send + Sync,
        T: Send,
    {
        let mut attempt = 1;
        loop {
            let tx = self.write().await?;
            let worked = work(&tx).future.await;
            let (outcome, uncommitted) = match worked {
                Ok(value) => match tx.commit().await {
                    Ok(()) => (Ok(value), false),
                    Err(error) => {
                        let uncommitted = ended_while_idle(&error);
                        (Err(error.into()), uncommitted)
                    }
                },
                Err(error) => {
                    // The transaction has already failed: the result of the rollback adds nothing.
                    tx.rollback().await.ok();
                    (Err(error), true)
                }
            };
            match outcome {
                Err(Error::Contended(_)) if attempt < ATTEMPTS => {}
                Err(Error::Unavailable(_)) if uncommitted && attempt < ATTEMPTS_AWAY => {}
                outcome => return outcome,
            }
            tokio::time::sleep(backoff(attempt, rand::random())).await;
            attempt += 1;
        }
    }
}

impl Tx {
    pub(in crate::store) async fn commit(self) -> Result<(), DbErr> {
        self.pulse.felt(match self.engine {
            Engine::Sqlite(tx) => tx.commit().await,
            Engine::Postgres(tx) => tx.commit().await,
        })
    }

    pub(in crate::store) async fn rollback(self) -> Result<(), DbErr> {
        match self.engine {
            Engine::Sqlite(tx) => tx.rollback().await,
            Engine::Postgres(tx) => tx.rollback().await,
        }
    }
}

/// The future of a transaction's work. It borrows the transaction for `'tx` and its surroundings
/// for `'env`; the marker tells the compiler that the surroundings live longer (an `AsyncFn` would
/// say it better, but its future cannot yet be required to be `Send`).
pub(in crate::store) struct Scoped<'env, 'tx, T> {
    future: Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'tx>>,
    outlives: PhantomData<&'tx &'env ()>,
}

/// Boxes the work of [`Store::transaction`].
pub(in crate::store) fn scoped<'env, 'tx, T>(
    future: impl Future<Output = Result<T, Error>> + Send + 'tx,
) -> Scoped<'env, 'tx, T> {
    Scoped { future: Box::pin(future), outlives: PhantomData }
}

fn backoff(attempt: u32, dice: u8) -> Duration {
    let mean = FIRST_WAIT.saturating_mul(1 << attempt.min(8));
    mean.saturating_mul(u32::from(dice)) / 128
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::store::database::sql::{self, params};
    use crate::store::seal::data_keys::{KeyScope, SealedCell};
    use crate::store::{Config, Store};

    /// Long enough for a busy machine to open connections and a file.
    const PATIENT: Duration = Duration::from_secs(60);

    async fn store(acquire_timeout: Duration) -> (Store, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let config =
            Config { data_dir: dir.path().to_owned(), acquire_timeout, ..Config::default() };
        let store = Store::open(&config).await.unwrap();
        store.migrate().await.unwrap();
        (store, dir)
    }

    const INSERT: &str = "INSERT INTO tenants (tenant, version, created_at, updated_at)
        VALUES ($1, 0, {now}, {now})";

    async fn count(store: &Store) -> i64 {
        let row = sql::one(store.reader(), "SELECT count(*) FROM tenants", Vec::new()).await;
        row.unwrap().unwrap().get(0).unwrap()
    }

    #[tokio::test]
    async fn contended_work_runs_again_and_leaves_nothing_behind() {
        let (store, _dir) = store(PATIENT).await;
        let runs = &AtomicU32::new(0);
        let work = store.transaction(|tx| {
            scoped(async move {
                sql::execute(tx, INSERT, params!["acme"]).await?;
                if runs.fetch_add(1, Ordering::Relaxed) < 2 {
                    return Err(Error::Contended("test".into()));
                }
                Ok(())
            })
        });
        work.await.unwrap();
        assert_eq!((runs.load(Ordering::Relaxed), count(&store).await), (3, 1));
    }

    #[tokio::test]
    async fn retries_are_bounded_and_other_errors_are_final() {
        let (store, _dir) = store(PATIENT).await;
        for (error, expected) in
            [(Error::Contended("test".into()), ATTEMPTS), (Error::Conflict("test".into()), 1)]
        {
            let (runs, error) = (&AtomicU32::new(0), &error);
            let work = store.transaction(|_| {
                scoped(async move {
                    runs.fetch_add(1, Ordering::Relaxed);
                    Err::<(), _>(error.clone())
                })
            });
            assert_eq!(work.await.as_ref(), Err(error));
            assert_eq!(runs.load(Ordering::Relaxed), expected);
        }
    }

    #[tokio::test]
    async fn a_transaction_that_is_dropped_is_rolled_back_and_frees_the_writer() {
        let (store, _dir) = store(PATIENT).await;
        let tx = store.write().await.unwrap();
        sql::execute(&tx, INSERT, params!["acme"]).await.unwrap();
        drop(tx);
        store.write().await.unwrap().commit().await.unwrap();
        assert_eq!(count(&store).await, 0);
    }

    #[tokio::test]
    async fn a_second_writer_is_told_that_the_store_is_not_available() {
        // The second writer waits this long.
        let (store, _dir) = store(Duration::from_secs(5)).await;
        let tx = store.write().await.unwrap();
        assert!(matches!(store.write().await.err(), Some(Error::Busy | Error::Unavailable(_))));
        // Reading and decrypting need no writer.
        let scope = KeyScope::Store;
        let place = SealedCell { table: "t", row: "r", column: "c" };
        let sealed = store.keys(&scope).await.unwrap().seal(&place, b"x").unwrap();
        assert_eq!(&**store.unseal(&scope, &place, &sealed).await.unwrap(), b"x");
        tx.rollback().await.unwrap();
    }
}
