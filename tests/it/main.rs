//! Integration tests: one binary, real databases.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking")]
#![expect(clippy::too_many_lines, reason = "a test shows a scenario from its start to its end")]

mod access;
mod attack;
mod bad_input;
mod channels;
mod chart;
mod connect_page;
mod crash;
mod delivery;
mod directory;
mod documents;
mod event_types;
mod events;
mod feed;
mod front;
mod held;
mod outbox;
mod preview;
mod slack_client;
mod store;
mod support;
mod telemetry;
mod templates;
mod templates_files;
mod workspaces;
