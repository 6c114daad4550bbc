//! Deliveries that are not yet in a lane.
//!
//! Reading order: `held`, until the person appears in Slack; `resolving`, for a Slack member;
//! `deferred`, until their time.

mod deferred;
pub(in crate::store) mod held;
pub(in crate::store) mod resolving;
