//! The number of public methods of each type in the store. A caller reads the list of a handle to
//! find a method, so a long list is split into handles (`src/store/handles.rs`).
//!
//! This reads the layout that rustfmt gives to source: a block of methods begins and ends without
//! indentation, and each method begins four columns in.

use std::collections::BTreeMap;

use super::sources;

/// Most public methods of one type.
const MAX_METHODS: usize = 30;

#[test]
fn handles_of_the_store_stay_short() {
    let files = sources(&["src/store"]);
    let counts = counts(files.iter().map(|(_, source)| source.as_str()));
    for handle in ["Store", "Outbox", "Tenancy", "MemberLists"] {
        assert!(counts.contains_key(handle), "{handle} was not found");
    }
    let long = long(&counts);
    assert!(
        long.is_empty(),
        "more than {MAX_METHODS} public methods, split into handles:\n{}",
        long.join("\n")
    );
}

fn long(counts: &BTreeMap<&str, usize>) -> Vec<String> {
    let long = counts.iter().filter(|(_, count)| **count > MAX_METHODS);
    long.map(|(name, count)| format!("{name}: {count}")).collect()
}

/// The public methods of each type that has any, in all of these files together.
fn counts<'a>(files: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, usize> {
    let mut counts = BTreeMap::new();
    for source in files {
        let mut of = None;
        for line in source.lines() {
            if line.starts_with("impl") {
                of = name(line);
            } else if line.starts_with('}') {
                of = None;
            } else if let Some(of) = of.filter(|_| is_public_method(line)) {
                *counts.entry(of).or_default() += 1;
            }
        }
    }
    counts
}

/// The type of a block that begins on this line: `impl<'a> Audit<'a> {`. `None` for a trait's.
fn name(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("impl")?;
    let rest = match rest.strip_prefix('<') {
        Some(generic) => generic.split_once("> ")?.1,
        None => rest.trim_start(),
    };
    let name = rest.split([' ', '<']).next().filter(|name| !name.is_empty())?;
    (!rest.contains(" for ")).then_some(name)
}

fn is_public_method(line: &str) -> bool {
    let words = line.strip_prefix("    pub ").and_then(|rest| rest.split_once("fn "));
    words.is_some_and(|(before, _)| {
        before.split_whitespace().all(|word| ["const", "async"].contains(&word))
    })
}

#[test]
fn public_methods_are_counted_over_all_blocks_and_files() {
    let first = "impl Store {\n    pub fn a(&self) {}\n\n    /// pub fn\n    pub async fn b() {\n\
                 \x20   }\n\n    pub(crate) fn c() {}\n    fn d() {\n        pub fn e() {}\n\
                 \x20   }\n}\n\npub fn f() {}\n";
    let second = "impl<'a> Audit<'a> {\n    pub const fn a(self) {}\n}\nimpl Audit<'_> {\n    \
                  pub fn b(self) {}\n}\nimpl Debug for Audit<'_> {\n    pub fn c() {}\n}\n\
                  impl Store {\n    pub fn g() {}\n}\n";
    let counts = counts([first, second].into_iter());
    assert_eq!(counts, BTreeMap::from([("Audit", 2), ("Store", 3)]));
    assert!(long(&counts).is_empty());
    assert_eq!(long(&BTreeMap::from([("Store", MAX_METHODS + 1)])), ["Store: 31"]);
}
