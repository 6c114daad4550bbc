//! The table of Web API methods, and how one call is decided.

use serde_json::{Value, json};

use super::limits::{Allowed, Tier};
use super::state::{Call, Error};
use super::{auth, channels, chat, conversations, oauth, scopes, users, views};

/// One method.
pub(super) struct Method {
    pub(super) name: &'static str,
    /// Any one of these; the method itself may be stricter.
    pub(super) scopes: &'static [&'static str],
    pub(super) tier: Tier,
    /// Whether a JSON body is read.
    pub(super) json: bool,
    /// Whether a token is needed.
    pub(super) token: bool,
    pub(super) run: fn(&mut Call<'_>) -> Result<Value, Error>,
}

const READ: &[&str] = &["channels:read", "groups:read", "mpim:read", "im:read"];
const HISTORY: &[&str] = &["channels:history", "groups:history", "mpim:history", "im:history"];
const MANAGE: &[&str] = &["channels:manage", "groups:write"];
const INVITE: &[&str] =
    &["channels:manage", "channels:write.invites", "groups:write", "groups:write.invites"];
const TOPIC: &[&str] =
    &["channels:write.topic", "groups:write.topic", "channels:manage", "groups:write"];
const OPEN: &[&str] = &["im:write", "mpim:write"];
const WRITE: &[&str] = &["chat:write"];

const fn method(
    name: &'static str,
    scopes: &'static [&'static str],
    tier: Tier,
    json: bool,
    run: fn(&mut Call<'_>) -> Result<Value, Error>,
) -> Method {
    Method { name, scopes, tier, json, token: true, run }
}

/// Scopes, tiers and the JSON flag are Slack's reference of methods.
static METHODS: &[Method] = &[
    Method { token: false, ..method("oauth.v2.access", &[], Tier::Special, false, oauth::access) },
    Method { token: false, ..method("api.test", &[], Tier::Four, true, api_test) },
    method("auth.test", &[], Tier::Special, true, auth::test),
    method("auth.revoke", &[], Tier::Three, false, auth::revoke),
    method("apps.uninstall", &[], Tier::One, false, oauth::uninstall),
    method("users.list", &["users:read"], Tier::Two, false, users::list),
    method("users.info", &["users:read"], Tier::Four, false, users::info),
    method(
        "users.lookupByEmail",
        &["users:read.email"],
        Tier::Three,
        false,
        users::lookup_by_email,
    ),
    method("users.profile.get", &["users.profile:read"], Tier::Four, false, users::profile_get),
    method(
        "team.profile.get",
        &["users.profile:read"],
        Tier::Three,
        false,
        users::team_profile_get,
    ),
    method("team.info", &["team:read"], Tier::Three, false, users::team_info),
    method("conversations.open", OPEN, Tier::Three, true, conversations::open),
    method("conversations.info", READ, Tier::Three, false, conversations::info),
    method("conversations.list", READ, Tier::Two, false, conversations::list),
    method("conversations.members", READ, Tier::Four, false, conversations::members),
    method("conversations.history", HISTORY, Tier::Three, true, conversations::history),
    method("conversations.replies", HISTORY, Tier::Three, false, conversations::replies),
    method("conversations.create", MANAGE, Tier::Two, true, channels::create),
    method("conversations.invite", INVITE, Tier::Three, true, channels::invite),
    method("conversations.kick", MANAGE, Tier::Three, true, channels::kick),
    method("conversations.join", &["channels:join"], Tier::Three, true, channels::join),
    method("conversations.leave", MANAGE, Tier::Three, true, channels::leave),
    method("conversations.archive", MANAGE, Tier::Two, true, channels::archive),
    method("conversations.unarchive", MANAGE, Tier::Two, true, channels::unarchive),
    method("conversations.rename", MANAGE, Tier::Two, true, channels::rename),
    method("conversations.setTopic", TOPIC, Tier::Two, true, channels::set_topic),
    method("conversations.setPurpose", TOPIC, Tier::Two, true, channels::set_purpose),
    method("chat.postMessage", WRITE, Tier::Special, true, chat::post_message),
    method("chat.update", WRITE, Tier::Three, true, chat::update),
    method("chat.delete", WRITE, Tier::Three, true, chat::delete),
    method("chat.getPermalink", &[], Tier::Special, false, chat::get_permalink),
    method("views.publish", &[], Tier::Four, true, views::publish),
];

pub(super) fn find(name: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.name == name)
}

/// Decides one call: token, rate, scope, then the method itself.
pub(super) fn run(
    method: &'static Method,
    call: &mut Call<'_>,
    token: Option<&str>,
) -> Result<Value, Error> {
    if method.token {
        let token = token.ok_or("not_authed")?;
        call.scopes = call.state.tokens.check(token, call.now)?;
        token.clone_into(&mut call.token);
    }
    if call.state.options.rate_limits {
        let allowed = Allowed {
            history: call.state.options.history_limit,
            posts_per_minute: call.state.options.posts_per_minute,
        };
        let counted = call.state.limits.method(method.name, method.tier, allowed, call.now);
        counted.map_err(Error::Limited)?;
    }
    scopes::check(&call.scopes, method.scopes)?;
    (method.run)(call)
}

fn api_test(call: &mut Call<'_>) -> Result<Value, Error> {
    match call.args.text("error") {
        Some(code) => Err(Error::code(code.to_owned())),
        None => Ok(json!({ "args": call.args.0 })),
    }
}
