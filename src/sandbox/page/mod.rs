//! The page that shows the sandbox's conversations in a browser, with their blocks rendered as in
//! Slack.
//!
//! It consists of static files: the scripts read the control API under `/_sandbox/` and follow its
//! event stream. The contents of messages come from any caller of the sandbox, so the page sets all
//! text through `textContent`, and the policy below makes the browser refuse inline scripts and
//! markup made from strings (`trusted-types 'none'`).
//!
//! `/#C123` opens a conversation, `/#all` shows all of them together. `/?still` reads once and
//! opens no stream, so that `chromium --headless --virtual-time-budget=5000 --screenshot` finishes
//! with the messages drawn.

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use http::{HeaderName, header};

/// The permissions of a browser on this page: scripts, styles and connections only from and to this
/// server, and no framing. Images may come from any https address, as may an `image_url` in a
/// block.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; \
     style-src 'self'; img-src 'self' https:; connect-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SVG: &str = "image/svg+xml";
const JS: &str = "text/javascript; charset=utf-8";

/// Path, content type and content of each file.
const FILES: [(&str, &str, &str); 14] = [
    ("/", HTML, include_str!("page.html")),
    ("/_sandbox/page.css", CSS, include_str!("page.css")),
    ("/_sandbox/blocks.css", CSS, include_str!("blocks.css")),
    ("/_sandbox/page.svg", SVG, include_str!("page.svg")),
    // Browsers request it on pages that name no icon.
    ("/favicon.ico", SVG, include_str!("page.svg")),
    ("/_sandbox/emoji.svg", SVG, include_str!("emoji.svg")),
    ("/_sandbox/page.js", JS, include_str!("page.js")),
    ("/_sandbox/messages.js", JS, include_str!("messages.js")),
    ("/_sandbox/blocks.js", JS, include_str!("blocks.js")),
    ("/_sandbox/rich_text.js", JS, include_str!("rich_text.js")),
    ("/_sandbox/markdown.js", JS, include_str!("markdown.js")),
    ("/_sandbox/mrkdwn.js", JS, include_str!("mrkdwn.js")),
    ("/_sandbox/emoji.js", JS, include_str!("emoji.js")),
    ("/_sandbox/dom.js", JS, include_str!("dom.js")),
];

/// The page at `/` and its files under `/_sandbox/`; merge it into the sandbox's router, which may
/// have any state.
pub fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    FILES.into_iter().fold(Router::new(), |router, (path, content_type, content)| {
        router.route(path, get(move || std::future::ready(answer(content_type, content))))
    })
}

fn answer(content_type: &'static str, content: &'static str) -> impl IntoResponse {
    let headers: [(HeaderName, &str); 5] = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::{Body, to_bytes};
    use http::{Request, StatusCode};
    use tower::ServiceExt as _;

    async fn fetch(path: &str) -> (StatusCode, http::HeaderMap, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let (head, body) = router::<()>().oneshot(request).await.unwrap().into_parts();
        let body = to_bytes(body, 1 << 20).await.unwrap();
        (head.status, head.headers, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn every_file_is_answered_with_its_type_and_the_policy() {
        for (path, content_type, content) in FILES {
            let (status, headers, body) = fetch(path).await;
            assert_eq!(status, StatusCode::OK, "{path}");
            assert_eq!(headers[header::CONTENT_TYPE], content_type, "{path}");
            assert_eq!(headers[header::CACHE_CONTROL], "no-store", "{path}");
            assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff", "{path}");
            assert_eq!(headers[header::CONTENT_SECURITY_POLICY], CONTENT_SECURITY_POLICY, "{path}");
            assert_eq!(body, content, "{path}");
        }
    }

    #[tokio::test]
    async fn the_shell_and_its_modules_name_only_files_that_are_answered() {
        let mut named = 0;
        for (_, _, content) in FILES {
            for part in content.split(['"', '\'']) {
                let file = part.strip_prefix("./").or_else(|| part.strip_prefix("/_sandbox/"));
                let Some((name, extension @ ("js" | "css" | "svg"))) =
                    file.and_then(|file| file.split_once('.'))
                else {
                    continue;
                };
                let (status, ..) = fetch(&format!("/_sandbox/{name}.{extension}")).await;
                assert_eq!(status, StatusCode::OK, "{name}.{extension}");
                named += 1;
            }
        }
        assert!(named >= FILES.len() - 4, "found {named} references");
    }

    #[test]
    fn no_script_makes_markup_from_strings() {
        for (path, _, content) in FILES {
            for banned in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "srcdoc",
            ] {
                assert!(!content.contains(banned), "{path} holds {banned}");
            }
        }
    }

    #[test]
    fn nothing_is_fetched_from_elsewhere() {
        for (path, _, content) in FILES {
            for banned in ["src=\"http", "@import", "url(http", "from \"http", "href=\"http"] {
                assert!(!content.contains(banned), "{path} holds {banned}");
            }
        }
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
