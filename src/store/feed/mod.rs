//! The feed: every change of a delivery's state that a caller can act on, numbered 1, 2, 3, …
//! within its tenant, without gaps and in order (docs/decisions/0009-feed.md).
//!
//! Triggers put each change into `feed_inbox` in the transaction that makes it. One sequencer at a
//! time moves committed changes from there into `delivery_changes` and numbers them (`sequencer`).
//! Readers see only numbered changes, so a writer that commits late gets a later number instead of
//! one that a reader has already passed. The changes of one delivery keep their order: a later one
//! is written after the earlier one was committed, so a sequencer that sees the later one sees
//! both, and takes the smaller id first.
//!
//! Channels and their members have a feed of the same kind (`tables`), whose changes are read in
//! `channels::changes`.
//!
//! Reading order: `tables`, `pages`, `changes`, `sequencer`, `signals`, `prune`.

pub(in crate::store) mod tables;

pub(in crate::store) mod pages;

pub(in crate::store) mod changes;
mod prune;
pub(in crate::store) mod sequencer;
pub(in crate::store) mod signals;
