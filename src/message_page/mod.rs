//! Draws Slack messages in a browser, as Slack draws them: static scripts, style sheets and
//! pictures, without a page around them. The sandbox's page uses them, and so does the page of a
//! preview (`http`).
//!
//! The files name each other by relative addresses, so they can be served below any path, all in
//! one folder. The contents of messages are foreign: the scripts set all text through
//! `textContent`, and the policy below makes the browser refuse inline scripts and markup made from
//! strings (`trusted-types 'none'`).

/// The permissions of a browser on a page with these files: scripts, styles and connections only
/// from and to this server, and no framing. Images may come from any https address, as may an
/// `image_url` in a block.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; \
     style-src 'self'; img-src 'self' https:; connect-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'";

/// The content type of a page.
pub const HTML: &str = "text/html; charset=utf-8";
/// The content type of a style sheet.
pub const CSS: &str = "text/css; charset=utf-8";
/// The content type of a picture.
pub const SVG: &str = "image/svg+xml";
/// The content type of a script.
pub const JS: &str = "text/javascript; charset=utf-8";

/// A static file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageFile {
    /// Its name, without a folder.
    pub name: &'static str,
    pub content_type: &'static str,
    pub content: &'static str,
}

const fn file(name: &'static str, content_type: &'static str, content: &'static str) -> PageFile {
    PageFile { name, content_type, content }
}

/// All files. `blocks.js` is the entry: its function `blocks` turns a message into nodes. A page
/// links all style sheets, `base.css` first.
pub const FILES: [PageFile; 16] = [
    file("base.css", CSS, include_str!("base.css")),
    file("blocks.css", CSS, include_str!("blocks.css")),
    file("cards.css", CSS, include_str!("cards.css")),
    file("data.css", CSS, include_str!("data.css")),
    file("emoji.svg", SVG, include_str!("emoji.svg")),
    file("blocks.js", JS, include_str!("blocks.js")),
    file("cards.js", JS, include_str!("cards.js")),
    file("tasks.js", JS, include_str!("tasks.js")),
    file("tables.js", JS, include_str!("tables.js")),
    file("charts.js", JS, include_str!("charts.js")),
    file("elements.js", JS, include_str!("elements.js")),
    file("rich_text.js", JS, include_str!("rich_text.js")),
    file("markdown.js", JS, include_str!("markdown.js")),
    file("mrkdwn.js", JS, include_str!("mrkdwn.js")),
    file("emoji.js", JS, include_str!("emoji.js")),
    file("dom.js", JS, include_str!("dom.js")),
];

/// A part that a file of a page must not have: it would make markup from strings, or fetch
/// something from another server. For tests.
#[cfg(test)]
pub(crate) fn unsafe_part(content: &str) -> Option<&'static str> {
    const BANNED: [&str; 11] = [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "srcdoc",
        "src=\"http",
        "@import",
        "url(http",
        "from \"http",
        "href=\"http",
    ];
    BANNED.into_iter().find(|banned| content.contains(banned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_makes_markup_from_strings_or_fetches_from_other_servers() {
        for file in FILES {
            assert_eq!(unsafe_part(file.content), None, "{}", file.name);
        }
        assert_eq!(unsafe_part("node.innerHTML = text"), Some("innerHTML"));
    }

    #[test]
    fn files_name_only_files_of_the_same_folder() {
        let mut named = 0;
        for PageFile { name, content, .. } in FILES {
            assert!(!content.contains("_sandbox"), "{name} names a path");
            for part in content.split('"').filter_map(|part| part.strip_prefix("./")) {
                assert!(FILES.iter().any(|file| file.name == part), "{name} names {part}");
                named += 1;
            }
        }
        assert!(named >= FILES.len() - 3, "found {named} references");
    }

    #[test]
    fn every_emoji_said_to_be_drawn_has_its_picture() {
        let drawn = include_str!("emoji.js").split_once("DRAWN = new Set([").unwrap().1;
        let drawn = drawn.split_once("]);").unwrap().0;
        let mut count = 0;
        for emoji in drawn.split('"').skip(1).step_by(2) {
            let code = u32::from(emoji.chars().next().unwrap());
            let view = format!("<view id=\"u{code:x}\"");
            assert!(include_str!("emoji.svg").contains(&view), "{emoji} ({code:x})");
            count += 1;
        }
        assert_eq!(count, include_str!("emoji.svg").matches("<view ").count());
    }
}
