//! The check of a connection: the facts about each of its parts become findings. One row for each
//! part says whether it works and, if not, what to do.

use std::time::Duration;

use super::time::Timestamp;

mod rows;

pub use rows::rows;

/// The finding about a part, from good to bad.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum CheckFinding {
    /// It works.
    Ok,
    /// It is not known.
    Unknown,
    /// It does not work.
    Broken,
}

impl CheckFinding {
    pub const ALL: &'static [Self] = &[Self::Ok, Self::Unknown, Self::Broken];

    /// The stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Broken => "broken",
        }
    }
}

/// A part of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckPart {
    Token,
    Scopes,
    MessagesTab,
    History,
    RequestUrl,
    Events,
    Clock,
    SigningSecret,
    OrgInstall,
    RateLimit,
    TestMessage,
}

impl CheckPart {
    /// In the order of the rows.
    pub const ALL: &'static [Self] = &[
        Self::Token,
        Self::Scopes,
        Self::MessagesTab,
        Self::History,
        Self::RequestUrl,
        Self::Events,
        Self::Clock,
        Self::SigningSecret,
        Self::OrgInstall,
        Self::RateLimit,
        Self::TestMessage,
    ];

    /// The stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Scopes => "scopes",
            Self::MessagesTab => "messages_tab",
            Self::History => "history",
            Self::RequestUrl => "request_url",
            Self::Events => "events",
            Self::Clock => "clock",
            Self::SigningSecret => "signing_secret",
            Self::OrgInstall => "org_install",
            Self::RateLimit => "rate_limit",
            Self::TestMessage => "test_message",
        }
    }
}

/// The row of one part.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PartCheck {
    pub part: CheckPart,
    pub finding: CheckFinding,
    /// The finding as a sentence.
    pub sentence: String,
    /// The action to take; empty if there is none.
    pub remedy: String,
}

/// The worst finding of all rows.
#[must_use]
pub fn worst(rows: &[PartCheck]) -> CheckFinding {
    rows.iter().map(|row| row.finding).max().unwrap_or(CheckFinding::Unknown)
}

/// The answer to a question that was put to Slack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inquiry<T> {
    Answered(T),
    /// Slack refused, with this code.
    Refused(String),
    /// The token lacks these scopes.
    MissingScope(String),
    /// No answer, or none that says anything; the code says why.
    Unanswered(String),
    /// The question was not put, because nothing could be asked about.
    NotAsked,
}

/// The facts of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckupFacts {
    /// When they were gathered.
    pub now: Timestamp,
    /// `None`: no workspace is connected.
    pub connected: Option<ConnectedFacts>,
    /// Whether the app that the tenant uses has a signing secret.
    pub has_signing_secret: bool,
    pub test: TestFacts,
}

/// The facts about a connected workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectedFacts {
    /// When it was last connected.
    pub since: Timestamp,
    /// As it was stored when the workspace was connected.
    pub team_id: Option<String>,
    pub enterprise_id: Option<String>,
    /// The owner of the token, by Slack's answer.
    pub token: Inquiry<TokenOwner>,
    pub features: Vec<FeatureFacts>,
    pub direct_messages: DirectMessages,
    /// Whether a conversation can be read.
    pub history: Inquiry<()>,
    /// How often conversations may be read.
    pub pace: ReadingPace,
    pub events: EventFacts,
    /// Whether members can be listed with the workspace's id; only asked for a token of a whole
    /// organization.
    pub members: Inquiry<()>,
}

/// The owner of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenOwner {
    pub team_id: Option<String>,
    pub enterprise_id: Option<String>,
    /// Whether it is the token of a whole organization.
    pub is_org_wide: bool,
    /// By how many seconds the database's clock is ahead of Slack's; `None`: Slack's answer had no
    /// time.
    pub clock_ahead: Option<i64>,
}

/// A feature and its scopes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureFacts {
    pub code: &'static str,
    pub name: &'static str,
    /// Whether a workspace may refuse its scopes.
    pub is_optional: bool,
    pub state: ScopesOfFeature,
}

/// Whether a feature has its scopes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScopesOfFeature {
    Granted,
    Missing(Vec<&'static str>),
    /// It is switched off in the settings.
    SwitchedOff,
}

/// The latest direct messages by their outcomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DirectMessages {
    /// When Slack last stored one.
    pub sent_at: Option<Timestamp>,
    /// When Slack last refused one because the Messages tab is off.
    pub refused_at: Option<Timestamp>,
}

/// How often Slack lets the app read conversations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadingPace {
    /// A second reading was answered right after the first.
    Usual,
    /// A second reading was refused, although that is rare at the usual rate.
    OnceAMinute,
    Untested,
}

/// The events that arrived, and those that Slack repeated.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventFacts {
    /// When an event of this workspace last arrived, to the minute.
    pub heard_at: Option<Timestamp>,
    /// Slack's latest repetitions of events of this app.
    pub retries: Option<SlackRetries>,
}

/// Events that Slack had to send again to one address, within about an hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlackRetries {
    /// When the last one came.
    pub at: Timestamp,
    pub times: u32,
    /// Slack's code for the last one: see [`RETRY_REASONS`].
    pub reason: String,
}

/// The outcome of the test message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TestFacts {
    NotWanted,
    /// The token does not work, so nothing was tried.
    NotTried,
    Sent,
    /// It was not sent, for the reason in this sentence.
    NotSent(String),
    /// Slack refused it with this code.
    Refused(String),
    /// It waits to be sent.
    Waits,
}

/// The codes of `X-Slack-Retry-Reason`, each with its meaning and a remedy (Slack's
/// documentation: The Events API).
pub const RETRY_REASONS: &[(&str, &str, &str)] = &[
    (
        "http_timeout",
        "Herald did not answer within three seconds",
        "Check the load of Herald and of its database, and that no proxy holds requests back.",
    ),
    (
        "too_many_redirects",
        "the address redirects too often",
        "Register the final address as Request URL under Event Subscriptions.",
    ),
    (
        "connection_failed",
        "Slack could not connect to the address",
        "Check the name, the firewall and the ingress: the address must be reachable from the \
         internet.",
    ),
    (
        "ssl_error",
        "Slack does not accept the certificate of the address",
        "Check that the certificate is valid and that the server sends its intermediate \
         certificates.",
    ),
    (
        "http_error",
        "the address answered with an error",
        "Look for the answer in the log of Herald and of the ingress.",
    ),
    (
        UNKNOWN_RETRY,
        "Slack reports no cause",
        "Look for failed requests in the log of Herald and of the ingress.",
    ),
];

/// Slack's code for any other reason.
pub const UNKNOWN_RETRY: &str = "unknown_error";

/// A reason as it may be stored: one of the known codes.
#[must_use]
pub fn retry_reason(given: &str) -> &'static str {
    let mut known = RETRY_REASONS.iter().map(|(code, _, _)| *code);
    known.find(|code| *code == given).unwrap_or(UNKNOWN_RETRY)
}

/// Slack's code for a direct message that is refused because the Messages tab is off.
pub const TAB_OFF: &str = "messages_tab_disabled";

/// How long ago something was, for people.
fn ago(now: Timestamp, at: Timestamp) -> String {
    let minutes = now.since(at).as_secs() / 60;
    let (count, unit) = match minutes {
        0 => return "less than a minute ago".to_owned(),
        1..=119 => (minutes, "minute"),
        120..=2879 => (minutes / 60, "hour"),
        _ => (minutes / 1440, "day"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural} ago")
}

/// A day.
const DAY: Duration = Duration::from_secs(24 * 3600);
