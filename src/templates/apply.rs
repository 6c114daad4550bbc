//! `herald templates apply`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;

use super::client::{ABSENT, SaveRefusal, StoredTemplate, TemplatesClient};
use super::file::TemplateFile;
use super::{diff, folder, names, written};
use crate::demo::say;
use crate::domain::message::template::Place;

/// The exit code of a dry run that found differences.
const DIFFERENT: u8 = 2;

/// The parts of the command line that decide what is done.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    pub(super) dry_run: bool,
    pub(super) reset_missing: bool,
}

/// A difference between the files and Herald.
enum Change<'a> {
    New(&'a TemplateFile),
    Changed(&'a TemplateFile, &'a StoredTemplate),
    Missing(&'a StoredTemplate),
}

/// Shows the differences; then checks or saves them.
pub(super) async fn run(
    root: &Path,
    files: &BTreeMap<Place, TemplateFile>,
    client: &mut TemplatesClient,
    wish: Wish,
) -> anyhow::Result<ExitCode> {
    let stored = client.list().await?;
    let mut changes = changes(files, &stored);
    let same = files.len() - changes.values().filter(|change| is_of_a_file(change)).count();
    if !wish.reset_missing {
        report_missing(&changes);
        changes.retain(|_, change| is_of_a_file(change));
    }
    for (place, change) in &changes {
        say(difference(place, change).trim_end());
    }
    say(&summary(&changes, same));
    if changes.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    check(root, &changes, client).await?;
    if wish.dry_run {
        return Ok(ExitCode::from(DIFFERENT));
    }
    save(root, &changes, client).await?;
    Ok(ExitCode::SUCCESS)
}

fn changes<'a>(
    files: &'a BTreeMap<Place, TemplateFile>,
    stored: &'a BTreeMap<Place, StoredTemplate>,
) -> BTreeMap<&'a Place, Change<'a>> {
    let mut changes = BTreeMap::new();
    for (place, file) in files {
        let change = match stored.get(place) {
            None => Change::New(file),
            Some(stored)
                if written::text(None, &stored.form) == written::text(None, &file.form) =>
            {
                continue;
            }
            Some(stored) => Change::Changed(file, stored),
        };
        changes.insert(place, change);
    }
    for (place, stored) in stored.iter().filter(|(place, _)| !files.contains_key(*place)) {
        changes.insert(place, Change::Missing(stored));
    }
    changes
}

fn is_of_a_file(change: &Change<'_>) -> bool {
    !matches!(change, Change::Missing(_))
}

fn report_missing(changes: &BTreeMap<&Place, Change<'_>>) {
    let missing: Vec<String> = changes
        .iter()
        .filter(|(_, change)| !is_of_a_file(change))
        .map(|(place, _)| format!("  {}", names::path(place).display()))
        .collect();
    if !missing.is_empty() {
        say(&format!(
            "Templates without a file, which remain as they are (--reset-missing removes them): \
             {}\n{}",
            missing.len(),
            missing.join("\n")
        ));
    }
}

fn difference(place: &Place, change: &Change<'_>) -> String {
    let text = |form| written::text(place.content.as_ref(), form);
    let path = names::path(place);
    match change {
        Change::New(file) => diff::unified(&path, None, Some(&text(&file.form))),
        Change::Changed(file, stored) => {
            diff::unified(&path, Some(&text(&stored.form)), Some(&text(&file.form)))
        }
        Change::Missing(stored) => diff::unified(&path, Some(&text(&stored.form)), None),
    }
}

fn summary(changes: &BTreeMap<&Place, Change<'_>>, same: usize) -> String {
    if changes.is_empty() {
        return format!("Nothing to change: {same} templates are as in the files.");
    }
    let (mut new, mut changed, mut missing) = (0, 0, 0);
    for change in changes.values() {
        match change {
            Change::New(_) => new += 1,
            Change::Changed(..) => changed += 1,
            Change::Missing(_) => missing += 1,
        }
    }
    format!("New: {new}. Changed: {changed}. To be removed: {missing}. The same: {same}.")
}

/// Has Herald check every template before the first is saved.
async fn check(
    root: &Path,
    changes: &BTreeMap<&Place, Change<'_>>,
    client: &mut TemplatesClient,
) -> anyhow::Result<()> {
    let mut problems = Vec::new();
    for (place, change) in changes {
        let (file, etag) = match change {
            Change::New(file) => (*file, ABSENT),
            Change::Changed(file, stored) => (*file, stored.etag.as_str()),
            Change::Missing(_) => continue,
        };
        match client.set(place, &file.form, etag, true).await {
            Ok(()) => {}
            Err(refusal) => problems.extend(sentences(root, place, Some(file), refusal)),
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    let count = problems.len();
    let shown = problems.get(..folder::SHOWN).unwrap_or(&problems).join("\n");
    bail!("problems: {count}; nothing was saved\n{shown}")
}

/// Saves the changes in order, up to the first that Herald refuses.
async fn save(
    root: &Path,
    changes: &BTreeMap<&Place, Change<'_>>,
    client: &mut TemplatesClient,
) -> anyhow::Result<()> {
    let mut saved: Vec<String> = Vec::new();
    for (place, change) in changes {
        let (file, done) = match change {
            Change::New(file) => (Some(*file), client.set(place, &file.form, ABSENT, false).await),
            Change::Changed(file, stored) => {
                (Some(*file), client.set(place, &file.form, &stored.etag, false).await)
            }
            Change::Missing(stored) => (None, client.reset(place, &stored.etag).await),
        };
        if let Err(refusal) = done {
            let why = sentences(root, place, file, refusal).join("\n");
            let before = match saved.len() {
                0 => "nothing was saved".to_owned(),
                count => format!("{count} were saved before it:\n  {}", saved.join("\n  ")),
            };
            bail!("{why}\nNo further template was saved; {before}");
        }
        saved.push(names::path(place).display().to_string());
    }
    say(&format!("Saved: {}.", saved.len()));
    Ok(())
}

/// A refusal as sentences with the places in the file.
fn sentences(
    root: &Path,
    place: &Place,
    file: Option<&TemplateFile>,
    refusal: SaveRefusal,
) -> Vec<String> {
    let path = root.join(names::path(place));
    let path = path.display();
    match refusal {
        SaveRefusal::Invalid(violations) => violations
            .into_iter()
            .map(|(field, problem)| {
                let (line, column) = file.map_or((1, 1), |file| file.place(&field, &problem));
                format!("{path}:{line}:{column}: {}: {problem}", written::printable(&field))
            })
            .collect(),
        SaveRefusal::Changed => vec![format!(
            "{path}: the template was changed in Herald after it was read; run this command again"
        )],
        SaveRefusal::Other(error) => vec![format!("{path}: {error:#}")],
    }
}
