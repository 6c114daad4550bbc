//! The test message of TestSlack. It takes the same path as every other message and says that it is
//! a test.

use crate::domain::ids::EventType;

/// The event type under which test messages are stored. Notify refuses it.
pub const NAME: &str = "herald.test";

/// [`NAME`] as an event type.
#[must_use]
pub fn event_type() -> EventType {
    #[expect(clippy::expect_used, reason = "a constant; a test parses it")]
    EventType::parse(NAME).expect("constant")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::message::render::{Context, Language, Reader};
    use crate::domain::message::wording;
    use crate::domain::time::Timestamp;

    #[test]
    fn it_renders_from_nothing() {
        let reader = Reader { name: None, locales: Vec::new(), time_zone: "UTC".into() };
        let data = serde_json::json!({});
        let event = event_type();
        let context = Context {
            event: &event,
            data: &data,
            reader: &reader,
            link: None,
            button: "Open",
            now: Timestamp(0),
        };
        let words = wording::test_message().words(Language::English);
        let rendered = words.compiled.render(&context).unwrap();
        assert!(rendered.text.starts_with("Test message"));
        assert_eq!(rendered.blocks.as_array().map(Vec::len), Some(2));
    }
}
