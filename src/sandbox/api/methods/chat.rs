//! `chat.postMessage`, `chat.update`, `chat.delete`, `chat.getPermalink`.

use serde_json::{Value, json};

use super::conversations::here;
use crate::sandbox::api::call::Call;
use crate::sandbox::blocks;
use crate::sandbox::world::change::ChangeKind;
use crate::sandbox::world::conversation::{Kind, Message, parse_ts, ts_arg, ts_text};
use crate::sandbox::world::directory;
use crate::sandbox::world::error::Error;

/// Longer texts are split into several messages, and the answer has the first one's `ts`.
const SPLIT: usize = 4_000;
/// Longer texts are cut.
const CUT: usize = 40_000;
const MARKDOWN: usize = 12_000;
const METADATA: usize = 16_384;

pub(in crate::sandbox) struct Content {
    text: String,
    blocks: Value,
    attachments: Value,
    metadata: Value,
}

pub(super) fn post_message(call: &mut Call<'_>) -> Result<Value, Error> {
    let conversation = target(call)?;
    let mut content = content(call)?;
    if content.metadata == json!({}) {
        content.metadata = Value::Null;
    }
    let thread = ts_arg(call.args.text("thread_ts"), "invalid_thread_ts")?;
    if call.state.options.rate_limits {
        call.state.limits_here().channel(&conversation, call.now).map_err(Error::Limited)?;
    }
    if content.text.chars().count() > CUT {
        content.text = content.text.chars().take(CUT).collect();
        call.warnings.push("message_truncated");
    }
    let thread = thread.and_then(|thread| root(call, &conversation, thread));
    let parts = if content.blocks.is_null() { split(&content.text) } else { vec![content.text] };
    let mut first = None;
    for part in parts {
        call.state.counter += 1;
        let seq = call.state.counter;
        let author = call.state.app.bot_user_id.clone();
        let message = Message {
            username: username(call),
            attachments: std::mem::take(&mut content.attachments),
            metadata: content.metadata.clone(),
            thread,
            broadcast: call.args.flag("reply_broadcast"),
            ..Message::new(seq, author, part, std::mem::take(&mut content.blocks))
        };
        let shown = message.clone();
        let held = call.state.conversations.get_mut(&conversation).ok_or("channel_not_found")?;
        let ts = held.append(message, call.now);
        call.state.changed(ChangeKind::Stored, &conversation, ts_text(ts));
        first.get_or_insert(Message { ts, ..shown });
    }
    let message = first.ok_or("no_text")?;
    let ts = ts_text(message.ts);
    call.stored = Some((conversation.clone(), ts.clone()));
    let message = call.state.message_json(&message, true);
    Ok(json!({ "channel": conversation, "ts": ts, "message": message }))
}

pub(super) fn update(call: &mut Call<'_>) -> Result<Value, Error> {
    let (conversation, ts) = own(call, "cant_update_message")?;
    if call.args.text("text").is_some_and(|text| text.chars().count() > SPLIT) {
        return Err("msg_too_long".into());
    }
    let content = content(call)?;
    let keeps_metadata = content.metadata.is_null();
    let now = call.now;
    let window = call.state.options.edit_window;
    if window.is_some_and(|seconds| now - ts > call.state.scaled_micros(seconds)) {
        return Err("edit_window_closed".into());
    }
    let held = call.state.conversations.get_mut(&conversation);
    let message = held.and_then(|c| c.find_mut(ts)).ok_or("message_not_found")?;
    message.text = content.text;
    message.blocks = content.blocks;
    message.attachments = content.attachments;
    // An empty object removes the existing metadata.
    if content.metadata == json!({}) {
        message.metadata = Value::Null;
    } else if !keeps_metadata {
        message.metadata = content.metadata;
    }
    message.edited = Some(now);
    let message = message.clone();
    call.state.changed(ChangeKind::Updated, &conversation, ts_text(ts));
    call.stored = Some((conversation.clone(), ts_text(ts)));
    Ok(json!({
        "channel": conversation, "ts": ts_text(ts), "text": message.text,
        "message": call.state.message_json(&message, true),
    }))
}

pub(super) fn delete(call: &mut Call<'_>) -> Result<Value, Error> {
    let (conversation, ts) = own(call, "cant_delete_message")?;
    call.state.delete_message(&conversation, &ts_text(ts)).ok_or("message_not_found")?;
    Ok(json!({ "channel": conversation, "ts": ts_text(ts) }))
}

pub(super) fn get_permalink(call: &mut Call<'_>) -> Result<Value, Error> {
    let channel = call.args.required("channel")?;
    let held = here(call, channel).ok_or("channel_not_found")?;
    let ts = parse_ts(call.args.required("message_ts")?).ok_or("message_not_found")?;
    held.find(ts).ok_or("message_not_found")?;
    let plain = ts_text(ts).replace('.', "");
    let domain = call.state.team.domain();
    let permalink = format!("https://{domain}.slack.com/archives/{channel}/p{plain}");
    Ok(json!({ "channel": channel, "permalink": permalink }))
}

/// The conversation to post to: an id, a user id (opens the direct message), or a channel's name.
pub(super) fn target(call: &mut Call<'_>) -> Result<String, Error> {
    let channel = call.args.required("channel")?.to_owned();
    let state = &mut *call.state;
    if state.directory.contains(&channel) {
        let member = state.directory.get(&channel).unwrap_or_default();
        if directory::kind(&member) == "bot" {
            return Err("cannot_dm_bot".into());
        }
        if !state.has_messages_tab() {
            return Err("messages_tab_disabled".into());
        }
        return Ok(state.open_with(&[channel], call.now).0);
    }
    let by_id = state.conversations.get(&channel).filter(|found| found.team == state.team.id);
    let by_name = || state.conversations.by_name(&state.team.id, &channel);
    let found = by_id.or_else(by_name).ok_or("channel_not_found")?;
    let member = found.members.contains(&state.app.bot_user_id);
    match found.kind {
        _ if !member && found.kind != Kind::Public => return Err("channel_not_found".into()),
        Kind::Im if !state.has_messages_tab() => return Err("messages_tab_disabled".into()),
        _ if found.archived => return Err("is_archived".into()),
        Kind::Public if !member && !call.scopes.contains("chat:write.public") => {
            return Err("not_in_channel".into());
        }
        _ => {}
    }
    Ok(found.id.clone())
}

/// The thread's first message, even if a reply was named. Slack does not refuse a thread whose
/// first message is deleted: the message is posted outside any thread, and only the missing
/// `thread_ts` shows that.
fn root(call: &Call<'_>, conversation: &str, thread: i64) -> Option<i64> {
    let held = call.state.conversations.get(conversation)?;
    held.thread_of(thread).map(|message| message.ts)
}

/// The app's own message that `channel` and `ts` name.
fn own(call: &Call<'_>, foreign: &'static str) -> Result<(String, i64), Error> {
    let channel = call.args.required("channel")?;
    let ts = parse_ts(call.args.required("ts")?).ok_or("message_not_found")?;
    let held = here(call, channel).ok_or("channel_not_found")?;
    if held.archived {
        return Err("is_archived".into());
    }
    let message = held.find(ts).ok_or("message_not_found")?;
    if message.author != call.state.app.bot_user_id || message.subtype.is_some() {
        return Err(foreign.into());
    }
    Ok((channel.to_owned(), ts))
}

pub(super) fn content(call: &mut Call<'_>) -> Result<Content, Error> {
    let args = &call.args;
    let mut text = args.text("text").unwrap_or_default().to_owned();
    let blocks = args.json("blocks").transpose().map_err(|()| "invalid_blocks_format")?;
    let mut blocks = blocks.unwrap_or_default();
    if let Some(markdown) = args.text("markdown_text") {
        if !text.is_empty() || !blocks.is_null() {
            return Err("markdown_text_conflict".into());
        }
        if markdown.chars().count() > MARKDOWN {
            return Err("msg_too_long".into());
        }
        markdown.clone_into(&mut text);
    }
    if !blocks.is_null() {
        blocks::check(&blocks, blocks::Surface::Message)?;
        blocks::complete(&mut blocks, call.now);
        if blocks.as_array().is_some_and(Vec::is_empty) {
            blocks = Value::Null;
        }
    }
    let attachments = args.json("attachments").transpose().map_err(|()| "invalid_arguments")?;
    let attachments = attachments.filter(|a| a.as_array().is_some_and(|a| !a.is_empty()));
    let attachments = attachments.unwrap_or_default();
    if attachments.as_array().is_some_and(|a| a.len() > 100) {
        return Err("too_many_attachments".into());
    }
    if text.trim().is_empty() && blocks.is_null() && attachments.is_null() {
        return Err("no_text".into());
    }
    if text.trim().is_empty() {
        call.warnings.push("missing_text_in_message");
    }
    Ok(Content { text, blocks, attachments, metadata: metadata(call)? })
}

fn metadata(call: &Call<'_>) -> Result<Value, Error> {
    let Some(metadata) = call.args.json("metadata") else { return Ok(Value::Null) };
    let metadata = metadata.map_err(|()| "invalid_metadata_format")?;
    let Some(object) = metadata.as_object() else { return Err("invalid_metadata_format".into()) };
    if object.is_empty() {
        return Ok(metadata);
    }
    let typed = object.get("event_type").and_then(Value::as_str).is_some_and(|t| !t.is_empty());
    if !typed || !object.get("event_payload").is_some_and(Value::is_object) {
        return Err("invalid_metadata_schema".into());
    }
    if metadata.to_string().len() > METADATA {
        return Err("metadata_too_large".into());
    }
    Ok(metadata)
}

/// The sender's name, if `chat:write.customize` allows another one.
fn username(call: &Call<'_>) -> Option<String> {
    let allowed = call.scopes.contains("chat:write.customize");
    call.args.text("username").filter(|_| allowed).map(str::to_owned)
}

fn split(text: &str) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    if characters.is_empty() {
        return vec![String::new()];
    }
    characters.chunks(SPLIT).map(|part| part.iter().collect()).collect()
}
