//! Circles between files: files that import each other, directly or through others.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::imports::Arrows;

/// A sentence for each circle, with the names that tie it together. Each file is named once.
pub(crate) fn faults(arrows: &Arrows<'_>) -> Vec<String> {
    let mut named = BTreeSet::new();
    let mut faults = Vec::new();
    for start in arrows.keys().copied() {
        if named.contains(start) {
            continue;
        }
        if let Some(circle) = circle(arrows, start) {
            faults.push(sentence(arrows, &circle));
            named.extend(circle);
        }
    }
    faults
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
