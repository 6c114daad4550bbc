//! The shape of the crate, as a test: which module may import which, that no files import each
//! other in a circle, where each outside crate may be used, what `domain` must never touch, and how
//! long files, functions and the handles of the store may grow.
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
#[path = "architecture/scan.rs"]
mod scan;
#[path = "architecture/sentences.rs"]
mod sentences;

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
    ("telemetry", &[]),
    ("web", &[]),
    ("slack", &["domain", "telemetry"]),
    ("store", &["domain", "telemetry", "web"]),
    ("tokens", &["domain", "telemetry", "web"]),
    ("workspace", &["domain", "telemetry", "slack", "store"]),
    ("directory", &["domain", "telemetry", "slack", "store", "workspace"]),
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
        &["domain", "telemetry", "slack", "workspace", "directory", "app", "delivery", "listen"],
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
            "delivery",
            "listen",
            "tokens",
            "rpc",
            "http",
            "config",
        ],
    ),
    ("sandbox", &["domain"]),
];

/// The top: these may import everything. Nothing below imports them, and only they import
/// `sandbox`.
const TOP: &[&str] = &["main", "lib", "demo", "keys", "check", "manifest"];

/// Outside crates that only certain modules may use. Test code may use them anywhere.
const OWNERS: &[(&str, &[&str])] = &[
    ("sea_orm", &["store"]),
    ("sea_orm_migration", &["store"]),
    ("migrations", &["store"]),
    ("sqlx", &["store"]),
    ("prost", &["rpc", "server", "main", "demo"]),
    ("prost_types", &["rpc", "server", "main", "demo"]),
    ("tonic", &["rpc", "server", "main", "demo"]),
    ("tonic_health", &["rpc", "server", "main"]),
    ("tonic_prost", &["rpc"]),
    ("tonic_reflection", &["rpc", "server", "main"]),
    ("tonic_types", &["rpc"]),
    ("reqwest", &["slack", "sandbox", "store", "tokens", "web"]),
    ("jsonwebtoken", &["tokens"]),
    ("ring", &["tokens"]),
    ("governor", &["listen"]),
    ("hyper", &["listen"]),
    ("hyper_util", &["listen"]),
    ("rlimit", &["listen"]),
    ("tokio_rustls", &["listen"]),
    ("webpki", &["listen"]),
    ("axum", &["http", "sandbox", "server"]),
    ("anyhow", &["main", "demo"]),
];

/// Dependencies that `domain` may use: they only compute.
const PURE: &[&str] = &[
    "bytes",
    "hmac",
    "jiff",
    "jmespath",
    "minijinja",
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
    faults.extend(circles::faults(&sources));
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

/// The checker itself: it finds every planted fault, and nothing else.
mod planted {
    use super::{check, dependencies};

    const MANIFEST: &str = "[package]\nname = \"x\"\n\n[dependencies]\n# pure\nserde_json = \"1\"\n\
                            tokio = { version = \"1\" }\nsea-orm = \"2\"\nrand.workspace = true\n\n\
                            [dev-dependencies]\nproptest = \"1\"\n";

    fn faults(file: &str, source: &str) -> Vec<String> {
        check(&[(file.to_owned(), source.to_owned())], &dependencies(MANIFEST))
    }

    fn found(file: &str, source: &str) {
        assert_eq!(faults(file, source).len(), 1, "{file}: {source}: {:?}", faults(file, source));
    }

    fn clean(file: &str, source: &str) {
        assert_eq!(faults(file, source), Vec::<String>::new(), "{file}: {source}");
    }

    #[test]
    fn imports_that_point_up_or_sideways() {
        found("src/slack/mod.rs", "use crate::store::Store;");
        found("src/store/lane.rs", "use crate::{domain::ids, slack};");
        found("src/app/notify.rs", "fn f() { crate::delivery::wake(); }");
        found("src/delivery.rs", "fn f(x: crate::app::Notify) {}");
        found("src/rpc/mod.rs", "fn f() -> Vec<crate::store::Store> { Vec::new() }");
        found("src/http/oauth.rs", "use super::super::store::Store;");
        found("src/http/oauth.rs", "mod a { use super::super::super::store as s; }");
        found("src/slack/mod.rs", "fn f() { tracing::info!(x = crate::store::count()); }");
        found("src/slack/mod.rs", "#[derive(crate::store::Row)] struct S;");
        found("src/domain/ids.rs", "use crate::telemetry;");
        found("src/server.rs", "use crate::sandbox::Sandbox;");
        found("src/sandbox/mod.rs", "use crate::slack::Client;");
        found("src/store/mod.rs", "use crate::*;");
        found("src/novel/mod.rs", "use crate::domain;");
        found("src/slack/mod.rs", "use crate::novel;");
    }

    #[test]
    fn imports_that_point_down() {
        clean("src/workspace/call.rs", "use crate::{slack, store::{self, Store}};");
        clean(
            "src/slack/mod.rs",
            "mod wire; use self::wire::Page; use crate::slack::wire::Page as P;",
        );
        clean(
            "src/slack/wire.rs",
            "pub(crate) struct S; pub(in crate::slack) struct T; use super::S;",
        );
        clean("src/slack/mod.rs", "#[cfg(test)] mod tests { use crate::sandbox::Sandbox; }");
        clean("src/main.rs", "use crate::sandbox::Sandbox; use crate::store::Store;");
        clean("src/config.rs", "use crate::{http, rpc, slack, store};");
        clean("src/slack/mod.rs", "// crate::store\nconst S: &str = \"crate::store::X\";");
    }

    #[test]
    fn crates_outside_their_module() {
        found("src/app/notify.rs", "use sea_orm::EntityTrait;");
        found("src/slack/mod.rs", "fn f() { ::tonic::Status::ok(); }");
        found("src/app/mod.rs", "fn f(x: &dyn Fn(prost::Message)) {}");
        found("src/workspace/mod.rs", "use reqwest as r;");
        found("src/server.rs", "fn f() -> anyhow::Result<()> { Ok(()) }");
        clean("src/store/lane.rs", "use sea_orm::EntityTrait;");
        clean("src/app/notify.rs", "#[cfg(all(test, unix))] mod tests { use reqwest::Client; }");
        found("src/app/notify.rs", "#[cfg(not(test))] mod real { use reqwest::Client; }");
    }

    #[test]
    fn impurity_in_the_domain() {
        found("src/domain/a.rs", "use std::time::Instant;");
        found("src/domain/a.rs", "use std::time::*;");
        found("src/domain/a.rs", "use std::time; fn f() { time::SystemTime::now(); }");
        found("src/domain/a.rs", "fn f() { std::env::args(); }");
        found("src/domain/a.rs", "use uuid::Uuid; fn f() { Uuid::now_v7(); }");
        found("src/domain/a.rs", "fn f() { rand::random::<u8>(); }");
        found("src/domain/a.rs", "fn f() { tokio::select! {} }");
        found("src/domain/a.rs", "#[cfg(test)] mod tests { use tokio::time; }");
        found("src/domain/a.rs", "#[test] fn t() { std::fs::write(); }");
        found("src/domain/a.rs", "#[cfg(test)] mod tests { use crate::sandbox; }");
        clean(
            "src/domain/a.rs",
            "#[cfg(test)] mod tests { use std::thread; use proptest::prelude::*; }",
        );
        clean("src/domain/a.rs", "use std::time::Duration; use serde_json::Value; use super::ids;");
        clean("src/domain/a.rs", "use super::time; fn f(rand: u8) -> time::Instant { rand }");
    }

    #[test]
    fn the_file_of_a_test_module_is_test_code() {
        let parent = ("src/domain/a.rs".to_owned(), "#[cfg(test)] mod tests;".to_owned());
        let child = ("src/domain/a/tests.rs".to_owned(), "use std::thread;".to_owned());
        let manifest = dependencies(MANIFEST);
        assert_eq!(check(&[child.clone(), parent], &manifest), Vec::<String>::new());
        assert_eq!(check(&[child], &manifest).len(), 1);
    }

    /// The faults of several files that import each other.
    fn among(files: &[(&str, &str)]) -> Vec<String> {
        let owned = |(file, source): &(&str, &str)| ((*file).to_owned(), (*source).to_owned());
        let files: Vec<_> = files.iter().map(owned).collect();
        check(&files, &dependencies(MANIFEST))
    }

    #[test]
    fn files_that_import_each_other_in_a_circle() {
        let (a, b, room) = ("src/store/a.rs", "src/store/b.rs", "src/store/mod.rs");
        let faults =
            among(&[(a, "use super::b::B;"), (b, "fn f() { crate::store::a::A::new(); }")]);
        assert_eq!(
            faults,
            ["a circle of files: src/store/a.rs -> src/store/b.rs (B), \
              src/store/b.rs -> src/store/a.rs (A)"]
        );
        // Through a name that `mod.rs` re-exports, renamed, and through a third file.
        let handed_on = (room, "mod a; mod b; pub use a::A as First; pub use self::b::B;");
        let faults = among(&[(a, "use super::B;"), (b, "use crate::store::First;"), handed_on]);
        assert_eq!(faults.len(), 1, "{faults:?}");
        let third = ("src/domain/c.rs", "use super::a;");
        let faults = among(&[
            ("src/domain/a.rs", "use super::b;"),
            ("src/domain/b.rs", "use super::c;"),
            third,
        ]);
        assert_eq!(faults.len(), 1, "{faults:?}");
        // A file and one of its own modules, through a sibling file.
        let own = ("src/store/b/own.rs", "use crate::store::a::A;");
        let faults = among(&[(a, "use super::b::B;"), (b, "mod own; use own::O;"), own]);
        assert_eq!(faults.len(), 1, "{faults:?}");
    }

    #[test]
    fn files_that_import_each_other_in_one_direction() {
        let (a, b, room) = ("src/store/a.rs", "src/store/b.rs", "src/store/mod.rs");
        let none: [String; 0] = [];
        assert_eq!(among(&[(a, "use super::b::B;"), (b, "fn a() {} fn f() { a(); }")]), none);
        // A `mod.rs` and the files below it count as one, and a re-exported name is not the
        // `mod.rs`'s own.
        let store = (room, "mod a; mod b; pub use a::A; pub use b::B; pub struct Store(A);");
        let taken = [(a, "use super::{B, Store};"), (b, "use super::Store;"), store];
        assert_eq!(among(&taken), none);
        // Tests may import from files above them.
        let tests = "#[cfg(test)] mod tests; #[cfg(test)] mod more { use super::super::a::A; }";
        let outside = ("src/store/b/tests.rs", "use crate::store::a::A;");
        assert_eq!(among(&[(a, "use super::b::B;"), (b, tests), outside]), none);
    }

    #[test]
    fn what_is_not_rust() {
        found("src/app/notify.rs", "fn f( {");
    }
}
