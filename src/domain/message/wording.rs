//! The built-in messages in words: one layout for each event type, and one file of strings for each
//! language (`languages/`).
//!
//! `docs/templates.md` has the register and the style of each language.

mod layout;
pub mod levels;

pub mod form;

pub mod candidates;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use super::render::{Compiled, Language, Template};

pub use layout::Wording;

/// One built-in message in one language.
#[derive(Debug)]
pub struct Words {
    pub template: Template,
    /// The template, ready to be filled in.
    pub compiled: Compiled,
    /// The label of the link's button.
    pub button: String,
}

/// The strings of one language.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Strings {
    /// The label of the button of an event type that is not built in.
    open: String,
    events: BTreeMap<String, Event>,
    /// Parts of the line below the headline. `due_on` is a date, `due_at` a time of a day.
    details: BTreeMap<String, String>,
    home: HomeWords,
}

/// The words of a person's Home tab. `{platform}`, `{name}` and `{count}` stand for values.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HomeWords {
    /// Where notifications arrive.
    pub arrive: String,
    /// The person whose Slack account it is.
    pub known: String,
    /// The same if the person has no name.
    pub connected: String,
    /// No person has this Slack account.
    pub unknown: String,
    /// Several people have it.
    pub several: String,
    /// The tenant does not allow sending.
    pub sending_off: String,
    /// The headline of the list of event types.
    pub preferences: String,
    pub on: String,
    pub off: String,
    /// Of an event type that people cannot switch off.
    pub always_on: String,
    /// Where to change it.
    pub change: String,
    pub more_types: String,
    pub more_tenants: String,
    /// The built-in event types that people get, by name.
    pub types: BTreeMap<String, String>,
}

/// The strings of one event type. `{soon}` stands for how soon an event starts.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Event {
    /// The fallback text, a template in mrkdwn.
    text: String,
    /// The first line of the message, a template in mrkdwn.
    headline: String,
    button: String,
}

/// The wording of a built-in event type; `None` for any other type.
#[must_use]
pub fn of(event: &str) -> Option<&'static Wording> {
    layout::EVENTS.iter().find(|wording| wording.event == event)
}

/// The wording of the test message.
#[must_use]
pub fn test_message() -> &'static Wording {
    &layout::TEST
}

/// The label of the link's button if neither the caller nor the template gives one.
#[must_use]
pub fn button(event: &str, language: Language) -> &'static str {
    match of(event) {
        Some(wording) => &wording.words(language).button,
        None => open(language),
    }
}

/// The label of the link's button of an event type that is not built in.
#[must_use]
pub fn open(language: Language) -> &'static str {
    &strings(language).open
}

/// The words of the Home tab.
#[must_use]
pub fn home(language: Language) -> &'static HomeWords {
    &strings(language).home
}

fn strings(language: Language) -> &'static Strings {
    static ALL: [OnceLock<Strings>; 6] = [const { OnceLock::new() }; 6];
    // A test parses each file.
    ALL[language as usize].get_or_init(|| serde_json::from_str(file(language)).unwrap_or_default())
}

fn file(language: Language) -> &'static str {
    match language {
        Language::English => include_str!("wording/languages/en.json"),
        Language::German => include_str!("wording/languages/de.json"),
        Language::French => include_str!("wording/languages/fr.json"),
        Language::Spanish => include_str!("wording/languages/es.json"),
        Language::Portuguese => include_str!("wording/languages/pt.json"),
        Language::Japanese => include_str!("wording/languages/ja.json"),
    }
}
