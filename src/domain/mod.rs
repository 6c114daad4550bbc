//! Pure decisions: no I/O, no clock, no randomness. `tests/architecture.rs` enforces it.

pub mod delivery;
pub mod event;
pub mod fingerprint;
pub mod ids;
pub mod limits;
pub mod person;
pub mod reason;
pub mod render;
pub mod secret;
pub mod settings;
pub mod time;
pub mod verdict;
