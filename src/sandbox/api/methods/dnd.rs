//! `dnd.info` and `dnd.teamInfo`: do-not-disturb settings.

use serde_json::{Map, Value, json};

use crate::sandbox::api::call::Call;
use crate::sandbox::world::directory;
use crate::sandbox::world::error::Error;
use crate::sandbox::world::state::State;

/// Most people in one `dnd.teamInfo`.
const PEOPLE: usize = 50;

impl State {
    fn dnd_of(&self, user: &str) -> Value {
        let unset = json!({ "dnd_enabled": false, "next_dnd_start_ts": 1, "next_dnd_end_ts": 1 });
        self.dnd.get(user).cloned().unwrap_or(unset)
    }

    /// Sets a member's answer of `dnd.info`; the app is notified.
    pub(in crate::sandbox) fn set_dnd(&mut self, user: &str, settings: &Value) {
        let mut status = self.dnd_of(user);
        directory::merge(&mut status, settings);
        self.dnd.insert(user.to_owned(), status.clone());
        self.for_installations(|state| {
            let status = &status;
            state.event(json!({ "type": "dnd_updated_user", "user": user, "dnd_status": status }));
        });
    }
}

pub(super) fn info(call: &mut Call<'_>) -> Result<Value, Error> {
    let user = call.args.text("user").unwrap_or(&call.state.app.bot_user_id);
    if !call.state.directory.contains(user) {
        return Err("user_not_found".into());
    }
    Ok(call.state.dnd_of(user))
}

pub(super) fn team_info(call: &mut Call<'_>) -> Result<Value, Error> {
    let users = call.args.list("users");
    if users.is_empty() {
        return Err("no_users_provided".into());
    }
    if users.len() > PEOPLE {
        return Err("too_many_users".into());
    }
    let known = users.iter().filter(|user| call.state.directory.contains(user));
    let shown: Map<_, _> = known.map(|user| (user.clone(), call.state.dnd_of(user))).collect();
    Ok(json!({ "users": shown }))
}
