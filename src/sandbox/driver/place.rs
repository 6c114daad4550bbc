//! The app and the workspace that an action from outside is about.

use serde::Deserialize;

use crate::sandbox::world::state::State;

/// An app in a workspace. Absent fields mean the sandbox's own app, or the first workspace.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::sandbox) struct Place {
    pub(in crate::sandbox) app: Option<String>,
    pub(in crate::sandbox) team: Option<String>,
}

impl Place {
    /// The step is about this place from now on. False if there is no such app or workspace.
    pub(in crate::sandbox) fn enter(&self, state: &mut State) -> bool {
        let app = self.app.as_deref().is_none_or(|id| state.enter_app(id));
        app && self.team.as_deref().is_none_or(|id| state.enter_team(id))
    }
}

impl From<[&str; 2]> for Place {
    /// The ids of the app and of the workspace.
    fn from([app, team]: [&str; 2]) -> Self {
        Self { app: Some(app.to_owned()), team: Some(team.to_owned()) }
    }
}
