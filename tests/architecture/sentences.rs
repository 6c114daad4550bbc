//! Sentences in string literals. If a literal is continued on a second line in the wrong way, it
//! keeps the indentation of that line, and readers see a gap.

use super::sources;

#[test]
fn sentences_have_no_gaps() {
    let faults: Vec<String> = sources(&["src"])
        .into_iter()
        .flat_map(|(file, source)| {
            let lines: Vec<usize> = gaps(&source).collect();
            lines.into_iter().map(move |line| format!("{file}:{line}"))
        })
        .collect();
    assert!(faults.is_empty(), "several spaces between two words:\n{}", faults.join("\n"));
}

/// The lines, from 1, with a literal that has three spaces or more between two words.
fn gaps(source: &str) -> impl Iterator<Item = usize> + '_ {
    source.lines().enumerate().filter_map(|(at, line)| {
        let code = !line.trim_start().starts_with("//");
        let gap = line.split('"').skip(1).step_by(2).any(has_gap);
        (code && gap).then_some(at + 1)
    })
}

fn has_gap(text: &str) -> bool {
    text.trim().split("   ").filter(|part| part.contains(char::is_alphanumeric)).count() > 1
}

#[test]
fn a_gap_is_found() {
    let source = "let a = \"one two\";\nlet b = \"one,     two\";\n// \"one     two\"\n";
    assert_eq!(gaps(source).collect::<Vec<_>>(), [2]);
}
