//! Imports between files.
//!
//! Each `use` and each path counts as an import of the file that defines the name. Names that a
//! file re-exports (`pub use`) are followed to their definition. Imports from a file's own parent
//! modules (`super`, as in `mod.rs`) do not count: a module and its parents are one.

use std::collections::{BTreeMap, BTreeSet};

use super::Source;

/// How many re-exports of one name are followed.
const HANDS: usize = 8;

/// Each file by its module.
type Files<'a> = BTreeMap<&'a [String], &'a Source<'a>>;

/// The names that each file imports from each other file.
pub(crate) type Arrows<'a> = BTreeMap<&'a str, BTreeMap<&'a str, BTreeSet<String>>>;

/// The imports of all files, without those of tests.
pub(crate) fn arrows<'a>(sources: &'a [Source<'a>]) -> Arrows<'a> {
    let files: Files<'a> =
        sources.iter().map(|source| (source.module.as_slice(), source)).collect();
    let mut arrows = Arrows::new();
    for source in sources.iter().filter(|source| !source.is_test) {
        for mention in source.scan.mentions.iter().filter(|mention| !mention.in_test) {
            let Some(path) = absolute(&mention.path, source, &files) else { continue };
            let Some((to, name)) = defined(&path, &files, HANDS) else { continue };
            if !source.module.starts_with(&to.module) {
                arrows.entry(source.file).or_default().entry(to.file).or_default().insert(name);
            }
        }
    }
    arrows
}

/// The path from the crate root; a first segment other than `crate` may be a module of this file.
/// `None` if the path is in another crate.
fn absolute(path: &[String], source: &Source<'_>, files: &Files<'_>) -> Option<Vec<String>> {
    let first = path.first()?;
    if first == "crate" {
        return Some(path.to_vec());
    }
    let inside = [source.module.as_slice(), path].concat();
    files.contains_key(&inside[..=source.module.len()]).then_some(inside)
}

/// The file that defines the item at this path, and the item's name there.
fn defined<'a>(
    path: &[String],
    files: &Files<'a>,
    hands: usize,
) -> Option<(&'a Source<'a>, String)> {
    let (length, file) =
        (1..=path.len()).rev().find_map(|length| Some((length, *files.get(&path[..length])?)))?;
    let Some(name) = path.get(length) else { return Some((file, "itself".to_owned())) };
    let handed_on = file.scan.exports.iter().find(|(exported, _)| exported == name);
    if let Some((_, meaning)) = handed_on.filter(|_| hands > 0) {
        let meaning = absolute(meaning, file, files)?;
        return defined(&[meaning.as_slice(), &path[length + 1..]].concat(), files, hands - 1);
    }
    Some((file, name.clone()))
}
