//! Code that the tests share.

pub(crate) mod authority;
pub(crate) mod books;
pub(crate) mod client;
pub(crate) mod event_types;
pub(crate) mod gate;
pub(crate) mod pgbouncer;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod store;
pub(crate) mod templates;
pub(crate) mod world;
