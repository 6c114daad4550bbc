//! Slack tells that an installation ended. That may be late news: of the one before a reinstall
//! (Slack's documentation: tokens_revoked).

use std::time::Duration;

use super::{Error, Method, Workspaces};
use crate::domain::ids::InstallationId;
use crate::domain::time::Timestamp;
use crate::store::InstallationState;

/// Whether an installation that was said to have ended works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alive {
    /// The token is dead, and recorded so.
    No,
    /// The token works: the news was of another.
    Yes,
    /// The news is older than the connection; Slack was not asked.
    Older,
}

/// News so much older than the connection is of the one before it. Younger news is checked with
/// Slack: its clock is not ours, and it tells whole seconds.
const SURELY_OLDER: Duration = Duration::from_secs(60);
/// How long the question may wait for its budget.
const PATIENCE: Duration = Duration::from_secs(5);

impl Workspaces {
    /// Asks Slack whether the token works (`auth.test`), unless what `happened_at` then cannot have
    /// ended it. A dead one is recorded, unless the workspace was connected again meanwhile.
    pub async fn confirm_alive(
        &self,
        id: InstallationId,
        happened_at: Timestamp,
    ) -> Result<Alive, Error> {
        let installation = self.store.installation(id).await?.ok_or(Error::Unknown)?;
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
