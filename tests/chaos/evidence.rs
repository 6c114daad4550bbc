//! The logs of a run: the clients' log, Slack's log, the messages that Slack stored, and the faults
//! with their times. One JSON object a line, one file for each kind; the judge reads nothing else.
//!
//! Times are microseconds since the epoch by the checker's clock, which the sandbox Slack shares. A
//! *lane* is the member (`U…`) or the channel (`C…`) that a message is for. For a channel that
//! Herald made, it is the platform's key, except in the log of requests.

use std::collections::{BTreeMap, BTreeSet};
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
    /// Requests to Slack, in Slack's order.
    pub(crate) requests: Vec<Request>,
    /// Messages that Slack stored, in Slack's order.
    pub(crate) messages: Vec<Message>,
    /// The faults.
    pub(crate) blows: Vec<Blow>,
    /// The final state, as reported to clients, of deliveries that are not in Slack.
    pub(crate) fates: Vec<Fate>,
    /// The replicas' answers about their health.
    pub(crate) probes: Vec<Probe>,
    /// Calls about channels, in the order in which they ended.
    pub(crate) channel_calls: Vec<ChannelCall>,
    /// The last wish for each channel, and the answers of Herald about it at the end.
    pub(crate) channel_ends: Vec<ChannelEnd>,
    /// The channels that Herald created, as Slack has them at the end.
    pub(crate) places: Vec<Place>,
    /// The feed of channels, as its reader got it.
    pub(crate) channel_feed: Vec<FeedEntry>,
}

/// The conditions of this run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Rules {
    pub(crate) seed: u64,
    /// The factor for every duration of Slack's and for leases.
    pub(crate) scale: f64,
    /// The least time between two posts to one lane.
    pub(crate) interval: i64,
    /// The length of a lease.
    pub(crate) lease: i64,
    /// Posts a second that the workspace accepts.
    pub(crate) posts_per_second: f64,
    /// When every replica had the main tenant's member list. Messages accepted before then were for
    /// people whose member was not known yet. From then until the faults began, calls show how fast
    /// the machine is under this load.
    #[serde(default)]
    pub(crate) listed: i64,
    /// When the faults began.
    pub(crate) began: i64,
    /// When the last fault had ended and every replica served again.
    pub(crate) calm: i64,
    /// When the logs were closed.
    pub(crate) ended: i64,
    /// From `began` to `ended`: how many times as long the replicas' work took as with processors
    /// of their own.
    #[serde(default)]
    pub(crate) stretch: f64,
    /// The application may read history, so no message may be stored twice.
    pub(crate) history: bool,
    /// Replicas of the previous release took part, so promises that only this release makes are not
    /// judged.
    pub(crate) mixed: bool,
    /// The kinds of faults that the run was to inject.
    #[serde(default)]
    pub(crate) faults: Vec<String>,
    /// Further faults that it was to inject and that the machine cannot produce, with the reason.
    #[serde(default)]
    pub(crate) left_out: Vec<String>,
}

/// The purpose of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Purpose {
    /// Delivers a message; repeated until it is accepted.
    Deliver,
    /// Takes back the messages of an earlier call; repeated until it is accepted.
    Retract,
    /// Crosses out the messages of an earlier call; repeated until it is accepted.
    Cross,
    /// Uses an id again with another payload: must be refused.
    Reuse,
    /// Has an unusable payload under an id of its own: must be refused.
    Unusable,
}

impl Purpose {
    /// Whether the call changes the messages of an earlier call.
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
    /// The replica that was called.
    pub(crate) replica: usize,
    /// How it was called: plainly, with a short deadline, given up, raced.
    pub(crate) manner: String,
    pub(crate) began: i64,
    pub(crate) ended: i64,
    /// The lanes of the recipients.
    pub(crate) lanes: Vec<String>,
    /// How long the message may wait, if the call limits it.
    pub(crate) expires_in: Option<i64>,
    /// The first call with the same subject, possibly this one.
    pub(crate) subject: Option<String>,
    pub(crate) answer: Answer,
}

/// The outcome of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    Accepted {
        notification: String,
        verdicts: Vec<Verdict>,
    },
    /// Herald refused: code, stable reason, and whether the refusal says when to retry.
    Refused {
        code: String,
        reason: String,
        retry_info: bool,
    },
    /// No answer from Herald arrived.
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
    /// The lane that the request names.
    pub(crate) lane: Option<String>,
    /// The replica whose connection it came through.
    pub(crate) replica: Option<usize>,
    pub(crate) status: u16,
    pub(crate) outcome: String,
    pub(crate) fault: Option<String>,
    pub(crate) retry_after: Option<String>,
    /// The `ts` of the stored message.
    pub(crate) stored: Option<String>,
    /// The name that it gives a channel.
    #[serde(default)]
    pub(crate) name: Option<String>,
    /// The effect on a channel, also if the answer was lost.
    #[serde(default)]
    pub(crate) act: Option<Act>,
}

/// The effect of a request on a channel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Act {
    /// `create`, `invite`, `kick` and so on.
    pub(crate) kind: String,
    pub(crate) channel: String,
    /// People who entered, and people who left.
    pub(crate) joined: Vec<String>,
    pub(crate) left: Vec<String>,
    /// People who were not added, with the code of each.
    pub(crate) refused: BTreeMap<String, String>,
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

/// One injected fault.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Blow {
    /// One of `nemesis::Kind`; or `held`, `lag`, `exit`, `gap` or `epoch`.
    pub(crate) kind: String,
    /// A description of the fault.
    pub(crate) what: String,
    /// The replica that it struck; `None` for all of them.
    pub(crate) replica: Option<usize>,
    pub(crate) from: i64,
    pub(crate) until: i64,
}

/// The state of a delivery, as GetNotification reports it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Fate {
    pub(crate) call: String,
    pub(crate) delivery: String,
    pub(crate) state: String,
    pub(crate) reason: String,
    pub(crate) code: String,
}

/// A replica's answers about its health.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Probe {
    pub(crate) replica: usize,
    pub(crate) began: i64,
    pub(crate) ended: i64,
    /// The gRPC health service answers SERVING. `None`: no answer, or no process.
    pub(crate) serving: Option<bool>,
    /// `/readyz` answers 200.
    pub(crate) ready: Option<bool>,
}

/// The content of a call about a channel. People are named by their numbers. Every wish says
/// `follow_name` and `remove_unlisted`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Statement {
    Ensure { name: String, members: BTreeSet<usize> },
    Set { members: BTreeSet<usize> },
    Add { members: BTreeSet<usize> },
    Remove { members: BTreeSet<usize> },
    Rename { name: String },
    Archive,
    Release,
}

impl Statement {
    /// Whether the person is to be in the channel; `None`: it says nothing about them.
    pub(crate) fn wants(&self, person: usize) -> Option<bool> {
        match self {
            Self::Ensure { members, .. } | Self::Set { members } => Some(members.contains(&person)),
            Self::Add { members } => members.contains(&person).then_some(true),
            Self::Remove { members } => members.contains(&person).then_some(false),
            Self::Rename { .. } | Self::Archive | Self::Release => None,
        }
    }
}

/// One call about a channel.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ChannelCall {
    pub(crate) key: String,
    /// How often the key was released before.
    pub(crate) generation: u32,
    pub(crate) statement: Statement,
    pub(crate) replica: usize,
    pub(crate) began: i64,
    pub(crate) ended: i64,
    /// An accepted call names no notification.
    pub(crate) answer: Answer,
}

impl ChannelCall {
    pub(crate) fn is_accepted(&self) -> bool {
        matches!(self.answer, Answer::Accepted { .. })
    }
}

/// A channel at the end: the last wish, and the answers of GetChannel and ListChannelMembers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChannelEnd {
    pub(crate) key: String,
    pub(crate) generation: u32,
    pub(crate) name: String,
    pub(crate) members: BTreeSet<usize>,
    pub(crate) archived: bool,
    pub(crate) released: bool,
    /// Such as `ready`; empty if there was no answer.
    pub(crate) state: String,
    /// Such as `name_taken`; empty: none.
    pub(crate) obstacle: String,
    pub(crate) settled: bool,
    /// Slack's id.
    pub(crate) channel: String,
    /// The state of each person, by the platform's id.
    pub(crate) people: BTreeMap<String, String>,
}

/// A channel in Slack.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) archived: bool,
    /// The people in it, without the app.
    pub(crate) members: BTreeSet<String>,
}

/// An entry of the feed of channels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FeedEntry {
    pub(crate) sequence: i64,
    /// When its reader got it.
    pub(crate) at: i64,
    pub(crate) news: FeedNews,
}

/// News for a reader of the feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FeedNews {
    /// The feed begins anew after this number.
    Epoch,
    Channel {
        key: String,
        state: String,
        obstacle: String,
    },
    /// The state is empty if the person is no longer wished for.
    Member {
        key: String,
        user: String,
        state: String,
    },
    Released {
        key: String,
    },
}

/// The files, in the folder of a run.
pub(crate) const RULES: &str = "rules.json";
pub(crate) const CALLS: &str = "calls.jsonl";
pub(crate) const REQUESTS: &str = "slack-requests.jsonl";
pub(crate) const MESSAGES: &str = "slack-messages.jsonl";
pub(crate) const BLOWS: &str = "faults.jsonl";
pub(crate) const FATES: &str = "fates.jsonl";
pub(crate) const PROBES: &str = "health.jsonl";
pub(crate) const CHANNEL_CALLS: &str = "channel-calls.jsonl";
pub(crate) const CHANNEL_ENDS: &str = "channel-ends.jsonl";
pub(crate) const PLACES: &str = "slack-channels.jsonl";
pub(crate) const CHANNEL_FEED: &str = "channel-feed.jsonl";

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
            channel_calls: later_lines(&dir.join(CHANNEL_CALLS))?,
            channel_ends: later_lines(&dir.join(CHANNEL_ENDS))?,
            places: later_lines(&dir.join(PLACES))?,
            channel_feed: later_lines(&dir.join(CHANNEL_FEED))?,
        })
    }
}

/// The lines of a file that runs of earlier releases did not write.
fn later_lines<T: DeserializeOwned>(path: &Path) -> io::Result<Vec<T>> {
    if path.exists() { lines(path) } else { Ok(Vec::new()) }
}

fn lines<T: DeserializeOwned>(path: &Path) -> io::Result<Vec<T>> {
    let reader = BufReader::new(File::open(path)?);
    reader.lines().map(|line| Ok(serde_json::from_str(&line?)?)).collect()
}
