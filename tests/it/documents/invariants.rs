//! The table of guards names files and tests. Both must exist; otherwise no one can break a guard
//! again and see its test fail.

use std::collections::BTreeSet;
use std::path::Path;

use super::{read, root, sources};

/// Folders of the files and modules that the table names.
const FOLDERS: [&str; 5] = ["", "src", "tests", "tests/it", "migrations/src"];

/// The texts in backquotes in one column of the table.
fn named(page: &str, column: usize) -> Vec<&str> {
    let rows = page.lines().filter(|line| line.starts_with("| ") && line.ends_with(" |"));
    let cells = rows.filter_map(|row| row.trim_matches('|').split(" | ").nth(column));
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn every_file_with_a_guard_is_there() {
    let page = read("docs/invariants.md");
    let files: Vec<_> = named(&page, 1)
        .into_iter()
        .filter(|it| Path::new(it).extension().is_some_and(|end| end == "rs"))
        .collect();
    assert!(files.len() > 100, "{}", files.len());
    for file in files {
        let there = FOLDERS.iter().any(|folder| root().join(folder).join(file).is_file());
        assert!(there, "{file} is not there");
    }
}

#[test]
fn every_test_that_was_seen_to_fail_is_there() {
    let mut functions = BTreeSet::new();
    for folder in ["src", "tests", "migrations/src"] {
        for file in sources(&root().join(folder)) {
            let text = std::fs::read_to_string(file).unwrap();
            let names = text.split("fn ").skip(1).filter_map(|rest| rest.split_once('('));
            functions.extend(names.map(|(name, _)| name.to_owned()));
        }
    }
    let is_module = |name: &str| {
        FOLDERS.iter().any(|folder| {
            let path = root().join(folder).join(name.replace("::", "/"));
            path.with_extension("rs").is_file() || path.join("mod.rs").is_file()
        })
    };
    let page = read("docs/invariants.md");
    let of_name = |c: char| c == '_' || c == ':' || c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_name = |it: &&str| it.chars().all(of_name);
    let tests: Vec<_> = named(&page, 3).into_iter().filter(is_name).collect();
    assert!(tests.len() > 150, "{}", tests.len());
    for test in tests {
        let last = test.rsplit("::").next().unwrap();
        assert!(functions.contains(last) || is_module(test), "{test} is not there");
    }
}
