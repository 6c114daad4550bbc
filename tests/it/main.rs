//! Integration tests: one binary, real databases.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking")]
#![expect(clippy::too_many_lines, reason = "a test shows a scenario from its start to its end")]

mod access;
mod attack;
mod bad_input;
mod chart;
mod connect_page;
mod coverage;
mod crash;
mod delivery;
mod directory;
mod documents;
mod events;
mod feed;
mod fields;
mod front;
mod held;
mod held_life;
mod migrations;
mod outbox;
mod slack_client;
mod store_contract;
mod store_directory;
mod store_events;
mod store_fields;
mod store_foundation;
mod store_people;
mod support;
mod telemetry;
