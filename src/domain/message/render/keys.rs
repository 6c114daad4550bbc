//! The keys of blocks, elements and texts other than the parts in [`kit`], with the values of keys
//! that accept only a few. Slack refuses a message with any other key or value.

use serde_json::{Map, Value};

use super::Problem;
use super::kit::{self, FieldPlace, Kinds};

/// Any value: Slack's page is the reference for it.
const ANY: Kinds = &[];
/// A block's own id. An image or a card inside another block may have one, too.
const ID: (&str, Kinds) = ("block_id", ANY);

/// The look of a run of a rich text.
const STYLE: (&str, Kinds) = ("style", ANY);
/// The color of a button.
const COLORS: (&str, Kinds) = ("style", &["primary", "danger"]);

/// The further keys of a kind, each with its values.
fn literal(kind: &str) -> &'static [(&'static str, Kinds)] {
    match kind {
        "area" | "axis_config" | "bar" | "line" | "pie" | "point" | "segment" | "series"
        | "rich_text_section" | "url" => &[],
        "broadcast" => &[STYLE, ("range", &["here", "channel", "everyone"])],
        "button" => &[("action_id", ANY), COLORS],
        "channel" | "color" | "team" | "text" | "user" | "usergroup" => &[STYLE],
        "confirm" => &[COLORS],
        "container" => &[
            ID,
            ("width", &["narrow", "standard", "wide", "full"]),
            ("is_collapsible", ANY),
            ("default_collapsed", ANY),
            ("has_header_divider", ANY),
        ],
        "data_table" => &[ID, ("page_size", ANY), ("row_header_column_index", ANY)],
        "date" => &[STYLE, ("format", ANY), ("fallback", ANY)],
        "emoji" => &[STYLE, ("unicode", ANY), ("url", ANY), ("skin_tone", ANY)],
        "header" => &[ID, ("level", ANY)],
        "image" => &[ID, ("slack_file", ANY), ("fallback", ANY), ("image_bytes", ANY)],
        "link" => &[STYLE, ("unsafe", ANY)],
        "mrkdwn" | "plain_text" => &[("text", ANY), ("emoji", ANY), ("verbatim", ANY)],
        "raw_text" => &[("text", ANY)],
        "rich_text_list" => {
            &[("style", &["bullet", "ordered"]), ("indent", ANY), ("offset", ANY), ("border", ANY)]
        }
        "rich_text_preformatted" => &[("border", ANY), ("language", ANY)],
        "rich_text_quote" => &[("border", ANY)],
        "section" => &[ID, ("expand", ANY)],
        "table" => &[ID, ("column_settings", ANY)],
        "task_card" => &[ID, ("status", &["pending", "in_progress", "complete", "error"])],
        _ => &[ID],
    }
}

/// Adds the problems of the keys of an object of this kind.
pub(super) fn check(
    kind: &str,
    object: &Map<String, Value>,
    place: &FieldPlace<'_>,
    problems: &mut Vec<Problem>,
) {
    let parts = kit::find(kind).map(|kind| kind.parts).unwrap_or_default();
    for (key, value) in object {
        let literal = literal(kind).iter().find(|(name, _)| *name == key.as_str());
        let is_known = literal.is_some()
            || matches!(key.as_str(), "type" | "if")
            || parts.iter().any(|(name, _)| *name == key.as_str());
        if !is_known {
            problems.push(place.at(key).problem(format!("is not a key of {kind}")));
        }
        let values = literal.map(|(_, values)| *values).unwrap_or_default();
        if !values.is_empty() && value.as_str().is_none_or(|value| !values.contains(&value)) {
            problems.push(place.at(key).problem(format!("must be one of {}", values.join(", "))));
        }
    }
}
