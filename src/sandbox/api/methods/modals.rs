//! `views.open`, `views.push` and `views.update`: modals, opened by a trigger.

use serde_json::{Value, json};

use crate::sandbox::api::call::Call;
use crate::sandbox::blocks::{self, Surface};
use crate::sandbox::world::error::Error;
use crate::sandbox::world::kept::Trigger;
use crate::sandbox::world::state::State;

/// A trigger works once, within three seconds.
const TRIGGER_SECONDS: f64 = 3.0;
/// Most modals that can be stacked.
const STACK: usize = 3;
const BYTES: usize = 250 * 1024;

impl State {
    /// A `trigger_id` for an action of a person just now.
    pub(in crate::sandbox) fn new_trigger(&mut self, now: i64) -> String {
        let id = format!("{}.{:032x}", now / 1000, rand::random::<u128>());
        let expires = now + self.scaled_micros(TRIGGER_SECONDS);
        self.modals.triggers.insert(id.clone(), Trigger { expires, used: false });
        id
    }
}

pub(super) fn open(call: &mut Call<'_>) -> Result<Value, Error> {
    spend_trigger(call)?;
    let id = call.state.new_id('V');
    let view = keep(call, &id, &id, None)?;
    call.state.modals.stack = vec![id];
    Ok(json!({ "view": view }))
}

pub(super) fn push(call: &mut Call<'_>) -> Result<Value, Error> {
    spend_trigger(call)?;
    let stack = call.state.modals.stack.clone();
    let (Some(root), Some(below)) = (stack.first(), stack.last()) else {
        return Err("not_found".into());
    };
    if stack.len() == STACK {
        return Err("push_limit_reached".into());
    }
    let id = call.state.new_id('V');
    let view = keep(call, &id, root, Some(below))?;
    call.state.modals.stack.push(id);
    Ok(json!({ "view": view }))
}

pub(super) fn update(call: &mut Call<'_>) -> Result<Value, Error> {
    let views = &call.state.modals.views;
    let held = match (call.args.text("view_id"), call.args.text("external_id")) {
        (Some(id), _) => views.get(id),
        (None, Some(id)) => views.values().find(|view| view["external_id"] == id),
        (None, None) => return Err("invalid_arguments".into()),
    };
    let held = held.ok_or("not_found")?.clone();
    if call.args.text("hash").is_some_and(|hash| held["hash"] != hash) {
        return Err("hash_conflict".into());
    }
    let text = |key: &str| held[key].as_str().unwrap_or_default().to_owned();
    let below = held["previous_view_id"].as_str();
    let view = keep(call, &text("id"), &text("root_view_id"), below)?;
    Ok(json!({ "view": view }))
}

fn spend_trigger(call: &mut Call<'_>) -> Result<(), Error> {
    let id = call.args.required("trigger_id")?;
    let trigger = call.state.modals.triggers.get_mut(id).ok_or("invalid_trigger_id")?;
    if std::mem::replace(&mut trigger.used, true) {
        return Err("exchanged_trigger_id".into());
    }
    if trigger.expires <= call.now {
        return Err("expired_trigger_id".into());
    }
    Ok(())
}

/// Checks the view of the call and stores it under this id.
fn keep(call: &mut Call<'_>, id: &str, root: &str, below: Option<&str>) -> Result<Value, Error> {
    let view = call.args.json("view").ok_or("invalid_arguments")?;
    let mut view = view.map_err(|()| "invalid_arguments")?;
    let refused = |problem: &str, at: &str| {
        let message = format!("[ERROR] {problem} [json-pointer:{at}]");
        Err(Error::messages("invalid_arguments", vec![message]))
    };
    if view["type"] != "modal" {
        return refused("must be one of: modal", "/view/type");
    }
    let title = view["title"]["text"].as_str().unwrap_or_default().chars().count();
    if !(1..=24).contains(&title) {
        return refused("must be more than 0 and less than 25 characters", "/view/title/text");
    }
    if view.to_string().len() > BYTES {
        return Err("view_too_large".into());
    }
    let state = &mut *call.state;
    let external = view["external_id"].as_str().filter(|id| !id.is_empty());
    let mut others = state.modals.views.values().filter(|other| other["id"] != id);
    if external.is_some_and(|external| others.any(|other| other["external_id"] == external)) {
        return Err("duplicate_external_id".into());
    }
    blocks::check(&view["blocks"], Surface::Modal)?;
    blocks::complete(&mut view["blocks"], call.now);
    for (key, absent) in [
        ("callback_id", json!("")),
        ("private_metadata", json!("")),
        ("external_id", json!("")),
        ("clear_on_close", json!(false)),
        ("notify_on_close", json!(false)),
        ("close", Value::Null),
        ("submit", Value::Null),
    ] {
        if view[key].is_null() {
            view[key] = absent;
        }
    }
    state.counter += 1;
    view["id"] = json!(id);
    view["root_view_id"] = json!(root);
    view["previous_view_id"] = json!(below);
    view["state"] = json!({ "values": {} });
    view["team_id"] = json!(state.team.id);
    view["app_installed_team_id"] = json!(state.team.id);
    view["app_id"] = json!(state.app.id);
    view["bot_id"] = json!(state.app.bot_id);
    view["hash"] = json!(format!("{}.{:08x}", call.now / 1_000_000, state.counter));
    state.modals.views.insert(id.to_owned(), view.clone());
    Ok(view)
}
