//! Shares of a limited resource: no holder takes all of it, and none needs a reserved part.
//!
//! A holder may take more while it holds no more than is left free (a dynamic threshold: Choudhury
//! and Hahne, 1998). One holder therefore gets half, two get a third each, and something is always
//! left for the next. A holder that holds nothing may take any amount that is free.

use std::collections::HashMap;
use std::hash::Hash;

/// The amounts of all holders. The table has one entry for each holder, so the capacity bounds it.
#[derive(Debug)]
pub struct Shares<K> {
    capacity: u64,
    used: u64,
    held: HashMap<K, u64>,
}

impl<K: Clone + Eq + Hash> Shares<K> {
    /// Nothing is held yet.
    pub fn new(capacity: u64) -> Self {
        Self { capacity, used: 0, held: HashMap::new() }
    }

    /// Takes `amount` for `holder`, or nothing. Returns whether it was taken. `part` is 1 for a
    /// full share; with 16 the holder may hold a sixteenth of the amount that is left free.
    pub fn take(&mut self, holder: &K, amount: u64, part: u64) -> bool {
        let Some(free) =
            self.used.checked_add(amount).and_then(|used| self.capacity.checked_sub(used))
        else {
            return false;
        };
        let own = self.held.get(holder).copied().unwrap_or_default();
        if own > 0 && own + amount > free / part.max(1) {
            return false;
        }
        if amount > 0 {
            self.used += amount;
            self.held.insert(holder.clone(), own + amount);
        }
        true
    }

    /// Gives back an amount that was taken.
    pub fn give_back(&mut self, holder: &K, amount: u64) {
        let Some(own) = self.held.get_mut(holder) else {
            return;
        };
        let amount = amount.min(*own);
        *own -= amount;
        self.used -= amount;
        if *own == 0 {
            self.held.remove(holder);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn takes(shares: &mut Shares<u8>, holder: u8, part: u64) -> u64 {
        (0..1000).take_while(|_| shares.take(&holder, 1, part)).count() as u64
    }

    #[test]
    fn one_gets_half_two_a_third_and_there_is_room_for_the_next() {
        let mut shares = Shares::new(120);
        assert_eq!(takes(&mut shares, 1, 1), 60);
        assert_eq!(takes(&mut shares, 2, 1), 30);
        assert_eq!(takes(&mut shares, 3, 1), 15);
        for _ in 0..60 {
            shares.give_back(&1, 1);
        }
        assert_eq!(takes(&mut shares, 2, 1), 22);
        assert_eq!(takes(&mut shares, 4, 1), 26);
    }

    #[test]
    fn a_small_part_is_a_small_part() {
        assert_eq!(takes(&mut Shares::new(1024), 1, 16), 60);
        assert_eq!(takes(&mut Shares::new(1), 1, 16), 1);
    }

    #[test]
    fn who_holds_nothing_takes_whatever_is_free() {
        let mut shares = Shares::new(10);
        assert!(shares.take(&1, 10, 16));
        assert!(!shares.take(&2, 1, 1));
        shares.give_back(&1, 10);
        assert!(!shares.take(&2, 11, 1) && !shares.take(&2, u64::MAX, 1));
        assert!(shares.take(&2, 10, 1));
    }

    proptest! {
        #[test]
        fn the_books_balance(steps in prop::collection::vec((0u8..5, 0u64..20, 1u64..20), 0..200)) {
            let mut shares = Shares::new(100);
            let mut taken: Vec<(u8, u64)> = Vec::new();
            for (holder, amount, part) in steps {
                if part % 3 == 0 && let Some((holder, amount)) = taken.pop() {
                    shares.give_back(&holder, amount);
                } else if shares.take(&holder, amount, part) {
                    taken.push((holder, amount));
                }
                let sum: u64 = taken.iter().map(|(_, amount)| amount).sum();
                prop_assert!(shares.used == sum && sum <= 100);
                prop_assert_eq!(shares.held.values().sum::<u64>(), sum);
                prop_assert!(shares.held.values().all(|amount| *amount > 0));
            }
        }
    }
}
