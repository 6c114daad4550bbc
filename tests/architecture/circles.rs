//! Circles between files: files that import each other, directly or through others.
//!
//! Each `use` and each path counts as an import of the file that defines the name. Names that a
//! file re-exports (`pub use`) are followed to their definition. Imports from a file's own parent
//! modules (`super`, as in `mod.rs`) do not count: a module and its parents are one.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Source;

/// How many re-exports of one name are followed.
const HANDS: usize = 8;

/// Each file by its module.
type Files<'a> = BTreeMap<&'a [String], &'a Source<'a>>;

/// The names that each file imports from each other file.
type Arrows<'a> = BTreeMap<&'a str, BTreeMap<&'a str, BTreeSet<String>>>;

/// A sentence for each circle, with the names that tie it together. Each file is named once.
pub(crate) fn faults<'a>(sources: &'a [Source<'a>]) -> Vec<String> {
    let arrows = arrows(sources);
    let mut named = BTreeSet::new();
    let mut faults = Vec::new();
    for start in arrows.keys().copied() {
        if named.contains(start) {
            continue;
        }
        if let Some(circle) = circle(&arrows, start) {
            faults.push(sentence(&arrows, &circle));
            named.extend(circle);
        }
    }
    faults
}

fn arrows<'a>(sources: &'a [Source<'a>]) -> Arrows<'a> {
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

/// The shortest path from a file back to itself.
fn circle<'a>(arrows: &Arrows<'a>, start: &'a str) -> Option<Vec<&'a str>> {
    let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
    let mut next = VecDeque::from([start]);
    while let Some(file) = next.pop_front() {
        for to in arrows.get(file).into_iter().flat_map(BTreeMap::keys).copied() {
            if to == start {
                let before = |file: &&'a str| came_from.get(file).copied();
                let mut circle: Vec<_> = std::iter::successors(Some(file), before).collect();
                circle.reverse();
                return Some(circle);
            }
            if let Entry::Vacant(entry) = came_from.entry(to) {
                entry.insert(file);
                next.push_back(to);
            }
        }
    }
    None
}

fn sentence(arrows: &Arrows<'_>, circle: &[&str]) -> String {
    let next = circle.iter().cycle().skip(1);
    let ties = circle.iter().zip(next).map(|(from, to)| {
        let names: Vec<&str> = arrows[from][to].iter().map(String::as_str).collect();
        format!("{from} -> {to} ({})", names.join(", "))
    });
    format!("a circle of files: {}", ties.collect::<Vec<_>>().join(", "))
}
