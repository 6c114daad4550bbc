//! A limited resource that holders share ([`crate::domain::capacity::shares`]).

use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::capacity::shares::Shares;

/// A limited resource. Cheap to clone.
#[derive(Debug)]
pub struct ResourcePool<K>(Arc<Mutex<Shares<K>>>);

/// The part that one holder took; dropping it gives it back.
#[derive(Debug)]
pub struct Held<K: Clone + Eq + Hash> {
    pool: ResourcePool<K>,
    holder: K,
    amount: u64,
}

impl<K: Clone + Eq + Hash> ResourcePool<K> {
    pub fn new(capacity: usize) -> Self {
        Self(Arc::new(Mutex::new(Shares::new(capacity as u64))))
    }

    /// Takes `amount` for `holder`; `None` if that is more than its share. `part` is the divisor of
    /// the share.
    pub fn take(&self, holder: &K, amount: usize, part: u64) -> Option<Held<K>> {
        let mut held = self.nothing(holder);
        held.grow(amount, part).then_some(held)
    }

    /// A part of no amount for `holder`, which can grow.
    pub fn nothing(&self, holder: &K) -> Held<K> {
        Held { pool: self.clone(), holder: holder.clone(), amount: 0 }
    }

    fn shares(&self) -> MutexGuard<'_, Shares<K>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K> Clone for ResourcePool<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Clone + Eq + Hash> Held<K> {
    /// Takes more for the same holder; returns whether it was taken. `part` is the divisor of the
    /// share.
    pub fn grow(&mut self, more: usize, part: u64) -> bool {
        let more = more as u64;
        let taken = self.pool.shares().take(&self.holder, more, part);
        if taken {
            self.amount += more;
        }
        taken
    }
}

impl<K: Clone + Eq + Hash> Drop for Held<K> {
    fn drop(&mut self) {
        self.pool.shares().give_back(&self.holder, self.amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_grew_is_given_back_whole() {
        let pool = ResourcePool::new(8);
        let mut held = pool.take(&"one", 1, 1).unwrap();
        assert!(held.grow(3, 1) && !held.grow(1, 1));
        assert!(pool.take(&"other", 5, 1).is_none());
        drop(held);
        assert!(pool.take(&"other", 8, 1).is_some());
    }
}
