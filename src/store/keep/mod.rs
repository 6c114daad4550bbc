//! Keeping workspaces connected: the exchange of expiring tokens (`renewals`), installations for
//! a whole organization (`orgs`), workspaces that move into one (`moving`), and tokens that a
//! revocation may have met (`revocations`).

mod moving;
mod orgs;
mod renewals;
mod revocations;

pub use moving::{MigrationPace, MigrationStep, MigrationWork};
pub use orgs::OrgTeam;
pub use renewals::{Expiry, SealedPair, TokenExchange, TokenLease, TokenSchedule};
pub use revocations::MetByRevocation;
