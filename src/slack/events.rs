//! Events that Slack sends to the app: the envelope, and the parts that Herald uses (Slack's
//! documentation: Events API).
//!
//! Bytes are parsed here after [`super::signature`] has verified that they are from Slack; only a
//! short check of the address of a tenant's app is read without that.
//! Content that Herald does not use is [`Incoming::Unused`], never an error, because Slack extends
//! its events.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::audience::{Authorization, EventAudience};
use super::channel_events::{self, ChannelEvent};
use super::wire::{self, MemberJson};
use crate::domain::ids::SlackUserId;
use crate::domain::time::Timestamp;

/// Largest body accepted, in bytes. Slack documents no limit; a member object has a few kilobytes.
pub const BODY_BYTES: usize = 256 * 1024;
/// Longest id accepted, in bytes; Slack's have about twenty characters.
const ID_BYTES: usize = 64;

/// A person opened the app's Home tab, or another one.
const HOME_OPENED: &str = "app_home_opened";

/// The events that are not about channels ([`channel_events::KINDS`]). `user_profile_changed` is
/// left out: Slack sends the same content with each `user_change`, at the same time, so it would
/// only count twice against Slack's limit of events.
const OTHERS: &[&str] = &[
    HOME_OPENED,
    "app_uninstalled",
    "grid_migration_finished",
    "grid_migration_started",
    "team_access_granted",
    "team_access_revoked",
    "team_join",
    "tokens_revoked",
    "user_change",
];

/// The events that Herald's manifest subscribes to, in alphabetical order.
#[must_use]
pub fn subscribed() -> Vec<&'static str> {
    let mut kinds = [OTHERS, channel_events::KINDS].concat();
    kinds.sort_unstable();
    kinds
}

/// Those of them that are about organizations.
const OF_ORGANIZATIONS: [&str; 4] = [
    "grid_migration_finished",
    "grid_migration_started",
    "team_access_granted",
    "team_access_revoked",
];

/// A parsed request from Slack.
#[derive(Debug, Clone)]
pub enum Incoming {
    /// Slack checks the address; answer with the challenge.
    Verification { challenge: String },
    /// An event in a workspace.
    Event(Event),
    /// Content that Herald does not use.
    Unused,
}

/// An event in a workspace.
#[derive(Debug, Clone)]
pub struct Event {
    /// The same in each retry.
    pub id: String,
    pub app_id: String,
    /// The installations that it is for.
    pub audience: EventAudience,
    pub happened_at: Timestamp,
    pub what: What,
}

/// The kind of event and its content.
#[derive(Debug, Clone)]
pub enum What {
    /// A member is new or changed; `kind` is Slack's name of the event.
    Member { kind: &'static str, member: MemberJson },
    /// A channel changed, or people entered or left it; `kind` is Slack's name of the event.
    Channel { kind: &'static str, event: ChannelEvent },
    /// The app was removed.
    Uninstalled,
    /// The bot's token was revoked. (Herald ignores the revocation of a single person's token.)
    TokenRevoked,
    /// An organization gave the app to some of its workspaces or took it away, or the workspace
    /// begins or ends to move into one; `kind` is Slack's name of the event. Slack is asked what is
    /// so now, because the event may be late.
    Organization { kind: &'static str },
    /// A person opened the app's Home tab.
    HomeOpened { member: SlackUserId },
    /// Slack withheld events for a minute, because there were too many.
    RateLimited,
}

impl What {
    /// Slack's name of the event.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Member { kind, .. }
            | Self::Channel { kind, .. }
            | Self::Organization { kind } => kind,
            Self::Uninstalled => "app_uninstalled",
            Self::TokenRevoked => "tokens_revoked",
            Self::HomeOpened { .. } => HOME_OPENED,
            Self::RateLimited => "app_rate_limited",
        }
    }
}

/// The body does not have the form that Slack documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body is not an event as Slack documents it")]
pub struct Unreadable;

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default, deserialize_with = "wire::lenient")]
    challenge: Option<String>,
    api_app_id: Option<String>,
    #[serde(default, deserialize_with = "wire::lenient")]
    team_id: Option<String>,
    #[serde(default, deserialize_with = "wire::lenient")]
    enterprise_id: Option<String>,
    #[serde(default, deserialize_with = "wire::lenient")]
    authorizations: Option<Vec<Authorization>>,
    event_id: Option<String>,
    event_time: Option<Value>,
    #[serde(borrow)]
    event: Option<&'a RawValue>,
    /// Only in `app_rate_limited`, which has no nested event.
    #[serde(default, deserialize_with = "wire::lenient")]
    minute_rate_limited: Option<i64>,
}

#[derive(Deserialize)]
struct Inner {
    #[serde(rename = "type")]
    kind: String,
    user: Option<Box<RawValue>>,
    tokens: Option<Value>,
    /// Only in `app_home_opened`.
    #[serde(default, deserialize_with = "wire::lenient")]
    tab: Option<String>,
    event_ts: Option<Value>,
}

/// Parses a body.
pub fn parse(body: &[u8]) -> Result<Incoming, Unreadable> {
    let body = wire::readable(body);
    let envelope: Envelope<'_> = serde_json::from_slice(&body).map_err(|_| Unreadable)?;
    match envelope.kind.as_str() {
        "url_verification" => {
            let challenge = envelope.challenge.ok_or(Unreadable)?;
            Ok(Incoming::Verification { challenge })
        }
        "app_rate_limited" => {
            let minute = envelope.minute_rate_limited.ok_or(Unreadable)?;
            // This event has no id of its own.
            let id = format!("app_rate_limited:{minute}");
            event(&envelope, id, seconds(minute), What::RateLimited)
        }
        "event_callback" => {
            let raw = envelope.event.ok_or(Unreadable)?;
            let inner: Inner = serde_json::from_str(raw.get()).map_err(|_| Unreadable)?;
            let times = [inner.event_ts.as_ref(), envelope.event_time.as_ref()];
            let at = times.into_iter().flatten().find_map(wire::time).unwrap_or_default();
            let Some(what) = what(inner, raw)? else { return Ok(Incoming::Unused) };
            let id = envelope.event_id.clone().ok_or(Unreadable)?;
            event(&envelope, id, at, what)
        }
        _ => Ok(Incoming::Unused),
    }
}

fn what(inner: Inner, raw: &RawValue) -> Result<Option<What>, Unreadable> {
    if let Some(kind) = channel_events::kind_of(&inner.kind) {
        let event = channel_events::read(kind, raw.get()).ok_or(Unreadable)?;
        return Ok(Some(What::Channel { kind, event }));
    }
    if let Some(&kind) = OF_ORGANIZATIONS.iter().find(|kind| **kind == inner.kind) {
        return Ok(Some(What::Organization { kind }));
    }
    if inner.kind == HOME_OPENED {
        return home_opened(&inner);
    }
    let kind = match inner.kind.as_str() {
        "user_change" => "user_change",
        "user_profile_changed" => "user_profile_changed",
        "team_join" => "team_join",
        "app_uninstalled" => return Ok(Some(What::Uninstalled)),
        "tokens_revoked" => {
            let bots = inner.tokens.as_ref().and_then(|tokens| tokens.get("bot")?.as_array());
            return Ok(bots.is_some_and(|bots| !bots.is_empty()).then_some(What::TokenRevoked));
        }
        _ => return Ok(None),
    };
    let member = MemberJson::from_raw(inner.user.ok_or(Unreadable)?);
    Ok(Some(What::Member { kind, member }))
}

/// `None`: another tab, such as that of the messages.
fn home_opened(inner: &Inner) -> Result<Option<What>, Unreadable> {
    if inner.tab.as_deref() != Some("home") {
        return Ok(None);
    }
    let user = inner.user.as_ref().ok_or(Unreadable)?;
    let member = serde_json::from_str(user.get()).map_err(|_| Unreadable)?;
    Ok(Some(What::HomeOpened { member }))
}

fn event(
    envelope: &Envelope<'_>,
    id: String,
    happened_at: Timestamp,
    what: What,
) -> Result<Incoming, Unreadable> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let app_id = text(&envelope.api_app_id);
    let authorizations = envelope.authorizations.as_deref().unwrap_or_default();
    let audience = EventAudience::of(
        envelope.team_id.as_ref(),
        envelope.enterprise_id.as_ref(),
        authorizations,
    );
    let long = |id: &String| id.len() > ID_BYTES;
    if id.is_empty()
        || app_id.is_empty()
        || long(&id)
        || long(&app_id)
        || audience.is_longer_than(ID_BYTES)
    {
        return Err(Unreadable);
    }
    let audience = match &what {
        What::Member { member, .. } => audience.of_member(member.get()),
        What::Channel { .. }
        | What::Organization { .. }
        | What::HomeOpened { .. }
        | What::Uninstalled
        | What::TokenRevoked
        | What::RateLimited => audience,
    };
    Ok(Incoming::Event(Event { id, app_id, audience, happened_at, what }))
}

fn seconds(seconds: i64) -> Timestamp {
    Timestamp(seconds.saturating_mul(1_000_000))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn callback(inner: Value) -> Value {
        json!({"token": "t", "team_id": "T1", "enterprise_id": null, "api_app_id": "A1",
            "type": "event_callback", "event_id": "Ev1", "event_time": 1_360_782_804,
            "event": inner, "authorizations": []})
    }

    fn read(body: &Value) -> Result<Incoming, Unreadable> {
        parse(body.to_string().as_bytes())
    }

    fn event_of(body: &Value) -> Event {
        match read(body).unwrap() {
            Incoming::Event(event) => event,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_member_comes_through_as_slack_wrote_it() {
        for kind in ["user_change", "user_profile_changed", "team_join"] {
            let user = json!({"id": "U1", "odd": [1, {"a": null}]});
            let inner = json!({"type": kind, "user": user, "event_ts": "1360782804.083113"});
            let event = event_of(&callback(inner));
            assert_eq!((&*event.id, &*event.app_id), ("Ev1", "A1"));
            assert_eq!(
                (event.audience.teams, event.audience.enterprises),
                (vec!["T1".into()], vec![])
            );
            assert_eq!(event.happened_at, Timestamp(1_360_782_804_083_113));
            let What::Member { kind: told, member } = event.what else { panic!() };
            assert_eq!(told, kind);
            assert_eq!(serde_json::from_str::<Value>(member.get()).unwrap(), user);
        }
    }

    #[test]
    fn what_is_of_another_type_does_not_lose_the_event() {
        let numeric = json!({"type": "app_uninstalled", "event_ts": 1_360_782_804.083_113});
        assert_eq!(event_of(&callback(numeric)).happened_at, Timestamp(1_360_782_804_083_113));
        let mut odd = callback(json!({"type": "app_uninstalled", "event_ts": {}}));
        odd["event_time"] = json!("1360782804");
        assert_eq!(event_of(&odd).happened_at, Timestamp(1_360_782_804_000_000));
        // The event names the workspace in two places; either is enough.
        for (key, value) in [
            ("enterprise_id", json!(7)),
            ("authorizations", json!({"team_id": "T1"})),
            ("authorizations", json!(["T1"])),
            ("challenge", json!([])),
            ("minute_rate_limited", json!("soon")),
        ] {
            let mut odd = callback(json!({"type": "app_uninstalled"}));
            odd[key] = value;
            assert_eq!(event_of(&odd).audience.teams, ["T1"], "{odd}");
        }
        let mut odd = callback(json!({"type": "app_uninstalled"}));
        (odd["team_id"], odd["authorizations"]) = (json!(7), json!([{"team_id": "T1"}]));
        assert_eq!(event_of(&odd).audience.teams, ["T1"]);
        for tokens in [json!({"oauth": ["U1"], "bot": null}), json!({"bot": {}}), json!(null)] {
            let read = read(&callback(json!({"type": "tokens_revoked", "tokens": tokens})));
            assert!(matches!(read, Ok(Incoming::Unused)), "{read:?}");
        }
    }

    #[test]
    fn half_a_character_in_a_name_does_not_lose_the_event() {
        let user = json!({"id": "U1", "name": "HALF"});
        let body = callback(json!({"type": "team_join", "user": user})).to_string();
        let Incoming::Event(event) = parse(body.replace("HALF", r"a\ud83d").as_bytes()).unwrap()
        else {
            panic!()
        };
        let What::Member { member, .. } = event.what else { panic!() };
        let member: Value = serde_json::from_str(member.get()).unwrap();
        assert_eq!(member["name"], "a\u{fffd}");
    }

    #[test]
    fn the_same_change_is_not_subscribed_to_twice() {
        let kinds = subscribed();
        assert!(kinds.contains(&"user_change") && kinds.contains(&"team_join"));
        assert!(!kinds.contains(&"user_profile_changed"));
    }

    #[test]
    fn every_event_that_is_subscribed_to_is_used() {
        for kind in subscribed() {
            let inner = json!({"type": kind, "user": "U1", "channel": "C1", "tab": "home",
                "tokens": {"bot": ["U1"]}, "old_channel_id": "C1", "new_channel_id": "C2"});
            assert_eq!(event_of(&callback(inner)).what.kind(), kind);
        }
    }

    #[test]
    fn a_channel_comes_through_for_everyone_who_sees_it() {
        let inner = json!({"type": "member_left_channel", "user": "U1", "channel": "C1",
            "channel_type": "C", "team": "T9", "event_ts": "1360782804.083113"});
        let mut shared = callback(inner);
        shared["authorizations"] = json!([{"team_id": "T2"}]);
        let event = event_of(&shared);
        assert_eq!(event.audience.teams, ["T1", "T2"]);
        assert_eq!(event.happened_at, Timestamp(1_360_782_804_083_113));
        let What::Channel { kind, event } = event.what else { panic!() };
        assert_eq!((kind, event.channel.as_str()), ("member_left_channel", "C1"));
        assert_eq!(
            event.news,
            channel_events::ChannelNews::Left(SlackUserId::parse("U1").unwrap())
        );
        let broken = callback(json!({"type": "channel_archive", "channel": {"name": "n"}}));
        assert!(read(&broken).is_err());
    }

    #[test]
    fn the_end_of_an_installation() {
        let gone = event_of(&callback(json!({"type": "app_uninstalled"})));
        assert!(matches!(gone.what, What::Uninstalled));
        assert_eq!(gone.happened_at, Timestamp(1_360_782_804_000_000));
        let tokens = |tokens: Value| callback(json!({"type": "tokens_revoked", "tokens": tokens}));
        let bot = event_of(&tokens(json!({"oauth": [], "bot": ["U1"]})));
        assert!(matches!(bot.what, What::TokenRevoked));
        let person = read(&tokens(json!({"oauth": ["U1"], "bot": []})));
        assert!(matches!(person, Ok(Incoming::Unused)));
    }

    #[test]
    fn an_organization_is_told_by_its_events() {
        for (kind, inner) in [
            ("team_access_granted", json!({"team_ids": ["T1", "T2"]})),
            ("team_access_revoked", json!({"team_ids": []})),
            ("grid_migration_started", json!({"enterprise_id": "E1"})),
            ("grid_migration_finished", json!({"enterprise_id": "E1"})),
        ] {
            let mut inner = inner;
            inner["type"] = json!(kind);
            let mut body = callback(inner);
            body["authorizations"] = json!([{"enterprise_id": "E1", "team_id": null,
                "is_enterprise_install": true}]);
            let event = event_of(&body);
            assert!(matches!(event.what, What::Organization { kind: told } if told == kind));
            assert_eq!(event.audience.enterprises, ["E1"]);
        }
    }

    #[test]
    fn only_the_home_tab_is_told_when_a_person_opens_the_app() {
        let opened = |tab: Value, user: Value| {
            callback(json!({"type": "app_home_opened", "user": user, "channel": "D1", "tab": tab,
                "view": {"type": "home", "blocks": []}}))
        };
        let event = event_of(&opened(json!("home"), json!("U1")));
        assert_eq!(event.audience.teams, ["T1"]);
        assert!(matches!(event.what, What::HomeOpened { member } if member.as_str() == "U1"));
        for tab in [json!("messages"), json!("about"), json!(null), json!(7)] {
            let other = read(&opened(tab, json!("U1")));
            assert!(matches!(other, Ok(Incoming::Unused)), "{other:?}");
        }
        for user in [json!({"id": "U1"}), json!("U-1"), json!(""), json!(null)] {
            assert!(read(&opened(json!("home"), user)).is_err());
        }
    }

    #[test]
    fn what_is_flat() {
        let hello = json!({"token": "t", "type": "url_verification", "challenge": "c"});
        assert!(
            matches!(read(&hello), Ok(Incoming::Verification { challenge }) if challenge == "c")
        );
        let limited = json!({"token": "t", "type": "app_rate_limited", "team_id": "T1",
            "minute_rate_limited": 1_518_467_820, "api_app_id": "A1"});
        let event = event_of(&limited);
        assert!(matches!(event.what, What::RateLimited));
        assert_eq!(event.id, "app_rate_limited:1518467820");
    }

    #[test]
    fn what_is_not_used_is_no_error_and_what_is_broken_is() {
        for unused in
            [callback(json!({"type": "message", "user": "U1"})), json!({"type": "something_new"})]
        {
            let unused = read(&unused);
            assert!(matches!(unused, Ok(Incoming::Unused)), "{unused:?}");
        }
        let mut nameless = callback(json!({"type": "app_uninstalled"}));
        nameless["event_id"] = json!("x".repeat(65));
        let cases = [
            nameless,
            callback(json!({"type": "user_change"})),
            callback(json!("text")),
            json!({"type": "event_callback"}),
            json!({"type": "url_verification"}),
            json!([]),
        ];
        for broken in cases {
            assert!(read(&broken).is_err(), "{broken}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }
    }
}
