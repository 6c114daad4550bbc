//! The order of files: the `mod` lines of the enclosing module (`lib.rs`, a `mod.rs`, or any other
//! file with modules) declare it. A file imports only from modules above the one that it belongs
//! to, so the lines can be read from the top.
//!
//! rustfmt sorts `mod` lines that follow each other; a blank line separates them into groups.

use std::collections::BTreeMap;

use super::Source;
use super::imports::Arrows;

/// A sentence for each import from a file whose module the enclosing module declares later.
pub(crate) fn faults(sources: &[Source<'_>], arrows: &Arrows<'_>) -> Vec<String> {
    let files: BTreeMap<&str, &Source<'_>> =
        sources.iter().map(|source| (source.file, source)).collect();
    let rooms: BTreeMap<&[String], &Source<'_>> =
        sources.iter().map(|source| (source.module.as_slice(), source)).collect();
    let mut faults = Vec::new();
    for (from, imports) in arrows {
        for (to, names) in imports {
            let Some((room, mine, theirs)) = against(&rooms, files[from], files[to]) else {
                continue;
            };
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            faults.push(format!(
                "{from} imports from {to} ({}), but {room} declares `{theirs}` after `{mine}`",
                names.join(", ")
            ));
        }
    }
    faults
}

/// The file of the innermost module that both files are in, and their modules there, if it declares
/// the module of `to` after the one of `from`.
fn against<'a>(
    rooms: &BTreeMap<&[String], &'a Source<'a>>,
    from: &'a Source<'a>,
    to: &'a Source<'a>,
) -> Option<(&'a str, &'a str, &'a str)> {
    let pairs = from.module.iter().zip(&to.module);
    let shared = pairs.take_while(|(ours, theirs)| ours == theirs).count();
    // A module may import from the modules that it declares.
    let (mine, theirs) = (from.module.get(shared)?.as_str(), to.module.get(shared)?.as_str());
    let room = *rooms.get(&from.module[..shared])?;
    let place = |source: &Source<'_>| {
        room.scan.modules.iter().position(|module| module[..] == source.module[..=shared])
    };
    (place(to)? > place(from)?).then_some((room.file, mine, theirs))
}
