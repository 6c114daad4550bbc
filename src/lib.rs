//! Herald delivers a platform's notifications to Slack.

pub mod app;
pub mod directory;
pub mod domain;
pub mod http;
pub mod rpc;
pub mod sandbox;
pub mod slack;
pub mod store;
pub mod telemetry;
pub mod workspace;
