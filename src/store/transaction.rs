//! Transactions: short, retried where that helps, and never two at once from one task.
//!
//! SQLite has one writer. `BEGIN IMMEDIATE` takes the write lock at the start: a transaction that
//! reads first and upgrades later fails at once, whatever the busy time-out. Whoever holds a
//! transaction must not begin another, nor create a data key (see `seal`): both would wait for
//! the connection that this very task holds.

use std::marker::PhantomData;
use std::pin::Pin;
use std::time::Duration;

use sea_orm::{
    DatabaseTransaction, SqliteTransactionMode, TransactionOptions, TransactionTrait as _,
};

use super::{Error, Store};

/// An open transaction. Dropped without a commit, it is rolled back.
pub(in crate::store) type Tx = DatabaseTransaction;

/// How often work is run before contention is reported.
const ATTEMPTS: u32 = 8;
/// The wait before the second attempt; it doubles, and each wait is drawn from 0 to twice its mean.
const FIRST_WAIT: Duration = Duration::from_millis(5);

impl Store {
    /// Begins a write transaction: `BEGIN IMMEDIATE` on SQLite, READ COMMITTED on PostgreSQL.
    pub(in crate::store) async fn write(&self) -> Result<Tx, Error> {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        Ok(self.writer().begin_with_options(options).await?)
    }

    /// Runs `work` in a write transaction and commits. Deadlocks, serialization failures and a
    /// locked file run it again, a bounded number of times; `work` must therefore have no effect
    /// outside the transaction. A connection that breaks during the commit is not retried: what
    /// became of it is unknown ([`Error::Unavailable`]).
    ///
    /// `store.transaction(|tx| scoped(async move { … }))`; what the block borrows must be
    /// references already.
    pub(in crate::store) async fn transaction<'env, T, F>(&self, work: F) -> Result<T, Error>
    where
        F: for<'tx> Fn(&'tx Tx) -> Scoped<'env, 'tx, T> + Send + Sync,
        T: Send,
    {
        let mut attempt = 1;
        loop {
            let tx = self.write().await?;
            let worked = work(&tx).future.await;
            let outcome = match worked {
                Ok(value) => tx.commit().await.map(|()| value).map_err(Error::from),
                Err(error) => {
                    // Already failed: what the roll-back says adds nothing.
                    tx.rollback().await.ok();
                    Err(error)
                }
            };
            match outcome {
                Err(Error::Contended(_)) if attempt < ATTEMPTS => {}
                outcome => return outcome,
            }
            tokio::time::sleep(backoff(attempt, rand::random())).await;
            attempt += 1;
        }
    }
}

/// The future of a transaction's work. It borrows the transaction for `'tx` and its surroundings
/// for `'env`; the marker tells the compiler that the latter live longer (an `AsyncFn` would say
/// it better, but its future cannot yet be required to be `Send`).
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
