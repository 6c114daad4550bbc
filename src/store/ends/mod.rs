//! How deliveries end without a turn, and how rows are removed.
//!
//! Reading order: `cancel`, `erase`; `succession`; `archive`, which expires and moves deliveries;
//! `retention`; `idle`; `unused_keys`, the keys of people who are gone.

mod archive;
pub(in crate::store) mod cancel;
pub(in crate::store) mod erase;
pub(in crate::store) mod idle;
pub(in crate::store) mod retention;
pub(in crate::store) mod succession;
pub(in crate::store) mod unused_keys;
