//! Tests of the checker: it finds every planted fault, and nothing else.

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
    clean("src/slack/mod.rs", "mod wire; use self::wire::Page; use crate::slack::wire::Page as P;");
    clean("src/slack/wire.rs", "pub(crate) struct S; pub(in crate::slack) struct T; use super::S;");
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
    let faults = among(&[(a, "use super::b::B;"), (b, "fn f() { crate::store::a::A::new(); }")]);
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
    let faults =
        among(&[("src/domain/a.rs", "use super::b;"), ("src/domain/b.rs", "use super::c;"), third]);
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
    let store = (room, "mod b; mod a; pub use a::A; pub use b::B; pub struct Store(A);");
    let taken = [(a, "use super::{B, Store};"), (b, "use super::Store;"), store];
    assert_eq!(among(&taken), none);
    // Tests may import from files above them.
    let tests = "#[cfg(test)] mod tests; #[cfg(test)] mod more { use super::super::a::A; }";
    let outside = ("src/store/b/tests.rs", "use crate::store::a::A;");
    assert_eq!(among(&[(a, "use super::b::B;"), (b, tests), outside]), none);
}

#[test]
fn imports_against_the_order_of_a_room() {
    let (a, b, room) = ("src/store/a.rs", "src/store/b.rs", "src/store/mod.rs");
    let (importing, plain) = ((a, "use super::b::B;"), (b, "pub struct B;"));
    assert_eq!(
        among(&[importing, plain, (room, "mod a; mod b;")]),
        ["src/store/a.rs imports from src/store/b.rs (B), \
          but src/store/mod.rs declares `b` after `a`"]
    );
    // Below the declared modules, and through a name that the enclosing module re-exports.
    let below = ("src/store/a/own.rs", "use crate::store::First;");
    let faults = among(&[below, plain, (room, "mod a; mod b; pub use self::b::B as First;")]);
    assert_eq!(faults.len(), 1, "{faults:?}");
    let faults = among(&[
        ("src/tokens.rs", "use crate::web;"),
        ("src/web.rs", ""),
        ("src/lib.rs", "mod tokens; mod web;"),
    ]);
    assert_eq!(faults.len(), 1, "{faults:?}");
}

#[test]
fn imports_in_the_order_of_a_room() {
    let (a, b, room) = ("src/store/a.rs", "src/store/b.rs", "src/store/mod.rs");
    let none: [String; 0] = [];
    let (importing, plain) = ((a, "use super::b::B;"), (b, "pub struct B;"));
    assert_eq!(among(&[importing, plain, (room, "mod b;\n\nmod a;")]), none);
    // A module imports from the modules that it declares, and tests from files above them.
    let outer = (room, "mod a; mod b; use b::B; #[cfg(test)] mod tests;");
    let tests = ("src/store/tests.rs", "use super::b::B;");
    let inner = (a, "#[cfg(test)] mod more { use super::super::b::B; }");
    assert_eq!(among(&[inner, plain, outer, tests]), none);
    // An inline module has no order.
    assert_eq!(among(&[importing, plain, (room, "mod a; mod other { mod b; } mod c;")]), none);
}

#[test]
fn what_is_not_rust() {
    found("src/app/notify.rs", "fn f( {");
}
