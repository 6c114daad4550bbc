//! The words of a message: every message that is stored is written here, when it is accepted, when
//! its member is found later, and for a test.

use serde_json::Value;

use super::render::{Context, Link, Reader, RenderError};
use super::wording::{self, Wording};
use crate::domain::directory::snapshot::MemberView;
use crate::domain::identity::person::Person;
use crate::domain::ids::EventType;
use crate::domain::settings::Settings;
use crate::domain::time::Timestamp;

/// A message that has no reader yet.
#[derive(Debug, Clone)]
pub struct Draft<'a> {
    event: &'a EventType,
    wording: &'static Wording,
    data: &'a Value,
    link: Option<Link>,
    now: Timestamp,
}

/// Why a message cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum DraftError {
    /// The template or a URL fails.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// The rendered message has no stored form.
    #[error(transparent)]
    Form(#[from] serde_json::Error),
}

impl<'a> Draft<'a> {
    /// A message of this type; `None` if there is no such type. `now` is the time from which "in
    /// 15 minutes" counts.
    #[must_use]
    pub fn of(
        event: &'a EventType,
        data: &'a Value,
        link: Option<&str>,
        now: Timestamp,
    ) -> Option<Self> {
        let wording = wording::of(event.as_str())?;
        let link = link.map(|url| Link { url: url.to_owned(), label: None });
        Some(Self { event, wording, data, link, now })
    }

    /// The test message. `event` is
    /// [`test_message::event_type`](super::event::test_message::event_type).
    #[must_use]
    pub fn test(event: &'a EventType, data: &'a Value, now: Timestamp) -> Self {
        Self { event, wording: wording::test_message(), data, link: None, now }
    }

    /// The reader, reduced to the facts that the message depends on: for equal readers it has the
    /// same words. Without a person and a member, the readers of a channel.
    #[must_use]
    pub fn reader(
        &self,
        person: Option<&Person>,
        member: Option<&MemberView<'_>>,
        settings: &Settings,
    ) -> Reader {
        let reader = Reader::of(person, member, settings);
        self.wording.words(reader.language()).compiled.view(reader)
    }

    /// The message for this reader, in its stored form.
    pub fn write(&self, reader: &Reader) -> Result<Vec<u8>, DraftError> {
        let words = self.wording.words(reader.language());
        let context = Context {
            event: self.event,
            data: self.data,
            reader,
            link: self.link.as_ref(),
            button: &words.button,
            now: self.now,
        };
        Ok(serde_json::to_vec(&words.compiled.render(&context)?)?)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::ids::UserId;
    use crate::domain::message::event::{self, test_message};
    use crate::domain::message::render::{Language, Rendered};

    const NOW: Timestamp = Timestamp(1_795_420_800_000_000);

    fn read(content: &[u8]) -> Rendered {
        serde_json::from_slice(content).unwrap()
    }

    #[test]
    fn every_type_is_written_as_its_template_renders_it() {
        for (built_in, language) in event::catalogue().iter().zip(Language::ALL.iter().cycle()) {
            let event = EventType::parse(built_in.name).unwrap();
            let data = built_in.demo_data();
            let link = Link { url: "https://platform.example/1".into(), label: None };
            let draft = Draft::of(&event, &data, Some(&link.url), NOW).unwrap();
            let settings = Settings { locale: language.tag().into(), ..Settings::default() };
            let reader = draft.reader(None, None, &settings);
            let words = built_in.words(*language).unwrap();
            let context = Context {
                event: &event,
                data: &data,
                reader: &reader,
                link: Some(&link),
                button: &words.button,
                now: NOW,
            };
            let rendered = words.compiled.render(&context).unwrap();
            assert_eq!(read(&draft.write(&reader).unwrap()), rendered, "{}", built_in.name);
        }
    }

    #[test]
    fn readers_of_the_same_words_are_equal() {
        let event = EventType::parse("task.assigned").unwrap();
        let data = event::demo_data(&event);
        let draft = Draft::of(&event, &data, None, NOW).unwrap();
        let named = |name: &str| Person {
            display_name: Some(name.into()),
            ..Person::bare(UserId::parse(name).unwrap())
        };
        let settings = Settings::default();
        let reader = |person: &Person| draft.reader(Some(person), None, &settings);
        assert_eq!(reader(&named("Ada")), reader(&named("Grace")));
        let abroad = Person { time_zone: Some("Asia/Tokyo".into()), ..named("Ada") };
        assert_ne!(reader(&named("Ada")), reader(&abroad));
        let in_locale = |tag: &str| Person { locale: Some(tag.into()), ..named("Ada") };
        assert_eq!(reader(&in_locale("de-AT")), reader(&in_locale("de-CH")));
        assert_ne!(reader(&in_locale("de-AT")), reader(&named("Ada")));
    }

    #[test]
    fn a_type_without_a_template_has_no_draft_and_a_test_needs_no_data() {
        let own = EventType::parse("own.type").unwrap();
        let data = json!({});
        assert!(Draft::of(&own, &data, None, NOW).is_none());
        let event = test_message::event_type();
        let draft = Draft::test(&event, &data, NOW);
        let reader = draft.reader(None, None, &Settings::default());
        assert!(read(&draft.write(&reader).unwrap()).text.starts_with("Test message"));
    }

    #[test]
    fn a_link_that_cannot_be_opened_is_an_error() {
        let event = EventType::parse("task.assigned").unwrap();
        let data = event::demo_data(&event);
        let draft = Draft::of(&event, &data, Some("nowhere"), NOW).unwrap();
        let reader = draft.reader(None, None, &Settings::default());
        assert!(matches!(draft.write(&reader), Err(DraftError::Render(_))));
    }
}
