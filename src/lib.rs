//! Herald delivers a platform's notifications to Slack: durably, in order, within Slack's rate
//! limits, and without duplicates where Slack's history can be read.
//!
//! # The map
//!
//! Imports point down this list; `tests/architecture.rs` enforces it.
//!
//! - [`server`]: build, start, ready, drain. The only file that knows every part. [`demo`],
//!   [`keys`], [`check`], [`manifest`], [`templates`] and [`people`] are small commands beside it;
//!   [`config`] composes the modules' own settings.
//! - [`rpc`], [`http`]: the front doors, gRPC and HTTP. They do not know the store. [`listen`]:
//!   connections, which both need before they read a request. [`tokens`]: how a caller is
//!   identified by an issuer's token. `web`: requests to issuers and to Vault, and bounded answers.
//! - [`app`]: one file for each request that a caller can make. [`delivery`]: from the outbox to
//!   Slack. They do not know each other; the wake-up between them is in the store.
//! - [`channels`]: changes channels in Slack to match the wishes that callers stated.
//! - [`keep`]: exchanges tokens before they expire, and follows workspaces that move.
//! - [`doctor`]: checks connections, computes their states, and reports those that are not well.
//! - [`directory`]: member lists, in memory over the shared store.
//! - [`workspace`]: a connected installation; the only caller of Slack's methods.
//! - [`slack`]: the only request path to Slack. [`store`]: everything that must survive a crash.
//! - [`domain`]: pure decisions. [`telemetry`]: logs, metrics and traces.
//! - [`sandbox`]: a fake Slack, for the demo and the tests. [`message_page`] draws messages in a
//!   browser, on its page and on that of a preview.
//!
//! # Reading order
//!
//! `domain::delivery` (the states and the table of their transitions),
//! `domain::identity::matching`, `domain::delivery::admission`, `store::intake::accept` and
//! `store::turns::settle` (the contents of one transaction), `app::notify`, `delivery::worker`,
//! `server`.
//!
//! # Guarantees
//!
//! A message that Notify accepted is never lost (one transaction holds it). Nothing is posted for a
//! transaction that did not commit. A repeated request gets the first answer. Messages to one
//! conversation keep their order. An ambiguous answer from Slack is settled by reading the
//! conversation, never by guessing.

// A build with optimization computes the layout of a handler's whole future, which is nested more
// deeply than the default of 128.
#![recursion_limit = "256"]

pub mod domain;
pub mod message_page;
pub mod telemetry;
mod web;

pub mod listen;
pub mod sandbox;
pub mod slack;
pub mod store;
pub mod tokens;

pub mod workspace;

pub mod directory;

pub mod channels;
pub mod doctor;
pub mod keep;

pub mod app;
pub mod delivery;

pub mod http;
pub mod rpc;

pub mod config;
pub mod manifest;

pub mod server;

pub mod demo;

pub mod check;
pub mod keys;
pub mod templates;

pub mod people;
