//! Bodies of Slack's events: JSON, as `POST /slack/events` takes it.
//!
//! A body is understood completely or not at all: ids in an understood event have a bounded length,
//! a member reads the same from its text and from the parsed object, and an event about a channel
//! reads the same after it was stored. A signed body is acknowledged whatever it contains, and the
//! answer is empty except for a challenge; a body changed in transit is refused.

use std::sync::LazyLock;

use herald::domain::directory::member::Member;
use herald::domain::ids::SlackUserId;
use herald::slack::channel_events::ChannelEvent;
use herald::slack::events::{self, Incoming, What};
use http::StatusCode;
use serde_json::Value;

use super::front::Front;

/// The longest id, in bytes.
const ID_BYTES: usize = 64;

static FRONT: LazyLock<Front> = LazyLock::new(Front::open);

pub(crate) fn run(body: &[u8]) {
    let incoming = events::parse(body);
    let challenge = match &incoming {
        Ok(Incoming::Verification { challenge }) => challenge.clone(),
        Ok(Incoming::Event(event)) => {
            for id in [&event.id, &event.app_id] {
                assert!((1..=ID_BYTES).contains(&id.len()), "{id}");
            }
            let places = event.audience.teams.iter().chain(&event.audience.enterprises);
            places.for_each(|id| assert!(id.len() <= ID_BYTES, "{id}"));
            match &event.what {
                What::Member { member, .. } => same_member(member.get()),
                What::Channel { event, .. } => {
                    let stored = serde_json::to_vec(event).unwrap();
                    let read: ChannelEvent = serde_json::from_slice(&stored).unwrap();
                    assert_eq!(&read, event);
                }
                What::HomeOpened { member } => {
                    assert!(SlackUserId::parse(member.as_str()).is_ok(), "{member}");
                }
                What::Organization { .. }
                | What::Uninstalled
                | What::TokenRevoked
                | What::RateLimited => {}
            }
            String::new()
        }
        Ok(Incoming::Unused) | Err(_) => String::new(),
    };
    let again = events::parse(body);
    assert_eq!(format!("{incoming:?}"), format!("{again:?}"));
    if body.len() > events::BODY_BYTES {
        return;
    }
    assert_eq!(post(body, body), (StatusCode::OK, challenge));
    let changed = [body, b" "].concat();
    assert_eq!(post(body, &changed), (StatusCode::UNAUTHORIZED, String::new()));
}

fn same_member(json: &str) {
    // A number outside the range of a double is kept as written, and nothing is read from it.
    let Ok(value) = serde_json::from_str::<Value>(json) else { return };
    let (text, parsed) = (Member::from_slice(json.as_bytes()), Member::from_value(&value));
    assert_eq!(text, parsed, "{json}");
    assert!(text.is_err() || value.is_object());
}

/// The answer to `body` with the signature of `signed`.
fn post(signed: &[u8], body: &[u8]) -> (StatusCode, String) {
    FRONT.post("/slack/events", signed, body)
}
