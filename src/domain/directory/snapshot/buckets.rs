//! Finds a hash in a list sorted by hash, in one step instead of a binary search: hashes are evenly
//! distributed, so their leading bits give the place. A byte per entry; one cache miss.

use std::ops::Range;

/// The average number of entries in a bucket is between this and twice this.
const ENTRIES: usize = 4;

/// For each value of the leading bits, the place where its entries begin.
pub(super) struct Buckets {
    bits: u32,
    starts: Box<[u32]>,
}

impl Buckets {
    /// From sorted hashes, fewer than 2^32.
    pub(super) fn of(hashes: impl ExactSizeIterator<Item = u64>) -> Self {
        let bits = (hashes.len() / ENTRIES).max(1).ilog2();
        let mut starts = Vec::with_capacity((1 << bits) + 1);
        let mut end = 0;
        for hash in hashes {
            let bucket = bucket(hash, bits);
            while starts.len() <= bucket {
                starts.push(end);
            }
            end += 1;
        }
        starts.resize((1 << bits) + 1, end);
        Self { bits, starts: starts.into_boxed_slice() }
    }

    /// The range of the entries with this hash, if there are any; it may contain others.
    pub(super) fn range(&self, hash: u64) -> Range<usize> {
        let bucket = bucket(hash, self.bits);
        self.starts[bucket] as usize..self.starts[bucket + 1] as usize
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.starts)
    }
}

fn bucket(hash: u64, bits: u32) -> usize {
    usize::try_from(hash.checked_shr(u64::BITS - bits).unwrap_or(0)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_hash_is_in_its_range(
            mut hashes in proptest::collection::vec(any::<u64>(), 0..200),
            other in any::<u64>(),
        ) {
            hashes.sort_unstable();
            let buckets = Buckets::of(hashes.iter().copied());
            for (at, hash) in hashes.iter().enumerate() {
                prop_assert!(buckets.range(*hash).contains(&at));
            }
            prop_assert!(buckets.range(other).end <= hashes.len());
        }
    }
}
