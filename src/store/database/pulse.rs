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

    /// How long ago the database last answered any call; `None`: it has not since a connection was
    /// lost.
    pub(in crate::store) fn silence(&self) -> Option<Duration> {
        let answered = self.answered.load(Ordering::Relaxed);
        let silent = self.since_began().saturating_sub(answered);
        (answered != 0).then_some(Duration::from_millis(silent))
    }

    fn felt_within(&self, time: Duration) -> bool {
        self.silence().is_some_and(|silence| silence < time)
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

/// The state of a database that has not answered a check for `patience`, by the answers to other
/// calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Beside {
    /// Another call was answered just now.
    Up,
    /// No call was answered for that long.
    Down,
    /// If no call is answered for this much longer, it is down.
    Unclear(Duration),
}

impl Beside {
    pub(in crate::store) fn of(silence: Option<Duration>, patience: Duration) -> Self {
        let left = silence.and_then(|silence| patience.checked_sub(silence));
        match left.filter(|left| !left.is_zero()) {
            None => Self::Down,
            Some(left) if patience.saturating_sub(left) <= patience / 8 => Self::Up,
            Some(left) => Self::Unclear(left),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_answers_no_one_is_down_as_soon_as_it_was_silent_for_long_enough() {
        let patience = Duration::from_secs(2);
        let of = |silence| Beside::of(silence, patience);
        assert_eq!(of(None), Beside::Down);
        assert_eq!(of(Some(patience)), Beside::Down);
        assert_eq!(of(Some(patience * 2)), Beside::Down);
        assert_eq!(of(Some(Duration::ZERO)), Beside::Up);
        assert_eq!(of(Some(patience / 8)), Beside::Up);
        assert_eq!(of(Some(patience / 2)), Beside::Unclear(patience / 2));
        let nearly = Duration::from_millis(1999);
        assert_eq!(of(Some(nearly)), Beside::Unclear(Duration::from_millis(1)));
    }
}
