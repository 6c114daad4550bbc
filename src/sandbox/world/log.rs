//! All requests and their outcomes: the ground truth for checkers. Bounded.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;
use serde_json::{Map, Value};

/// Entries kept; older ones are dropped and counted in [`Log::dropped`].
const KEPT: usize = 200_000;
/// Longest argument that is kept, in characters.
const ARGUMENT: usize = 512;
/// Arguments that are secrets.
const SECRET: [&str; 6] =
    ["token", "client_secret", "code", "refresh_token", "code_verifier", "access_token"];

/// The effect of a request on a channel: only changes that were really made, also if the answer was
/// lost afterwards.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ChannelAct {
    /// `create`, `rename`, `invite`, `join`, `kick`, `leave`, `archive`, `unarchive`, `set_topic`
    /// or `set_purpose`.
    pub act: &'static str,
    pub channel: String,
    /// The name, topic or purpose from now on.
    pub value: Option<String>,
    /// People who entered.
    pub joined: Vec<String>,
    /// People who left.
    pub left: Vec<String>,
    /// People who were not added, with the code of each.
    pub refused: BTreeMap<String, String>,
}

impl ChannelAct {
    pub(in crate::sandbox) fn new(act: &'static str, channel: &str) -> Self {
        Self { act, channel: channel.to_owned(), ..Self::default() }
    }
}

/// One request to the Web API.
#[derive(Debug, Clone, Serialize)]
pub struct LogEntry {
    /// 1, 2, 3… in the order in which the requests were decided.
    pub seq: u64,
    /// When the request had been read, microseconds since the epoch.
    pub started_at_micros: i64,
    /// When the request began, if a proxy in front reports it
    /// (`X-Request-Start: t=<microseconds>`); otherwise `started_at_micros`.
    pub began_at_micros: i64,
    /// The proxy through which it came, if the proxy names itself (`Via`).
    pub via: Option<String>,
    /// When the method had done its work; an answer delayed by a fault leaves later.
    pub ended_at_micros: i64,
    pub method: String,
    /// `bot`, `user`, `unknown` or `none`; never the token.
    pub token_kind: &'static str,
    /// The app and the workspace that it was about.
    pub app_id: String,
    pub team_id: String,
    /// Arguments as text, secrets replaced, long ones shortened.
    pub args: Map<String, Value>,
    /// The status of the answer; 0 if the connection was reset instead.
    pub http_status: u16,
    /// `ok`, or the method's error code; `not run` if a fault struck before.
    pub outcome: String,
    /// The fault that struck.
    pub fault: Option<String>,
    /// The `Retry-After` of the answer.
    pub retry_after: Option<String>,
    /// The conversation and the `ts` of the stored message.
    pub conversation: Option<String>,
    pub stored_ts: Option<String>,
    /// The effect on a channel.
    pub act: Option<ChannelAct>,
}

#[derive(Default)]
pub(in crate::sandbox) struct Log {
    entries: VecDeque<LogEntry>,
    last: u64,
    pub(in crate::sandbox) dropped: bool,
}

impl Log {
    /// Numbers `entry` and stores it.
    pub(in crate::sandbox) fn push(&mut self, mut entry: LogEntry) {
        self.last += 1;
        entry.seq = self.last;
        if self.entries.len() == KEPT {
            self.entries.pop_front();
            self.dropped = true;
        }
        self.entries.push_back(entry);
    }

    /// Entries with a number above `seq`.
    pub(in crate::sandbox) fn after(&self, seq: u64) -> Vec<LogEntry> {
        let from = self.entries.partition_point(|entry| entry.seq <= seq);
        self.entries.range(from..).cloned().collect()
    }
}

/// Arguments without secrets, shortened for the log.
pub(in crate::sandbox) fn redact(args: &Map<String, Value>) -> Map<String, Value> {
    args.iter()
        .map(|(key, value)| {
            let text = match value {
                _ if SECRET.contains(&key.as_str()) => "[redacted]".to_owned(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let text = match text.char_indices().nth(ARGUMENT) {
                Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
                None => text,
            };
            (key.clone(), Value::String(text))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_and_long_texts_stay_out() {
        let args = serde_json::json!({"code": "c0de", "text": "x".repeat(600), "channel": "D1"});
        let kept = redact(args.as_object().unwrap());
        assert_eq!(kept["code"], "[redacted]");
        assert_eq!(kept["channel"], "D1");
        assert!(kept["text"].as_str().unwrap().ends_with("… (600 bytes)"));
    }
}
