//! Herald delivers a platform's notifications to Slack.

pub mod domain;
pub mod sandbox;
pub mod slack;
pub mod store;
pub mod telemetry;
