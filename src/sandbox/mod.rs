//! A fake Slack on a real socket, faithful enough for any Slack client.
//!
//! It serves the Web API at `/api/<method>` and the authorize page at `/oauth/v2/authorize`, pushes
//! signed events and interactions, keeps a log of every request, fails on command, and shows its
//! conversations at `/`. It is driven in-process by [`Sandbox`] or by JSON under `/_sandbox/`.
//! Facts about Slack come from docs.slack.dev; where Slack's pages are silent, published reports
//! were used. One sandbox is one workspace with one app.
//!
//! Modules, each of which imports only from those before it: `world` (the state of the workspace),
//! `blocks` (Block Kit), `api` (the Web API, and the pages of consent), `driver` (the control API,
//! and people), `page` (the conversations in a browser).
//!
//! Durations that Slack dictates are multiplied by `time_scale`. `Retry-After` is in *unscaled*
//! whole seconds: a client multiplies it by the same factor.

pub mod page;
mod world;

mod blocks;

mod api;

mod driver;

#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::routing::{any, get};
use axum::{Extension, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::domain::secret::Secret;
use api::sign_in::{consent, openid};
use api::{http, net};
use driver::{control, happenings, interact};
use world::clock::now_micros;
use world::workspace::Workspace;
use world::{conversation, directory, faults, kept, limits, log, push, state, team, tokens};

pub use driver::channels::{ChannelChange, NewChannel};
pub use driver::{browser, fixture};
pub use world::change::{Change, ChangeKind};
pub use world::conversation::StoredMessage;
pub use world::faults::{Fault, FaultKind, Raw, When};
pub use world::limits::HistoryLimit;
pub use world::log::{ChannelAct, LogEntry};
pub use world::push::{Delivery, PushError};
pub use world::state::Options;
pub use world::team::Team;

/// Largest request accepted, in bytes.
const BODY: usize = 64 * 1024 * 1024;

/// The workspace and the app that the sandbox plays.
#[derive(Debug, Clone)]
pub struct Config {
    /// The address to listen on; port 0 takes a free one.
    pub addr: SocketAddr,
    /// Whether to enforce Slack's rate limits.
    pub rate_limits: bool,
    /// The factor by which every duration that Slack dictates is multiplied.
    pub time_scale: f64,
    pub client_id: String,
    pub client_secret: Secret,
    pub signing_secret: Secret,
    pub app_id: String,
    pub app_name: String,
    /// Registered redirect URLs; if empty, every HTTPS or local one is accepted.
    pub redirect_urls: Vec<String>,
    /// The URL to which signed events are sent.
    pub events_url: Option<Url>,
    /// The URL to which interactions are sent.
    pub interactions_url: Option<Url>,
    /// Initial members, as `users.list` objects; missing keys are filled in.
    pub seed_members: Vec<Value>,
    /// Initial channels besides `#general`; no events are sent for them.
    pub seed_channels: Vec<NewChannel>,
    pub team: Team,
    /// The requested scopes that are granted; `None` grants all.
    pub granted_scopes: Option<Vec<String>>,
    /// Whether tokens expire and come with a refresh token.
    pub token_rotation: bool,
    /// Whether installing needs an approval, so that the callback is never called.
    pub require_approval: bool,
    pub history_limit: HistoryLimit,
    /// Posts per minute in the whole workspace; Slack does not publish its limit.
    pub posts_per_minute: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 8081)),
            rate_limits: true,
            time_scale: 1.0,
            client_id: "1234567890.0987654321".into(),
            client_secret: Secret::new("sandbox-client-secret"),
            signing_secret: Secret::new("sandbox-signing-secret"),
            app_id: "A0SANDBOX01".into(),
            app_name: "Herald".into(),
            redirect_urls: Vec::new(),
            events_url: None,
            interactions_url: None,
            seed_members: fixture::demo_members(),
            seed_channels: Vec::new(),
            team: Team {
                id: "T0SANDBOX01".into(),
                name: "Demo Workspace".into(),
                enterprise_id: None,
            },
            granted_scopes: None,
            token_rotation: false,
            require_approval: false,
            history_limit: HistoryLimit::Full,
            posts_per_minute: limits::POSTS_PER_MINUTE,
        }
    }
}

/// A running sandbox; it stops when dropped.
pub struct Sandbox {
    addr: SocketAddr,
    workspace: Arc<Workspace>,
    sender: push::Sender,
    stop: CancellationToken,
    server: JoinHandle<()>,
}

impl Sandbox {
    /// Starts listening and serving.
    pub async fn start(config: Config) -> std::io::Result<Self> {
        let listener = TcpListener::bind(config.addr).await?;
        let addr = listener.local_addr()?;
        let sender = push::Sender::new(
            config.signing_secret.clone(),
            config.events_url.clone(),
            config.interactions_url.clone(),
            config.time_scale,
        )?;
        let (pushes, queue) = mpsc::unbounded_channel();
        let workspace = Arc::new(Workspace::new(seeded(config, addr), pushes));
        let stop = CancellationToken::new();
        let app = Router::new()
            .route("/api/{method}", any(http::api))
            .route("/oauth/v2/authorize", get(consent::show).post(consent::decide))
            .route("/openid/connect/authorize", get(openid::show).post(openid::decide))
            .merge(control::router())
            .merge(happenings::router())
            .merge(page::router())
            .layer(Extension(sender.clone()))
            .layer(DefaultBodyLimit::max(BODY))
            .with_state(Arc::clone(&workspace));
        let listener = net::Cuttable { listener, stop: stop.clone() };
        let service = app.into_make_service_with_connect_info::<net::Cut>();
        let (serving, pushing) = (stop.clone(), sender.clone().run(queue, stop.clone()));
        let server = tokio::spawn(async move {
            let serve = axum::serve(listener, service);
            tokio::select! {
                () = serving.cancelled() => {}
                // Neither ends before it is stopped.
                _ = serve => {}
                () = pushing => {}
            }
        });
        Ok(Self { addr, workspace, sender, stop, server })
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its base address; the Web API is at `api/<method>` below it.
    #[expect(clippy::expect_used, reason = "a socket address makes a URL")]
    pub fn url(&self) -> Url {
        Url::parse(&base(self.addr)).expect("a socket address makes a URL")
    }

    /// Stops listening, resets every connection and waits until it has ended.
    pub async fn stop(mut self) {
        self.stop.cancel();
        // An error would be a panic of the server, which has already been reported.
        drop((&mut self.server).await);
    }

    /// Adds a member (or replaces the one with the same id); returns the id. Custom profile fields
    /// may be given under `_fields`; with `"_raw": true` nothing is filled in.
    pub fn add_member(&self, member: Value) -> String {
        self.workspace.with(|state| state.add_member(member))
    }

    /// Merges `patch` into a member (RFC 7396). False if there is no such member.
    pub fn update_member(&self, id: &str, patch: &Value) -> bool {
        self.workspace.with(|state| state.update_member(id, patch, now_micros())).is_some()
    }

    /// Deactivates a member.
    pub fn deactivate(&self, id: &str) -> bool {
        self.update_member(id, &json!({ "deleted": true }))
    }

    /// Sets custom profile fields: `{"XF12345": "value"}`; null removes one.
    pub fn set_profile_fields(&self, user: &str, fields: &Value) {
        self.workspace.with(|state| state.directory.set_fields(user, fields));
    }

    /// Every stored message, in the order of storing; deleted ones are marked.
    pub fn messages(&self) -> Vec<StoredMessage> {
        self.workspace.with(|state| state.stored_messages())
    }

    /// A person deletes a message. False if there is no such message.
    pub fn delete_message(&self, conversation: &str, ts: &str) -> bool {
        self.workspace.with(|state| state.delete_message(conversation, ts)).is_some()
    }

    /// The last 200,000 requests to the Web API.
    pub fn log(&self) -> Vec<LogEntry> {
        self.log_after(0)
    }

    /// Requests numbered above `seq`.
    pub fn log_after(&self, seq: u64) -> Vec<LogEntry> {
        self.workspace.with(|state| state.log.after(seq))
    }

    /// Scripts a fault.
    pub fn script(&self, fault: Fault) {
        self.workspace.with(|state| state.faults.script(fault));
    }

    pub fn clear_faults(&self) {
        self.workspace.with(|state| state.faults.clear());
    }

    /// Installs the app without the authorize page; returns the token.
    pub fn install(&self, scopes: &[&str]) -> Secret {
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        Secret::new(self.workspace.with(|state| state.install(scopes, now_micros()).token))
    }

    /// Makes one token, or with `None` every token, answer `code` from now on: `token_revoked`,
    /// `account_inactive`, `token_expired`, `invalid_auth`…
    pub fn revoke_token(&self, token: Option<&Secret>, code: &str) {
        self.workspace.with(|state| state.tokens.kill(token.map(Secret::expose), code));
    }

    /// Removes the app: tokens answer `account_inactive`; `tokens_revoked` and `app_uninstalled`
    /// are pushed.
    pub fn uninstall(&self) {
        self.workspace.with(state::State::uninstall);
    }

    /// Replaces the scopes of every token.
    pub fn set_scopes(&self, scopes: &[&str]) {
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        self.workspace.with(|state| state.tokens.set_scopes(scopes));
    }

    /// Changes the options.
    pub fn configure(&self, change: impl FnOnce(&mut Options)) {
        self.workspace.with(|state| change(&mut state.options));
    }

    /// Creates a channel as the bot, with these members; returns its id. No event is sent. The
    /// bot's id is [`Sandbox::bot_user_id`].
    pub fn create_channel(&self, name: &str, private: bool, members: &[&str]) -> String {
        let kind = if private { conversation::Kind::Private } else { conversation::Kind::Public };
        self.workspace.with(|state| state.create_channel(name, kind, members, now_micros()))
    }

    /// A person makes a channel; the app is notified. Returns its id.
    pub fn make_channel(&self, new: &NewChannel) -> String {
        self.workspace.with(|state| state.make_channel(new, now_micros()))
    }

    /// A person or an administrator changes a channel; the app is notified. False if there is no
    /// such channel.
    pub fn change_channel(&self, id: &str, change: &ChannelChange) -> bool {
        self.workspace.with(|state| state.change_channel(id, change, now_micros())).is_some()
    }

    /// An administrator deletes a channel; the app is notified. False if there is no such channel.
    pub fn delete_channel(&self, id: &str) -> bool {
        self.workspace.with(|state| state.delete_channel(id, now_micros())).is_some()
    }

    /// A channel as it is, with its members, whether or not the app can see it:
    /// `{id, name, is_private, is_archived, topic, purpose, members: [{id, name, label}], …}`.
    pub fn channel(&self, id: &str) -> Option<Value> {
        self.workspace.with(|state| state.conversations.get(id).map(|c| state.describe_channel(c)))
    }

    /// Every channel with this name, as [`Sandbox::channel`] describes them, the oldest first.
    pub fn channels_named(&self, name: &str) -> Vec<Value> {
        self.workspace.with(|state| {
            let named = state.conversations.iter().filter(|c| c.user.is_none() && c.name == name);
            named.map(|c| state.describe_channel(c)).collect()
        })
    }

    pub fn bot_user_id(&self) -> String {
        self.workspace.with(|state| state.app.bot_user_id.clone())
    }

    /// Fires for each message stored, changed or deleted, and for changes of channels. A reader
    /// that is 4,096 behind gets an error.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.workspace.changes.subscribe()
    }

    /// The number of messages stored so far; `wait_for(|n| *n >= 11)` misses none.
    pub fn stored(&self) -> watch::Receiver<u64> {
        self.workspace.stored.subscribe()
    }

    /// The App Home published for this person, as in the answer of `views.publish`.
    pub fn home_view(&self, user: &str) -> Option<Value> {
        self.workspace.with(|state| state.views.get(user).cloned())
    }

    /// Sends events to this URL from now on: for tests that know the address only once the app
    /// runs.
    pub fn send_events_to(&self, url: Url) {
        self.sender.send_events_to(url);
        self.workspace.with(|state| state.events_wanted = true);
    }

    /// Pushes an event, given its inner payload, such as `{"type":"app_uninstalled"}`. Returns its
    /// `event_id`. `url_verification` and `app_rate_limited` are sent flat.
    ///
    /// # Errors
    /// [`PushError::NoEventsUrl`] if no events URL is set.
    pub fn push_event(&self, inner: Value) -> Result<String, PushError> {
        self.workspace.push(inner)
    }

    /// The last 10,000 attempts to push an event.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.sender.deliveries()
    }

    /// The number of attempts so far; fires at each attempt.
    pub fn delivery_attempts(&self) -> watch::Receiver<u64> {
        self.sender.attempts.subscribe()
    }

    /// The person of the conversation presses a button; returns the status of the app's answer.
    pub async fn press_button(
        &self,
        conversation: &str,
        ts: &str,
        action_id: &str,
    ) -> Result<u16, PushError> {
        let press = interact::Press {
            conversation: conversation.to_owned(),
            ts: ts.to_owned(),
            action_id: Some(action_id.to_owned()),
            block_id: None,
            user: None,
        };
        let payload = self.workspace.with(|state| state.press(&press, now_micros()))?;
        self.sender.interact(&payload).await
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn base(addr: SocketAddr) -> String {
    let ip = if addr.ip().is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { addr.ip() };
    format!("http://{}/", SocketAddr::new(ip, addr.port()))
}

/// The initial workspace: the members, and `#general` with all of them.
fn seeded(config: Config, addr: SocketAddr) -> state::State {
    let mut state = state::State {
        team: config.team,
        app: team::App {
            id: config.app_id,
            name: config.app_name,
            bot_user_id: "U0SANDBOXBOT".into(),
            bot_id: "B0SANDBOX01".into(),
        },
        client_id: config.client_id,
        client_secret: config.client_secret,
        redirect_urls: config.redirect_urls,
        time_scale: config.time_scale,
        options: Options {
            rate_limits: config.rate_limits,
            token_rotation: config.token_rotation,
            require_approval: config.require_approval,
            granted_scopes: config.granted_scopes,
            history_limit: config.history_limit,
            posts_per_minute: config.posts_per_minute,
            ..Options::default()
        },
        directory: directory::Directory::default(),
        conversations: conversation::Conversations::default(),
        tokens: tokens::Tokens::default(),
        codes: std::collections::HashMap::new(),
        views: std::collections::HashMap::new(),
        modals: kept::Modals::default(),
        approvals: kept::Approvals::default(),
        usergroups: Vec::new(),
        dnd: std::collections::HashMap::new(),
        manifests: std::collections::BTreeMap::new(),
        limits: limits::Limits::new(config.time_scale),
        faults: faults::Faults::default(),
        log: log::Log::default(),
        effects: Vec::new(),
        events_wanted: false,
        responses: std::collections::HashMap::new(),
        base: base(addr),
        counter: 0,
    };
    for (ordering, (id, label)) in fixture::FIELDS.into_iter().enumerate() {
        state.directory.definitions.push(directory::definition(id, label, ordering));
    }
    for member in config.seed_members {
        state.add_member(member);
    }
    seed_channels(&mut state, &config.seed_channels);
    // Only later changes cause events.
    state.events_wanted = config.events_url.is_some();
    state
}

/// `#general`, which always exists, and these channels.
fn seed_channels(state: &mut state::State, channels: &[NewChannel]) {
    let id = state.create_channel("general", conversation::Kind::Public, &[], now_micros());
    if let Some(channel) = state.conversations.get_mut(&id) {
        channel.general = true;
    }
    for channel in channels {
        state.make_channel(channel, now_micros());
    }
    // There are no readers yet.
    state.effects.clear();
}
