//! Everything the fake workspace knows, and the context one method call runs in.
//!
//! One mutex guards it; methods are plain functions that run under it, so every request is one
//! step and the log has the one true order. Nothing waits while holding the lock.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::args::Args;
use super::auth::Tokens;
use super::conversation::Conversations;
use super::directory::Directory;
use super::faults::Faults;
use super::limits::{HistoryLimit, Limits, POSTS_PER_MINUTE};
use super::log::Log;
use super::oauth::Code;

/// The workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Team {
    pub id: String,
    pub name: String,
    pub enterprise_id: Option<String>,
}

impl Team {
    /// The name in the workspace's address.
    pub(super) fn domain(&self) -> String {
        let plain = self.name.to_ascii_lowercase();
        plain.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
    }
}

/// The app that is installed in it.
#[derive(Debug, Clone)]
pub(super) struct App {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) bot_user_id: String,
    pub(super) bot_id: String,
}

impl App {
    /// The bot's handle.
    pub(super) fn bot_name(&self) -> String {
        self.name.to_ascii_lowercase().replace(' ', "_")
    }
}

/// What can be switched while it runs (`PATCH /_sandbox/settings`).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches")]
pub struct Options {
    /// Enforce the rate limits.
    pub rate_limits: bool,
    /// Tokens expire after 12 hours and come with a refresh token.
    pub token_rotation: bool,
    /// The authorize page sends people to a request page and never calls back.
    pub require_approval: bool,
    /// Scopes granted of those asked; `None` grants all.
    pub granted_scopes: Option<Vec<String>>,
    pub history_limit: HistoryLimit,
    /// Posts a minute in the whole workspace, which Slack does not publish.
    pub posts_per_minute: u32,
    /// The app's Messages tab; off, direct messages fail with `messages_tab_disabled`.
    pub messages_tab: bool,
    /// The app's Home tab; off, `views.publish` fails with `not_enabled`.
    pub home_tab: bool,
    /// Seconds after which a message cannot be changed any more (`edit_window_closed`), as a workspace
    /// may set; scaled. `None`: always.
    pub edit_window: Option<f64>,
    /// The largest page of any list; small values show who stops at a short page.
    pub max_page: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rate_limits: false,
            token_rotation: false,
            require_approval: false,
            granted_scopes: None,
            history_limit: HistoryLimit::Full,
            posts_per_minute: POSTS_PER_MINUTE,
            messages_tab: true,
            home_tab: true,
            edit_window: None,
            max_page: 1000,
        }
    }
}

/// What a change leads to, once the lock is released.
pub(super) enum Effect {
    /// A message was stored, updated or deleted.
    Change(Change),
    /// An event to push: its inner payload.
    Event(Value),
}

/// A message was stored, updated or deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    #[serde(rename = "type")]
    pub kind: ChangeKind,
    pub conversation: String,
    pub ts: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum ChangeKind {
    #[serde(rename = "message")]
    Stored,
    #[serde(rename = "changed")]
    Updated,
    #[serde(rename = "deleted")]
    Deleted,
}

impl ChangeKind {
    /// The name on the event stream.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Stored => "message",
            Self::Updated => "changed",
            Self::Deleted => "deleted",
        }
    }
}

pub(super) struct State {
    pub(super) team: Team,
    pub(super) app: App,
    pub(super) client_id: String,
    pub(super) client_secret: crate::domain::secret::Secret,
    pub(super) redirect_urls: Vec<String>,
    pub(super) time_scale: f64,
    pub(super) options: Options,
    pub(super) directory: Directory,
    pub(super) conversations: Conversations,
    pub(super) tokens: Tokens,
    pub(super) codes: HashMap<String, Code>,
    pub(super) views: HashMap<String, Value>,
    pub(super) limits: Limits,
    pub(super) faults: Faults,
    pub(super) log: Log,
    pub(super) effects: Vec<Effect>,
    /// Whether anyone is to get events.
    pub(super) events_wanted: bool,
    /// Addresses given out to answer an interaction with.
    pub(super) responses: HashMap<String, super::interact::Response>,
    /// Where this sandbox is reached.
    pub(super) base: String,
    pub(super) counter: u64,
}

impl State {
    /// A new id of Slack's looks: a letter and ten more of `0-9A-Z`.
    pub(super) fn new_id(&mut self, prefix: char) -> String {
        self.counter += 1;
        let mut rest = [b'0'; 8];
        let mut n = self.counter;
        for place in rest.iter_mut().rev() {
            let digit = u8::try_from(n % 36).unwrap_or(0);
            *place = if digit < 10 { b'0' + digit } else { b'A' + digit - 10 };
            n /= 36;
        }
        format!("{prefix}0S{}", String::from_utf8_lossy(&rest))
    }

    pub(super) fn changed(&mut self, kind: ChangeKind, conversation: &str, ts: String) {
        let conversation = conversation.to_owned();
        self.effects.push(Effect::Change(Change { kind, conversation, ts }));
    }

    /// An event to push, if anyone is to get it.
    pub(super) fn event(&mut self, inner: Value) {
        if self.events_wanted {
            self.effects.push(Effect::Event(inner));
        }
    }

    /// A length Slack dictates, scaled, in microseconds.
    #[expect(clippy::cast_possible_truncation, reason = "hours")]
    pub(super) fn scaled_micros(&self, seconds: f64) -> i64 {
        (seconds * self.time_scale * 1e6) as i64
    }

    /// The other way: whole seconds as a client that scales reads them.
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "hours")]
    pub(super) fn unscaled_seconds(&self, micros: i64) -> i64 {
        (micros as f64 / 1e6 / self.time_scale.max(1e-9)).ceil() as i64
    }
}

/// One call of one method.
pub(super) struct Call<'a> {
    pub(super) state: &'a mut State,
    pub(super) args: Args,
    pub(super) token: String,
    pub(super) scopes: Arc<BTreeSet<String>>,
    pub(super) now: i64,
    /// `Authorization: Basic`, for `oauth.v2.access`.
    pub(super) basic: Option<(String, String)>,
    /// Set by the method: the conversation and `ts` of what it stored.
    pub(super) stored: Option<(String, String)>,
    /// Set by the method: `warning` of an ok answer.
    pub(super) warnings: Vec<&'static str>,
}

/// Why a method did not answer ok.
#[derive(Debug)]
pub(super) enum Error {
    Code {
        code: Cow<'static, str>,
        extra: Value,
    },
    /// HTTP 429; the wait in unscaled microseconds.
    Limited(i64),
}

impl Error {
    pub(super) fn code(code: impl Into<Cow<'static, str>>) -> Self {
        Self::Code { code: code.into(), extra: Value::Null }
    }

    /// With more fields in the body.
    pub(super) fn with(code: &'static str, extra: Value) -> Self {
        Self::Code { code: code.into(), extra }
    }

    /// With `response_metadata.messages`.
    pub(super) fn messages(code: &'static str, messages: Vec<String>) -> Self {
        Self::with(code, json!({ "response_metadata": { "messages": messages } }))
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::Code { code, .. } => code,
            Self::Limited(_) => "ratelimited",
        }
    }

    pub(super) fn body(&self) -> Value {
        let mut body = match self {
            Self::Code { extra: Value::Object(extra), .. } => Value::Object(extra.clone()),
            _ => json!({}),
        };
        body["ok"] = json!(false);
        body["error"] = json!(self.name());
        body
    }
}

impl From<&'static str> for Error {
    fn from(code: &'static str) -> Self {
        Self::code(code)
    }
}

/// A page cut out of a list: Slack's opaque cursors are base64 of a kind and a position.
pub(super) mod cursor {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    pub(in crate::sandbox) fn encode(kind: &str, position: &str) -> String {
        STANDARD.encode(format!("{kind}:{position}"))
    }

    /// The position, or `invalid_cursor`.
    pub(in crate::sandbox) fn decode(kind: &str, cursor: &str) -> Result<String, &'static str> {
        let bytes = STANDARD.decode(cursor).map_err(|_| "invalid_cursor")?;
        let text = String::from_utf8(bytes).map_err(|_| "invalid_cursor")?;
        let position = text.strip_prefix(kind).and_then(|rest| rest.strip_prefix(':'));
        position.map(str::to_owned).ok_or("invalid_cursor")
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_cursor_is_opaque_and_of_one_kind() {
            let cursor = encode("user", "U0G9WFXNZ");
            assert_eq!(cursor, "dXNlcjpVMEc5V0ZYTlo=");
            assert_eq!(decode("user", &cursor).unwrap(), "U0G9WFXNZ");
            assert_eq!(decode("next_ts", &cursor), Err("invalid_cursor"));
            assert_eq!(decode("user", "???"), Err("invalid_cursor"));
        }
    }
}
