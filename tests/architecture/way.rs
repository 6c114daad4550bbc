//! The way of a recipient from the RPC to Slack, as `docs/ARCHITECTURE.md` lists it: each step is a
//! function that exists, the step named in the table calls it, and no file is entered twice.
//!
//! A call is found as text: the name with a parenthesis, outside of comments. Steps that are
//! missing from the list are not found.

use std::collections::BTreeSet;

use super::{read, root};

/// Most files on the way.
const MAX_FILES: usize = 15;

const HEADING: &str = "### A recipient's way, file by file";

/// The callers outside the list: the first step's, and the one after the commit.
const OUTSIDE: [&str; 2] = ["gRPC", "the database"];

/// A row of the list.
struct Step<'a> {
    number: usize,
    /// Below `src`.
    file: &'a str,
    function: &'a str,
    /// The number of the calling step, or one of [`OUTSIDE`].
    caller: &'a str,
}

#[test]
fn the_listed_way_of_a_recipient_is_short_and_true() {
    let page = read(&root().join("docs/ARCHITECTURE.md"));
    let faults = faults(&page, |file| read(&root().join("src").join(file)));
    assert!(faults.is_empty(), "docs/ARCHITECTURE.md, {HEADING}:\n{}", faults.join("\n"));
}

fn faults(page: &str, source: impl Fn(&str) -> String) -> Vec<String> {
    let steps = steps(page);
    let mut faults = Vec::new();
    if steps.len() > MAX_FILES {
        faults.push(format!("{} files, more than {MAX_FILES}", steps.len()));
    }
    let outside = steps.iter().map(|step| step.caller).filter(|caller| OUTSIDE.contains(caller));
    if outside.collect::<Vec<_>>() != OUTSIDE {
        faults.push(format!("the callers outside the list are not {}", OUTSIDE.join(" and ")));
    }
    let mut entered = BTreeSet::new();
    for (at, step) in steps.iter().enumerate() {
        let Step { number, file, function, caller } = *step;
        if number != at + 1 {
            faults.push(format!("step {number} has the place {}", at + 1));
        }
        if !entered.insert(file) {
            faults.push(format!("{file} is entered twice"));
        }
        if !defines(&source(file), function) {
            faults.push(format!("{file} has no function `{function}`"));
        }
        if OUTSIDE.contains(&caller) {
            continue;
        }
        let calling = caller.parse::<usize>().ok().filter(|number| (1..=at).contains(number));
        match calling.map(|number| steps[number - 1].file) {
            Some(calling) if calls(&source(calling), function) => {}
            Some(calling) => faults.push(format!("{calling} does not call `{function}`")),
            None => faults.push(format!("`{caller}`, which calls `{function}`, is no step before")),
        }
    }
    faults
}

/// The rows of the list.
fn steps(page: &str) -> Vec<Step<'_>> {
    let part = page.split_once(HEADING).map_or("", |(_, part)| part);
    let part = part.split("\n#").next().unwrap_or_default();
    part.lines().filter_map(step).collect()
}

fn step(row: &str) -> Option<Step<'_>> {
    let cells = row.strip_prefix('|')?.split('|');
    let mut cells = cells.map(|cell| cell.trim().trim_matches('`'));
    let number = cells.next()?.parse().ok()?;
    Some(Step { number, file: cells.next()?, function: cells.next()?, caller: cells.next()? })
}

fn defines(source: &str, function: &str) -> bool {
    ['(', '<'].iter().any(|after| source.contains(&format!("fn {function}{after}")))
}

fn calls(source: &str, function: &str) -> bool {
    let call = format!("{function}(");
    let is_call = |before: &str| {
        let is_longer = before.ends_with(|c: char| c == '_' || c.is_alphanumeric());
        !is_longer && !before.ends_with("fn ")
    };
    let mut code = source.lines().filter_map(|line| line.split("//").next());
    code.any(|line| line.match_indices(&call).any(|(at, _)| is_call(line.split_at(at).0)))
}

#[test]
fn a_false_way_is_found() {
    let source = |file: &str| {
        let first =
            "pub async fn run(&self) {\n    self.ask(1); // answer(2)\n    other::tell();\n";
        let second = "fn ask<'a>(it: &'a u8) {}\nfn tell() { retell(); }\n";
        if file == "a.rs" { first.to_owned() } else { second.to_owned() }
    };
    let rows = |rows: &[&str]| {
        let table = format!("| # | file | entered by | called by step |\n{}", rows.join("\n"));
        faults(&format!("# A\n| 9 | `x` | `y` | 1 |\n{HEADING}\n\n{table}\n## B\n| 7 |"), source)
    };
    let none: [String; 0] = [];
    let (first, next) = ("| 1 | `a.rs` | `run` | gRPC | a |", "| 2 | `b.rs` | `ask` | 1 | b |");
    let after = "| 3 | `c.rs` | `tell` | the database | c |";
    assert_eq!(rows(&[first, next, after]), none);
    for (row, fault) in [
        ("| 4 | `d.rs` | `tell` | 1 |", None),
        ("| 5 | `d.rs` | `tell` | 1 |", Some("step 5 has the place 4")),
        ("| 4 | `b.rs` | `tell` | 1 |", Some("b.rs is entered twice")),
        ("| 4 | `d.rs` | `run` | 1 |", Some("d.rs has no function `run`")),
        ("| 4 | `d.rs` | `tell` | 2 |", Some("b.rs does not call `tell`")),
        ("| 4 | `d.rs` | `tell` | 4 |", Some("`4`, which calls `tell`, is no step before")),
    ] {
        let found = rows(&[first, next, after, row]);
        assert_eq!(found.first().map(String::as_str), fault, "{row}");
    }
    assert_eq!(
        rows(&[first, next]),
        ["the callers outside the list are not gRPC and the database"]
    );
    assert!(rows(&[]).len() == 1, "a page without the list");
    assert!(!calls("// answer(2)\nfn answer() { reanswer(); }", "answer"));
}
