//! Access rights: every cell of the table of rights, and every method across tenants.

mod api_keys;
mod cells;
mod certificates;
mod door;
pub(crate) mod issuer;
mod tenants;
mod tokens;
