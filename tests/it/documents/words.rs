//! Words that documents and comments must not use, and the length of their lines. The list of words
//! with the reasons is in CONTRIBUTING.md.

use super::markdown::{Kind, Line, apart, below, comments, documents, lines};

/// Folders whose comments follow the list.
const CODE: &[&str] = &["proto", "src", "migrations", "tests", "benches"];

/// A refused phrase, in which `^` stands for the beginning of a sentence that is not a question;
/// then neighbouring words that make it right; then a better phrase.
struct Phrase(&'static str, &'static [&'static str], &'static str);

const fn phrase(words: &'static str, better: &'static str) -> Phrase {
    Phrase(words, &[], better)
}

const PHRASES: &[Phrase] = &[
    phrase("^ who", "a noun, such as: the caller"),
    phrase("^ what", "a noun, such as: the message"),
    phrase("whom", "a noun"),
    phrase("whoever", "a noun"),
    phrase("by who", "a noun"),
    phrase("for who", "a noun"),
    phrase("of who", "a noun"),
    phrase("to who", "a noun"),
    phrase("from who", "a noun"),
    phrase("than who", "a noun"),
    phrase("by what", "a noun"),
    phrase("for what", "a noun"),
    phrase("of what", "a noun"),
    phrase("and what", "a noun"),
    phrase("than what", "a noun"),
    Phrase("alone", &["left", "leave", "leaves"], "only"),
    Phrase(
        "else",
        &["anything", "everything", "nothing", "something", "anyone", "everyone", "or"],
        "otherwise",
    ),
    Phrase("told", &["to"], "reported, or the verb for it"),
    phrase("mend", "fix"),
    phrase("mends", "fixes"),
    phrase("mended", "fixed"),
    phrase("mending", "fixing"),
    phrase("reckon", "compute"),
    phrase("reckons", "computes"),
    phrase("reckoned", "computed"),
    phrase("reckoning", "computing"),
    phrase("somebody", "a person, a caller"),
    phrase("nobody", "no person, no caller"),
    phrase("everybody", "all people, all callers"),
    phrase("anyhow", "in any case"),
    phrase("aloud", "with a message"),
    phrase("look-up", "lookup"),
    phrase("look-ups", "lookups"),
    phrase("as it comes", "by default"),
    phrase("in front of your eyes", "visible"),
    phrase("the process turns", "the process is alive"),
];

/// Lines whose words come from other places: from comments in `src`, or from rows that change
/// together with the tests that they name.
fn is_taken_over(file: &str, line: &Line<'_>) -> bool {
    let tables = ["docs/access.md", "docs/reasons.md", "docs/invariants.md"];
    let row = line.kind == Kind::Table;
    file == "docs/settings.md"
        || row && (tables.contains(&file) || line.marker.contains("words to avoid"))
}

#[test]
fn documents_use_plain_words() {
    let mut faults = Vec::new();
    let code = below(CODE, &["rs", "proto"]);
    assert!(code.len() > 3, "the code was not found");
    let code = code.into_iter().map(|(file, source)| (file, comments(&source)));
    for (file, page) in documents().into_iter().chain(code) {
        let lines: Vec<Line<'_>> =
            lines(&page).into_iter().filter(|line| !is_taken_over(&file, line)).collect();
        for (number, phrase) in paragraphs(&lines).iter().flat_map(|it| found(it)) {
            let words = phrase.0.trim_start_matches("^ ");
            faults.push(format!("{file}:{number}: \"{words}\"; rather: {}", phrase.2));
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// The words, with the numbers of their lines, of a paragraph, an item, a heading or a cell.
type Paragraph = Vec<(usize, String)>;

fn paragraphs(lines: &[Line<'_>]) -> Vec<Paragraph> {
    let mut all: Vec<Paragraph> = Vec::new();
    let mut open = false;
    for line in lines {
        let (prose, _) = apart(line.text);
        let words = |text: &str| -> Paragraph {
            text.split_whitespace().map(|word| (line.number, word.to_owned())).collect()
        };
        match line.kind {
            Kind::Prose if open && !is_item(line.text) => {
                if let Some(last) = all.last_mut() {
                    last.extend(words(&prose));
                }
            }
            Kind::Prose | Kind::Heading => all.push(words(&prose)),
            Kind::Table => all.extend(prose.split('|').map(words)),
            Kind::Code | Kind::Aside | Kind::Blank => {}
        }
        open = line.kind == Kind::Prose;
    }
    all
}

fn is_item(line: &str) -> bool {
    let mark = line.split_whitespace().next().unwrap_or_default();
    mark == "-" || mark.strip_suffix('.').is_some_and(|it| it.parse::<u32>().is_ok())
}

/// The refused phrases of a paragraph, with their lines.
fn found(paragraph: &[(usize, String)]) -> Vec<(usize, &'static Phrase)> {
    let mut words: Vec<(usize, String)> = Vec::new();
    let mut begins = true;
    for (at, (number, word)) in paragraph.iter().enumerate() {
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
        let code = bare.is_empty();
        if !code {
            if begins && !asks(&paragraph[at..]) {
                words.push((*number, "^".to_owned()));
            }
            words.push((*number, bare));
        }
        begins = is_mark(word) || is_end(word) || (code && begins);
    }
    let mut faults = Vec::new();
    for phrase in PHRASES {
        let parts: Vec<&str> = phrase.0.split(' ').collect();
        for (at, window) in words.windows(parts.len()).enumerate() {
            let here = window.iter().zip(&parts).all(|((_, word), part)| word == part);
            let before = at.checked_sub(1).map_or("", |at| words[at].1.as_str());
            let after = words.get(at + parts.len()).map_or("", |(_, word)| word.as_str());
            if here && !phrase.1.contains(&before) && !phrase.1.contains(&after) {
                faults.extend(window.last().map(|(number, _)| (*number, phrase)));
            }
        }
    }
    faults
}

/// The mark of a list or of a heading, before the first word.
fn is_mark(word: &str) -> bool {
    word == "-" || word.chars().all(|c| c == '#')
}

/// The last word of a sentence, or of a part before a colon.
fn is_end(word: &str) -> bool {
    word.trim_end_matches(['*', '_', '"', ')']).ends_with(['.', '?', ':'])
}

/// Whether the sentence that begins here is a question.
fn asks(rest: &[(usize, String)]) -> bool {
    rest.iter().find(|(_, word)| is_end(word)).is_some_and(|(_, word)| word.contains('?'))
}

#[test]
fn words_are_found_where_they_are_wrong_only() {
    let faults = |text: &str| {
        let lines = lines(text);
        paragraphs(&lines).iter().map(|it| found(it).len()).sum::<usize>()
    };
    assert_eq!(faults("Who is killed\nalone is told."), 3);
    assert_eq!(faults("- **What waits.** It is. Who waits."), 2);
    assert_eq!(faults("Left alone, or else nothing else. A caller, who is told to wait."), 0);
    assert_eq!(faults("What is it? `alone`. Who is\nthat?"), 0);
    assert_eq!(faults("| a | what is |\n"), 1);
}

/// Longest line: in characters in documents; in bytes in source, so that `…` counts as three.
const COLUMNS: usize = 100;

#[test]
fn lines_are_short() {
    let mut faults = Vec::new();
    for (file, page) in documents() {
        for line in lines(&page) {
            let columns = line.text.chars().count();
            // Rows and addresses cannot be broken; diagrams and output must not be.
            let whole = matches!(line.kind, Kind::Table | Kind::Aside)
                || line.marker.contains("<!-- prints -->")
                || line.marker.ends_with("mermaid")
                || line.marker.ends_with("toml") && line.text.contains("://");
            if columns > COLUMNS && !whole {
                faults.push(format!("{file}:{}: {columns} columns", line.number));
            }
        }
    }
    // rustfmt does not break comments and strings.
    for (file, source) in below(CODE, &["proto", "rs"]) {
        for (index, line) in source.lines().enumerate() {
            let columns = line.len();
            // buf format puts each method on one line.
            let whole = line.trim_start().starts_with("rpc ");
            if columns > COLUMNS && !whole {
                faults.push(format!("{file}:{}: {columns} columns", index + 1));
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}
