//! Answers of the Web API with `ok: false`.

use std::borrow::Cow;

use serde_json::{Value, json};

/// Why a method did not answer ok.
#[derive(Debug)]
pub(in crate::sandbox) enum Error {
    Code {
        code: Cow<'static, str>,
        extra: Value,
    },
    /// HTTP 429; the wait in unscaled microseconds.
    Limited(i64),
}

impl Error {
    pub(in crate::sandbox) fn code(code: impl Into<Cow<'static, str>>) -> Self {
        Self::Code { code: code.into(), extra: Value::Null }
    }

    /// A code with more fields in the body.
    pub(in crate::sandbox) fn with(code: &'static str, extra: Value) -> Self {
        Self::Code { code: code.into(), extra }
    }

    /// A code with `response_metadata.messages`.
    pub(in crate::sandbox) fn messages(code: &'static str, messages: Vec<String>) -> Self {
        Self::with(code, json!({ "response_metadata": { "messages": messages } }))
    }

    pub(in crate::sandbox) fn name(&self) -> &str {
        match self {
            Self::Code { code, .. } => code,
            Self::Limited(_) => "ratelimited",
        }
    }

    pub(in crate::sandbox) fn body(&self) -> Value {
        let mut body = match self {
            Self::Code { extra: Value::Object(extra), .. } => Value::Object(extra.clone()),
            _ => json!({}),
        };
        body["ok"] = json!(false);
        body["error"] = json!(self.name());
        body
    }
}

impl From<&'static str> for Error {
    fn from(code: &'static str) -> Self {
        Self::code(code)
    }
}
