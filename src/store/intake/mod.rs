//! How notifications become deliveries.
//!
//! Reading order: `new`, a notification to be stored; `subjects`, the earlier messages that it
//! concerns; `accept`, its transaction; `replay`, new deliveries for dead letters.

pub(in crate::store) mod new;
pub(in crate::store) mod replay;

pub(in crate::store) mod subjects;

pub(in crate::store) mod accept;
