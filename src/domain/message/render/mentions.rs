//! People in a message, as they are known when it is sent.
//!
//! The filter `mention` names a person by user id. A message is written when it is accepted, and
//! may be sent much later, so the filter leaves a placeholder, `<@herald:id|name>`. [`resolved`]
//! replaces it: in mrkdwn by the member (`<@U1>`), elsewhere and for people without a member by
//! the person's display name. Neither data nor a mention's own name can contain `<@`, and a text in
//! which the author's words and data would form a placeholder is refused, so no placeholder comes
//! from data.
//!
//! The reader's own name is looked up in the same way, where a template only shows it: its
//! placeholder, `<@herald:=id|name>`, becomes a name in mrkdwn, too.
//!
//! A placeholder has room for a display name, and its replacement is never longer, so a message
//! that fits still fits when its mentions are resolved.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Rendered, escape, fit};
use crate::domain::ids::{SlackUserId, UserId};

/// Units that a placeholder has for a name.
const NAME: usize = 40;

/// A mentioned person at the time of sending.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mentioned {
    /// The member that the person is in the workspace of this message.
    pub member: Option<SlackUserId>,
    pub display_name: Option<String>,
}

/// The people that are known when a message is sent.
#[derive(Debug, Clone, Default)]
pub struct Mentions(BTreeMap<UserId, Mentioned>);

impl FromIterator<(UserId, Mentioned)> for Mentions {
    fn from_iter<T: IntoIterator<Item = (UserId, Mentioned)>>(people: T) -> Self {
        Self(people.into_iter().collect())
    }
}

/// The placeholder of a person. `name` is shown if the person is unknown at the time of sending;
/// without one, the id.
pub(super) fn placeholder(user: &UserId, name: &str) -> String {
    with_id(&encoded(user.as_str()), name)
}

/// The placeholder of a person's name.
pub(super) fn name_of(user: &UserId, name: &str) -> String {
    with_id(&format!("{}{}", fit::NAMED, encoded(user.as_str())), name)
}

fn with_id(id: &str, name: &str) -> String {
    let name: String = escape::one_line(name).chars().map(inert).collect();
    let name = fit::cut(&name, NAME, false);
    let padding = " ".repeat(NAME.saturating_sub(fit::units(&name)));
    format!("{}{id}|{name}{padding}>", fit::MENTION)
}

/// The people that a message in its stored form mentions; it is searched without being parsed.
#[must_use]
pub fn mentioned(stored: &[u8]) -> BTreeSet<UserId> {
    // JSON has a placeholder as it is, up to the name.
    let found = parts(std::str::from_utf8(stored).unwrap_or_default());
    let people = found.into_iter().filter_map(|part| match part {
        Part::Person(Placeholder { user, .. }) => Some(user),
        Part::Text(_) => None,
    });
    people.collect()
}

/// The message with its mentions, as it is sent.
#[must_use]
pub fn resolved(mut message: Rendered, people: &Mentions) -> Rendered {
    let mut replace = |text: &str, mrkdwn: bool| {
        text.contains(fit::MENTION).then(|| people.written(text, mrkdwn))
    };
    each(&mut message.blocks, &mut replace);
    if let Some(text) = replace(&message.text, true) {
        message.text = text;
    }
    message
}

impl Mentions {
    /// The same people; members for which `stays` is false are named instead of mentioned.
    #[must_use]
    pub fn only_members(mut self, stays: impl Fn(&SlackUserId) -> bool) -> Self {
        for person in self.0.values_mut() {
            person.member = person.member.take().filter(&stays);
        }
        self
    }

    fn written(&self, text: &str, mrkdwn: bool) -> String {
        let write = |part: Part<'_>| match part {
            Part::Text(text) => text.to_owned(),
            Part::Person(person) => self.person(&person, mrkdwn),
        };
        parts(text).into_iter().map(write).collect()
    }

    /// The mention or the name, in at most the room of the placeholder.
    fn person(&self, person: &Placeholder<'_>, mrkdwn: bool) -> String {
        let Placeholder { user, name, room, named } = person;
        let known = self.0.get(user);
        if let Some(member) = known.and_then(|known| known.member.as_ref())
            && mrkdwn
            && !named
        {
            return format!("<@{}>", member.as_str());
        }
        let own = known.and_then(|known| known.display_name.as_deref()).map(escape::one_line);
        let name =
            [own.as_deref(), Some(*name)].into_iter().flatten().find(|name| !name.is_empty());
        let name = escape::one_line(name.unwrap_or(user.as_str()));
        let name: String = name.chars().map(inert).map(of_one_unit).collect();
        let escaped = if mrkdwn { escape::mrkdwn(&name) } else { escape::plain(&name) };
        fit::cut(&escaped, *room, false)
    }
}

/// A part of a text.
enum Part<'a> {
    Text(&'a str),
    Person(Placeholder<'a>),
}

struct Placeholder<'a> {
    user: UserId,
    /// The name for a person without one.
    name: &'a str,
    /// The units of the placeholder.
    room: usize,
    /// Whether the person is named and not mentioned.
    named: bool,
}

fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(fit::MENTION) {
        let person = after.split_once('>').and_then(|(inside, rest)| {
            let (id, name) = inside.split_once('|')?;
            let bare = id.strip_prefix(fit::NAMED);
            let user = UserId::parse(decoded(bare.unwrap_or(id))?).ok()?;
            let room = fit::units(fit::MENTION) + fit::units(inside) + 1;
            let (name, named) = (name.trim_end(), bare.is_some());
            Some((Part::Person(Placeholder { user, name, room, named }), rest))
        });
        // Without an id it is text of the template.
        let (part, after) = person.unwrap_or((Part::Text(fit::MENTION), after));
        parts.extend([Part::Text(before), part]);
        rest = after;
    }
    parts.push(Part::Text(rest));
    parts
}

/// Replaces each string of the blocks for which `with` yields another one; its second argument says
/// whether the string is mrkdwn.
fn each(node: &mut Value, with: &mut impl FnMut(&str, bool) -> Option<String>) {
    match node {
        Value::Array(items) => items.iter_mut().for_each(|item| each(item, with)),
        Value::Object(object) => {
            let mrkdwn = object.get("type").is_some_and(|kind| kind == "mrkdwn");
            for (key, value) in object.iter_mut() {
                if let Value::String(text) = value {
                    if let Some(other) = with(text, mrkdwn && key == "text") {
                        *text = other;
                    }
                } else {
                    each(value, with);
                }
            }
        }
        _ => {}
    }
}

/// In JSON, a quotation mark or a backslash takes two units.
fn of_one_unit(c: char) -> char {
    match c {
        '\\' => '＼',
        '"' => '”',
        c => c,
    }
}

/// A character of a name that cannot end the placeholder or begin a token.
fn inert(c: char) -> char {
    match c {
        '<' => '‹',
        '>' => '›',
        '|' => '¦',
        c => c,
    }
}

/// Whether a byte of an id stands for itself.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._".contains(&byte)
}

/// The id in letters, digits and `%-._`.
fn encoded(id: &str) -> String {
    let mut encoded = String::with_capacity(id.len());
    for byte in id.bytes() {
        if is_plain(byte) {
            encoded.push(char::from(byte));
        } else {
            let digits = [byte >> 4, byte & 15].map(|half| char::from_digit(u32::from(half), 16));
            encoded.push('%');
            encoded.extend(digits.into_iter().flatten());
        }
    }
    encoded
}

/// The id that was encoded; `None` if the text is not from [`encoded`].
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if c == '%' {
            bytes.push(u8::from_str_radix(rest.get(1..3)?, 16).ok()?);
            rest = &rest[3..];
        } else {
            bytes.push(u8::try_from(c).ok().filter(|byte| is_plain(*byte))?);
            rest = &rest[1..];
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn user(id: &str) -> UserId {
        UserId::parse(id).unwrap()
    }

    fn ada() -> Mentioned {
        let member = Some(SlackUserId::parse("U0ADA").unwrap());
        Mentioned { member, display_name: Some("Ada <L>".into()) }
    }

    fn message(text: &str, kind: &str) -> Rendered {
        let blocks = json!([{"type": "section", "text": {"type": kind, "text": text}}]);
        Rendered { text: text.into(), blocks, shortened: false, cut: Vec::new() }
    }

    fn stored(message: &Rendered) -> Vec<u8> {
        serde_json::to_vec(message).unwrap()
    }

    #[test]
    fn a_member_is_mentioned_in_mrkdwn_and_named_elsewhere() {
        let token = placeholder(&user("ada@x.test"), "");
        let people: Mentions = [(user("ada@x.test"), ada())].into_iter().collect();
        let sent = resolved(message(&format!("By {token}!"), "mrkdwn"), &people);
        assert_eq!(sent.text, "By <@U0ADA>!");
        assert_eq!(sent.blocks[0]["text"]["text"], "By <@U0ADA>!");
        let sent = resolved(message(&format!("By {token}!"), "plain_text"), &people);
        assert_eq!(sent.blocks[0]["text"]["text"], "By Ada ‹L›!");
    }

    #[test]
    fn a_person_without_a_member_is_named() {
        let token = placeholder(&user("u1"), "A | <B>");
        let named = Mentioned { member: None, display_name: Some("<!here> \"x\"".into()) };
        for (known, shown) in [
            (Some(named), "‹!here› ”x”"),
            (Some(Mentioned::default()), "A ¦ ‹B›"),
            (None, "A ¦ ‹B›"),
        ] {
            let people: Mentions = known.map(|known| (user("u1"), known)).into_iter().collect();
            assert_eq!(resolved(message(&token, "mrkdwn"), &people).text, shown);
        }
        let nameless = placeholder(&user("u 1"), " ");
        assert_eq!(resolved(message(&nameless, "mrkdwn"), &Mentions::default()).text, "u 1");
    }

    #[test]
    fn the_name_of_a_reader_is_no_mention() {
        let token = name_of(&user("ada"), "Adele");
        let content = stored(&message(&token, "mrkdwn"));
        assert_eq!(mentioned(&content), BTreeSet::from([user("ada")]));
        let people: Mentions = [(user("ada"), ada())].into_iter().collect();
        assert_eq!(resolved(message(&token, "mrkdwn"), &people).text, "Ada ‹L›");
        assert_eq!(resolved(message(&token, "mrkdwn"), &Mentions::default()).text, "Adele");
    }

    #[test]
    fn a_member_that_may_not_be_mentioned_is_named() {
        let token = placeholder(&user("ada"), "");
        let people: Mentions = [(user("ada"), ada())].into_iter().collect();
        let stays = people.clone().only_members(|member| member.as_str() == "U0ADA");
        assert_eq!(resolved(message(&token, "mrkdwn"), &stays).text, "<@U0ADA>");
        let gone = people.only_members(|_| false);
        assert_eq!(resolved(message(&token, "mrkdwn"), &gone).text, "Ada ‹L›");
    }

    #[test]
    fn the_people_of_a_message_are_known_before_it_is_sent() {
        let two = format!("{} {}", placeholder(&user("b"), "\"B"), placeholder(&user("ä|"), "A"));
        let written = format!("<@U1> <@herald:broken <@herald:x\"|y> {two}");
        let people = mentioned(&stored(&message(&written, "mrkdwn")));
        assert_eq!(people, BTreeSet::from([user("b"), user("ä|")]));
        let sent = resolved(message(&written, "mrkdwn"), &Mentions::default());
        assert_eq!(sent.text, "<@U1> <@herald:broken <@herald:x\"|y> ”B A");
        let broken = message("<@U1> <@herald:broken", "mrkdwn");
        assert!(mentioned(&stored(&broken)).is_empty());
        assert_eq!(resolved(broken.clone(), &Mentions::default()), broken);
    }

    proptest! {
        #[test]
        fn a_resolved_mention_is_no_longer_and_no_markup(
            id in "[^\\p{Cc}]{1,60}",
            fallback in any::<String>(),
            name in any::<String>(),
            mrkdwn in any::<bool>(),
        ) {
            let token = placeholder(&user(&id), &fallback);
            let content = stored(&message(&token, "mrkdwn"));
            prop_assert_eq!(mentioned(&content), BTreeSet::from([user(&id)]));
            let known = Mentioned { member: None, display_name: Some(name) };
            let people: Mentions = [(user(&id), known)].into_iter().collect();
            let kind = if mrkdwn { "mrkdwn" } else { "plain_text" };
            let sent = resolved(message(&format!("a {token} b"), kind), &people);
            let shown = sent.blocks[0]["text"]["text"].as_str().unwrap();
            prop_assert!(fit::units(shown) <= fit::units(&token) + 4);
            let json = |text: &str| fit::units(&Value::from(text).to_string());
            let whole = format!("a {token} b");
            prop_assert!(json(shown) <= json(&whole));
            for live in ["<!", "<@", "<#", "<http"] {
                prop_assert!(!shown.contains(live), "{} in {}", live, shown);
            }
            prop_assert!(!mrkdwn || !shown.contains(['<', '>']));
        }
    }
}
