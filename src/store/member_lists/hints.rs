//! Hints that a member list changed: within this process, and between processes by PostgreSQL's
//! NOTIFY. They only make followers look sooner. Followers rely on polling the pointer, so a hint
//! may be lost, late or repeated.
//!
//! NOTIFY takes a lock on the whole database while its transaction commits, so it is never part of
//! a transaction that writes: changes are gathered briefly and sent in a separate statement. LISTEN
//! has its own connection, which is tested after a period of silence: a dead connection is
//! replaced, and until then followers find changes by polling.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sea_orm::sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sea_orm::sqlx::{self, Executor as _};
use tokio::sync::{Notify, broadcast};
use tokio::time::timeout;

use crate::domain::ids::InstallationId;
use crate::store::database::sql::{self, params};
use crate::store::{Error, MemberLists, Store};

const CHANNEL: &str = "herald_directory";
/// How many hints a slow follower may fall behind; after more, it gets [`Hint::Missed`].
const KEPT: usize = 1024;
/// Lists named in one statement.
const BATCH: usize = 200;
/// Changes within this time are sent together.
const GATHER: Duration = Duration::from_millis(20);
/// The longest wait for a connection, or for an answer on it.
const ANSWER: Duration = Duration::from_secs(5);
/// Silence after which the connection is tested.
const QUIET: Duration = Duration::from_secs(5);
/// The wait before a lost connection is replaced.
const AGAIN: Duration = Duration::from_secs(1);

/// Why to look at member lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// This list has a newer generation, change or batch of custom fields.
    Moved(InstallationId),
    /// Some hints may have been missed: look at all lists.
    Missed,
}

pub(in crate::store) struct Hints {
    told: broadcast::Sender<Hint>,
    /// To be sent to other processes.
    unsent: Mutex<BTreeSet<InstallationId>>,
    wake: Notify,
}

impl Hints {
    pub(in crate::store) fn new() -> Self {
        Self { told: broadcast::Sender::new(KEPT), unsent: Mutex::default(), wake: Notify::new() }
    }

    fn tell(&self, hint: Hint) {
        // There may be no followers.
        self.told.send(hint).ok();
    }

    /// Takes a batch to send.
    fn take(&self) -> Vec<String> {
        let mut unsent = self.unsent.lock().unwrap_or_else(PoisonError::into_inner);
        let batch: Vec<_> = unsent.iter().take(BATCH).copied().collect();
        for id in &batch {
            unsent.remove(id);
        }
        batch.iter().map(ToString::to_string).collect()
    }
}

impl MemberLists<'_> {
    /// Hints from now on, from this process and, while [`MemberLists::run_hints`] runs, from
    /// others.
    pub fn hints(self) -> broadcast::Receiver<Hint> {
        self.store.inner.hints.told.subscribe()
    }

    /// Sends hints to other processes and receives theirs, until it is dropped. Does nothing on
    /// SQLite, which has one process, or if `store.listen` is off.
    pub async fn run_hints(self) {
        let Some(options) = self.store.inner.connections.listen() else {
            return std::future::pending().await;
        };
        tokio::join!(self.store.send_hints(), self.store.hear_hints(options));
    }
}

impl Store {
    /// Sends a hint after a commit that changed a list.
    pub(in crate::store) fn hint(&self, installation: InstallationId) {
        let hints = &self.inner.hints;
        hints.tell(Hint::Moved(installation));
        if self.inner.connections.listen().is_some() {
            let mut unsent = hints.unsent.lock().unwrap_or_else(PoisonError::into_inner);
            unsent.insert(installation);
            drop(unsent);
            hints.wake.notify_one();
        }
    }

    async fn send_hints(&self) {
        const SQL: &str = "SELECT count(pg_notify($1, id))
            FROM unnest(string_to_array($2, ',')) AS id";
        loop {
            let batch = self.inner.hints.take();
            if batch.is_empty() {
                self.inner.hints.wake.notified().await;
                continue;
            }
            let values = params![CHANNEL, batch.join(",")];
            if let Err(error) = sql::one(self.writer(), SQL, values).await {
                tracing::debug!(%error, "other replicas were not notified of a change; they poll");
            }
            tokio::time::sleep(GATHER).await;
        }
    }

    async fn hear_hints(&self, options: &PgConnectOptions) {
        let mut lost = false;
        loop {
            let error = match listen(options).await {
                Ok(listener) => {
                    lost = false;
                    tracing::debug!("listening for changed member lists of other replicas");
                    // Earlier hints were not received.
                    self.inner.hints.tell(Hint::Missed);
                    self.hear(listener).await
                }
                Err(error) => error,
            };
            if !lost {
                tracing::info!(%error, "cannot listen to other replicas; member lists are polled");
            }
            lost = true;
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Receives until the connection is lost; returns why.
    async fn hear(&self, mut listener: PgListener) -> Error {
        loop {
            match timeout(QUIET, listener.try_recv()).await {
                Ok(Ok(Some(heard))) => {
                    if let Ok(id) = InstallationId::parse(heard.payload()) {
                        self.inner.hints.tell(Hint::Moved(id));
                    } else {
                        tracing::debug!("a notification of another replica was not understood");
                    }
                }
                Ok(Ok(None)) => return lost("the connection was closed"),
                Ok(Err(error)) => return failed(error),
                Err(_) => match timeout(ANSWER, listener.execute("SELECT 1")).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => return failed(error),
                    Err(_) => return lost("the connection is dead"),
                },
            }
        }
    }
}

/// A separate connection, outside the pool.
async fn listen(options: &PgConnectOptions) -> Result<PgListener, Error> {
    let connect = async {
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .max_lifetime(None)
            .idle_timeout(None)
            .connect_lazy_with(options.clone());
        let mut listener = PgListener::connect_with(&pool).await?;
        // A lost connection must be reported, since hints are lost with it.
        listener.eager_reconnect(false);
        listener.listen(CHANNEL).await?;
        Ok(listener)
    };
    timeout(ANSWER, connect).await.map_err(|_| lost("no connection in time"))?.map_err(failed)
}

fn lost(why: &str) -> Error {
    Error::Unavailable(why.into())
}

fn failed(error: sqlx::Error) -> Error {
    Error::from(sea_orm::DbErr::Conn(sea_orm::RuntimeErr::SqlxError(error.into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_named_once_and_batches_are_bounded() {
        let hints = Hints::new();
        let mut unsent = hints.unsent.lock().unwrap();
        for number in 0..500 {
            for _ in 0..3 {
                unsent.insert(InstallationId(uuid::Uuid::from_u128(number)));
            }
        }
        drop(unsent);
        assert_eq!([hints.take().len(), hints.take().len(), hints.take().len()], [200, 200, 100]);
        assert!(hints.take().is_empty());
    }
}
