//! The file of a template: `task.assigned/de.toml`; for a content item
//! `task.assigned/content/course-7/de.toml`.
//!
//! The id of a content item may have any printable characters, so it cannot be the name of its
//! folder: in that name, bytes other than lower-case letters, digits, `-` and `_` are written in
//! hexadecimal (`.` is `%2e`). No id leads out of the folder, and no two ids have names that differ
//! only in case. An id whose name would be too long for a file system has a folder that is named by
//! its hash, and is stated in the files.

use std::fmt::Write as _;
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

use crate::domain::ids::ContentId;
use crate::domain::message::template::{Locale, Place};

/// The folder of the content items, in the folder of an event type.
pub(super) const CONTENT: &str = "content";
/// The end of a file's name.
const TOML: &str = ".toml";
/// The most bytes of the name of a folder: file systems allow 255.
const LONGEST: usize = 200;
/// The first character of a name that is a hash.
const HASHED: char = '~';
/// Names of devices on Windows, without their number.
const DEVICES: [&str; 6] = ["aux", "com", "con", "lpt", "nul", "prn"];

/// The path of a template's file, below the folder of the templates.
pub(super) fn path(place: &Place) -> PathBuf {
    let mut path = PathBuf::from(place.event.as_str());
    if let Some(content) = &place.content {
        path.push(CONTENT);
        path.push(folder(content));
    }
    path.push(format!("{}{TOML}", place.locale.as_str()));
    path
}

/// The name of a content item's folder.
fn folder(content: &ContentId) -> String {
    let id = content.as_str();
    let device = DEVICES.contains(&id.trim_end_matches(|c: char| c.is_ascii_digit()));
    let mut name = String::with_capacity(id.len());
    for (index, byte) in id.bytes().enumerate() {
        let plain = byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        if plain && !(device && index == 0) {
            name.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(name, "%{byte:02x}");
        }
    }
    if name.len() <= LONGEST {
        return name;
    }
    let mut name = String::from(HASHED);
    for byte in Sha256::digest(id) {
        let _ = write!(name, "{byte:02x}");
    }
    name
}

/// The content item of a folder with this name. `stated` is the id that a file in it states. The
/// error is a sentence about the file.
pub(super) fn content(name: &str, stated: Option<&str>) -> Result<ContentId, String> {
    let id = if name.starts_with(HASHED) {
        let missing = "its folder is named by a hash, so the file must state content_id";
        stated.ok_or(missing)?.to_owned()
    } else {
        decoded(name)
            .ok_or_else(|| format!("{name:?} is not the name of a content item's folder"))?
    };
    let content = ContentId::parse(id).map_err(|error| format!("content_id {error}"))?;
    if stated.is_some_and(|stated| stated != content.as_str()) {
        return Err(format!("content_id must be {:?}, the id of its folder", content.as_str()));
    }
    let wanted = folder(&content);
    if wanted != name {
        return Err(format!("its folder must be named {wanted:?}"));
    }
    Ok(content)
}

fn decoded(name: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        let mut byte = *first;
        if byte == b'%' {
            let (digits, tail) = rest.split_at_checked(2)?;
            byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
            rest = tail;
        }
        bytes.push(byte);
    }
    String::from_utf8(bytes).ok()
}

/// The locale of a file with this name. The error continues the file's name.
pub(super) fn locale(name: &str) -> Result<Locale, String> {
    let unknown = "is not the name of a template's file, such as de.toml or pt-BR.toml";
    let tag = name.strip_suffix(TOML).ok_or(unknown)?;
    let locale = Locale::parse(tag).map_err(|error| format!("{unknown}: the locale {error}"))?;
    if locale.as_str() != tag {
        return Err(format!("must be named {}{TOML}", locale.as_str()));
    }
    Ok(locale)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_id_has_a_harmless_name_of_its_own() {
        let long = "é".repeat(128);
        let ids = [
            "course-7",
            "Course-7",
            "..",
            ".",
            "../../x",
            "a/b",
            "a\\b",
            "%2e",
            "~",
            "con",
            "COM1",
            "com1",
            "course 7",
            "é",
            "e\u{301}",
            ".git",
            "a:b",
            "content",
            long.as_str(),
        ];
        let mut names = BTreeSet::new();
        for id in ids {
            let content_id = ContentId::parse(id).unwrap();
            let name = folder(&content_id);
            assert!(name.len() <= LONGEST && !DEVICES.contains(&name.as_str()), "{name}");
            assert!(
                name.bytes()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || b"-_%~".contains(&c))
            );
            assert_eq!(content(&name, Some(id)).unwrap(), content_id);
            assert_eq!(content(&name, None).is_err(), name.starts_with(HASHED), "{name}");
            assert!(names.insert(name), "{id}");
        }
    }

    #[test]
    fn a_name_that_stands_for_no_id_is_refused() {
        for name in ["Course", "a%2", "%zz", "%+1", "%2E", "%61", "a.b", "%ff", "", "~00", "con"] {
            assert!(content(name, None).is_err(), "{name}");
            assert!(content(name, Some("other")).is_err(), "{name}");
        }
    }
}
