//! The audit trail: `trail` has its entries; `chain` links them into one chain of hashes.

pub(in crate::store) mod trail;

pub(in crate::store) mod chain;
