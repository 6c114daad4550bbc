//! JSON as its author wrote it: laid out for reading, with its strings, its numbers and the order
//! of its keys unchanged, and the places of its values.

use serde_json::Value;

/// Tokens with their offsets. For text that is not JSON they are of no use, and harmless.
struct Tokens<'a> {
    source: &'a str,
    at: usize,
}

impl<'a> Iterator for Tokens<'a> {
    type Item = (usize, &'a str);

    fn next(&mut self) -> Option<(usize, &'a str)> {
        let rest = self.source.get(self.at..)?;
        let token = rest.trim_start_matches([' ', '\t', '\n', '\r']);
        let start = self.at + rest.len() - token.len();
        let length = match token.chars().next()? {
            '"' => string_length(token),
            '{' | '}' | '[' | ']' | ',' | ':' => 1,
            _ => token.find([' ', '\t', '\n', '\r', ',', ':', ']', '}']).unwrap_or(token.len()),
        };
        self.at = start + length;
        Some((start, token.get(..length)?))
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

impl Tokens<'_> {
    /// Passes over one value.
    fn skip_value(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.next()?.1 {
                "{" | "[" => depth += 1,
                "}" | "]" => depth = depth.checked_sub(1)?,
                _ => {}
            }
            if depth == 0 {
                return Some(());
            }
        }
    }
}

/// The same JSON with each value on a line of its own. Text that is not JSON remains as it is.
pub(super) fn laid_out(source: &str) -> String {
    // The parser also bounds the depth, and so the width of the lines.
    if serde_json::from_str::<Value>(source).is_err() {
        return source.to_owned();
    }
    let mut text = String::with_capacity(source.len() * 2);
    let (mut depth, mut before) = (0_usize, "");
    for (_, token) in (Tokens { source, at: 0 }) {
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

/// One step of a path such as `[0].text`.
enum Step<'a> {
    Item(usize),
    Key(&'a str),
}

fn steps(path: &str) -> Option<Vec<Step<'_>>> {
    let (mut steps, mut rest) = (Vec::new(), path);
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix('[') {
            let (index, tail) = inside.split_once(']')?;
            steps.push(Step::Item(index.parse().ok()?));
            rest = tail;
        } else {
            let key = rest.strip_prefix('.')?;
            let end = key.find(['.', '[']).unwrap_or(key.len());
            steps.push(Step::Key(key.get(..end)?));
            rest = key.get(end..)?;
        }
    }
    Some(steps)
}

/// The offset of the value at a path such as `[0].text.text`.
pub(super) fn offset(source: &str, path: &str) -> Option<usize> {
    let mut tokens = Tokens { source, at: 0 };
    for step in steps(path)? {
        match (step, tokens.next()?.1) {
            (Step::Item(index), "[") => {
                for _ in 0..index {
                    tokens.skip_value()?;
                    (tokens.next()?.1 == ",").then_some(())?;
                }
            }
            (Step::Key(wanted), "{") => loop {
                let name: String = serde_json::from_str(tokens.next()?.1).ok()?;
                (tokens.next()?.1 == ":").then_some(())?;
                if name == wanted {
                    break;
                }
                tokens.skip_value()?;
                (tokens.next()?.1 == ",").then_some(())?;
            },
            _ => return None,
        }
    }
    tokens.next().map(|(at, _)| at)
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

    #[test]
    fn a_path_leads_to_its_value() {
        for (path, expected) in [
            ("", "[{"),
            ("[0].type", "\"a\""),
            ("[0].n[1]", "{}"),
            ("[0].t.b", "\"x "),
            ("[1].u", "\"\\u00e9\""),
        ] {
            let at = offset(BLOCKS, path).unwrap();
            assert!(BLOCKS[at..].starts_with(expected), "{path}: {}", &BLOCKS[at..]);
        }
        for path in ["[2]", "[0].x", "[0].type.x", "nonsense", "[x]", "[0].t[0]"] {
            assert_eq!(offset(BLOCKS, path), None, "{path}");
        }
    }
}
