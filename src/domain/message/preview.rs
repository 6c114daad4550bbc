//! The preview of a template before it is saved.

use serde_json::Value;

use super::event;
use super::problem::Problem;
use super::render::{Context, Link, Reader, RenderError, Rendered, Template, render};
use crate::domain::ids::EventType;
use crate::domain::time::Timestamp;

/// The rendered message, or all problems of the template and of the data, if data is given. Without
/// data the event type's demonstration data is used.
pub fn preview(
    template: &Template,
    event: &EventType,
    data: Option<&Value>,
    reader: &Reader,
    link: Option<&Link>,
    now: Timestamp,
) -> Result<Rendered, Vec<Problem>> {
    let mut problems = template.check();
    if let Some(data) = data {
        problems.extend(event::validate_data(event, data).into_iter().map(Problem::from));
    }
    problems.extend(link.and_then(|link| link.problem("link")).map(Problem::from));
    if !problems.is_empty() {
        return Err(problems);
    }
    let demo;
    let data = if let Some(data) = data {
        data
    } else {
        demo = event::demo_data(event);
        &demo
    };
    let button = event::button(event, reader.language());
    render(template, &Context { event, data, reader, link, button, now }).map_err(|error| {
        vec![match error {
            RenderError::Template(problem) => problem,
            RenderError::Url { field, problem } => {
                Problem { field, line: None, problem: problem.to_string() }
            }
        }]
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::message::render::Language;

    const NOW: Timestamp = Timestamp(1_795_420_800_000_000);

    #[test]
    fn preview_uses_demonstration_data_or_tells_what_is_wrong() {
        let event = EventType::parse("task.assigned").unwrap();
        let words = event::find(&event).unwrap().words(Language::English).unwrap();
        let template = words.template.clone();
        let reader = Reader { name: None, locales: Vec::new(), time_zone: "UTC".into() };
        let shown = preview(&template, &event, None, &reader, None, NOW).unwrap();
        assert!(shown.text.contains("Prepare the workplace"));
        let link = Link { url: "nowhere".into(), label: None };
        let data = json!({"task": 1});
        let problems =
            preview(&template, &event, Some(&data), &reader, Some(&link), NOW).unwrap_err();
        let fields: Vec<_> = problems.iter().map(|problem| problem.field.as_str()).collect();
        assert_eq!(fields, ["data.task", "data.process.name", "link"]);
        let bad = Template { text: "{{ a | nope }}".into(), blocks: "[]".into() };
        let problems = preview(&bad, &event, None, &reader, None, NOW).unwrap_err();
        assert!(problems[0].problem.contains("nope"), "{}", problems[0]);
    }
}
