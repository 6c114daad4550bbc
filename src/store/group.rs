//! Many callers, one statement or one transaction: whoever comes while work is under way is taken
//! together with the others who wait, once that work ends.
//!
//! There is no timer: an idle group starts at once, so nobody waits to be joined by others, and
//! batches grow with the load alone; only tasks that are ready to run do so before a batch is taken. A caller that goes away before its item was taken takes it
//! along; once taken it is worked on to the end, in a task of its own, whoever still waits.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use tokio::sync::oneshot;

/// What one batch may hold. A single item that is larger goes alone.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Bounds {
    pub(in crate::store) items: usize,
    pub(in crate::store) rows: usize,
    pub(in crate::store) bytes: usize,
    /// Batches under way at the same time.
    pub(in crate::store) at_once: usize,
}

/// What one item adds to a batch.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Weight {
    pub(in crate::store) rows: usize,
    pub(in crate::store) bytes: usize,
}

/// Items wait in the order in which they came.
pub(in crate::store) struct Group<I, O> {
    queue: Arc<Mutex<Queue<I, O>>>,
    bounds: Bounds,
}

struct Queue<I, O> {
    waiting: VecDeque<Waiting<I, O>>,
    /// Tasks that take batches.
    running: usize,
}

struct Waiting<I, O> {
    item: I,
    weight: Weight,
    answer: oneshot::Sender<O>,
}

impl<I: Send + 'static, O: Send + 'static> Group<I, O> {
    pub(in crate::store) fn new(bounds: Bounds) -> Self {
        let queue = Queue { waiting: VecDeque::new(), running: 0 };
        Self { queue: Arc::new(Mutex::new(queue)), bounds }
    }

    /// Adds an item and waits for its answer. `work` answers a batch item by item, in order; it is
    /// the same for all callers of a group. `None`: it panicked.
    pub(in crate::store) async fn join<F, W>(&self, item: I, weight: Weight, work: F) -> Option<O>
    where
        F: Fn(Vec<I>) -> W + Send + Sync + 'static,
        W: Future<Output = Vec<O>> + Send,
    {
        let (answer, answered) = oneshot::channel();
        let starts = {
            let mut queue = lock(&self.queue);
            queue.waiting.push_back(Waiting { item, weight, answer });
            let starts = queue.running < self.bounds.at_once;
            queue.running += usize::from(starts);
            starts
        };
        if starts {
            let (queue, bounds) = (Arc::clone(&self.queue), self.bounds);
            tokio::spawn(async move {
                // Whoever is about to join does so first: the fewer batches, the less each costs.
                tokio::task::yield_now().await;
                while let Some((items, answers)) = take(&queue, bounds) {
                    // Else the others would wait for a task that is no more.
                    let worked = AssertUnwindSafe(async { work(items).await }).catch_unwind();
                    for (answer, outcome) in
                        answers.into_iter().zip(worked.await.into_iter().flatten())
                    {
                        // Who went away meanwhile wants no answer.
                        answer.send(outcome).ok();
                    }
                    tokio::task::yield_now().await;
                }
            });
        }
        answered.await.ok()
    }
}

type Batch<I, O> = (Vec<I>, Vec<oneshot::Sender<O>>);

/// The next batch; `None` where nothing waits, and then one task fewer runs.
fn take<I, O>(queue: &Mutex<Queue<I, O>>, bounds: Bounds) -> Option<Batch<I, O>> {
    let mut queue = lock(queue);
    let (mut items, mut answers) = (Vec::new(), Vec::new());
    let (mut rows, mut bytes) = (0, 0);
    while let Some(next) = queue.waiting.front() {
        if next.answer.is_closed() {
            queue.waiting.pop_front();
            continue;
        }
        rows += next.weight.rows;
        bytes += next.weight.bytes;
        let over = items.len() == bounds.items || rows > bounds.rows || bytes > bounds.bytes;
        if over && !items.is_empty() {
            break;
        }
        let Some(next) = queue.waiting.pop_front() else { break };
        items.push(next.item);
        answers.push(next.answer);
    }
    if items.is_empty() {
        queue.running -= 1;
        return None;
    }
    Some((items, answers))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;

    const LIGHT: Weight = Weight { rows: 1, bytes: 1 };

    fn group(at_once: usize) -> Arc<Group<usize, Vec<usize>>> {
        Arc::new(Group::new(Bounds { items: 4, rows: 10, bytes: 100, at_once }))
    }

    /// Each item is answered with its whole batch, once a permit is there.
    fn join(
        group: &Arc<Group<usize, Vec<usize>>>,
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
            group.join(item, weight, work).await
        })
    }

    async fn waiting(group: &Group<usize, Vec<usize>>, count: usize) {
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
        assert_eq!(batches[6], [7], "what is too large goes alone");
        // The task looks once more before it ends.
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
}
