//! Verifies Slack's reports that an installation ended. A report may be late and concern the
//! installation before a reinstall (Slack's documentation: tokens_revoked), so Slack is asked
//! whether the token still works.

use std::time::Duration;

use super::{Error, Method, Workspaces};
use crate::domain::ids::InstallationId;
use crate::domain::time::Timestamp;
use crate::store::InstallationState;

/// Whether an installation that was reported as ended works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alive {
    /// The token is dead, and recorded as dead.
    No,
    /// The token works: the report was about an earlier one.
    Yes,
    /// The report is older than the connection; Slack was not asked.
    Older,
}

/// A report that is older than the connection by more than this concerns the previous installation.
/// A younger one is checked with Slack, whose clock differs from ours and counts whole seconds.
const SURELY_OLDER: Duration = Duration::from_secs(60);
/// How long the question may wait for its budget.
const PATIENCE: Duration = Duration::from_secs(5);

impl Workspaces {
    /// Asks Slack whether the token works (`auth.test`), unless `happened_at` is too long before
    /// the connection to concern it. A dead token is recorded, unless the workspace was connected
    /// again meanwhile.
    pub async fn confirm_alive(
        &self,
        id: InstallationId,
        happened_at: Timestamp,
    ) -> Result<Alive, Error> {
        let installation = self.store.tenancy().installation(id).await?.ok_or(Error::Unknown)?;
        if installation.state == InstallationState::Dead {
            return Ok(Alive::No);
        }
        if happened_at.plus(SURELY_OLDER) < installation.installed_at {
            return Ok(Alive::Older);
        }
        let asked = self
            .call(id, Method::AuthTest, PATIENCE, async |slack, token| slack.auth_test(token).await)
            .await;
        match asked {
            Ok(_) => Ok(Alive::Yes),
            Err(Error::Reconnect { .. }) => Ok(Alive::No),
            Err(error) => Err(error),
        }
    }
}
