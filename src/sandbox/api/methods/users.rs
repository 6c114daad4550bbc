//! `users.*`, `team.*`: reading the directory.
#![expect(clippy::unnecessary_wraps, reason = "every method has the one signature")]

use serde_json::{Value, json};

use crate::sandbox::api::call::Call;
use crate::sandbox::api::cursor;
use crate::sandbox::world::directory::{self, View, shown};
use crate::sandbox::world::error::Error;
use crate::sandbox::world::state::State;
use crate::sandbox::world::team::Team;

/// Most members for which `users.list` answers without a `limit`.
const WITHOUT_LIMIT: usize = 1_000;
/// The largest page.
const PAGE: usize = 1_000;

impl State {
    /// Adds a member, assigning an id if it has none; returns the id. Its custom profile fields may
    /// be given under `_fields`.
    pub(in crate::sandbox) fn add_member(&mut self, mut member: Value) -> String {
        let id = match member["id"].as_str() {
            Some(id) => id.to_owned(),
            None => self.new_id('U'),
        };
        if let Some(object) = member.as_object_mut() {
            object.insert("id".into(), json!(id));
            if let Some(fields) = object.remove("_fields") {
                self.directory.set_fields(&id, &fields);
            }
        }
        let known = self.directory.contains(&id);
        self.directory.put(&id, &member);
        self.member_event(if known { "user_change" } else { "team_join" }, &id);
        id
    }

    /// Merges `patch` into a member. `None` if the id is unknown.
    pub(in crate::sandbox) fn update_member(
        &mut self,
        id: &str,
        patch: &Value,
        now: i64,
    ) -> Option<()> {
        let mut member = self.directory.get(id)?;
        let before = member["updated"].as_i64().unwrap_or(0);
        directory::merge(&mut member, patch);
        if patch.get("updated").is_none() {
            member["updated"] = json!((now / 1_000_000).max(before + 1));
        }
        self.directory.put(id, &member);
        self.member_event("user_change", id);
        // For profile changes Slack sends the same content a second time.
        if patch.get("profile").is_some() {
            self.member_event("user_profile_changed", id);
        }
        Some(())
    }

    fn member_event(&mut self, kind: &str, id: &str) {
        if !self.events_wanted || self.apps.values().all(|app| app.events_url.is_none()) {
            return;
        }
        let Some(member) = self.directory.get(id) else { return };
        // The workspaces share the list of members.
        self.for_installations(|state| {
            let user = shown(member.clone(), &state.team, View { email: true, locale: true });
            let cache = user["updated"].clone();
            state.event(json!({ "type": kind, "user": user, "cache_ts": cache }));
        });
    }

    /// The name of this member in conversations: display name, or real name, or the id.
    pub(in crate::sandbox) fn member_name(&self, id: &str) -> String {
        let member = self.directory.get(id).unwrap_or_default();
        let profile = &member["profile"];
        let names = [&profile["display_name"], &profile["real_name"], &member["real_name"]];
        let name = names.into_iter().filter_map(Value::as_str).find(|name| !name.is_empty());
        name.unwrap_or(id).to_owned()
    }
}

fn view(call: &Call<'_>) -> View {
    let email = call.scopes.contains("users:read.email");
    View { email, locale: call.args.flag("include_locale") }
}

pub(super) fn list(call: &mut Call<'_>) -> Result<Value, Error> {
    let limit = call.args.number("limit").unwrap_or(0);
    let directory = &call.state.directory;
    if limit == 0 && directory.len() > WITHOUT_LIMIT {
        return Err("limit_required".into());
    }
    let limit = if limit == 0 { PAGE } else { limit.min(PAGE) };
    let limit = limit.min(call.state.options.max_page.max(1));
    let start = call.args.text("cursor").map(|text| cursor::decode("user", text)).transpose()?;
    let page = directory.page(start.as_deref(), limit);
    let (members, more) = page.ok_or("invalid_cursor")?;
    let from = start.as_deref().and_then(|id| directory.position(id)).unwrap_or(0);
    let next = if more { directory.id_at(from + members.len()) } else { None };
    let next = next.map(|id| cursor::encode("user", id)).unwrap_or_default();
    let view = view(call);
    let team = &call.state.team;
    // People of other companies are never listed.
    let here = members.into_iter().filter(|member| !directory::is_external(member, team));
    let members: Vec<_> = here.map(|member| shown(member, team, view)).collect();
    Ok(json!({
        "members": members, "cache_ts": call.now / 1_000_000,
        "response_metadata": { "next_cursor": next },
    }))
}

pub(super) fn info(call: &mut Call<'_>) -> Result<Value, Error> {
    let user = call.args.required("user")?;
    let member = call.state.directory.get(user).ok_or("user_not_found")?;
    Ok(json!({ "user": shown(member, &call.state.team, view(call)) }))
}

pub(super) fn lookup_by_email(call: &mut Call<'_>) -> Result<Value, Error> {
    let email = call.args.required("email")?;
    let member = call.state.directory.by_email(email).ok_or("users_not_found")?;
    if member["deleted"] == Value::Bool(true) {
        return Err("users_not_found".into());
    }
    Ok(json!({ "user": shown(member, &call.state.team, view(call)) }))
}

pub(super) fn profile_get(call: &mut Call<'_>) -> Result<Value, Error> {
    let bot = call.state.app.bot_user_id.clone();
    let user = call.args.text("user").unwrap_or(&bot);
    let member = call.state.directory.get(user).ok_or("user_not_found")?;
    let mut profile = shown(member, &call.state.team, view(call))["profile"].take();
    let labels = call.args.flag("include_labels");
    profile["fields"] = Value::Object(call.state.directory.fields(user, labels));
    Ok(json!({ "profile": profile }))
}

/// One app's bot; by default the caller's own.
pub(super) fn bots_info(call: &mut Call<'_>) -> Result<Value, Error> {
    let state = &*call.state;
    let app = &state.app;
    let wanted = call.args.text("bot").unwrap_or(&app.bot_id);
    let icon = |size: u32| format!("https://a.slack-edge.com/80588/img/plugins/app/bot_{size}.png");
    let shown = |name: &Value, app_id: &Value, user: &Value| {
        let icons = json!({ "image_36": icon(36), "image_48": icon(48), "image_72": icon(72) });
        json!({ "bot": { "id": wanted, "deleted": false, "name": name, "updated": 1_700_000_000,
            "app_id": app_id, "user_id": user, "icons": icons } })
    };
    if wanted == app.bot_id {
        return Ok(shown(&json!(app.name), &json!(app.id), &json!(app.bot_user_id)));
    }
    let (members, _) = state.directory.page(None, usize::MAX).unwrap_or_default();
    let found = members.into_iter().find(|member| member["profile"]["bot_id"] == *wanted);
    let found = found.ok_or("bot_not_found")?;
    Ok(shown(&found["real_name"], &found["profile"]["api_app_id"], &found["id"]))
}

pub(super) fn team_profile_get(call: &mut Call<'_>) -> Result<Value, Error> {
    let sections = json!([{ "id": "123ABC", "team_id": call.state.team.id,
        "section_type": "additional_fields", "label": "About me", "order": 1,
        "is_hidden": false }]);
    let fields = &call.state.directory.definitions;
    Ok(json!({ "profile": { "fields": fields, "sections": sections } }))
}

pub(super) fn team_info(call: &mut Call<'_>) -> Result<Value, Error> {
    let team = &call.state.team;
    let domain = team.domain();
    let mut info = json!({
        "id": team.id, "name": team.name, "domain": domain, "email_domain": "",
        "url": format!("https://{domain}.slack.com/"),
        "icon": { "image_default": true },
    });
    for size in Team::PICTURES {
        info["icon"][format!("image_{size}")] = json!(Team::picture(size));
    }
    if let Some(enterprise) = call.state.enterprise() {
        info["enterprise_id"] = enterprise["id"].clone();
        info["enterprise_name"] = enterprise["name"].clone();
    }
    Ok(json!({ "team": info }))
}
