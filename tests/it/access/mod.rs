//! Access rights: every cell of the table of rights, and every method across tenants.

mod api_keys;
mod cells;
mod certificates;
mod door;
pub(crate) mod issuer;
mod tenants;
mod tokens;

use herald::domain::access::Who;

/// Whether the caller is one person, who can have data of their own.
pub(crate) fn is_one_person(who: Who) -> bool {
    match who {
        Who::Service | Who::Administrator => false,
        Who::User | Who::Actor | Who::Editor => true,
    }
}
