//! Turns for work that computes much: only a few run at a time, and tenants take turns by number of
//! people (`domain::capacity::fair_queue`). Examples are planning a broadcast, and evaluating
//! expressions that are more than a path. The limit leaves processor time for other work.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::domain::capacity::fair_queue::FairQueue;
use crate::domain::ids::TenantId;

/// A call to more recipients is a large one. Also the number that a tenant may add in one round.
const SMALL: usize = 64;

/// Turns for such work.
#[derive(Clone)]
pub struct Turns(Arc<Mutex<State>>);

struct State {
    free: usize,
    waiting: FairQueue<TenantId, oneshot::Sender<TurnGuard>>,
}

/// One turn, passed on when it is dropped.
pub struct TurnGuard(Turns);

impl Turns {
    /// As many turns at a time as half of the processors.
    #[must_use]
    pub fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self::of(cores.div_euclid(2).max(1))
    }

    fn of(free: usize) -> Self {
        Self(Arc::new(Mutex::new(State { free, waiting: FairQueue::new(SMALL) })))
    }

    /// Waits for the tenant's turn; a small call needs none.
    pub async fn take_if_large(&self, tenant: &TenantId, people: usize) -> Option<TurnGuard> {
        if people <= SMALL { None } else { self.take(tenant, people).await }
    }

    /// Waits for the tenant's turn.
    pub async fn take(&self, tenant: &TenantId, people: usize) -> Option<TurnGuard> {
        let turn = {
            let mut state = self.lock();
            if state.free > 0 {
                state.free -= 1;
                return Some(TurnGuard(self.clone()));
            }
            let (sender, turn) = oneshot::channel();
            state.waiting.push(tenant.clone(), people, sender);
            turn
        };
        turn.await.ok()
    }

    /// Takes a free turn, without waiting for one.
    #[cfg(test)]
    pub(crate) fn take_free(&self) -> Option<TurnGuard> {
        let mut state = self.lock();
        let free = state.free > 0;
        state.free -= usize::from(free);
        free.then(|| TurnGuard(self.clone()))
    }

    fn pass(&self) {
        loop {
            let next = {
                let mut state = self.lock();
                let next = state.waiting.pop(|_, _| true);
                state.free += usize::from(next.is_none());
                next
            };
            let Some(next) = next else { return };
            // Skips callers that went away; one that goes away now passes the turn on by dropping
            // it.
            if !next.is_closed() {
                drop(next.send(TurnGuard(self.clone())));
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Turns {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for TurnGuard {
    fn drop(&mut self) {
        self.0.pass();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).unwrap()
    }

    async fn waiting(turns: &Turns, count: usize) {
        while turns.lock().waiting.len() != count {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn tenants_take_turns_and_small_calls_need_none() {
        let turns = Turns::of(1);
        let first = turns.take(&tenant("large"), 1000).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut calls = Vec::new();
        for (number, (name, recipients)) in
            [("large", 1000), ("large", 1000), ("gone", 100), ("other", 100)]
                .into_iter()
                .enumerate()
        {
            let (turns, order) = (turns.clone(), Arc::clone(&order));
            calls.push(tokio::spawn({
                let turns = turns.clone();
                async move {
                    let _turn = turns.take(&tenant(name), recipients).await;
                    order.lock().unwrap().push(number);
                }
            }));
            waiting(&turns, number + 1).await;
        }
        assert!(turns.take_if_large(&tenant("large"), SMALL).await.is_none());
        calls[2].abort();
        drop(first);
        for (number, call) in calls.into_iter().enumerate() {
            assert_eq!(call.await.is_ok(), number != 2);
        }
        assert_eq!(*order.lock().unwrap(), [3, 0, 1]);
        assert_eq!(turns.lock().free, 1);
    }
}
