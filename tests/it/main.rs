//! Integration tests: one binary, real databases.

mod slack_client;
mod store_foundation;
mod support;
