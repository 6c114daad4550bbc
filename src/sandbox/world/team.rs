//! The names of a workspace and of an app.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use crate::domain::secret::Secret;

/// A workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Team {
    pub id: String,
    pub name: String,
    pub enterprise_id: Option<String>,
}

impl Team {
    /// The sizes in which Slack offers the workspace's picture.
    pub(in crate::sandbox) const PICTURES: [u32; 7] = [34, 44, 68, 88, 102, 132, 230];

    /// The address of the workspace's picture, which is Slack's own.
    pub(in crate::sandbox) fn picture(size: u32) -> String {
        format!("https://a.slack-edge.com/80588/img/avatars-teams/ava_0001-{size}.png")
    }

    /// The name in the workspace's address.
    pub(in crate::sandbox) fn domain(&self) -> String {
        let plain = self.name.to_ascii_lowercase();
        plain.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
    }

    /// Workspace number `n` of a sandbox of which this is the first.
    pub(in crate::sandbox) fn numbered(&self, n: usize) -> Self {
        Self {
            id: format!("T0SBX{n:06}"),
            name: format!("{} {n}", self.name),
            enterprise_id: self.enterprise_id.clone(),
        }
    }
}

/// A client secret that was replaced.
#[derive(Debug, Clone)]
pub(in crate::sandbox) struct FormerSecret {
    pub(in crate::sandbox) secret: Secret,
    /// It works until then, in microseconds.
    pub(in crate::sandbox) until: i64,
}

/// An app, which can be installed in any workspace.
#[derive(Debug, Clone)]
pub(in crate::sandbox) struct App {
    pub(in crate::sandbox) id: String,
    pub(in crate::sandbox) name: String,
    pub(in crate::sandbox) bot_user_id: String,
    pub(in crate::sandbox) bot_id: String,
    pub(in crate::sandbox) client_id: String,
    pub(in crate::sandbox) client_secret: Secret,
    pub(in crate::sandbox) former_secret: Option<FormerSecret>,
    pub(in crate::sandbox) signing_secret: Secret,
    /// If empty, every HTTPS or local one is accepted.
    pub(in crate::sandbox) redirect_urls: Vec<String>,
    pub(in crate::sandbox) events_url: Option<Url>,
    pub(in crate::sandbox) interactions_url: Option<Url>,
    /// Null for the sandbox's own app, which is set up by its options.
    pub(in crate::sandbox) manifest: Value,
}

impl App {
    /// An app made from a manifest, with new secrets. The ids of its bot are made from its own.
    pub(in crate::sandbox) fn made(id: String, client_id: String, manifest: Value) -> Self {
        let rest = id.strip_prefix('A').unwrap_or(&id);
        let mut app = Self {
            bot_user_id: format!("U{rest}"),
            bot_id: format!("B{rest}"),
            id,
            name: String::new(),
            client_id,
            client_secret: Self::new_secret(),
            former_secret: None,
            signing_secret: Self::new_secret(),
            redirect_urls: Vec::new(),
            events_url: None,
            interactions_url: None,
            manifest: Value::Null,
        };
        app.read(manifest);
        app
    }

    /// Takes the settings of a manifest.
    pub(in crate::sandbox) fn read(&mut self, manifest: Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let url = |value: &Value| Url::parse(value.as_str().unwrap_or_default()).ok();
        let settings = &manifest["settings"];
        self.name = text(&manifest["display_information"]["name"]);
        let redirects = manifest["oauth_config"]["redirect_urls"].as_array();
        self.redirect_urls = redirects.into_iter().flatten().map(text).collect();
        self.events_url = url(&settings["event_subscriptions"]["request_url"]);
        let interactivity = &settings["interactivity"];
        let is_on = interactivity["is_enabled"] == Value::Bool(true);
        self.interactions_url = url(&interactivity["request_url"]).filter(|_| is_on);
        self.manifest = manifest;
    }

    pub(in crate::sandbox) fn new_secret() -> Secret {
        Secret::new(format!("{:032x}", rand::random::<u128>()))
    }

    /// Whether this client secret works at this time.
    pub(in crate::sandbox) fn accepts(&self, secret: &str, now: i64) -> bool {
        let former = self.former_secret.as_ref().filter(|former| former.until > now);
        secret == self.client_secret.expose()
            || former.is_some_and(|former| former.secret.expose() == secret)
    }

    /// A switch of the manifest. `None` if it does not name it, or if there is none.
    pub(in crate::sandbox) fn switch(&self, pointer: &str) -> Option<bool> {
        self.manifest.pointer(pointer).and_then(Value::as_bool)
    }

    /// Whether its manifest subscribes to this event. `None` for the sandbox's own app.
    pub(in crate::sandbox) fn subscribed(&self, inner: &Value) -> Option<bool> {
        if self.manifest.is_null() {
            return None;
        }
        // A manifest names the event `message` with the kind of conversation.
        let kind = match (inner["type"].as_str(), inner["channel_type"].as_str()) {
            (Some("message"), Some("channel")) => "message.channels",
            (Some("message"), Some("group")) => "message.groups",
            (Some("message"), Some("mpim")) => "message.mpim",
            (Some("message"), Some("im")) => "message.im",
            (kind, _) => kind.unwrap_or_default(),
        };
        let events = self.manifest["settings"]["event_subscriptions"]["bot_events"].as_array();
        Some(events.is_some_and(|events| events.iter().any(|event| event == kind)))
    }

    /// The bot's handle.
    pub(in crate::sandbox) fn bot_name(&self) -> String {
        self.name.to_ascii_lowercase().replace(' ', "_")
    }
}

/// An app with its secrets, for tests, as an administrator reads them on Slack's page of the app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SandboxApp {
    pub app_id: String,
    pub client_id: String,
    pub client_secret: String,
    pub signing_secret: String,
    pub events_url: Option<String>,
    pub interactions_url: Option<String>,
    pub redirect_urls: Vec<String>,
}

impl SandboxApp {
    pub(in crate::sandbox) fn of(app: &App) -> Self {
        Self {
            app_id: app.id.clone(),
            client_id: app.client_id.clone(),
            client_secret: app.client_secret.expose().to_owned(),
            signing_secret: app.signing_secret.expose().to_owned(),
            events_url: app.events_url.clone().map(String::from),
            interactions_url: app.interactions_url.clone().map(String::from),
            redirect_urls: app.redirect_urls.clone(),
        }
    }
}
