//! Bodies of Slack's interactions: a form with JSON, as `POST /slack/interactions` takes it.
//!
//! A body is understood completely or not at all, and ids in an understood interaction have a
//! bounded length. A signed body is acknowledged exactly if it is understood; a body changed in
//! transit is refused. Every answer is empty.

use std::sync::LazyLock;

use herald::slack::interactions::{self, Interaction};
use http::StatusCode;

use super::front::Front;

/// The longest id, in bytes.
const ID_BYTES: usize = 64;

static FRONT: LazyLock<Front> = LazyLock::new(Front::open);

pub(crate) fn run(body: &[u8]) {
    let interaction = interactions::parse(body);
    if let Ok(Interaction::Pressed { app_id, audience }) = &interaction {
        assert!((1..=ID_BYTES).contains(&app_id.len()), "{app_id}");
        let places = audience.teams.iter().chain(&audience.enterprises);
        places.for_each(|id| assert!((1..=ID_BYTES).contains(&id.len()), "{id}"));
    }
    assert_eq!(interaction, interactions::parse(body));
    if body.len() > interactions::BODY_BYTES {
        return;
    }
    let understood = if interaction.is_ok() { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    assert_eq!(post(body, body), understood);
    let changed = [body, b" "].concat();
    assert_eq!(post(body, &changed), StatusCode::UNAUTHORIZED);
}

/// The status of the answer to `body` with the signature of `signed`.
fn post(signed: &[u8], body: &[u8]) -> StatusCode {
    let (status, text) = FRONT.post("/slack/interactions", signed, body);
    assert_eq!(text, "");
    status
}
