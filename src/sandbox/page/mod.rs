//! The page that shows the sandbox's conversations in a browser, with their blocks rendered as in
//! Slack.
//!
//! It consists of static files: the scripts read the control API under `/_sandbox/` and follow its
//! event stream. The contents of messages come from any caller of the sandbox, so the page sets all
//! text through `textContent`, and has the policy of [`message_page`], whose files draw the
//! messages.
//!
//! `/#C123` opens a conversation, `/#all` shows all of them together. `/?still` reads once and
//! opens no stream, so that `chromium --headless --virtual-time-budget=5000 --screenshot` finishes
//! with the messages drawn.

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use http::{HeaderName, header};

use crate::message_page::{self, CONTENT_SECURITY_POLICY, CSS, HTML, JS, SVG};

/// Path, content type and content of each file of the page itself.
const FILES: [(&str, &str, &str); 7] = [
    ("/", HTML, include_str!("page.html")),
    ("/_sandbox/page.css", CSS, include_str!("page.css")),
    ("/_sandbox/page.svg", SVG, include_str!("page.svg")),
    // Browsers request it on pages that name no icon.
    ("/favicon.ico", SVG, include_str!("page.svg")),
    ("/_sandbox/page.js", JS, include_str!("page.js")),
    ("/_sandbox/channel.js", JS, include_str!("channel.js")),
    ("/_sandbox/messages.js", JS, include_str!("messages.js")),
];

/// The same of all files, with those that draw messages.
fn files() -> impl Iterator<Item = (String, &'static str, &'static str)> {
    let drawing = message_page::FILES.into_iter();
    let drawing =
        drawing.map(|file| (format!("/_sandbox/{}", file.name), file.content_type, file.content));
    FILES.into_iter().map(|(path, kind, content)| (path.to_owned(), kind, content)).chain(drawing)
}

/// The page at `/` and its files under `/_sandbox/`; merge it into the sandbox's router, which may
/// have any state.
pub fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    files().fold(Router::new(), |router, (path, content_type, content)| {
        router.route(&path, get(move || std::future::ready(answer(content_type, content))))
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
        for (path, content_type, content) in files() {
            let (status, headers, body) = fetch(&path).await;
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
        for (_, _, content) in files() {
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
        assert!(named >= files().count() - 4, "found {named} references");
    }

    #[test]
    fn no_file_makes_markup_from_strings_or_fetches_from_other_servers() {
        for (path, _, content) in FILES {
            assert_eq!(message_page::unsafe_part(content), None, "{path}");
        }
    }
}
