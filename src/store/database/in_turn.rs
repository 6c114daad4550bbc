//! Work about the same object takes turns within a process.
//!
//! Several statements about one row would only wait for each other, each with a connection of its
//! own. If another transaction keeps the row locked, like that of a frozen replica, they would wait
//! with all connections, and calls that have nothing to do with the row would wait for one.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

use crate::store::Error;

/// Keys with work under way from which on those without are looked for.
const MANY: usize = 1024;

/// The turns of all keys. Cheap to clone.
#[derive(Debug)]
pub struct InTurn<K>(Arc<Mutex<HashMap<K, Weak<tokio::sync::Mutex<Last>>>>>);

/// The last time the row of a key was found locked, while calls were waiting for their turn.
#[derive(Debug, Default)]
struct Last(Option<(Instant, Error)>);

/// The turn of one key; it ends when it is dropped.
#[derive(Debug)]
pub struct HeldTurn(OwnedMutexGuard<Last>);

impl<K> Clone for InTurn<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K> Default for InTurn<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Hash + Eq> InTurn<K> {
    /// Waits until no other work with this key is under way.
    pub async fn turn(&self, key: K) -> HeldTurn {
        let of_key = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if all.len() >= MANY {
                all.retain(|_, turns| turns.strong_count() > 0);
            }
            let known = all.get(&key).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let new = Arc::default();
                all.insert(key, Arc::downgrade(&new));
                new
            })
        };
        HeldTurn(of_key.lock_owned().await)
    }

    /// Does the work in turn. [`Error::Locked`] also if the work of another call found the row
    /// locked while this one waited: one wait for a locked row is enough.
    pub(in crate::store) async fn run<T>(
        &self,
        key: K,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let asked = Instant::now();
        let mut turn = self.turn(key).await;
        if let Some((_, error)) = turn.0.0.as_ref().filter(|(found, _)| *found >= asked) {
            return Err(error.clone());
        }
        let done = work.await;
        if let Err(error @ Error::Locked(_)) = &done {
            turn.0.0 = Some((Instant::now(), error.clone()));
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn work_with_one_key_takes_turns_and_that_with_others_does_not_wait() {
        let turns = InTurn::default();
        let first = turns.turn("acme").await;
        let mut second = Box::pin(turns.turn("acme"));
        assert!(second.as_mut().now_or_never().is_none());
        assert!(turns.turn("other").now_or_never().is_some());
        drop(first);
        drop(second.await);
    }

    #[tokio::test]
    async fn keys_without_work_under_way_are_forgotten() {
        let turns = InTurn::default();
        let held = turns.turn(0).await;
        for number in 1..3 * MANY {
            drop(turns.turn(number).await);
        }
        assert!(turns.0.lock().unwrap().len() <= MANY);
        assert!(turns.turn(0).now_or_never().is_none());
        drop(held);
    }

    #[tokio::test]
    async fn calls_that_waited_share_the_news_of_a_locked_row() {
        let turns = InTurn::default();
        let locked = || Error::Locked("a row".into());
        let (found, wait) = tokio::sync::oneshot::channel::<()>();
        let first = turns.run("row", async {
            wait.await.ok();
            Err::<(), _>(locked())
        });
        let second = turns.run("row", async { Ok(()) });
        let both = async { tokio::join!(first, second) };
        let mut both = Box::pin(both);
        assert!(both.as_mut().now_or_never().is_none(), "the first is under way");
        found.send(()).unwrap();
        let (first, second) = both.await;
        assert!(matches!(first, Err(Error::Locked(_))) && matches!(second, Err(Error::Locked(_))));
        assert!(turns.run("row", async { Ok(()) }).await.is_ok(), "a later call looks itself");
    }
}
