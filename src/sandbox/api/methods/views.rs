//! `views.publish`: a person's App Home.

use serde_json::{Value, json};

use crate::sandbox::api::call::Call;
use crate::sandbox::blocks::{self, Surface};
use crate::sandbox::world::error::Error;
use crate::sandbox::world::state::State;

const BYTES: usize = 250 * 1024;

impl State {
    /// The key of the App Home that the app published for this person in this workspace.
    pub(in crate::sandbox) fn home_key(&self, user: &str) -> String {
        format!("{}/{user}", self.here())
    }

    /// A person opens the Home tab; the app is notified. `None`: there is no such member or tab.
    pub(in crate::sandbox) fn open_home(&mut self, user: &str, now: i64) -> Option<()> {
        if !self.directory.contains(user) || !self.has_home_tab() {
            return None;
        }
        let (channel, _) = self.open_with(&[user.to_owned()], now);
        let mut opened = json!({ "type": "app_home_opened", "user": user, "channel": channel,
            "tab": "home" });
        // Only if there is one.
        if let Some(view) = self.views.get(&self.home_key(user)) {
            opened["view"] = view.clone();
        }
        self.event(opened);
        Some(())
    }
}

pub(super) fn publish(call: &mut Call<'_>) -> Result<Value, Error> {
    let user = call.args.required("user_id")?.to_owned();
    call.args.required("view").or_else(|error| match call.args.json("view") {
        Some(Ok(Value::Object(_))) => Ok(""),
        _ => Err(error),
    })?;
    if !call.state.has_home_tab() {
        return Err("not_enabled".into());
    }
    if !call.state.directory.contains(&user) {
        return Err("user_not_found".into());
    }
    let view = call.args.json("view").transpose().map_err(|()| "invalid_arguments")?;
    let mut view = view.unwrap_or_default();
    if view["type"] != "home" {
        let message = "[ERROR] must be one of: home [json-pointer:/view/type]".to_owned();
        return Err(Error::messages("invalid_arguments", vec![message]));
    }
    if view.to_string().len() > BYTES {
        return Err("view_too_large".into());
    }
    blocks::check(&view["blocks"], Surface::Home)?;
    blocks::complete(&mut view["blocks"], call.now);
    let key = call.state.home_key(&user);
    let held = call.state.views.get(&key);
    if let Some(hash) = call.args.text("hash")
        && held.is_some_and(|held| held["hash"] != hash)
    {
        return Err("hash_conflict".into());
    }
    let id = match held.and_then(|held| held["id"].as_str()) {
        Some(id) => id.to_owned(),
        None => call.state.new_id('V'),
    };
    let state = &mut *call.state;
    state.counter += 1;
    view["id"] = json!(id);
    view["root_view_id"] = json!(id);
    view["team_id"] = json!(state.team.id);
    view["app_id"] = json!(state.app.id);
    view["bot_id"] = json!(state.app.bot_id);
    view["hash"] = json!(format!("{}.{:08x}", call.now / 1_000_000, state.counter));
    state.views.insert(key, view.clone());
    Ok(json!({ "view": view }))
}
