//! Pure decisions: no I/O, no clock, no randomness. `tests/architecture.rs` enforces it.

pub mod access;
pub mod crawl;
pub mod detail;
pub mod fair_queue;
pub mod fingerprint;
mod json;
pub mod key;
pub mod limits;
pub mod loopback;
pub mod priority;
pub mod problem;
pub mod reason;
pub mod secret;
pub mod shares;
pub mod slack_method;
pub mod time;

pub mod budget;
pub mod ids;
pub mod mapping;
pub mod pacing;

pub mod audit;
pub mod caller;
pub mod fairness;
pub mod member;
pub mod person;
pub mod settings;
pub mod sharing;
pub mod subject;

pub mod api_key;
pub mod delivery;
pub mod snapshot;

pub mod fallback;
pub mod matching;
pub mod render;

pub mod admission;
pub mod coverage;
pub mod event;
pub mod trace;
pub mod verdict;

pub mod draft;
pub mod preview;
