//! The keys of blocks, elements and texts other than the parts in [`kit`], with the values of keys
//! that accept only a few. Slack refuses a message with any other key or value.

use serde_json::{Map, Value};

use super::Problem;
use super::kit::{self, FieldPlace, Kinds};

/// Any value: Slack's page is the reference for it.
const ANY: Kinds = &[];
/// A block's own id. An image or a card inside another block may have one, too.
const ID: (&str, Kinds) = ("block_id", ANY);

/// The further keys of a kind, each with its values.
fn literal(kind: &str) -> &'static [(&'static str, Kinds)] {
    match kind {
        "button" => &[("action_id", ANY), ("confirm", ANY), ("style", &["primary", "danger"])],
        "container" => &[
            ID,
            ("rich_text_title", ANY),
            ("width", &["narrow", "standard", "wide", "full"]),
            ("is_collapsible", ANY),
            ("default_collapsed", ANY),
            ("has_header_divider", ANY),
        ],
        "data_table" => &[ID, ("page_size", ANY), ("row_header_column_index", ANY)],
        "data_visualization" => &[ID, ("chart", ANY)],
        "header" => &[ID, ("level", ANY)],
        "image" => &[ID, ("slack_file", ANY), ("fallback", ANY), ("image_bytes", ANY)],
        "mrkdwn" | "plain_text" => &[("text", ANY), ("emoji", ANY), ("verbatim", ANY)],
        "raw_text" => &[("text", ANY)],
        "section" => &[ID, ("expand", ANY)],
        "table" => &[ID, ("column_settings", ANY)],
        "task_card" => &[
            ID,
            ("details", ANY),
            ("output", ANY),
            ("sources", ANY),
            ("status", &["pending", "in_progress", "complete", "error"]),
        ],
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
