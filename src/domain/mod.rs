//! Pure decisions: no I/O, no clock, no randomness. `tests/architecture.rs` enforces it.
//!
//! Modules by subject: `access` (callers and permissions), `capacity` (scarce resources and their
//! division), `mapping` (the expressions), `directory` (the member list), `identity` (people as
//! members), `message` (the words), `delivery` (the life of a delivery), `channels` (the life of a
//! channel that Herald makes and keeps), `token_life` (the exchange of expiring tokens), `backoff`
//! (the wait before another attempt), `features` (what Herald needs of Slack, and for which
//! purpose), `slack_manifest` (the description of the Slack app). The other files have types that
//! all of them use.

pub mod backoff;
pub mod limits;
pub mod loopback;
pub mod reason;
pub mod secret;
pub mod slack_codes;
pub mod time;
pub mod token_life;

pub mod checkup;
pub mod connection;
pub mod ids;
pub mod mapping;
pub mod slack_app;

pub mod access;
pub mod capacity;
pub mod directory;
pub mod settings;

pub mod identity;

pub mod channels;
pub mod delivery;
pub mod message;

pub mod alert;
pub mod features;

pub mod slack_manifest;
