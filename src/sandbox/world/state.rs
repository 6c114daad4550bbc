//! The complete state of the fake workspaces.
//!
//! A single mutex guards it. Methods are plain functions that run under it, so every request is one
//! step, and the log has the true order. Nothing waits while holding the lock.
//!
//! A step is about one app in one workspace, `app` and `team`: the sandbox's own app in its first
//! workspace, unless the step enters another place (`apps.rs`).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::change::{Change, ChangeKind, Effect};
use super::conversation::Conversations;
use super::directory::Directory;
use super::faults::Faults;
use super::kept::{Approvals, Code, Modals, Response};
use super::limits::{HistoryLimit, Limits, POSTS_PER_MINUTE};
use super::log::Log;
use super::refreshes::Refreshes;
use super::team::{App, Team};
use super::tokens::{Tokens, place};

/// How long a rotating token lives in Slack, seconds.
pub(in crate::sandbox) const TOKEN_SECONDS: u32 = 43_200;

/// The options that can be changed while it runs (`PATCH /_sandbox/settings`).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches")]
pub struct Options {
    /// Whether to enforce the rate limits.
    pub rate_limits: bool,
    /// Whether tokens expire and come with a refresh token. An app that was made from a manifest
    /// can also ask for it there.
    pub token_rotation: bool,
    /// How long a rotating token lives, seconds; scaled. Slack's live 12 hours.
    pub token_seconds: u32,
    /// Whether the app uses PKCE: a code that was requested with a challenge needs its verifier.
    pub pkce: bool,
    /// Whether the authorize page sends people to a request page and never calls back.
    pub require_approval: bool,
    /// The requested scopes that are granted; `None` grants all.
    pub granted_scopes: Option<Vec<String>>,
    /// The scopes that people can refuse on the authorize page, besides those that the manifest of
    /// an app says.
    pub optional_scopes: Vec<String>,
    /// The class of the app for reading history, which is enforced also without other limits.
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
    /// Whether the org-wide app was added to the workspaces for which nothing else was decided. If
    /// not, methods answer `team_access_not_granted`.
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
            token_seconds: TOKEN_SECONDS,
            pkce: false,
            require_approval: false,
            granted_scopes: None,
            optional_scopes: Vec::new(),
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
    /// The workspace that this step is about.
    pub(in crate::sandbox) team: Arc<Team>,
    /// The app that this step is about.
    pub(in crate::sandbox) app: Arc<App>,
    /// All workspaces, by id.
    pub(in crate::sandbox) teams: BTreeMap<String, Arc<Team>>,
    /// All apps, by id.
    pub(in crate::sandbox) apps: BTreeMap<String, Arc<App>>,
    /// The id of the first workspace.
    pub(in crate::sandbox) own_team: String,
    /// The id of the sandbox's own app.
    pub(in crate::sandbox) own_app: String,
    /// Whether the organization added an org-wide app to a workspace, where it was decided.
    pub(in crate::sandbox) access: HashMap<String, bool>,
    /// The organization that the workspaces are moving into.
    pub(in crate::sandbox) moving_into: Option<String>,
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
    pub(in crate::sandbox) refreshes: Refreshes,
    /// The counters of each installation.
    pub(in crate::sandbox) limits: HashMap<String, Limits>,
    pub(in crate::sandbox) faults: Faults,
    pub(in crate::sandbox) log: Log,
    pub(in crate::sandbox) effects: Vec<Effect>,
    /// Whether events are sent at all: not for the things that are there from the beginning.
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

    /// Queues an event to the app, if it has an address for events and subscribed to this one.
    pub(in crate::sandbox) fn event(&mut self, inner: Value) {
        let kind = &inner["type"];
        let named = |kinds: &Vec<String>| kinds.iter().any(|one| *kind == **one);
        let by_options = || self.options.bot_events.as_ref().is_none_or(named);
        let subscribed = self.app.subscribed(&inner).unwrap_or_else(by_options);
        if self.events_wanted && self.app.events_url.is_some() && subscribed {
            let (app, team) = (Arc::clone(&self.app), Arc::clone(&self.team));
            self.effects.push(Effect::Event { app, team, inner });
        }
    }

    /// The installation of the app in this workspace.
    pub(in crate::sandbox) fn here(&self) -> String {
        place(&self.app.id, &self.team.id)
    }

    /// The installation of the app in the whole organization.
    pub(in crate::sandbox) fn org_place(&self) -> String {
        place(&self.app.id, self.enterprise_id().as_deref().unwrap_or("E"))
    }

    /// The counters of the app in this workspace.
    pub(in crate::sandbox) fn limits_here(&mut self) -> &mut Limits {
        let (here, scale) = (self.here(), self.time_scale);
        self.limits.entry(here).or_insert_with(|| Limits::new(scale))
    }

    /// The Enterprise organization, as named in answers. An org-wide installation always has one.
    pub(in crate::sandbox) fn enterprise(&self) -> Option<Value> {
        let id = self.enterprise_id()?;
        let name = self.teams.get(&self.own_team).map_or("", |team| team.name.as_str());
        Some(json!({ "id": id, "name": format!("{name} Organization") }))
    }

    pub(in crate::sandbox) fn enterprise_id(&self) -> Option<String> {
        let named = self.team.enterprise_id.clone();
        named.or_else(|| self.options.org_wide.then(|| "E0SANDBOX01".to_owned()))
    }

    /// Whether an installation of the app now would be org-wide.
    pub(in crate::sandbox) fn installs_org_wide(&self) -> bool {
        self.options.org_wide && self.app.switch("/settings/org_deploy_enabled") != Some(false)
    }

    /// Whether tokens of the app rotate.
    pub(in crate::sandbox) fn rotates(&self) -> bool {
        let asked = self.app.switch("/settings/token_rotation_enabled");
        self.options.token_rotation || asked == Some(true)
    }

    /// Whether a person can refuse this scope and install the app all the same.
    pub(in crate::sandbox) fn is_optional(&self, scope: &str) -> bool {
        let said = &self.app.manifest["oauth_config"]["scopes"]["bot_optional"];
        let by_manifest = said.as_array().is_some_and(|all| all.iter().any(|one| one == scope));
        by_manifest || self.options.optional_scopes.iter().any(|one| one == scope)
    }

    /// Whether people can read the app's direct messages.
    pub(in crate::sandbox) fn has_messages_tab(&self) -> bool {
        let asked = self.app.switch("/features/app_home/messages_tab_enabled");
        self.options.messages_tab && asked != Some(false)
    }

    /// Whether the app has a Home tab.
    pub(in crate::sandbox) fn has_home_tab(&self) -> bool {
        let asked = self.app.switch("/features/app_home/home_tab_enabled");
        self.options.home_tab && asked != Some(false)
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
