//! Tenants, their workspaces and their people.
//!
//! Reading order: `tenants`, `installations`, `connect_attempts`; `people` and `preferences`;
//! `shared_reads`, the first reads of accepting; `templates`; `event_types`; `previews`;
//! `api_keys`.

pub(in crate::store) mod api_keys;
pub(in crate::store) mod installations;
pub(in crate::store) mod people;
mod preferences;
mod tenants;

pub(in crate::store) mod templates;

pub(in crate::store) mod connect_attempts;
pub(in crate::store) mod event_types;
pub(in crate::store) mod previews;
pub(in crate::store) mod shared_reads;
