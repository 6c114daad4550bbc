//! Lanes: the order and the pace of one conversation.
//!
//! Reading order: `lane`, how deliveries join; `queue`, how lanes are claimed; `claim`, a claimed
//! lane and its first delivery; `direct_messages`; `backlog`, the pending work.

pub(in crate::store) mod backlog;
pub(in crate::store) mod claim;
mod direct_messages;
pub(in crate::store) mod lane;
pub(in crate::store) mod queue;
