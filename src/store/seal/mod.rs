//! Encryption at rest.
//!
//! Reading order: `cipher`; `cache`; `kek`, the key-encryption key; `data_keys`, the keys that it
//! wraps and the values that they encrypt; `rotate`, its exchange; `person_keys`, the keys of
//! people.

mod cache;
mod cipher;
pub(in crate::store) mod rotate;

pub(in crate::store) mod kek;

pub(in crate::store) mod data_keys;

pub(in crate::store) mod person_keys;
