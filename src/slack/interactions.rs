//! Interactions: a person presses a button of a message (Slack's documentation: Handling user
//! interaction).
//!
//! Bytes are parsed here after [`super::signature`] has verified that they are from Slack. Only the
//! app and the workspace are read: the buttons of Herald's messages are links, which work by
//! themselves.

use serde::Deserialize;

use super::audience::EventAudience;
use super::wire;

/// Largest body accepted, in bytes, as for events. Slack documents no limit; the body repeats the
/// message, which is within Slack's limits.
pub const BODY_BYTES: usize = 256 * 1024;
/// Longest id accepted, in bytes; Slack's have about twenty characters.
const ID_BYTES: usize = 64;

/// A parsed request from Slack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interaction {
    /// A person used a button.
    Pressed {
        app_id: String,
        /// The installations that it may concern.
        audience: EventAudience,
    },
    /// Of a type that Herald does not use.
    Unused,
}

/// The body does not have the form that Slack documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body is not an interaction as Slack documents it")]
pub struct UnreadableInteraction;

#[derive(Deserialize)]
struct Payload {
    #[serde(rename = "type")]
    kind: String,
    api_app_id: Option<String>,
    /// Null if the app is installed for a whole organization.
    #[serde(default, deserialize_with = "wire::lenient")]
    team: Option<Place>,
    #[serde(default, deserialize_with = "wire::lenient")]
    enterprise: Option<Place>,
}

/// A workspace or an organization.
#[derive(Deserialize)]
struct Place {
    id: String,
}

/// Parses a body: a form whose field `payload` is JSON. Slack's signature does not cover the header
/// with the content type, so it decides nothing.
pub fn parse(body: &[u8]) -> Result<Interaction, UnreadableInteraction> {
    let mut fields = url::form_urlencoded::parse(body);
    let (_, payload) = fields.find(|(name, _)| name == "payload").ok_or(UnreadableInteraction)?;
    let payload = wire::readable(payload.as_bytes());
    let payload: Payload = serde_json::from_slice(&payload).map_err(|_| UnreadableInteraction)?;
    if payload.kind != "block_actions" {
        return Ok(Interaction::Unused);
    }
    let app_id = payload.api_app_id.unwrap_or_default();
    let [team, enterprise] =
        [payload.team, payload.enterprise].map(|place| place.map(|place| place.id));
    let audience = EventAudience::of(team.as_ref(), enterprise.as_ref(), &[]);
    if app_id.is_empty() || app_id.len() > ID_BYTES || audience.is_longer_than(ID_BYTES) {
        return Err(UnreadableInteraction);
    }
    Ok(Interaction::Pressed { app_id, audience })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn form(payload: &str) -> Vec<u8> {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("payload", payload).finish().into_bytes()
    }

    fn read(payload: &Value) -> Result<Interaction, UnreadableInteraction> {
        parse(&form(&payload.to_string()))
    }

    fn press() -> Value {
        json!({"type": "block_actions", "api_app_id": "A1", "team": {"id": "T1", "domain": "acme"},
            "enterprise": null, "is_enterprise_install": false, "user": {"id": "U1"},
            "message": {"text": "ä & b"}, "actions": [{"type": "button", "action_id": "a"}]})
    }

    fn pressed(payload: &Value) -> (Vec<String>, Vec<String>) {
        match read(payload).unwrap() {
            Interaction::Pressed { app_id, audience } => {
                assert_eq!(app_id, "A1");
                (audience.teams, audience.enterprises)
            }
            Interaction::Unused => panic!("not used: {payload}"),
        }
    }

    #[test]
    fn a_press_says_its_app_and_its_place() {
        assert_eq!(pressed(&press()), (vec!["T1".into()], vec![]));
        let mut org_wide = press();
        org_wide["team"] = json!(null);
        org_wide["enterprise"] = json!({"id": "E1", "name": "Acme"});
        assert_eq!(pressed(&org_wide), (vec![], vec!["E1".into()]));
        // A value of another type does not lose the press.
        let mut odd = press();
        odd["enterprise"] = json!("E1");
        assert_eq!(pressed(&odd), (vec!["T1".into()], vec![]));
    }

    #[test]
    fn half_a_character_in_the_message_does_not_lose_the_press() {
        let payload = press().to_string().replace("ä & b", r"a\ud83d");
        assert!(matches!(parse(&form(&payload)), Ok(Interaction::Pressed { .. })));
    }

    #[test]
    fn the_payload_is_one_field_of_a_form() {
        let among_others = [b"ssl_check=1&".as_slice(), &form(&press().to_string())].concat();
        assert!(matches!(parse(&among_others), Ok(Interaction::Pressed { .. })));
        for broken in ["", "payload", "payload=", "payload=%7B%7D", "payload={", "payload=[]"] {
            assert_eq!(parse(broken.as_bytes()), Err(UnreadableInteraction), "{broken}");
        }
        // The JSON itself, without a form.
        assert_eq!(parse(press().to_string().as_bytes()), Err(UnreadableInteraction));
    }

    #[test]
    fn what_is_not_used_is_no_error_and_what_is_too_long_is() {
        assert_eq!(read(&json!({"type": "something_new"})), Ok(Interaction::Unused));
        let long = "x".repeat(65);
        for (key, value) in [
            ("api_app_id", json!(null)),
            ("api_app_id", json!(long)),
            ("team", json!({"id": long})),
            ("enterprise", json!({"id": long})),
        ] {
            let mut broken = press();
            broken[key] = value;
            assert_eq!(read(&broken), Err(UnreadableInteraction), "{broken}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }
    }
}
