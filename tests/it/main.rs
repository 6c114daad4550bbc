//! Integration tests: one binary, real databases.

mod store_foundation;
mod support;
