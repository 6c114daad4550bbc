//! The differences between templates as people read them.

use std::path::Path;

use similar::TextDiff;

/// The name of a file that does not exist, in a diff.
const NOTHING: &str = "/dev/null";

/// A unified diff from Herald's text to that of the file. `None`: there is no such template.
pub(super) fn unified(path: &Path, herald: Option<&str>, file: Option<&str>) -> String {
    let name = |side: &str, text: Option<&str>| match text {
        Some(_) => format!("{side}/{}", path.display()),
        None => NOTHING.to_owned(),
    };
    let (from, to) = (name("herald", herald), name("files", file));
    TextDiff::from_lines(herald.unwrap_or_default(), file.unwrap_or_default())
        .unified_diff()
        .context_radius(3)
        .header(&from, &to)
        .to_string()
}
