//! The Slack client.

mod config;
pub mod signature;

pub use config::{Config, ConfigError};
