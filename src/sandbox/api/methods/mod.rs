//! The table of Web API methods, and the decision on one call.

pub(super) mod auth;
mod conversations;
mod dnd;
mod manifests;
mod modals;
mod org;
mod usergroups;
mod users;
mod validate;
mod views;

mod channels;
mod chat;

mod ephemeral;

mod invitations;

use serde_json::{Value, json};

use super::call::Call;
use super::sign_in::{oauth, openid};
use crate::sandbox::world::error::Error;
use crate::sandbox::world::limits::{Allowed, HistoryLimit, Tier};
use crate::sandbox::world::scopes;

/// The kind of caller that a method accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sandbox) enum Caller {
    /// The app by its id and secret, or any caller.
    Anybody,
    /// The bot, by its token.
    Bot,
    /// A person, by their token.
    Person,
    /// A caller with an app configuration token.
    Configuration,
}

/// One method.
pub(in crate::sandbox) struct Method {
    pub(in crate::sandbox) name: &'static str,
    /// Any one of these is enough; the method itself may be stricter.
    pub(in crate::sandbox) scopes: &'static [&'static str],
    pub(in crate::sandbox) tier: Tier,
    /// Whether a JSON body is read.
    pub(in crate::sandbox) json: bool,
    pub(in crate::sandbox) caller: Caller,
    /// Whether an org-wide token must name the workspace.
    team: bool,
    pub(in crate::sandbox) run: fn(&mut Call<'_>) -> Result<Value, Error>,
}

impl Method {
    const fn by(mut self, caller: Caller) -> Self {
        self.caller = caller;
        self
    }

    const fn of_a_team(mut self) -> Self {
        self.team = true;
        self
    }
}

const READ: &[&str] = &["channels:read", "groups:read", "mpim:read", "im:read"];
const HISTORY: &[&str] = &["channels:history", "groups:history", "mpim:history", "im:history"];
const MANAGE: &[&str] = &["channels:manage", "groups:write", "mpim:write", "im:write"];
const KICK: &[&str] = &["channels:manage", "groups:write"];
const INVITE: &[&str] = &[
    "channels:manage",
    "channels:write.invites",
    "groups:write",
    "groups:write.invites",
    "mpim:write",
    "im:write",
];
const TOPIC: &[&str] = &[
    "channels:write.topic",
    "groups:write.topic",
    "mpim:write.topic",
    "im:write.topic",
    "channels:manage",
    "groups:write",
    "mpim:write",
    "im:write",
];
const WRITE: &[&str] = &["chat:write"];
const PEOPLE: &[&str] = &["users:read"];
const EMAIL: &[&str] = &["users:read.email"];
const PROFILE: &[&str] = &["users.profile:read"];
const GROUPS: &[&str] = &["usergroups:read"];

const fn method(
    name: &'static str,
    scopes: &'static [&'static str],
    tier: Tier,
    json: bool,
    run: fn(&mut Call<'_>) -> Result<Value, Error>,
) -> Method {
    Method { name, scopes, tier, json, caller: Caller::Bot, team: false, run }
}

use Caller::{Anybody, Configuration, Person};
use Tier::{Four, One, Special, Three, Two};

/// Scopes, tiers and the JSON flag are from Slack's reference of methods.
#[rustfmt::skip]
static METHODS: &[Method] = &[
    method("api.test", &[], Four, true, api_test).by(Anybody),
    method("apps.manifest.create", &[], One, true, manifests::create).by(Configuration),
    method("apps.manifest.delete", &[], One, true, manifests::delete).by(Configuration),
    method("apps.manifest.export", &[], Three, true, manifests::export).by(Configuration),
    method("apps.manifest.update", &[], One, true, manifests::update).by(Configuration),
    method("apps.manifest.validate", &[], Three, true, manifests::validate).by(Configuration),
    method("apps.uninstall", &[], One, false, oauth::uninstall),
    method("auth.revoke", &[], Three, false, auth::revoke),
    method("auth.teams.list", &[], Two, false, org::teams_list),
    method("auth.test", &[], Special, true, auth::test),
    method("blocks.validate", &[], Three, true, validate::validate),
    method("bots.info", PEOPLE, Three, false, users::bots_info),
    method("chat.delete", WRITE, Three, true, chat::delete),
    method("chat.getPermalink", &[], Special, false, chat::get_permalink),
    method("chat.postEphemeral", WRITE, Four, true, ephemeral::post),
    method("chat.postMessage", WRITE, Special, true, chat::post_message),
    method("chat.update", WRITE, Three, true, chat::update),
    method("conversations.archive", MANAGE, Two, true, channels::archive),
    method("conversations.close", MANAGE, Two, true, conversations::close),
    method("conversations.create", MANAGE, Two, true, channels::create).of_a_team(),
    method("conversations.history", HISTORY, Three, true, conversations::history),
    method("conversations.info", READ, Three, false, conversations::info),
    method("conversations.invite", INVITE, Three, true, invitations::invite),
    method("conversations.join", &["channels:join"], Three, true, channels::join),
    method("conversations.kick", KICK, Three, true, channels::kick),
    method("conversations.leave", MANAGE, Three, true, channels::leave),
    method("conversations.list", READ, Two, false, conversations::list).of_a_team(),
    method("conversations.members", READ, Four, false, conversations::members),
    method("conversations.open", MANAGE, Three, true, conversations::open),
    method("conversations.rename", MANAGE, Two, true, channels::rename),
    method("conversations.replies", HISTORY, Three, false, conversations::replies),
    method("conversations.setPurpose", TOPIC, Two, true, channels::set_purpose),
    method("conversations.setTopic", TOPIC, Two, true, channels::set_topic),
    method("conversations.unarchive", MANAGE, Two, true, channels::unarchive),
    method("dnd.info", &["dnd:read"], Three, false, dnd::info),
    method("dnd.teamInfo", &["dnd:read"], Two, false, dnd::team_info).of_a_team(),
    method("migration.exchange", &["tokens.basic"], Two, false, org::migration_exchange)
        .of_a_team(),
    method("oauth.v2.access", &[], Special, false, oauth::access).by(Anybody),
    method("oauth.v2.exchange", &[], Three, false, oauth::exchange_token).by(Anybody),
    method("openid.connect.token", &[], Four, false, openid::token).by(Anybody),
    method("openid.connect.userInfo", &["openid"], Three, false, openid::user_info).by(Person),
    method("team.info", &["team:read"], Three, false, users::team_info),
    method("team.profile.get", PROFILE, Three, false, users::team_profile_get).of_a_team(),
    method("usergroups.list", GROUPS, Two, false, usergroups::list).of_a_team(),
    method("usergroups.users.list", GROUPS, Two, false, usergroups::users_list).of_a_team(),
    method("users.conversations", READ, Three, false, conversations::of_user).of_a_team(),
    method("users.info", PEOPLE, Four, false, users::info),
    method("users.list", PEOPLE, Two, false, users::list).of_a_team(),
    method("users.lookupByEmail", EMAIL, Three, false, users::lookup_by_email),
    method("users.profile.get", PROFILE, Four, false, users::profile_get),
    method("views.open", &[], Four, true, modals::open),
    method("views.publish", &[], Four, true, views::publish),
    method("views.push", &[], Four, true, modals::push),
    method("views.update", &[], Four, true, modals::update),
];

/// The names of all methods, sorted.
pub(in crate::sandbox) fn names() -> impl Iterator<Item = &'static str> {
    METHODS.iter().map(|method| method.name)
}

pub(super) fn find(name: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.name == name)
}

/// Decides one call: token, rate, scope, then the method itself.
pub(super) fn run(
    method: &'static Method,
    call: &mut Call<'_>,
    token: Option<&str>,
) -> Result<Value, Error> {
    token.unwrap_or_default().clone_into(&mut call.token);
    match method.caller {
        Anybody => {}
        by @ (Caller::Bot | Person) => {
            token.ok_or("not_authed")?;
            call.scopes = call.state.tokens.check(&call.token, call.now)?;
            org::enter(call)?;
            if call.state.tokens.user_of(&call.token).is_some() != (by == Person) {
                return Err("not_allowed_token_type".into());
            }
        }
        Configuration => {
            token.ok_or("not_authed")?;
            call.state.tokens.check_configuration(&call.token)?;
        }
    }
    count(method, call)?;
    scopes::check(&call.scopes, method.scopes)?;
    if method.team {
        org::check_team(call)?;
    }
    (method.run)(call)
}

/// Counts the call against the limits of its app in its workspace.
fn count(method: &'static Method, call: &mut Call<'_>) -> Result<(), Error> {
    let options = &call.state.options;
    let allowed =
        Allowed { history: options.history_limit, posts_per_minute: options.posts_per_minute };
    let history = matches!(method.name, "conversations.history" | "conversations.replies");
    let slow_history = history && allowed.history == HistoryLimit::OnePerMinute15;
    if !options.rate_limits && !slow_history {
        return Ok(());
    }
    let counted = call.state.limits_here().method(method.name, method.tier, allowed, call.now);
    counted.map_err(Error::Limited)
}

fn api_test(call: &mut Call<'_>) -> Result<Value, Error> {
    match call.args.text("error") {
        Some(code) => Err(Error::code(code.to_owned())),
        None => Ok(json!({ "args": call.args.0 })),
    }
}
