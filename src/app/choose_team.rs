//! The choice of a workspace after a whole organization was connected: the person who connected it
//! chooses in the same browser.

use super::connect::{LinkUse, is_kept, usable};
use super::connect_end::{ConnectEnd, Connected, TeamOption, Unusable};
use super::{App, Error};
use crate::domain::ids::{InstallationId, TenantId};
use crate::slack::NamedTeam;
use crate::store::BegunConnect;
use crate::workspace::TeamChoice;

/// The address of a choice, below the one that a link opens.
pub const TEAM: &str = "team";
/// Workspaces that a page offers; others are chosen by a link for one workspace.
const OFFERED: usize = 200;

/// A choice as a browser makes it. No `Debug`: `state` is a secret.
#[derive(Clone, Default)]
pub struct ChosenTeam {
    pub state: String,
    /// Slack's id of the workspace.
    pub team_id: String,
    /// The state that the browser kept when it opened the link.
    pub browser: Option<String>,
}

impl App {
    /// Offers the workspaces of an organization that was just connected.
    pub(super) async fn offer_teams(
        &self,
        tenant: &TenantId,
        state: &str,
        org: InstallationId,
        teams: &[NamedTeam],
    ) -> Result<Connected, Error> {
        tracing::info!(%tenant, organization = %org, "a workspace of an organization is chosen");
        self.store.tenancy().note_org(state, org).await?;
        let options = teams.iter().take(OFFERED).map(|team| {
            let mut url = self.config.connect_url.clone();
            let path = format!("{}/{TEAM}", url.path());
            url.set_path(&path);
            url.query_pairs_mut().append_pair("state", state).append_pair("team", &team.id);
            TeamOption { name: team.name.clone().unwrap_or_else(|| team.id.clone()), url }
        });
        Ok(Connected::ChooseTeam { teams: options.collect(), cookie: self.cookie_of(state) })
    }

    /// Connects the tenant to the workspace that was chosen.
    pub async fn choose_team(&self, chosen: ChosenTeam) -> Result<ConnectEnd, Error> {
        let ChosenTeam { state, team_id, browser } = chosen;
        if !is_kept(&browser.unwrap_or_default(), &state) {
            return Ok(ConnectEnd::new(Connected::Unusable(Unusable::OtherBrowser), None));
        }
        let Some((begun, org)) = self.store.tenancy().choosing(&state).await? else {
            // No choice is open: it was made, or came too late.
            return Ok(match usable(self.store.tenancy().look_at_connect(&state).await?) {
                LinkUse::Usable(_) => ConnectEnd::unknown(),
                LinkUse::Unusable(end) => end,
            });
        };
        let BegunConnect { tenant, terms, .. } = begun;
        let Some(app) = self.workspaces.app_at(&terms.app_path).await? else {
            return Ok(ConnectEnd::unknown());
        };
        let choice = TeamChoice {
            tenant: &tenant,
            state: &state,
            org,
            team_id: &team_id,
            allowed: terms.allowed,
        };
        let granted = self.workspaces.connect_team(choice).await;
        let connected = self.granted(&tenant, &app, &state, &terms, granted).await?;
        self.note_failure(&tenant, &state, &connected).await;
        Ok(ConnectEnd::new(connected, terms.return_url.as_deref()))
    }
}
