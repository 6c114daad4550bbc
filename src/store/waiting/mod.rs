//! Deliveries that are not yet in a lane.
//!
//! Reading order: `order`, the order of a person's deliveries meanwhile; `resolving`, for a Slack
//! member; `held`, until the person appears in Slack; `deferred`, until their time.

mod deferred;
pub(in crate::store) mod held;
pub(in crate::store) mod order;
pub(in crate::store) mod resolving;
