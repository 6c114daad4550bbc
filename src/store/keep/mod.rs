//! Keeping workspaces connected: the exchange of expiring tokens (`renewals`), installations for
//! a whole organization (`orgs`), and workspaces that move into one (`moving`).

mod moving;
mod orgs;
mod renewals;

pub use moving::{MigrationStep, MigrationWork};
pub use orgs::OrgTeam;
pub use renewals::{Expiry, SealedPair, TokenExchange, TokenLease, TokenSchedule};
