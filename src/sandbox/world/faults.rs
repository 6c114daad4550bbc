//! Scripted faults: the failure, the calls that it affects, and whether it strikes before or after
//! the method's work.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One scripted fault. As JSON:
/// `{"method":"chat.postMessage","after_calls":2,"times":1,"when":"after",
/// "kind":{"status":{"code":500}}}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// A Web API method, or `*` for every one.
    pub method: String,
    /// Only calls to this conversation: its id, or the user id or the channel's name in the call.
    #[serde(default)]
    pub channel: Option<String>,
    /// Number of matching calls that are let through first.
    #[serde(default)]
    pub after_calls: u32,
    /// Number of calls that it strikes; `None`: all until cleared.
    #[serde(default)]
    pub times: Option<u32>,
    #[serde(default)]
    pub when: When,
    pub kind: FaultKind,
}

impl Fault {
    /// Strikes every call of `method`, before its work, until cleared.
    pub fn new(method: impl Into<String>, kind: FaultKind) -> Self {
        let when = When::Before;
        Self { method: method.into(), channel: None, after_calls: 0, times: None, when, kind }
    }

    /// Strikes this number of calls.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Strikes after the work is done: the message is stored, but the answer fails.
    #[must_use]
    pub fn after(mut self) -> Self {
        self.when = When::After;
        self
    }
}

/// Whether the method does its work (stores the message) first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    #[default]
    Before,
    After,
}

/// The failure. Seconds are real seconds, not scaled.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FaultKind {
    /// This HTTP status. Without `retry_after` the header is missing; its text is sent unchanged.
    Status {
        code: u16,
        #[serde(default)]
        body: String,
        #[serde(default)]
        retry_after: Option<String>,
    },
    /// HTTP 200 with `{"ok":false,"error":code}`.
    Error { code: String },
    /// The connection is reset without an answer.
    Reset,
    /// No answer for this time, then the connection is reset.
    Hang { seconds: f64 },
    /// The ordinary answer after this time; with `before` the work is delayed too.
    Delay { seconds: f64 },
    /// The answer at this rate. With `before` the answer is `internal_error`; the same holds for
    /// `truncate`.
    Slow { bytes_per_second: u32 },
    /// HTTP 200 with these bytes: broken JSON, HTML, a compression bomb (with `content-encoding`).
    Body {
        body: Raw,
        #[serde(default)]
        headers: BTreeMap<String, String>,
    },
    /// Half of the answer, then the connection closes.
    Truncate,
    /// JSON of this size.
    Huge { bytes: usize },
    /// `conversations.create` and `rename` do not look for another channel of the name, as if two
    /// calls were decided at once: both succeed (slackapi/node-slack-sdk#1589).
    NameRace,
    /// `conversations.invite` refuses these people, each with a code.
    InviteErrors { errors: BTreeMap<String, String> },
    /// `conversations.invite` adds the first people only, and answers `internal_error`.
    InvitePart { joined: usize },
}

impl FaultKind {
    /// Whether the method runs and does its work in another way, and its answer is sent unchanged.
    pub(in crate::sandbox) fn alters_work(&self) -> bool {
        matches!(self, Self::NameRace | Self::InviteErrors { .. } | Self::InvitePart { .. })
    }

    /// A short name for the log.
    pub(in crate::sandbox) fn name(&self) -> String {
        match self {
            Self::Status { code, .. } => format!("status {code}"),
            Self::Error { code } => format!("error {code}"),
            Self::Reset => "reset".into(),
            Self::Hang { .. } => "hang".into(),
            Self::Delay { .. } => "delay".into(),
            Self::Slow { .. } => "slow".into(),
            Self::Body { .. } => "body".into(),
            Self::Truncate => "truncate".into(),
            Self::Huge { .. } => "huge".into(),
            Self::NameRace => "name race".into(),
            Self::InviteErrors { .. } => "invite errors".into(),
            Self::InvitePart { .. } => "invite part".into(),
        }
    }
}

/// Bytes, written in JSON as a string or a list of numbers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Raw {
    Text(String),
    Bytes(Vec<u8>),
}

impl Raw {
    pub(in crate::sandbox) fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Text(text) => text.into_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

impl From<&str> for Raw {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

struct Armed {
    fault: Fault,
    seen: u32,
    struck: u32,
}

/// The faults in force; the first one that matches strikes.
#[derive(Default)]
pub(in crate::sandbox) struct Faults {
    armed: Vec<Armed>,
}

impl Faults {
    pub(in crate::sandbox) fn script(&mut self, fault: Fault) {
        self.armed.push(Armed { fault, seen: 0, struck: 0 });
    }

    pub(in crate::sandbox) fn clear(&mut self) {
        self.armed.clear();
    }

    pub(in crate::sandbox) fn is_empty(&self) -> bool {
        self.armed.is_empty()
    }

    /// Counts this call against every matching fault and returns the one that strikes. `targets`
    /// are the names of the conversation of the call.
    pub(in crate::sandbox) fn strike(&mut self, method: &str, targets: &[String]) -> Option<Fault> {
        let mut hit = None;
        for armed in &mut self.armed {
            let fault = &armed.fault;
            let method_fits = fault.method == "*" || fault.method == method;
            let channel_fits = fault.channel.as_ref().is_none_or(|c| targets.contains(c));
            if !method_fits || !channel_fits {
                continue;
            }
            armed.seen += 1;
            let spent = fault.times.is_some_and(|times| armed.struck >= times);
            if hit.is_none() && armed.seen > fault.after_calls && !spent {
                armed.struck += 1;
                hit = Some(fault.clone());
            }
        }
        hit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_reads_from_json_and_counts() {
        let json = r#"{"method":"chat.postMessage","channel":"D1","after_calls":1,"times":1,
            "when":"after","kind":{"status":{"code":429,"retry_after":"soon"}}}"#;
        let mut faults = Faults::default();
        faults.script(serde_json::from_str(json).unwrap());
        let d1 = ["D1".to_owned()];
        assert!(faults.strike("chat.postMessage", &d1).is_none());
        assert!(faults.strike("chat.postMessage", &["D2".to_owned()]).is_none());
        assert!(faults.strike("users.list", &d1).is_none());
        assert_eq!(faults.strike("chat.postMessage", &d1).unwrap().when, When::After);
        assert!(faults.strike("chat.postMessage", &d1).is_none());
        let reset: Fault = serde_json::from_str(r#"{"method":"*","kind":"reset"}"#).unwrap();
        assert!(matches!(reset.kind, FaultKind::Reset));
    }
}
