//! The places of problems in the text of a template, as its author wrote it: lines and columns,
//! both from 1. Columns count characters.

use super::Problem;
use super::filters::place_of;
use super::tokens::before_cleaning;
use crate::domain::message::problem::TextPlace;

/// The line and the column of a byte; the end of the text, if no character begins there.
#[must_use]
pub fn line_and_column(source: &str, at: usize) -> (usize, usize) {
    let before = source.get(..at).unwrap_or(source);
    let start = before.rfind('\n').map_or(0, |end| end + 1);
    (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
}

/// The place of a byte of the cleaned source, in the source.
pub(super) fn in_text(source: &str, at: usize) -> TextPlace {
    let (line, column) = line_and_column(source, before_cleaning(source, at));
    TextPlace { line: Some(line), column: Some(column) }
}

/// The place of the part at this path of a JSON text, or, if there is none, of the innermost part
/// in which it should be. The JSON is valid.
pub(super) fn of_part(json: &str, path: &str) -> (usize, usize) {
    let mut paths =
        std::iter::successors(Some(path), |path| path.rfind(['.', '[']).map(|at| &path[..at]));
    let at = paths.find_map(|path| json_offset(json, path));
    line_and_column(json, at.unwrap_or_default())
}

/// The problem of a template that is a field of its own.
pub(super) fn failed(error: &minijinja::Error, field: &str, source: &str) -> Problem {
    let place = match place_of(error) {
        Some(at) => in_text(source, at),
        None => TextPlace { line: Some(error.line().unwrap_or(1)), column: None },
    };
    Problem::of(error, field, place)
}

/// A string in a JSON text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Literal<'a> {
    json: &'a str,
    /// The place of its first quote.
    at: usize,
}

impl<'a> Literal<'a> {
    /// The string at this path, such as `[0].text.text`. The JSON is valid.
    pub(super) fn find(json: &'a str, path: &str) -> Option<Self> {
        let at = json_offset(json, path)?;
        json[at..].starts_with('"').then_some(Self { json, at })
    }

    /// The place of a byte of the string's cleaned value; without one, that of the string.
    pub(super) fn place(self, value: &str, at: Option<usize>) -> TextPlace {
        let inside =
            at.map_or(0, |at| 1 + written(&self.json[self.at + 1..], before_cleaning(value, at)));
        let (line, column) = line_and_column(self.json, self.at + inside);
        TextPlace { line: Some(line), column: at.map(|_| column) }
    }
}

/// The length of the beginning of a string as it is written in JSON, of which `length` bytes are
/// read.
fn written(json: &str, length: usize) -> usize {
    let (mut at, mut read) = (0, 0);
    while read < length {
        let Some(c) = json.get(at..).and_then(|rest| rest.chars().next()) else { break };
        let (long, means) =
            if c == '\\' { escape(&json[at..]) } else { (c.len_utf8(), c.len_utf8()) };
        at += long;
        read += means;
    }
    at.min(json.len())
}

/// The lengths of an escape: as it is written, and as it is read.
fn escape(json: &str) -> (usize, usize) {
    let unit = json.strip_prefix("\\u").and_then(|hex| hex.get(..4));
    match unit.and_then(|hex| u32::from_str_radix(hex, 16).ok()) {
        None => (2, 1),
        // Two units make one character.
        Some(0xD800..0xDC00) => (12, 4),
        Some(unit) => (6, char::from_u32(unit).map_or(1, char::len_utf8)),
    }
}

/// The byte of a JSON text at which the value at this path begins, such as `[0].text.text`. Of a
/// text that is not JSON, any byte.
#[must_use]
pub fn json_offset(json: &str, path: &str) -> Option<usize> {
    find(json, 0, path)
}

/// The place of the value at this path below the value at `at`.
fn find(json: &str, at: usize, path: &str) -> Option<usize> {
    let at = space(json, at);
    if path.is_empty() {
        return Some(at);
    }
    let index = path.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let mut next = at + 1;
    match (json.as_bytes().get(at)?, index) {
        (b'[', Some((index, rest))) => {
            for _ in 0..index.parse::<usize>().ok()? {
                next = comma(json, end(json, space(json, next)))?;
            }
            find(json, next, rest)
        }
        (b'{', _) => loop {
            let key = space(json, next);
            let after = end(json, key);
            let name: String = serde_json::from_str(json.get(key..after)?).ok()?;
            let value = space(json, space(json, after) + 1);
            let rest = path.strip_prefix('.').and_then(|path| path.strip_prefix(name.as_str()));
            if let Some(rest) = rest
                && (rest.is_empty() || rest.starts_with(['.', '[']))
                && let Some(found) = find(json, value, rest)
            {
                return Some(found);
            }
            next = comma(json, end(json, value))?;
        },
        _ => None,
    }
}

/// The place after the comma that follows.
fn comma(json: &str, at: usize) -> Option<usize> {
    let at = space(json, at);
    (json.as_bytes().get(at) == Some(&b',')).then_some(at + 1)
}

fn space(json: &str, at: usize) -> usize {
    let rest = json.get(at..).unwrap_or_default();
    at + rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len()
}

/// The place after the value that begins here.
fn end(json: &str, at: usize) -> usize {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for (index, byte) in json.bytes().enumerate().skip(at) {
        if std::mem::take(&mut escaped) {
            continue;
        }
        match byte {
            b'\\' if quoted => escaped = true,
            b'"' => {
                quoted = !quoted;
                if !quoted && depth == 0 {
                    return index + 1;
                }
            }
            _ if quoted => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' if depth > 1 => depth -= 1,
            b']' | b'}' if depth == 1 => return index + 1,
            // A number or a word ends before this.
            b']' | b'}' | b',' if depth == 0 => return index,
            _ => {}
        }
    }
    json.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_from_one() {
        for (at, place) in [(0, (1, 1)), (3, (1, 3)), (4, (2, 1)), (5, (2, 2)), (99, (2, 3))] {
            assert_eq!(line_and_column("é1\nab", at), place, "{at}");
        }
    }

    #[test]
    fn a_string_of_a_json_text_is_found_by_its_path() {
        let json = r#"[ {"a": 1, "b.c": {"x": "no"}, "text": [{"text": "a\"]\n{{ x }}"}, true]},
  {"text" : {"text":"a\"]\n{{ x }}"}}]"#;
        serde_json::from_str::<serde_json::Value>(json).unwrap();
        let value = "a\"]\n{{ x }}";
        let place = |path: &str, at: Option<usize>| {
            let place = Literal::find(json, path)?.place(value, at);
            Some((place.line, place.column))
        };
        let x = value.find('x');
        assert_eq!(place("[1].text.text", x), Some((Some(2), Some(31))));
        assert_eq!(place("[1].text.text", None), Some((Some(2), None)));
        assert_eq!(place("[0].text[0].text", x), Some((Some(1), Some(60))));
        assert!(place("[0].b.c.x", None).is_some());
        for nowhere in ["[0].a", "[0].b", "[2]", "[0].text[5]", "[1].text.texts", "x"] {
            assert_eq!(place(nowhere, None), None, "{nowhere}");
        }
    }

    #[test]
    fn a_path_leads_to_its_value() {
        let json = r#"[{"type":"a","n":[1.50,{}, []],"t":{"b":"x \"{,\\"}}, {"u":"\u00e9"}]"#;
        serde_json::from_str::<serde_json::Value>(json).unwrap();
        for (path, expected) in [
            ("", "[{"),
            ("[0].type", "\"a\""),
            ("[0].n[1]", "{}"),
            ("[0].t.b", "\"x "),
            ("[1].u", "\"\\u00e9\""),
        ] {
            let at = json_offset(json, path).unwrap();
            assert!(json[at..].starts_with(expected), "{path}: {}", &json[at..]);
        }
        for path in ["[2]", "[0].x", "[0].type.x", "nonsense", "[x]", "[0].t[0]"] {
            assert_eq!(json_offset(json, path), None, "{path}");
        }
        for json in ["", "[", "{", "[1,", "{\"a\"", "{\"a\":", "{\"é"] {
            assert_eq!((json_offset(json, "[3].a"), json_offset(json, ".a.b")), (None, None));
        }
    }

    #[test]
    fn a_part_that_is_missing_is_placed_where_it_should_be() {
        let json = "\n[{\"é\": 1, \"rows\": [[7, {}]]},\n {\"text\": {\"text\": 5}}]";
        serde_json::from_str::<serde_json::Value>(json).unwrap();
        for (path, place) in [
            ("", (2, 1)),
            ("[0]", (2, 2)),
            ("[0].type", (2, 2)),
            ("[0].rows", (2, 19)),
            ("[0].rows[0][1].type", (2, 24)),
            ("[0].rows[0][0].type", (2, 21)),
            ("[1].text.text", (3, 20)),
            ("[1].text.type", (3, 11)),
        ] {
            assert_eq!(of_part(json, path), place, "{path}");
        }
    }

    #[test]
    fn escapes_are_counted_as_they_are_written() {
        fn written_of(json: &str, length: usize) -> &str {
            &json[..written(json, length)]
        }
        assert_eq!(written_of(r"a\u00e9\ud83d\ude00\tb", 1), "a");
        assert_eq!(written_of(r"a\u00e9\ud83d\ude00\tb", 3), r"a\u00e9");
        assert_eq!(written_of(r"a\u00e9\ud83d\ude00\tb", 7), r"a\u00e9\ud83d\ude00");
        assert_eq!(written_of(r"a\u00e9\ud83d\ude00\tb", 8), r"a\u00e9\ud83d\ude00\t");
        assert_eq!(written_of("é", 9), "é");
    }
}
