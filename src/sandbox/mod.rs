//! A fake Slack on a real socket, faithful enough for any Slack client.
//!
//! It serves the Web API at `/api/<method>` and the authorize page at `/oauth/v2/authorize`, pushes
//! signed events and interactions, keeps a log of every request, fails on command, and shows its
//! conversations at `/`. It is driven in-process by [`Sandbox`] or by JSON under `/_sandbox/`.
//! Facts about Slack come from docs.slack.dev; where Slack's pages are silent, published reports
//! were used. A sandbox has one app of its own in one workspace; `apps.manifest.create` adds apps,
//! and `Config::teams` more workspaces, which share the members.
//!
//! Modules, each of which imports only from those before it: `world` (the state of the workspaces),
//! `blocks` (Block Kit), `api` (the Web API, and the pages of consent), `driver` (the control API,
//! and people), `setup` (the beginning), `page` (the conversations in a browser).
//!
//! Durations that Slack dictates are multiplied by `time_scale`. `Retry-After` is in *unscaled*
//! whole seconds: a client multiplies it by the same factor.

pub mod page;
mod world;

mod blocks;

mod api;

mod driver;

mod setup;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::routing::{any, get, post};
use axum::{Extension, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::domain::secret::Secret;
use api::sign_in::{admin, consent, openid};
use api::{http, net};
use driver::place::Place;
use driver::{apps, control, happenings, interact};
use setup::{base, seeded};
use world::clock::now_micros;
use world::workspace::Workspace;
use world::{conversation, push, state};

pub use driver::channels::{ChannelChange, NewChannel};
pub use driver::{browser, fixture};
pub use setup::Config;
pub use world::change::{Change, ChangeKind};
pub use world::conversation::StoredMessage;
pub use world::faults::{Fault, FaultKind, Raw, When};
pub use world::limits::HistoryLimit;
pub use world::log::{ChannelAct, LogEntry};
pub use world::push::{Delivery, PushError};
pub use world::refreshes::Refresh;
pub use world::state::Options;
pub use world::team::{SandboxApp, Team};

/// Largest request accepted, in bytes.
const BODY: usize = 64 * 1024 * 1024;

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
        let sender = push::Sender::new(config.time_scale)?;
        let (pushes, queue) = mpsc::unbounded_channel();
        let workspace = Arc::new(Workspace::new(seeded(config, addr), pushes));
        let stop = CancellationToken::new();
        let app = Router::new()
            .route("/api/{method}", any(http::api))
            .route("/oauth/v2/authorize", get(consent::show).post(consent::decide))
            .route("/openid/connect/authorize", get(openid::show).post(openid::decide))
            .route("/admin/apps", get(admin::show))
            .route("/admin/apps/{id}", post(admin::decide))
            .merge(control::router())
            .merge(apps::router())
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
        self.workspace.with(|state| state.stored_messages(None))
    }

    /// The same of one workspace.
    pub fn messages_in(&self, team_id: &str) -> Vec<StoredMessage> {
        self.workspace.with(|state| state.stored_messages(Some(team_id)))
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

    /// Removes the sandbox's own app from the first workspace: tokens answer `account_inactive`;
    /// `tokens_revoked` and `app_uninstalled` are pushed.
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
        self.workspace.with(|state| state.views.get(&state.home_key(user)).cloned())
    }

    /// A person opens the app's Home tab; the app is notified. False if there is no such member, or
    /// if the app has no Home tab.
    pub fn open_home(&self, user: &str) -> bool {
        self.workspace.with(|state| state.open_home(user, now_micros())).is_some()
    }

    /// Sends events to this URL from now on: for tests that know the address only once the app
    /// runs.
    pub fn send_events_to(&self, url: Url) {
        self.workspace.with(|state| {
            let own = state.own_app.clone();
            state.change_app(&own, |app| app.events_url = Some(url));
        });
    }

    /// Sends interactions to this URL from now on, as [`Sandbox::send_events_to`] does with events.
    pub fn send_interactions_to(&self, url: Url) {
        self.workspace.with(|state| {
            let own = state.own_app.clone();
            state.change_app(&own, |app| app.interactions_url = Some(url));
        });
    }

    /// Pushes an event, given its inner payload, such as `{"type":"app_uninstalled"}`. Returns its
    /// `event_id`. `url_verification` and `app_rate_limited` are sent flat. With `_event_time`, the
    /// event is late: it happened in that second since the epoch.
    ///
    /// # Errors
    /// [`PushError::NoEventsUrl`] if no events URL is set.
    pub fn push_event(&self, inner: Value) -> Result<String, PushError> {
        self.workspace.push(&Place::default(), inner)
    }

    /// The same to an app in a workspace: `at` is their ids.
    ///
    /// # Errors
    /// [`PushError::NoEventsUrl`] if the app has none, [`PushError::NotFound`] if there is no such
    /// app or workspace.
    pub fn push_event_at(&self, at: [&str; 2], inner: Value) -> Result<String, PushError> {
        self.workspace.push(&Place::from(at), inner)
    }

    /// All apps with their secrets, the sandbox's own first.
    pub fn apps(&self) -> Vec<SandboxApp> {
        self.workspace.with(|state| state.sandbox_apps())
    }

    /// Gives an app another signing secret, which signs at once. `None` if there is no such app.
    pub fn regenerate_signing_secret(&self, app_id: &str) -> Option<SandboxApp> {
        self.workspace.with(|state| state.regenerate_signing_secret(app_id))
    }

    /// Gives an app another client secret; the old one works for 24 hours, scaled. `None` if there
    /// is no such app.
    pub fn regenerate_client_secret(&self, app_id: &str) -> Option<SandboxApp> {
        self.workspace.with(|state| state.regenerate_client_secret(app_id, now_micros()))
    }

    /// All workspaces, the first one first.
    pub fn teams(&self) -> Vec<Team> {
        self.workspace.with(|state| state.all_teams())
    }

    /// Installs an app in a workspace without the authorize page; returns the token. `at` is the
    /// ids of the app and of the workspace. `None` if there is no such app or workspace.
    pub fn install_at(&self, at: [&str; 2], scopes: &[&str]) -> Option<Secret> {
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        let install = |state: &mut state::State| state.install(scopes, now_micros()).token;
        self.workspace
            .with(|state| Place::from(at).enter(state).then(|| Secret::new(install(state))))
    }

    /// Removes an app from a workspace, as [`Sandbox::uninstall`] does. False if there is no such
    /// app or workspace.
    pub fn uninstall_at(&self, at: [&str; 2]) -> bool {
        self.workspace.with(|state| {
            let found = Place::from(at).enter(state);
            if found {
                state.uninstall();
            }
            found
        })
    }

    /// The organization adds an org-wide app to a workspace, or removes it; the app is notified.
    /// False if there is no such app or workspace.
    pub fn grant_team_at(&self, at: [&str; 2], granted: bool) -> bool {
        self.workspace.with(|state| {
            let found = Place::from(at).enter(state);
            if found {
                state.grant_team(granted);
            }
            found
        })
    }

    /// The last 100,000 refreshes of tokens that succeeded, in the order of their answers.
    pub fn refreshes(&self) -> Vec<Refresh> {
        self.workspace.with(|state| state.refreshes.all())
    }

    /// The app's ends of the connections on which a refresh is under way: asked for, and not yet
    /// answered.
    pub fn refreshing(&self) -> Vec<SocketAddr> {
        self.workspace.with(|state| state.refreshes.under_way())
    }

    /// The most refreshes of one installation that were ever under way at once, also those that
    /// gave no token.
    pub fn refreshes_at_once(&self) -> usize {
        self.workspace.with(|state| state.refreshes.most_at_once())
    }

    /// The workspaces begin to move into an Enterprise organization: methods answer
    /// `team_added_to_org`, and the apps are notified.
    pub fn migrate_to_org(&self, enterprise_id: &str) {
        self.workspace.with(|state| state.begin_migration(enterprise_id));
    }

    /// The workspaces have moved: people have other ids, which `migration.exchange` maps, and the
    /// apps are notified. False if no workspace was moving.
    pub fn finish_migration(&self) -> bool {
        self.workspace.with(state::State::finish_migration)
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
        let pressed = self.workspace.with(|state| state.press(&press, now_micros()))?;
        self.sender.interact(&pressed.to, &pressed.payload).await
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
