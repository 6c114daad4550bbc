//! Deliveries and notifications as they are read back.
//!
//! Reading order: `sealed`, their encrypted columns; `deliveries`, `sharers`, `notifications`,
//! `notification_list`, `dead_letters`.

pub(in crate::store) mod deliveries;
pub(in crate::store) mod notification_list;
pub(in crate::store) mod sealed;
pub(in crate::store) mod sharers;

pub(in crate::store) mod dead_letters;
pub(in crate::store) mod notifications;
