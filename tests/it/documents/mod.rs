//! Documents are compared with the code: a stale one fails.
//!
//! `docs/settings.md` is generated from the doc comments of the settings themselves,
//! `docs/access.md` from the table of rights, `docs/features.md` from the table of features. To
//! regenerate them: `HERALD_WRITE_DOCS=1 cargo test --test it documents`.

mod access;
mod blocks;
mod features;
mod invariants;
mod limits;
mod links;
mod markdown;
mod messages;
mod protos;
mod settings;
mod tables;
mod templates;
mod words;

use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Asserts that the document is this page; with `HERALD_WRITE_DOCS`, writes it instead.
fn is_as_written(file: &str, page: &str) {
    #[expect(clippy::disallowed_methods, reason = "a switch of the tests, not of the program")]
    let write = std::env::var("HERALD_WRITE_DOCS").is_ok();
    if write {
        std::fs::write(root().join(file), page).unwrap();
    } else {
        let again = "HERALD_WRITE_DOCS=1 cargo test --test it documents";
        assert!(read(file) == page, "{file} is stale; regenerate it: {again}");
    }
}

/// All Rust files below a folder of `src`.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}
