//! Repairs after events outside the store: `clock`, after the database's clock stepped back, with
//! `ahead`, tables gone through by their keys; `recovery`, after a copy of the database took over.
//! Also `health`, for metrics.

pub(in crate::store) mod ahead;
pub(in crate::store) mod clock;
pub(in crate::store) mod health;
pub(in crate::store) mod recovery;
