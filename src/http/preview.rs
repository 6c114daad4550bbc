//! The page that shows a preview: `GET /slack/preview/<id>`, below the paths that an ingress
//! publishes. The page itself is the same for all previews; its script reads the message from
//! `<id>/message.json` and draws it with the files of [`message_page`], which are served in
//! `/slack/preview/files/`.
//!
//! The id is the permission. An id that never existed, that was altered, or whose hour is over gets
//! the same answer.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::json;

use super::config::PREVIEW_PATH;
use super::outcome;
use super::page::{Page, Tone};
use crate::app::preview_template::PreviewPage;
use crate::app::{App, Error};
use crate::message_page::{self, CONTENT_SECURITY_POLICY, CSS, HTML, JS, PageFile, SVG};

/// The page.
const PAGE: &str = include_str!("preview/preview.html");

/// The files of the page, besides those that draw messages.
const FILES: [PageFile; 3] = [
    PageFile {
        name: "preview.css",
        content_type: CSS,
        content: include_str!("preview/preview.css"),
    },
    PageFile {
        name: "preview.svg",
        content_type: SVG,
        content: include_str!("preview/preview.svg"),
    },
    PageFile { name: "preview.js", content_type: JS, content: include_str!("preview/preview.js") },
];

pub(super) fn router(app: App) -> Router {
    Router::new()
        .route(&format!("/{PREVIEW_PATH}/{{id}}"), get(page))
        .route(&format!("/{PREVIEW_PATH}/{{id}}/message.json"), get(message))
        .route(&format!("/{PREVIEW_PATH}/files/{{name}}"), get(file))
        .with_state(app)
}

/// The part of the address that names a preview or a file.
type Named = Result<Path<String>, PathRejection>;

/// The page, if there is something to show.
async fn page(State(app): State<App>, named: Named) -> Response {
    match found(&app, named).await {
        Ok(_) => served(HTML, PAGE),
        Err(page) => (*page).into_response(),
    }
}

/// The message and the facts about it.
async fn message(State(app): State<App>, named: Named) -> Response {
    match found(&app, named).await {
        Ok(page) => {
            let milliseconds = page.expires_at.0.div_euclid(1000);
            Json(json!({ "preview": page.content, "expires_at": milliseconds })).into_response()
        }
        Err(page) => (*page).into_response(),
    }
}

/// The preview, or the page that says why there is none.
async fn found(app: &App, named: Named) -> Result<PreviewPage, Box<Page>> {
    let id = named.map(|Path(id)| id).unwrap_or_default();
    let page = match app.preview_page(&id).await {
        Ok(Some(page)) => return Ok(page),
        Ok(None) => absent(),
        Err(Error::Unavailable { .. } | Error::Exhausted { .. }) => unavailable(),
        Err(Error::Internal(error)) => {
            tracing::error!(error = &*error, "a preview cannot be read");
            broken()
        }
        Err(error) => {
            tracing::error!(%error, "a preview cannot be read");
            broken()
        }
    };
    Err(Box::new(page))
}

/// A static file.
async fn file(named: Named) -> Response {
    let name = named.map(|Path(name)| name).unwrap_or_default();
    let mut all = FILES.into_iter().chain(message_page::FILES);
    match all.find(|file| file.name == name) {
        Some(file) => served(file.content_type, file.content),
        None => outcome::not_found().into_response(),
    }
}

/// The guard leaves the policy of these answers as it is.
fn served(content_type: &'static str, content: &'static str) -> Response {
    let headers: [(HeaderName, HeaderValue); 2] = [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY)),
    ];
    (headers, content).into_response()
}

/// The page of every link that shows nothing.
fn absent() -> Page {
    Page::new(StatusCode::NOT_FOUND, Tone::Again, "There is no such preview")
        .say("A preview can be seen for an hour. This one has ended, or the link is not complete.")
        .step("Ask the person who gave you the link for a new one.")
}

/// A defect.
fn broken() -> Page {
    outcome::broken("This preview cannot be shown. The log of the service has the details.")
        .step("Make the preview again. If it happens again, tell the operator of Herald.")
}

fn unavailable() -> Page {
    outcome::down("Herald could not reach its own database.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message_page::unsafe_part;

    #[test]
    fn the_page_makes_no_markup_from_strings_and_fetches_from_here_only() {
        for (name, content) in
            FILES.map(|file| (file.name, file.content)).into_iter().chain([("the page", PAGE)])
        {
            assert_eq!(unsafe_part(content), None, "{name}");
        }
        assert!(!PAGE.contains(" style=") && !PAGE.contains("<style"), "the policy refuses it");
    }

    #[test]
    fn the_page_and_its_script_name_only_files_that_are_served() {
        let all: Vec<_> = FILES.into_iter().chain(message_page::FILES).collect();
        let script = FILES.iter().find(|file| file.name == "preview.js").unwrap().content;
        let of_page = PAGE.split('"').filter_map(|part| part.strip_prefix("files/"));
        let of_script = script.split('"').filter_map(|part| part.strip_prefix("./"));
        let named: Vec<&str> = of_page.chain(of_script).collect();
        assert_eq!(named.len(), 11);
        for name in named {
            assert!(all.iter().any(|file| file.name == name), "{name}");
        }
    }

    #[test]
    fn no_two_files_have_one_name() {
        let all = FILES.into_iter().chain(message_page::FILES);
        let names: std::collections::BTreeSet<_> = all.map(|file| file.name).collect();
        assert_eq!(names.len(), FILES.len() + message_page::FILES.len());
    }
}
