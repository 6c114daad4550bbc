//! Integration tests: one binary, real databases.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking")]

mod connect_page;
mod delivery;
mod feed;
mod outbox;
mod slack_client;
mod store_contract;
mod store_directory;
mod store_foundation;
mod store_people;
mod support;
