//! The members of the workspace, kept as the JSON that was given, so that a million fit.
//!
//! Missing keys are filled in when a member is shown ([`shown`]); a member with `"_raw": true` is
//! shown exactly as given, for tests of missing and odd keys.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::team::Team;

/// The sizes in which every member's picture is offered.
pub(in crate::sandbox) const PICTURES: [u32; 6] = [24, 32, 48, 72, 192, 512];

struct Entry {
    id: Box<str>,
    raw: Box<str>,
}

#[derive(Default)]
pub(in crate::sandbox) struct Directory {
    members: Vec<Entry>,
    by_id: HashMap<Box<str>, u32>,
    by_email: HashMap<Box<str>, u32>,
    /// The id that a person has now, by the one before the workspaces moved into an organization.
    renamed: HashMap<String, String>,
    /// Custom profile fields by member: `Xf… -> {value, alt}`.
    fields: HashMap<String, Map<String, Value>>,
    /// The workspace's field definitions, in order.
    pub(in crate::sandbox) definitions: Vec<Value>,
}

impl Directory {
    pub(in crate::sandbox) fn len(&self) -> usize {
        self.members.len()
    }

    pub(in crate::sandbox) fn contains(&self, id: &str) -> bool {
        self.by_id.contains_key(id)
    }

    /// The member as given.
    pub(in crate::sandbox) fn get(&self, id: &str) -> Option<Value> {
        let entry = &self.members[*self.by_id.get(id)? as usize];
        serde_json::from_str(&entry.raw).ok()
    }

    /// Members from the one after `cursor` on (from the first if there is none), and whether
    /// `cursor` is known.
    pub(in crate::sandbox) fn page(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Option<(Vec<Value>, bool)> {
        let start = match after {
            None => 0,
            Some(id) => *self.by_id.get(id)? as usize,
        };
        let end = (start.saturating_add(limit)).min(self.members.len());
        let page = self.members[start..end].iter();
        let values = page.filter_map(|entry| serde_json::from_str(&entry.raw).ok()).collect();
        Some((values, end < self.members.len()))
    }

    /// The id at this position in the list.
    pub(in crate::sandbox) fn id_at(&self, position: usize) -> Option<&str> {
        self.members.get(position).map(|entry| &*entry.id)
    }

    pub(in crate::sandbox) fn position(&self, id: &str) -> Option<usize> {
        self.by_id.get(id).map(|position| *position as usize)
    }

    pub(in crate::sandbox) fn by_email(&self, email: &str) -> Option<Value> {
        let position = *self.by_email.get(email.trim().to_lowercase().as_str())?;
        serde_json::from_str(&self.members[position as usize].raw).ok()
    }

    /// Adds a member, or replaces the one with the same id.
    pub(in crate::sandbox) fn put(&mut self, id: &str, member: &Value) {
        let raw: Box<str> = member.to_string().into();
        let position = if let Some(&position) = self.by_id.get(id) {
            let old = std::mem::replace(&mut self.members[position as usize].raw, raw);
            let old_email = serde_json::from_str::<Value>(&old).ok().and_then(|old| email(&old));
            if let Some(old_email) = old_email
                && self.by_email.get(old_email.as_str()) == Some(&position)
            {
                self.by_email.remove(old_email.as_str());
            }
            position
        } else {
            let position = u32::try_from(self.members.len()).unwrap_or(u32::MAX);
            self.members.push(Entry { id: id.into(), raw });
            self.by_id.insert(id.into(), position);
            position
        };
        if let Some(email) = email(member) {
            self.by_email.insert(email.into(), position);
        }
    }

    /// Gives a member another id; `user` is its `enterprise_user` from now on.
    pub(super) fn rename(&mut self, old: &str, new: &str, user: &Value) {
        let Some(position) = self.by_id.remove(old) else { return };
        let entry = &mut self.members[position as usize];
        let mut member: Value = serde_json::from_str(&entry.raw).unwrap_or_default();
        member["id"] = json!(new);
        member["enterprise_user"] = user.clone();
        *entry = Entry { id: new.into(), raw: member.to_string().into() };
        self.by_id.insert(new.into(), position);
        if let Some(fields) = self.fields.remove(old) {
            self.fields.insert(new.to_owned(), fields);
        }
        self.renamed.insert(old.to_owned(), new.to_owned());
    }

    /// The id that a person has now, by an id from before a move into an organization.
    pub(in crate::sandbox) fn new_id_of(&self, old: &str) -> Option<&String> {
        self.renamed.get(old)
    }

    /// The reverse.
    pub(in crate::sandbox) fn old_id_of(&self, new: &str) -> Option<&String> {
        self.renamed.iter().find(|(_, id)| *id == new).map(|(old, _)| old)
    }

    /// Sets custom fields: `Xf… -> "value"` or `{value, alt}`; null removes one.
    pub(in crate::sandbox) fn set_fields(&mut self, user: &str, fields: &Value) {
        for (id, value) in fields.as_object().into_iter().flatten() {
            let defined = self.definitions.iter().any(|d| d["id"] == id.as_str());
            if !defined {
                let ordering = self.definitions.len();
                self.definitions.push(definition(id, id, ordering));
            }
            let held = self.fields.entry(user.to_owned()).or_default();
            match value {
                Value::Null => {
                    held.remove(id);
                }
                Value::Object(_) => {
                    held.insert(id.clone(), value.clone());
                }
                other => {
                    held.insert(id.clone(), json!({ "value": other, "alt": "" }));
                }
            }
        }
    }

    /// The custom fields of one member, with their labels if `labels` is set.
    pub(in crate::sandbox) fn fields(&self, user: &str, labels: bool) -> Map<String, Value> {
        let mut fields = self.fields.get(user).cloned().unwrap_or_default();
        if labels {
            for (id, field) in &mut fields {
                let definition = self.definitions.iter().find(|d| d["id"] == id.as_str());
                field["label"] = definition.map_or(Value::Null, |d| d["label"].clone());
            }
        }
        fields
    }
}

fn email(member: &Value) -> Option<String> {
    member["profile"]["email"].as_str().map(str::to_lowercase)
}

/// A definition of a custom profile field, as `team.profile.get` lists it.
pub(in crate::sandbox) fn definition(id: &str, label: &str, ordering: usize) -> Value {
    json!({
        "id": id, "ordering": ordering, "label": label, "hint": "", "type": "text",
        "possible_values": null, "options": { "is_scim": false, "is_protected": false },
        "is_hidden": false, "section_id": "123ABC",
    })
}

/// Keys that a deactivated member lacks.
const GONE: [&str; 11] = [
    "real_name",
    "color",
    "tz",
    "tz_label",
    "tz_offset",
    "is_admin",
    "is_owner",
    "is_restricted",
    "is_ultra_restricted",
    "has_2fa",
    "is_email_confirmed",
];

/// The parts of a member that the caller may see.
#[derive(Debug, Clone, Copy)]
pub(in crate::sandbox) struct View {
    pub(in crate::sandbox) email: bool,
    pub(in crate::sandbox) locale: bool,
}

/// The member object as `users.list` and `users.info` show it: custom fields are null.
pub(in crate::sandbox) fn shown(mut member: Value, team: &Team, view: View) -> Value {
    let Some(object) = member.as_object_mut() else { return member };
    if object.remove("_raw").is_none() {
        fill(object, team);
    }
    if !view.locale {
        object.remove("locale");
    }
    if object.get("deleted") == Some(&Value::Bool(true)) {
        for key in GONE {
            object.remove(key);
        }
    }
    if let Some(profile) = object.get_mut("profile").and_then(Value::as_object_mut)
        && !view.email
    {
        profile.remove("email");
    }
    member
}

fn fill(member: &mut Map<String, Value>, team: &Team) {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or("").to_owned();
    let id = text(member.get("id"));
    let profile = member.get("profile").and_then(Value::as_object).cloned().unwrap_or_default();
    let mut name = text(member.get("real_name"));
    if name.is_empty() {
        name = text(profile.get("real_name"));
    }
    let display = text(profile.get("display_name"));
    let handle = if display.is_empty() { &name } else { &display };
    let handle = handle.to_lowercase().replace(' ', ".");
    let bot = member.get("is_bot") == Some(&Value::Bool(true));
    let (first, last) = name.split_once(' ').unwrap_or((&name, ""));
    let hash = format!("g{:0>11}", id.to_lowercase());
    let mut full = json!({
        "title": "", "phone": "", "skype": "", "real_name": name, "real_name_normalized": name,
        "display_name": display, "display_name_normalized": display, "fields": null,
        "status_text": "", "status_emoji": "", "status_emoji_display_info": [],
        "status_expiration": 0, "status_text_canonical": "", "avatar_hash": hash,
        "first_name": first, "last_name": last, "team": team.id,
    });
    for size in PICTURES {
        let url = format!("https://a.slack-edge.com/80588/img/avatars/ava_0000-{size}.png");
        full[format!("image_{size}")] = json!(url);
    }
    overlay(&mut full, profile);
    let defaults = json!({
        "team_id": team.id, "name": handle, "deleted": false, "color": "9f69e7",
        "real_name": name, "tz": "America/Los_Angeles", "tz_label": "Pacific Standard Time",
        "tz_offset": -28800, "is_admin": false, "is_owner": false, "is_primary_owner": false,
        "is_restricted": false, "is_ultra_restricted": false, "is_bot": bot,
        "is_app_user": false, "updated": 1_700_000_000, "is_email_confirmed": !bot,
        "who_can_share_contact_card": "EVERYONE", "locale": "en-US",
    });
    if let Value::Object(defaults) = defaults {
        for (key, value) in defaults {
            member.entry(key).or_insert(value);
        }
    }
    member.insert("profile".into(), full);
}

fn overlay(base: &mut Value, over: Map<String, Value>) {
    if let Some(base) = base.as_object_mut() {
        base.extend(over);
    }
}

/// A JSON merge patch (RFC 7396).
pub(in crate::sandbox) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Some(target) = target.as_object_mut() else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Whether this is a person of another company, who can be in shared channels only.
pub(in crate::sandbox) fn is_external(member: &Value, team: &Team) -> bool {
    let elsewhere = member["team_id"].as_str().is_some_and(|id| id != team.id);
    let stranger = member["is_stranger"] == Value::Bool(true);
    stranger || (elsewhere && member["enterprise_user"].is_null())
}

/// Whether this person is in the Enterprise organization, but not in this workspace.
pub(in crate::sandbox) fn is_elsewhere_in_org(member: &Value, team: &Team) -> bool {
    let teams = member["enterprise_user"]["teams"].as_array();
    teams.is_some_and(|teams| !teams.iter().any(|id| *id == team.id))
}

/// The label of a member of a channel, if there is something to know.
pub(in crate::sandbox) fn label(member: &Value, team: &Team) -> Option<&'static str> {
    let is = |key: &str| member[key] == Value::Bool(true);
    match kind(member) {
        "deactivated" => Some("deactivated"),
        "bot" => Some("app"),
        "guest" if is("is_ultra_restricted") => Some("single-channel guest"),
        "guest" => Some("guest"),
        _ if is_external(member, team) => Some("external"),
        _ if is("is_invited_user") => Some("invited"),
        _ => None,
    }
}

/// The control endpoints' word for a member's kind.
pub(in crate::sandbox) fn kind(member: &Value) -> &'static str {
    let is = |key: &str| member[key] == Value::Bool(true);
    if is("deleted") {
        "deactivated"
    } else if is("is_bot") || member["id"] == "USLACKBOT" {
        "bot"
    } else if is("is_restricted") || is("is_ultra_restricted") {
        "guest"
    } else {
        "member"
    }
}
