//! Several apps in several workspaces: the place that a step is about, and the places that hear of
//! a change.

use std::sync::Arc;

use super::state::State;
use super::team::{App, FormerSecret, SandboxApp, Team};
use super::tokens::{Installation, place};

/// How long a client secret still works after another one was made, seconds.
const FORMER_SECONDS: f64 = 86_400.0;

impl State {
    /// The step is about this app from now on. False if there is no such app.
    pub(in crate::sandbox) fn enter_app(&mut self, id: &str) -> bool {
        let Some(app) = self.apps.get(id).cloned() else { return false };
        self.app = app;
        true
    }

    /// The step is about this workspace from now on. False if there is no such workspace.
    pub(in crate::sandbox) fn enter_team(&mut self, id: &str) -> bool {
        let Some(team) = self.teams.get(id).cloned() else { return false };
        self.team = team;
        true
    }

    /// The step is about the workspace of this conversation from now on, if there is one.
    pub(in crate::sandbox) fn enter_conversation(&mut self, id: &str) {
        let team = self.conversations.get(id).map(|found| found.team.clone());
        if let Some(team) = team {
            self.enter_team(&team);
        }
    }

    /// The step is about the app of this token and about its workspace. `named` is the workspace
    /// for a token of the whole organization.
    pub(in crate::sandbox) fn enter_token(&mut self, token: &str, named: Option<&str>) {
        let Some(held) = self.tokens.by_text.get(token) else { return };
        let (app, team) = (held.app.clone(), held.team.clone());
        self.enter_app(&app);
        if let Some(team) = team.as_deref().or(named) {
            self.enter_team(team);
        }
    }

    /// The next step is about the sandbox's own app in its first workspace again.
    pub(in crate::sandbox) fn go_home(&mut self) {
        let (app, team) = (self.own_app.clone(), self.own_team.clone());
        self.enter_app(&app);
        self.enter_team(&team);
    }

    /// The app with this client id.
    pub(in crate::sandbox) fn app_by_client(&self, client_id: &str) -> Option<Arc<App>> {
        self.apps.values().find(|app| app.client_id == client_id).cloned()
    }

    /// The app that has this bot.
    pub(in crate::sandbox) fn app_of_bot(&self, user: &str) -> Option<&Arc<App>> {
        if self.app.bot_user_id == user {
            return Some(&self.app);
        }
        let id = user.strip_prefix('U').map(|rest| format!("A{rest}"));
        let made = id.and_then(|id| self.apps.get(&id));
        made.or_else(|| self.apps.get(&self.own_app)).filter(|app| app.bot_user_id == user)
    }

    /// Changes an app. False if there is no such app.
    pub(in crate::sandbox) fn change_app(
        &mut self,
        id: &str,
        change: impl FnOnce(&mut App),
    ) -> bool {
        let Some(app) = self.apps.get_mut(id) else { return false };
        change(Arc::make_mut(app));
        let changed = Arc::clone(app);
        if self.app.id == id {
            self.app = changed;
        }
        true
    }

    /// All apps: the sandbox's own first, then the others by id.
    pub(in crate::sandbox) fn sandbox_apps(&self) -> Vec<SandboxApp> {
        let mut apps: Vec<_> = self.apps.values().collect();
        apps.sort_by_key(|app| app.id != self.own_app);
        apps.into_iter().map(|app| SandboxApp::of(app)).collect()
    }

    /// Gives an app another signing secret: Slack signs with it at once. `None` if there is no such
    /// app.
    pub(in crate::sandbox) fn regenerate_signing_secret(&mut self, id: &str) -> Option<SandboxApp> {
        self.change_app(id, |app| app.signing_secret = App::new_secret());
        self.apps.get(id).map(|app| SandboxApp::of(app))
    }

    /// Gives an app another client secret; the old one works for a day. `None` if there is no such
    /// app.
    pub(in crate::sandbox) fn regenerate_client_secret(
        &mut self,
        id: &str,
        now: i64,
    ) -> Option<SandboxApp> {
        let until = now + self.scaled_micros(FORMER_SECONDS);
        self.change_app(id, |app| {
            let secret = std::mem::replace(&mut app.client_secret, App::new_secret());
            app.former_secret = Some(FormerSecret { secret, until });
        });
        self.apps.get(id).map(|app| SandboxApp::of(app))
    }

    /// Whether the app is installed for the whole organization, and not in this workspace only.
    pub(in crate::sandbox) fn is_installed_org_wide(&self) -> bool {
        let (here, org) = (self.here(), self.org_place());
        match (self.tokens.is_installed(&here), self.tokens.is_installed(&org)) {
            (true, false) => false,
            (false, true) => true,
            _ => self.options.org_wide,
        }
    }

    /// Whether the organization added the app to this workspace.
    pub(in crate::sandbox) fn has_access(&self) -> bool {
        self.access.get(&self.here()).copied().unwrap_or(self.options.team_access)
    }

    /// Runs `step` for each app in the workspace that this step is about, with that app. The
    /// sandbox's own app hears of its first workspace also before it is installed.
    pub(in crate::sandbox) fn for_apps(&mut self, mut step: impl FnMut(&mut Self)) {
        let here = Arc::clone(&self.app);
        let apps: Vec<_> = self.apps.values().cloned().collect();
        for app in apps {
            self.app = app;
            if self.hears() {
                step(self);
            }
        }
        self.app = here;
    }

    fn hears(&self) -> bool {
        let own = self.app.id == self.own_app && self.team.id == self.own_team;
        own || self.tokens.is_installed(&self.here())
            || (self.tokens.is_installed(&self.org_place()) && self.has_access())
    }

    /// Runs `step` for each installation, with its app and its workspace. The sandbox's own app in
    /// its first workspace is one also before it is installed.
    pub(in crate::sandbox) fn for_installations(&mut self, mut step: impl FnMut(&mut Self)) {
        let (app, team) = (Arc::clone(&self.app), Arc::clone(&self.team));
        self.go_home();
        step(self);
        for Installation { app, team } in self.tokens.installed() {
            let team = team.unwrap_or_else(|| self.own_team.clone());
            let own = app == self.own_app && team == self.own_team;
            if !own && self.enter_app(&app) && self.enter_team(&team) {
                step(self);
            }
        }
        (self.app, self.team) = (app, team);
    }

    /// Adds workspaces until there are this many; they share the list of members.
    pub(in crate::sandbox) fn add_teams(&mut self, count: usize, now: i64) {
        let Some(first) = self.teams.get(&self.own_team).cloned() else { return };
        while self.teams.len() < count {
            let team = Arc::new(first.numbered(self.teams.len() + 1));
            self.teams.insert(team.id.clone(), Arc::clone(&team));
            let here = std::mem::replace(&mut self.team, team);
            self.add_general(now);
            self.team = here;
        }
    }

    /// All workspaces: the first one first, then the others by id.
    pub(in crate::sandbox) fn all_teams(&self) -> Vec<Team> {
        let mut teams: Vec<Team> = self.teams.values().map(|team| (**team).clone()).collect();
        teams.sort_by_key(|team| team.id != self.own_team);
        teams
    }

    /// Deletes an app with its installations.
    pub(in crate::sandbox) fn delete_app(&mut self, id: &str) {
        for Installation { app, team } in self.tokens.installed() {
            if app == id {
                let at = team.or_else(|| self.enterprise_id()).unwrap_or_else(|| "E".to_owned());
                self.tokens.kill_at(&place(id, &at), "account_inactive");
            }
        }
        self.apps.remove(id);
    }
}
