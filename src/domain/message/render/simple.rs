//! The simple form of a message: text in a few named places, which becomes the same [`Template`] as
//! one in Block Kit.
//!
//! All texts may have placeholders. The body, the values of fields and the context are in Markdown;
//! the heading, labels and the button are plain text. Parts that come out empty are omitted.

use serde_json::{Value, json};

use super::filters::Mode;
use super::{Context, Language, Located, Problem, Template, filters, markdown, places};
use crate::domain::limits::{TEMPLATE_FIELDS, TEMPLATE_TEXT_BYTES};

/// A message as its author writes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Simple {
    /// One line.
    pub heading: String,
    /// Markdown: bold, italic, strike, code, lists, links, quotes, headings.
    pub body: String,
    pub fields: Vec<Fact>,
    pub image: Option<Picture>,
    /// Markdown, in small letters below.
    pub context: String,
    /// The label of the link's button; empty: the link's own label, or the default.
    pub button: String,
}

/// A labelled value.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fact {
    pub label: String,
    /// Markdown. If it is one placeholder without a value, the field is omitted.
    pub value: String,
}

/// An image by its URL.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Picture {
    /// If it is one placeholder without a value, the image is omitted.
    pub url: String,
    /// The text for readers who do not see the image.
    pub alt: String,
}

impl Simple {
    /// The message in Block Kit.
    #[must_use]
    pub fn template(&self) -> Template {
        let blocks = self.blocks().into_iter().map(|(_, block)| block).collect();
        Template { text: self.text(), blocks: Value::Array(blocks).to_string() }
    }

    /// The heading and the body; only the heading if both are too long for one string.
    fn text(&self) -> String {
        let heading = markdown::literal(&self.heading);
        let body = markdown::mrkdwn(&self.body);
        let whole = format!("{heading}\n{body}").trim().to_owned();
        if whole.len() > TEMPLATE_TEXT_BYTES && !heading.is_empty() { heading } else { whole }
    }

    /// The blocks, each with the name of its part.
    fn blocks(&self) -> Vec<(&'static str, Value)> {
        let mrkdwn = |text: &str| json!({ "type": "mrkdwn", "text": markdown::mrkdwn(text) });
        let plain = |text: &str| json!({ "type": "plain_text", "text": text, "emoji": true });
        let mut blocks = Vec::new();
        if !self.heading.is_empty() {
            blocks.push(("heading", json!({ "type": "header", "text": plain(&self.heading) })));
        }
        if !self.body.is_empty() {
            blocks.push(("body", json!({ "type": "section", "text": mrkdwn(&self.body) })));
        }
        if !self.fields.is_empty() {
            let fields: Vec<Value> = self.fields.iter().map(Fact::field).collect();
            blocks.push(("fields", json!({ "type": "section", "fields": fields })));
        }
        if let Some(Picture { url, alt }) = &self.image {
            let image = json!({ "type": "image", "image_url": url, "alt_text": alt });
            blocks.push(("image", only_if_given(image, url)));
        }
        if !self.context.is_empty() {
            let context = json!({ "type": "context", "elements": [mrkdwn(&self.context)] });
            blocks.push(("context", context));
        }
        let label = if self.button.is_empty() { "{{ link.label }}" } else { &self.button };
        blocks.push(("button", link_button(label)));
        blocks
    }

    /// All problems that can be found without data, under the names of the parts; empty if the
    /// message is valid. Lines count from the beginning of a part.
    #[must_use]
    pub fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.heading.trim().is_empty() && self.body.trim().is_empty() {
            problems.push(Problem::new("body", "must not be empty if there is no heading"));
        }
        if self.fields.len() > TEMPLATE_FIELDS {
            problems.push(Problem::new("fields", format!("must have at most {TEMPLATE_FIELDS}")));
        }
        for (field, text, required) in self.parts() {
            if required && text.trim().is_empty() {
                problems.push(Problem::new(field.as_str(), "must not be empty"));
            }
            if let Err(error) = filters::compiles(text) {
                problems.push(places::failed(&error, &field, text));
            }
        }
        if problems.is_empty() {
            problems = self.problems_of_blocks();
        }
        problems
    }

    /// The names in all parts that compile.
    pub(in crate::domain::message) fn names(&self) -> Vec<Located> {
        let parts = self.parts().into_iter();
        parts.flat_map(|(field, text, _)| Located::in_text(&field, text)).collect()
    }

    /// Each text with its name, and whether it is required.
    fn parts(&self) -> Vec<(String, &str, bool)> {
        let mut parts = vec![
            ("heading".to_owned(), self.heading.as_str(), false),
            ("body".to_owned(), self.body.as_str(), false),
        ];
        for (index, fact) in self.fields.iter().enumerate() {
            parts.push((format!("fields[{index}].label"), &fact.label, true));
            parts.push((format!("fields[{index}].value"), &fact.value, true));
        }
        if let Some(image) = &self.image {
            parts.push(("image.url".to_owned(), &image.url, true));
            parts.push(("image.alt".to_owned(), &image.alt, false));
        }
        parts.push(("context".to_owned(), &self.context, false));
        parts.push(("button".to_owned(), &self.button, false));
        parts
    }

    /// The problems of the finished template, such as a heading that is too long.
    fn problems_of_blocks(&self) -> Vec<Problem> {
        self.template().check().into_iter().map(|problem| self.named(problem)).collect()
    }

    /// The problem of a message that cannot be rendered, at its place in the part that its author
    /// wrote. If each part works by itself, as when together they take too many steps, it is the
    /// problem of the finished template, under the name of a part.
    pub(in crate::domain::message) fn failed(
        &self,
        context: &Context<'_>,
        language: Language,
        problem: Problem,
    ) -> Problem {
        let (strings, scope) = (filters::Strings::new(), filters::scope(context, language));
        let failed = self.parts().into_iter().find_map(|(field, text, _)| {
            let error = strings.fill(text, Mode::Plain, &scope).err()?;
            Some(places::failed(&error, &field, text))
        });
        failed.unwrap_or_else(|| self.named(problem))
    }

    /// A problem of the finished template, at the beginning of the part in which it is.
    fn named(&self, problem: Problem) -> Problem {
        let blocks = self.blocks();
        let inside = problem.field.strip_prefix("blocks[").and_then(|it| it.split_once(']'));
        let name = inside.and_then(|(index, _)| blocks.get(index.parse::<usize>().ok()?));
        let item = inside.and_then(|(_, rest)| rest.strip_prefix(".fields[")?.split_once(']'));
        let field = match (name, item) {
            (Some(_), Some((item, _))) => format!("fields[{item}].value"),
            (Some(("image", _)), None) if problem.field.ends_with("alt_text") => "image.alt".into(),
            (Some(("image", _)), None) => "image.url".to_owned(),
            (Some((name, _)), None) => (*name).to_owned(),
            (None, _) if self.body.is_empty() => "heading".to_owned(),
            (None, _) => "body".to_owned(),
        };
        Problem::new(field, problem.problem).at_the_beginning()
    }
}

impl Fact {
    fn field(&self) -> Value {
        let label = markdown::literal(&self.label);
        let text = format!("*{label}*\n{}", markdown::mrkdwn(&self.value));
        only_if_given(json!({ "type": "mrkdwn", "text": text }), &self.value)
    }
}

/// The object, omitted if its source is one placeholder that has no value.
fn only_if_given(mut object: Value, source: &str) -> Value {
    if let Some(expression) = markdown::only_expression(source) {
        object["if"] = format!("({expression}) is not blank").into();
    }
    object
}

/// The block with the button that opens the notification's link; omitted without a link.
#[must_use]
pub fn link_button(label: &str) -> Value {
    let button = json!({
        "type": "button",
        "action_id": "open_link",
        "style": "primary",
        "text": { "type": "plain_text", "text": label, "emoji": true },
        "url": "{{ link.url }}",
    });
    json!({ "if": "link", "type": "actions", "elements": [button] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::EventType;
    use crate::domain::message::render::{Context, Link, Reader, Rendered, render};
    use crate::domain::time::Timestamp;

    fn shown(simple: &Simple, data: &Value, link: Option<&Link>) -> Rendered {
        let event = EventType::parse("training.cancelled").unwrap();
        let reader = Reader { name: None, locales: vec!["en".into()], time_zone: "UTC".into() };
        let (reader, now) = (&reader, Timestamp(1_795_420_800_000_000));
        let context = Context { event: &event, data, reader, link, button: "Open", now };
        render(&simple.template(), &context).unwrap()
    }

    fn training() -> Simple {
        let fact = |label: &str, value: &str| Fact { label: label.into(), value: value.into() };
        Simple {
            heading: "Training cancelled: {{ training }}".into(),
            body: "Sorry, **{{ training }}** on {{ at | date }} is *not* taking place.\n\n\
                   - [Other dates]({{ dates }})"
                .into(),
            fields: vec![fact("Trainer", "{{ trainer }}"), fact("Reason", "{{ reason }}")],
            image: Some(Picture { url: "{{ photo }}".into(), alt: "The room".into() }),
            context: "Sent by R&D".into(),
            button: "See all".into(),
        }
    }

    #[test]
    fn a_simple_message_has_good_blocks_and_a_text() {
        let simple = training();
        assert_eq!(simple.check(), []);
        let data = json!({"training": "First <aid>", "at": "2026-12-03", "trainer": "Kim & Co",
            "dates": "https://x.test/d", "photo": "https://x.test/p.png"});
        let link = Link { url: "https://x.test/".into(), label: None };
        let rendered = shown(&simple, &data, Some(&link));
        let body = "Sorry, *First &lt;aid&gt;* on Thu 3 Dec 2026 is _not_ taking place.\n\
                    • <https://x.test/d|Other dates>";
        let text = rendered.text.as_str();
        assert_eq!(text, format!("Training cancelled: First &lt;aid&gt;\n{body}"));
        let mrkdwn = |text: &str| json!({ "type": "mrkdwn", "text": text, "verbatim": true });
        let plain = |text: &str| json!({ "type": "plain_text", "text": text, "emoji": true });
        assert_eq!(
            rendered.blocks,
            json!([
                { "type": "header", "text": plain("Training cancelled: First <aid>") },
                { "type": "section", "text": mrkdwn(body) },
                { "type": "section", "fields": [mrkdwn("*Trainer*\nKim &amp; Co")] },
                { "type": "image", "image_url": "https://x.test/p.png", "alt_text": "The room" },
                { "type": "context", "elements": [mrkdwn("Sent by R&amp;D")] },
                {
                    "type": "actions",
                    "elements": [{
                        "type": "button",
                        "action_id": "open_link",
                        "style": "primary",
                        "text": plain("See all"),
                        "url": "https://x.test/",
                    }],
                },
            ])
        );
    }

    #[test]
    fn parts_without_a_value_are_omitted() {
        let rendered = shown(&training(), &json!({"training": "T"}), None);
        let kinds: Vec<&str> = rendered
            .blocks
            .as_array()
            .unwrap()
            .iter()
            .map(|block| block["type"].as_str().unwrap())
            .collect();
        assert_eq!(kinds, ["header", "section", "context"]);
        let only_body = Simple { body: "x".into(), ..Simple::default() };
        assert_eq!(only_body.check(), []);
        assert_eq!(shown(&only_body, &json!({}), None).text, "x");
        let data = json!({"training": "T", "trainer": " ", "photo": "\n"});
        assert_eq!(shown(&training(), &data, None).blocks.as_array().unwrap().len(), 3);
        let zero = Fact { label: "Places left".into(), value: "{{ left }}".into() };
        let zero = Simple { body: "x".into(), fields: vec![zero], ..Simple::default() };
        let blocks = shown(&zero, &json!({"left": 0}), None).blocks;
        assert_eq!(blocks[1]["fields"][0]["text"], "*Places left*\n0");
    }

    #[test]
    fn problems_name_the_part_and_the_line() {
        let fact = |label: &str, value: &str| Fact { label: label.into(), value: value.into() };
        let bad = Simple {
            body: "one\n{{ two".into(),
            fields: vec![fact("", "x"), fact("b", "{{ 'x' * 9 }}")],
            ..Simple::default()
        };
        let problems: Vec<String> = bad.check().iter().map(ToString::to_string).collect();
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(problems[0].starts_with("body (line 2, column 4) does not work: "), "{problems:?}");
        assert_eq!(problems[1], "fields[0].label must not be empty");
        assert!(
            problems[2].starts_with("fields[1].value (line 1, column 8) does not"),
            "{problems:?}"
        );

        let long = Simple {
            heading: "x".repeat(151),
            fields: vec![fact("a", "b"), fact("a", &"b".repeat(2_001))],
            ..Simple::default()
        };
        let problems: Vec<String> = long.check().iter().map(ToString::to_string).collect();
        assert_eq!(
            problems,
            [
                "heading (line 1, column 1) must be at most 150 characters",
                "fields[1].value (line 1, column 1) must be at most 2000 characters",
            ]
        );
        let image = |url: &str, alt: &str| Simple {
            body: "x".into(),
            image: Some(Picture { url: url.into(), alt: alt.into() }),
            ..Simple::default()
        };
        let named = |simple: Simple| simple.check().remove(0).field;
        assert_eq!(named(image("plan.png", "a")), "image.url");
        assert_eq!(named(image("https://x.test/", &"a".repeat(2_001))), "image.alt");
        let nothing: Vec<String> =
            Simple::default().check().iter().map(ToString::to_string).collect();
        assert_eq!(nothing, ["body must not be empty if there is no heading"]);
    }
}
