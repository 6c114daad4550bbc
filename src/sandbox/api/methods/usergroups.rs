//! `usergroups.list` and `usergroups.users.list`.

use serde_json::{Value, json};

use crate::sandbox::api::call::Call;
use crate::sandbox::world::error::Error;
use crate::sandbox::world::state::State;

impl State {
    /// Adds a user group; returns its id.
    pub(in crate::sandbox) fn add_usergroup(
        &mut self,
        name: &str,
        handle: &str,
        users: &[String],
    ) -> String {
        let id = self.new_id('S');
        let owner = self.installer();
        self.usergroups.push(json!({
            "id": id, "team_id": self.team.id, "is_usergroup": true, "is_subteam": true,
            "name": name, "description": "", "handle": handle, "is_external": false,
            "date_create": 1_700_000_000, "date_update": 1_700_000_000, "date_delete": 0,
            "auto_type": null, "auto_provision": false, "enterprise_subteam_id": "",
            "created_by": owner, "updated_by": owner, "deleted_by": null,
            "prefs": { "channels": [], "groups": [] }, "users": users,
            "user_count": users.len(), "channel_count": 0,
        }));
        id
    }
}

#[expect(clippy::unnecessary_wraps, reason = "every method has the one signature")]
pub(super) fn list(call: &mut Call<'_>) -> Result<Value, Error> {
    let wanted = |key: &str| call.args.flag(key);
    let (disabled, users, count) =
        (wanted("include_disabled"), wanted("include_users"), wanted("include_count"));
    let groups = call.state.usergroups.iter().filter(|group| disabled || group["date_delete"] == 0);
    let groups = groups.cloned().map(|mut group| {
        if let Some(group) = group.as_object_mut() {
            if !users {
                group.remove("users");
            }
            if !count {
                group.remove("user_count");
                group.remove("channel_count");
            }
        }
        group
    });
    Ok(json!({ "usergroups": groups.collect::<Vec<_>>() }))
}

pub(super) fn users_list(call: &mut Call<'_>) -> Result<Value, Error> {
    let id = call.args.required("usergroup")?;
    let disabled = call.args.flag("include_disabled");
    let group = call.state.usergroups.iter().find(|group| group["id"] == id);
    let group = group.filter(|group| disabled || group["date_delete"] == 0);
    Ok(json!({ "users": group.ok_or("no_such_subteam")?["users"] }))
}
