//! Templates of tenants: the words of one event type's messages in one locale, for all content
//! items or for one.
//!
//! Reading order: `locale`, `fields` (the variables that a type has), `cases` (the messages with
//! which a template is tried), `check`. Which template a reader gets:
//! [`wording::candidates`](super::wording::candidates).

mod locale;

mod fields;

mod cases;
mod check;

use std::collections::BTreeSet;
use std::fmt;

use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::render::Located;
use crate::domain::access::api_key::hex;
use crate::domain::ids::{ContentId, EventType};

pub use super::wording::form::Form;
pub use check::check;
pub use fields::has_field;
pub use locale::Locale;

/// Bytes of the hash in an etag.
const ETAG_HASH: usize = 16;

/// The messages that a template words.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub event: EventType,
    /// `None`: all content items without a template of their own.
    pub content: Option<ContentId>,
    pub locale: Locale,
}

impl Place {
    /// Reads the text of a place.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        // The content item may have any characters, so it comes last.
        let mut parts = text.splitn(3, '/');
        let event = EventType::parse(parts.next()?).ok()?;
        let locale = Locale::parse(parts.next()?).ok()?;
        let content = match parts.next() {
            None | Some("") => None,
            Some(content) => Some(ContentId::parse(content).ok()?),
        };
        Some(Self { event, content, locale })
    }
}

impl fmt::Display for Place {
    /// `task.assigned/de`, and `task.assigned/de/course-7` for a content item.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { event, content, locale } = self;
        write!(f, "{event}/{locale}")?;
        content.as_ref().map_or(Ok(()), |content| write!(f, "/{content}"))
    }
}

/// The fields of the data that a template reads, their parts joined by dots.
#[must_use]
pub fn fields_read(form: &Form) -> BTreeSet<String> {
    names(form).iter().filter_map(|located| located.name.field()).collect()
}

/// Whether a template reads the data as a whole, and so all fields.
#[must_use]
pub fn reads_all(form: &Form) -> bool {
    names(form).iter().any(|located| located.name.is_data())
}

/// The etag of the state of a template: every change makes another one. `form`: `None` after a
/// reset.
#[must_use]
pub fn etag(place: &Place, version: u32, form: Option<&Form>) -> String {
    let Place { event, content, locale } = place;
    let state = json!([event, content, locale, version, form]);
    hex(&Sha256::digest(state.to_string())[..ETAG_HASH])
}

/// The names in all strings that compile.
fn names(form: &Form) -> Vec<Located> {
    match form {
        Form::Simple(simple) => simple.names(),
        Form::Blocks(template) => template.names(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::limits;
    use crate::domain::message::render::Template;
    use crate::domain::message::render::simple::Simple;

    fn place() -> Place {
        Place {
            event: EventType::parse("training.cancelled").unwrap(),
            content: ContentId::parse("course-7").ok(),
            locale: Locale::parse("de").unwrap(),
        }
    }

    fn form(body: &str) -> Form {
        Form::Simple(Simple { body: body.into(), ..Simple::default() })
    }

    #[test]
    fn a_place_is_written_with_its_content_item_last() {
        assert_eq!(place().to_string(), "training.cancelled/de/course-7");
        assert_eq!(Place { content: None, ..place() }.to_string(), "training.cancelled/de");
    }

    #[test]
    fn a_place_reads_back_whatever_the_content_item() {
        for content in [None, Some("course-7"), Some("a/b/c"), Some("/"), Some("é \"")] {
            let content = content.map(|content| ContentId::parse(content).unwrap());
            let place = Place { content, ..place() };
            assert_eq!(Place::parse(&place.to_string()), Some(place));
        }
        assert_eq!(Place::parse("training.cancelled"), None);
        assert_eq!(Place::parse("training.cancelled/de/").unwrap().content, None);
    }

    #[test]
    fn every_change_changes_the_etag() {
        let one = form("x");
        let first = etag(&place(), 1, Some(&one));
        assert!(first.len() <= limits::ETAG_BYTES);
        assert_eq!(etag(&place(), 1, Some(&one)), first);
        let other = Place { content: None, ..place() };
        let english = Place { locale: Locale::parse("en").unwrap(), ..place() };
        for changed in [
            etag(&place(), 2, Some(&one)),
            etag(&place(), 1, None),
            etag(&place(), 1, Some(&form("y"))),
            etag(&other, 1, Some(&one)),
            etag(&english, 1, Some(&one)),
        ] {
            assert_ne!(changed, first);
        }
    }

    #[test]
    fn the_fields_of_both_forms_are_found_in_every_branch() {
        let read = |form: &Form| fields_read(form).into_iter().collect::<Vec<_>>().join(" ");
        let simple = "{% if a.b %}{{ data.c }}{% else %}{{ link.url }}{{ d[0].e | f }}{% endif %}";
        assert_eq!(read(&form(simple)), "a.b c d");
        let blocks = r#"[{"type": "section", "if": "x.y is blank",
            "text": {"type": "mrkdwn", "text": "{% for p in q %}{{ p.z }}{% endfor %}"}}]"#;
        let blocks = Template { text: "{{ data['r'] }}".into(), blocks: blocks.into() };
        let blocks = Form::Blocks(blocks);
        assert_eq!(read(&blocks), "q r x.y");
        assert!(!reads_all(&blocks) && !reads_all(&form(simple)));
        assert!(reads_all(&form("{% for name in data %}{{ data[name] }}{% endfor %}")));
    }
}
