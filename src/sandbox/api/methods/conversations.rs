//! `conversations.*`: opening and reading.

use serde_json::{Value, json};

use crate::sandbox::api::call::Call;
use crate::sandbox::api::cursor;
use crate::sandbox::world::conversation::{Conversation, Kind, Message, Note, ts_arg, ts_text};
use crate::sandbox::world::directory;
use crate::sandbox::world::error::Error;
use crate::sandbox::world::scopes;

/// The conversation with this id, if it is in the workspace of the call.
pub(super) fn here<'a>(call: &'a Call<'_>, id: &str) -> Option<&'a Conversation> {
    call.state.conversations.get(id).filter(|found| found.team == call.state.team.id)
}

/// The named conversation, if the bot can see it.
pub(super) fn visible<'a>(call: &'a Call<'_>) -> Result<&'a Conversation, Error> {
    let found = here(call, call.args.required("channel")?).ok_or("channel_not_found")?;
    let member = found.members.contains(&call.state.app.bot_user_id);
    if !member && found.kind != Kind::Public {
        return Err("channel_not_found".into());
    }
    Ok(found)
}

/// The named conversation, if the bot is in it.
pub(super) fn joined<'a>(call: &'a Call<'_>) -> Result<&'a Conversation, Error> {
    let found = visible(call)?;
    if !found.members.contains(&call.state.app.bot_user_id) {
        return Err("not_in_channel".into());
    }
    Ok(found)
}

pub(super) fn open(call: &mut Call<'_>) -> Result<Value, Error> {
    let mut people = call.args.list("users");
    people.sort();
    people.dedup();
    let (id, already) = if let Some(channel) = call.args.text("channel") {
        let found = here(call, channel).ok_or("channel_not_found")?;
        if !matches!(found.kind, Kind::Im | Kind::Mpim) {
            return Err("method_not_supported_for_channel_type".into());
        }
        (channel.to_owned(), true)
    } else {
        let needed = if people.len() > 1 { "mpim:write" } else { "im:write" };
        scopes::check(&call.scopes, &[needed])?;
        check_people(call, &people)?;
        if call.args.flag("prevent_creation") && call.state.direct_with(&people).is_none() {
            return Err("channel_not_found".into());
        }
        call.state.open_with(&people, call.now)
    };
    let found = call.state.conversations.get(&id).ok_or("channel_not_found")?;
    let mut answer = json!({ "channel": { "id": id } });
    if call.args.flag("return_im") {
        answer["channel"] = describe(call, found);
    }
    if already {
        answer["no_op"] = json!(true);
        answer["already_open"] = json!(true);
    }
    Ok(answer)
}

fn check_people(call: &Call<'_>, people: &[String]) -> Result<(), Error> {
    if people.is_empty() {
        return Err("users_list_not_supplied".into());
    }
    if people.len() > 8 {
        return Err("too_many_users".into());
    }
    for person in people {
        let member = call.state.directory.get(person).ok_or("user_not_found")?;
        match directory::kind(&member) {
            "bot" => return Err("cannot_dm_bot".into()),
            "deactivated" => return Err("user_disabled".into()),
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn info(call: &mut Call<'_>) -> Result<Value, Error> {
    let found = visible(call)?;
    scopes::check(&call.scopes, &[&found.kind.scope("read")])?;
    let mut channel = describe(call, found);
    if call.args.flag("include_num_members") {
        channel["num_members"] = json!(found.members.len());
    }
    Ok(json!({ "channel": channel }))
}

pub(super) fn members(call: &mut Call<'_>) -> Result<Value, Error> {
    let found = visible(call)?;
    scopes::check(&call.scopes, &[&found.kind.scope("read")])?;
    let limit = match call.args.text("limit") {
        None | Some("0") => 100,
        Some(text) => text.parse::<usize>().map_err(|_| "invalid_limit")?,
    };
    let limit = limit.min(1000).min(call.state.options.max_page.max(1));
    let start = call.args.text("cursor").map(|text| cursor::decode("member", text)).transpose()?;
    let start = start.unwrap_or_default();
    let rest: Vec<_> = found.members.range(start..).take(limit + 1).collect();
    let next = rest.get(limit).map(|id| cursor::encode("member", id)).unwrap_or_default();
    let page = &rest[..rest.len().min(limit)];
    Ok(json!({ "members": page, "response_metadata": { "next_cursor": next } }))
}

pub(super) fn list(call: &mut Call<'_>) -> Result<Value, Error> {
    let bot = &call.state.app.bot_user_id;
    listed(call, |c| c.kind == Kind::Public || c.members.contains(bot))
}

/// `users.conversations`: the conversations that a person is in and that the bot may see.
pub(super) fn of_user(call: &mut Call<'_>) -> Result<Value, Error> {
    let bot = &call.state.app.bot_user_id;
    let user = call.args.text("user").unwrap_or(bot);
    let seen = |c: &Conversation| c.kind == Kind::Public || c.members.contains(bot);
    let mut answer = listed(call, |c| c.members.contains(user) && seen(c))?;
    for channel in answer["channels"].as_array_mut().into_iter().flatten() {
        if let Some(channel) = channel.as_object_mut() {
            channel.remove("is_member");
        }
    }
    Ok(answer)
}

/// One page of the conversations for which `seen` holds.
fn listed(call: &Call<'_>, seen: impl Fn(&Conversation) -> bool) -> Result<Value, Error> {
    let mut types = call.args.list("types");
    if types.is_empty() {
        types.push("public_channel".into());
    }
    let mut kinds = Vec::new();
    for name in &types {
        let kind = match name.as_str() {
            "public_channel" => Kind::Public,
            "private_channel" => Kind::Private,
            "mpim" => Kind::Mpim,
            "im" => Kind::Im,
            _ => return Err("invalid_types".into()),
        };
        scopes::check(&call.scopes, &[&kind.scope("read")])?;
        kinds.push(kind);
    }
    let limit = match call.args.text("limit") {
        None | Some("0") => 100,
        Some(text) => match text.parse() {
            Ok(limit @ 1..1000) => limit,
            _ => return Err("invalid_limit".into()),
        },
    };
    let limit = call.state.options.max_page.clamp(1, limit);
    let start = call.args.text("cursor").map(|text| cursor::decode("channel", text)).transpose()?;
    let start: usize = match start {
        Some(position) => position.parse().map_err(|_| "invalid_cursor")?,
        None => 0,
    };
    let chosen = |c: &&Conversation| kinds.contains(&c.kind) && seen(c);
    let mut all = call.state.conversations.of(&call.state.team.id).filter(chosen).skip(start);
    // Archived ones are removed after the page is cut, as Slack does: pages may be short.
    let page: Vec<_> = all.by_ref().take(limit).collect();
    let more = all.next().is_some();
    let drop_archived = call.args.flag("exclude_archived");
    let shown = page.iter().filter(|c| !(drop_archived && c.archived));
    let channels: Vec<_> = shown.map(|c| describe(call, c)).collect();
    let next =
        if more { cursor::encode("channel", &(start + limit).to_string()) } else { String::new() };
    Ok(json!({ "channels": channels, "response_metadata": { "next_cursor": next } }))
}

pub(super) fn close(call: &mut Call<'_>) -> Result<Value, Error> {
    let found = visible(call)?;
    let needed: &[&str] = match found.kind {
        Kind::Im => &["im:write"],
        Kind::Mpim => &["mpim:write"],
        Kind::Public | Kind::Private => {
            return Err("method_not_supported_for_channel_type".into());
        }
    };
    scopes::check(&call.scopes, needed)?;
    let id = found.id.clone();
    let held = call.state.conversations.get_mut(&id).ok_or("channel_not_found")?;
    if std::mem::replace(&mut held.open, false) {
        return Ok(json!({}));
    }
    Ok(json!({ "no_op": true, "already_closed": true }))
}

/// The range given by `oldest`, `latest` and `inclusive`, both ends exclusive.
fn range(call: &Call<'_>) -> Result<(i64, i64), Error> {
    let args = &call.args;
    let oldest = ts_arg(args.text("oldest"), "invalid_ts_oldest")?;
    let latest = ts_arg(args.text("latest").filter(|t| *t != "now"), "invalid_ts_latest")?;
    let wider = i64::from(args.flag("inclusive"));
    let oldest = oldest.map_or(-1, |ts| ts - wider);
    let latest = latest.map_or(i64::MAX, |ts| ts.saturating_add(wider));
    Ok((oldest, latest))
}

fn page_size(call: &Call<'_>, default: usize) -> usize {
    let most = call.state.options.history_limit.page().min(call.state.options.max_page.max(1));
    call.args.number("limit").filter(|n| *n > 0).unwrap_or(default).min(most)
}

fn read(call: &Call<'_>) -> Result<String, Error> {
    let found = visible(call)?;
    scopes::check(&call.scopes, &[&found.kind.scope("history")])?;
    Ok(joined(call)?.id.clone())
}

pub(super) fn history(call: &mut Call<'_>) -> Result<Value, Error> {
    let id = read(call)?;
    let (oldest, mut latest) = range(call)?;
    if let Some(text) = call.args.text("cursor") {
        let position = cursor::decode("next_ts", text)?;
        latest = position.parse().map_err(|_| "invalid_cursor")?;
    }
    let limit = page_size(call, 100);
    let held = call.state.conversations.get(&id).ok_or("channel_not_found")?;
    let end = held.messages.partition_point(|message| message.ts < latest);
    let in_range = held.messages[..end].iter().rev().take_while(|m| m.ts > oldest);
    let shown = |m: &Message| !m.deleted || held.is_tombstone(m);
    let top = |m: &&Message| shown(m) && (m.thread.is_none() || m.broadcast);
    let found: Vec<_> = in_range.filter(top).take(limit + 1).collect();
    let more = found.len() > limit;
    let page = &found[..found.len().min(limit)];
    let all = call.args.flag("include_all_metadata");
    let messages: Vec<_> = page.iter().map(|m| with_thread(call, held, m, all)).collect();
    let mut answer = json!({ "messages": messages, "has_more": more, "pin_count": 0,
        "channel_actions_ts": null, "channel_actions_count": 0 });
    if let (true, Some(last)) = (more, page.last()) {
        let next = cursor::encode("next_ts", &last.ts.to_string());
        answer["response_metadata"] = json!({ "next_cursor": next });
    }
    Ok(answer)
}

pub(super) fn replies(call: &mut Call<'_>) -> Result<Value, Error> {
    let id = read(call)?;
    let ts = ts_arg(Some(call.args.required("ts")?), "thread_not_found")?.unwrap_or(0);
    let (oldest, latest) = range(call)?;
    let held = call.state.conversations.get(&id).ok_or("channel_not_found")?;
    let parent = held.thread_of(ts).ok_or("thread_not_found")?;
    let root = parent.ts;
    let mut after = root;
    if let Some(text) = call.args.text("cursor") {
        let position = cursor::decode("next_ts", text)?;
        after = position.parse().map_err(|_| "invalid_cursor")?;
    }
    let limit = page_size(call, 1000);
    let reply = |m: &&Message| m.ts > after && m.ts > oldest && m.ts < latest;
    let found: Vec<_> = held.replies(root).filter(reply).take(limit + 1).collect();
    let more = found.len() > limit;
    let page = &found[..found.len().min(limit)];
    let all = call.args.flag("include_all_metadata");
    let messages = std::iter::once(parent).chain(page.iter().copied());
    let messages: Vec<_> = messages.map(|m| with_thread(call, held, m, all)).collect();
    let mut answer = json!({ "messages": messages, "has_more": more });
    if let (true, Some(last)) = (more, page.last()) {
        let next = cursor::encode("next_ts", &last.ts.to_string());
        answer["response_metadata"] = json!({ "next_cursor": next });
    }
    Ok(answer)
}

/// A message with the keys of its thread.
fn with_thread(call: &Call<'_>, held: &Conversation, message: &Message, all: bool) -> Value {
    let mut json = call.state.message_json(message, all);
    if let Some(parent) = message.thread {
        json["parent_user_id"] = match held.find(parent) {
            Some(parent) => json!(parent.author),
            None => json!("USLACKBOT"),
        };
        return json;
    }
    let Some(last) = held.replies(message.ts).next_back() else { return json };
    let mut users: Vec<&str> = held.replies(message.ts).map(|m| m.author.as_str()).collect();
    let count = users.len();
    users.sort_unstable();
    users.dedup();
    json["thread_ts"] = json!(ts_text(message.ts));
    json["reply_count"] = json!(count);
    json["reply_users_count"] = json!(users.len());
    json["reply_users"] = json!(users);
    json["latest_reply"] = json!(ts_text(last.ts));
    json["is_locked"] = json!(false);
    json["subscribed"] = json!(false);
    json
}

/// The conversation object.
pub(super) fn describe(call: &Call<'_>, conversation: &Conversation) -> Value {
    let c = conversation;
    let member = c.members.contains(&call.state.app.bot_user_id);
    let team = &call.state.team.id;
    if c.kind == Kind::Im {
        return json!({
            "id": c.id, "created": c.created, "is_im": true, "is_org_shared": false,
            "user": c.user, "context_team_id": team, "is_archived": c.archived,
            "is_user_deleted": false, "priority": 0, "is_open": c.open,
            "updated": c.created * 1000,
        });
    }
    let shared = c.shared_with.is_some();
    let teams: Vec<_> = std::iter::once(team).chain(&c.shared_with).collect();
    let set = |n: &Note| {
        let value = escaped(&n.value);
        json!({ "value": value, "creator": n.creator, "last_set": n.last_set })
    };
    json!({
        "id": c.id, "name": c.name, "name_normalized": c.name, "created": c.created,
        "creator": c.creator, "is_channel": c.kind == Kind::Public, "is_im": false,
        "is_group": c.kind == Kind::Private, "is_mpim": c.kind == Kind::Mpim,
        "is_private": c.kind != Kind::Public, "is_archived": c.archived,
        "is_general": c.general, "is_member": member, "is_shared": shared,
        "is_ext_shared": shared, "is_org_shared": false, "is_pending_ext_shared": false,
        "pending_shared": [], "pending_connected_team_ids": [], "parent_conversation": null,
        "unlinked": 0,
        "shared_team_ids": teams, "context_team_id": team, "previous_names": c.previous_names,
        "topic": set(&c.topic), "purpose": set(&c.purpose), "updated": c.created * 1000,
    })
}

/// Text as Slack returns it: the three characters with a meaning in its messages are entities.
/// Reported for topics and purposes; Slack's pages do not say it of them.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
