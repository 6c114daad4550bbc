//! A workspace that moves into an Enterprise organization: nothing is sent there until `auth.test`
//! works again, and afterwards the ids of its members are exchanged (Slack's documentation:
//! migration.exchange).

use std::time::Duration;

use super::{Error, Method, Workspaces};
use crate::domain::ids::InstallationId;
use crate::slack;
use crate::store::{self, MigrationStep, MigrationWork};

/// The time between two looks whether a move has ended. Moves last for minutes to hours.
const LOOK: Duration = Duration::from_secs(30);
/// How long an exchange of ids may wait for its budget.
const PATIENCE: Duration = Duration::from_secs(15);

/// Whether this code of Slack's says that the workspace moves.
pub(super) fn is_of_migration(code: &str) -> bool {
    matches!(code, "team_added_to_org" | "org_login_required")
}

impl Workspaces {
    /// When a call for a workspace that moves is worth repeating.
    pub(super) fn migration_pause(&self) -> Duration {
        LOOK.mul_f64(self.time_scale())
    }

    /// Slack reports that a workspace moves: it is stopped until [`Self::look_at_migration`] finds
    /// that it works.
    pub async fn migrates(&self, id: InstallationId) -> Result<(), store::Error> {
        if self.store.tokens().begin_migration(id, self.migration_pause()).await? {
            tracing::info!(workspace = %id, "a workspace moves into an organization; it pauses");
        }
        Ok(())
    }

    /// Looks whether a move has ended, and continues if so. Returns whether it has ended.
    pub async fn look_at_migration(&self, id: InstallationId) -> Result<bool, Error> {
        let token = self.stored_token(id).await?;
        match self.slack.auth_test(&token.secret).await {
            Ok(test) => self.moved(id, test.enterprise_id.as_deref()).await,
            Err(slack::Error::Unauthorized { code }) => {
                // A token that expired meanwhile: the next one shows whether the workspace works.
                if !self.died(id, token.version, &code).await? {
                    self.renew(token.holder).await?;
                }
                Ok(false)
            }
            Err(error) => {
                tracing::debug!(workspace = %id, %error, "a workspace still moves");
                Ok(false)
            }
        }
    }

    async fn moved(&self, id: InstallationId, enterprise: Option<&str>) -> Result<bool, Error> {
        if self.store.tokens().end_migration(id, enterprise).await? {
            tracing::info!(workspace = %id, "a workspace has moved into an organization");
            // The members may have other ids.
            self.store.member_lists().request_refresh(id).await?;
            self.store.lanes().wake(id).await?;
        }
        Ok(true)
    }

    /// Does one piece of the work on workspaces that move, or have moved. `false`: none is due.
    pub async fn follow_migrations(&self) -> Result<bool, Error> {
        let pause = self.migration_pause();
        let Some(work) = self.store.tokens().claim_migration(pause).await? else {
            return Ok(false);
        };
        let MigrationWork { installation, step } = work;
        match step {
            MigrationStep::Look => self.look_at_migration(installation).await.map(|_| true),
            MigrationStep::Exchange { after } => self.exchange_ids(installation, &after).await,
        }
    }

    /// Exchanges the ids of the next members. `false`: Slack does not give them now.
    async fn exchange_ids(&self, id: InstallationId, after: &str) -> Result<bool, Error> {
        let tokens = self.store.tokens();
        let members = tokens.members_after(id, after, slack::EXCHANGED_IDS).await?;
        let Some(last) = members.last() else {
            tokens.save_exchanged(id, &[], None).await?;
            return Ok(true);
        };
        let team = self.team(id).await?;
        let asked = self
            .call(id, Method::MigrationExchange, PATIENCE, async |slack, token| {
                slack.migration_exchange(token, &members, team.as_deref()).await
            })
            .await;
        match asked {
            Ok(pairs) => {
                tokens.save_exchanged(id, &pairs, Some(last)).await?;
                Ok(true)
            }
            // Slack does not exchange them for this app, or knows no move: the ids stay as they
            // are, and people are matched again with the member list.
            Err(Error::Slack(
                error @ (slack::Error::Rejected { .. } | slack::Error::MissingScope { .. }),
            )) => {
                tracing::warn!(workspace = %id, %error, "ids of members were not exchanged");
                tokens.save_exchanged(id, &[], None).await?;
                Ok(true)
            }
            // Tried again after the pause.
            Err(error) => {
                tracing::info!(workspace = %id, %error, "ids of members are exchanged later");
                Ok(false)
            }
        }
    }
}
