//! A template as the text of its file. Equal templates have equal texts.

use std::fmt::Write as _;

use super::json::laid_out;
use crate::domain::ids::ContentId;
use crate::rpc::pb::template::Form;
use crate::rpc::pb::{BlocksMessage, SimpleMessage};

/// The text of a file.
pub(super) fn text(content: Option<&ContentId>, form: &Form) -> String {
    let mut text = String::new();
    if let Some(content) = content {
        line(&mut text, "content_id", content.as_str());
        text.push('\n');
    }
    match form {
        Form::Simple(message) => simple(&mut text, message),
        Form::Blocks(BlocksMessage { text: fallback, blocks_json }) => {
            text.push_str("[blocks]\n");
            line(&mut text, "text", fallback);
            line(&mut text, "blocks_json", &format!("{}\n", laid_out(blocks_json)));
        }
    }
    text
}

fn simple(text: &mut String, message: &SimpleMessage) {
    text.push_str("[simple]\n");
    let SimpleMessage { heading, body, fields, image, context, button } = message;
    let parts = [("heading", heading), ("body", body), ("context", context), ("button", button)];
    for (name, value) in parts.into_iter().filter(|(_, value)| !value.is_empty()) {
        line(text, name, value);
    }
    for field in fields {
        text.push_str("\n[[simple.fields]]\n");
        line(text, "label", &field.label);
        line(text, "value", &field.value);
    }
    if let Some(image) = image {
        text.push_str("\n[simple.image]\n");
        line(text, "url", &image.url);
        line(text, "alt", &image.alt);
    }
}

fn line(text: &mut String, name: &str, value: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{name} = {}", string(value));
}

/// A TOML string: on several lines if the value has several, and without escapes if possible.
fn string(value: &str) -> String {
    let visible = value.chars().all(|c| c == '\n' || is_visible(c));
    if value.contains('\n') {
        if visible && !value.contains("'''") && !value.ends_with('\'') {
            return format!("'''\n{value}'''");
        }
        return format!("\"\"\"\n{}\"\"\"", escaped(value));
    }
    if visible && value.contains(['"', '\\']) && !value.contains('\'') {
        return format!("'{value}'");
    }
    format!("\"{}\"", escaped(value))
}

fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            c if c == '\n' || is_visible(c) => text.push(c),
            c => {
                // Writing to a String cannot fail.
                let _ = write!(text, "\\U{:08X}", u32::from(c));
            }
        }
    }
    text
}

/// Whether a reviewer sees the character, and as it is: not a control character, nor one that
/// changes the order in which text is shown.
fn is_visible(c: char) -> bool {
    let orders = matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2066}'..='\u{2069}' | '\u{61c}' | '\u{feff}');
    !orders && (c == '\t' || !c.is_control())
}

/// The text without characters that a terminal would act on.
pub(super) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\n' || is_visible(c) {
            shown.push(c);
        } else {
            shown.extend(c.escape_unicode());
        }
    }
    shown
}
