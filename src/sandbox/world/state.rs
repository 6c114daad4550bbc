//! The complete state of the fake workspace.
//!
//! A single mutex guards it. Methods are plain functions that run under it, so every request is one
//! step, and the log has the true order. Nothing waits while holding the lock.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::change::{Change, ChangeKind, Effect};
use super::conversation::Conversations;
use super::directory::Directory;
use super::faults::Faults;
use super::kept::{Approvals, Code, Modals, Response};
use super::limits::{HistoryLimit, Limits, POSTS_PER_MINUTE};
use super::log::Log;
use super::team::{App, Team};
use super::tokens::Tokens;

/// The options that can be changed while it runs (`PATCH /_sandbox/settings`).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches")]
pub struct Options {
    /// Whether to enforce the rate limits.
    pub rate_limits: bool,
    /// Whether tokens expire after 12 hours and come with a refresh token.
    pub token_rotation: bool,
    /// Whether the app uses PKCE: a code that was requested with a challenge needs its verifier.
    pub pkce: bool,
    /// Whether the authorize page sends people to a request page and never calls back.
    pub require_approval: bool,
    /// The requested scopes that are granted; `None` grants all.
    pub granted_scopes: Option<Vec<String>>,
    pub history_limit: HistoryLimit,
    /// Posts per minute in the whole workspace; Slack does not publish its limit.
    pub posts_per_minute: u32,
    /// The app's Messages tab; if off, direct messages fail with `messages_tab_disabled`.
    pub messages_tab: bool,
    /// The app's Home tab; if off, `views.publish` fails with `not_enabled`.
    pub home_tab: bool,
    /// Seconds after which a message cannot be changed any more (`edit_window_closed`), as a
    /// workspace may set; scaled. `None`: no limit.
    pub edit_window: Option<f64>,
    /// The largest page of any list; small values expose clients that stop at a short page.
    pub max_page: usize,
    /// Whether installations are org-wide: one token for every workspace of the Enterprise
    /// organization.
    pub org_wide: bool,
    /// Whether the org-wide app was added to this workspace. If not, methods answer
    /// `team_access_not_granted`.
    pub team_access: bool,
    /// Whether the bot can unarchive channels. Slack's page of `conversations.unarchive` says that
    /// bot tokens cannot; reports name the error `not_in_channel`.
    pub bot_unarchive: bool,
    /// The events that the app subscribed to; `None`: all of them.
    pub bot_events: Option<Vec<String>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rate_limits: false,
            token_rotation: false,
            pkce: false,
            require_approval: false,
            granted_scopes: None,
            history_limit: HistoryLimit::Full,
            posts_per_minute: POSTS_PER_MINUTE,
            messages_tab: true,
            home_tab: true,
            edit_window: None,
            max_page: 1000,
            org_wide: false,
            team_access: true,
            bot_unarchive: false,
            bot_events: None,
        }
    }
}

pub(in crate::sandbox) struct State {
    pub(in crate::sandbox) team: Team,
    pub(in crate::sandbox) app: App,
    pub(in crate::sandbox) client_id: String,
    pub(in crate::sandbox) client_secret: crate::domain::secret::Secret,
    pub(in crate::sandbox) redirect_urls: Vec<String>,
    pub(in crate::sandbox) time_scale: f64,
    pub(in crate::sandbox) options: Options,
    pub(in crate::sandbox) directory: Directory,
    pub(in crate::sandbox) conversations: Conversations,
    pub(in crate::sandbox) tokens: Tokens,
    pub(in crate::sandbox) codes: HashMap<String, Code>,
    pub(in crate::sandbox) views: HashMap<String, Value>,
    pub(in crate::sandbox) modals: Modals,
    pub(in crate::sandbox) approvals: Approvals,
    pub(in crate::sandbox) usergroups: Vec<Value>,
    /// Do-not-disturb settings by member, as `dnd.info` shows them.
    pub(in crate::sandbox) dnd: HashMap<String, Value>,
    /// Manifests of the apps made by `apps.manifest.create`, by app id.
    pub(in crate::sandbox) manifests: BTreeMap<String, Value>,
    pub(in crate::sandbox) limits: Limits,
    pub(in crate::sandbox) faults: Faults,
    pub(in crate::sandbox) log: Log,
    pub(in crate::sandbox) effects: Vec<Effect>,
    /// Whether events are sent at all.
    pub(in crate::sandbox) events_wanted: bool,
    /// Response URLs that were issued for interactions.
    pub(in crate::sandbox) responses: HashMap<String, Response>,
    /// The address of this sandbox.
    pub(in crate::sandbox) base: String,
    pub(in crate::sandbox) counter: u64,
}

impl State {
    /// A new id in Slack's form: a letter and ten more characters of `0-9A-Z`.
    pub(in crate::sandbox) fn new_id(&mut self, prefix: char) -> String {
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

    pub(in crate::sandbox) fn changed(&mut self, kind: ChangeKind, conversation: &str, ts: String) {
        let conversation = conversation.to_owned();
        self.effects.push(Effect::Change(Change { kind, conversation, ts }));
    }

    /// Queues an event, if events are wanted.
    pub(in crate::sandbox) fn event(&mut self, inner: Value) {
        let subscribed = |kinds: &Vec<String>| kinds.iter().any(|kind| inner["type"] == **kind);
        if self.events_wanted && self.options.bot_events.as_ref().is_none_or(subscribed) {
            self.effects.push(Effect::Event(inner));
        }
    }

    /// The Enterprise organization, as named in answers. An org-wide installation always has one.
    pub(in crate::sandbox) fn enterprise(&self) -> Option<Value> {
        let named = self.team.enterprise_id.clone();
        let id = named.or_else(|| self.options.org_wide.then(|| "E0SANDBOX01".to_owned()))?;
        Some(json!({ "id": id, "name": format!("{} Organization", self.team.name) }))
    }

    /// A duration that Slack dictates, scaled, in microseconds.
    #[expect(clippy::cast_possible_truncation, reason = "hours")]
    pub(in crate::sandbox) fn scaled_micros(&self, seconds: f64) -> i64 {
        (seconds * self.time_scale * 1e6) as i64
    }

    /// The reverse: whole seconds as a client that scales reads them.
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "hours")]
    pub(in crate::sandbox) fn unscaled_seconds(&self, micros: i64) -> i64 {
        (micros as f64 / 1e6 / self.time_scale.max(1e-9)).ceil() as i64
    }
}
