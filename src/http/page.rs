//! The only layout of all pages that people see.
//!
//! A page is a value. The template writes it and escapes every string, so that text from Slack or
//! from a browser can never become markup. Each page is self-contained (its style is inline,
//! allowed by its hash), so that a path prefix at the ingress breaks nothing.

use std::borrow::Cow;
use std::sync::LazyLock;

use axum::response::{Html, IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, StatusCode, header};
use minijinja::Environment;
use serde::Serialize;
use sha2::{Digest, Sha256};

const STYLE: &str = include_str!("page.css");

/// The outcome: decides the colour and the sign at the top.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Tone {
    /// The action succeeded.
    Done,
    /// Nothing happened, and nothing is wrong.
    Plain,
    /// The person can fix it by starting again.
    Again,
    /// The operator must look into it.
    Broken,
}

/// The content of a page.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Page {
    #[serde(skip)]
    pub(super) status: StatusCode,
    #[serde(skip)]
    pub(super) retry_after: Option<u16>,
    pub(super) tone: Tone,
    /// The name at the top.
    pub(super) platform: Cow<'static, str>,
    /// A short phrase for the outcome. Also the window's title.
    pub(super) title: Cow<'static, str>,
    /// One paragraph each.
    pub(super) said: Vec<Cow<'static, str>>,
    /// Slack's error code, if known.
    pub(super) code: Option<&'static str>,
    /// The next steps, in order.
    pub(super) steps: Vec<Cow<'static, str>>,
    /// An address relative to this one, and its text.
    pub(super) links: &'static [(&'static str, &'static str)],
    /// Links of which the person chooses one.
    pub(super) choices: Vec<(String, String)>,
    /// The one link to continue: its address and text.
    pub(super) way: Option<(String, Cow<'static, str>)>,
    /// A second link, to leave things as they are.
    pub(super) back: Option<(String, Cow<'static, str>)>,
    /// A note in small print at the end.
    pub(super) hint: Option<&'static str>,
    /// Where the browser is sent at once; the page is for browsers that do not go.
    #[serde(skip)]
    pub(super) goes_to: Option<HeaderValue>,
    /// A `Set-Cookie` header.
    #[serde(skip)]
    pub(super) cookie: Option<HeaderValue>,
}

impl Page {
    pub(super) fn new(status: StatusCode, tone: Tone, title: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            retry_after: None,
            tone,
            platform: Cow::Borrowed("Herald"),
            title: title.into(),
            said: Vec::new(),
            code: None,
            steps: Vec::new(),
            links: &[],
            choices: Vec::new(),
            way: None,
            back: None,
            hint: None,
            goes_to: None,
            cookie: None,
        }
    }

    /// Adds a paragraph.
    pub(super) fn say(mut self, sentences: impl Into<Cow<'static, str>>) -> Self {
        self.said.push(sentences.into());
        self
    }

    /// Adds a thing to do.
    pub(super) fn step(mut self, text: impl Into<Cow<'static, str>>) -> Self {
        self.steps.push(text.into());
        self
    }

    /// Names a platform at the top.
    pub(super) fn of_platform(mut self, name: &str) -> Self {
        self.platform = Cow::Owned(name.to_owned());
        self
    }

    /// Sets the link to continue.
    pub(super) fn way(mut self, to: &url::Url, words: impl Into<Cow<'static, str>>) -> Self {
        self.way = Some((to.to_string(), words.into()));
        self
    }

    /// Adds a link to choose.
    pub(super) fn choice(mut self, to: &url::Url, words: impl Into<String>) -> Self {
        self.choices.push((to.to_string(), words.into()));
        self
    }

    /// Sets the second link.
    pub(super) fn back(mut self, to: &url::Url, words: impl Into<Cow<'static, str>>) -> Self {
        self.back = Some((to.to_string(), words.into()));
        self
    }

    /// Sends the browser to another page. A URL is visible ASCII.
    pub(super) fn going_to(mut self, to: &url::Url) -> Self {
        self.goes_to = HeaderValue::try_from(to.as_str()).ok();
        self
    }

    /// Sets or clears a cookie.
    pub(super) fn with_cookie(mut self, cookie: Option<HeaderValue>) -> Self {
        self.cookie = cookie;
        self
    }

    pub(super) fn hint(mut self, sentence: &'static str) -> Self {
        self.hint = Some(sentence);
        self
    }

    #[cfg(test)]
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn html(&self) -> Result<String, minijinja::Error> {
        TEMPLATES.get_template(LAYOUT)?.render(minijinja::context! {
            page => minijinja::value::Serde(self),
            style => minijinja::Value::from_safe_string(STYLE.to_owned()),
        })
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let mut response = match self.html() {
            Ok(html) => (self.status, Html(html)).into_response(),
            Err(error) => {
                tracing::error!(%error, "a page cannot be written");
                (self.status, self.title).into_response()
            }
        };
        if let Some(to) = self.goes_to {
            *response.status_mut() = StatusCode::SEE_OTHER;
            response.headers_mut().insert(header::LOCATION, to);
        }
        if let Some(cookie) = self.cookie {
            response.headers_mut().insert(header::SET_COOKIE, cookie);
        }
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// The permissions of a browser on these pages: only the style sheet and the icon, both inline.
pub(super) fn policy() -> HeaderValue {
    POLICY.clone()
}

static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'"
    );
    #[expect(clippy::expect_used, reason = "base64 and constants are visible ASCII")]
    HeaderValue::try_from(policy).expect("visible ASCII")
});

/// The extension turns on HTML escaping.
const LAYOUT: &str = "page.html";

static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut templates = Environment::new();
    #[expect(clippy::expect_used, reason = "a constant; the tests of every page parse it")]
    templates.add_template(LAYOUT, include_str!("page.html")).expect("the layout");
    templates
});

/// Longest name that is shown, in characters.
pub(super) const NAME_CHARS: usize = 80;

/// A name as one short line, without characters that would change the direction of the surrounding
/// text.
pub(super) fn tidy(name: &str) -> String {
    fn turns(c: char) -> bool {
        matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    }
    let visible: String = name.chars().filter(|c| !c.is_control() && !turns(*c)).collect();
    let visible = visible.trim();
    match visible.char_indices().nth(NAME_CHARS) {
        Some((end, _)) => format!("{}…", visible[..end].trim_end()),
        None => visible.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = r#"</style><script>alert('&')</script><img src=x onerror="alert(1)">"#;

    #[test]
    fn whatever_a_page_is_given_stays_text() {
        let page = Page::new(StatusCode::OK, Tone::Done, HOSTILE).say(HOSTILE).step(HOSTILE);
        let html = page.html().unwrap();
        assert!(!html.contains("<script") && !html.contains("<img"), "{html}");
        assert_eq!(html.matches("&lt;script&gt;").count(), 4, "title, heading, said, step");
        assert_eq!(html.matches("</style>").count(), 1);
    }

    #[test]
    fn the_policy_allows_exactly_the_style_that_is_there() {
        let html = Page::new(StatusCode::OK, Tone::Plain, "x").html().unwrap();
        let (_, rest) = html.split_once("<style>").unwrap();
        let (style, _) = rest.split_once("</style>").unwrap();
        let hash = STANDARD.encode(Sha256::digest(style));
        assert!(policy().to_str().unwrap().contains(&format!("'sha256-{hash}'")));
        assert!(!html.contains(" style="), "the policy refuses style attributes");
        assert!(!html.contains("<script"));
    }
}
