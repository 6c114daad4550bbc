//! The shape of the crate, as a test: which module may import which, that no files import each
//! other in a circle or against the order that their module declares, where each outside crate may
//! be used, what `domain` must never touch, how long files, functions and the handles of the store
//! may grow, that a name stands for one type, that types name their parts, and that the way of a
//! recipient is as the documents list it.
//!
//! It reads source, not compiled code; `scan` describes the limits of that. To add a module, add
//! its row to `LAYERS`. To let a module use an outside crate, widen `OWNERS` and give the reason in
//! the commit.

#![expect(clippy::expect_used, reason = "in a test, a checkout that cannot be read is a panic")]

#[path = "architecture/circles.rs"]
mod circles;
#[path = "architecture/functions.rs"]
mod functions;
#[path = "architecture/handles.rs"]
mod handles;
#[path = "architecture/images.rs"]
mod images;
#[path = "architecture/imports.rs"]
mod imports;
#[path = "architecture/names.rs"]
mod names;
#[path = "architecture/order.rs"]
mod order;
#[path = "architecture/planted.rs"]
mod planted;
#[path = "architecture/scan.rs"]
mod scan;
#[path = "architecture/sentences.rs"]
mod sentences;
#[path = "architecture/shapes.rs"]
mod shapes;
#[path = "architecture/way.rs"]
mod way;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use scan::{Mention, Scan};

/// Longest source file, in lines.
const MAX_LINES: usize = 500;

/// Every module of the crate with the modules that it may import besides itself. Imports point
/// down; `slack` and `store` do not know each other, nor do `app` and `delivery`; `rpc` and `http`
/// do not know `store`.
const LAYERS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("message_page", &[]),
    ("telemetry", &[]),
    ("web", &[]),
    ("slack", &["domain", "telemetry", "web"]),
    ("store", &["domain", "telemetry", "web"]),
    ("tokens", &["domain", "telemetry", "web"]),
    ("workspace", &["domain", "telemetry", "slack", "store"]),
    ("directory", &["domain", "telemetry", "slack", "store", "workspace"]),
    ("channels", &["domain", "telemetry", "slack", "store", "workspace", "directory"]),
    ("keep", &["domain", "telemetry", "store", "workspace"]),
    ("doctor", &["domain", "telemetry", "web", "store", "workspace"]),
    ("app", &["domain", "telemetry", "slack", "store", "workspace", "directory"]),
    ("delivery", &["domain", "telemetry", "slack", "store", "workspace", "directory"]),
    ("listen", &["domain", "telemetry"]),
    (
        "rpc",
        &[
            "domain",
            "telemetry",
            "slack",
            "workspace",
            "directory",
            "app",
            "delivery",
            "listen",
            "tokens",
        ],
    ),
    (
        "http",
        &[
            "domain",
            "message_page",
            "telemetry",
            "slack",
            "workspace",
            "directory",
            "app",
            "delivery",
            "listen",
        ],
    ),
    (
        "config",
        &[
            "domain",
            "telemetry",
            "slack",
            "store",
            "workspace",
            "directory",
            "app",
            "channels",
            "doctor",
            "delivery",
            "listen",
            "tokens",
            "rpc",
            "http",
        ],
    ),
    (
        "server",
        &[
            "domain",
            "telemetry",
            "slack",
            "store",
            "workspace",
            "directory",
            "app",
            "channels",
            "keep",
            "doctor",
            "delivery",
            "listen",
            "tokens",
            "rpc",
            "http",
            "config",
        ],
    ),
    ("sandbox", &["domain", "message_page"]),
];

/// The top: these may import everything. Nothing below imports them, and only they import
/// `sandbox`.
const TOP: &[&str] = &["main", "lib", "demo", "keys", "check", "manifest", "templates", "people"];

/// Outside crates that only certain modules may use. Test code may use them anywhere.
const OWNERS: &[(&str, &[&str])] = &[
    ("sea_orm", &["store"]),
    ("sea_orm_migration", &["store"]),
    ("migrations", &["store"]),
    ("sqlx", &["store"]),
    ("prost", &["rpc", "server", "main", "demo"]),
    ("prost_types", &["rpc", "server", "main", "demo"]),
    ("tonic", &["rpc", "server", "main", "demo", "templates"]),
    ("tonic_health", &["rpc", "server", "main"]),
    ("tonic_prost", &["rpc"]),
    ("tonic_reflection", &["rpc", "server", "main"]),
    ("tonic_types", &["rpc", "templates"]),
    ("reqwest", &["slack", "sandbox", "store", "tokens", "web", "doctor"]),
    ("jsonwebtoken", &["tokens"]),
    ("ring", &["tokens"]),
    ("governor", &["listen"]),
    ("hyper", &["listen"]),
    ("hyper_util", &["listen"]),
    ("rlimit", &["listen"]),
    ("tokio_rustls", &["listen"]),
    ("webpki", &["listen"]),
    ("axum", &["http", "sandbox", "server"]),
    ("similar", &["templates"]),
    ("toml", &["templates"]),
    ("anyhow", &["main", "demo", "templates", "people"]),
];

/// Dependencies that `domain` may use: they only compute.
const PURE: &[&str] = &[
    "bytes",
    "hmac",
    "icu_normalizer",
    "jiff",
    "jmespath",
    "minijinja",
    "pulldown_cmark",
    "serde",
    "serde_json",
    "sha2",
    "subtle",
    "thiserror",
    "url",
    "uuid",
    "zeroize",
];

/// Items that `domain` may not reach in the crates that it may use: clocks, randomness and the
/// outside world.
const IMPURE: &[&str] = &[
    "std::env",
    "std::fs",
    "std::net",
    "std::os",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "jiff::Timestamp::now",
    "jiff::Zoned::now",
    "jiff::tz::TimeZone::system",
    "uuid::Uuid::new_v4",
    "uuid::Uuid::now_v7",
];

/// The part of `IMPURE` that the tests of `domain` may use.
const IMPURE_IN_TESTS: &[&str] = &["std::thread"];

#[test]
fn modules_know_only_what_they_may() {
    let files = sources(&["src"]);
    assert!(!files.is_empty(), "no source found: the test searches the wrong folder");
    let dependencies = dependencies(&read(&root().join("Cargo.toml")));
    assert!(dependencies.contains("tokio"), "the list of dependencies was not parsed");

    let faults = check(&files, &dependencies);
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn files_stay_short() {
    let long: Vec<String> = sources(&["src", "migrations", "tests", "benches", "build.rs"])
        .into_iter()
        .filter(|(_, source)| source.lines().count() > MAX_LINES)
        .map(|(file, source)| format!("{file}: {} lines", source.lines().count()))
        .collect();
    assert!(
        long.is_empty(),
        "longer than {MAX_LINES} lines, split by operation:\n{}",
        long.join("\n")
    );
}

/// A parsed file of the crate.
struct Source<'a> {
    /// Its path below the root.
    file: &'a str,
    module: Vec<String>,
    scan: Scan,
    /// Whether it is the file of a test module, or below one.
    is_test: bool,
}

/// All faults in these files (path below the root, and source), one sentence each.
fn check(files: &[(String, String)], dependencies: &BTreeSet<String>) -> Vec<String> {
    let mut sources = Vec::new();
    let mut faults = Vec::new();
    for (file, source) in files {
        let module = module_of(file);
        match scan::scan(source, &module) {
            Ok(scan) => sources.push(Source { file, module, scan, is_test: false }),
            Err(error) => faults.push(format!("{file}: not Rust: {error}")),
        }
    }
    let test_modules: Vec<Vec<String>> =
        sources.iter().flat_map(|source| source.scan.test_modules.clone()).collect();
    for source in &mut sources {
        source.is_test = test_modules.iter().any(|test| source.module.starts_with(test));
        let top = source.module.get(1).map_or("lib", String::as_str);
        for mention in &mut source.scan.mentions {
            mention.in_test |= source.is_test;
            let path = mention.path.join("::");
            let fault = match mention.path.split_first() {
                Some((first, rest)) if first == "crate" => import_fault(top, rest, mention.in_test),
                _ => crate_fault(top, mention, dependencies),
            };
            faults.extend(fault.map(|fault| format!("{}: `{path}`: {fault}", source.file)));
        }
    }
    let arrows = imports::arrows(&sources);
    let circles = circles::faults(&arrows);
    // A circle is against every order; it is reported once.
    if circles.is_empty() {
        faults.extend(order::faults(&sources, &arrows));
    }
    faults.extend(circles);
    faults
}

/// Why the module `from` may not name `crate::{path}`.
fn import_fault(from: &str, path: &[String], in_test: bool) -> Option<String> {
    let to = path.first().map(String::as_str)?;
    if from == to || TOP.contains(&from) {
        return None;
    }
    if to == "*" {
        return Some("a glob over the whole crate hides what is imported".to_owned());
    }
    let Some((_, allowed)) = LAYERS.iter().find(|(module, _)| *module == from) else {
        return Some(format!("`{from}` has no row in LAYERS"));
    };
    let tests_the_shell = to == "sandbox" && in_test && from != "domain";
    let is_item = to.starts_with(char::is_uppercase);
    if allowed.contains(&to) || tests_the_shell || is_item {
        return None;
    }
    Some(format!("`{from}` must not know `{to}`"))
}

/// Why the module `from` may not name this path of another crate.
fn crate_fault(from: &str, mention: &Mention, dependencies: &BTreeSet<String>) -> Option<String> {
    let name = mention.path.first()?;
    if from == "domain" {
        let reaches_any = |list: &[&str]| list.iter().any(|impure| reaches(&mention.path, impure));
        if reaches_any(IMPURE) && !(mention.in_test && reaches_any(IMPURE_IN_TESTS)) {
            return Some("`domain` is pure: pass it in".to_owned());
        }
        if dependencies.contains(name) && !PURE.contains(&name.as_str()) {
            return Some(format!("`domain` is pure: `{name}` is not among its crates"));
        }
        return None;
    }
    let (_, owners) = OWNERS.iter().find(|(owned, _)| owned == name)?;
    if mention.in_test || owners.contains(&from) {
        return None;
    }
    Some(format!("`{name}` belongs to {}", owners.join(", ")))
}

/// Whether the path is the forbidden one, below it, or a glob that brings it in. `core` counts as
/// `std`.
fn reaches(path: &[String], forbidden: &str) -> bool {
    let forbidden: Vec<&str> = forbidden.split("::").collect();
    let same = |(at, (ours, theirs)): (usize, (&String, &&str))| {
        ours == theirs || (at == 0 && ours == "core" && *theirs == "std")
    };
    let glob = path.last().is_some_and(|last| last == "*") && path.len() > 1;
    let length = if glob { path.len() - 1 } else { path.len() };
    (length >= forbidden.len() || glob)
        && path[..length].iter().zip(&forbidden).enumerate().all(same)
}

/// `src/slack/client.rs` is `crate::slack::client`; `main` and `lib` are modules of their own here.
fn module_of(file: &str) -> Vec<String> {
    let inner = file.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    let parts = inner.split('/').filter(|part| *part != "lib");
    std::iter::once("crate").chain(parts).map(str::to_owned).collect()
}

/// The names in the `[dependencies]` of a manifest, as Rust spells them.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    manifest
        .lines()
        .skip_while(|line| line.trim() != "[dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once(['=', '.']))
        .map(|(name, _)| name.trim().replace('-', "_"))
        .filter(|name| !name.starts_with('#'))
        .collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every `.rs` file below these paths, with its path below the root, sorted.
fn sources(below: &[&str]) -> Vec<(String, String)> {
    let mut files = Vec::new();
    for path in below {
        collect(&root().join(path), &mut files);
    }
    files.sort();
    files
        .into_iter()
        .map(|file| {
            let name = file.strip_prefix(root()).expect("found below the root");
            (name.to_string_lossy().replace('\\', "/"), read(&file))
        })
        .collect()
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a readable folder") {
            collect(&entry.expect("a readable entry").path(), files);
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        files.push(path.to_owned());
    }
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
