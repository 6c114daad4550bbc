//! The member lists of workspaces.
//!
//! Reading order: `state`, a list as it is read; `crawl` and `publish`, a full reading of Slack's
//! list; `changes`, single members; `hints` and `statistics`; `slack_events`, from which changes
//! come; `profile_fields` and the pass that fetches them, `field_pass`.

pub(in crate::store) mod hints;
pub(in crate::store) mod profile_fields;
pub(in crate::store) mod slack_events;
pub(in crate::store) mod state;
pub(in crate::store) mod statistics;

pub(in crate::store) mod changes;
pub(in crate::store) mod crawl;
pub(in crate::store) mod field_pass;

pub(in crate::store) mod publish;
