//! Templates: each broken one with the field, the line and the sentence.

use herald::domain::ids::EventType;
use herald::domain::message::event;
use herald::domain::message::event::tenant_types::TenantTypes;
use herald::domain::message::preview;
use herald::domain::message::render::{Compiled, Context, Problem, Reader, Template};
use herald::domain::message::wording::candidates::ReadyWords;
use herald::domain::time::Timestamp;
use serde_json::{Value, json};

/// Name, text, blocks, and the problems as people read them.
type Case = (&'static str, fn() -> (String, String), &'static [&'static str]);

pub(super) const CASES: usize = CHECKED.len() + TRIED.len() + DATA.len();

fn text(text: &str) -> (String, String) {
    (text.into(), "[]".into())
}

fn blocks(blocks: &str) -> (String, String) {
    ("x".into(), blocks.into())
}

/// A section whose text is on line 3.
fn section(text: &str) -> (String, String) {
    let text = Value::from(text);
    blocks(&format!(
        "[\n{{\"type\": \"section\",\n\"text\": {{\"type\": \"mrkdwn\", \"text\": {text}}}}}]"
    ))
}

/// Refused when they are saved.
#[rustfmt::skip]
const CHECKED: &[Case] = &[
    ("no text", || text(" "),
        &["text must not be empty: notifications and screen readers show it"]),
    ("no JSON", || blocks("[\n{"),
        &["blocks (line 2, column 1) must be JSON: it ends inside an object"]),
    ("trailing comma", || blocks("[{\"type\": \"divider\"},]"),
        &["blocks (line 1, column 22) must be JSON: trailing comma"]),
    ("an object", || blocks("{}"), &["blocks must be an array of blocks"]),
    ("deep nesting", || blocks(&("[".repeat(200) + &"]".repeat(200))),
        &["blocks (line 1, column 128) must be JSON: it is nested too deep"]),
    ("too large", || blocks(&" ".repeat(32 * 1024 + 1)), &["blocks must be at most 32768 bytes"]),
    ("too many blocks", || blocks(&json!(vec![json!({"type": "divider"}); 51]).to_string()),
        &["blocks (line 1, column 1) must have at most 50 blocks"]),
    ("unknown block", || blocks(r#"[{"type": "video"}]"#),
        &["blocks[0].type (line 1, column 11) must be one of actions, card, carousel, container, \
        context, data_table, data_visualization, divider, header, image, plan, section, table, \
        task_card"]),
    ("no block", || blocks("[1]"),
        &["blocks[0].type (line 1, column 2) must be one of actions, card, carousel, container, \
        context, data_table, data_visualization, divider, header, image, plan, section, table, \
        task_card"]),
    ("unknown element",
        || blocks(r#"[{"type": "actions", "elements": [{"type": "datepicker"}]}]"#),
        &["blocks[0].elements[0].type (line 1, column 44) must be one of button"]),
    ("section of nothing", || blocks(r#"[{"type": "section"}]"#),
        &["blocks[0] (line 1, column 2) must have text or fields"]),
    ("image of nothing", || blocks(r#"[{"type": "image", "alt_text": "x"}]"#),
        &["blocks[0] (line 1, column 2) must have image_url"]),
    ("text that is no address",
        || blocks(r#"[{"type": "image", "alt_text": "x", "image_url": "/plan.png"}]"#),
        &["blocks[0].image_url (line 1, column 50) must be an absolute http or https URL"]),
    ("card of nothing", || blocks(r#"[{"type": "card"}]"#),
        &["blocks[0] (line 1, column 2) must have hero_image or title or body or actions"]),
    ("key that Slack does not know",
        || blocks(r#"[{"type": "divider", "colour": "red"}]"#),
        &["blocks[0].colour (line 1, column 32) is not a key of divider"]),
    ("key of a text that Slack does not know",
        || blocks(r#"[{"type": "header", "text": {"type": "plain_text", "text": "x", "a": 1}}]"#),
        &["blocks[0].text.a (line 1, column 70) is not a key of plain_text"]),
    ("style that Slack does not know",
        || blocks(r#"[{"type": "actions", "elements": [{"type": "button", "style": "loud",
            "text": {"type": "plain_text", "text": "x"}}]}]"#),
        &["blocks[0].elements[0].style (line 1, column 63) must be one of primary, danger"]),
    ("status that Slack does not know",
        || blocks(r#"[{"type": "task_card", "task_id": "1", "title": "x", "status": "done"}]"#),
        &["blocks[0].status (line 1, column 64) must be one of pending, in_progress, complete, \
        error"]),
    ("data table of one row", || blocks(&json!([{"type": "data_table", "caption": "c",
            "rows": [[{"type": "raw_text", "text": "a"}]]}]).to_string()),
        &["blocks[0].rows (line 1, column 24) must have at least 2"]),
    ("cell of another kind", || blocks(&json!([{"type": "table", "rows": [[1]]}]).to_string()),
        &["blocks[0].rows[0][0].type (line 1, column 12) must be one of raw_text"]),
    ("three charts",
        || {
            let chart = json!({"type": "pie", "segments": [{"label": "a", "value": 1}]});
            let chart = json!({"type": "data_visualization", "title": "t", "chart": chart});
            blocks(&json!(vec![chart; 3]).to_string())
        },
        &["blocks (line 1, column 1) must have at most 2 of data_visualization"]),
    ("chart of another kind",
        || blocks(r#"[{"type": "data_visualization", "title": "t", "chart": {"type": "donut"}}]"#),
        &["blocks[0].chart.type (line 1, column 65) must be one of area, bar, line, pie"]),
    ("segment without a label",
        || blocks(concat!(r#"[{"type": "data_visualization", "title": "t", "#,
            r#""chart": {"type": "pie", "segments": [{"value": "1"}]}}]"#)),
        &["blocks[0].chart.segments[0] (line 1, column 85) must have label",
          "blocks[0].chart.segments[0].value (line 1, column 95) must be a number"]),
    ("series without a point for a category",
        || blocks(concat!(r#"[{"type": "data_visualization", "title": "t", "chart": {"#,
            r#""type": "bar", "series": [{"name": "s", "data": [{"label": "a", "value": 1}]}], "#,
            r#""axis_config": {"categories": ["a", "b"]}}}]"#)),
        &["blocks[0].chart.series[0].data (line 1, column 105) must have one point for each of \
        the categories, without an `if`"]),
    ("task that waits outside of a plan",
        || blocks(r#"[{"type": "task_card", "task_id": "1", "title": "x", "status": "pending"}]"#),
        &["blocks[0].status (line 1, column 64) must not be pending: only a task of a plan may \
        be"]),
    ("source of a task that is none",
        || blocks(concat!(r#"[{"type": "task_card", "task_id": "1", "title": "t", "#,
            r#""status": "complete", "sources": [1]}]"#)),
        &["blocks[0].sources[0].type (line 1, column 88) must be one of url"]),
    ("rich text of another kind",
        || blocks(concat!(r#"[{"type": "task_card", "task_id": "1", "title": "t", "#,
            r#""status": "complete", "output": {"type": "rich_text", "#,
            r#""elements": [{"type": "text", "text": "x"}]}}]"#)),
        &["blocks[0].output.elements[0].type (line 1, column 130) must be one of \
        rich_text_list, rich_text_preformatted, rich_text_quote, rich_text_section"]),
    ("confirmation without a text",
        || {
            let plain = |text: &str| json!({"type": "plain_text", "text": text});
            let confirm = json!({"title": plain("t"), "confirm": plain("y"), "deny": plain("n")});
            let button = json!({"type": "button", "text": plain("x"), "confirm": confirm});
            blocks(&format!("[{{\"type\": \"actions\", \"elements\":\n[{button}]}}]"))
        },
        &["blocks[0].elements[0].confirm (line 2, column 13) must have text"]),
    ("header that is too long",
        || blocks(&json!([{"type": "header",
            "text": {"type": "plain_text", "text": "x".repeat(151)}}]).to_string()),
        &["blocks[0].text.text (line 1, column 18) must be at most 150 characters"]),
    ("placeholder as a value", || blocks(r#"[{"type": "divider", "block_id": {{ id }}}]"#),
        &["blocks (line 1, column 34) must be JSON: a placeholder must be inside a string"]),
    ("placeholder in a literal", || blocks(r#"[{"type": "divider", "block_id": "{{ id }}"}]"#),
        &["blocks[0].block_id (line 1, column 34) must be literal, without placeholders"]),
    ("unclosed placeholder in the text", || text("one\n{{ task.name"),
        &["text (line 2, column 9) does not work: unexpected end of input, expected end of \
        variable block"]),
    ("unclosed placeholder in a block", || section("{{ task.name"),
        &["blocks[0].text.text (line 3, column 45) does not work: unexpected end of input, \
        expected end of variable block"]),
    ("unclosed if", || section("{% if task %}x"),
        &["blocks[0].text.text (line 3, column 50) does not work: unexpected end of input, \
        expected end of block"]),
    ("set", || text("{% set x = 1 %}"),
        &["text (line 1, column 4) does not work: `set` is not available; there are `if` and \
        `for`"]),
    ("include", || section("{% include 'secrets' %}"),
        &["blocks[0].text.text (line 3, column 40) does not work: `include` is not available; \
        there are `if` and `for`"]),
    ("macro", || section("{%- macro m() %}{% endmacro %}"),
        &["blocks[0].text.text (line 3, column 41) does not work: `macro` is not available; \
        there are `if` and `for`"]),
    ("multiplication", || section("{{ 'x' * 1000000 }}"),
        &["blocks[0].text.text (line 3, column 44) does not work: `*` is not available in \
        expressions"]),
    ("deep expression", || section(&format!("{{{{ {}1{} }}}}", "(".repeat(500), ")".repeat(500))),
        &["blocks[0].text.text (line 3, column 114) does not work: template exceeds maximum \
        recursion limits"]),
    ("long string", || text(&"x".repeat(4001)),
        &["text (line 1) does not work: one string may have at most 4000 bytes"]),
    ("condition that is none", || blocks(r#"[{"type": "divider", "if": 1}]"#),
        &["blocks[0].if (line 1, column 28) must be a string: an expression"]),
    ("condition that does not read", || blocks(r#"[{"type": "divider", "if": "a =="}]"#),
        &["blocks[0].if (line 1, column 31) does not work: unexpected end of input, expected \
        expression"]),
    ("faults in both", || ("{% set x = 1 %}".into(), "{}".into()),
        &["text (line 1, column 4) does not work: `set` is not available; there are `if` and `for`",
          "blocks must be an array of blocks"]),
];

/// Refused when they are tried with data, as SetTemplate does.
#[rustfmt::skip]
const TRIED: &[Case] = &[
    ("unknown filter", || text("{{ task.name | sparkle }}"),
        &["text (line 1, column 16) does not work: filter sparkle is unknown"]),
    ("filter without its argument", || section("{{ task.name | linked }}"),
        &["blocks[0].text.text (line 3, column 52) does not work: an argument is missing"]),
    ("filter with a wrong word", || section("{{ task.name | when('soon') }}"),
        &["blocks[0].text.text (line 3, column 52) does not work: `when` takes 'date', \
        'datetime' or 'time'"]),
    ("unknown function", || text("{{ range(9) }}"),
        &["text (line 1, column 4) does not work: function range is unknown"]),
    ("unknown test", || text("{{ task is even }}"),
        &["text (line 1, column 12) does not work: test even is unknown"]),
    ("placeholder inside a link", || section("<{{ task.name }}|x>"),
        &["blocks[0].text.text (line 3, column 37) does not work: a placeholder is inside <...>; \
        write {{ label | linked(url) }} instead"]),
];

/// Data that does not fit the event type.
#[rustfmt::skip]
const DATA: &[(&str, &str, &[&str])] = &[
    ("no data", "{}", &["data.task.name is required", "data.process.name is required"]),
    ("data of the wrong kind", r#"{"task": {"name": []}, "process": {"name": "P"}}"#,
        &["data.task.name must be text"]),
    ("no object", "[]", &["data must be an object"]),
];

fn told(problems: Vec<Problem>) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

fn event() -> EventType {
    EventType::parse("task.assigned").unwrap()
}

fn tried(template: &Template, data: &Value) -> Vec<String> {
    let reader = Reader { name: None, locales: Vec::new(), time_zone: "UTC".into() };
    let (event, reader, now) = (&event(), &reader, Timestamp(1_795_420_800_000_000));
    let context = Context { event, data, reader, link: None, button: "Open", now };
    let message = Compiled::of(template, None).tried(&context);
    message.map_or_else(|error| told(vec![error.into()]), |_| vec![])
}

fn preview(template: &Template, data: &Value) -> Vec<String> {
    let reader = Reader { name: None, locales: Vec::new(), time_zone: "UTC".into() };
    let (event, types, now) = (event(), TenantTypes::default(), Timestamp(1_795_420_800_000_000));
    let kind = types.find(&event).unwrap();
    let words = ReadyWords::own(template);
    preview::preview(&words, &event, &kind, Some(data), &reader, None, now)
        .map_or_else(told, |_| vec![])
}

#[test]
fn a_broken_template_is_refused_with_every_place_of_a_fault() {
    let mut wrong = Vec::new();
    for (what, template, problems) in CHECKED {
        let (text, blocks) = template();
        let template = Template { text, blocks };
        let found = told(template.check());
        if found != *problems {
            wrong.push(format!("{what}: {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Any step can be the one too many, so the column is not certain.
#[test]
fn an_endless_loop_is_refused() {
    let loops =
        ["a", "b", "c", "d", "e", "f", "g"].map(|name| format!("{{% for {name} in data %}}"));
    let text = format!("{}{{{{ a }}}}{}", loops.concat(), "{% endfor %}".repeat(loops.len()));
    let template = Template { text, blocks: "[]".into() };
    assert_eq!(told(template.check()), Vec::<String>::new());
    let found = tried(&template, &event::demo_data(&event()));
    let [problem] = &found[..] else { panic!("{found:?}") };
    assert!(problem.starts_with("text (line 1"), "{problem}");
    assert!(problem.ends_with("does not work: it takes too many steps"), "{problem}");
}

#[test]
fn what_only_data_shows_is_told_by_the_trial() {
    let mut wrong = Vec::new();
    let demo = event::demo_data(&event());
    for (what, template, problems) in TRIED {
        let (text, blocks) = template();
        let template = Template { text, blocks };
        assert_eq!(told(template.check()), Vec::<String>::new(), "{what}");
        let found = tried(&template, &demo);
        if found != *problems {
            wrong.push(format!("{what}: {found:?}"));
        }
    }
    for (what, data, problems) in DATA {
        let (text, blocks) = text("{{ task.name }}");
        let found = preview(&Template { text, blocks }, &serde_json::from_str(data).unwrap());
        if found != *problems {
            wrong.push(format!("{what}: {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
