//! Repairs after events outside the store: `clock`, after the database's clock stepped back;
//! `recovery`, after a copy of the database took over. Also `health`, for metrics.

pub(in crate::store) mod ahead;
pub(in crate::store) mod clock;
pub(in crate::store) mod health;
pub(in crate::store) mod recovery;
