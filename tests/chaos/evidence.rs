//! What a run leaves behind: the clients' log, Slack's log, what Slack stored, and what was broken
//! when. One JSON object a line, one file for each kind; the judge reads nothing else.
//!
//! Times are microseconds since the epoch by the checker's clock, which Slack in its box shares.
//! A *lane* is the member (`U…`) or the channel (`C…`) that a message is for.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// One run.
#[derive(Debug, Clone)]
pub(crate) struct Evidence {
    pub(crate) rules: Rules,
    /// Calls of Notify, in the order in which they ended.
    pub(crate) calls: Vec<Call>,
    /// What Slack was asked, in its order.
    pub(crate) requests: Vec<Request>,
    /// What Slack stored, in its order.
    pub(crate) messages: Vec<Message>,
    /// What was broken.
    pub(crate) blows: Vec<Blow>,
    /// What clients were told, at the end, of deliveries that are not in Slack.
    pub(crate) fates: Vec<Fate>,
    /// What replicas said of their health.
    pub(crate) probes: Vec<Probe>,
}

/// What held in this run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Rules {
    pub(crate) seed: u64,
    /// What every duration of Slack's and of leases is multiplied by.
    pub(crate) scale: f64,
    /// Between two posts to one lane.
    pub(crate) interval: i64,
    /// A lease.
    pub(crate) lease: i64,
    /// Posts a second that the workspace takes.
    pub(crate) posts_per_second: f64,
    /// When every replica had the main tenant's member list. What was accepted before then was for
    /// people whose member was not known yet.
    #[serde(default)]
    pub(crate) listed: i64,
    /// When the faults began.
    pub(crate) began: i64,
    /// When the last fault had ended and every replica served again.
    pub(crate) calm: i64,
    /// When the logs were closed.
    pub(crate) ended: i64,
    /// The application may read history, so nothing may be there twice.
    pub(crate) history: bool,
    /// Replicas of the release before took part, so what only this one promises is not judged.
    pub(crate) mixed: bool,
}

/// What a call was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Purpose {
    /// To be delivered; called again until it is accepted.
    Deliver,
    /// What an earlier call said is to be taken back; called again until it is accepted.
    Retract,
    /// What an earlier call said is to be crossed out; called again until it is accepted.
    Cross,
    /// An id that was used, with another payload: must be refused.
    Reuse,
    /// An unusable payload under an id of its own: must be refused.
    Unusable,
}

impl Purpose {
    /// Whether it is about what an earlier call said.
    pub(crate) fn changes(self) -> bool {
        matches!(self, Self::Retract | Self::Cross)
    }
}

/// One call of Notify.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Call {
    pub(crate) tenant: String,
    /// The request id; messages carry it in their text.
    pub(crate) id: String,
    pub(crate) purpose: Purpose,
    /// Which replica was called.
    pub(crate) replica: usize,
    /// How it was called: plainly, with a short deadline, given up, raced.
    pub(crate) manner: String,
    pub(crate) began: i64,
    pub(crate) ended: i64,
    /// Whom it is for.
    pub(crate) lanes: Vec<String>,
    /// How long it may wait, where the call says so.
    pub(crate) expires_in: Option<i64>,
    /// The call that first spoke of what it is about; its own id where it is the first.
    pub(crate) subject: Option<String>,
    pub(crate) answer: Answer,
}

/// What a call came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Accepted {
        notification: String,
        verdicts: Vec<Verdict>,
    },
    /// Herald said no: code, stable reason, and whether it says when to come back.
    Refused {
        code: String,
        reason: String,
        retry_info: bool,
    },
    /// No answer of Herald's came.
    Lost {
        why: String,
    },
}

/// The verdict on one recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) lane: String,
    pub(crate) queued: bool,
    pub(crate) delivery: String,
}

/// One request that reached Slack.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Request {
    /// The tenant whose workspace was asked.
    pub(crate) tenant: String,
    pub(crate) seq: u64,
    /// When its first byte left the replica.
    pub(crate) began: i64,
    pub(crate) ended: i64,
    pub(crate) method: String,
    /// Whom it is for, as the request says.
    pub(crate) lane: Option<String>,
    /// Through which replica's connection it came.
    pub(crate) replica: Option<usize>,
    pub(crate) status: u16,
    pub(crate) outcome: String,
    pub(crate) fault: Option<String>,
    pub(crate) retry_after: Option<String>,
    /// The message stored.
    pub(crate) stored: Option<String>,
}

/// One message that is stored in Slack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Message {
    pub(crate) lane: String,
    pub(crate) ts: String,
    /// The request id in its text.
    pub(crate) call: Option<String>,
    /// The delivery id in its metadata.
    pub(crate) delivery: String,
    pub(crate) stored_at: i64,
    /// It was deleted.
    pub(crate) deleted: bool,
    /// It is shown as done.
    pub(crate) crossed: bool,
}

/// One fault that was put in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Blow {
    /// One of `nemesis::Kind`.
    pub(crate) kind: String,
    /// What was done.
    pub(crate) what: String,
    /// The replica it was done to; none: all of them.
    pub(crate) replica: Option<usize>,
    pub(crate) from: i64,
    pub(crate) until: i64,
}

/// What GetNotification says of a delivery.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Fate {
    pub(crate) call: String,
    pub(crate) delivery: String,
    pub(crate) state: String,
    pub(crate) reason: String,
    pub(crate) code: String,
}

/// What a replica said of its health when it was asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Probe {
    pub(crate) replica: usize,
    pub(crate) began: i64,
    pub(crate) ended: i64,
    /// The gRPC health service: SERVING. None: no answer, or no process.
    pub(crate) serving: Option<bool>,
    /// `/readyz`: 200.
    pub(crate) ready: Option<bool>,
}

/// The files, in the directory of a run.
pub(crate) const RULES: &str = "rules.json";
pub(crate) const CALLS: &str = "calls.jsonl";
pub(crate) const REQUESTS: &str = "slack-requests.jsonl";
pub(crate) const MESSAGES: &str = "slack-messages.jsonl";
pub(crate) const BLOWS: &str = "faults.jsonl";
pub(crate) const FATES: &str = "fates.jsonl";
pub(crate) const PROBES: &str = "health.jsonl";

impl Evidence {
    pub(crate) fn read(dir: &Path) -> io::Result<Self> {
        let rules = std::fs::read(dir.join(RULES))?;
        Ok(Self {
            rules: serde_json::from_slice(&rules)?,
            calls: lines(&dir.join(CALLS))?,
            requests: lines(&dir.join(REQUESTS))?,
            messages: lines(&dir.join(MESSAGES))?,
            blows: lines(&dir.join(BLOWS))?,
            fates: lines(&dir.join(FATES))?,
            probes: lines(&dir.join(PROBES))?,
        })
    }
}

fn lines<T: DeserializeOwned>(path: &Path) -> io::Result<Vec<T>> {
    let reader = BufReader::new(File::open(path)?);
    reader.lines().map(|line| Ok(serde_json::from_str(&line?)?)).collect()
}
