//! The store by itself, on both databases: its schema, and the promises of its parts.

pub(crate) mod channels;
mod channels_clock;
mod channels_events;
mod channels_turns;
mod contract;
mod directory;
mod events;
mod fields;
mod foundation;
mod identity_links;
mod many_channels;
mod migrations;
mod people;
mod tokens;
