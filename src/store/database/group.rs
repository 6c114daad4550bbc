//! Many callers, one statement or one transaction: calls that arrive while work is under way are
//! taken together once that work ends.
//!
//! There is no timer: an idle group starts at once, so no call waits for others to join, and
//! batches grow only with the load. Before a batch is formed, tasks that are ready run, so that
//! they can join it. Until an item is taken, it is dropped with its caller; from then on it is
//! worked on to the end, in a separate task, whether or not its caller still waits.
//!
//! Owners (tenants) take turns by rows (`domain::capacity::fair_queue`). Large items share no batch
//! with small ones, and if several batches run at a time, one of them takes only small items: a
//! small item waits neither behind nor beside a broadcast.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use tokio::sync::oneshot;

use crate::domain::capacity::fair_queue::FairQueue;
use crate::store::{Error, Store};

/// The limits of one batch. A single larger item gets its own batch.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Bounds {
    pub(in crate::store) items: usize,
    pub(in crate::store) rows: usize,
    pub(in crate::store) bytes: usize,
    /// Batches under way at the same time.
    pub(in crate::store) at_once: usize,
}

/// An item with more rows is a large one. Also the rows that an owner may add in one round.
pub(in crate::store) const SMALL: usize = 64;

/// Rows between two pauses of a long computation on the runtime's threads: about a millisecond.
const BREATH: usize = 16;

/// Lets other tasks run now and then; `number` counts the rows of a long computation.
pub(in crate::store) async fn breathe(number: usize) {
    if number % BREATH == BREATH - 1 {
        tokio::task::yield_now().await;
    }
}

/// The share of a batch that one item takes.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Weight {
    pub(in crate::store) rows: usize,
    pub(in crate::store) bytes: usize,
}

impl Weight {
    fn is_large(self) -> bool {
        self.rows > SMALL
    }
}

/// Items wait in the order of their arrival, per owner (`K`).
pub(in crate::store) struct Group<K, I, O> {
    queue: Arc<Mutex<Queue<K, I, O>>>,
    bounds: Bounds,
}

struct Queue<K, I, O> {
    waiting: FairQueue<K, Waiting<I, O>>,
    /// Tasks that take batches.
    running: usize,
    /// How many of them work on large items.
    large: usize,
}

struct Waiting<I, O> {
    item: I,
    weight: Weight,
    answer: oneshot::Sender<O>,
}

impl<K, I, O> Group<K, I, O>
where
    K: std::hash::Hash + Eq + Clone + Send + 'static,
    I: Send + 'static,
    O: Send + 'static,
{
    pub(in crate::store) fn new(bounds: Bounds) -> Self {
        let queue = Queue { waiting: FairQueue::new(SMALL), running: 0, large: 0 };
        Self { queue: Arc::new(Mutex::new(queue)), bounds }
    }

    /// Adds an owner's item and waits for its answer. `work` answers a batch item by item, in
    /// order; it is the same for all callers of a group. `None`: it panicked.
    pub(in crate::store) async fn join<F, W>(
        &self,
        owner: K,
        item: I,
        weight: Weight,
        work: F,
    ) -> Option<O>
    where
        F: Fn(Vec<I>) -> W + Send + Sync + 'static,
        W: Future<Output = Vec<O>> + Send,
    {
        let (answer, answered) = oneshot::channel();
        let starts = {
            let mut queue = lock(&self.queue);
            queue.waiting.push(owner, weight.rows, Waiting { item, weight, answer });
            let starts = queue.running < self.bounds.at_once;
            queue.running += usize::from(starts);
            starts
        };
        if starts {
            let (queue, bounds) = (Arc::clone(&self.queue), self.bounds);
            tokio::spawn(async move {
                // Callers that are about to join go first: the fewer batches there are, the less
                // each costs.
                tokio::task::yield_now().await;
                while let Some(batch) = take(&queue, bounds) {
                    // If it panicked, the task must live on: other items wait for it.
                    let worked = AssertUnwindSafe(async { work(batch.items).await }).catch_unwind();
                    for (answer, outcome) in
                        batch.answers.into_iter().zip(worked.await.into_iter().flatten())
                    {
                        // A caller that has gone away wants no answer.
                        answer.send(outcome).ok();
                    }
                    lock(&queue).large -= usize::from(batch.large);
                    tokio::task::yield_now().await;
                }
            });
        }
        answered.await.ok()
    }
}

impl<K, I, T> Group<K, I, Result<T, Error>>
where
    K: std::hash::Hash + Eq + Clone + Send + 'static,
    I: Send + 'static,
    T: Send + 'static,
{
    /// [`Group::join`] for a read from the store: one answer for each item, in order. A read that
    /// fails as a whole fails all of its items.
    pub(in crate::store) async fn read<F, W>(
        &self,
        store: &Store,
        owner: K,
        item: I,
        rows: usize,
        read: F,
    ) -> Result<T, Error>
    where
        F: Fn(Store, Vec<I>) -> W + Send + Sync + 'static,
        W: Future<Output = Result<Vec<Result<T, Error>>, Error>> + Send,
    {
        let store = store.clone();
        let work = move |items: Vec<I>| {
            let count = items.len();
            let reading = read(store.clone(), items);
            async move {
                let read = reading.await;
                read.unwrap_or_else(|error| (0..count).map(|_| Err(error.clone())).collect())
            }
        };
        let answer = self.join(owner, item, Weight { rows, bytes: 0 }, work).await;
        answer.unwrap_or_else(|| Err(Error::Bug("a shared reading panicked".into())))
    }
}

struct Batch<I, O> {
    items: Vec<I>,
    answers: Vec<oneshot::Sender<O>>,
    large: bool,
}

/// The next batch; `None` if nothing is waiting that may begin now, and then the task no longer
/// counts as running. Items that must wait for a batch of large items are taken by the task that
/// works on those.
fn take<K, I, O>(queue: &Mutex<Queue<K, I, O>>, bounds: Bounds) -> Option<Batch<I, O>>
where
    K: std::hash::Hash + Eq + Clone,
{
    let mut queue = lock(queue);
    let mut batch = Batch { items: Vec::new(), answers: Vec::new(), large: false };
    let (mut rows, mut bytes) = (0, 0);
    // Of several tasks, one is left to small items.
    let any = bounds.at_once == 1 || queue.large + 1 < bounds.at_once;
    loop {
        let (first, large) = (batch.items.is_empty(), batch.large);
        let full = batch.items.len() == bounds.items;
        let fits = |waiting: &Waiting<I, O>| {
            let weight = waiting.weight;
            let kind = if first { any || !weight.is_large() } else { weight.is_large() == large };
            let over =
                full || rows + weight.rows > bounds.rows || bytes + weight.bytes > bounds.bytes;
            waiting.answer.is_closed() || kind && (first || !over)
        };
        let Some(next) = queue.waiting.pop(|_, waiting| fits(waiting)) else { break };
        if next.answer.is_closed() {
            continue;
        }
        batch.large = next.weight.is_large();
        rows += next.weight.rows;
        bytes += next.weight.bytes;
        batch.items.push(next.item);
        batch.answers.push(next.answer);
    }
    if batch.items.is_empty() {
        queue.running -= 1;
        return None;
    }
    queue.large += usize::from(batch.large);
    Some(batch)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;

    const LIGHT: Weight = Weight { rows: 1, bytes: 1 };

    type Numbers = Group<&'static str, usize, Vec<usize>>;

    fn group(at_once: usize) -> Arc<Numbers> {
        Arc::new(Group::new(Bounds { items: 4, rows: 10, bytes: 100, at_once }))
    }

    /// Each item is answered with its whole batch, once there is a permit.
    fn join(
        group: &Arc<Numbers>,
        gate: &Arc<Semaphore>,
        item: usize,
        weight: Weight,
    ) -> tokio::task::JoinHandle<Option<Vec<usize>>> {
        join_as("acme", group, gate, item, weight)
    }

    fn join_as(
        owner: &'static str,
        group: &Arc<Numbers>,
        gate: &Arc<Semaphore>,
        item: usize,
        weight: Weight,
    ) -> tokio::task::JoinHandle<Option<Vec<usize>>> {
        let (group, gate) = (Arc::clone(group), Arc::clone(gate));
        tokio::spawn(async move {
            let work = move |items: Vec<usize>| {
                let gate = Arc::clone(&gate);
                async move {
                    gate.acquire().await.unwrap().forget();
                    assert!(!items.contains(&13), "a bad item");
                    vec![items.clone(); items.len()]
                }
            };
            group.join(owner, item, weight, work).await
        })
    }

    async fn waiting(group: &Numbers, count: usize) {
        while lock(&group.queue).waiting.len() != count {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn who_waits_is_taken_together_within_the_bounds() {
        let (group, gate) = (group(1), Arc::new(Semaphore::new(0)));
        let first = join(&group, &gate, 0, LIGHT);
        while lock(&group.queue).running == 0 || !lock(&group.queue).waiting.is_empty() {
            tokio::task::yield_now().await;
        }
        let mut others = Vec::new();
        for item in 1..=6 {
            others.push(join(&group, &gate, item, LIGHT));
            waiting(&group, item).await;
        }
        others.push(join(&group, &gate, 7, Weight { rows: 50, bytes: 1 }));
        waiting(&group, 7).await;
        gate.add_permits(10);
        assert_eq!(first.await.unwrap(), Some(vec![0]));
        let mut batches = Vec::new();
        for other in others {
            batches.push(other.await.unwrap().unwrap());
        }
        assert_eq!(batches[0], [1, 2, 3, 4]);
        assert_eq!(batches[4], [5, 6]);
        assert_eq!(batches[6], [7], "an item that is too large gets its own batch");
        // The task checks once more before it ends.
        while lock(&group.queue).running != 0 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn who_goes_away_is_left_out_and_a_panic_stops_nobody_else() {
        let (group, gate) = (group(1), Arc::new(Semaphore::new(0)));
        let bad = join(&group, &gate, 13, LIGHT);
        while lock(&group.queue).running == 0 || !lock(&group.queue).waiting.is_empty() {
            tokio::task::yield_now().await;
        }
        let gone = join(&group, &gate, 1, LIGHT);
        waiting(&group, 1).await;
        let stays = join(&group, &gate, 2, LIGHT);
        waiting(&group, 2).await;
        gone.abort();
        assert!(gone.await.is_err());
        gate.add_permits(2);
        assert_eq!(bad.await.unwrap(), None);
        assert_eq!(stays.await.unwrap(), Some(vec![2]));
    }

    const LARGE: Weight = Weight { rows: 1000, bytes: 1 };

    /// A call of another tenant goes before all large items that have not begun.
    #[tokio::test]
    async fn a_small_item_goes_before_the_large_ones_of_another_owner() {
        let (group, gate) = (group(1), Arc::new(Semaphore::new(0)));
        let mut large = vec![join_as("large", &group, &gate, 0, LARGE)];
        while lock(&group.queue).running == 0 || !lock(&group.queue).waiting.is_empty() {
            tokio::task::yield_now().await;
        }
        for item in 1..12 {
            large.push(join_as("large", &group, &gate, item, LARGE));
            waiting(&group, item).await;
        }
        let small = join_as("small", &group, &gate, 99, LIGHT);
        waiting(&group, 12).await;
        gate.add_permits(2);
        assert_eq!(small.await.unwrap(), Some(vec![99]));
        assert_eq!(large.iter().filter(|one| one.is_finished()).count(), 1);
        gate.add_permits(11);
        for (item, one) in large.into_iter().enumerate() {
            assert_eq!(one.await.unwrap(), Some(vec![item]), "their order is kept");
        }
    }

    /// One of two batches at a time is left to small items, even those of the same owner.
    #[tokio::test]
    async fn large_items_leave_a_batch_to_small_ones() {
        let (group, gate) = (group(2), Arc::new(Semaphore::new(0)));
        let large = [0, 1].map(|item| join_as("large", &group, &gate, item, LARGE));
        while lock(&group.queue).large == 0 || lock(&group.queue).waiting.len() != 1 {
            tokio::task::yield_now().await;
        }
        // The first large one holds its batch; this one needs no permit to be taken.
        let small = join_as("small", &group, &gate, 99, LIGHT);
        waiting(&group, 1).await;
        assert_eq!(lock(&group.queue).large, 1);
        gate.add_permits(3);
        assert_eq!(small.await.unwrap(), Some(vec![99]));
        for (item, one) in large.into_iter().enumerate() {
            assert_eq!(one.await.unwrap(), Some(vec![item]));
        }
        while lock(&group.queue).running != 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(lock(&group.queue).large, 0);
    }
}
