//! Deliveries that are not yet in a lane.
//!
//! Reading order: `held`, until the person appears in Slack; `resolving`, for a Slack member;
//! `deferred`, until their time; `awaiting`, until their channel is ready in Slack; `channels`, the
//! facts about such a channel.

pub(in crate::store) mod channels;
mod deferred;
pub(in crate::store) mod held;
pub(in crate::store) mod resolving;

pub(in crate::store) mod awaiting;
