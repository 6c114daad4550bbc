//! The length of functions: the lines from `fn` to the closing brace.
//!
//! This reads the layout that rustfmt gives to source. A function ends at the next line that has
//! the indentation of its first line and then only a closing brace.

use super::sources;

/// Longest function, in lines. Clippy has the same limit, but counts no comments and no signature.
const MAX_LINES: usize = 60;

#[test]
fn functions_stay_short() {
    let faults = |(file, source): (String, String)| -> Vec<String> {
        long(&source).iter().map(|fault| format!("{file}:{fault}")).collect()
    };
    let faults: Vec<String> = sources(&["src"]).into_iter().flat_map(faults).collect();
    assert!(
        faults.is_empty(),
        "longer than {MAX_LINES} lines, split so that each does one thing:\n{}",
        faults.join("\n")
    );
}

/// The functions of a file that are too long: line, name and length.
fn long(source: &str) -> Vec<String> {
    let lines: Vec<&str> = source.lines().collect();
    let fault = |(at, line): (usize, &&str)| {
        let (name, length) = (name(line)?, length(&lines[at..]));
        (length > MAX_LINES).then(|| format!("{}: `{name}`: {length} lines", at + 1))
    };
    lines.iter().enumerate().filter_map(fault).collect()
}

/// The name of the function that begins on this line, if one does.
fn name(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let before = before.trim_start();
    let words = match before.strip_prefix("pub") {
        Some(visibility) if visibility.starts_with('(') => visibility.split_once(')')?.1,
        Some(words) => words,
        None => before,
    };
    let is_function = words.split_whitespace().all(|word| ["const", "async"].contains(&word));
    after.split(['(', '<']).next().filter(|_| is_function)
}

/// The number of lines of the function that begins on the first of these.
fn length(lines: &[&str]) -> usize {
    let first = lines.first().copied().unwrap_or_default();
    let indentation = &first[..first.len() - first.trim_start().len()];
    let ends = |(at, line): &(usize, &&str)| match line.strip_prefix(indentation) {
        Some("}") => true,
        // On one line, or without a body.
        Some(line) if *at == 0 => line.ends_with('}') || line.ends_with(';'),
        Some(line) => line.starts_with(')') && line.ends_with(';'),
        None => false,
    };
    lines.iter().enumerate().find(ends).map_or(lines.len(), |(at, _)| at + 1)
}

#[test]
fn the_length_of_each_kind_of_function_is_known() {
    let body = "        1;\n".repeat(MAX_LINES - 1);
    for head in ["fn f() {", "pub(in crate::store) async fn f<T>(", "pub const fn f() {"] {
        let of =
            |body: &str| format!("impl S {{\n    {head}\n{body}    }}\n\n    fn g() {{}}\n}}\n");
        let found = format!("2: `f`: {} lines", MAX_LINES + 1);
        assert_eq!(long(&of(&body)), [found], "{head}");
        assert!(long(&of(&body["        1;\n".len()..])).is_empty(), "{head}");
    }
    let rest = "// a line\n".repeat(MAX_LINES);
    for short in
        ["fn f() {}", "fn f();", "fn f(\n    x: u8,\n);", "// fn f() {", "let f = \"fn f(\";"]
    {
        assert!(long(&format!("{short}\n{rest}")).is_empty(), "{short}");
    }
}
