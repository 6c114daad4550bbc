//! The Slack client.

mod answer;
mod codes;
mod config;
mod error;
mod retry_after;
pub mod signature;

pub use config::{Config, ConfigError};
pub use error::{Class, Detail, Error};
