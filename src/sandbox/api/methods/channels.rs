//! `conversations.*`: creating and changing channels.

use serde_json::{Value, json};

use super::conversations::{describe, joined, visible};
use crate::sandbox::api::call::Call;
use crate::sandbox::world::change::Happening;
use crate::sandbox::world::conversation::{Conversation, Kind, Note};
use crate::sandbox::world::error::Error;
use crate::sandbox::world::faults::FaultKind;
use crate::sandbox::world::log::ChannelAct;
use crate::sandbox::world::names;
use crate::sandbox::world::scopes;

/// Longest topic or purpose, in characters.
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
fn push_event(call: &mut Call<'_>, id: &str, what: Happening) {
    let bot = call.state.app.bot_user_id.clone();
    call.state.channel_event(id, what, &bot, call.now);
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
pub(super) fn shown(call: &Call<'_>, id: &str) -> Result<Value, Error> {
    let found = call.state.conversations.get(id).ok_or("channel_not_found")?;
    let mut channel = describe(call, found);
    channel["last_read"] = json!("0000000000.000000");
    Ok(json!({ "channel": channel }))
}

/// The name, or Slack's error code for it. A name is taken by every channel that has it: archived
/// ones and private ones that the bot cannot see count too.
fn check_name(call: &Call<'_>) -> Result<String, Error> {
    let name = match call.args.0.get("name") {
        None => "",
        Some(Value::String(name)) => name.as_str(),
        Some(_) => return Err("invalid_name".into()),
    };
    names::check(name)?;
    let race = matches!(call.altered, Some(FaultKind::NameRace));
    let state = &*call.state;
    if !race && state.conversations.by_name(&state.team.id, name).is_some() {
        return Err("name_taken".into());
    }
    Ok(name.to_owned())
}

pub(super) fn create(call: &mut Call<'_>) -> Result<Value, Error> {
    let kind = if call.args.flag("is_private") { Kind::Private } else { Kind::Public };
    scopes::check(&call.scopes, managing(kind))?;
    let name = check_name(call)?;
    let bot = call.state.app.bot_user_id.clone();
    let id = call.state.create_channel(&name, kind, &[&bot], call.now);
    push_event(call, &id, Happening::Created);
    let mut answer = shown(call, &id)?;
    answer["channel"]["priority"] = json!(0);
    call.act = Some(ChannelAct { value: Some(name), ..ChannelAct::new("create", &id) });
    Ok(answer)
}

pub(super) fn rename(call: &mut Call<'_>) -> Result<Value, Error> {
    let id = managed(call)?;
    let bot = call.state.app.bot_user_id.clone();
    let found = change(call, &id)?;
    if found.archived {
        return Err("is_archived".into());
    }
    // Only its creator and administrators may rename a channel.
    if found.creator != bot {
        return Err("not_authorized".into());
    }
    let name = check_name(call)?;
    change(call, &id)?.rename(name.clone());
    push_event(call, &id, Happening::Renamed);
    call.act = Some(ChannelAct { value: Some(name), ..ChannelAct::new("rename", &id) });
    shown(call, &id)
}

pub(super) fn kick(call: &mut Call<'_>) -> Result<Value, Error> {
    let id = managed(call)?;
    let user = call.args.required("user")?.to_owned();
    let bot = call.state.app.bot_user_id.clone();
    if user == bot {
        return Err("cant_kick_self".into());
    }
    if !call.state.directory.contains(&user) {
        return Err("user_not_found".into());
    }
    if change(call, &id)?.general {
        return Err("cant_kick_from_general".into());
    }
    if !call.state.leave(&id, &user, &bot) {
        return Err("not_in_channel".into());
    }
    call.act = Some(ChannelAct { left: vec![user], ..ChannelAct::new("kick", &id) });
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
    if call.state.enter(&id, &bot, None) {
        call.act = Some(ChannelAct { joined: vec![bot], ..ChannelAct::new("join", &id) });
    } else {
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
    if found.general {
        return Err("cant_leave_general".into());
    }
    let bot = call.state.app.bot_user_id.clone();
    if !found.members.contains(&bot) {
        return Ok(json!({ "not_in_channel": true }));
    }
    if found.archived {
        return Err("is_archived".into());
    }
    if found.members.len() == 1 {
        return Err("last_member".into());
    }
    let id = found.id.clone();
    call.state.leave(&id, &bot, &bot);
    call.act = Some(ChannelAct { left: vec![bot], ..ChannelAct::new("leave", &id) });
    Ok(json!({}))
}

pub(super) fn archive(call: &mut Call<'_>) -> Result<Value, Error> {
    let id = managed(call)?;
    let found = change(call, &id)?;
    if found.general {
        return Err("cant_archive_general".into());
    }
    if std::mem::replace(&mut found.archived, true) {
        return Err("already_archived".into());
    }
    push_event(call, &id, Happening::Archived);
    call.act = Some(ChannelAct::new("archive", &id));
    Ok(json!({}))
}

/// Unarchives a channel and adds the caller to it. Slack's page says that bot tokens cannot do this
/// at present; `Options::bot_unarchive` allows it.
pub(super) fn unarchive(call: &mut Call<'_>) -> Result<Value, Error> {
    let found = visible(call)?;
    if matches!(found.kind, Kind::Im | Kind::Mpim) {
        return Err("method_not_supported_for_channel_type".into());
    }
    scopes::check(&call.scopes, managing(found.kind))?;
    if !found.archived {
        return Err("not_archived".into());
    }
    if !call.state.options.bot_unarchive {
        return Err("not_in_channel".into());
    }
    let id = found.id.clone();
    change(call, &id)?.archived = false;
    push_event(call, &id, Happening::Unarchived);
    let bot = call.state.app.bot_user_id.clone();
    let entered = call.state.enter(&id, &bot, None);
    let joined = if entered { vec![bot] } else { Vec::new() };
    call.act = Some(ChannelAct { joined, ..ChannelAct::new("unarchive", &id) });
    Ok(json!({}))
}

pub(super) fn set_topic(call: &mut Call<'_>) -> Result<Value, Error> {
    let (id, note) = sentence(call, "topic")?;
    let value = Some(note.value.clone());
    let text = format!("<@{}> set the channel topic: {}", note.creator, note.value);
    call.state.line(&id, &note.creator, "channel_topic", text);
    change(call, &id)?.topic = note;
    call.state.channel_changed(&id);
    call.act = Some(ChannelAct { value, ..ChannelAct::new("set_topic", &id) });
    shown(call, &id)
}

pub(super) fn set_purpose(call: &mut Call<'_>) -> Result<Value, Error> {
    let (id, note) = sentence(call, "purpose")?;
    let value = Some(note.value.clone());
    let text = format!("<@{}> set the channel description: {}", note.creator, note.value);
    call.state.line(&id, &note.creator, "channel_purpose", text);
    change(call, &id)?.purpose = note;
    call.state.channel_changed(&id);
    call.act = Some(ChannelAct { value, ..ChannelAct::new("set_purpose", &id) });
    shown(call, &id)
}

fn sentence(call: &Call<'_>, key: &str) -> Result<(String, Note), Error> {
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
    let text = call.args.text(key).unwrap_or_default();
    if text.chars().count() > TOPIC {
        return Err("too_long".into());
    }
    Ok((found.id.clone(), Note::set(text, &call.state.app.bot_user_id, call.now)))
}
