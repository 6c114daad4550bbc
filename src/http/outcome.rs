//! The pages of the server itself, which belong to no attempt to connect.

use std::time::Duration;

use http::StatusCode;

use super::page::{Page, Tone};

/// The page of a server without its database.
pub(super) fn down(sentence: &'static str) -> Page {
    let title = "Herald is unavailable for the moment";
    let mut page = Page::new(StatusCode::SERVICE_UNAVAILABLE, Tone::Again, title)
        .say(sentence)
        .step("Load this page again in a few seconds.");
    page.retry_after = Some(5);
    page
}

/// The page of a defect, without its steps.
pub(super) fn broken(sentence: &'static str) -> Page {
    Page::new(StatusCode::INTERNAL_SERVER_ERROR, Tone::Broken, "Something went wrong in Herald")
        .say(sentence)
}

/// `/`: describes this server, without revealing anything about its users.
pub(super) fn landing() -> Page {
    let mut page = Page::new(StatusCode::OK, Tone::Done, "Herald is running")
        .say(
            "This server delivers notifications to Slack. Slack and monitoring come here; there \
             is nothing to sign in to. Services call it over gRPC, on another port.",
        )
        .hint(concat!("Version ", env!("CARGO_PKG_VERSION")));
    page.links = &[("healthz", "Alive?"), ("readyz", "Ready?"), ("metrics", "Metrics")];
    page
}

pub(super) fn not_found() -> Page {
    Page::new(StatusCode::NOT_FOUND, Tone::Plain, "There is nothing here")
        .say("The address is not one of Herald’s. Check the address for a typing error.")
}

pub(super) fn wrong_method() -> Page {
    Page::new(StatusCode::METHOD_NOT_ALLOWED, Tone::Plain, "Not like this")
        .say("This address does not take that kind of request.")
}

pub(super) fn too_slow() -> Page {
    let mut page = Page::new(StatusCode::SERVICE_UNAVAILABLE, Tone::Again, "This took too long")
        .say("Herald gave up on answering. Try again in a moment.");
    page.retry_after = Some(5);
    page
}

/// Bodies of other requests take all the memory for them.
pub(super) fn overloaded() -> Page {
    let mut page = Page::new(StatusCode::SERVICE_UNAVAILABLE, Tone::Again, "Too much at once")
        .say("Herald is reading as many requests as it can. Try again in a moment.");
    page.retry_after = Some(1);
    page
}

pub(super) fn too_often(wait: Duration) -> Page {
    let mut page = Page::new(StatusCode::TOO_MANY_REQUESTS, Tone::Again, "Too many requests")
        .say("Too many requests come from this address. Try again in a moment.");
    page.retry_after = Some(u16::try_from(wait.as_secs()).unwrap_or(u16::MAX).saturating_add(1));
    page
}
