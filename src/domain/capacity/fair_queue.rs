//! A queue in which owners take turns by the size of their items (deficit round robin): an owner
//! with many items uses the capacity that others leave, and delays each of them only by its share.
//!
//! Each round credits every waiting owner with one quantum. An item is taken when its owner's
//! credit covers its cost, so an item of 1,000 rows waits while the others use up as many rows.
//! Items of one owner keep their order.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// Items by owner. An owner without items costs nothing and keeps no credit.
#[derive(Debug)]
pub struct FairQueue<K, T> {
    lines: HashMap<K, Line<T>>,
    /// Owners with items; an owner that was served goes to the end.
    ring: VecDeque<K>,
    quantum: usize,
    len: usize,
}

#[derive(Debug)]
struct Line<T> {
    items: VecDeque<(usize, T)>,
    credit: usize,
}

impl<K: Hash + Eq + Clone, T> FairQueue<K, T> {
    /// `quantum`: the cost that an owner may take in one round; at least 1.
    #[must_use]
    pub fn new(quantum: usize) -> Self {
        Self { lines: HashMap::new(), ring: VecDeque::new(), quantum: quantum.max(1), len: 0 }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn push(&mut self, owner: K, cost: usize, item: T) {
        let quantum = self.quantum;
        let line = self.lines.entry(owner.clone()).or_insert_with(|| {
            self.ring.push_back(owner);
            Line { items: VecDeque::new(), credit: quantum }
        });
        line.items.push_back((cost, item));
        self.len += 1;
    }

    /// The next item that `fits` (cost and item), among the first items of the owners. Other owners
    /// are skipped but gain credit, so their turn comes as soon as they fit.
    pub fn pop(&mut self, fits: impl Fn(usize, &T) -> bool) -> Option<T> {
        loop {
            // The smallest credit that an owner lacks for its item.
            let mut missing: Option<usize> = None;
            for at in 0..self.ring.len() {
                let Some(line) = self.ring.get(at).and_then(|owner| self.lines.get(owner)) else {
                    continue;
                };
                let Some((cost, item)) = line.items.front() else { continue };
                if !fits(*cost, item) {
                    continue;
                }
                match cost.saturating_sub(line.credit) {
                    0 => return self.take(at),
                    short => missing = Some(missing.map_or(short, |least| least.min(short))),
                }
            }
            let rounds = missing?.div_ceil(self.quantum);
            let more = rounds.saturating_mul(self.quantum);
            for line in self.lines.values_mut() {
                // No owner saves much more than its first item costs.
                let first = line.items.front().map_or(0, |(cost, _)| *cost);
                let most = first.saturating_add(self.quantum);
                line.credit = line.credit.saturating_add(more).min(most);
            }
        }
    }

    fn take(&mut self, at: usize) -> Option<T> {
        let owner = self.ring.remove(at)?;
        let line = self.lines.get_mut(&owner)?;
        let (cost, item) = line.items.pop_front()?;
        line.credit = line.credit.saturating_sub(cost);
        if line.items.is_empty() {
            self.lines.remove(&owner);
        } else {
            self.ring.push_back(owner);
        }
        self.len -= 1;
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const QUANTUM: usize = 64;

    #[test]
    fn a_small_item_goes_before_the_large_ones_of_another() {
        let mut queue = FairQueue::new(QUANTUM);
        for number in 0..16 {
            queue.push("large", 1000, number);
        }
        assert_eq!(queue.pop(|_, _| true), Some(0));
        queue.push("small", 2, 99);
        assert_eq!(queue.pop(|_, _| true), Some(99));
        assert_eq!(queue.pop(|_, _| true), Some(1));
        assert_eq!(queue.len(), 14);
    }

    #[test]
    fn what_does_not_fit_is_passed_over_and_its_turn_comes() {
        let mut queue = FairQueue::new(QUANTUM);
        queue.push("large", 640, 0);
        for number in 1..=1000 {
            queue.push("small", 2, number);
        }
        for number in 1..=500 {
            assert_eq!(queue.pop(|cost, _| cost < 100), Some(number));
        }
        // It gained credit meanwhile.
        assert_eq!(queue.pop(|_, _| true), Some(0));
        assert_eq!(queue.pop(|cost, _| cost > 100), None);
    }

    proptest! {
        /// Nothing is lost, an owner's order is kept, and of two waiting owners neither gets
        /// further ahead than two of the largest items and two quanta.
        #[test]
        fn owners_share_by_size(
            items in proptest::collection::vec((0usize..4, 0usize..1500), 1..120),
            between in proptest::collection::vec(0usize..4, 1..120),
        ) {
            let mut queue = FairQueue::new(QUANTUM);
            let largest = items.iter().map(|(_, cost)| *cost).max().unwrap_or(0);
            let (mut taken, mut served) = (Vec::new(), [0i64; 4]);
            let mut waiting = [0usize; 4];
            // How far each owner was ahead of the other when the second of them began to wait.
            let mut base = [[0i64; 4]; 4];
            let mut pops = between.into_iter().cycle();
            let mut coming = items.iter().copied().enumerate();
            loop {
                let next = coming.next();
                if let Some((number, (owner, cost))) = next {
                    if waiting[owner] == 0 {
                        for other in 0..4 {
                            let ahead = served[owner] - served[other];
                            (base[owner][other], base[other][owner]) = (ahead, -ahead);
                        }
                    }
                    queue.push(owner, cost, (number, owner, cost));
                    waiting[owner] += 1;
                }
                let count = if next.is_some() { pops.next().unwrap_or(1) } else { usize::MAX };
                for _ in 0..count {
                    let Some((number, owner, cost)) = queue.pop(|_, _| true) else { break };
                    taken.push((number, owner));
                    served[owner] += i64::try_from(cost).unwrap();
                    waiting[owner] -= 1;
                    for other in (0..4).filter(|other| *other != owner && waiting[*other] > 0) {
                        let ahead = served[owner] - served[other];
                        let bound = i64::try_from(2 * (largest + QUANTUM)).unwrap();
                        prop_assert!(ahead - base[owner][other] <= bound, "{ahead}");
                    }
                }
                if next.is_none() {
                    break;
                }
            }
            prop_assert!(queue.is_empty());
            prop_assert_eq!(taken.len(), items.len());
            for who in 0..4 {
                let order: Vec<_> = taken.iter().filter(|(_, owner)| *owner == who).collect();
                prop_assert!(order.is_sorted());
            }
        }

        /// However much others have queued, a small item waits for few of their rows.
        #[test]
        fn a_small_items_delay_is_bounded(
            items in proptest::collection::vec((0usize..4, 1usize..1500), 1..200),
            cost in 1usize..=QUANTUM,
        ) {
            let mut queue = FairQueue::new(QUANTUM);
            for (owner, cost) in items {
                queue.push(owner, cost, (owner, cost));
            }
            queue.push(9, cost, (9, cost));
            let mut before = 0;
            while let Some((owner, cost)) = queue.pop(|_, _| true) {
                if owner == 9 {
                    break;
                }
                before += cost;
            }
            // One round: each of four owners has one quantum to spend.
            prop_assert!(before <= 4 * QUANTUM, "{before}");
        }
    }
}
