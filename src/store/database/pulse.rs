//! Whether the database answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sea_orm::{ConnAcquireErr, DbErr, RuntimeErr};

use crate::store::error::{is_answer, is_lost};

/// When the database last answered. A pool that has no connection in time does not report whether
/// all are in use or none can be made. If other calls were answered meanwhile, all are in use.
#[derive(Clone)]
pub(in crate::store) struct Pulse {
    began: Instant,
    /// Milliseconds since `began`; 0 if it has not answered since a connection was lost.
    answered: Arc<AtomicU64>,
    patience: Duration,
}

impl Pulse {
    /// If all connections wait for rows, answers are as far apart as the longest statement.
    pub(in crate::store) fn new(acquire: Duration, statement: Duration) -> Self {
        let patience = (3 * acquire).max(2 * statement);
        Self { began: Instant::now(), answered: Arc::default(), patience }
    }

    fn since_began(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether the database answered any call within the last `time`.
    pub(in crate::store) fn felt_within(&self, time: Duration) -> bool {
        let answered = self.answered.load(Ordering::Relaxed);
        let silent = self.since_began().saturating_sub(answered);
        answered != 0 && u128::from(silent) < time.as_millis()
    }

    /// Records the outcome, and turns a time-out of the pool into its cause.
    pub(in crate::store) fn felt<T>(&self, outcome: Result<T, DbErr>) -> Result<T, DbErr> {
        match outcome {
            Ok(answer) => {
                self.answered.store(self.since_began().max(1), Ordering::Relaxed);
                Ok(answer)
            }
            Err(error) if timed_out(&error) => {
                Err(DbErr::ConnectionAcquire(if self.felt_within(self.patience) {
                    ConnAcquireErr::Timeout
                } else {
                    ConnAcquireErr::ConnectionClosed
                }))
            }
            Err(error) => {
                if is_lost(&error) {
                    self.answered.store(0, Ordering::Relaxed);
                } else if is_answer(&error) {
                    self.answered.store(self.since_began().max(1), Ordering::Relaxed);
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
