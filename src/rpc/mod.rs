//! The gRPC side: layers, the services, protobuf <-> domain, errors -> Status, callers.
//!
//! Reading order: `around` (the form of a layer), `gate` (checks on every request before it is
//! decoded), `open` (health and reflection), `limits`, `call` (the shared part of every call),
//! `callers`, `decode`, `herald_service`, `admin_service`, `connect_link`, `people`,
//! `preview_template`, `encode`, `templates`, `channel_service`, `channels`, `workspace_service`,
//! `connections`, `operators`, `watch`, `page`, `status`, `wire`, `measure`, `serve`.

mod around;
mod arrival;
mod json;
mod sentences;
mod status;

mod callers;
mod decode;
mod encode;
mod measure;
mod wire;

mod config;
mod encode_channels;
mod encode_trace;
mod page;

mod encode_records;
mod limits;

mod call;
mod encode_lists;

mod connect_link;
mod templates;

mod people;
mod preview_template;

mod admin_service;
mod api_keys;
mod audit;
mod coverage;
mod event_types;
mod failed;
mod gate;
mod lists;
mod notify;
mod open;
mod watch;

mod channel_fields;

mod leaving;

mod channels;
mod connections;
mod doctor;
mod operators;
mod slack_apps;

mod manifests;

mod channel_service;
mod herald_service;
mod workspace_service;

mod serve;

pub use call::Server;
pub use callers::{CallerConfig, Callers, RoleConfig};
pub use config::Config;
pub use gate::{Outlined, Outlines};
pub use json::to_struct;
pub use serve::{Health, serve, serve_health};
pub use status::DOMAIN;

pub use crate::tokens::{Config as IssuerConfig, RuleConfig};

/// The generated messages, services and clients of `herald.v1`.
#[expect(
    clippy::pedantic,
    missing_docs,
    unused_qualifications,
    reason = "generated; the documentation is in proto/herald/v1"
)]
pub mod pb {
    tonic::include_proto!("herald.v1");

    /// All descriptors, for reflection.
    pub const DESCRIPTORS: &[u8] = tonic::include_file_descriptor_set!("herald_descriptor");
}
