//! `docs/features.md`: the features and their needs, generated from the table that decides.

use std::fmt::Write as _;

use herald::domain::features::{FEATURES, Feature};

use super::{is_as_written, read};

const FILE: &str = "docs/features.md";
const HEAD: &str = include_str!("features_head.md");

#[test]
fn the_page_is_the_table_that_asks() {
    is_as_written(FILE, &page());
}

/// The chart refuses codes that no feature has.
#[test]
fn the_chart_knows_every_code() {
    let schema: serde_json::Value =
        serde_json::from_str(&read("helm/herald/values.schema.json")).unwrap();
    let pointer = "/properties/config/properties/app/properties/features_off/items/enum";
    let known = schema.pointer(pointer).unwrap().as_array().unwrap();
    let codes = FEATURES.iter().map(|feature| feature.code).filter(|code| *code != "messages");
    assert!(known.iter().filter_map(serde_json::Value::as_str).eq(codes), "{known:?}");
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    for feature in FEATURES {
        writeln!(page, "{}", row(feature)).unwrap();
    }
    page
}

fn row(feature: &Feature) -> String {
    let list = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    let kind = if feature.optional { "optional" } else { "required" };
    let (scopes, events) = (list(feature.scopes), list(feature.events));
    format!("| `{}` | {} | {kind} | {scopes} | {events} |", feature.code, feature.name)
}
