//! Enterprise organizations: `auth.teams.list`, `migration.exchange`, and the workspace of a call
//! with an org-wide token.

use serde_json::{Map, Value, json};

use crate::sandbox::api::call::Call;
use crate::sandbox::world::error::Error;
use crate::sandbox::world::state::State;

/// Most ids in one `migration.exchange`.
const IDS: usize = 400;

impl State {
    /// The organization adds the app to this workspace, or removes it; the app is notified.
    pub(in crate::sandbox) fn grant_team(&mut self, granted: bool) {
        self.options.team_access = granted;
        let kind = if granted { "team_access_granted" } else { "team_access_revoked" };
        self.event(json!({ "type": kind, "team_ids": [self.team.id] }));
    }
}

/// A call with an org-wide token must name its workspace.
pub(super) fn check_team(call: &Call<'_>) -> Result<(), Error> {
    if !call.state.tokens.is_org_wide(&call.token) {
        return Ok(());
    }
    match call.args.text("team_id") {
        None => Err("missing_argument".into()),
        Some(team) if team != call.state.team.id => Err("team_not_found".into()),
        Some(_) if !call.state.options.team_access => Err("team_access_not_granted".into()),
        Some(_) => Ok(()),
    }
}

pub(super) fn teams_list(call: &mut Call<'_>) -> Result<Value, Error> {
    if call.args.text("cursor").is_some() {
        return Err("invalid_cursor".into());
    }
    let limit = call.args.text("limit").map(str::parse::<usize>);
    if !matches!(limit, None | Some(Ok(1..=1000))) {
        return Err("invalid_limit".into());
    }
    let state = &*call.state;
    let held = !state.tokens.is_org_wide(&call.token) || state.options.team_access;
    let teams: Vec<_> =
        held.then(|| json!({ "id": state.team.id, "name": state.team.name })).into_iter().collect();
    Ok(json!({ "teams": teams, "response_metadata": { "next_cursor": "" } }))
}

pub(super) fn migration_exchange(call: &mut Call<'_>) -> Result<Value, Error> {
    let state = &*call.state;
    let enterprise = state.enterprise().ok_or("not_enterprise_team")?;
    let users = call.args.list("users");
    if users.len() > IDS {
        return Err("too_many_users".into());
    }
    let to_old = call.args.flag("to_old");
    let (mut map, mut invalid) = (Map::new(), Vec::new());
    for user in users {
        let exchanged = if to_old {
            let (members, _) = state.directory.page(None, usize::MAX).unwrap_or_default();
            let found = members.into_iter().find(|m| m["enterprise_user"]["id"] == *user);
            found.map(|member| member["id"].clone())
        } else {
            state.directory.get(&user).map(|member| match &member["enterprise_user"]["id"] {
                Value::Null => json!(user),
                id => id.clone(),
            })
        };
        match exchanged {
            Some(id) => drop(map.insert(user, id)),
            None => invalid.push(user),
        }
    }
    Ok(json!({ "team_id": state.team.id, "enterprise_id": enterprise["id"], "user_id_map": map,
        "invalid_user_ids": invalid }))
}
