//! The workspaces that the sandbox plays: their state, and the one lock around it.
//!
//! [`state::State`] holds the parts, one file each. [`workspace::Workspace`] is shared by the
//! servers of the other modules; each request is one step under its lock, and [`push`] sends the
//! events that follow to the app.

pub(super) mod clock;
pub(super) mod error;
pub(super) mod faults;
pub(super) mod kept;
pub(super) mod limits;
pub(super) mod log;
pub(super) mod names;
pub(super) mod refreshes;
pub(super) mod team;

pub(super) mod change;

pub(super) mod conversation;
pub(super) mod directory;
pub(super) mod scopes;
pub(super) mod tokens;

pub(super) mod state;

mod apps;
mod migration;

mod approvals;
mod membership;
pub(super) mod messages;
pub(super) mod push;

pub(super) mod workspace;
