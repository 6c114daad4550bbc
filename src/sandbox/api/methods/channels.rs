//! `conversations.*`: creating and changing channels.

use serde_json::{Value, json};

use super::conversations::{describe, joined, visible};
use crate::sandbox::api::call::Call;
use crate::sandbox::world::change::Happening;
use crate::sandbox::world::conversation::{Conversation, Kind};
use crate::sandbox::world::directory;
use crate::sandbox::world::error::Error;
use crate::sandbox::world::scopes;

const TOPIC: usize = 250;

/// The scopes of which any one allows managing this kind of conversation.
fn managing(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Public => &["channels:manage"],
        Kind::Private => &["groups:write"],
        Kind::Mpim => &["mpim:write"],
        Kind::Im => &["im:write"],
    }
}

/// Pushes the event for a change that the bot made to a channel.
fn tell(call: &mut Call<'_>, id: &str, what: Happening) {
    let bot = call.state.app.bot_user_id.clone();
    call.state.channel_event(id, what, &bot);
}

/// The named channel, which the bot is in and may manage.
fn managed(call: &Call<'_>) -> Result<String, Error> {
    let found = joined(call)?;
    if matches!(found.kind, Kind::Im | Kind::Mpim) {
        return Err("method_not_supported_for_channel_type".into());
    }
    scopes::check(&call.scopes, managing(found.kind))?;
    Ok(found.id.clone())
}

fn change<'a>(call: &'a mut Call<'_>, id: &str) -> Result<&'a mut Conversation, Error> {
    call.state.conversations.get_mut(id).ok_or_else(|| "channel_not_found".into())
}

/// The channel as Slack shows it to the bot that changed it, which is in it and has read nothing.
fn shown(call: &Call<'_>, id: &str) -> Result<Value, Error> {
    let found = call.state.conversations.get(id).ok_or("channel_not_found")?;
    let mut channel = describe(call, found);
    channel["last_read"] = json!("0000000000.000000");
    Ok(json!({ "channel": channel }))
}

/// The name, or Slack's error code for it.
fn check_name(call: &Call<'_>) -> Result<String, Error> {
    let name = call.args.text("name").unwrap_or_default().to_owned();
    if name.is_empty() {
        return Err("invalid_name_required".into());
    }
    if name.chars().count() > 80 {
        return Err("invalid_name_maxlength".into());
    }
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if !name.chars().all(plain) {
        return Err("invalid_name_specials".into());
    }
    if name.chars().all(|c| c == '-' || c == '_') {
        return Err("invalid_name_punctuation".into());
    }
    if call.state.conversations.by_name(&name).is_some() {
        return Err("name_taken".into());
    }
    Ok(name)
}

pub(super) fn create(call: &mut Call<'_>) -> Result<Value, Error> {
    let kind = if call.args.flag("is_private") { Kind::Private } else { Kind::Public };
    scopes::check(&call.scopes, managing(kind))?;
    let name = check_name(call)?;
    let bot = call.state.app.bot_user_id.clone();
    let id = call.state.create_channel(&name, kind, &[&bot], call.now);
    tell(call, &id, Happening::Created);
    let mut answer = shown(call, &id)?;
    answer["channel"]["priority"] = json!(0);
    Ok(answer)
}

pub(super) fn rename(call: &mut Call<'_>) -> Result<Value, Error> {
    let id = managed(call)?;
    let name = check_name(call)?;
    change(call, &id)?.name = name;
    tell(call, &id, Happening::Renamed);
    shown(call, &id)
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
    let users = call.args.list("users");
    if users.is_empty() {
        return Err("no_user".into());
    }
    if users.len() > 100 {
        return Err("too_many_users".into());
    }
    let mut good = Vec::new();
    let mut bad: Vec<(&str, &str)> = Vec::new();
    for user in &users {
        match refusal(call, found, user) {
            Some(code) => bad.push((user, code)),
            None => good.push(user.clone()),
        }
    }
    // Deactivated people do not prevent the others from being added; every other error does.
    let only_removed = bad.iter().all(|(_, code)| *code == "user_disabled");
    let enter = bad.is_empty() || call.args.flag("force") || (only_removed && !good.is_empty());
    let errors: Vec<_> = bad
        .iter()
        .map(|(user, code)| json!({ "user": user, "ok": false, "error": code }))
        .collect();
    let first = bad.first().map(|(_, code)| (*code).to_owned());
    if enter {
        let bot = call.state.app.bot_user_id.clone();
        for user in &good {
            call.state.enter(&id, user, Some(&bot));
        }
    }
    match first {
        None => shown(call, &id),
        Some(_) if enter && !good.is_empty() => {
            let mut answer = shown(call, &id)?;
            answer["errors"] = json!(errors);
            Ok(answer)
        }
        Some(code) => {
            let extra = json!({ "errors": errors });
            Err(Error::Code { code: code.into(), extra })
        }
    }
}

fn refusal(call: &Call<'_>, found: &Conversation, user: &str) -> Option<&'static str> {
    if user == call.state.app.bot_user_id {
        return Some("cant_invite_self");
    }
    let Some(member) = call.state.directory.get(user) else { return Some("user_not_found") };
    match directory::kind(&member) {
        "deactivated" => Some("user_disabled"),
        _ if user == "USLACKBOT" => Some("cant_invite"),
        _ if member["is_ultra_restricted"] == Value::Bool(true) => Some("ura_max_channels"),
        _ if found.members.contains(user) => Some("already_in_channel"),
        _ => None,
    }
}

pub(super) fn kick(call: &mut Call<'_>) -> Result<Value, Error> {
    let id = managed(call)?;
    let user = call.args.required("user")?.to_owned();
    if user == call.state.app.bot_user_id {
        return Err("cant_kick_self".into());
    }
    if !call.state.leave(&id, &user) {
        return Err("not_in_channel".into());
    }
    Ok(json!({ "errors": {} }))
}

pub(super) fn join(call: &mut Call<'_>) -> Result<Value, Error> {
    let found = visible(call)?;
    if found.kind != Kind::Public {
        return Err("method_not_supported_for_channel_type".into());
    }
    if found.archived {
        return Err("is_archived".into());
    }
    let id = found.id.clone();
    let bot = call.state.app.bot_user_id.clone();
    if !call.state.enter(&id, &bot, None) {
        call.warnings.push("already_in_channel");
    }
    shown(call, &id)
}

pub(super) fn leave(call: &mut Call<'_>) -> Result<Value, Error> {
    let found = visible(call)?;
    if found.kind == Kind::Im {
        return Err("method_not_supported_for_channel_type".into());
    }
    scopes::check(&call.scopes, managing(found.kind))?;
    if found.name == "general" {
        return Err("cant_leave_general".into());
    }
    let id = found.id.clone();
    let bot = call.state.app.bot_user_id.clone();
    let left = call.state.leave(&id, &bot);
    Ok(if left { json!({}) } else { json!({ "not_in_channel": true }) })
}

pub(super) fn archive(call: &mut Call<'_>) -> Result<Value, Error> {
    let id = managed(call)?;
    let found = change(call, &id)?;
    if found.name == "general" {
        return Err("cant_archive_general".into());
    }
    if std::mem::replace(&mut found.archived, true) {
        return Err("already_archived".into());
    }
    tell(call, &id, Happening::Archived);
    Ok(json!({}))
}

pub(super) fn unarchive(call: &mut Call<'_>) -> Result<Value, Error> {
    let id = managed(call)?;
    if !std::mem::replace(&mut change(call, &id)?.archived, false) {
        return Err("not_archived".into());
    }
    tell(call, &id, Happening::Unarchived);
    Ok(json!({}))
}

pub(super) fn set_topic(call: &mut Call<'_>) -> Result<Value, Error> {
    let (id, text) = sentence(call, "topic")?;
    change(call, &id)?.topic = text;
    shown(call, &id)
}

pub(super) fn set_purpose(call: &mut Call<'_>) -> Result<Value, Error> {
    let (id, text) = sentence(call, "purpose")?;
    change(call, &id)?.purpose = text;
    shown(call, &id)
}

fn sentence(call: &Call<'_>, key: &str) -> Result<(String, String), Error> {
    let found = joined(call)?;
    let needed: &[&str] = match found.kind {
        Kind::Public => &["channels:manage", "channels:write.topic"],
        Kind::Private => &["groups:write", "groups:write.topic"],
        Kind::Mpim => &["mpim:write", "mpim:write.topic"],
        Kind::Im => &["im:write", "im:write.topic"],
    };
    scopes::check(&call.scopes, needed)?;
    if found.archived {
        return Err("is_archived".into());
    }
    let text = call.args.text(key).unwrap_or_default().to_owned();
    if text.chars().count() > TOPIC {
        return Err("too_long".into());
    }
    Ok((found.id.clone(), text))
}
