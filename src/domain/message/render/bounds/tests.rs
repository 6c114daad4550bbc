use super::*;

fn plain(text: &str) -> Value {
    json!({"type": "plain_text", "text": text})
}

fn link(url: &str) -> Value {
    json!({"type": "button", "text": plain("Go"), "url": url})
}

fn kinds(blocks: &[Value]) -> Vec<&str> {
    blocks.iter().map(|block| block["type"].as_str().unwrap()).collect()
}

fn button_of(filled: &[Value]) -> (Vec<Value>, Value) {
    let blocks = fitted(filled, "Open").blocks;
    assert!(size(&blocks) <= fit::ALL_BLOCKS && blocks.len() <= BLOCKS);
    let button = blocks.iter().find_map(button).expect("a button").clone();
    (blocks, button)
}

#[test]
fn a_button_outlives_the_block_that_held_it() {
    let empty = json!({"type": "section", "text": plain(" "), "accessory": link("https://x")});
    let (blocks, _) = button_of(&[empty]);
    assert_eq!(kinds(&blocks), ["actions"]);
    let full = json!({"type": "section", "text": plain(&"w".repeat(2950))});
    let last = json!({"type": "section", "text": plain("x"), "accessory": link("https://x")});
    let (blocks, _) = button_of(&[vec![full; 6], vec![last]].concat());
    assert_eq!(kinds(&blocks), ["section", "section", "section", "context", "actions"]);
    let divider = json!({"type": "divider"});
    let (blocks, _) = button_of(&[vec![divider; 60], vec![actions(link("https://x"))]].concat());
    assert_eq!(blocks.len(), BLOCKS);
}

#[test]
fn one_button_outlives_many() {
    let long = format!("https://x/{}", "a".repeat(2900));
    let many = json!({"type": "actions", "elements": vec![link(&long); 25]});
    let (blocks, button) = button_of(&[many]);
    assert_eq!(kinds(&blocks), ["context", "actions"]);
    assert_eq!(button["url"].as_str().unwrap().len(), long.len());
}

#[test]
fn a_button_without_a_label_gets_the_default_one() {
    let button = json!({"type": "button", "text": plain(" "), "url": "https://x"});
    let (_, button) = button_of(&[actions(button)]);
    assert_eq!(button["text"]["text"], "Open");
    let deaf = json!({"type": "button", "text": plain(" ")});
    assert!(fitted(&[actions(deaf)], "Open").blocks.is_empty());
}

#[test]
fn the_parts_that_were_cut_are_listed() {
    let long = |size: usize| plain(&"w".repeat(size));
    let empty = json!({"type": "section", "text": plain(" ")});
    let section = |text: Value| json!({"type": "section", "text": text});
    let fields = json!({"type": "section", "fields": vec![long(2_100); 12]});
    let header = json!({"type": "header", "text": long(160)});
    assert_eq!(fitted(&[section(long(9))], "Open").cut, Vec::<String>::new());
    let cut = fitted(&[empty, header, section(long(3_001))], "Open").cut;
    assert_eq!(cut, ["blocks[0].text.text", "blocks[1].text.text"]);
    let cut = fitted(&[fields], "Open").cut;
    assert!(!cut.iter().any(|part| part.contains("[10]") || part.contains("[11]")), "{cut:?}");
    assert!(cut.contains(&"blocks".to_owned()), "{cut:?}");
    let many = fitted(&vec![json!({"type": "divider"}); 51], "Open");
    assert!(many.shortened && many.cut == ["blocks"], "{:?}", many.cut);
}

/// The block that makes room for the button is omitted visibly.
#[test]
fn a_full_message_that_needs_a_button_is_shortened() {
    let mut blocks = vec![json!({"type": "divider"}); BLOCKS];
    blocks.push(json!({"type": "section", "text": plain(" "), "accessory": link("https://x")}));
    let message = fitted(&blocks, "Open");
    assert_eq!(message.blocks.len(), BLOCKS);
    assert!(message.shortened && message.cut == ["blocks"], "{:?}", message.cut);
}

#[test]
fn the_blocks_of_2026_are_measured() {
    let long = "word ".repeat(800);
    let cell = |text: &str| json!({"type": "raw_text", "text": text});
    let task = json!({"type": "task_card", "task_id": "1", "title": long, "status": "pending"});
    let blocks = fitted(
        &[
            json!({"type": "card", "title": plain(&long), "body": plain(&long),
                "actions": vec![link("https://x"); 4]}),
            json!({"type": "container", "title": plain(&long), "child_blocks":
                vec![json!({"type": "header", "text": plain("h")}); 12]}),
            json!({"type": "plan", "title": "p", "tasks": [task]}),
            json!({"type": "data_table", "caption": long,
                "rows": [[cell("a"), cell("")], [cell(&long), cell("b")]]}),
            json!({"type": "data_visualization", "title": long, "chart":
                {"type": "pie", "segments": [{"label": "a", "value": 1}]}}),
        ],
        "Open",
    );
    assert!(blocks.shortened);
    let [card, container, plan, table, chart] = &blocks.blocks[..] else { panic!("five") };
    let units = |text: &Value| fit::units(text.as_str().unwrap());
    assert!(units(&card["title"]["text"]) <= 150 && units(&card["body"]["text"]) <= 200);
    assert_eq!(card["actions"].as_array().unwrap().len(), 3);
    assert_eq!(container["child_blocks"].as_array().unwrap().len(), 10);
    assert!(units(&plan["tasks"][0]["title"]) <= 3000);
    assert!(units(&table["caption"]) <= 150);
    assert_eq!(table["rows"][0][1]["text"], "–");
    assert!(units(&chart["title"]) <= 50 && chart["chart"]["type"] == "pie");
    assert!(blocks.cut.contains(&"blocks[0].title.text".to_owned()), "{:?}", blocks.cut);
    assert!(blocks.cut.contains(&"blocks[0].actions".to_owned()), "{:?}", blocks.cut);
    let charts = vec![chart.clone(); 3];
    assert_eq!(fitted(&charts, "Open").blocks.len(), CHARTS);
}

/// Slack refuses a container without one, and its blocks are worth more than a title.
#[test]
fn a_container_keeps_a_title() {
    let divider = json!({"type": "divider"});
    let untitled = json!({"type": "container", "title": plain(" "), "child_blocks": [divider]});
    let blocks = fitted(&[untitled], "Open").blocks;
    assert_eq!(blocks[0]["title"]["text"], "–");
    assert_eq!(blocks[0]["child_blocks"], json!([divider]));
}

/// An image or a button that Slack would refuse costs the message nothing else.
#[test]
fn an_object_with_an_impossible_url_is_omitted_and_named() {
    let lost = json!({"type": "button", "text": plain("Go"), "url": null});
    let image = json!({"type": "image", "image_url": null, "alt_text": "x"});
    let actions = |elements: &[Value]| json!({"type": "actions", "elements": elements});
    for (block, left, cut) in [
        (image.clone(), None, "blocks"),
        (actions(std::slice::from_ref(&lost)), None, "blocks"),
        (
            actions(&[lost.clone(), link("https://x"), lost.clone()]),
            Some(actions(&[link("https://x")])),
            "blocks[0].elements",
        ),
        (
            json!({"type": "section", "text": plain("x"), "accessory": lost}),
            Some(json!({"type": "section", "text": plain("x")})),
            "blocks[0]",
        ),
        (
            json!({"type": "card", "title": plain("x"), "icon": image, "actions": [lost]}),
            Some(json!({"type": "card", "title": plain("x")})),
            "blocks[0]",
        ),
        (
            json!({"type": "context", "elements": [plain("x"), image]}),
            Some(json!({"type": "context", "elements": [plain("x")]})),
            "blocks[0].elements",
        ),
    ] {
        let message = fitted(std::slice::from_ref(&block), "Open");
        assert_eq!(message.blocks, left.into_iter().collect::<Vec<_>>(), "{block}");
        assert!(message.shortened && message.cut == [cut], "{block}: {:?}", message.cut);
    }
}

/// Slack refuses a row without cells, and a data_table with one row.
#[test]
fn a_table_without_enough_rows_is_omitted() {
    let cell = json!({"type": "raw_text", "text": "a"});
    let table = |kind: &str, rows: Value| json!({"type": kind, "caption": "c", "rows": rows});
    let left = |table: Value| fitted(&[table], "Open").blocks;
    assert!(left(table("data_table", json!([[cell], []]))).is_empty());
    assert!(left(table("table", json!([[]]))).is_empty());
    assert_eq!(left(table("table", json!([[], [cell]])))[0]["rows"], json!([[cell]]));
}

#[test]
fn nested_parts_are_measured() {
    let long = "word ".repeat(800);
    let text = |text: &str| json!({"type": "text", "text": text});
    let rich = |elements: Value| {
        let section = json!({"type": "rich_text_section", "elements": elements});
        json!({"type": "rich_text", "elements": [section]})
    };
    let confirm = json!({"title": plain(&long), "text": plain(&long), "confirm": plain(&long),
        "deny": plain(&long), "style": "danger"});
    let button = json!({"type": "button", "text": plain("x"), "confirm": confirm});
    let output = rich(json!([
        text("a"),
        text(" "),
        text(""),
        {"type": "link", "url": null, "text": "b"},
        {"type": "link", "url": "https://x", "text": long},
    ]));
    let source = |url: Value| json!({"type": "url", "url": url, "text": "s"});
    let task = json!({"type": "task_card", "task_id": "1", "title": "t", "status": "pending",
        "output": output, "details": rich(json!([text("")])),
        "sources": [source(Value::Null), source("https://x".into())]});
    let message = fitted(&[actions(button), task], "Open");
    let [actions, task] = &message.blocks[..] else { panic!("{:?}", message.blocks) };
    let confirm = &actions["elements"][0]["confirm"];
    let units = |part: &Value| fit::units(part.as_str().unwrap());
    for (part, most) in [("title", 100), ("text", 300), ("confirm", 30), ("deny", 30)] {
        assert!((2..=most).contains(&units(&confirm[part]["text"])), "{confirm}");
    }
    assert_eq!(confirm["style"], "danger");
    let runs = task["output"]["elements"][0]["elements"].as_array().unwrap();
    assert_eq!(runs[..2], [text("a"), text(" ")]);
    assert!(runs.len() == 3 && units(&runs[2]["text"]) <= ELSEWHERE, "{runs:?}");
    assert_eq!(task["sources"], json!([source("https://x".into())]));
    assert!(task.get("details").is_none());
    for cut in [
        "blocks[0].elements[0].confirm.title.text",
        "blocks[1].output.elements[0].elements",
        "blocks[1].sources",
    ] {
        assert!(message.cut.contains(&cut.to_owned()), "{cut}: {:?}", message.cut);
    }
}
