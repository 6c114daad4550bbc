//! The preview of a message.

use serde_json::Value;

use super::event::tenant_types::KnownType;
use super::problem::Problem;
use super::render::{Context, Link, Reader, Rendered};
use super::wording::candidates::ReadyWords;
use super::wording::levels::Level;
use crate::domain::ids::EventType;
use crate::domain::time::Timestamp;

/// A message as it would be sent, and the words that were chosen for its reader.
#[derive(Debug, Clone, PartialEq)]
pub struct Previewed {
    pub rendered: Rendered,
    pub level: Level,
    /// The locale of the words.
    pub locale: String,
    /// 0: not of a template.
    pub version: u32,
}

/// The message for this reader, or all problems of the data and the link, or that of the words.
/// Without data the event type's demonstration data is used.
pub fn preview(
    words: &ReadyWords,
    event: &EventType,
    kind: &KnownType<'_>,
    data: Option<&Value>,
    reader: &Reader,
    link: Option<&Link>,
    now: Timestamp,
) -> Result<Previewed, Vec<Problem>> {
    let problems = data.map(|data| kind.data_problems(data)).unwrap_or_default();
    let mut problems: Vec<Problem> = problems.into_iter().map(Problem::from).collect();
    problems.extend(link.and_then(|link| link.problem("link")).map(Problem::from));
    if !problems.is_empty() {
        return Err(problems);
    }
    let demo;
    let data = if let Some(data) = data {
        data
    } else {
        demo = kind.demo_data();
        &demo
    };
    let chosen = words.choice(reader);
    let context = Context { event, data, reader, link, button: chosen.button, now };
    let rendered = chosen.compiled.render(&context).map_err(|error| vec![Problem::from(error)])?;
    let (level, locale, version) = (chosen.level, chosen.locale.to_owned(), chosen.version);
    Ok(Previewed { rendered, level, locale, version })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::message::event::tenant_types::TenantTypes;
    use crate::domain::message::render::Template;

    const NOW: Timestamp = Timestamp(1_795_420_800_000_000);

    #[test]
    fn preview_uses_demonstration_data_or_tells_what_is_wrong() {
        let event = EventType::parse("task.assigned").unwrap();
        let types = TenantTypes::default();
        let kind = types.find(&event).unwrap();
        let reader = Reader { name: None, locales: vec!["de-AT".into()], time_zone: "UTC".into() };
        let shown = preview(&kind.words(), &event, &kind, None, &reader, None, NOW).unwrap();
        assert!(shown.rendered.text.contains("Prepare the workplace"));
        assert_eq!((shown.level, &*shown.locale, shown.version), (Level::BuiltIn, "de", 0));
        let link = Link { url: "nowhere".into(), label: None };
        let data = json!({"task": 1});
        let problems =
            preview(&kind.words(), &event, &kind, Some(&data), &reader, Some(&link), NOW)
                .unwrap_err();
        let fields: Vec<_> = problems.iter().map(|problem| problem.field.as_str()).collect();
        assert_eq!(fields, ["data.task", "data.process.name", "link"]);
        let bad = Template { text: "{{ a | nope }}".into(), blocks: "[]".into() };
        let words = ReadyWords::own(&bad);
        let problems = preview(&words, &event, &kind, None, &reader, None, NOW).unwrap_err();
        assert!(problems[0].problem.contains("nope"), "{}", problems[0]);
    }
}
