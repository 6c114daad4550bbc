//! The database: connections, transactions, statements, rows.
//!
//! Reading order: `backend`; `protection`, `session`, `pulse`, `forgotten`, `postgres`, `executor`,
//! `pool` and `connection`, from one connection to the pools; `transaction`; `sql` and `rows`,
//! statements and their answers; `unreadable`, rows that are skipped; `era`, the time since the
//! last copy; `group` and `apart`, calls that share a transaction and calls that must not;
//! `in_turn`, calls that would wait for the same row; `entity`; then the care of the
//! whole: `migrate`, `exclusive`, `tidy`.

pub(in crate::store) mod backend;
pub(in crate::store) mod entity;
pub(in crate::store) mod era;
pub(in crate::store) mod group;
pub(in crate::store) mod in_turn;
pub(in crate::store) mod protection;
pub(super) mod pulse;
pub(in crate::store) mod sql;
pub(in crate::store) mod unreadable;

pub(in crate::store) mod rows;
mod session;
pub(in crate::store) mod tidy;

mod forgotten;
mod postgres;

mod executor;

pub(in crate::store) mod transaction;

pub(in crate::store) mod apart;
pub(in crate::store) mod pool;

pub(in crate::store) mod connection;
pub(in crate::store) mod migrate;

pub(in crate::store) mod exclusive;
