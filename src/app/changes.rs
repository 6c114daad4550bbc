//! Changes of one tenant's settings, event types and templates take turns within a process.
//!
//! Such a change reads the state, decides, and writes if the version of the settings is still the
//! one that it read. Without turns, many calls at once would make each other start again. A change
//! at another replica can still do that, but each replica makes only one at a time, so few attempts
//! are lost.

use crate::domain::ids::TenantId;
use crate::store::InTurn;

/// How often a change is made again because another replica's came first.
pub(super) const ATTEMPTS: usize = 32;

/// The turns of all tenants. Cheap to clone.
pub(super) type Changes = InTurn<TenantId>;
