use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::domain::message::event::Kind;
use crate::domain::message::event::catalogue;
use crate::domain::message::event::definition::{Definition, Own, OwnField};
use crate::domain::message::event::tenant_types::TenantTypes;
use crate::domain::message::render::Template;
use crate::domain::message::render::simple::{Fact, Picture, Simple};

fn event() -> EventType {
    EventType::parse("training.cancelled").unwrap()
}

/// A type with a required text, and an optional field of each kind.
fn types() -> TenantTypes {
    let field = |path: &str, kind, required| OwnField {
        path: path.into(),
        kind,
        required,
        meaning: String::new(),
        example: None,
    };
    let fields = vec![
        field("course.name", Kind::Text, true),
        field("starts_at", Kind::Time, false),
        field("left", Kind::Minutes, false),
        field("page", Kind::Url, false),
        field("extra", Kind::Object, false),
    ];
    let own = Own { display_name: "Training cancelled".into(), fields, ..Own::default() };
    TenantTypes::new([(event(), Definition { own: Some(own), ..Definition::default() })])
}

fn problems(form: &Form) -> Vec<String> {
    let (types, event, locale) = (types(), event(), Locale::parse("de-AT").unwrap());
    let kind = types.find(&event).unwrap();
    check(form, &locale, &kind, &event).iter().map(ToString::to_string).collect()
}

fn simple(body: &str) -> Form {
    Form::Simple(Simple { body: body.into(), ..Simple::default() })
}

fn blocks(text: &str, blocks: &str) -> Form {
    Form::Blocks(Template { text: text.into(), blocks: blocks.into() })
}

#[test]
fn good_templates_of_both_forms_are_taken() {
    let fact = |label: &str, value: &str| Fact { label: label.into(), value: value.into() };
    let good = Simple {
        heading: "Abgesagt: {{ course.name }}".into(),
        body: "**{{ course.name }}** am {{ starts_at | date }} [mehr]({{ page }})\n\n\
               {% for p in extra.people %}\n- {{ p.name }}\n{% endfor %}"
            .into(),
        fields: vec![fact("Noch", "{{ left | in_minutes }}")],
        image: Some(Picture { url: "{{ page }}".into(), alt: "Plan".into() }),
        context: "Für {{ reader.name }}".into(),
        button: "Zum Kurs {{ course.name | truncate(20) }}".into(),
    };
    assert_eq!(problems(&Form::Simple(good)), Vec::<String>::new());
    let good = json!([
        {"type": "header", "text": {"type": "plain_text", "text": "{{ course.name }}"}},
        {"type": "image", "if": "page", "image_url": "{{ page }}", "alt_text": "x"},
        {"type": "section", "text": {"type": "mrkdwn", "text": "{{ data.extra.any.part }} x"}},
        {"type": "section", "text": {"type": "mrkdwn", "text": "x"}, "accessory": {
            "type": "button", "text": {"type": "plain_text", "text": "x"},
            "url": "https://x.test/{{ course.name }}"}},
    ]);
    assert_eq!(problems(&blocks("{{ course.name }}", &good.to_string())), Vec::<String>::new());
}

#[test]
fn the_built_in_messages_pass_in_every_language() {
    let types = TenantTypes::default();
    for built_in in catalogue() {
        let event = EventType::parse(built_in.name).unwrap();
        let kind = types.find(&event).unwrap();
        for language in Language::ALL {
            let locale = Locale::parse(language.tag()).unwrap();
            let form = Form::Blocks(built_in.words(language).unwrap().template.clone());
            assert_eq!(check(&form, &locale, &kind, &event), [], "{event} {locale}");
        }
    }
}

#[test]
fn problems_have_the_names_of_the_request_and_their_places() {
    let section = |text: &str| {
        format!(
            "[\n{{\"type\": \"section\", \"text\": {{\"type\": \"mrkdwn\", \"text\": {}}}}}]",
            json!(text)
        )
    };
    for (form, expected) in [
        (
            simple("one\n{{ corse.name }}"),
            vec![
                "template.simple.body (line 2, column 4) uses corse.name, which \
                 training.cancelled does not have; did you mean course.name?",
            ],
        ),
        (
            simple("{% if left %}{{ course.name | sparkle }}{% endif %}"),
            vec![
                "template.simple.body (line 1, column 31) does not work: filter sparkle is unknown",
            ],
        ),
        (
            blocks("{{ range(3) }} {{ left is odd }}", "[]"),
            vec![
                "template.blocks.text (line 1, column 4) does not work: function range is unknown",
                "template.blocks.text (line 1, column 27) does not work: test odd is unknown",
            ],
        ),
        (
            blocks("x", &section("a \"b\"\n{{ starts_at.hour }}")),
            vec![
                "template.blocks.blocks_json[0].text.text (line 2, column 69) uses starts_at.hour, \
                 which training.cancelled does not have; its fields are course.name, starts_at, \
                 left, page, extra",
            ],
        ),
        (
            blocks("x", "[{\"type\": \"divider\", \"if\": \"nothing is blank\"}]"),
            vec![
                "template.blocks.blocks_json[0].if (line 1, column 29) uses nothing, which \
                 training.cancelled does not have; its fields are course.name, starts_at, left, \
                 page, extra",
            ],
        ),
        (
            blocks(" ", "[\n{]"),
            vec![
                "template.blocks.text must not be empty: notifications and screen readers show it",
                "template.blocks.blocks_json (line 2, column 2) must be JSON: key must be a string",
            ],
        ),
    ] {
        assert_eq!(problems(&form), expected);
    }
}

#[test]
fn the_data_that_breaks_a_template_is_named() {
    for (form, field, data) in [
        (
            simple("{% for c in course.name %}{{ c | upper | lower }}{% endfor %}"),
            "simple.body",
            "the longest values",
        ),
        (blocks("<{{ course.name }}|x>", "[]"), "blocks.text", "the example data"),
        (
            blocks("x{% if extra['<!channel>'] %}{{ extra | round }}{% endif %}", "[]"),
            "blocks.text",
            "markup in the values",
        ),
        (
            blocks("x{% if extra.n %}{{ extra.n | round }}{% endif %}", "[]"),
            "blocks.text",
            "markup in the values",
        ),
        (
            blocks(
                "x{% for p in extra.people %}{% if p is sequence %}{{ p | round }}{% endif %}\
                 {% endfor %}",
                "[]",
            ),
            "blocks.text",
            "lists in the objects",
        ),
        (
            blocks("x{% if extra.a.b is mapping %}{{ extra.a.b | round }}{% endif %}", "[]"),
            "blocks.text",
            "objects in the objects",
        ),
    ] {
        let problems = problems(&form);
        let [problem] = &problems[..] else { panic!("{problems:?}") };
        assert!(problem.contains(field) && problem.contains(data), "{problem}");
    }
}

/// The place is in the text that the author wrote, not in the one that it becomes.
#[test]
fn a_part_that_fails_on_data_has_its_line_and_column() {
    let fact = |label: &str, value: &str| Fact { label: label.into(), value: value.into() };
    let heading = Simple { heading: "{{ extra | round }}".into(), ..Simple::default() };
    let body = "**Good**\n\n- [so](https://x.test) {{ starts_at | round }}";
    let body = Simple { body: body.into(), ..Simple::default() };
    let value = Simple {
        heading: "x".into(),
        fields: vec![fact("a", "b"), fact("c", "**d** {{ extra | round }}")],
        ..Simple::default()
    };
    for (form, place) in [
        (heading, "template.simple.heading (line 1, column 12) does not work: "),
        (body, "template.simple.body (line 3, column 39) does not work: "),
        (value, "template.simple.fields[1].value (line 1, column 18) does not work: "),
    ] {
        let problems = problems(&Form::Simple(form));
        let [problem] = &problems[..] else { panic!("{problems:?}") };
        assert!(problem.starts_with(place) && problem.contains("(with "), "{problem}");
    }
}

/// Data that makes a URL impossible costs one part of the message. A URL that the author wrote is
/// impossible in every message.
#[test]
fn only_a_url_that_the_author_wrote_is_refused() {
    let image =
        |url: &str| json!([{"type": "image", "image_url": url, "alt_text": "x"}]).to_string();
    for url in ["{{ course.name }}", "{{ page }}", "{{ link.url }}", "https://x.test/{{ left }}"] {
        assert_eq!(problems(&blocks("x", &image(url))), Vec::<String>::new(), "{url}");
    }
    for url in ["", "/plan.png", "ftp://x.test/plan.png"] {
        let problems = problems(&blocks("x", &image(url)));
        let [problem] = &problems[..] else { panic!("{url}: {problems:?}") };
        let refused = "template.blocks.blocks_json[0].image_url (line 1, column ";
        assert!(problem.starts_with(refused), "{problem}");
        assert!(problem.ends_with(") must be an absolute http or https URL"), "{problem}");
    }
}

#[test]
fn a_template_without_a_message_is_refused() {
    for (form, expected) in [
        (
            simple("{% if not course.name %}x{% endif %}"),
            "simple.body (line 1, column 1) comes out empty",
        ),
        (blocks("{{ extra.nothing }}", "[]"), "blocks.text (line 1, column 1) comes out empty"),
    ] {
        let problems = problems(&form);
        assert!(problems.len() == 1 && problems[0].contains(expected), "{problems:?}");
    }
}

/// A piece of a template.
fn piece() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "{{ course.name }}",
        "{{ data.starts_at | date }}",
        "{{ extra['a'].b | default('-') }}",
        "{{ left | in_minutes",
        "{{ nothing }}",
        "{% for p in extra.people %}",
        "{{ p }}",
        "{% endfor %}",
        "{% if page %}",
        "{% else %}",
        "{% endif %}",
        "**bold** ",
        "[a]({{ page }})",
        "<!channel>",
        "\n\n- ",
        "\u{202E}é😀\t",
        "\"}]",
    ])
}

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(piece(), 0..6).prop_map(|pieces| pieces.concat())
}

fn any_form() -> impl Strategy<Value = Form> {
    let texts = prop::collection::vec(text(), 6);
    (any::<bool>(), texts).prop_map(|(is_simple, texts)| {
        let mut texts = texts.into_iter();
        let mut text = || texts.next().unwrap_or_default();
        if is_simple {
            return Form::Simple(Simple {
                heading: text(),
                body: text(),
                fields: vec![Fact { label: "x".into(), value: text() }],
                image: Some(Picture { url: text(), alt: text() }),
                context: text(),
                button: String::new(),
            });
        }
        let section = json!([{"type": "section", "if": text(),
            "text": {"type": "mrkdwn", "text": text()}}]);
        Form::Blocks(Template { text: text(), blocks: section.to_string() })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn any_form_is_checked_and_what_is_taken_reads_only_fields_of_the_type(form in any_form()) {
        let (types, event, locale) = (types(), event(), Locale::parse("ja").unwrap());
        let kind = types.find(&event).unwrap();
        let problems = check(&form, &locale, &kind, &event);
        let specs = kind.specs();
        let mut read = fields_read(&form);
        read.retain(|path| !fields::has_field(&specs, path));
        prop_assert!(!problems.is_empty() || read.is_empty(), "{:?}", read);
        for problem in &problems {
            prop_assert!(problem.field.starts_with("template."), "{}", problem);
        }
    }
}
