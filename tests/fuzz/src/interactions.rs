//! Bodies of Slack's interactions: a form with JSON, as `POST /slack/interactions` takes it.
//!
//! A body is understood completely or not at all, and ids in an understood interaction have a
//! bounded length. A signed body is acknowledged exactly if it is understood; a body changed in
//! transit is refused. Every answer is empty.

use std::sync::LazyLock;
use std::time::UNIX_EPOCH;

use axum::body::{Body, to_bytes};
use herald::domain::secret::Secret;
use herald::slack::interactions::{self, Interaction};
use herald::slack::signature::sign;
use http::{Request, StatusCode};

use super::front::{Front, RUNTIME, SIGNING_SECRET};

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
    #[expect(clippy::disallowed_methods, reason = "this is Slack's clock")]
    let now = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let timestamp = now.to_string();
    let request = Request::post("/slack/interactions")
        .header("x-slack-signature", sign(&Secret::new(SIGNING_SECRET), &timestamp, signed))
        .header("x-slack-request-timestamp", timestamp)
        .body(Body::from(body.to_vec()))
        .unwrap();
    let front = &*FRONT;
    RUNTIME.block_on(async {
        let answer = front.ask(request).await;
        let (status, body) = (answer.status(), answer.into_body());
        assert_eq!(to_bytes(body, usize::MAX).await.unwrap(), "");
        status
    })
}
