//! Steps that were refused, as they are stored with the progress of a channel.

use serde::{Deserialize, Serialize};

use super::state::ChannelObstacle;
use crate::domain::time::Timestamp;

/// The code of `Step::Inspect`.
pub(super) const INSPECT: &str = "inspect";
/// The code of `Step::Mark`.
pub(super) const MARK: &str = "mark";

/// A step and the values that its refusal depends on. With other values it is another step, which
/// may be tried at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepKey {
    /// The step's code.
    pub step: String,
    /// `None`: a refusal of this step does not depend on the wish.
    pub depends_on: Option<String>,
}

impl StepKey {
    #[must_use]
    pub fn plain(step: &str) -> Self {
        Self { step: step.to_owned(), depends_on: None }
    }

    #[must_use]
    pub fn with(step: &str, depends_on: String) -> Self {
        Self { step: step.to_owned(), depends_on: Some(depends_on) }
    }

    /// The text that stood for the key in the releases before.
    fn text(&self) -> String {
        match &self.depends_on {
            Some(depends_on) => format!("{} {depends_on}", self.step),
            None => self.step.clone(),
        }
    }

    fn of_text(text: &str) -> Self {
        match text.split_once(' ') {
            Some((step, depends_on)) => Self::with(step, depends_on.to_owned()),
            None => Self::plain(text),
        }
    }
}

/// A refused step. It is not tried again before `until`, unless it changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredRefusal", into = "StoredRefusal")]
pub struct StepRefusal {
    pub key: StepKey,
    pub obstacle: ChannelObstacle,
    /// Slack's code.
    pub code: String,
    pub until: Timestamp,
}

/// A refusal in the database. The release before this one, which runs during an upgrade and after a
/// rollback, reads and writes only the text of the key.
#[derive(Serialize, Deserialize)]
struct StoredRefusal {
    /// The step's code and, after a space, the values that the refusal depends on.
    key: String,
    #[serde(default)]
    step: Option<String>,
    #[serde(default)]
    depends_on: Option<String>,
    obstacle: ChannelObstacle,
    code: String,
    until: Timestamp,
}

impl From<StoredRefusal> for StepRefusal {
    fn from(stored: StoredRefusal) -> Self {
        let StoredRefusal { key, step, depends_on, obstacle, code, until } = stored;
        let key = match step {
            Some(step) => StepKey { step, depends_on },
            None => StepKey::of_text(&key),
        };
        Self { key, obstacle, code, until }
    }
}

impl From<StepRefusal> for StoredRefusal {
    fn from(refusal: StepRefusal) -> Self {
        let StepRefusal { key, obstacle, code, until } = refusal;
        let text = key.text();
        let StepKey { step, depends_on } = key;
        Self { key: text, step: Some(step), depends_on, obstacle, code, until }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Red if `StepKey::of_text` takes the whole text for the step, or `StepKey::text` leaves out
    /// the values.
    #[test]
    fn this_release_and_the_one_before_read_the_refusals_of_each_other() {
        for (text, key) in [
            ("inspect", StepKey::plain(INSPECT)),
            ("set_topic ", StepKey::with("set_topic", String::new())),
            ("create fail false a-b c", StepKey::with("create", "fail false a-b c".into())),
        ] {
            let (obstacle, until) = (ChannelObstacle::NameTaken, Timestamp(9));
            let before = json!({
                "key": text, "obstacle": obstacle, "code": "name_taken", "until": until,
            });
            let read: StepRefusal = serde_json::from_value(before).unwrap();
            let refusal = StepRefusal { key, obstacle, code: "name_taken".into(), until };
            assert_eq!(read, refusal);
            let stored = serde_json::to_value(&refusal).unwrap();
            assert_eq!(stored["key"], text);
            assert_eq!(serde_json::from_value::<StepRefusal>(stored).unwrap(), refusal);
        }
    }

    /// Red if the key is made from its text although the step is stored.
    #[test]
    fn the_step_is_read_from_its_own_field() {
        let stored = json!({
            "key": "another form", "step": "mark", "depends_on": "a b",
            "obstacle": ChannelObstacle::RefusedBySlack, "code": "fatal", "until": Timestamp(9),
        });
        let read: StepRefusal = serde_json::from_value(stored).unwrap();
        assert_eq!(read.key, StepKey::with(MARK, "a b".into()));
    }
}
