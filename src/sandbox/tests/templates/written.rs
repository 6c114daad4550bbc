//! Templates in both forms. Four of five push against a limit: with a long value, with a long text
//! of their own, or with many parts.

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::data::of_length;
use crate::domain::limits::TEMPLATE_BLOCKS_BYTES;
use crate::domain::message::render::Template;
use crate::domain::message::render::simple::{Fact, Picture, Simple, link_button};

/// A message as its author writes it.
#[derive(Debug, Clone)]
pub(super) enum Written {
    Simple(Simple),
    Blocks(Template),
}

/// A template, and the length that its value `long` presses on.
pub(super) type Pressing = (Written, usize);

/// Places with a limit, in which `LONG` stands for the text.
const PLACES: [(usize, &str); 25] = [
    (3_000, r#"{"type": "section", "text": {"type": "mrkdwn", "text": "LONG"}}"#),
    (3_000, r#"{"type": "section", "text": {"type": "plain_text", "text": "LONG"}}"#),
    (2_000, r#"{"type": "section", "fields": [{"type": "mrkdwn", "text": "LONG"}]}"#),
    (3_000, r#"{"type": "context", "elements": [{"type": "mrkdwn", "text": "LONG"}]}"#),
    (150, r#"{"type": "header", "text": {"type": "plain_text", "text": "LONG"}}"#),
    (
        75,
        r#"{"type": "actions", "elements": [{"type": "button", "action_id": "a",
            "text": {"type": "plain_text", "text": "LONG"}}]}"#,
    ),
    (
        2_000,
        r#"{"type": "actions", "elements": [{"type": "button", "action_id": "a", "value": "LONG",
            "text": {"type": "plain_text", "text": "Yes"}}]}"#,
    ),
    (
        75,
        r#"{"type": "actions", "elements": [{"type": "button", "action_id": "a",
            "accessibility_label": "LONG", "text": {"type": "plain_text", "text": "Yes"}}]}"#,
    ),
    (
        75,
        r#"{"type": "section", "text": {"type": "mrkdwn", "text": "Yes?"}, "accessory": {
            "type": "button", "text": {"type": "plain_text", "text": "LONG"}}}"#,
    ),
    (2_000, r#"{"type": "image", "image_url": "https://x.test/i.png", "alt_text": "LONG"}"#),
    (
        2_000,
        r#"{"type": "image", "image_url": "https://x.test/i.png", "alt_text": "i",
            "title": {"type": "plain_text", "text": "LONG"}}"#,
    ),
    (150, r#"{"type": "card", "title": {"type": "mrkdwn", "text": "LONG"}}"#),
    (
        150,
        r#"{"type": "card", "title": {"type": "mrkdwn", "text": "t"},
            "subtitle": {"type": "mrkdwn", "text": "LONG"}}"#,
    ),
    (200, r#"{"type": "card", "body": {"type": "mrkdwn", "text": "LONG"}}"#),
    (
        150,
        r#"{"type": "container", "title": {"type": "plain_text", "text": "LONG"},
            "child_blocks": [{"type": "divider"}]}"#,
    ),
    (
        3_000,
        r#"{"type": "plan", "title": "p", "tasks": [
            {"type": "task_card", "task_id": "1", "title": "LONG", "status": "pending"}]}"#,
    ),
    (3_000, r#"{"type": "task_card", "task_id": "1", "title": "LONG", "status": "complete"}"#),
    (
        150,
        r#"{"type": "data_table", "caption": "LONG", "rows": [
            [{"type": "raw_text", "text": "a"}], [{"type": "raw_text", "text": "{{ a }}"}]]}"#,
    ),
    (2_000, r#"{"type": "table", "rows": [[{"type": "raw_text", "text": "LONG"}]]}"#),
    (
        100,
        r#"{"type": "actions", "elements": [{"type": "button", "action_id": "a",
            "text": {"type": "plain_text", "text": "Yes"}, "confirm": {
                "title": {"type": "plain_text", "text": "LONG"},
                "text": {"type": "plain_text", "text": "t"},
                "confirm": {"type": "plain_text", "text": "y"},
                "deny": {"type": "plain_text", "text": "n"}}}]}"#,
    ),
    (
        300,
        r#"{"type": "actions", "elements": [{"type": "button", "action_id": "a",
            "text": {"type": "plain_text", "text": "Yes"}, "confirm": {
                "title": {"type": "plain_text", "text": "t"},
                "text": {"type": "mrkdwn", "text": "LONG"},
                "confirm": {"type": "plain_text", "text": "y"},
                "deny": {"type": "plain_text", "text": "n"}}}]}"#,
    ),
    (
        30,
        r#"{"type": "actions", "elements": [{"type": "button", "action_id": "a",
            "text": {"type": "plain_text", "text": "Yes"}, "confirm": {
                "title": {"type": "plain_text", "text": "t"},
                "text": {"type": "plain_text", "text": "t"},
                "confirm": {"type": "plain_text", "text": "LONG"},
                "deny": {"type": "plain_text", "text": "LONG"}}}]}"#,
    ),
    (
        2_000,
        r#"{"type": "task_card", "task_id": "1", "title": "t", "status": "complete", "output":
            {"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": [
                {"type": "text", "text": "LONG"}]}]}}"#,
    ),
    (
        2_000,
        r#"{"type": "task_card", "task_id": "1", "title": "t", "status": "error", "sources": [
            {"type": "url", "url": "https://x.test/", "text": "LONG"}]}"#,
    ),
    (
        50,
        r#"{"type": "data_visualization", "title": "LONG", "chart":
            {"type": "pie", "segments": [{"label": "a", "value": 1}]}}"#,
    ),
];

/// Strings with the long value. None has a double quote, so they can be put into JSON.
const LONG: [&str; 5] = [
    "{{ long }}",
    "{{ long | multiline }}",
    "Words {{ long }} and {{ a }}",
    "{{ long | linked(url) }}",
    "{{ a | linked(url) }} {{ long | default('none') }}",
];

/// Placeholders with short values.
const SHORT: [&str; 15] = [
    "{{ a }}",
    "{{ b }}",
    "{{ b | upper }}",
    "{{ b | multiline }}",
    "{{ a | linked(url) }}",
    "{{ url | link(a) }}",
    "{{ url | link }}",
    "{{ id | mention(a) }}",
    "{{ reader.name }}",
    "{{ list | and_join }}",
    "{{ list | join(', ') }}",
    "{{ a | truncate(30) }}",
    "{{ at | datetime }}",
    "{% if a %}{{ missing }}{% endif %}",
    "{% for item in list %}{{ item }} {% endfor %}",
];

/// Placeholders that fail: with a value that a filter does not take, and with too many steps.
const FAILING: [&str; 3] = [
    "{{ a | round }}",
    "{% for item in list | round %}{{ item }}{% endfor %}",
    "{% for a in long %}{% for b in long %}{{ b }}{% endfor %}{% endfor %}",
];

/// Lines of the body of a simple message.
const MARKDOWN: [&str; 12] = [
    "**{{ a }}** and *{{ b }}*, ~~{{ id }}~~",
    "[{{ a }}]({{ url }})",
    "[]({{ url }})",
    "[see {{ b }}](https://x.test/{{ id }})",
    "- {{ a }}\n- {{ b | multiline }}",
    "1. {{ a }}\n2. [x]({{ url }})",
    "> {{ b | multiline }}",
    "`{{ a }}`",
    "```\n{{ b | multiline }}\n```",
    "# {{ a }}",
    "{% for item in list %}\n- {{ item }}\n{% endfor %}",
    "R&D: <b>{{ id | mention(a) }}</b> <!channel>",
];

pub(super) fn written() -> impl Strategy<Value = Pressing> {
    let simple = simple().prop_map(|(simple, limit)| (Written::Simple(simple), limit));
    let blocks = blocks().prop_map(|(template, limit)| (Written::Blocks(template), limit));
    prop_oneof![simple, blocks]
}

/// A string with placeholders of short values.
fn words() -> impl Strategy<Value = String> {
    let literal = (1_usize..8).prop_map(|times| "word ".repeat(times));
    let part = prop_oneof![
        40 => select(SHORT.to_vec()).prop_map(str::to_owned),
        20 => literal,
        1 => select(FAILING.to_vec()).prop_map(str::to_owned),
    ];
    (prop::collection::vec(part, 0..3), select(SHORT.to_vec()))
        .prop_map(|(parts, last)| format!("{}{last}", parts.concat()))
}

/// A string for a place with this limit: with the long value, with a long text of its own, or both.
fn long(limit: usize) -> impl Strategy<Value = String> {
    let own = move |percent: usize| of_length("word ", limit * percent / 100);
    prop_oneof![
        3 => select(LONG.to_vec()).prop_map(str::to_owned),
        1 => (90_usize..=100).prop_map(own),
        1 => (90_usize..=100).prop_map(move |percent| own(percent) + "{{ long }}"),
    ]
}

fn simple() -> impl Strategy<Value = (Simple, usize)> {
    let body = prop::collection::vec(select(MARKDOWN.to_vec()), 0..4);
    let fact = (words(), words()).prop_map(|(label, value)| Fact { label, value });
    let facts = prop::collection::vec(fact, 0..3);
    let rest = (prop::option::of(words()), words(), words());
    let press = prop_oneof![1 => Just(None), 4 => (0..8_usize, long(75)).prop_map(Some)];
    let parts = (words(), body, facts, rest, press);
    parts.prop_map(|(heading, body, fields, (alt, context, button), press)| {
        let image = alt.map(|alt| Picture { url: "{{ photo }}".into(), alt });
        let body = body.join("\n\n");
        let mut simple = Simple { heading, body, fields, image, context, button };
        let limit = press.map_or(0, |(part, text)| press_on(&mut simple, part, text));
        (simple, limit)
    })
}

/// Makes one part long; returns its limit. `label` is a text for the shortest limit.
fn press_on(simple: &mut Simple, part: usize, label: String) -> usize {
    let fact = |value: &str| Fact { label: "A field".into(), value: value.into() };
    match part {
        0 => simple.heading = "News: {{ long }}".into(),
        1 => simple.body = "**{{ long }}**, [{{ a }}]({{ url }})".into(),
        2 => simple.body = "{{ long | multiline }}\n\n> {{ a }}".into(),
        3 => simple.fields = vec![fact("{{ a }}"), fact("*{{ long }}*")],
        4 => simple.fields = vec![fact("{{ a }} {{ b }}"); 10],
        5 => simple.context = "{{ long }}".into(),
        6 => {
            let url = "https://x.test/p.png".into();
            simple.image = Some(Picture { url, alt: "{{ long }}".into() });
        }
        _ => simple.button = label,
    }
    [150, 3_000, 3_000, 2_000, 0, 3_000, 2_000, 75].get(part).copied().unwrap_or_default()
}

/// The template always has the button of the link; its label may come out empty.
fn blocks() -> impl Strategy<Value = (Template, usize)> {
    let text = prop_oneof![
        4 => words().prop_map(|text| (text, 0)),
        1 => long(4_000 - 20).prop_map(|text| (text, 4_000)),
    ];
    let press = prop_oneof![1 => Just((Vec::new(), 0)), 4 => pressed()];
    let parts = (text, prop::collection::vec(block(), 0..3), press, words());
    parts.prop_map(|((text, of_text), small, (mut blocks, limit), label)| {
        blocks.extend(small);
        blocks.truncate(49);
        // A template with more charts is refused.
        let mut charts = 0;
        blocks.retain(|block| {
            charts += u32::from(block["type"] == "data_visualization");
            block["type"] != "data_visualization" || charts <= 2
        });
        blocks.push(link_button(&label));
        // A longer template is refused. The button stays.
        while Value::from(blocks.as_slice()).to_string().len() > TEMPLATE_BLOCKS_BYTES {
            blocks.remove(0);
        }
        (Template { text, blocks: Value::Array(blocks).to_string() }, limit.max(of_text))
    })
}

/// Blocks of which one has a long text, or that are many, and the limit of the value in them.
fn pressed() -> impl Strategy<Value = (Vec<Value>, usize)> {
    let place = select(PLACES.to_vec()).prop_flat_map(|(limit, place)| {
        long(limit).prop_map(move |text| {
            let block: Value =
                serde_json::from_str(&place.replace("LONG", &text)).expect("a block");
            (vec![block], limit)
        })
    });
    let all = (select(LONG.to_vec()), 4_usize..6).prop_map(|(text, times)| {
        let section = json!({"type": "section", "text": {"type": "mrkdwn", "text": text}});
        (vec![section; times], 3_000)
    });
    prop_oneof![
        6 => place,
        1 => all,
        2 => many(),
    ]
}

/// About as many parts as Slack accepts.
fn many() -> impl Strategy<Value = (Vec<Value>, usize)> {
    (0..10_usize, 0..3_usize, select(SHORT.to_vec())).prop_map(|(kind, fewer, text)| {
        let text = json!({"type": "mrkdwn", "text": text});
        let cell = json!({"type": "raw_text", "text": "{{ a | truncate(20) }}"});
        let task = |id: usize| {
            json!({"type": "task_card", "task_id": id.to_string(), "title": "t{{ a }}",
                "status": "pending"})
        };
        let button = |id: usize| {
            json!({"type": "button", "action_id": id.to_string(),
                "text": {"type": "plain_text", "text": "{{ a }}"}, "url": "{{ link.url }}"})
        };
        let section = json!({"type": "section", "text": text});
        let card = json!({"type": "card", "body": text});
        let title = json!({"type": "plain_text", "text": "{{ b }}"});
        let block = match kind {
            0 => return (vec![json!({"type": "divider"}); 49 - fewer], 0),
            1 => return (vec![section; 49 - fewer], 0),
            2 => json!({"type": "section", "fields": vec![text; 10]}),
            3 => json!({"type": "context", "elements": vec![text; 10]}),
            4 => {
                json!({"type": "actions", "elements": (fewer..25).map(button).collect::<Vec<_>>()})
            }
            5 => json!({"type": "carousel", "elements": vec![card; 10]}),
            6 => json!({"type": "container", "title": title, "child_blocks": vec![section; 10]}),
            7 => {
                let tasks: Vec<Value> = (fewer..50).map(task).collect();
                json!({"type": "plan", "title": "{{ b }}", "tasks": tasks})
            }
            8 => json!({"type": "data_table", "caption": "{{ b }}",
                "rows": vec![vec![cell]; 201 - fewer]}),
            _ => json!({"type": "table", "rows": vec![vec![cell; 20 - fewer]; 3]}),
        };
        (vec![block], 0)
    })
}

fn text(kind: &'static str) -> impl Strategy<Value = Value> {
    words().prop_map(move |text| json!({"type": kind, "text": text}))
}

fn either() -> impl Strategy<Value = Value> {
    prop_oneof![text("mrkdwn"), text("plain_text")]
}

fn button() -> impl Strategy<Value = Value> {
    (text("plain_text"), words(), 0..9_u8, confirm()).prop_map(|(text, value, style, confirm)| {
        let mut button = json!({"type": "button", "text": text, "value": value});
        if style == 0 {
            button["style"] = "danger".into();
        }
        if style < 3 {
            button["confirm"] = confirm;
        }
        button
    })
}

fn confirm() -> impl Strategy<Value = Value> {
    (text("plain_text"), either(), text("plain_text"), text("plain_text")).prop_map(
        |(title, text, confirm, deny)| {
            json!({"title": title, "text": text, "confirm": confirm, "deny": deny})
        },
    )
}

/// A chart of each kind, with up to as many parts as Slack accepts.
fn chart() -> impl Strategy<Value = Value> {
    let kinds = select(vec!["area", "bar", "line", "pie"]);
    (words(), kinds, 1..=12_usize, 1..=20_usize).prop_map(|(title, kind, parts, points)| {
        let label = |number: usize| format!("label {number}");
        let named = |number| json!({"label": label(number), "value": number + 1});
        let chart = if kind == "pie" {
            json!({"type": kind, "segments": (0..parts).map(named).collect::<Vec<_>>()})
        } else {
            let data: Vec<Value> = (0..points).map(named).collect();
            let one = |number: usize| json!({"name": format!("series {number}"), "data": data});
            let categories: Vec<String> = (0..points).map(label).collect();
            json!({"type": kind, "series": (0..parts).map(one).collect::<Vec<_>>(),
                "axis_config": {"categories": categories, "x_label": "x"}})
        };
        json!({"type": "data_visualization", "title": title, "chart": chart})
    })
}

/// A task with all its parts.
fn task() -> impl Strategy<Value = Value> {
    let rich = || {
        words().prop_map(|text| {
            let link = json!({"type": "link", "url": "{{ url }}", "text": text});
            let section = json!({"type": "rich_text_section",
                "elements": [{"type": "text", "text": text}, link]});
            json!({"type": "rich_text", "elements": [section]})
        })
    };
    (words(), rich(), rich(), words()).prop_map(|(title, details, output, text)| {
        json!({"type": "task_card", "task_id": "1", "title": title, "status": "complete",
            "details": details, "output": output,
            "sources": [{"type": "url", "url": "{{ url }}", "text": text}]})
    })
}

fn image() -> impl Strategy<Value = Value> {
    words().prop_map(
        |alt| json!({"type": "image", "image_url": "https://x.test/i.png", "alt_text": alt}),
    )
}

fn small_block() -> impl Strategy<Value = Value> {
    prop_oneof![
        (either(), prop::collection::vec(either(), 1..4))
            .prop_map(|(text, fields)| json!({"type": "section", "text": text, "fields": fields})),
        (either(), prop_oneof![button(), image()])
            .prop_map(|(text, it)| json!({"type": "section", "text": text, "accessory": it})),
        text("plain_text").prop_map(|text| json!({"type": "header", "text": text})),
        prop::collection::vec(prop_oneof![either(), image()], 1..4)
            .prop_map(|elements| json!({"type": "context", "elements": elements})),
        prop::collection::vec(button(), 1..4)
            .prop_map(|elements| json!({"type": "actions", "elements": elements})),
        image(),
        Just(json!({"type": "divider"})),
    ]
}

fn card() -> impl Strategy<Value = Value> {
    (text("mrkdwn"), text("mrkdwn"), prop::collection::vec(button(), 1..4)).prop_map(
        |(title, body, buttons)| {
            json!({"type": "card", "title": title, "body": body, "actions": buttons})
        },
    )
}

fn block() -> impl Strategy<Value = Value> {
    prop_oneof![
        8 => small_block(),
        1 => card(),
        1 => chart(),
        1 => task(),
        1 => prop::collection::vec(card(), 1..3)
            .prop_map(|cards| json!({"type": "carousel", "elements": cards})),
        1 => (text("plain_text"), prop::collection::vec(small_block(), 1..3))
            .prop_map(|(title, children)| {
                json!({"type": "container", "title": title, "child_blocks": children})
            }),
        1 => (words(), words()).prop_map(|(title, task)| {
            json!({"type": "plan", "title": title, "tasks": [
                {"type": "task_card", "task_id": "1", "title": task, "status": "in_progress"}]})
        }),
        1 => (words(), words(), words()).prop_map(|(caption, one, two)| {
            json!({"type": "data_table", "caption": caption, "rows": [
                [{"type": "raw_text", "text": one}, {"type": "raw_text", "text": two}],
                [{"type": "raw_text", "text": two}, {"type": "raw_text", "text": one}]]})
        }),
    ]
}
