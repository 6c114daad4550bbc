//! Circles between files: files that import each other, straight or through others.
//!
//! Each `use` and each path counts as an import of the file that defines what it names; names that
//! a file hands on (`pub use`) are followed to where they come from. What a file takes from the
//! files of the modules that it is part of (`super`, as in a room's `mod.rs`) does not count: they
//! are one.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Source;

/// How many files may hand a name on, one to the next.
const HANDS: usize = 8;

/// Each file by its module.
type Files<'a> = BTreeMap<&'a [String], &'a Source<'a>>;

/// What each file takes from each other file, by name.
type Arrows<'a> = BTreeMap<&'a str, BTreeMap<&'a str, BTreeSet<String>>>;

/// A sentence for each circle, with what ties it. Each file is named once.
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

/// The path from the crate on; a first segment without `crate` may be a module of this file's.
/// `None`: it is of another crate.
fn absolute(path: &[String], source: &Source<'_>, files: &Files<'_>) -> Option<Vec<String>> {
    let first = path.first()?;
    if first == "crate" {
        return Some(path.to_vec());
    }
    let inside = [source.module.as_slice(), path].concat();
    files.contains_key(&inside[..=source.module.len()]).then_some(inside)
}

/// The file that defines what the path names, and what that is called there.
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

/// The shortest way from a file back to it.
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
