//! Leaving: the end of a tenant's connection and of installations without tenants, the erasure of a
//! workspace's data, and the deletion of a tenant.
//!
//! A tenant leaves its workspace in one transaction, which also says what becomes of messages that
//! wait (`link`). Everything else is many rows, and is done in parts: each transaction takes a
//! bounded number of rows in the order of a key, and first checks that it is still wanted. A
//! workspace that was connected again keeps its data, and so does a tenant that was made again
//! under the same name. The rows themselves show the progress, so work that was stopped is
//! continued from where it ended, by any replica.
//!
//! Reading order: `link`; `waiting`, messages and identities; `workspace`; `kinds` and `tenant`,
//! the deletion of a tenant.

mod kinds;
mod link;
mod waiting;

mod workspace;

mod tenant;

pub use link::{DISCONNECTED, Left, SeenLink, UseEnd};
