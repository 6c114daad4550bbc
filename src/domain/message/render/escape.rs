//! Text from users, made harmless before it is put into a message.
//!
//! - In mrkdwn exactly `&`, `<` and `>` are escaped, as Slack requires ("Formatting message text");
//!   so `<!channel>`, `<@U1>` and `<http://x|label>` from data are shown, not executed. `*`, `_`,
//!   `~` and backticks are not escaped: they can only change how a name looks. Every mrkdwn object
//!   is sent with `verbatim: true`, so Slack links no bare URL, `#channel` or `@here` in it either.
//! - plain_text has no markup, and Slack escapes it itself (slackapi/bolt-python#513), so `&`, `<`,
//!   `>` stay. Only a `<` that begins a possible token becomes `‹`, so that a client that treats
//!   the field as mrkdwn finds no token.
//! - Control characters and direction overrides (which could make a line read backwards) are
//!   dropped; line breaks become spaces, because a name is one line.

use url::Url;

/// The dropped characters: controls apart from white space, direction overrides and isolates, and
/// the byte-order mark.
fn dropped(c: char) -> bool {
    (c.is_control() && !c.is_whitespace())
        || matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
}

/// Drops characters that do not belong in a message, and makes every run of white space one space.
#[must_use]
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    let mut pending = false;
    for c in text.chars().filter(|c| !dropped(*c)) {
        if c.is_whitespace() {
            pending = !line.is_empty();
        } else {
            if std::mem::take(&mut pending) {
                line.push(' ');
            }
            line.push(c);
        }
    }
    line
}

/// Like [`one_line`], but keeps line breaks, at most two in a row.
pub(super) fn lines(text: &str) -> String {
    let text = text.replace("\r\n", "\n");
    let mut kept = String::with_capacity(text.len());
    let mut blank = 0;
    for line in text.split(['\n', '\r', '\u{2028}', '\u{2029}', '\u{85}']).map(one_line) {
        blank = if line.is_empty() { blank + 1 } else { 0 };
        if blank < 2 {
            if !kept.is_empty() {
                kept.push('\n');
            }
            kept.push_str(&line);
        }
    }
    kept.trim().to_owned()
}

/// For mrkdwn.
pub(in crate::domain::message) fn mrkdwn(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// For plain_text and for strings outside text objects.
pub(in crate::domain::message) fn plain(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        let after = &rest[at + 1..];
        // The following text may continue this one, so half a token counts as a token. A client may
        // be less strict than Slack's documents, so `mailto` needs no colon.
        let token = ["!", "@", "#", "http", "mailto"].iter().any(|start| {
            let both = start.len().min(after.len());
            after.get(..both).is_some_and(|head| head.eq_ignore_ascii_case(&start[..both]))
        });
        safe.push_str(&rest[..at]);
        safe.push(if token { '‹' } else { '<' });
        rest = after;
    }
    safe.push_str(rest);
    safe
}

/// Why a text is not a link target. The sentence continues the name of the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error("must be an absolute http or https URL")]
    NotHttp,
    #[error("must not have a user name or a password")]
    Credentials,
    #[error(
        "must be at most {max} characters; a URL cannot be shortened",
        max = crate::domain::limits::URL_BYTES
    )]
    TooLong,
}

/// An absolute http or https URL, percent-encoded where needed, so that it contains no `<`, `>`,
/// `|`, quote or space.
pub fn url(text: &str) -> Result<String, UrlError> {
    let text = text.trim();
    // The parser drops line breaks and tabs, so the host would be another one than a reader sees.
    if text.chars().any(|c| c.is_control() || (c.is_whitespace() && c != ' ')) {
        return Err(UrlError::NotHttp);
    }
    let url = Url::parse(text).map_err(|_| UrlError::NotHttp)?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(UrlError::NotHttp);
    }
    // A reader takes a user name before `@` for the host.
    if !url.username().is_empty() || url.password().is_some_and(|password| !password.is_empty()) {
        return Err(UrlError::Credentials);
    }
    let text = String::from(url).replace('|', "%7C").replace('<', "%3C").replace('>', "%3E");
    if text.len() > crate::domain::limits::URL_BYTES {
        return Err(UrlError::TooLong);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_from_users_is_shown_not_obeyed() {
        assert_eq!(
            mrkdwn("<!channel> & <http://x|y>"),
            "&lt;!channel&gt; &amp; &lt;http://x|y&gt;"
        );
        assert_eq!(plain("a <"), "a ‹");
        assert_eq!(plain("a <ht"), "a ‹ht");
        assert_eq!(plain("R&D <3 <!here> <HTTP://x|y>"), "R&D <3 ‹!here> ‹HTTP://x|y>");
    }

    #[test]
    fn a_name_is_one_line_without_controls() {
        assert_eq!(one_line("  a\r\n\tb\u{0}\u{202E}c \n"), "a bc");
        assert_eq!(lines("a\r\n\r\n\n\nb \n"), "a\n\nb");
    }

    #[test]
    fn only_http_urls_pass_and_no_markup_survives_in_them() {
        assert_eq!(
            url(" https://x.test/a b|<c>?q=\"1\"#<>|").unwrap(),
            "https://x.test/a%20b%7C%3Cc%3E?q=%221%22#%3C%3E%7C"
        );
        for bad in
            ["", "x", "/a", "javascript:alert(1)", "mailto:a@b.test", "ftp://x.test", "https://"]
        {
            assert_eq!(url(bad), Err(UrlError::NotHttp), "{bad}");
        }
        for bad in [
            "https://bank.example\n.evil.test/login",
            "https://bank.example\t.evil.test",
            "https://x.test/a\rb",
            "https://x.test/a\u{2028}b",
            "\u{1}https://x.test",
            "https://bank example",
        ] {
            assert_eq!(url(bad), Err(UrlError::NotHttp), "{bad:?}");
        }
        for bad in ["https://bank.example@x.test/", "https://:secret@x.test/"] {
            assert_eq!(url(bad), Err(UrlError::Credentials), "{bad}");
        }
        assert_eq!(url("https://x.test/@a").unwrap(), "https://x.test/@a");
        assert_eq!(url(&format!("https://x.test/{}", "a".repeat(3000))), Err(UrlError::TooLong));
    }
}
