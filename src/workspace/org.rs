//! Installations for a whole organization: one token for many workspaces (Slack's documentation:
//! Developing apps for Enterprise orgs). Each workspace is an installation that uses the token of
//! the organization's; a tenant is connected to one of them.

use std::time::Duration;

use super::connect::{ConnectError, Exchange, Granted, entries};
use super::{Error, Method, Workspaces};
use crate::domain::access::sharing::Allowed;
use crate::domain::ids::{InstallationId, TenantId};
use crate::domain::secret::Secret;
use crate::slack::NamedTeam;
use crate::store::{ConnectCompletion, Installation, NewInstallation, OrgTeam};

/// How long a page of workspaces may wait for its budget.
const PATIENCE: Duration = Duration::from_secs(15);
/// Most pages of a list of workspaces.
const PAGES: usize = 50;

/// A workspace that a person chose after an organization was connected.
#[derive(Clone, Copy)]
pub struct TeamChoice<'a> {
    pub tenant: &'a TenantId,
    /// The state of the attempt.
    pub state: &'a str,
    /// The installation for the organization.
    pub org: InstallationId,
    /// Slack's id of the workspace.
    pub team_id: &'a str,
    pub allowed: Allowed,
}

impl Workspaces {
    /// The workspaces that the token of an installation may be used for, by their names.
    pub async fn teams_of(&self, id: InstallationId) -> Result<Vec<NamedTeam>, Error> {
        let (mut teams, mut cursor) = (Vec::new(), None::<String>);
        for _ in 0..PAGES {
            let from = cursor.as_deref();
            let page = self
                .call(id, Method::AuthTeamsList, PATIENCE, async |slack, token| {
                    slack.auth_teams_list(token, from).await
                })
                .await?;
            teams.extend(page.teams);
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        teams.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        Ok(teams)
    }

    /// Asks Slack for the workspaces of an organization and stores them: after a connect, and after
    /// an event, which may be older than Slack's answer. A workspace that is not among them
    /// any more is dead until it is again.
    pub async fn follow_teams(&self, org: InstallationId) -> Result<Vec<NamedTeam>, Error> {
        let teams = self.teams_of(org).await?;
        let named = teams.iter().map(|team| OrgTeam {
            id: team.id.clone(),
            name: team.name.clone().unwrap_or_else(|| "a Slack workspace".to_owned()),
        });
        let named: Vec<OrgTeam> = named.collect();
        for id in self.store.tokens().save_teams(org, &named).await? {
            self.store.lanes().wake(id).await?;
        }
        Ok(teams)
    }

    /// Stores an installation for a whole organization, and connects the tenant to its workspace:
    /// the one that is expected, the one that the tenant had, or the only one.
    pub(super) async fn connect_org(
        &self,
        exchange: Exchange<'_>,
        new: &NewInstallation,
        expected: Option<&str>,
    ) -> Result<Granted, ConnectError> {
        let Exchange { tenant, state, allowed, .. } = exchange;
        let org = self.store.tokens().save_org(new).await?;
        let teams = self.follow_teams(org).await.map_err(unasked)?;
        let has = |team: &str| teams.iter().any(|known| known.id == team);
        let before = self.store.tenancy().installation_of(tenant).await?;
        let before = before.and_then(|before| before.team_id).filter(|team| has(team));
        let only = match teams.as_slice() {
            [only] => Some(only.id.clone()),
            _ => None,
        };
        let chosen = match expected {
            Some(team) if has(team) => Some(team.to_owned()),
            Some(_) => {
                return Err(ConnectError::OtherWorkspace { team_name: new.team_name.clone() });
            }
            None => before.or(only),
        };
        let Some(team_id) = chosen.as_deref() else {
            return Err(ConnectError::ChooseTeam { org, teams });
        };
        self.connect_team(TeamChoice { tenant, state, org, team_id, allowed }).await
    }

    /// Connects the tenant to one workspace of an organization that was connected before.
    pub async fn connect_team(&self, choice: TeamChoice<'_>) -> Result<Granted, ConnectError> {
        let TeamChoice { tenant, state, org, team_id, allowed } = choice;
        let code = || ConnectError::Refused { code: "team_not_found".into() };
        let id = self.store.tokens().team_of_org(org, team_id).await?.ok_or_else(code)?;
        let installation = self.store.tenancy().installation(id).await?.ok_or_else(code)?;
        let team_name = installation.team_name.clone();
        let (others, is_new) = self.let_in(tenant, &place_of(installation), allowed).await?;
        let joined = if is_new { others.as_slice() } else { &[] };
        let noted = self.store.noting_all(&entries(tenant, joined, &team_name)).await?;
        match noted.tokens().link(tenant, state, id, &others).await? {
            ConnectCompletion::Connected(installation) => {
                self.after_connect(tenant, installation, others.len()).await;
                Ok(Granted { installation, team_name })
            }
            ConnectCompletion::InUse(installation) => {
                Err(ConnectError::InUse { installation, team_name, may_confirm: false })
            }
        }
    }
}

/// The place of a stored installation, for the question which tenants use it; without a token.
fn place_of(installation: Installation) -> NewInstallation {
    NewInstallation {
        app_id: installation.app_id,
        enterprise_id: installation.enterprise_id,
        team_id: installation.team_id,
        org_wide: installation.org_wide,
        team_name: installation.team_name,
        bot_user_id: installation.bot_user_id,
        bot_name: installation.bot_name,
        scopes: installation.scopes,
        token: Secret::new(""),
        refresh_token: None,
        token_expires_at: None,
        installed_by: installation.installed_by,
        app_path: installation.app_path,
    }
}

/// Slack was asked for the workspaces of a new token.
fn unasked(error: Error) -> ConnectError {
    match error {
        Error::Store(error) => error.into(),
        Error::Slack(error) => error.into(),
        Error::Reconnect { code } => ConnectError::Refused { code },
        Error::Migrating { .. }
        | Error::Renewing { .. }
        | Error::Busy { .. }
        | Error::Late
        | Error::Unknown => ConnectError::NoAnswer { code: "teams_not_listed".into() },
    }
}
