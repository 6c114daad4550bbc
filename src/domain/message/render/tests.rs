use serde_json::json;

use super::*;
use crate::domain::message::event;

mod failing;

const NOW: Timestamp = Timestamp(1_795_420_800_000_000);

fn filled(
    text: &str,
    blocks: Value,
    data: Value,
    link: Option<&Link>,
) -> Result<Rendered, RenderError> {
    let template = Template { text: text.into(), blocks: blocks.to_string() };
    let reader = reader("en");
    let event = EventType::parse("own.type").unwrap();
    Compiled::of(&template, None).tried(&Context {
        event: &event,
        data: &data,
        reader: &reader,
        link,
        button: event::button(&event, Language::English),
        now: NOW,
    })
}

fn reader(locale: &str) -> Reader {
    let (name, time_zone) = (Some("Lee".into()), "Europe/Vienna".into());
    Reader { name, locales: vec![locale.into()], time_zone }
}

/// The text in the language of the locale.
fn in_locale(locale: &str, template: &str, data: &Value) -> String {
    let template = Template { text: template.into(), blocks: "[]".into() };
    let event = EventType::parse("own.type").unwrap();
    let reader = &reader(locale);
    let context = Context { event: &event, data, reader, link: None, button: "Open", now: NOW };
    render(&template, &context).unwrap().text
}

fn text(template: &str, data: Value) -> String {
    filled(template, json!([]), data, None).unwrap().text
}

fn section(text: &str) -> Value {
    json!([{"type": "section", "text": {"type": "mrkdwn", "text": text}}])
}

#[test]
fn values_are_escaped_wherever_they_stand() {
    let hostile = json!({"name": "<!channel> & <http://evil.test|bank>"});
    assert_eq!(
        text("*{{ name }}* {{ name | upper }}", hostile.clone()),
        "*&lt;!channel&gt; &amp; &lt;http://evil.test|bank&gt;* \
         &lt;!CHANNEL&gt; &amp; &lt;HTTP://EVIL.TEST|BANK&gt;"
    );
    let blocks = json!([{"type": "header", "text": {"type": "plain_text", "text": "{{ name }}"}}]);
    let rendered = filled("x", blocks, hostile, None).unwrap();
    assert_eq!(rendered.blocks[0]["text"]["text"], "‹!channel> & ‹http://evil.test|bank>");
}

#[test]
fn a_value_fits_and_has_no_marks_where_a_block_has_no_text() {
    let text = json!({"type": "mrkdwn", "text": "{{ a }}"});
    let blocks = json!([{"type": "divider", "text": text}]);
    let rendered = filled("x", blocks, json!({"a": "<y>".repeat(1000)}), None).unwrap();
    let shown = rendered.blocks[0]["text"]["text"].as_str().unwrap();
    assert!(shown.starts_with("&lt;y&gt;") && shown.ends_with('…'), "{shown}");
    assert!(fit::units(shown) <= 2000 && rendered.shortened);
}

#[test]
fn data_cannot_break_the_structure() {
    let data = json!({"name": "\"}}], \\ \n{{ 7 }} {% if %}"});
    let rendered = filled("x", section("{{ name }}"), data, None).unwrap();
    assert_eq!(rendered.blocks[0]["text"]["text"], "\"}}], \\ {{ 7 }} {% if %}");
    assert_eq!(rendered.blocks[0]["text"]["verbatim"], true);
}

#[test]
fn a_placeholder_inside_a_token_is_refused_and_linked_does_it_safely() {
    let data =
        json!({"target": "!channel", "url": "https://x.test/?a=1&b=2", "label": "a > b | c"});
    for template in
        ["<{{ target }}>", "<https://x.test/{{ target }}|x>", "<{% if 1 %}{{ target }}{% endif %}>"]
    {
        let error = filled(template, json!([]), data.clone(), None).unwrap_err();
        assert!(error.to_string().contains("linked(url)"), "{error}");
    }
    assert_eq!(
        text("see {{ label | linked(url) }}", data.clone()),
        "see <https://x.test/?a=1&amp;b=2|a &gt; b ¦ c>"
    );
    assert_eq!(text("see {{ label | linked(target) }}", data), "see a &gt; b | c");
}

#[test]
fn blocks_leave_where_their_condition_fails_or_nothing_is_in_them() {
    let blocks = json!([
        {"if": "name", "type": "divider"},
        {"type": "section", "text": {"type": "mrkdwn", "text": "{{ missing.deep.down }}"}},
        {"type": "context", "elements": [{"if": "count > 2", "type": "mrkdwn", "text": "many"}]},
        {"if": "not name", "type": "section", "text": {"type": "mrkdwn", "text": "kept"}},
    ]);
    let rendered = filled("{{ missing }}", blocks, json!({"count": 1}), None).unwrap();
    assert_eq!(rendered.blocks.as_array().unwrap().len(), 1);
    assert_eq!(rendered.blocks[0]["text"]["text"], "kept");
    assert_eq!(rendered.text, "You have a new notification.");
}

#[test]
fn the_button_label_is_the_callers_or_the_event_types() {
    let blocks = json!([{"type": "actions", "elements": [
        {"type": "button", "text": {"type": "plain_text", "text": "{{ link.label }}"},
         "url": "{{ link.url }}"}]}]);
    let label = |label: Option<&str>| {
        let link = Link { url: "https://x.test/a b".into(), label: label.map(str::to_owned) };
        let rendered = filled("x", blocks.clone(), json!({}), Some(&link)).unwrap();
        let button = &rendered.blocks[0]["elements"][0];
        assert_eq!(button["url"], "https://x.test/a%20b");
        (button["text"]["text"].as_str().unwrap().to_owned(), rendered.shortened)
    };
    assert_eq!(label(None), ("Open".to_owned(), false));
    assert_eq!(label(Some(" \n ")), ("Open".to_owned(), false));
    assert_eq!(label(Some(&"x".repeat(80))), (format!("{}…", "x".repeat(74)), true));
}

#[test]
fn a_url_is_never_shortened_and_costs_only_its_image() {
    let text = section("{{ url | truncate(9) }}")[0].clone();
    let blocks = json!([{"type": "image", "image_url": "{{ url }}", "alt_text": "x"}, text]);
    for url in ["javascript:alert(1)".to_owned(), format!("https://x.test/{}", "a".repeat(3000))] {
        let rendered = filled("x", blocks.clone(), json!({ "url": url }), None).unwrap();
        let kinds: Vec<&Value> =
            rendered.blocks.as_array().unwrap().iter().map(|block| &block["type"]).collect();
        assert_eq!(kinds, ["section"]);
        assert!(rendered.shortened && rendered.cut == ["blocks"], "{:?}", rendered.cut);
    }
}

#[test]
fn a_message_whose_buttons_are_impossible_keeps_the_notifications_link() {
    let button = |url: &str| {
        json!({"type": "button", "url": url, "style": "danger",
        "text": {"type": "plain_text", "text": "Go"}})
    };
    let shown = |urls: &[&str], link: Option<&Link>| {
        let buttons: Vec<Value> = urls.iter().map(|url| button(url)).collect();
        let blocks = json!([{"type": "actions", "elements": buttons}]);
        let rendered = filled("x", blocks, json!({"bad": "nowhere"}), link).unwrap();
        let shown = rendered.blocks.as_array().unwrap().clone();
        let elements = shown.iter().flat_map(|block| block["elements"].as_array().unwrap());
        let buttons: Vec<(Value, Value)> =
            elements.map(|it| (it["url"].clone(), it["text"]["text"].clone())).collect();
        (buttons, rendered.cut)
    };
    let link = Link { url: "https://x.test/1".into(), label: None };
    let named = Link { label: Some("The <task>".into()), ..link.clone() };
    let (own, go) = (json!("https://x.test/1"), json!("Go"));
    for (urls, link, buttons, cut) in [
        (&["{{ bad }}"][..], Some(&link), vec![(own.clone(), json!("Open"))], vec!["blocks"]),
        (
            &["{{ bad }}"][..],
            Some(&named),
            vec![(own.clone(), json!("The <task>"))],
            vec!["blocks"],
        ),
        (&["{{ bad }}"][..], None, vec![], vec!["blocks"]),
        (
            &["{{ bad }}", "{{ link.url }}"][..],
            Some(&link),
            vec![(own.clone(), go.clone())],
            vec!["blocks[0].elements"],
        ),
        (&["{{ link.url }}"][..], Some(&link), vec![(own.clone(), go.clone())], vec![]),
    ] {
        let expected = (buttons, cut.into_iter().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(shown(urls, link), expected, "{urls:?}");
    }
}

#[test]
fn what_does_not_fit_is_shortened_and_said() {
    let long = "&".repeat(3000);
    let rendered = filled("{{ a }}", section("*{{ a }}*"), json!({ "a": long }), None).unwrap();
    let shown = rendered.blocks[0]["text"]["text"].as_str().unwrap();
    assert!(rendered.shortened && shown.ends_with("&amp;…*") && fit::units(shown) <= 3000);
    let six: Vec<_> = (0..6).map(|_| section("*{{ a }}*")[0].clone()).collect();
    let rendered = filled("x", Value::Array(six), json!({ "a": "x".repeat(2900) }), None).unwrap();
    assert!(rendered.shortened && fit::units(&rendered.blocks.to_string()) <= fit::ALL_BLOCKS);
    assert_eq!(rendered.blocks.as_array().unwrap().len(), 6);
}

#[test]
fn wording_too_long_for_one_message_ends_visibly_and_keeps_its_button() {
    let link = Link { url: "https://x.test/".into(), label: None };
    let mut blocks = vec![section(&"w".repeat(2900))[0].clone(); 6];
    blocks.push(json!({"type": "actions", "elements": [
        {"type": "button", "text": {"type": "plain_text", "text": "Go"},
         "url": "{{ link.url }}"}]}));
    let rendered = filled("x", Value::Array(blocks), json!({}), Some(&link)).unwrap();
    assert!(rendered.shortened && fit::units(&rendered.blocks.to_string()) <= fit::ALL_BLOCKS);
    let kinds: Vec<_> =
        rendered.blocks.as_array().unwrap().iter().map(|block| &block["type"]).collect();
    assert_eq!(kinds, ["section", "section", "section", "context", "actions"]);
    assert_eq!(rendered.blocks[3]["elements"][0]["text"], "…");
}

#[test]
fn filters_read_the_reader_and_the_notifications_time() {
    let data =
        json!({"at": "2026-11-23T08:15:00Z", "people": ["A", "<B>"], "note": "one\ntwo", "n": 90});
    assert_eq!(text("{{ at | when('time') }}", data.clone()), "09:15 CET");
    assert_eq!(text("{{ at | how_soon }}", data.clone()), "in 15 minutes");
    assert_eq!(text("{{ n | in_minutes }}", data.clone()), "in 1 hour 30 minutes");
    assert_eq!(text("{{ people | join(' and ') }}", data.clone()), "A and &lt;B&gt;");
    assert_eq!(text("{{ note }} / {{ note | multiline }}", data.clone()), "one two / one\ntwo");
    assert_eq!(text("{{ 'abcdef' | truncate(4) }} {{ reader.name }}", data.clone()), "abc… Lee");
    assert_eq!(
        text("{% for p in people %}{{ loop.index }}{{ p }}{% endfor %}", data.clone()),
        "1A2&lt;B&gt;"
    );
    assert_eq!(
        text("{{ missing | default('-') }}{{ data.n }}{{ event_type }}", data),
        "-90own.type"
    );
}

#[test]
fn helpers_write_in_the_language_of_the_message() {
    let data = json!({"at": "2026-11-23T05:00:00Z", "n": 1, "people": ["Ana", "", "<B>", "Inés"],
        "day": "2026-11-24", "none": null});
    for (locale, template, shown) in [
        ("en", "{{ at | relative }}", "3 hours ago"),
        ("de-AT", "{{ at | relative }}", "vor 3 Stunden"),
        ("ja", "{{ at | datetime }}", "2026年11月23日(月) 6:00 CET"),
        ("fr-CA", "{{ day | date }}, {{ day | relative }}", "mar. 24 nov. 2026, demain"),
        ("pt", "{{ at | time }}", "06:00 CET"),
        ("es", "{{ people | and_join }}", "Ana, &lt;B&gt; e Inés"),
        ("tr", "{{ people | and_join }}", "Ana, &lt;B&gt; and Inés"),
        ("en", "{{ n | plural(one='task', other='tasks') }}", "task"),
        ("en", "{{ none | plural(one='task', other='tasks') }}", "tasks"),
        ("fr", "{{ 0 | plural(one='tâche', other='tâches') }}", "tâche"),
        ("ja", "{{ n | plural(one='x', other='件') }}", "件"),
        ("en", "{{ 'Prepare the workplace' | truncate(14) }}", "Prepare the…"),
        ("de", "{{ reader.language }} {{ reader.locale }}", "de de"),
    ] {
        assert_eq!(in_locale(locale, template, &data), shown, "{locale} {template}");
    }
}

#[test]
fn filters_keep_the_reader_and_the_time_in_a_loop() {
    let data = json!({"at": "2026-11-23T08:15:00Z", "other": [{"language": "de"}, 7],
        "@now": 1, "@language": "ja", "@time_zone": "Asia/Tokyo"});
    assert_eq!(text("{{ now | datetime }}", data.clone()), "Mon 23 Nov 2026, 09:00 CET");
    for name in ["reader", "now"] {
        let filters = "{{ at | how_soon }}, {{ at | time }};";
        let template = format!("{{% for {name} in other %}}{filters}{{% endfor %}}");
        let once = "in 15 minutes, 09:15 CET;";
        assert_eq!(text(&template, data.clone()), once.repeat(2), "{name}");
    }
}

#[test]
fn a_plural_names_its_forms() {
    for (template, problem) in [
        ("{{ 1 | plural(one='task') }}", "other is required"),
        ("{{ 1 | plural(two='x', other='y') }}", "unknown keyword argument 'two'"),
    ] {
        let error = filled(template, json!([]), json!({}), None).unwrap_err().to_string();
        assert!(error.contains(problem), "{template}: {error}");
    }
}

#[test]
fn a_link_is_live_only_to_the_web() {
    let data = json!({"url": "https://x.test/?a=1&b=2", "bad": "javascript:alert(1)",
        "label": "the <form>", "split": "https://bank.example\n.evil.test/login",
        "user": "https://bank.example@evil.test/", "upper": "HTTPS://X.test/a b"});
    for (template, shown) in [
        ("{{ url | link(label) }}", "<https://x.test/?a=1&amp;b=2|the &lt;form&gt;>"),
        ("{{ url | link }}", "<https://x.test/?a=1&amp;b=2|https://x.test/?a=1&amp;b=2>"),
        ("{{ bad | link(label) }}", "the &lt;form&gt;"),
        ("{{ bad | link }}", "javascript:alert(1)"),
        ("{{ upper | link }}", "<https://x.test/a%20b|https://x.test/a%20b>"),
        ("{{ upper | linked(upper) }}", "<https://x.test/a%20b|https://x.test/a%20b>"),
        ("{{ split | link }}", "https://bank.example .evil.test/login"),
        ("{{ user | link }}", "https://bank.example@evil.test/"),
        ("{{ user | link(label) }}", "the &lt;form&gt;"),
        ("-{{ missing | link }}-", "--"),
    ] {
        assert_eq!(text(template, data.clone()), shown, "{template}");
    }
}

#[test]
fn other_filters_take_the_text_of_a_link_and_the_like() {
    let data = json!({"url": "https://x.test/", "id": "u", "note": "one\ntwo", "none": null});
    for (template, shown) in [
        ("{{ url | link('form') | upper }}", "FORM"),
        ("{{ id | mention('Ada') | lower }}", "ada"),
        ("{{ note | multiline | upper }}", "ONE TWO"),
        ("{{ [id | mention('Ada'), note | multiline] | join }}", "Ada, one two"),
        ("{{ missing | multiline | default('-') }}", "-"),
        ("{% if none | multiline %}x{% else %}-{% endif %}", "-"),
        ("{% if ' ' | multiline %}x{% else %}-{% endif %}", "-"),
        ("{% if note | multiline %}x{% endif %}", "x"),
    ] {
        assert_eq!(text(template, data.clone()), shown, "{template}");
    }
}

#[test]
fn a_mention_is_left_for_the_moment_of_sending() {
    let data = json!({"id": "ada@x.test", "name": "Ada"});
    let shown = text("{{ id | mention(name) }}", data.clone());
    let padded = format!("<@herald:ada%40x.test|Ada{}>", " ".repeat(37));
    assert_eq!(shown, padded);
    assert_eq!(text("-{{ missing | mention }}-", data.clone()), "--");
    let blocks = json!([{"type": "header",
        "text": {"type": "plain_text", "text": "By {{ id | mention(name) }}"}}]);
    let rendered = filled("x", blocks, data, None).unwrap();
    assert_eq!(rendered.blocks[0]["text"]["text"], format!("By {padded}"));
}

#[test]
fn data_and_words_make_no_mention_together() {
    let data = json!({"a": "@herald:u|n>", "id": "u"});
    let plain =
        |text: &str| json!([{"type": "header", "text": {"type": "plain_text", "text": text}}]);
    for blocks in [plain("<{{ a }}"), plain("<@her{# x #}ald:u|n>"), plain("<@herald:u|n>")] {
        let error = filled("x", blocks.clone(), data.clone(), None).unwrap_err().to_string();
        assert!(error.contains("write {{ id | mention }}"), "{blocks}: {error}");
    }
    for template in ["<@herald:u|n>", "<@her{{ a }}ald:u|n>"] {
        let template = Template { text: template.into(), blocks: "[]".into() };
        assert_eq!(template.check().len(), 1, "{}", template.text);
    }
    let literal = json!([{"type": "divider", "block_id": "<@herald:u|n>"}]);
    let template = Template { text: "x".into(), blocks: literal.to_string() };
    assert_eq!(template.check().len(), 1);
    let error = filled("<{{ id | mention }}|x>", json!([]), data, None).unwrap_err();
    assert!(error.to_string().contains("a placeholder is inside"), "{error}");
    let name = json!({"name": "{{ '<@herald:u|n>' }}"});
    assert_eq!(text("{{ '<@herald:u|n>' }}{{ name }}", name).matches("&lt;@").count(), 2);
}

#[test]
fn the_strings_of_a_message_share_its_steps() {
    let words = "{% for c in name %}{% if c == 'b' %}{{ c }}{% endif %}{% endfor %}x";
    let section = json!({"type": "section", "text": {"type": "mrkdwn", "text": words}});
    let shown = |count: usize| {
        let blocks = Value::Array(vec![section.clone(); count]);
        filled("x", blocks, json!({"name": "a".repeat(1_000)}), None)
    };
    assert_eq!(shown(3).unwrap().blocks.as_array().unwrap().len(), 3);
    let error = shown(50).unwrap_err().to_string();
    assert!(error.contains("it takes too many steps"), "{error}");
}

/// Otherwise one step could take as long as the largest value of the data.
#[test]
fn filters_take_no_more_of_a_value_than_is_shown() {
    let data = json!({"name": "straße ÄB", "long": "ÄB ".repeat(10_000)});
    for (filter, expected) in [
        ("upper", "STRASSE ÄB"),
        ("lower", "straße äb"),
        ("title", "Straße Äb"),
        ("capitalize", "Straße äb"),
    ] {
        assert_eq!(text(&format!("{{{{ name | {filter} }}}}"), data.clone()), expected);
        let size = format!("{{{{ 'all' if long | {filter} | length > 5000 else 'less' }}}}");
        assert_eq!(text(&size, data.clone()), "less", "{filter}");
    }
}

#[test]
fn a_runaway_template_is_an_error_not_a_stall() {
    let data = json!({"items": vec![0; 2000]});
    let nested = "{% for a in items %}{% for b in items %}{{ b }}{% endfor %}{% endfor %}";
    for (template, problem) in [
        (nested, "too many steps"),
        ("{{ 'x' * 9999999 }}", "not available"),
        ("{{ '}}' * 9999999 }}", "not available"),
        ("{# {{ ' #}{{ 'x' * 9999999 }}", "not available"),
        ("{{ 'it\\'s' ~ x * 9 }}", "not available"),
        ("{{ items ~ items }}", "`~` is not available"),
        ("{{ items + items }}", "`+` is not available"),
        ("{{ [{'a': {'b': 1}}, 'x' * 9999999] }}", "`*` is not available"),
        ("{% for b in [items] %}{{ b }}{% endfor %}", "`for` takes"),
        ("{% for b in (items, items) %}{{ b }}{% endfor %}", "`for` takes"),
        ("{% for b in {'a': items} %}{{ b }}{% endfor %}", "`for` takes"),
        ("{% for b in x | default([items, items]) %}{{ b }}{% endfor %}", "`for` takes"),
        ("{% for b in (x if y else [items]) %}{{ b }}{% endfor %}", "`for` takes"),
        ("{% for b in items recursive %}{{ loop([b, b]) }}{% endfor %}", "`for` takes"),
        ("{% set x = 1 %}", "`set` is not available"),
        ("{% include 'x' %}", "`include` is not available"),
        ("{{ range(9) }}", "function range is unknown"),
    ] {
        let error = filled(template, json!([]), data.clone(), None).unwrap_err().to_string();
        assert!(error.contains(problem), "{template}: {error}");
    }
    assert_eq!(text("{{ '*' }} {# * #} 2 * 3", data.clone()), "*  2 * 3");
    let three = json!({"items": ["A", "B", "+"]});
    let kept = "{%+ for b in data['items'] if b in ['A', '+'] +%}{{ b }}{% endfor %}";
    assert_eq!(text(kept, three.clone()), "A+");
    let first = "{% for b in (items | default(items)) %}{{ b | upper }}{% endfor %}";
    assert_eq!(text(first, three), "AB+");
    let long = format!("{{# {} #}}", "x".repeat(crate::domain::limits::TEMPLATE_TEXT_BYTES));
    assert!(filled(&long, json!([]), data, None).unwrap_err().to_string().contains("4000 bytes"));
}

#[test]
fn a_long_list_is_written_in_part() {
    let list = ["a"; 90].join(", ");
    for (filter, most) in [("join", 4_001), ("and_join", 24_100), ("truncate(99999)", 21_000)] {
        let template = format!("{{{{ [{list}] | {filter} | length }}}}");
        let length = text(&template, json!({"a": "x".repeat(8_000)}));
        assert!(length.parse::<usize>().unwrap() <= most, "{filter}: {length}");
    }
}

#[test]
fn ids_are_unique() {
    let button = json!({"type": "button", "action_id": "a",
        "text": {"type": "plain_text", "text": "Go"}, "url": "https://x.test"});
    let actions = |id: &str, buttons: usize| {
        let elements = vec![button.clone(); buttons];
        json!({"type": "actions", "block_id": id, "elements": elements})
    };
    let problems = |blocks: Value| {
        let template = Template { text: "x".into(), blocks: blocks.to_string() };
        template.check().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert!(problems(json!([actions("b", 1), actions("c", 1)])).is_empty());
    assert_eq!(
        problems(json!([actions("b", 2), actions("b", 1)])),
        [
            "blocks[0].elements[1].action_id (line 1, column 141) must be unique",
            "blocks[1].block_id (line 1, column 257) must be unique",
        ]
    );
}

#[test]
fn check_tells_everything_that_is_wrong_with_its_line() {
    let blocks = r#"[
  { "type": "section", "text": { "type": "mrkdwn", "text": "{{ name" } },
  { "type": "markdown", "text": "x" },
  { "type": "{{ kind }}" },
  { "type": "actions", "if": "a b", "elements": [ { "type": "select" }, { "type": "button" } ] },
  { "type": "image" }
]"#;
    let template = Template { text: "one\n{{ two | }}".into(), blocks: blocks.into() };
    let problems: Vec<_> = template.check().iter().map(ToString::to_string).collect();
    let starts = [
        "text (line 2, column 10) does not work: ",
        "blocks[0].text.text (line 2, column 64) does not work: ",
        "blocks[1].type (line 3, column 13) must be one of actions, ",
        "blocks[2].type (line 4, column 13) must be literal",
        "blocks[2].type (line 4, column 13) must be one of",
        "blocks[3].if (line 5, column 33) does not work: ",
        "blocks[3].elements[0].type (line 5, column 61) must be one of button",
        "blocks[3].elements[1] (line 5, column 73) must have text",
        "blocks[4] (line 6, column 3) must have image_url",
    ];
    assert_eq!(problems.len(), starts.len(), "{problems:#?}");
    for (problem, start) in problems.iter().zip(starts) {
        assert!(problem.starts_with(start), "{problem} / {start}");
    }
    let broken = Template { text: " ".into(), blocks: "[\n{".into() };
    let problems = broken.check();
    assert_eq!((problems[0].field.as_str(), problems[1].line), ("text", Some(2)));
}
