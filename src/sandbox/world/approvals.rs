//! Workspaces that approve apps: requests to install, and an administrator's decisions on them.
//!
//! Slack never notifies the app: after an approval the person starts again, and may then install.

use super::kept::Approval;
use super::state::State;

impl State {
    /// Whether a person must request an approval before installing with these scopes.
    pub(in crate::sandbox) fn needs_approval<'a>(
        &self,
        mut scopes: impl Iterator<Item = &'a String>,
    ) -> bool {
        let here = |one: &&Approval| one.app_id == self.app.id && one.team_id == self.team.id;
        let requests = self.approvals.requests.iter().filter(here);
        let approved = requests.filter(|one| one.approved == Some(true));
        let scopes_of: Vec<_> = approved.flat_map(|one| &one.scopes).collect();
        self.options.require_approval && scopes.any(|scope| !scopes_of.contains(&scope))
    }

    pub(in crate::sandbox) fn request_approval(&mut self, scopes: Vec<String>) {
        let id = self.new_id('A');
        let (app, team) = (&self.app, &self.team);
        self.approvals.requests.push(Approval {
            id,
            app_id: app.id.clone(),
            app_name: app.name.clone(),
            team_id: team.id.clone(),
            team_name: team.name.clone(),
            scopes,
            approved: None,
        });
    }

    /// An administrator decides on a request; the app is not notified. `None` if there is no
    /// request with this id.
    pub(in crate::sandbox) fn decide_approval(
        &mut self,
        id: &str,
        approved: bool,
    ) -> Option<Approval> {
        let request = self.approvals.requests.iter_mut().find(|request| request.id == id)?;
        request.approved = Some(approved);
        Some(request.clone())
    }
}
