//! Rows as SeaORM reads them. They never leave the store: each aggregate converts its own.
//!
//! Writes are hand-written statements (`sql`), because they take the database's time and are
//! fenced.

/// Rows hold user ids, which may be e-mail addresses: their `Debug` shows nothing (invariant I12).
macro_rules! opaque {
    () => {
        impl std::fmt::Debug for Model {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct("Model").finish_non_exhaustive()
            }
        }
    };
}
use opaque;

pub(in crate::store) mod directory;
pub(in crate::store) mod event_type;
pub(in crate::store) mod installation;
pub(in crate::store) mod person;
pub(in crate::store) mod preference;
pub(in crate::store) mod template_version;
pub(in crate::store) mod tenant;
pub(in crate::store) mod tenant_link;
