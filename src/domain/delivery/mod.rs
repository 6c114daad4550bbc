//! The life of one delivery: its states, the events that change them, and the meaning of Slack's
//! answers.
//!
//! `docs/delivery-states.md` draws every transition. All decisions are made from values only (the
//! clock and the dice are arguments); the store writes them.
//!
//! Reading order: `state` (the states, and the sets of them), `kind`, `end` (the ends without a
//! request), `transition` (which state may follow which), `settle` (the effect of a turn on its
//! delivery), `outcome` (from Slack's answer to a settle), `subject` (messages about one subject),
//! `admission` (whether a message may go, and where), and the results that callers see (`verdict`,
//! `fallback`, `trace`).

pub mod detail;
pub mod fingerprint;
mod kind;
mod state;
pub mod subject;

mod end;
pub mod fallback;
pub mod trace;

pub mod admission;
mod transition;
pub mod verdict;

mod settle;

mod outcome;

pub use end::End;
pub use kind::DeliveryKind;
pub use outcome::{Outcome, Policy, Probe, next, next_after_probe};
pub use settle::{ASIDE, Acted, Settle, SettleChange, Unsettled, WaitScope};
pub use state::State;
pub use transition::{LifeEvent, transition};
