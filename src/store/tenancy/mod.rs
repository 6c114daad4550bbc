//! Tenants, their workspaces and their people.
//!
//! Reading order: `tenants`, `installations`, `tokens`, `slack_apps`, `connect_attempts`,
//! `connections` and their signals (`connection_signals`); `people`, `members` and `preferences`;
//! `shared_reads`, the first reads of accepting; `templates`; `event_types`; `previews`;
//! `api_keys`; `operators`; `identity_links`.

pub(in crate::store) mod api_keys;
pub(in crate::store) mod installations;
pub(in crate::store) mod people;
mod preferences;
pub(in crate::store) mod slack_apps;
mod tenants;

pub(in crate::store) mod templates;
pub(in crate::store) mod tokens;

pub(in crate::store) mod connect_attempts;
pub(in crate::store) mod event_types;
pub(in crate::store) mod identity_links;
pub(in crate::store) mod members;
mod pins;
pub(in crate::store) mod previews;
pub(in crate::store) mod shared_reads;
pub(in crate::store) mod take_over;

pub(in crate::store) mod connections;

pub(in crate::store) mod connection_signals;
pub(in crate::store) mod operators;
