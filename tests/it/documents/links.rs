//! Every link and every reference has a target: links of documents, the files and tests that they
//! name, and the documents and invariants that comments in the code name.

use std::collections::BTreeSet;
use std::path::Path;

use super::markdown::{Kind, anchors, apart, below, documents, lines};
use super::{read, root};

/// Folders that may contain a file that a document names.
const FOLDERS: [&str; 7] =
    ["", "src", "tests", "tests/it", "docs", "proto/herald/v1", "helm/herald"];

/// Folders whose comments are read.
const CODE: [&str; 5] = ["src", "tests", "benches", "migrations", "proto"];

#[test]
fn every_link_of_a_document_leads_somewhere() {
    let mut faults = Vec::new();
    for (file, page) in documents() {
        for (number, target) in links(&page) {
            if let Some(fault) = fault(&file, &page, &target) {
                faults.push(format!("{file}:{number}: {target}: {fault}"));
            }
        }
        let (defined, used) = labels(&page);
        for label in used.symmetric_difference(&defined).filter(|_| !defined.is_empty()) {
            faults.push(format!("{file}: [{label}] is not both defined and used"));
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// `[text](target)`, also if it continues on the next line.
fn links(page: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    for line in lines(page).iter().filter(|line| line.kind != Kind::Code) {
        let (prose, _) = apart(line.text);
        for (at, _) in prose.match_indices("](") {
            let target = prose[at + 2..].split(')').next().unwrap_or_default();
            links.push((line.number, target.to_owned()));
        }
    }
    links
}

fn fault(file: &str, page: &str, target: &str) -> Option<&'static str> {
    if target.contains("://") {
        return (!target.starts_with("https://")).then_some("is no https");
    }
    let (path, anchor) = target.split_once('#').map_or((target, None), |(a, b)| (a, Some(b)));
    let there = if path.is_empty() {
        page.to_owned()
    } else {
        let path = root().join(file).parent()?.join(path);
        // A picture is no text.
        if path.is_dir() || (anchor.is_none() && path.is_file()) {
            return None;
        }
        match std::fs::read_to_string(path) {
            Ok(page) => page,
            Err(_) => return Some("there is no such file"),
        }
    };
    let known = anchor.is_none_or(|anchor| anchors(&there).iter().any(|it| it == anchor));
    (!known).then_some("there is no such heading")
}

/// The labels that a page defines (`[label]: target`), and the labels that it uses (`[label]`).
fn labels(page: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut defined, mut text) = (BTreeSet::new(), String::new());
    for line in lines(page) {
        match line.kind {
            Kind::Aside => {
                let label = line.text.strip_prefix('[').and_then(|it| it.split_once("]: "));
                defined.extend(label.map(|(label, _)| label.to_owned()));
            }
            Kind::Prose | Kind::Table | Kind::Heading => {
                text.push_str(&apart(line.text).0);
                text.push('\n');
            }
            Kind::Code | Kind::Blank => {}
        }
    }
    let mut used = BTreeSet::new();
    for (at, _) in text.match_indices(']').filter(|(at, _)| !text[at + 1..].starts_with('(')) {
        if let Some((_, label)) = text[..at].rsplit_once('[').filter(|(_, it)| !it.contains(']')) {
            used.insert(label.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    (defined, used)
}

#[test]
fn every_file_and_test_that_a_document_names_exists() {
    let code: String = below(&CODE, &["rs", "proto"]).into_iter().map(|(_, text)| text).collect();
    let mut faults = Vec::new();
    for (file, page) in documents() {
        for line in lines(&page).iter().filter(|line| line.kind != Kind::Code) {
            for name in apart(line.text).1 {
                let missing = if is_file_name(name) {
                    !FOLDERS.iter().any(|folder| root().join(folder).join(name).exists())
                } else {
                    is_test_name(name)
                        && !code.contains(name.rsplit("::").next().unwrap_or_default())
                };
                if missing {
                    faults.push(format!("{file}:{}: there is no `{name}`", line.number));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

fn is_file_name(name: &str) -> bool {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "_-/.".contains(c));
    plain && name.contains('/') && Path::new(name).extension().is_some_and(|it| it == "rs")
}

/// Whether a path ends in a long name, as tests have: `front::order::a_reply_waits_for_its_root`.
fn is_test_name(name: &str) -> bool {
    let last = name.rsplit("::").next().unwrap_or_default();
    name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_:".contains(c))
        && last.matches('_').count() >= 4
        && !last.starts_with("herald_")
}

#[test]
fn comments_cite_what_is_here() {
    let invariants = anchors(&read("docs/invariants.md"));
    let mut faults = Vec::new();
    for (file, text) in below(&CODE, &["rs", "proto"]) {
        for (number, line) in text.lines().enumerate() {
            let Some((_, comment)) = line.split_once("//") else { continue };
            for word in comment.split(|c: char| !c.is_ascii_alphanumeric() && !"_-/.".contains(c)) {
                let word = word.trim_end_matches('.');
                let known = if Path::new(word).extension().is_some_and(|it| it == "md") {
                    ["", "docs"].iter().any(|folder| root().join(folder).join(word).exists())
                } else if let Some(number) = invariant(word) {
                    invariants.iter().any(|it| it.starts_with(&format!("i{number}-")))
                } else {
                    true
                };
                if !known {
                    faults.push(format!("{file}:{}: there is no {word}", number + 1));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// The number of `I7`.
fn invariant(word: &str) -> Option<u32> {
    word.strip_prefix('I')?.parse().ok()
}

#[test]
fn every_decision_has_the_form_and_is_listed() {
    const SECTIONS: [&str; 5] = ["Context", "Decision", "Reasons", "Alternatives", "Consequences"];
    let index = read("docs/decisions/README.md");
    let mut faults = Vec::new();
    for (file, page) in documents() {
        let Some(name) = file.strip_prefix("docs/decisions/").filter(|it| *it != "README.md")
        else {
            continue;
        };
        let number = name.split('-').next().unwrap_or_default();
        let title = page.lines().next().unwrap_or_default();
        let Some(title) = title.strip_prefix(&format!("# {number}: ")) else {
            faults.push(format!("{file}:1: the title does not begin with its number"));
            continue;
        };
        if !index.contains(&format!("| [{number}]({name}) | {title} |")) {
            faults.push(format!("{file}: docs/decisions/README.md does not list it"));
        }
        let sections: Vec<&str> =
            page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        let mut known = SECTIONS.iter();
        let ordered = sections.iter().all(|section| known.any(|it| it == section));
        let needed = ["Context", "Decision", "Consequences"];
        if !ordered || !needed.iter().all(|it| sections.contains(it)) {
            faults.push(format!("{file}: its sections are {sections:?}"));
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn a_link_into_the_void_is_found() {
    let page = "# A\n[a](#a) [b](#b)\n";
    let faults: Vec<bool> =
        links(page).iter().map(|(_, to)| fault("README.md", page, to).is_some()).collect();
    assert_eq!(faults, [false, true]);
    assert!(fault("docs/slack.md", page, "../README.md").is_none());
    assert!(fault("docs/slack.md", page, "README.md").is_some());
    assert!(is_test_name("a::b_c_d_e_f") && is_file_name("slack/chat.rs"));
    assert_eq!(
        labels("[a]: b\nSee [[a\n], [c]] and [d](e)\n").1,
        ["a", "c"].map(String::from).into()
    );
}
