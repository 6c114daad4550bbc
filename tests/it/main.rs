//! Integration tests: one binary, real databases.

mod outbox;
mod store_contract;
mod store_directory;
mod store_foundation;
mod store_people;
mod support;
