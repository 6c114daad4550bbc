//! Interactions: a person presses a button, and the app answers through the `response_url`. A press
//! of a link button is one, too: the person's client opens the link, and the app must acknowledge.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde_json::{Value, json};

use crate::sandbox::blocks::{self, Surface};
use crate::sandbox::world::change::ChangeKind;
use crate::sandbox::world::clock::now_micros;
use crate::sandbox::world::conversation::{Message, parse_ts, ts_text};
use crate::sandbox::world::error::Error;
use crate::sandbox::world::kept::Response;
use crate::sandbox::world::push::{PushError, Receiver};
use crate::sandbox::world::state::State;
use crate::sandbox::world::workspace::Workspace;

/// A `response_url` works five times within thirty minutes.
const USES: u32 = 5;
const SECONDS: f64 = 1800.0;

/// A press of one element of a message.
#[derive(Debug, Clone, serde::Deserialize)]
pub(in crate::sandbox) struct Press {
    pub(in crate::sandbox) conversation: String,
    pub(in crate::sandbox) ts: String,
    #[serde(default)]
    pub(in crate::sandbox) action_id: Option<String>,
    #[serde(default)]
    pub(in crate::sandbox) block_id: Option<String>,
    /// The person who presses; by default the person in the direct message.
    #[serde(default)]
    pub(in crate::sandbox) user: Option<String>,
}

/// A press to be sent to the app that wrote the message.
pub(in crate::sandbox) struct Pressed {
    pub(in crate::sandbox) to: Receiver,
    pub(in crate::sandbox) payload: Value,
}

impl State {
    /// The `block_actions` payload of a press.
    pub(in crate::sandbox) fn press(
        &mut self,
        press: &Press,
        now: i64,
    ) -> Result<Pressed, PushError> {
        let ts = parse_ts(&press.ts).ok_or(PushError::NotFound)?;
        self.enter_conversation(&press.conversation);
        let held = self.conversations.get(&press.conversation).ok_or(PushError::NotFound)?;
        let message = held.find(ts).ok_or(PushError::NotFound)?;
        if let Some(app) = self.app_of_bot(&message.author).cloned() {
            self.app = app;
        }
        let (block_id, element) = element(&message.blocks, press).ok_or(PushError::NotFound)?;
        let someone = || held.members.iter().find(|id| **id != self.app.bot_user_id).cloned();
        let user = press.user.clone().or(held.user.clone()).or_else(someone);
        let user = user.unwrap_or_else(|| "U0SANDBOX0".to_owned());
        let channel = json!({ "id": held.id,
            "name": if held.user.is_some() { "directmessage" } else { &held.name } });
        let message = self.message_json(message, true);
        let mut action = json!({ "action_id": element["action_id"], "block_id": block_id,
            "type": element["type"], "action_ts": ts_text(now) });
        for key in ["text", "value", "style", "url"] {
            if let Some(value) = element.get(key) {
                action[key] = value.clone();
            }
        }
        let id = format!("{:032x}", rand::random::<u128>());
        let expires = now + self.scaled_micros(SECONDS);
        let conversation = press.conversation.clone();
        self.responses.retain(|_, response| response.expires > now);
        self.responses.insert(id.clone(), Response { conversation, ts, uses: USES, expires });
        let name = self.member_name(&user);
        let trigger = self.new_trigger(now);
        let (team, app) = (&self.team, &self.app);
        let to = Receiver::of_interactions(app);
        let payload = json!({
            "type": "block_actions", "team": { "id": team.id, "domain": team.domain() },
            "enterprise": self.enterprise(), "is_enterprise_install": self.is_installed_org_wide(),
            "user": { "id": user, "username": name, "name": name, "team_id": team.id },
            "api_app_id": app.id, "token": "sandbox-verification-token",
            "container": { "type": "message", "message_ts": press.ts,
                "channel_id": press.conversation, "is_ephemeral": false },
            "trigger_id": trigger,
            "channel": channel, "message": message, "state": { "values": {} },
            "response_url": format!("{}_sandbox/responses/{id}", self.base),
            "actions": [action],
        });
        Ok(Pressed { to, payload })
    }

    /// Handles the app's post to a `response_url`.
    fn respond(&mut self, id: &str, body: &Value, now: i64) -> Result<(), Error> {
        let response = self.responses.get_mut(id).filter(|r| r.expires > now && r.uses > 0);
        let response = response.ok_or("used_url")?;
        response.uses -= 1;
        let (conversation, ts) = (response.conversation.clone(), response.ts);
        let blocks = match body.get("blocks").filter(|blocks| !blocks.is_null()) {
            Some(blocks) => {
                blocks::check(blocks, Surface::Message)?;
                let mut blocks = blocks.clone();
                blocks::complete(&mut blocks, now);
                blocks
            }
            None => Value::Null,
        };
        let text = body["text"].as_str().unwrap_or_default().to_owned();
        let on = |key: &str| body[key] == Value::Bool(true);
        let message = self.conversations.get(&conversation).and_then(|held| held.find(ts));
        let own = || self.app.bot_user_id.clone();
        let author = message.map_or_else(own, |message| message.author.clone());
        self.counter += 1;
        let seq = self.counter;
        let held = self.conversations.get_mut(&conversation).ok_or("channel_not_found")?;
        let (kind, ts) = if on("delete_original") {
            held.find_mut(ts).ok_or("message_not_found")?.deleted = true;
            (ChangeKind::Deleted, ts)
        } else if on("replace_original") {
            let message = held.find_mut(ts).ok_or("message_not_found")?;
            (message.text, message.blocks, message.edited) = (text, blocks, Some(now));
            (ChangeKind::Updated, ts)
        } else if body["response_type"] == "in_channel" {
            let message = Message::new(seq, author, text, blocks);
            (ChangeKind::Stored, held.append(message, now))
        } else {
            // Only one person would see it, and it is not stored.
            return Ok(());
        };
        self.changed(kind, &conversation, ts_text(ts));
        Ok(())
    }
}

/// The pressed element, with the id of its block.
fn element<'a>(blocks: &'a Value, press: &Press) -> Option<(&'a Value, &'a Value)> {
    blocks.as_array()?.iter().find_map(|block| within(block, &block["block_id"], press))
}

/// The pressed element in this part of a block. Cards and containers have blocks inside them: the
/// innermost block that has an id counts.
fn within<'a>(
    part: &'a Value,
    block_id: &'a Value,
    press: &Press,
) -> Option<(&'a Value, &'a Value)> {
    match part {
        Value::Array(items) => items.iter().find_map(|item| within(item, block_id, press)),
        Value::Object(object) => {
            let block_id = object.get("block_id").unwrap_or(block_id);
            let right_block = press.block_id.as_ref().is_none_or(|id| block_id == id.as_str());
            let right_element = |action_id: &str| {
                press.action_id.as_ref().is_none_or(|wanted| wanted.as_str() == action_id)
            };
            let action_id = object.get("action_id").and_then(Value::as_str);
            if right_block && action_id.is_some_and(right_element) {
                return Some((block_id, part));
            }
            object.values().find_map(|inner| within(inner, block_id, press))
        }
        _ => None,
    }
}

/// `POST /_sandbox/responses/{id}`.
pub(super) async fn respond(
    Shared(workspace): Shared<Arc<Workspace>>,
    Path(id): Path<String>,
    body: Bytes,
) -> impl IntoResponse {
    let Ok(body) = serde_json::from_slice::<Value>(&body) else {
        return (StatusCode::BAD_REQUEST, "invalid_payload".to_owned());
    };
    match workspace.with(|state| state.respond(&id, &body, now_micros())) {
        Ok(()) => (StatusCode::OK, "ok".to_owned()),
        Err(error) => (StatusCode::NOT_FOUND, error.name().to_owned()),
    }
}
