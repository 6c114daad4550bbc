//! The set-up of a sandbox, and the workspaces as they are at the beginning.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use serde_json::Value;
use url::Url;

use super::driver::channels::NewChannel;
use super::driver::fixture;
use super::world::clock::now_micros;
use super::world::conversation::Conversations;
use super::world::faults::Faults;
use super::world::limits::{self, HistoryLimit};
use super::world::log::Log;
use super::world::refreshes::Refreshes;
use super::world::state::{Options, State, TOKEN_SECONDS};
use super::world::team::{App, Team};
use super::world::tokens::Tokens;
use super::world::{directory, kept};
use crate::domain::secret::Secret;

/// The workspaces and the app that the sandbox plays.
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
    /// The first workspace.
    pub team: Team,
    /// The number of workspaces, which share the members. Each has a `#general` of its own.
    pub teams: u32,
    /// The requested scopes that are granted; `None` grants all.
    pub granted_scopes: Option<Vec<String>>,
    /// Whether tokens expire and come with a refresh token.
    pub token_rotation: bool,
    /// How long a rotating token lives, seconds; scaled.
    pub token_seconds: u32,
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
            teams: 1,
            granted_scopes: None,
            token_rotation: false,
            token_seconds: TOKEN_SECONDS,
            require_approval: false,
            history_limit: HistoryLimit::Full,
            posts_per_minute: limits::POSTS_PER_MINUTE,
        }
    }
}

pub(super) fn base(addr: SocketAddr) -> String {
    let ip = if addr.ip().is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { addr.ip() };
    format!("http://{}/", SocketAddr::new(ip, addr.port()))
}

/// The initial workspaces: the members, and `#general`.
pub(super) fn seeded(config: Config, addr: SocketAddr) -> State {
    let app = Arc::new(App {
        id: config.app_id,
        name: config.app_name,
        bot_user_id: "U0SANDBOXBOT".into(),
        bot_id: "B0SANDBOX01".into(),
        client_id: config.client_id,
        client_secret: config.client_secret,
        former_secret: None,
        signing_secret: config.signing_secret,
        redirect_urls: config.redirect_urls,
        events_url: config.events_url,
        interactions_url: config.interactions_url,
        manifest: Value::Null,
    });
    let team = Arc::new(config.team);
    let options = Options {
        rate_limits: config.rate_limits,
        token_rotation: config.token_rotation,
        token_seconds: config.token_seconds,
        require_approval: config.require_approval,
        granted_scopes: config.granted_scopes,
        history_limit: config.history_limit,
        posts_per_minute: config.posts_per_minute,
        ..Options::default()
    };
    let mut state = empty(app, team, options, config.time_scale, base(addr));
    for (ordering, (id, label)) in fixture::FIELDS.into_iter().enumerate() {
        state.directory.definitions.push(directory::definition(id, label, ordering));
    }
    for member in config.seed_members {
        state.add_member(member);
    }
    state.add_general(now_micros());
    state.add_teams(usize::try_from(config.teams).unwrap_or(1), now_micros());
    for channel in &config.seed_channels {
        state.go_home();
        state.make_channel(channel, now_micros());
    }
    // There are no readers yet, and only later changes cause events.
    state.effects.clear();
    state.events_wanted = true;
    state
}

/// An app and a workspace without members and channels.
fn empty(app: Arc<App>, team: Arc<Team>, options: Options, time_scale: f64, base: String) -> State {
    State {
        own_team: team.id.clone(),
        own_app: app.id.clone(),
        teams: BTreeMap::from([(team.id.clone(), Arc::clone(&team))]),
        apps: BTreeMap::from([(app.id.clone(), Arc::clone(&app))]),
        team,
        app,
        access: HashMap::new(),
        moving_into: None,
        time_scale,
        options,
        directory: directory::Directory::default(),
        conversations: Conversations::default(),
        tokens: Tokens::default(),
        codes: HashMap::new(),
        views: HashMap::new(),
        modals: kept::Modals::default(),
        approvals: kept::Approvals::default(),
        usergroups: Vec::new(),
        dnd: HashMap::new(),
        refreshes: Refreshes::default(),
        limits: HashMap::new(),
        faults: Faults::default(),
        log: Log::default(),
        effects: Vec::new(),
        events_wanted: false,
        responses: HashMap::new(),
        base,
        counter: 0,
    }
}
