//! A workspace that moves into an Enterprise organization: nothing is sent there until `auth.test`
//! works again, and afterwards the ids of its members are exchanged (Slack's documentation:
//! migration.exchange).

use std::time::Duration;

use super::{Error, Method, Workspaces};
use crate::domain::ids::InstallationId;
use crate::slack;
use crate::store::{self, MigrationPace, MigrationStep, MigrationWork};

/// The time to the first look whether a move has ended. Moves last for minutes to hours, and the
/// time between two looks doubles.
const LOOK: Duration = Duration::from_secs(30);
const LOOK_AT_MOST: Duration = Duration::from_secs(600);
/// How long an exchange of ids may wait for its budget.
const PATIENCE: Duration = Duration::from_secs(15);

impl Workspaces {
    /// When a call for a workspace that moves is worth repeating.
    pub(super) fn migration_pause(&self) -> Duration {
        LOOK.mul_f64(self.time_scale())
    }

    fn migration_pace(&self) -> MigrationPace {
        MigrationPace {
            first: self.migration_pause(),
            longest: LOOK_AT_MOST.mul_f64(self.time_scale()),
            dice: rand::random(),
        }
    }

    /// Slack reports that a workspace moves: it is stopped until [`Self::look_at_migration`] finds
    /// that it works.
    pub async fn migrates(&self, id: InstallationId) -> Result<(), store::Error> {
        if self.store.tokens().begin_migration(id, self.migration_pause()).await? {
            tracing::info!(workspace = %id, "a workspace moves into an organization; it pauses");
        }
        Ok(())
    }

    /// Looks whether a move has ended. If so, the ids of members are exchanged next, or the pause
    /// ends.
    pub async fn look_at_migration(&self, id: InstallationId) -> Result<(), Error> {
        let token = self.stored_token(id).await?;
        match self.slack.auth_test(&token.secret).await {
            Ok(test) => {
                let enterprise = test.enterprise_id.as_deref();
                if self.store.tokens().note_moved(id, enterprise).await? {
                    self.resume(id).await?;
                }
            }
            Err(slack::Error::Unauthorized { code }) => {
                // A token that expired meanwhile: the next one shows whether the workspace works.
                if !self.died(id, token.version, &code).await? {
                    self.renew(token.holder).await?;
                }
            }
            Err(error) => tracing::debug!(workspace = %id, %error, "a workspace still moves"),
        }
        Ok(())
    }

    /// The members may have other ids by now, so the list is read again.
    async fn resume(&self, id: InstallationId) -> Result<(), Error> {
        tracing::info!(workspace = %id, "a workspace that moved works again");
        self.store.member_lists().request_refresh(id).await?;
        Ok(self.store.lanes().wake(id).await?)
    }

    /// Does one piece of the work on workspaces that move, or have moved. `false`: none is due.
    pub async fn follow_migrations(&self) -> Result<bool, Error> {
        let pace = self.migration_pace();
        let Some(work) = self.store.tokens().claim_migration(pace).await? else {
            return Ok(false);
        };
        let MigrationWork { installation, step } = work;
        match step {
            MigrationStep::Look => self.look_at_migration(installation).await?,
            MigrationStep::Exchange { after } => self.exchange_ids(installation, &after).await?,
        }
        Ok(true)
    }

    /// Exchanges the ids of the next members. If Slack does not give them now, it is asked again
    /// after the pause.
    async fn exchange_ids(&self, id: InstallationId, after: &str) -> Result<(), Error> {
        let tokens = self.store.tokens();
        let members = tokens.members_after(id, after, slack::EXCHANGED_IDS).await?;
        let Some(last) = members.last() else { return self.exchanged(id).await };
        let (team, token) = (self.team(id).await?, self.stored_token(id).await?);
        self.wait_for_start(id, Method::MigrationExchange, PATIENCE).await?;
        let team = team.as_deref();
        match self.slack.migration_exchange(&token.secret, &members, team).await {
            Ok(pairs) => Ok(tokens.save_exchanged(id, &pairs, Some(last)).await?),
            // Slack does not exchange them for this app, or knows of no move: the ids stay as they
            // are, and people are matched again with the member list.
            Err(error @ (slack::Error::Rejected { .. } | slack::Error::MissingScope { .. })) => {
                tracing::warn!(workspace = %id, %error, "ids of members were not exchanged");
                self.exchanged(id).await
            }
            Err(error) => {
                let error =
                    self.record(id, Method::MigrationExchange, token.version, error).await?;
                tracing::info!(workspace = %id, %error, "ids of members are exchanged later");
                Ok(())
            }
        }
    }

    async fn exchanged(&self, id: InstallationId) -> Result<(), Error> {
        self.store.tokens().save_exchanged(id, &[], None).await?;
        self.resume(id).await
    }
}
