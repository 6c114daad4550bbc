//! Lanes: the order and the pace of one conversation.
//!
//! Reading order: `unread`, deliveries of newer releases; `order`, the order of a person's
//! deliveries before they are in a lane; `lane`, how deliveries join; `claim`, a claimed lane and
//! its first delivery; `queue`, how lanes are claimed; `repair`, lanes that would not come up in
//! time; `direct_messages`; `backlog`, the pending work.

mod direct_messages;
pub(in crate::store) mod lane;

pub(in crate::store) mod backlog;
pub(in crate::store) mod claim;
pub(in crate::store) mod repair;

pub(in crate::store) mod unread;

pub(in crate::store) mod order;
pub(in crate::store) mod queue;
