//! Writes the words of every message that is stored: when Notify accepts it, when its member is
//! found later, or for a test.

use serde_json::Value;

use super::render::{Context, Link, Reader, RenderError};
use super::wording;
use super::wording::candidates::ReadyWords;
use crate::domain::directory::snapshot::MemberView;
use crate::domain::identity::person::Person;
use crate::domain::ids::EventType;
use crate::domain::settings::Settings;
use crate::domain::time::Timestamp;

/// A message that has no reader yet.
#[derive(Debug, Clone)]
pub struct Draft<'a> {
    event: &'a EventType,
    words: ReadyWords,
    data: &'a Value,
    link: Option<Link>,
    now: Timestamp,
}

/// Why a message cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum DraftError {
    /// The template fails.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// The rendered message has no stored form.
    #[error(transparent)]
    Form(#[from] serde_json::Error),
}

impl<'a> Draft<'a> {
    /// A message of this type with its words. `now` is the time from which "in 15 minutes" counts.
    #[must_use]
    pub fn of(
        event: &'a EventType,
        words: ReadyWords,
        data: &'a Value,
        link: Option<&str>,
        now: Timestamp,
    ) -> Self {
        let link = link.map(|url| Link { url: url.to_owned(), label: None });
        Self { event, words, data, link, now }
    }

    /// The test message. `event` is
    /// [`test_message::event_type`](super::event::test_message::event_type).
    #[must_use]
    pub fn test(event: &'a EventType, data: &'a Value, now: Timestamp) -> Self {
        Self::of(event, ReadyWords::BuiltIn(wording::test_message()), data, None, now)
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
        self.words.choice(&reader).view(reader)
    }

    /// The message for this reader, in its stored form.
    pub fn write(&self, reader: &Reader) -> Result<Vec<u8>, DraftError> {
        let chosen = self.words.choice(reader);
        let context = Context {
            event: self.event,
            data: self.data,
            reader,
            link: self.link.as_ref(),
            button: chosen.button,
            now: self.now,
        };
        Ok(serde_json::to_vec(&chosen.compiled.render(&context)?)?)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::domain::ids::UserId;
    use crate::domain::message::event::{self, test_message};
    use crate::domain::message::render::mentions::mentioned;
    use crate::domain::message::render::{Language, Rendered, Template};
    use crate::domain::message::wording::candidates::{Candidate, Candidates};
    use crate::domain::message::wording::form::Form;
    use crate::domain::message::wording::levels::Level;

    const NOW: Timestamp = Timestamp(1_795_420_800_000_000);

    fn read(content: &[u8]) -> Rendered {
        serde_json::from_slice(content).unwrap()
    }

    /// A message of a built-in type.
    fn built_in<'a>(event: &'a EventType, data: &'a Value, link: Option<&str>) -> Draft<'a> {
        let words = ReadyWords::BuiltIn(wording::of(event.as_str()).unwrap());
        Draft::of(event, words, data, link, NOW)
    }

    #[test]
    fn every_type_is_written_as_its_template_renders_it() {
        for (each, language) in event::catalogue().iter().zip(Language::ALL.iter().cycle()) {
            let event = EventType::parse(each.name).unwrap();
            let data = each.demo_data();
            let link = Link { url: "https://platform.example/1".into(), label: None };
            let draft = built_in(&event, &data, Some(&link.url));
            let settings = Settings { locale: language.tag().into(), ..Settings::default() };
            let reader = draft.reader(None, None, &settings);
            let words = each.words(*language).unwrap();
            let context = Context {
                event: &event,
                data: &data,
                reader: &reader,
                link: Some(&link),
                button: &words.button,
                now: NOW,
            };
            let rendered = words.compiled.render(&context).unwrap();
            assert_eq!(read(&draft.write(&reader).unwrap()), rendered, "{}", each.name);
        }
    }

    #[test]
    fn readers_of_the_same_words_are_equal() {
        let event = EventType::parse("task.assigned").unwrap();
        let data = event::demo_data(&event);
        let draft = built_in(&event, &data, None);
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
        assert_eq!(reader(&in_locale("de-LI")), reader(&in_locale("de-CH")));
        assert_ne!(reader(&in_locale("de-CH")), reader(&named("Ada")));
        // They have other names of months.
        assert_ne!(reader(&in_locale("de-AT")), reader(&in_locale("de-CH")));
    }

    /// A release may build in a type of a name that a tenant's own type has.
    #[test]
    fn words_of_an_own_type_have_the_dates_and_the_button_of_the_reader() {
        let event = EventType::parse("task.due").unwrap();
        let data = json!({"at": "2026-11-27T16:00:00Z"});
        let text = "Off: {{ at | date }} ({{ link.label }})";
        let words = ReadyWords::own(&Template { text: text.into(), blocks: "[]".into() });
        let draft = Draft::of(&event, words, &data, Some("https://platform.example/1"), NOW);
        let reader = |locale: &str| {
            let settings = Settings { locale: locale.into(), ..Settings::default() };
            draft.reader(None, None, &settings)
        };
        let shown = |locale: &str| read(&draft.write(&reader(locale)).unwrap()).text;
        assert_eq!(shown("en"), "Off: Fri 27 Nov 2026 (Open)");
        assert_eq!(shown("de-AT"), "Off: Fr., 27. Nov. 2026 (Öffnen)");
        assert_eq!(shown("en-US"), "Off: Fri, Nov 27, 2026 (Open)");
        assert_eq!(reader("de-LI"), reader("de-CH"));
    }

    #[test]
    fn the_template_of_a_tenant_takes_the_place_of_built_in_words() {
        let event = EventType::parse("task.due").unwrap();
        let data = event::demo_data(&event);
        let template = Template { text: "Bald: {{ task.name }}".into(), blocks: "[]".into() };
        let (level, locale) = (Level::Tenant, "de".to_owned());
        let candidate = Candidate { level, locale, version: 1, form: Form::Blocks(template) };
        let below = ReadyWords::BuiltIn(wording::of("task.due").unwrap());
        let words = ReadyWords::Chosen(Arc::new(Candidates::new(vec![candidate], below)));
        let draft = Draft::of(&event, words, &data, None, NOW);
        let shown = |locale: &str| {
            let settings = Settings { locale: locale.into(), ..Settings::default() };
            let reader = draft.reader(None, None, &settings);
            read(&draft.write(&reader).unwrap()).text
        };
        assert_eq!(shown("de-AT"), "Bald: Prepare the workplace");
        assert!(shown("en").contains("Task due"), "{}", shown("en"));
    }

    #[test]
    fn a_test_needs_no_data() {
        let data = json!({});
        let event = test_message::event_type();
        let draft = Draft::test(&event, &data, NOW);
        let reader = draft.reader(None, None, &Settings::default());
        assert!(read(&draft.write(&reader).unwrap()).text.starts_with("Test message"));
        let ada = UserId::parse("ada").unwrap();
        let ada = Person { display_name: Some("Ada".into()), ..Person::bare(ada) };
        let written = draft.write(&draft.reader(Some(&ada), None, &Settings::default())).unwrap();
        // Earlier releases send it as it is.
        assert!(mentioned(&written).is_empty());
        assert!(read(&written).blocks.to_string().contains("Ada"));
    }

    #[test]
    fn a_name_that_is_only_shown_is_that_of_the_person() {
        let event = EventType::parse("own.type").unwrap();
        let data = json!({});
        let text = "{{ reader.name }}{% for reader in data %}{{ reader.name }}{% endfor %}";
        let shown = Template { text: "{{ reader.name }}".into(), blocks: "[]".into() };
        let chosen = Template { text: text.into(), blocks: "[]".into() };
        let ada = UserId::parse("ada").unwrap();
        let person = Person { display_name: Some("Ada".into()), ..Person::bare(ada.clone()) };
        let written = |template: &Template| {
            let draft = Draft::of(&event, ReadyWords::own(template), &data, None, NOW);
            draft.write(&draft.reader(Some(&person), None, &Settings::default())).unwrap()
        };
        assert_eq!(mentioned(&written(&shown)), BTreeSet::from([ada]));
        assert!(mentioned(&written(&chosen)).is_empty());
    }

    #[test]
    fn a_link_that_cannot_be_opened_costs_its_button() {
        let event = EventType::parse("task.assigned").unwrap();
        let data = event::demo_data(&event);
        let draft = built_in(&event, &data, Some("nowhere"));
        let reader = draft.reader(None, None, &Settings::default());
        let message = read(&draft.write(&reader).unwrap());
        assert_eq!((message.shortened, message.cut), (true, vec!["blocks".to_owned()]));
        assert!(!message.blocks.to_string().contains("button"), "{}", message.blocks);
    }

    #[test]
    fn only_words_that_fail_on_any_data_are_an_error() {
        let event = EventType::parse("own.type").unwrap();
        let data = json!({"left": "many"});
        let written = |text: &str| {
            let template = Template { text: text.into(), blocks: "[]".into() };
            let draft = Draft::of(&event, ReadyWords::own(&template), &data, None, NOW);
            draft.write(&draft.reader(None, None, &Settings::default()))
        };
        let message = read(&written("{{ left | round }}").unwrap());
        assert_eq!((message.shortened, message.cut), (true, vec!["text".to_owned()]));
        assert!(matches!(written("{{ left | nope }}"), Err(DraftError::Render(_))));
    }
}
