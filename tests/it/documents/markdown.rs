//! Markdown for the tests of documents: line by line, with the kind of each line.

use std::path::Path;

use super::root;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Prose,
    Heading,
    Table,
    Code,
    /// The target of a link, or a comment.
    Aside,
    Blank,
}

pub(super) struct Line<'a> {
    pub(super) number: usize,
    pub(super) text: &'a str,
    pub(super) kind: Kind,
    /// For code, the language and the comment before it; for a table, the comment before it.
    pub(super) marker: String,
}

pub(super) fn lines(page: &str) -> Vec<Line<'_>> {
    let (mut lines, mut code, mut comment, mut marker) = (Vec::new(), false, "", String::new());
    for (index, text) in page.lines().enumerate() {
        let trimmed = text.trim_start();
        let fence = trimmed.starts_with("```");
        let kind = if fence || code {
            Kind::Code
        } else if trimmed.is_empty() {
            Kind::Blank
        } else if trimmed.starts_with("<!--") || is_definition(trimmed) {
            Kind::Aside
        } else if trimmed.starts_with('|') {
            Kind::Table
        } else if trimmed.starts_with('#') {
            Kind::Heading
        } else {
            Kind::Prose
        };
        if fence && !code {
            marker = format!("{comment} {}", trimmed.trim_start_matches('`'));
        } else if kind == Kind::Table {
            comment.clone_into(&mut marker);
        }
        if trimmed.starts_with("<!--") {
            comment = trimmed;
        } else if matches!(kind, Kind::Prose | Kind::Heading | Kind::Blank) {
            comment = "";
        }
        code ^= fence;
        let marked = matches!(kind, Kind::Code | Kind::Table);
        let marker = if marked { marker.clone() } else { String::new() };
        lines.push(Line { number: index + 1, text, kind, marker });
    }
    lines
}

/// `[label]: target`
fn is_definition(line: &str) -> bool {
    line.starts_with('[') && line.contains("]: ")
}

/// The anchors that GitHub makes from a page's headings.
pub(super) fn anchors(page: &str) -> Vec<String> {
    let headings = lines(page).into_iter().filter(|line| line.kind == Kind::Heading);
    headings.map(|line| anchor(line.text.trim_start_matches('#').trim())).collect()
}

fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The text without inline code, and that code.
pub(super) fn apart(text: &str) -> (String, Vec<&str>) {
    let (mut prose, mut code) = (String::new(), Vec::new());
    for (index, part) in text.split('`').enumerate() {
        if index % 2 == 0 {
            prose.push_str(part);
        } else {
            prose.push('`');
            code.push(part);
        }
    }
    (prose, code)
}

/// The comments of a source file, each on its own line, to be read like a document.
pub(super) fn comments(source: &str) -> String {
    let comment = |line: &str| -> String {
        let text = line.trim_start().strip_prefix("//").unwrap_or_default();
        text.trim_start_matches(['/', '!']).trim_start().to_owned()
    };
    source.lines().map(comment).collect::<Vec<_>>().join("\n")
}

/// Every document, by its path below the root.
pub(super) fn documents() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            take(&path, &["md"], &mut found);
        }
    }
    found.extend(below(&["docs", "helm", "tests"], &["md"]));
    found.sort();
    assert!(found.len() > 30, "the documents were not found");
    found
}

/// Every file with one of these extensions in these folders.
pub(super) fn below(folders: &[&str], extensions: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for folder in folders {
        walk(&root().join(folder), extensions, &mut found);
    }
    found
}

fn walk(folder: &Path, extensions: &[&str], found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with("node_modules") {
            continue;
        }
        if path.is_dir() { walk(&path, extensions, found) } else { take(&path, extensions, found) }
    }
}

fn take(path: &Path, extensions: &[&str], found: &mut Vec<(String, String)>) {
    if path.extension().is_some_and(|of| extensions.iter().any(|it| of == *it)) {
        let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
        found.push((name, std::fs::read_to_string(path).unwrap()));
    }
}

#[test]
fn lines_have_their_kind() {
    use Kind::{Aside, Blank, Code, Heading, Prose, Table};
    let page = "# A `b`\n\nText\n<!-- run -->\n```sh\n# c\n```\n| a |\n[b]: c\n";
    let kinds: Vec<Kind> = lines(page).iter().map(|line| line.kind).collect();
    assert!(kinds == [Heading, Blank, Prose, Aside, Code, Code, Code, Table, Aside]);
    assert_eq!(lines(page)[5].marker, "<!-- run --> sh");
    assert_eq!(anchors(page), ["a-b"]);
    assert_eq!(comments("//! A.\nfn b() {}\n    /// C.\n"), "A.\n\nC.");
}
