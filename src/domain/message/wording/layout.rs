//! The layouts of the built-in messages, apart from any language: a headline with the subject in
//! bold, a line of details, and the link's button.

use std::sync::OnceLock;

use serde_json::json;

use super::{Strings, Words, strings};
use crate::domain::message::render::simple::link_button;
use crate::domain::message::render::{Compiled, Language, Template};

/// One built-in message in all languages.
#[derive(Debug)]
pub struct Wording {
    /// The event type.
    pub(super) event: &'static str,
    /// Stands before the text and the headline.
    icon: &'static str,
    /// The expression of the subject; empty if the message has none.
    subject: &'static str,
    details: &'static [Detail],
    /// The words of each language, once they have been used.
    words: [OnceLock<Words>; 6],
}

/// A part of the line below the headline.
#[derive(Debug)]
struct Detail {
    /// The expression that must have a text for the part to be shown; empty if it always is.
    when: &'static str,
    /// The name of the part's string, or a template that is the same in all languages.
    part: &'static str,
}

const fn always(part: &'static str) -> Detail {
    Detail { when: "", part }
}

const fn when(when: &'static str, part: &'static str) -> Detail {
    Detail { when, part }
}

macro_rules! wording {
    ($event:literal, $icon:literal, $subject:literal, $details:expr $(,)?) => {
        Wording {
            event: $event,
            icon: $icon,
            subject: $subject,
            details: $details,
            words: [const { OnceLock::new() }; 6],
        }
    };
}

const SPAN: &str = "🕒 {{ starts_at | until(ends_at) }}";
const START: &str = "🕒 {{ starts_at | datetime }}";
const PLACE: &str = "📍 {{ place }}";
/// How soon an event starts; minutes outrank the time.
const SOON: &str = "{% if starts_in_minutes is number %}{{ starts_in_minutes | in_minutes }}\
                    {% else %}{{ starts_at | how_soon }}{% endif %}";

/// The event types, in the order of the catalogue.
pub(super) static EVENTS: [Wording; 12] = [
    wording!(
        "case.started",
        "🚀 ",
        "process.name",
        &[when("case.name", "case"), when("started_at", "started")],
    ),
    wording!(
        "task.assigned",
        "📋 ",
        "task.name",
        &[always("process"), when("assigner.name", "task_by"), when("due_at", "due_at")],
    ),
    wording!("task.due", "⏰ ", "task.name", &[when("process.name", "process")]),
    wording!(
        "request.canceled",
        "🚫 ",
        "request.name",
        &[when("canceled_by.name", "canceled_by"), when("reason", "reason")],
    ),
    wording!("request.completed", "✅ ", "request.name", &[when("completed_at", "completed")]),
    wording!("process.imported", "📥 ", "process.name", &[when("imported_by.name", "import")]),
    wording!("project.invited", "🤝 ", "project.name", &[when("role", "role")]),
    wording!(
        "event.invited",
        "📅 ",
        "event.name",
        &[always(SPAN), always(PLACE), when("inviter.name", "invited_by")],
    ),
    wording!("event.enrolled", "🎟️ ", "event.name", &[always(SPAN), when("place", PLACE)]),
    wording!(
        "learning.assigned",
        "🎓 ",
        "item.name",
        &[always("due_on"), when("assigner.name", "learning_by")],
    ),
    wording!(
        "event.reminder",
        "🔔 ",
        "event.name",
        &[when("starts_at", START), when("place", PLACE)],
    ),
    wording!(
        "channel.archiving",
        "🗄️ ",
        "channel.name",
        &[always("archive_at"), always("readable")]
    ),
];

pub(super) static TEST: Wording = wording!("herald.test", "", "", &[always("nothing_to_do")]);

impl Wording {
    /// The message in this language.
    pub fn words(&self, language: Language) -> &Words {
        self.words[language as usize].get_or_init(|| {
            let strings = strings(language);
            let template = self.template(strings);
            let compiled = Compiled::of(&template, Some(language));
            let event = strings.events.get(self.event);
            let button = event.map_or(&strings.open, |event| &event.button).clone();
            Words { template, compiled, button }
        })
    }

    fn template(&self, strings: &Strings) -> Template {
        let event = strings.events.get(self.event);
        let (text, headline) =
            event.map_or(("", ""), |event| (event.text.as_str(), event.headline.as_str()));
        let mut section = format!("{}{}", self.icon, headline.replace("{soon}", SOON));
        if !self.subject.is_empty() {
            section = format!("{section}\n*{{{{ {} }}}}*", self.subject);
        }
        let blocks = json!([
            { "type": "section", "text": { "type": "mrkdwn", "text": section } },
            {
                "type": "context",
                "elements": [{ "type": "mrkdwn", "text": self.line(strings) }],
            },
            link_button("{{ link.label }}"),
        ]);
        let text = format!("{}{}", self.icon, text.replace("{soon}", SOON));
        Template { text, blocks: blocks.to_string() }
    }

    /// The details, with a dot between those that are shown.
    fn line(&self, strings: &Strings) -> String {
        let mut line = String::new();
        let mut before: Vec<String> = Vec::new();
        for Detail { when, part } in self.details {
            let part = strings.details.get(*part).map_or(*part, String::as_str);
            let dot = if before.is_empty() {
                String::new()
            } else if before.iter().any(String::is_empty) {
                " · ".to_owned()
            } else {
                format!("{{% if {} %}} · {{% endif %}}", before.join(" or "))
            };
            if when.is_empty() {
                line = format!("{line}{dot}{part}");
                before.push(String::new());
            } else {
                let condition = format!("{when} is not blank");
                line = format!("{line}{{% if {condition} %}}{dot}{part}{{% endif %}}");
                before.push(condition);
            }
        }
        line
    }
}
