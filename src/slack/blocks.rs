//! Checks blocks without sending them (blocks.validate).

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::answer::Effect;
use super::client::{Auth, Body, Client, MethodCall};
use super::{Error, wire};
use crate::domain::capacity::slack_method::Method;
use crate::domain::secret::Secret;

/// One objection of Slack to blocks. Debug is not implemented: Slack may quote the message.
#[derive(Clone, PartialEq, Eq)]
pub struct Objection {
    /// Slack's code, such as `failed_constraint`.
    pub code: String,
    /// Slack's sentence.
    pub message: String,
    /// A JSON pointer into the blocks, such as `/0/text/text`.
    pub pointer: String,
    /// The broken rule as JSON; empty if Slack names none.
    pub constraint: String,
}

/// Most objections that are kept, and most characters of each of their texts.
const OBJECTIONS: usize = 50;
const CHARS: usize = 500;

#[derive(Deserialize)]
struct WireChecked {
    ok: bool,
    error: Option<String>,
    errors: Option<Vec<WireObjection>>,
}

#[derive(Deserialize)]
struct WireObjection {
    #[serde(default, deserialize_with = "wire::lenient")]
    code: Option<String>,
    #[serde(default, deserialize_with = "wire::lenient")]
    message: Option<String>,
    #[serde(default, deserialize_with = "wire::lenient")]
    pointer: Option<String>,
    constraint: Option<Box<RawValue>>,
}

impl Client {
    /// Slack's objections to these blocks; none if it accepts them.
    pub async fn blocks_validate(
        &self,
        token: &Secret,
        blocks: &Value,
    ) -> Result<Vec<Objection>, Error> {
        let call = MethodCall {
            method: Method::BlocksValidate,
            effect: Effect::Repeatable,
            auth: Auth::Bearer(token),
            body: Body::Form(vec![("blocks", blocks.to_string())]),
        };
        let checked: WireChecked = self.call(call).await?.value;
        if checked.ok {
            return Ok(Vec::new());
        }
        let given = checked.errors.unwrap_or_default().into_iter().take(OBJECTIONS);
        let mut objections: Vec<Objection> = given.map(Objection::from).collect();
        // A refusal without a reason is still a refusal.
        if objections.is_empty() {
            let code = cut(checked.error.as_deref());
            let (message, pointer, constraint) = (String::new(), String::new(), String::new());
            objections.push(Objection { code, message, pointer, constraint });
        }
        Ok(objections)
    }
}

impl From<WireObjection> for Objection {
    fn from(given: WireObjection) -> Self {
        let constraint = given.constraint.as_deref().map(RawValue::get);
        Self {
            code: cut(given.code.as_deref()),
            message: cut(given.message.as_deref()),
            pointer: cut(given.pointer.as_deref()),
            // Half a JSON text would be none.
            constraint: constraint
                .filter(|json| json.len() <= CHARS && *json != "null")
                .unwrap_or_default()
                .to_owned(),
        }
    }
}

/// A text of Slack's, bounded and in one line.
pub(super) fn cut(text: Option<&str>) -> String {
    text.unwrap_or_default().chars().filter(|c| !c.is_control()).take(CHARS).collect()
}
