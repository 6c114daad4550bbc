//! Pure decisions: no I/O, no clock, no randomness. `tests/architecture.rs` enforces it.

pub mod budget;
pub mod coverage;
pub mod crawl;
pub mod delivery;
pub mod event;
pub mod fairness;
pub mod fingerprint;
pub mod ids;
mod json;
pub mod key;
pub mod limits;
pub mod loopback;
pub mod mapping;
pub mod matching;
pub mod member;
pub mod pacing;
pub mod person;
pub mod priority;
pub mod reason;
pub mod render;
pub mod secret;
pub mod settings;
pub mod snapshot;
pub mod subject;
pub mod time;
pub mod trace;
pub mod verdict;
