//! A person's Home tab in Slack, as blocks: for each tenant of the workspace, who the person is
//! there and which notifications the person gets.
//!
//! The tab only shows: there are no buttons. It is bounded, whatever the names are: at most 100
//! blocks and 250 KB, which are Slack's limits for a view (Slack's documentation: Views).

use serde_json::{Value, json};

use super::event::{channel_archiving, label};
use super::render::Language;
use super::render::escape::{mrkdwn, one_line, plain};
use super::render::fit::{cut, units};
use super::wording::{self, HomeWords};
use crate::domain::ids::{EventType, TenantId};
use crate::domain::settings::{Preferences, Settings, suppression};

/// Tenants that a Home tab shows.
pub const TENANTS: usize = 10;
/// The length of a name. Slack allows 150 characters in a header.
const NAME: usize = 150;
/// The length of a block's text. Slack allows 3,000 characters.
const TEXT: usize = 2_900;
/// Bytes of one tenant's list of event types, about.
const LIST_BYTES: usize = 10_000;

/// The facts that a Home tab shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HomeTab {
    pub language: Language,
    /// The platform's name.
    pub platform: String,
    /// At most [`TENANTS`] are shown, the first ones.
    pub tenants: Vec<HomeTenant>,
    /// Tenants of the workspace besides those.
    pub more: usize,
}

/// One tenant on a Home tab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HomeTenant {
    pub tenant: TenantId,
    pub sending_allowed: bool,
    pub reader: HomeReader,
}

/// The person of a tenant who is the reader of a Home tab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HomeReader {
    /// No person is known to be this member.
    Unknown,
    /// Several people are, and none of them is guessed.
    Several,
    Known {
        /// May be empty.
        name: String,
        types: Vec<HomeType>,
    },
}

/// An event type of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HomeEvent {
    pub event: EventType,
    /// The name that the tenant gave it; empty for a built-in type.
    pub own_name: String,
}

/// An event type on a Home tab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HomeType {
    pub of: HomeEvent,
    pub choice: HomeChoice,
}

/// Whether a person gets the notifications of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HomeChoice {
    On,
    Off,
    /// People cannot switch it off.
    AlwaysOn,
}

impl HomeReader {
    /// The person of this name, with these choices about these event types.
    #[must_use]
    pub fn known(
        name: String,
        events: Vec<HomeEvent>,
        settings: &Settings,
        chosen: &Preferences,
    ) -> Self {
        // The switch for all people has a line of its own.
        let open = Settings { sending_allowed: true, ..settings.clone() };
        // Its messages go to a channel, whatever the choices of people are.
        let of_channels = channel_archiving();
        let of_people = events.into_iter().filter(|of| of.event != of_channels);
        let types = of_people.map(|of| {
            let choice = match suppression(&open, chosen, &of.event) {
                Some(_) => HomeChoice::Off,
                None if open.mandatory_event_types.contains(&of.event) => HomeChoice::AlwaysOn,
                None => HomeChoice::On,
            };
            HomeType { of, choice }
        });
        Self::Known { name, types: types.collect() }
    }
}

impl HomeTab {
    /// The blocks of the view.
    #[must_use]
    pub fn blocks(&self) -> Value {
        let words = wording::home(self.language);
        let platform = shown(&self.platform);
        let with_platform = |text: &str| text.replace("{platform}", &platform);
        let mut blocks = vec![header(&self.platform), section(&with_platform(&words.arrive))];
        for tenant in self.tenants.iter().take(TENANTS) {
            blocks.push(json!({ "type": "divider" }));
            tenant.add_to(&mut blocks, words, &platform);
        }
        let hidden = self.more.saturating_add(self.tenants.len().saturating_sub(TENANTS));
        if hidden > 0 {
            blocks.push(context(&words.more_tenants.replace("{count}", &hidden.to_string())));
        }
        let knows = |tenant: &HomeTenant| matches!(tenant.reader, HomeReader::Known { .. });
        if self.tenants.iter().take(TENANTS).any(knows) {
            blocks.push(context(&with_platform(&words.change)));
        }
        Value::Array(blocks)
    }
}

impl HomeTenant {
    fn add_to(&self, blocks: &mut Vec<Value>, words: &HomeWords, platform: &str) {
        let status = match &self.reader {
            HomeReader::Unknown => words.unknown.replace("{platform}", platform),
            HomeReader::Several => words.several.clone(),
            HomeReader::Known { name, .. } => match shown(name) {
                name if name.is_empty() => words.connected.clone(),
                name => words.known.replace("{name}", &name),
            },
        };
        let mut text = format!("*{}*\n{status}", shown(self.tenant.as_str()));
        if !self.sending_allowed {
            text.push_str("\n⏸️ ");
            text.push_str(&words.sending_off);
        }
        blocks.push(section(&text));
        if let HomeReader::Known { types, .. } = &self.reader
            && !types.is_empty()
        {
            blocks.extend(list(types, words));
        }
    }
}

impl HomeType {
    fn line(&self, words: &HomeWords) -> String {
        let event = &self.of.event;
        let name = match shown(&self.of.own_name) {
            name if !name.is_empty() => name,
            _ => match words.types.get(event.as_str()) {
                Some(name) => name.clone(),
                None => shown(&label(event.as_str())),
            },
        };
        let (sign, choice) = match self.choice {
            HomeChoice::On => ("🔔", &words.on),
            HomeChoice::Off => ("🔕", &words.off),
            HomeChoice::AlwaysOn => ("🔒", &words.always_on),
        };
        format!("{sign} {name} · {choice}")
    }
}

/// The list of event types, in as many blocks as it takes.
fn list(types: &[HomeType], words: &HomeWords) -> Vec<Value> {
    let mut blocks = Vec::new();
    let mut text = format!("*{}*", words.preferences);
    let mut room = LIST_BYTES;
    for (index, one) in types.iter().enumerate() {
        let mut line = one.line(words);
        let left = room.checked_sub(line.len());
        if left.is_none() {
            let hidden = types.len() - index;
            line = words.more_types.replace("{count}", &hidden.to_string());
        }
        if units(&text) + 1 + units(&line) > TEXT {
            blocks.push(section(&text));
            text.clear();
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&line);
        match left {
            Some(left) => room = left,
            None => break,
        }
    }
    blocks.push(section(&text));
    blocks
}

/// A name in mrkdwn: one line, escaped and within its limit.
fn shown(name: &str) -> String {
    cut(&mrkdwn(&one_line(name)), NAME, false)
}

fn header(text: &str) -> Value {
    let text = cut(&plain(&one_line(text)), NAME, false);
    json!({ "type": "header", "text": { "type": "plain_text", "text": text, "emoji": false } })
}

fn section(text: &str) -> Value {
    json!({ "type": "section", "text": written(text) })
}

fn context(text: &str) -> Value {
    json!({ "type": "context", "elements": [written(text)] })
}

/// Verbatim: Slack links no bare address and no name in it.
fn written(text: &str) -> Value {
    json!({ "type": "mrkdwn", "text": text, "verbatim": true })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::domain::message::event::catalogue;
    use crate::domain::settings::Preference;

    fn event(name: &str) -> EventType {
        EventType::parse(name).unwrap()
    }

    fn built_in() -> Vec<HomeEvent> {
        let all = catalogue().iter();
        all.map(|of| HomeEvent { event: event(of.name), own_name: String::new() }).collect()
    }

    fn tenant(id: &str, reader: HomeReader) -> HomeTenant {
        HomeTenant { tenant: TenantId::parse(id).unwrap(), sending_allowed: true, reader }
    }

    fn tab(tenants: Vec<HomeTenant>) -> HomeTab {
        let platform = "Campus".to_owned();
        HomeTab { language: Language::English, platform, tenants, more: 0 }
    }

    /// All texts of the blocks, a line each.
    fn text(tab: &HomeTab) -> String {
        let blocks = tab.blocks();
        let texts = blocks.as_array().unwrap().iter().filter_map(|block| {
            block["text"]["text"].as_str().or_else(|| block["elements"][0]["text"].as_str())
        });
        texts.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_known_person_sees_the_choices() {
        let mut settings = Settings::default();
        settings.mandatory_event_types.insert(event("task.due"));
        settings.disabled_event_types.insert(event("case.started"));
        let mut chosen = Preferences::default();
        chosen.by_type.insert(event("task.assigned"), Preference::Off);
        chosen.by_type.insert(event("task.due"), Preference::Off);
        let reader = HomeReader::known("Ada".into(), built_in(), &settings, &chosen);
        let shown = text(&tab(vec![tenant("acme", reader)]));
        for line in [
            "Campus",
            "Notifications from Campus arrive in the Messages tab of this app.",
            "*acme*",
            "This Slack account is connected to Ada.",
            "🔕 Case started · off",
            "🔕 Task assigned · off",
            "🔒 Task due · always on",
            "🔔 Event reminder · on",
            "To change this, open the notification settings in Campus.",
        ] {
            assert!(shown.lines().any(|one| one == line), "{line}: {shown}");
        }
        assert!(!shown.contains("rchiv"), "of channels: {shown}");
    }

    #[test]
    fn who_is_not_known_sees_no_list() {
        for (reader, said) in [
            (HomeReader::Unknown, "not connected to anyone yet"),
            (HomeReader::Several, "connected to several people"),
        ] {
            let shown = text(&tab(vec![tenant("acme", reader)]));
            assert!(shown.contains(said) && !shown.contains("Task"), "{shown}");
            assert!(!shown.contains("To change this"), "{shown}");
        }
        let reader = HomeReader::Known { name: " \u{0}".into(), types: Vec::new() };
        let shown = text(&tab(vec![tenant("acme", reader)]));
        assert!(shown.contains("This Slack account is connected.\n"), "{shown}");
    }

    #[test]
    fn sending_that_is_off_is_said() {
        let off = HomeTenant { sending_allowed: false, ..tenant("acme", HomeReader::Unknown) };
        let words = wording::home(Language::English);
        assert!(text(&tab(vec![off])).contains(&words.sending_off));
        assert!(!text(&tab(vec![tenant("acme", HomeReader::Unknown)])).contains("switched off"));
    }

    #[test]
    fn more_tenants_are_counted() {
        let ids: Vec<String> = (0..12).map(|number| format!("t{number}")).collect();
        let tenants = ids.iter().map(|id| tenant(id, HomeReader::Unknown)).collect();
        let shown = text(&HomeTab { more: 5, ..tab(tenants) });
        assert!(shown.contains("*t9*") && !shown.contains("*t10*"), "{shown}");
        assert!(shown.contains("not shown: 7"), "{shown}");
    }

    #[test]
    fn every_language_has_its_words() {
        let mut seen = BTreeSet::new();
        for language in Language::ALL {
            let known = HomeReader::known(
                "Ada".into(),
                built_in(),
                &Settings::default(),
                &Preferences::default(),
            );
            let readers = [known, HomeReader::Unknown, HomeReader::Several];
            let tenants = readers
                .into_iter()
                .map(|reader| HomeTenant { sending_allowed: false, ..tenant("acme", reader) });
            let tab = HomeTab { language, more: 3, ..tab(tenants.collect()) };
            let shown = text(&tab);
            assert!(shown.lines().all(|line| !line.trim().is_empty()), "{shown}");
            assert!(!shown.contains('{') && !shown.contains('}'), "{shown}");
            assert!(shown.contains("Ada") && shown.contains('3'), "{shown}");
            assert!(shown.matches("Campus").count() == 4, "{shown}");
            assert!(seen.insert(shown), "{language:?} has the words of another language");
        }
    }

    #[test]
    fn a_view_of_the_longest_names_is_within_slacks_limits() {
        for name in ["&".repeat(320), "\"".repeat(320), "語".repeat(100), "a ".repeat(100)] {
            let own = |number: usize| HomeEvent {
                event: event(&format!("own.type{number}")),
                own_name: name.clone(),
            };
            let events: Vec<HomeEvent> = (0..400).map(own).collect();
            let of = |number: usize| {
                let (settings, chosen) = (Settings::default(), Preferences::default());
                let reader = HomeReader::known(name.clone(), events.clone(), &settings, &chosen);
                tenant(&format!("tenant-{number}"), reader)
            };
            let tab = HomeTab { platform: name.clone(), ..tab((0..11).map(of).collect()) };
            within_limits(&tab);
            assert!(text(&tab).contains("… and "), "{name}");
        }
    }

    fn within_limits(tab: &HomeTab) {
        let blocks = tab.blocks();
        assert!(blocks.to_string().len() <= 250_000);
        let blocks = blocks.as_array().unwrap();
        assert!(blocks.len() <= 100, "{}", blocks.len());
        for block in blocks {
            let text = match block["type"].as_str().unwrap() {
                "divider" => continue,
                "header" | "section" => block["text"]["text"].as_str().unwrap(),
                "context" => block["elements"][0]["text"].as_str().unwrap(),
                other => panic!("{other}: the tab only shows"),
            };
            let limit = if block["type"] == "header" { 150 } else { 3_000 };
            assert!(units(text) <= limit, "{text}");
            if block["type"] != "header" {
                assert!(!text.contains(['<', '>']), "live markup: {text}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_name_breaks_the_view(
            names in prop::collection::vec(".{0,320}", 1..4),
            types in 0..20usize,
        ) {
            let of = |(number, name): (usize, &String)| {
                let own = |at: usize| HomeEvent {
                    event: event(&format!("own.type{at}")),
                    own_name: name.clone(),
                };
                let events = (0..types).map(own).collect();
                let (settings, chosen) = (Settings::default(), Preferences::default());
                let reader = HomeReader::known(name.clone(), events, &settings, &chosen);
                tenant(&format!("t{number}"), reader)
            };
            let tenants = names.iter().enumerate().map(of).collect();
            within_limits(&HomeTab { platform: names[0].clone(), ..tab(tenants) });
        }
    }
}
