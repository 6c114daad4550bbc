//! One name, one type: no two files declare types or traits of the same name that others can see.
//!
//! The sandbox is a program of its own that plays Slack, so its names are compared with each other
//! only. Types that a macro declares are not seen.

use std::collections::{BTreeMap, BTreeSet};

use super::scan::scan;
use super::{module_of, sources};

/// Names that several files may declare, and the reason.
const SHARED: &[(&str, &str)] = &[
    ("Config", "the settings of one module, written with its name, as in `slack::Config`"),
    ("ConfigError", "the fault in the settings of one module, written with its name"),
    ("Error", "the errors of one module, written with its name, as in `slack::Error`"),
    ("Model", "SeaORM's derive requires this name in the module of each entity"),
    ("Relation", "SeaORM's derive requires this name in the module of each entity"),
    (
        "Settings",
        "of the process in `config`, of a tenant in `domain`, as in the settings' file and API",
    ),
];

#[test]
fn a_name_stands_for_one_type() {
    let files = sources(&["src"]);
    let (sandbox, product): (Vec<_>, Vec<_>) =
        files.into_iter().partition(|(file, _)| file.starts_with("src/sandbox/"));
    assert!(!sandbox.is_empty() && !product.is_empty(), "the sources were not found");
    let (product, sandbox) = (repeated(&product), repeated(&sandbox));
    let shared: BTreeSet<&str> = SHARED.iter().map(|(name, _)| *name).collect();
    let unused = shared.iter().filter(|name| !product.contains_key(**name));
    let unused = unused.map(|name| format!("`{name}` is listed, but declared once at most"));
    let others = product.iter().filter(|(name, _)| !shared.contains(name.as_str()));
    let faults: Vec<String> = others
        .chain(&sandbox)
        .map(|(name, files)| format!("`{name}` is declared in {}", files.join(" and ")))
        .chain(unused)
        .collect();
    assert!(faults.is_empty(), "name each after its subject:\n{}", faults.join("\n"));
}

/// The names that several of these files declare, with the files.
fn repeated(files: &[(String, String)]) -> BTreeMap<String, Vec<String>> {
    let scans: Vec<_> = files
        .iter()
        .filter_map(|(file, source)| {
            let module = module_of(file);
            // `modules_know_only_what_they_may` reports a file that is not Rust.
            scan(source, &module).ok().map(|scan| (file, module, scan))
        })
        .collect();
    let tests: Vec<&Vec<String>> =
        scans.iter().flat_map(|(_, _, scan)| &scan.test_modules).collect();
    let mut declared: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (file, module, scan) in &scans {
        if !tests.iter().any(|test| module.starts_with(test)) {
            for name in &scan.types {
                declared.entry(name.clone()).or_default().push((*file).clone());
            }
        }
    }
    declared.retain(|_, files| files.len() > 1);
    declared
}

#[test]
fn a_name_of_two_types_is_found() {
    let found = |files: &[(&str, &str)]| {
        let files: Vec<_> =
            files.iter().map(|(file, source)| ((*file).to_owned(), (*source).to_owned())).collect();
        repeated(&files).into_keys().collect::<Vec<_>>()
    };
    let none: [String; 0] = [];
    let (one, other) = ("src/app/a.rs", "src/app/b.rs");
    assert_eq!(found(&[(one, "pub struct A;"), (other, "pub(super) enum A { B }")]), ["A"]);
    assert_eq!(found(&[(one, "pub trait A {}"), (other, "mod c { pub type A = u8; }")]), ["A"]);
    assert_eq!(found(&[(one, "pub struct A;"), (other, "struct A; fn a() { enum A {} }")]), none);
    assert_eq!(
        found(&[(one, "pub struct A;"), (other, "pub use super::a::A; pub fn B() {}")]),
        none
    );
    let (room, tests) = ("src/app/mod.rs", "src/app/tests.rs");
    let of_test = "#[cfg(test)] mod tests; #[cfg(test)] mod more { pub struct A; }";
    assert_eq!(found(&[(one, "pub struct A;"), (room, of_test), (tests, "pub struct A;")]), none);
}
