//! The facts that Herald needs about one Slack member, read from its raw `users.list` object.
//!
//! Any key may be missing, null, empty or of another type (Slack's documentation: User object).
//! Such a key is ignored, and only a missing id makes a member unusable. Texts are borrowed from
//! the object, and everything else in it is skipped without parsing, because a directory may have a
//! million members.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use jmespath::{Rcvar, Variable};
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess};
use serde_json::Value;

use crate::domain::ids::{IdError, SlackUserId};
use crate::domain::limits;
use crate::domain::mapping::json::{JsonReader, ObjectKey, Read, Scalar, skip_list, skip_object};
use crate::domain::mapping::{PathEvent, Walk};

/// Whether a member can be matched, and if not, why not. In the order in which the reasons are
/// reported if a value belongs to several members ([`crate::domain::reason::NoMatch`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberKind {
    /// An active person with an e-mail address: the only kind that expressions match. This includes
    /// people who were invited and have never signed in (`is_invited_user`): Slack accepts direct
    /// messages for them, sends them an e-mail about each, and shows them the messages after the
    /// first sign-in (slack.com/help/articles/360024686174).
    Matchable,
    /// An active person without `profile.email`.
    NoEmail,
    /// `deleted`.
    Deactivated,
    /// A bot, a workflow, a connector or Slackbot.
    Bot,
}

impl MemberKind {
    /// Whether messages reach this member. A member without an e-mail address is never *matched*,
    /// but can be pinned, and an identity stored earlier stays valid.
    #[must_use]
    pub fn is_alive(self) -> bool {
        matches!(self, Self::Matchable | Self::NoEmail)
    }
}

/// Why a member object was refused. Reveals nothing of its contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadMember {
    #[error("the member is not a JSON object")]
    Json,
    #[error("the member has no id, or one that is not a Slack id")]
    Id,
    #[error("the directory holds more members than an index can address")]
    Full,
}

/// One member. Personal: `Debug` shows only id and kind.
#[derive(Clone, PartialEq, Eq)]
pub struct Member<'a> {
    /// A valid Slack id.
    id: Cow<'a, str>,
    /// The first that is not empty: `profile.display_name`, `profile.real_name`, `real_name`,
    /// `name`.
    pub display_name: Cow<'a, str>,
    /// `profile.real_name`, otherwise `real_name`.
    pub real_name: Option<Cow<'a, str>>,
    /// IANA name (`tz`).
    pub time_zone: Option<Cow<'a, str>>,
    /// `locale`, such as `de-DE`.
    pub locale: Option<Cow<'a, str>>,
    /// `profile.email` in Slack's spelling.
    pub email: Option<Cow<'a, str>>,
    pub kind: MemberKind,
    /// Whether the person was invited and has never signed in (`is_invited_user`).
    pub invited: bool,
    /// Unix seconds of the last change; 0 if Slack does not give it.
    pub updated: i64,
}

impl<'a> Member<'a> {
    /// From the raw bytes of the object.
    pub fn from_slice(json: &'a [u8]) -> Result<Self, BadMember> {
        Self::with_path(json, &[], &mut |_| {})
    }

    /// Whether [`Member::with_path`] can follow this path: no fact lies on it or below it.
    pub(super) fn leaves_out(path: &[String]) -> bool {
        let is = |fact: &&[&str]| fact.iter().zip(path).all(|(name, field)| name == field);
        !path.is_empty() && !FACTS.iter().any(is)
    }

    /// Like [`Member::from_slice`], and reports in the same pass the values at the end of a path
    /// for which [`Member::leaves_out`] holds. Ignore values that were reported before an error.
    pub(super) fn with_path<F: FnMut(PathEvent<'_>)>(
        json: &'a [u8],
        path: &[String],
        found: &mut F,
    ) -> Result<Self, BadMember> {
        let mut json = serde_json::Deserializer::from_slice(json);
        let facts =
            Read(TopLevel { path, found }).deserialize(&mut json).map_err(|_| BadMember::Json)?;
        json.end().map_err(|_| BadMember::Json)?;
        Self::from_facts(facts.ok_or(BadMember::Json)?)
    }

    /// From a parsed object.
    pub fn from_value(value: &'a Value) -> Result<Self, BadMember> {
        let top = TopLevel { path: &[], found: &mut |_: PathEvent<'_>| {} };
        let facts = Read(top).deserialize(value).map_err(|_| BadMember::Json)?;
        Self::from_facts(facts.ok_or(BadMember::Json)?)
    }

    /// From an object that an evaluator read, with at least the [`FACTS`] of the member.
    pub(super) fn from_variable(member: &'a Variable) -> Result<Self, BadMember> {
        let Variable::Object(keys) = member else { return Err(BadMember::Json) };
        let text = |keys: &'a BTreeMap<String, Rcvar>, key: &str| match keys.get(key).map(|v| &**v)
        {
            Some(Variable::String(text)) if !text.trim().is_empty() => {
                Some(Cow::Borrowed(text.as_str()))
            }
            _ => None,
        };
        let flag = |key: &str| matches!(keys.get(key).map(|v| &**v), Some(Variable::Bool(true)));
        let profile = match keys.get("profile").map(|v| &**v) {
            Some(Variable::Object(profile)) => Profile {
                email: text(profile, "email"),
                display_name: text(profile, "display_name"),
                real_name: text(profile, "real_name"),
            },
            _ => Profile::default(),
        };
        Self::from_facts(Facts {
            id: text(keys, "id"),
            name: text(keys, "name"),
            real_name: text(keys, "real_name"),
            tz: text(keys, "tz"),
            locale: text(keys, "locale"),
            deleted: flag("deleted"),
            bot: flag("is_bot") || flag("is_workflow_bot") || flag("is_connector_bot"),
            invited: flag("is_invited_user"),
            updated: match keys.get("updated").map(|v| &**v) {
                Some(Variable::Number(number)) => number.as_i64().unwrap_or(0),
                _ => 0,
            },
            profile,
        })
    }

    /// The id, checked.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    fn from_facts(facts: Facts<'a>) -> Result<Self, BadMember> {
        let id = facts.id.ok_or(BadMember::Id)?;
        let id_is_good =
            id.len() <= limits::SLACK_ID_BYTES && id.bytes().all(|b| b.is_ascii_alphanumeric());
        if !id_is_good {
            return Err(BadMember::Id);
        }
        let kind = if facts.bot || id == "USLACKBOT" {
            MemberKind::Bot
        } else if facts.deleted {
            MemberKind::Deactivated
        } else if facts.profile.email.is_none() {
            MemberKind::NoEmail
        } else {
            MemberKind::Matchable
        };
        let real_name = facts.profile.real_name.or(facts.real_name);
        let display_name = facts
            .profile
            .display_name
            .or_else(|| real_name.clone())
            .or(facts.name)
            .unwrap_or_default();
        Ok(Self {
            id,
            display_name,
            real_name,
            time_zone: facts.tz,
            locale: facts.locale,
            email: facts.profile.email,
            kind,
            invited: facts.invited,
            updated: facts.updated,
        })
    }
}

impl fmt::Debug for Member<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl TryFrom<&Member<'_>> for SlackUserId {
    type Error = IdError;
    fn try_from(member: &Member<'_>) -> Result<Self, Self::Error> {
        Self::parse(member.id())
    }
}

/// The fields that [`Member::from_variable`] reads.
pub(super) const FACTS: [&[&str]; 14] = [
    &["id"],
    &["name"],
    &["real_name"],
    &["tz"],
    &["locale"],
    &["deleted"],
    &["is_bot"],
    &["is_workflow_bot"],
    &["is_connector_bot"],
    &["is_invited_user"],
    &["updated"],
    &["profile", "email"],
    &["profile", "display_name"],
    &["profile", "real_name"],
];

/// The top level of a member object.
#[derive(Default)]
struct Facts<'a> {
    id: Option<Cow<'a, str>>,
    name: Option<Cow<'a, str>>,
    real_name: Option<Cow<'a, str>>,
    tz: Option<Cow<'a, str>>,
    locale: Option<Cow<'a, str>>,
    deleted: bool,
    /// Any of `is_bot`, `is_workflow_bot`, `is_connector_bot`.
    bot: bool,
    invited: bool,
    updated: i64,
    profile: Profile<'a>,
}

/// The needed fields of `profile`. A profile that is not an object has none.
#[derive(Default)]
struct Profile<'a> {
    email: Option<Cow<'a, str>>,
    display_name: Option<Cow<'a, str>>,
    real_name: Option<Cow<'a, str>>,
}

/// Reads the facts, and follows a path.
struct TopLevel<'p, F> {
    path: &'p [String],
    found: &'p mut F,
}

impl<'de, F: FnMut(PathEvent<'_>)> JsonReader<'de> for TopLevel<'_, F> {
    type Output = Option<Facts<'de>>;

    fn scalar(self, _: Scalar<'de>) -> Self::Output {
        None
    }

    fn object<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Output, A::Error> {
        let mut facts = Facts::default();
        let (first, rest) = split(self.path);
        while let Some(ObjectKey(key)) = map.next_key()? {
            match &*key {
                "id" => facts.id = map.next_value_seed(Read(Text))?,
                "name" => facts.name = map.next_value_seed(Read(Text))?,
                "real_name" => facts.real_name = map.next_value_seed(Read(Text))?,
                "tz" => facts.tz = map.next_value_seed(Read(Text))?,
                "locale" => facts.locale = map.next_value_seed(Read(Text))?,
                "deleted" => facts.deleted = map.next_value_seed(Read(Flag))?,
                "is_bot" | "is_workflow_bot" | "is_connector_bot" => {
                    facts.bot |= map.next_value_seed(Read(Flag))?;
                }
                "is_invited_user" => facts.invited = map.next_value_seed(Read(Flag))?,
                "updated" => facts.updated = map.next_value_seed(Read(Integer))?,
                "profile" => {
                    let mut path: &[String] = &[];
                    if first == Some("profile") {
                        (self.found)(PathEvent::Restart);
                        path = rest;
                    }
                    let found = &mut *self.found;
                    facts.profile = map.next_value_seed(Read(ProfileKeys { path, found }))?;
                }
                key if Some(key) == first => {
                    (self.found)(PathEvent::Restart);
                    let found = &mut *self.found;
                    map.next_value_seed(Read(Walk { path: rest, found }))?;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Some(facts))
    }

    fn list<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Output, A::Error> {
        skip_list(seq).map(|()| None)
    }
}

/// Reads the facts of the profile, and follows the rest of the path.
struct ProfileKeys<'p, F> {
    path: &'p [String],
    found: &'p mut F,
}

impl<'de, F: FnMut(PathEvent<'_>)> JsonReader<'de> for ProfileKeys<'_, F> {
    type Output = Profile<'de>;

    fn scalar(self, _: Scalar<'de>) -> Profile<'de> {
        Profile::default()
    }

    fn object<A: MapAccess<'de>>(self, mut map: A) -> Result<Profile<'de>, A::Error> {
        let mut profile = Profile::default();
        let (first, rest) = split(self.path);
        while let Some(ObjectKey(key)) = map.next_key()? {
            match &*key {
                "email" => profile.email = map.next_value_seed(Read(Text))?,
                "display_name" => profile.display_name = map.next_value_seed(Read(Text))?,
                "real_name" => profile.real_name = map.next_value_seed(Read(Text))?,
                key if Some(key) == first => {
                    (self.found)(PathEvent::Restart);
                    let found = &mut *self.found;
                    map.next_value_seed(Read(Walk { path: rest, found }))?;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(profile)
    }

    fn list<A: SeqAccess<'de>>(self, seq: A) -> Result<Profile<'de>, A::Error> {
        skip_list(seq).map(|()| Profile::default())
    }
}

/// The first field of a path and the others.
fn split(path: &[String]) -> (Option<&str>, &[String]) {
    match path {
        [first, rest @ ..] => (Some(first), rest),
        [] => (None, &[]),
    }
}

/// Readers of one simple fact; a value of another shape is ignored.
macro_rules! fact {
    ($(#[$doc:meta])* $name:ident: $ty:ty, $pattern:pat => $found:expr, else $nothing:expr) => {
        $(#[$doc])*
        struct $name;

        impl<'de> JsonReader<'de> for $name {
            type Output = $ty;

            fn scalar(self, scalar: Scalar<'de>) -> $ty {
                match scalar { $pattern => $found, _ => $nothing }
            }

            fn object<A: MapAccess<'de>>(self, map: A) -> Result<$ty, A::Error> {
                skip_object(map).map(|()| $nothing)
            }

            fn list<A: SeqAccess<'de>>(self, seq: A) -> Result<$ty, A::Error> {
                skip_list(seq).map(|()| $nothing)
            }
        }
    };
}

fact!(
    /// A text that is not blank.
    Text: Option<Cow<'de, str>>,
    Scalar::Text(text) => (!text.trim().is_empty()).then_some(text), else None
);
fact!(Flag: bool, Scalar::Bool(flag) => flag, else false);
fact!(Integer: i64, Scalar::Number(number) => number.as_i64().unwrap_or(0), else 0);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn kind(value: Value) -> MemberKind {
        let bytes = serde_json::to_vec(&value).unwrap();
        let member = Member::from_slice(&bytes).unwrap();
        assert!(member == Member::from_value(&value).unwrap());
        member.kind
    }

    #[test]
    fn kinds() {
        let person = json!({"id": "U1", "profile": {"email": "a@x.org"}});
        assert_eq!(kind(person.clone()), MemberKind::Matchable);
        let with = |key: &str, value: Value| {
            let mut person = person.clone();
            person[key] = value;
            person
        };
        assert_eq!(kind(with("deleted", json!(true))), MemberKind::Deactivated);
        assert_eq!(kind(with("deleted", json!(null))), MemberKind::Matchable);
        assert_eq!(kind(with("id", json!("USLACKBOT"))), MemberKind::Bot);
        for key in ["is_bot", "is_workflow_bot", "is_connector_bot"] {
            assert_eq!(kind(with(key, json!(true))), MemberKind::Bot, "{key}");
            assert_eq!(kind(with(key, json!(false))), MemberKind::Matchable, "{key}");
        }
        for email in [json!(null), json!(""), json!(" 	"), json!({}), json!([]), json!(7)] {
            assert_eq!(kind(with("profile", json!({"email": email}))), MemberKind::NoEmail);
        }
        for profile in [json!(null), json!("x"), json!([1]), json!(true), json!({})] {
            assert_eq!(kind(with("profile", profile)), MemberKind::NoEmail);
        }
    }

    #[test]
    fn a_deactivated_bot_is_a_bot_and_a_deactivated_person_needs_no_address() {
        let bot = json!({"id": "B1", "deleted": true, "is_bot": true});
        assert_eq!(kind(bot), MemberKind::Bot);
        assert_eq!(kind(json!({"id": "U1", "deleted": true})), MemberKind::Deactivated);
    }

    #[test]
    fn the_first_name_that_says_something() {
        let name = |value: Value| Member::from_value(&value).unwrap().display_name.into_owned();
        let profile = json!({"display_name": "d", "real_name": "pr"});
        let mut value = json!({"id": "U1", "name": "n", "real_name": "r", "profile": profile});
        assert_eq!(name(value.clone()), "d");
        value["profile"]["display_name"] = json!("");
        assert_eq!(name(value.clone()), "pr");
        value["profile"]["real_name"] = json!(null);
        assert_eq!(name(value.clone()), "r");
        value["real_name"] = json!(" ");
        assert_eq!(name(value.clone()), "n");
        value["name"] = json!(3);
        assert_eq!(name(value), "");
    }

    #[test]
    fn refused_members() {
        let cases: [(&[u8], BadMember); 9] = [
            (b"", BadMember::Json),
            (b"{", BadMember::Json),
            (b"[]", BadMember::Json),
            (b"null", BadMember::Json),
            (b"{} x", BadMember::Json),
            (b"{}", BadMember::Id),
            (br#"{"id": null}"#, BadMember::Id),
            (br#"{"id": "U 1"}"#, BadMember::Id),
            (br#"{"id": "U12345678901234567890123456789012"}"#, BadMember::Id),
        ];
        for (json, error) in cases {
            assert_eq!(Member::from_slice(json).unwrap_err(), error);
        }
    }

    #[test]
    fn texts_with_escapes_are_read() {
        let member = br#"{"id":"U1","tz":"Europe\/Vienna","profile":{"email":"a@x.org"}}"#;
        let member = Member::from_slice(member).unwrap();
        assert_eq!(member.email.as_deref(), Some("a@x.org"));
        assert_eq!(member.time_zone.as_deref(), Some("Europe/Vienna"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Member::from_slice(&bytes);
        }
    }
}
