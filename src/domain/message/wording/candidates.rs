//! The words of one event type's messages, ready to be filled in: those of the release or the
//! type, and in their place those of the tenant, chosen for each reader.

use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use super::form::Form;
use super::levels::{Level, WordingPlace, choose};
use super::{Wording, open};
use crate::domain::message::render::{Compiled, Language, Reader, Template};

/// The words before their reader is known.
#[derive(Debug, Clone)]
pub enum ReadyWords {
    /// Of a built-in type, in all languages: the reader gets the words of theirs.
    BuiltIn(&'static Wording),
    /// Of a tenant's own type, in one language: dates, plurals, lists and the button are in the
    /// reader's.
    Own(Arc<Compiled>),
    /// The tenant's templates, and the words for the other readers.
    Chosen(Arc<Candidates>),
}

/// One template of a tenant for this notification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    pub level: Level,
    /// A BCP 47 tag.
    pub locale: String,
    pub version: u32,
    pub form: Form,
}

/// All words of one event type for one notification, each compiled once.
#[derive(Debug)]
pub struct Candidates {
    own: Vec<Candidate>,
    /// Those of `own`, in their order, from when they are needed: a message that is written later
    /// needs one of them, and compiling all takes much longer than writing it.
    compiled: Vec<OnceLock<Compiled>>,
    /// The words below those of the tenant; without templates.
    below: ReadyWords,
}

/// The words for one reader.
#[derive(Debug, Clone, Copy)]
pub struct ChosenWords<'a> {
    pub level: Level,
    /// The locale of the words, or the reader's language if the words are in no certain one.
    pub locale: &'a str,
    /// The version of the template; 0 if the words are no template of the tenant.
    pub version: u32,
    pub compiled: &'a Compiled,
    /// The label of the link's button if neither the link nor the template gives one.
    pub button: &'a str,
}

impl ChosenWords<'_> {
    /// The reader, reduced to the facts that this message depends on: readers with equal views get
    /// equal messages, and the same words are chosen for the view.
    #[must_use]
    pub fn view(&self, reader: Reader) -> Reader {
        self.compiled.view_in(self.locale, reader)
    }
}

impl ReadyWords {
    /// The words of a tenant's own type.
    #[must_use]
    pub fn own(template: &Template) -> Self {
        Self::Own(Arc::new(Compiled::of(template, None)))
    }

    /// The words for this reader.
    #[must_use]
    pub fn choice(&self, reader: &Reader) -> ChosenWords<'_> {
        match self {
            Self::BuiltIn(_) | Self::Own(_) => self.below(reader.language()),
            Self::Chosen(candidates) => candidates.choice(reader),
        }
    }

    /// The words in this language that are no template.
    fn below(&self, language: Language) -> ChosenWords<'_> {
        match self {
            Self::BuiltIn(wording) => built_in(wording, language),
            Self::Own(compiled) => own(compiled, language),
            Self::Chosen(candidates) => candidates.below.below(language),
        }
    }

    /// The tenant's templates among these words.
    #[must_use]
    pub fn candidates(&self) -> &[Candidate] {
        match self {
            Self::BuiltIn(_) | Self::Own(_) => &[],
            Self::Chosen(candidates) => &candidates.own,
        }
    }
}

impl Candidates {
    /// The tenant's templates over the words of the release or the type; templates among the latter
    /// are left out.
    #[must_use]
    pub fn new(own: Vec<Candidate>, below: ReadyWords) -> Self {
        let compiled = own.iter().map(|_| OnceLock::new()).collect();
        let below = match below {
            ReadyWords::Chosen(candidates) => candidates.below.clone(),
            below => below,
        };
        Self { own, compiled, below }
    }

    /// Compiles all templates, so that no choice has to.
    pub fn compile(&self) {
        for (candidate, compiled) in self.own.iter().zip(&self.compiled) {
            compiled.get_or_init(|| candidate.compiled());
        }
    }

    fn choice(&self, reader: &Reader) -> ChosenWords<'_> {
        let own = self.own.iter().map(|it| WordingPlace { level: it.level, locale: &it.locale });
        // The words below are there for every language.
        let below =
            Language::ALL.map(|it| WordingPlace { level: Level::BuiltIn, locale: it.tag() });
        let places: Vec<WordingPlace<'_>> = own.chain(below).collect();
        let at = choose(&places, &reader.locales);
        let (level, locale) = at.map_or((Level::BuiltIn, ""), |at| {
            let WordingPlace { level, locale } = places[at];
            (level, locale)
        });
        // Templates come first.
        let own = at.and_then(|at| self.own.get(at).zip(self.compiled.get(at)));
        match own {
            Some((candidate, compiled)) => {
                let compiled = compiled.get_or_init(|| candidate.compiled());
                let button = self.below.below(candidate.language()).button;
                let (locale, version) = (candidate.locale.as_str(), candidate.version);
                ChosenWords { level, locale, version, compiled, button }
            }
            None => self.below.below(Language::of(locale).unwrap_or_default()),
        }
    }
}

impl Candidate {
    /// The language of its dates, plurals and lists, and of a button without a label.
    fn language(&self) -> Language {
        Language::of(&self.locale).unwrap_or_default()
    }

    fn compiled(&self) -> Compiled {
        Compiled::of(&self.form.template(), Some(self.language()))
    }
}

fn built_in(wording: &'static Wording, language: Language) -> ChosenWords<'static> {
    let words = wording.words(language);
    ChosenWords {
        level: Level::BuiltIn,
        locale: language.tag(),
        version: 0,
        compiled: &words.compiled,
        button: &words.button,
    }
}

fn own(compiled: &Compiled, language: Language) -> ChosenWords<'_> {
    let (level, locale, button) = (Level::BuiltIn, language.tag(), open(language));
    ChosenWords { level, locale, version: 0, compiled, button }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::ids::EventType;
    use crate::domain::message::render::Context;
    use crate::domain::message::render::simple::Simple;
    use crate::domain::message::wording;
    use crate::domain::time::Timestamp;

    fn candidate(level: Level, locale: &str, body: &str) -> Candidate {
        let form = Form::Simple(Simple { body: body.into(), ..Simple::default() });
        Candidate { level, locale: locale.into(), version: 3, form }
    }

    fn words(own: Vec<Candidate>) -> ReadyWords {
        let below = ReadyWords::BuiltIn(wording::of("task.due").unwrap());
        ReadyWords::Chosen(Arc::new(Candidates::new(own, below)))
    }

    fn reader(locales: &[&str]) -> Reader {
        let locales = locales.iter().map(ToString::to_string).collect();
        Reader { name: Some("Kim Example".into()), locales, time_zone: "UTC".into() }
    }

    #[test]
    fn a_reader_gets_the_template_of_their_locale_or_the_words_below() {
        let words = words(vec![candidate(Level::Tenant, "de", "Hallo")]);
        for (locales, level, locale, version, button) in [
            (&["de-AT"][..], Level::Tenant, "de", 3, "Aufgabe öffnen"),
            (&["en-US", "en"][..], Level::BuiltIn, "en", 0, "Open task"),
            (&["tr"][..], Level::BuiltIn, "en", 0, "Open task"),
        ] {
            let chosen = words.choice(&reader(locales));
            let is = (chosen.level, chosen.locale, chosen.version, chosen.button);
            assert_eq!(is, (level, locale, version, button), "{locales:?}");
        }
        assert_eq!(words.candidates().len(), 1);
    }

    #[test]
    fn a_choice_compiles_no_other_template() {
        let locales = ["de", "en", "fr", "ja"];
        let own: Vec<_> = locales.map(|locale| candidate(Level::Tenant, locale, "x")).into();
        let below = ReadyWords::BuiltIn(wording::of("task.due").unwrap());
        let candidates = Candidates::new(own, below);
        let compiled = |candidates: &Candidates| {
            candidates.compiled.iter().filter(|compiled| compiled.get().is_some()).count()
        };
        for _ in 0..2 {
            assert_eq!(candidates.choice(&reader(&["fr"])).locale, "fr");
            assert_eq!(compiled(&candidates), 1);
        }
        candidates.compile();
        assert_eq!(compiled(&candidates), locales.len());
    }

    #[test]
    fn a_content_item_replaces_the_tenants_words_for_every_reader() {
        let words = words(vec![
            candidate(Level::Tenant, "en", "Tenant"),
            candidate(Level::ContentItem, "de", "Inhalt"),
        ]);
        let chosen = words.choice(&reader(&["en"]));
        assert_eq!((chosen.level, chosen.locale), (Level::ContentItem, "de"));
    }

    #[test]
    fn dates_of_a_template_are_in_its_own_language() {
        let event = EventType::parse("own.type").unwrap();
        let data = serde_json::json!({"day": "2026-11-27"});
        let template = Template { text: "Default".into(), blocks: "[]".into() };
        let own = vec![candidate(Level::ContentItem, "fr-CA", "{{ day | date }}")];
        let candidates = Candidates::new(own, ReadyWords::own(&template));
        let words = ReadyWords::Chosen(Arc::new(candidates));
        let reader = reader(&["ja"]);
        let chosen = words.choice(&reader);
        let context = Context {
            event: &event,
            data: &data,
            reader: &chosen.view(reader.clone()),
            link: None,
            button: chosen.button,
            now: Timestamp(0),
        };
        assert_eq!(chosen.compiled.render(&context).unwrap().text, "ven. 27 nov. 2026");
        assert_eq!(chosen.button, "Ouvrir");
    }

    fn tag() -> impl Strategy<Value = String> {
        let tags = vec!["en", "de", "de-AT", "de_ch", "fr-CA", "pt-BR", "ja", "tr", "zh-Hant-TW"];
        prop::sample::select(tags).prop_map(str::to_owned)
    }

    proptest! {
        #[test]
        fn the_choice_is_that_of_the_levels(
            own in prop::collection::vec(
                (prop::sample::select(vec![Level::ContentItem, Level::Tenant]), tag()),
                0..6,
            ),
            locales in prop::collection::vec(tag(), 0..4),
            personal in any::<bool>(),
        ) {
            let body = if personal { "{{ reader.name }}" } else { "x" };
            let own: Vec<Candidate> =
                own.iter().map(|(level, locale)| candidate(*level, locale, body)).collect();
            let mut places: Vec<WordingPlace<'_>> =
                own.iter().map(|it| WordingPlace { level: it.level, locale: &it.locale }).collect();
            let tags = Language::ALL.map(Language::tag);
            places.extend(tags.map(|locale| WordingPlace { level: Level::BuiltIn, locale }));
            let expected = places[choose(&places, &locales).expect("a wording")];
            let words = words(own.clone());
            let reader = Reader { name: None, locales, time_zone: "UTC".into() };
            let chosen = words.choice(&reader);
            prop_assert_eq!((chosen.level, chosen.locale), (expected.level, expected.locale));
            // The reduced reader gets the same words.
            let again = words.choice(&chosen.view(reader));
            prop_assert_eq!((again.level, again.locale), (expected.level, expected.locale));
        }
    }
}
