//! Herald delivers a platform's notifications to Slack: durable, in order, within Slack's rate
//! limits, never twice where Slack lets us know.
//!
//! # The map
//!
//! Imports point down this list; `tests/architecture.rs` enforces it.
//!
//! - [`server`]: build, start, ready, drain. The one file that knows every part. [`demo`],
//!   [`keys`], [`check`] and [`manifest`] are small commands beside it; [`config`] composes the
//!   modules' own settings.
//! - [`rpc`], [`http`]: the front doors, gRPC and HTTP. They know no store. [`listen`]: what both
//!   need before they look at a request. [`tokens`]: what issuers of tokens say of a caller.
//! - [`app`]: one file for each question a caller can ask. [`delivery`]: from the outbox to Slack.
//!   They do not know each other; the wake-up between them lives in the store.
//! - [`directory`]: member lists, in memory over the shared store.
//! - [`workspace`]: a connected installation; the only caller of Slack's methods.
//! - [`slack`]: the one request path to Slack. [`store`]: everything that must survive a crash.
//! - [`domain`]: pure decisions. [`telemetry`]: logs and metrics.
//! - [`sandbox`]: Slack in a box, for the demo and the tests.
//!
//! # Reading order
//!
//! `domain::delivery` (the states and the one `next`), `domain::matching`, `store::accept` and
//! `store::settle` (what one transaction holds), `app::notify`, `delivery::worker`, `server`.
//!
//! # Guarantees
//!
//! What Notify accepted is never lost (one transaction holds it); nothing is posted from what did
//! not commit; a repeated request gets the first answer; messages to one conversation keep their
//! order; an ambiguous answer of Slack is settled by reading the conversation, never by guessing.

pub mod app;
pub mod check;
pub mod config;
pub mod delivery;
pub mod demo;
pub mod directory;
pub mod domain;
pub mod http;
pub mod keys;
pub mod listen;
pub mod manifest;
pub mod rpc;
pub mod sandbox;
pub mod server;
pub mod slack;
pub mod store;
pub mod telemetry;
pub mod tokens;
pub mod workspace;
