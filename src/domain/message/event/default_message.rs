//! The message of a tenant's own event type that has no template: its name, the fields that have a
//! value, and the button.
//!
//! Names come from the tenant, so they are written as values of the template, which are escaped
//! like data.

use serde_json::{Value, json};

use super::definition::{Own, OwnField};
use super::{Kind, label};
use crate::domain::message::render::Template;
use crate::domain::message::render::kit::SECTION_FIELDS;
use crate::domain::message::render::simple::link_button;

/// The template, made from the definition.
pub(super) fn template(own: &Own) -> Template {
    let name = placeholder(&literal(&own.display_name));
    let shown: Vec<&OwnField> =
        own.fields.iter().filter(|field| field.kind != Kind::Object).collect();
    let first = shown.iter().find(|field| field.required && field.kind == Kind::Text);
    let text = match first {
        Some(field) => format!("{name}: {}", placeholder(&place(&field.path))),
        None => name.clone(),
    };
    let head = json!({ "type": "mrkdwn", "text": format!("*{name}*") });
    let mut blocks = vec![json!({ "type": "section", "text": head })];
    for fields in shown.chunks(SECTION_FIELDS) {
        let fields: Vec<Value> = fields.iter().map(|field| shown_as(field)).collect();
        blocks.push(json!({ "type": "section", "fields": fields }));
    }
    blocks.push(link_button("{{ link.label }}"));
    Template { text, blocks: Value::from(blocks).to_string() }
}

/// The label of a field and its value; omitted without a value.
fn shown_as(field: &OwnField) -> Value {
    let place = place(&field.path);
    let value = match field.kind {
        Kind::Time => format!("{place} | when('datetime')"),
        Kind::Minutes => format!("{place} | in_minutes"),
        Kind::Url => format!("{place} | link"),
        Kind::Text | Kind::Object => place.clone(),
    };
    let (name, value) = (placeholder(&literal(&label(&field.path))), placeholder(&value));
    json!({
        "if": format!("{place} is not blank"),
        "type": "mrkdwn",
        "text": format!("*{name}*\n{value}"),
    })
}

/// The value at a path, as an expression.
fn place(path: &str) -> String {
    path.split('.').fold("data".to_owned(), |place, part| format!("{place}[{}]", literal(part)))
}

/// A text as an expression: the escapes of JSON are those of minijinja.
fn literal(text: &str) -> String {
    Value::from(text).to_string()
}

fn placeholder(expression: &str) -> String {
    format!("{{{{ {expression} }}}}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::EventType;
    use crate::domain::limits;
    use crate::domain::message::render::{Context, Link, Reader, Rendered, render};
    use crate::domain::time::Timestamp;

    fn field(path: &str, kind: Kind, required: bool) -> OwnField {
        OwnField { path: path.into(), kind, required, meaning: String::new(), example: None }
    }

    fn rendered(own: &Own, data: &Value) -> Rendered {
        let event = EventType::parse("training.cancelled").unwrap();
        let reader = Reader { name: None, locales: Vec::new(), time_zone: "Europe/Vienna".into() };
        let link = Link { url: "https://platform.example/1".into(), label: None };
        let context = Context {
            event: &event,
            data,
            reader: &reader,
            link: Some(&link),
            button: "Open",
            now: Timestamp(1_795_420_800_000_000),
        };
        render(&template(own), &context).unwrap()
    }

    #[test]
    fn it_shows_the_name_and_the_fields_that_have_a_value() {
        let own = Own {
            display_name: "Training cancelled".into(),
            fields: vec![
                field("course.name", Kind::Text, true),
                field("starts_at", Kind::Time, false),
                field("reason", Kind::Text, false),
                field("course.page", Kind::Url, false),
                field("course.details", Kind::Object, false),
            ],
            ..Own::default()
        };
        assert_eq!(template(&own).check(), []);
        let data = json!({
            "course": {"name": "First aid", "page": "https://platform.example/courses/1 a"},
            "starts_at": "2026-12-03T08:00:00Z",
            "reason": " \n",
        });
        let message = rendered(&own, &data);
        assert_eq!(message.text, "Training cancelled: First aid");
        let shown = message.blocks.to_string();
        for part in ["*Training cancelled*", "*Course name*\\nFirst aid", "3 Dec 2026", "\"Open\""]
        {
            assert!(shown.contains(part), "{part} in {shown}");
        }
        let page = "https://platform.example/courses/1%20a";
        assert!(shown.contains(&format!("<{page}|{page}>")), "{shown}");
        assert!(!shown.contains("Reason") && !shown.contains("Course details"), "{shown}");
    }

    #[test]
    fn a_name_is_shown_as_it_is_and_never_live() {
        let name = r#"<!channel> "{{ 7 }}" {% x %} \ }} {# <@U1>"#;
        let own = Own { display_name: name.into(), ..Own::default() };
        assert_eq!(template(&own).check(), []);
        let message = rendered(&own, &json!({}));
        let escaped = name.replace('<', "&lt;").replace('>', "&gt;");
        assert_eq!(message.text, escaped);
        assert_eq!(message.blocks[0]["text"]["text"], format!("*{escaped}*"));
    }

    #[test]
    fn the_largest_definition_makes_a_good_template() {
        let part = "x".repeat(limits::EVENT_FIELD_PATH_BYTES / limits::EVENT_FIELD_PATH_PARTS - 1);
        let path = [part.as_str(); limits::EVENT_FIELD_PATH_PARTS].join(".");
        let fields = (0..limits::EVENT_FIELDS).map(|_| field(&path, Kind::Url, true)).collect();
        let display_name = "\"".repeat(limits::EVENT_TYPE_DISPLAY_BYTES);
        let own = Own { display_name, fields, ..Own::default() };
        assert_eq!(template(&own).check(), []);
        rendered(&own, &json!({}));
    }
}
