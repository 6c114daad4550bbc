//! The folder of the files: only files and folders that Herald knows, and no symbolic links, so
//! nothing outside is read or written.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::file::{MOST_BYTES, TemplateFile};
use super::names;
use super::written::printable;
use crate::domain::ids::EventType;
use crate::domain::message::template::{Locale, Place};

/// The most files: a tenant has at most 1,000 templates.
const MOST_FILES: usize = 1000;
/// The most entries of all folders together, also those that are skipped.
const MOST_ENTRIES: usize = 20_000;
/// The most problems that are shown.
pub(super) const SHOWN: usize = 50;

/// A file in the folder, by its name.
pub(super) struct Found {
    /// Its path below the folder.
    pub(super) path: PathBuf,
    event: EventType,
    /// The name of the content item's folder.
    content: Option<String>,
    locale: Locale,
}

/// The files of templates in this folder. Other files are refused, except those whose names begin
/// with a dot, and `README.md` at the top.
pub(super) fn list(root: &Path) -> anyhow::Result<Vec<Found>> {
    let mut walk = Walk { root, seen: 0, found: Vec::new(), faults: Vec::new() };
    for (name, is_folder) in walk.entries(Path::new(""))? {
        match EventType::parse(name.as_str()) {
            Ok(event) if is_folder => walk.event(&event)?,
            _ if name == "README.md" && !is_folder => {}
            Ok(_) => walk.fault(Path::new(&name), "is a file, but an event type has a folder"),
            Err(error) => {
                walk.fault(Path::new(&name), &format!("is not the name of an event type: {error}"));
            }
        }
    }
    if walk.found.len() > MOST_FILES {
        walk.fault(
            Path::new(""),
            "has more than 1,000 files: a tenant has at most 1,000 templates",
        );
    }
    refuse(walk.faults, "files that cannot be used")?;
    walk.found.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(walk.found)
}

/// An error with these sentences, if there are any.
fn refuse(mut faults: Vec<String>, which: &str) -> anyhow::Result<()> {
    let count = faults.len();
    if count == 0 {
        return Ok(());
    }
    if count > SHOWN {
        faults.truncate(SHOWN);
        faults.push(format!("and {} more", count - SHOWN));
    }
    // Names of files, and keys in them, may have characters that a terminal would act on.
    bail!("{which}: {count}\n{}", printable(&faults.join("\n")))
}

struct Walk<'a> {
    root: &'a Path,
    /// The number of entries.
    seen: usize,
    found: Vec<Found>,
    faults: Vec<String>,
}

impl Walk<'_> {
    /// The sorted entries of a folder below the root, and whether each is a folder.
    fn entries(&mut self, below: &Path) -> anyhow::Result<Vec<(String, bool)>> {
        let folder = self.root.join(below);
        let cannot = || format!("cannot read {}", folder.display());
        let mut entries = Vec::new();
        for entry in fs::read_dir(&folder).with_context(cannot)? {
            let entry = entry.with_context(cannot)?;
            self.seen += 1;
            if self.seen > MOST_ENTRIES {
                bail!("{} has more than {MOST_ENTRIES} files and folders", self.root.display());
            }
            // This kind is the entry's own: links are not followed.
            let kind = entry.file_type().with_context(cannot)?;
            let Ok(name) = entry.file_name().into_string() else {
                self.fault(&below.join(entry.file_name()), "has a name that is not UTF-8");
                continue;
            };
            if name.starts_with('.') {
                continue;
            }
            if kind.is_file() || kind.is_dir() {
                entries.push((name, kind.is_dir()));
            } else {
                let sentence = "is a symbolic link or a special file: use a file or a folder";
                self.fault(&below.join(name), sentence);
            }
        }
        entries.sort();
        Ok(entries)
    }

    fn event(&mut self, event: &EventType) -> anyhow::Result<()> {
        let folder = Path::new(event.as_str());
        let mut files = Vec::new();
        for (name, is_folder) in self.entries(folder)? {
            if !is_folder {
                files.push(name);
            } else if name == names::CONTENT {
                self.content_items(event, &folder.join(name))?;
            } else {
                self.fault(&folder.join(name), "is not a folder that Herald knows");
            }
        }
        self.files(event, None, files);
        Ok(())
    }

    fn content_items(&mut self, event: &EventType, folder: &Path) -> anyhow::Result<()> {
        for (item, is_folder) in self.entries(folder)? {
            if !is_folder {
                let sentence = "is a file, but each content item has a folder";
                self.fault(&folder.join(item), sentence);
                continue;
            }
            let mut files = Vec::new();
            for (name, is_folder) in self.entries(&folder.join(&item))? {
                if is_folder {
                    let sentence = "is a folder, but each locale has a file";
                    self.fault(&folder.join(&item).join(name), sentence);
                } else {
                    files.push(name);
                }
            }
            self.files(event, Some(&item), files);
        }
        Ok(())
    }

    fn files(&mut self, event: &EventType, content: Option<&str>, files: Vec<String>) {
        let mut folder = PathBuf::from(event.as_str());
        if let Some(content) = content {
            folder.push(names::CONTENT);
            folder.push(content);
        }
        for name in files {
            let path = folder.join(&name);
            match names::locale(&name) {
                Ok(locale) => {
                    let (event, content) = (event.clone(), content.map(str::to_owned));
                    self.found.push(Found { path, event, content, locale });
                }
                Err(sentence) => self.fault(&path, &sentence),
            }
        }
    }

    fn fault(&mut self, path: &Path, sentence: &str) {
        self.faults.push(format!("{} {sentence}", self.root.join(path).display()));
    }
}

/// The text of a file below the root.
pub(super) fn text(root: &Path, path: &Path) -> anyhow::Result<String> {
    let file = root.join(path);
    let cannot = || format!("cannot read {}", file.display());
    let mut text = Vec::new();
    let opened = fs::File::open(&file).with_context(cannot)?;
    opened.take(MOST_BYTES + 1).read_to_end(&mut text).with_context(cannot)?;
    if text.len() as u64 > MOST_BYTES {
        bail!("{}: must be at most {MOST_BYTES} bytes", file.display());
    }
    String::from_utf8(text).with_context(cannot)
}

/// All templates in this folder. If one is bad, none is returned, and the error names each.
pub(super) fn read(root: &Path) -> anyhow::Result<BTreeMap<Place, TemplateFile>> {
    let (mut files, mut faults) = (BTreeMap::new(), Vec::new());
    for found in list(root)? {
        match template(root, &found) {
            Ok((place, file)) => {
                files.insert(place, file);
            }
            Err(fault) => faults.push(format!("{fault:#}")),
        }
    }
    refuse(faults, "files with a problem; nothing was saved")?;
    Ok(files)
}

fn template(root: &Path, found: &Found) -> anyhow::Result<(Place, TemplateFile)> {
    let name = root.join(&found.path);
    let name = name.display();
    let file =
        TemplateFile::parse(text(root, &found.path)?).map_err(|((line, column), sentence)| {
            anyhow::anyhow!("{name}:{line}:{column}: {sentence}")
        })?;
    let stated = file.content_id.as_deref();
    let content = match &found.content {
        Some(folder) => Some(
            names::content(folder, stated)
                .map_err(|sentence| anyhow::anyhow!("{name}:1:1: {sentence}"))?,
        ),
        None if stated.is_some() => {
            bail!("{name}:1:1: content_id is only for files below a folder {:?}", names::CONTENT)
        }
        None => None,
    };
    let place = Place { event: found.event.clone(), content, locale: found.locale.clone() };
    Ok((place, file))
}

/// Writes a file below the root, whole or not at all.
pub(super) fn write(root: &Path, path: &Path, text: &str) -> anyhow::Result<()> {
    let file = root.join(path);
    let cannot = || format!("cannot write {}", file.display());
    let folder = file.parent().context("a file is in a folder")?;
    fs::create_dir_all(folder).with_context(cannot)?;
    // The permissions of a new file: the process's mask restricts them.
    let mut temporary = tempfile::Builder::new()
        .prefix(".herald")
        .permissions(fs::Permissions::from_mode(0o666))
        .tempfile_in(folder)
        .with_context(cannot)?;
    temporary.write_all(text.as_bytes()).with_context(cannot)?;
    temporary.persist(&file).map_err(|failed| failed.error).with_context(cannot)?;
    Ok(())
}
