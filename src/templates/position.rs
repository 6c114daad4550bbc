//! Places in a file: the line and the column of a byte, and the byte in the source of a TOML string
//! at which a byte of its value is written.

pub(super) use crate::domain::message::render::line_and_column;

/// The byte of this text at a line and a column; the end of the line if it is shorter.
pub(super) fn offset(text: &str, line: usize, column: usize) -> usize {
    let lines = text.split_inclusive('\n');
    let start: usize = lines.take(line.saturating_sub(1)).map(str::len).sum();
    let rest = text.get(start..).unwrap_or_default();
    let line = rest.split('\n').next().unwrap_or_default();
    let place = line.char_indices().nth(column.saturating_sub(1));
    start + place.map_or(line.len(), |(at, _)| at)
}

/// The offset in a TOML string, as it is written with its quotes, of a byte of its value.
pub(super) fn in_toml(written: &str, offset: usize) -> usize {
    let literal = written.starts_with('\'');
    let long = written.starts_with("'''") || written.starts_with("\"\"\"");
    let mut at = if long { 3 } else { 1 };
    if long {
        // A line break after the opening quotes is not a part of the value.
        let rest = written.get(at..).unwrap_or_default();
        at += if rest.starts_with("\r\n") { 2 } else { usize::from(rest.starts_with('\n')) };
    }
    let mut value = 0;
    while let Some(rest) = written.get(at..).filter(|rest| !rest.is_empty()) {
        let (of_file, of_value) = step(rest, literal);
        if value + of_value > offset {
            break;
        }
        at += of_file;
        value += of_value;
    }
    at
}

/// The bytes of the next character in the file, and in the value.
fn step(rest: &str, literal: bool) -> (usize, usize) {
    if rest.starts_with("\r\n") {
        return (2, 1);
    }
    let mut characters = rest.chars();
    let first = characters.next().map_or(1, char::len_utf8);
    if literal || !rest.starts_with('\\') {
        return (first, first);
    }
    let code = |digits: usize| {
        let hex = rest.get(2..2 + digits).and_then(|hex| u32::from_str_radix(hex, 16).ok());
        (2 + digits, hex.and_then(char::from_u32).map_or(1, char::len_utf8))
    };
    match characters.next() {
        Some('u') => code(4),
        Some('U') => code(8),
        // A backslash at the end of a line removes the white space up to the next character.
        Some(' ' | '\t' | '\r' | '\n') => {
            let tail = rest.trim_start_matches('\\');
            (1 + tail.len() - tail.trim_start_matches([' ', '\t', '\r', '\n']).len(), 0)
        }
        _ => (2, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct File {
        it: toml::Spanned<String>,
    }

    /// Each character of a value is found where the file has it, whatever the quotes.
    #[test]
    fn a_byte_of_a_value_is_found_in_the_file() {
        for (source, of_value, of_file) in [
            ("it = 'a{{x'", "{{", "{{"),
            ("# ü\nit = \"\\u00fc\\\"\\U0001F600\\n{{\"", "{{", "{{"),
            ("it = '''\na\nü {{ '' b'''", "{{", "{{"),
            ("it = '''\r\na\r\nü {{\r\nb'''", "{{", "{{"),
            ("it = '''a\n{{'''", "{{", "{{"),
            ("it = \"\"\"\nfirst \\\n \n {{ \\t \"\" x\"\"\"", "{{", "{{"),
            ("it = \"\"\"a\\\\\n\\r\n{{\"\"\"", "{{", "{{"),
            ("it = 'abc'", "c", "c"),
            ("it = \"\\t\"", "\t", "\\t"),
        ] {
            let file: File = toml::from_str(source).unwrap();
            let at = file.it.get_ref().find(of_value).unwrap();
            let written = &source[file.it.span()];
            let found = in_toml(written, at);
            assert!(written[found..].starts_with(of_file), "{source}: {}", &written[found..]);
            assert!(in_toml(written, 1000) <= written.len());
        }
    }

    #[test]
    fn lines_and_columns_count_characters_from_1() {
        let text = "a\nü{{\n";
        for (offset_of, place) in [(0, (1, 1)), (2, (2, 1)), (4, (2, 2)), (5, (2, 3))] {
            assert_eq!(line_and_column(text, offset_of), place);
            assert_eq!(offset(text, place.0, place.1), offset_of);
        }
        assert_eq!((offset(text, 1, 9), offset(text, 9, 9)), (1, text.len()));
        // Within a character, and beyond the end: the end of the text.
        assert_eq!((line_and_column(text, 3), line_and_column(text, 99)), ((3, 1), (3, 1)));
    }
}
