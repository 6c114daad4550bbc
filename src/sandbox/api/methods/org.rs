//! Enterprise organizations: `auth.teams.list`, `migration.exchange`, and the workspace of a call
//! with an org-wide token.

use serde_json::{Map, Value, json};

use crate::sandbox::api::call::Call;
use crate::sandbox::api::cursor;
use crate::sandbox::world::error::Error;
use crate::sandbox::world::state::State;
use crate::sandbox::world::tokens::place;

/// Most ids in one `migration.exchange`.
const IDS: usize = 400;

impl State {
    /// The organization adds the app to this workspace, or removes it; the app is notified.
    pub(in crate::sandbox) fn grant_team(&mut self, granted: bool) {
        let here = self.here();
        self.access.insert(here, granted);
        let kind = if granted { "team_access_granted" } else { "team_access_revoked" };
        self.event(json!({ "type": kind, "team_ids": [self.team.id] }));
    }
}

/// The call is about the app of its token, in the workspace of its token. A token of the whole
/// organization is for the workspace that the call names, or for that of its channel.
pub(super) fn enter(call: &mut Call<'_>) -> Result<(), Error> {
    let channel = call.args.text("channel").and_then(|id| call.state.conversations.get(id));
    let of_channel = channel.map(|found| found.team.clone());
    let named = call.args.text("team_id").map(str::to_owned).or(of_channel.clone());
    call.state.enter_token(&call.token, named.as_deref());
    if call.state.moving_into.is_some() {
        // The code of Slack's pages of methods for a workspace that is moving.
        return Err("team_added_to_org".into());
    }
    let org_wide = call.state.tokens.is_org_wide(&call.token);
    if org_wide && of_channel.is_some() && !call.state.has_access() {
        return Err("team_access_not_granted".into());
    }
    Ok(())
}

/// A call with an org-wide token must name its workspace.
pub(super) fn check_team(call: &Call<'_>) -> Result<(), Error> {
    if !call.state.tokens.is_org_wide(&call.token) {
        return Ok(());
    }
    match call.args.text("team_id") {
        None => Err("missing_argument".into()),
        Some(team) if team != call.state.team.id => Err("team_not_found".into()),
        Some(_) if !call.state.has_access() => Err("team_access_not_granted".into()),
        Some(_) => Ok(()),
    }
}

/// The workspaces of a token, by pages; the cursor is the id of the first one of the page.
pub(super) fn teams_list(call: &mut Call<'_>) -> Result<Value, Error> {
    let limit = match call.args.text("limit").map(str::parse::<usize>) {
        None => 100,
        Some(Ok(limit @ 1..=1000)) => limit,
        Some(_) => return Err("invalid_limit".into()),
    };
    let limit = call.state.options.max_page.clamp(1, limit);
    let from = call.args.text("cursor").map(|text| cursor::decode("team", text)).transpose()?;
    let state = &*call.state;
    if from.as_ref().is_some_and(|id| !state.teams.contains_key(id)) {
        return Err("invalid_cursor".into());
    }
    let org_wide = state.tokens.is_org_wide(&call.token);
    let held = |id: &String| {
        let access = state.access.get(&place(&state.app.id, id)).copied();
        if org_wide { access.unwrap_or(state.options.team_access) } else { *id == state.team.id }
    };
    let rest = state.teams.range(from.unwrap_or_default()..);
    let mut rest = rest.filter(|entry| held(entry.0));
    let shown = rest.by_ref().take(limit);
    let teams: Vec<_> = shown.map(|(id, team)| json!({ "id": id, "name": team.name })).collect();
    let next = rest.next().map(|(id, _)| cursor::encode("team", id)).unwrap_or_default();
    Ok(json!({ "teams": teams, "response_metadata": { "next_cursor": next } }))
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
            match state.directory.old_id_of(&user) {
                Some(old) => Some(json!(old)),
                None => found.map(|member| member["id"].clone()),
            }
        } else if let Some(new) = state.directory.new_id_of(&user) {
            Some(json!(new))
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
