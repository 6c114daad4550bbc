//! `herald templates export`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::client::StoredTemplate;
use super::file::TemplateFile;
use super::{folder, names, written};
use crate::demo::say;
use crate::domain::message::template::Place;

/// Writes each template to its file. Files of other templates are an error, and remain.
pub(super) fn run(root: &Path, stored: &BTreeMap<Place, StoredTemplate>) -> anyhow::Result<()> {
    let texts: BTreeMap<PathBuf, String> = stored
        .iter()
        .map(|(place, template)| {
            (names::path(place), written::text(place.content.as_ref(), &template.form))
        })
        .collect();
    fs::create_dir_all(root).with_context(|| format!("cannot create {}", root.display()))?;
    let found = folder::list(root)?;
    let others: Vec<String> = found
        .iter()
        .filter(|found| !texts.contains_key(&found.path))
        .map(|found| root.join(&found.path).display().to_string())
        .collect();
    if !others.is_empty() {
        let shown = others.get(..folder::SHOWN).unwrap_or(&others).join("\n");
        bail!(
            "files of templates that the tenant does not have: {}; nothing was written. Delete \
             them, or save them with `herald templates apply`.\n{}",
            others.len(),
            written::printable(&shown)
        );
    }
    let (mut changed, mut same) = (0_usize, 0_usize);
    for (path, text) in &texts {
        let there = found.iter().any(|found| found.path == *path);
        if there && says_the_same(root, path, text)? {
            same += 1;
        } else {
            folder::write(root, path, text)?;
            changed += 1;
        }
    }
    let count = texts.len();
    say(&format!(
        "Templates: {count}. Files written: {changed}; {same} had the same message before."
    ));
    Ok(())
}

/// Whether the file has this template already, perhaps with comments and in another order.
fn says_the_same(root: &Path, path: &Path, text: &str) -> anyhow::Result<bool> {
    let Ok(file) = TemplateFile::parse(folder::text(root, path)?) else { return Ok(false) };
    let wanted = TemplateFile::parse(text.to_owned());
    Ok(wanted.is_ok_and(|wanted| {
        let same_form = written::text(None, &file.form) == written::text(None, &wanted.form);
        let stated = file.content_id.as_ref();
        same_form && stated.is_none_or(|stated| wanted.content_id.as_ref() == Some(stated))
    }))
}
