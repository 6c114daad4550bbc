//! JSON as its author wrote it: laid out for reading, with its strings, its numbers and the order
//! of its keys unchanged, and the places of its values.

use serde_json::Value;

pub(super) use crate::domain::message::render::json_offset as offset;

/// Tokens. For text that is not JSON they are of no use, and harmless.
struct Tokens<'a> {
    source: &'a str,
    at: usize,
}

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.source.get(self.at..)?;
        let token = rest.trim_start_matches([' ', '\t', '\n', '\r']);
        let start = self.at + rest.len() - token.len();
        let length = match token.chars().next()? {
            '"' => string_length(token),
            '{' | '}' | '[' | ']' | ',' | ':' => 1,
            _ => token.find([' ', '\t', '\n', '\r', ',', ':', ']', '}']).unwrap_or(token.len()),
        };
        self.at = start + length;
        token.get(..length)
    }
}

/// The length of the string at the beginning, with its quotes.
fn string_length(token: &str) -> usize {
    let mut escaped = false;
    for (at, c) in token.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    token.len()
}

/// The same JSON with each value on a line of its own. Text that is not JSON remains as it is.
pub(super) fn laid_out(source: &str) -> String {
    // The parser also bounds the depth, and so the width of the lines.
    if serde_json::from_str::<Value>(source).is_err() {
        return source.to_owned();
    }
    let mut text = String::with_capacity(source.len() * 2);
    let (mut depth, mut before) = (0_usize, "");
    for token in (Tokens { source, at: 0 }) {
        let closes = matches!(token, "}" | "]");
        if closes {
            depth = depth.saturating_sub(1);
        }
        let opened = matches!(before, "{" | "[");
        let breaks = if opened { !closes } else { closes || before == "," };
        if breaks {
            text.push('\n');
            text.push_str(&"  ".repeat(depth));
        }
        text.push_str(token);
        match token {
            "{" | "[" => depth += 1,
            ":" => text.push(' '),
            _ => {}
        }
        before = token;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCKS: &str = r#"[{"type":"a","n":[1.50,{}, []],"t":{"b":"x \"{,\\"}}, {"u":"\u00e9"}]"#;

    #[test]
    fn laying_out_changes_only_the_space_between_tokens() {
        let text = laid_out(BLOCKS);
        assert_eq!(
            text,
            r#"[
  {
    "type": "a",
    "n": [
      1.50,
      {},
      []
    ],
    "t": {
      "b": "x \"{,\\"
    }
  },
  {
    "u": "\u00e9"
  }
]"#
        );
        assert_eq!(laid_out(&text), text);
        let value = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(value(&text), value(BLOCKS));
        assert_eq!(laid_out("[ {{ no } "), "[ {{ no } ");
        assert_eq!((laid_out(" [ ] "), laid_out("7 ")), ("[]".into(), "7".into()));
    }
}
