//! `conversations.invite`.
//!
//! If one person cannot be added, no one is, unless `force` is set. Deactivated people are the
//! exception: the answer is an error, and the others are added all the same.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::channels::shown;
use super::conversations::joined;
use crate::sandbox::api::call::Call;
use crate::sandbox::world::conversation::{Conversation, Kind};
use crate::sandbox::world::directory;
use crate::sandbox::world::error::Error;
use crate::sandbox::world::faults::FaultKind;
use crate::sandbox::world::log::ChannelAct;
use crate::sandbox::world::scopes;

/// Most people in one call. Slack's page says 100 about the argument, and 1,000 in its text; the
/// code for more is not documented.
const PEOPLE: usize = 100;
/// The code for a deactivated person; Slack documents the behaviour, not the code.
const REMOVED: &str = "user_disabled";

/// A person who cannot be added.
struct Uninvited {
    user: String,
    code: String,
}

pub(super) fn invite(call: &mut Call<'_>) -> Result<Value, Error> {
    let found = joined(call)?;
    let needed: &[&str] = match found.kind {
        Kind::Public => &["channels:manage", "channels:write.invites"],
        Kind::Private => &["groups:write", "groups:write.invites"],
        Kind::Im | Kind::Mpim => return Err("method_not_supported_for_channel_type".into()),
    };
    scopes::check(&call.scopes, needed)?;
    if found.archived {
        return Err("is_archived".into());
    }
    let id = found.id.clone();
    let mut users = call.args.list("users");
    if users.is_empty() {
        return Err("no_user".into());
    }
    if users.len() > PEOPLE {
        return Err("too_many_users".into());
    }
    let mut seen = HashSet::new();
    users.retain(|user| seen.insert(user.clone()));
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for user in users {
        match refusal(call, found, &user) {
            Some(code) => bad.push(Uninvited { user, code }),
            None => good.push(user),
        }
    }
    if let Some(FaultKind::InvitePart { joined }) = call.altered {
        good.truncate(joined);
        add(call, &id, good, &[]);
        return Err("internal_error".into());
    }
    let force = call.args.flag("force");
    if !force && bad.iter().any(|one| one.code != REMOVED) {
        good.clear();
    }
    let added = !good.is_empty();
    add(call, &id, good, &bad);
    let errors: Vec<_> = (bad.iter())
        .map(|one| json!({ "user": one.user, "ok": false, "error": one.code }))
        .collect();
    match bad.into_iter().next() {
        Some(first) if !force || !added => {
            Err(Error::Code { code: first.code.into(), extra: json!({ "errors": errors }) })
        }
        Some(_) => {
            let mut answer = shown(call, &id)?;
            answer["errors"] = json!(errors);
            Ok(answer)
        }
        None => shown(call, &id),
    }
}

/// Adds these people, and notes them for the log.
fn add(call: &mut Call<'_>, id: &str, people: Vec<String>, refused: &[Uninvited]) {
    let bot = call.state.app.bot_user_id.clone();
    for person in &people {
        call.state.enter(id, person, Some(&bot));
    }
    let refused = refused.iter().map(|one| (one.user.clone(), one.code.clone())).collect();
    call.act = Some(ChannelAct { joined: people, refused, ..ChannelAct::new("invite", id) });
}

/// Slack's error code for a person who cannot be added to this channel.
fn refusal(call: &Call<'_>, found: &Conversation, user: &str) -> Option<String> {
    if let Some(FaultKind::InviteErrors { errors }) = &call.altered
        && let Some(code) = errors.get(user)
    {
        return Some(code.clone());
    }
    ordinary_refusal(call, found, user).map(str::to_owned)
}

fn ordinary_refusal(call: &Call<'_>, found: &Conversation, user: &str) -> Option<&'static str> {
    if user == call.state.app.bot_user_id {
        return Some("cant_invite_self");
    }
    let Some(member) = call.state.directory.get(user) else { return Some("user_not_found") };
    let team = &call.state.team;
    let is = |key: &str| member[key] == Value::Bool(true);
    if directory::kind(&member) == "deactivated" {
        Some(REMOVED)
    } else if user == "USLACKBOT" || is("is_stranger") {
        Some("cant_invite")
    } else if found.members.contains(user) {
        Some("already_in_channel")
    } else if directory::is_elsewhere_in_org(&member, team) {
        Some("org_user_not_in_team")
    } else if directory::is_external(&member, team) {
        Some("no_external_invite_permission")
    } else if is("is_ultra_restricted") && is_in_another(call, found, user) {
        Some("ura_max_channels")
    } else {
        None
    }
}

/// Whether the person is in another channel that is in use: single-channel guests have only one.
fn is_in_another(call: &Call<'_>, found: &Conversation, user: &str) -> bool {
    call.state.conversations.of(&found.team).any(|channel| {
        let counts = matches!(channel.kind, Kind::Public | Kind::Private) && !channel.archived;
        counts && channel.id != found.id && channel.members.contains(user)
    })
}
