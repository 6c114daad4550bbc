//! The life of one delivery: its states, the meaning of Slack's answers, and the transitions.
//!
//! `docs/delivery-states.md` draws every transition. [`next`] is total: every outcome of an attempt
//! leads to exactly one step, decided from values only (the clock and the dice are arguments).

mod kind;

use std::time::Duration;

use super::detail::Detail;
use super::ids::ChannelId;
use super::reason::Failure;
use super::time::Timestamp;

pub use self::kind::Kind;

macro_rules! states {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, terminal: $terminal:literal;)*) => {
        /// The state of a delivery.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum State {
            $($(#[$doc])* $variant,)*
            /// A state of a newer release. It is read when deliveries are shown, and never written.
            Newer,
        }

        impl State {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The code in the store, the API and metrics.
            #[must_use]
            pub fn code(self) -> &'static str {
                match self {
                    $(Self::$variant => $code,)*
                    Self::Newer => "newer",
                }
            }

            #[must_use]
            pub fn from_code(code: &str) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)* _ => None }
            }

            /// A terminal state is never left; a replay is a new delivery.
            #[must_use]
            pub fn is_terminal(self) -> bool {
                match self {
                    $(Self::$variant => $terminal,)*
                    Self::Newer => false,
                }
            }
        }
    };
}

states! {
    /// Accepted; the Slack member is not yet known.
    Resolving = "resolving", terminal: false;
    /// Accepted; waits until the person appears in Slack.
    Held = "held", terminal: false;
    /// Accepted; waits for a digest.
    Collected = "collected", terminal: false;
    /// In its lane, waiting for its turn.
    Pending = "pending", terminal: false;
    /// Intent committed; the request is under way.
    Sending = "sending", terminal: false;
    /// Slack may or may not have stored it; the lane waits until the history settles it.
    Unknown = "unknown", terminal: false;
    /// Slack stored it; channel and ts are known.
    Sent = "sent", terminal: true;
    /// Refused permanently, with the reason.
    Failed = "failed", terminal: true;
    /// Its expiry passed before it was sent.
    Expired = "expired", terminal: true;
    /// Switched off before it was sent.
    Suppressed = "suppressed", terminal: true;
    /// Canceled by the platform.
    Canceled = "canceled", terminal: true;
    /// Set aside for an operator: it killed its workers, or could not be settled.
    Parked = "parked", terminal: true;
    /// No Slack member matches this person.
    Unreachable = "unreachable", terminal: true;
}

/// The result of one request to Slack. Classified once, in `slack` (Slack's documentation:
/// chat.postMessage).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Slack stored the message. `unthreaded`: outside its intended thread, because the thread's
    /// first message had been deleted.
    Sent { channel: ChannelId, ts: String, unthreaded: bool },
    /// Slack certainly did not store it and may do so later: connection refused,
    /// `service_unavailable`.
    NotSent { code: String },
    /// HTTP 429: nothing was stored; wait as long as Slack says before using the same key again.
    Throttled { after: Duration },
    /// Refused for this message or this target; a retry would not help.
    Rejected { code: String, detail: Option<Detail> },
    /// The token is dead or lacks a scope; the installation stops until it is reconnected.
    Unauthorized { code: String },
    /// Slack may or may not have stored it.
    Unknown { code: String },
}

/// The result of reading the conversation's history for an unknown delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// The message is there: take it over. `unthreaded` as in [`Outcome::Sent`].
    Found { channel: ChannelId, ts: String, unthreaded: bool },
    /// Not there, and Slack has had enough time: it was not stored.
    Absent,
    /// Not there yet; read again.
    NotYet,
    /// The history could not be read now; read it again later.
    Unavailable { after: Duration },
    /// The history cannot be read at all (missing scope); the policy decides.
    Unreadable,
}

/// How often and for how long to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Requests after which a delivery fails for good.
    pub max_attempts: u32,
    /// Wait after the first failed attempt; doubles each time.
    pub base_delay: Duration,
    /// The longest wait between attempts.
    pub max_delay: Duration,
    /// When the history is read for an unknown delivery, counted from the end of the request.
    pub probe_after: [Duration; 3],
    /// If the history cannot be read: send again (at least once) or park (at most once).
    pub resend_unreadable: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            max_attempts: 10,
            base_delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(300),
            probe_after: [Duration::from_secs(2), Duration::from_secs(10), Duration::from_secs(30)],
            resend_unreadable: true,
        }
    }
}

impl Policy {
    /// Every duration multiplied by `factor`, so that tests run the real logic fast.
    #[must_use]
    pub fn scaled(mut self, factor: f64) -> Self {
        self.base_delay = self.base_delay.mul_f64(factor);
        self.max_delay = self.max_delay.mul_f64(factor);
        self.probe_after = self.probe_after.map(|after| after.mul_f64(factor));
        self
    }
}

/// The step after an attempt or a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Terminal: sent.
    Deliver { channel: ChannelId, ts: String },
    /// Terminal: failed.
    Fail { reason: Failure, code: String },
    /// Terminal: parked for an operator.
    Park { reason: Failure, code: String },
    /// Stays at the head of its lane and is tried again at `due`; the attempt counts.
    Retry { due: Timestamp, code: String },
    /// 429: tried again at `due`; the attempt does not count.
    Wait { due: Timestamp },
    /// The installation is paused until it is reconnected; the attempt does not count.
    Pause { code: String },
    /// Becomes unknown; its lane waits; the history is read at `due`.
    Probe { due: Timestamp, code: String },
}

/// The step after an attempt. `attempt` counts requests, including this one; `dice` is in `[0, 1)`
/// and spreads retries over the upper half of the wait.
#[must_use]
pub fn next(outcome: &Outcome, attempt: u32, now: Timestamp, dice: f64, policy: &Policy) -> Step {
    match outcome {
        Outcome::Sent { channel, ts, .. } => {
            Step::Deliver { channel: channel.clone(), ts: ts.clone() }
        }
        Outcome::Throttled { after } => Step::Wait { due: now.plus(*after) },
        Outcome::Unauthorized { code } => Step::Pause { code: code.clone() },
        Outcome::Rejected { code, .. } => {
            Step::Fail { reason: Failure::Rejected, code: code.clone() }
        }
        Outcome::Unknown { code } => {
            Step::Probe { due: now.plus(policy.probe_after[0]), code: code.clone() }
        }
        Outcome::NotSent { code } => retry(code, attempt, now, dice, policy),
    }
}

/// Workers that may die while sending one delivery before it is set aside.
pub const MAX_CRASHES: u32 = 3;

/// The step after a probe. `probes` counts probes, including this one. `crashes` counts the workers
/// that died while sending the delivery: after [`MAX_CRASHES`] of them, a delivery that is not in
/// Slack is not sent again.
#[must_use]
pub fn next_after_probe(
    probe: &Probe,
    probes: u32,
    (attempt, crashes): (u32, u32),
    now: Timestamp,
    dice: f64,
    policy: &Policy,
) -> Step {
    const CODE: &str = "unconfirmed";
    match probe {
        Probe::Found { channel, ts, .. } => {
            Step::Deliver { channel: channel.clone(), ts: ts.clone() }
        }
        Probe::Absent | Probe::Unreadable if crashes >= MAX_CRASHES => {
            Step::Park { reason: Failure::Crashed, code: "crashed".into() }
        }
        Probe::Absent => retry(CODE, attempt, now, dice, policy),
        Probe::NotYet => {
            let last = policy.probe_after.len() - 1;
            let done = usize::try_from(probes).unwrap_or(usize::MAX).clamp(1, last);
            let gap = policy.probe_after[done].saturating_sub(policy.probe_after[done - 1]);
            Step::Probe { due: now.plus(gap), code: CODE.into() }
        }
        Probe::Unavailable { after } => {
            Step::Probe { due: now.plus(*after), code: "history_unavailable".into() }
        }
        Probe::Unreadable if policy.resend_unreadable => retry(CODE, attempt, now, dice, policy),
        Probe::Unreadable => Step::Park { reason: Failure::Unconfirmed, code: CODE.into() },
    }
}

fn retry(code: &str, attempt: u32, now: Timestamp, dice: f64, policy: &Policy) -> Step {
    if attempt >= policy.max_attempts {
        return Step::Fail { reason: Failure::RetriesExhausted, code: code.into() };
    }
    Step::Retry { due: now.plus(backoff(attempt, dice, policy)), code: code.into() }
}

/// Exponential, with the upper half jittered: `attempt` 1 waits between half and all of
/// `base_delay`.
#[must_use]
pub fn backoff(attempt: u32, dice: f64, policy: &Policy) -> Duration {
    let doublings = attempt.saturating_sub(1).min(20);
    let full = policy.base_delay.saturating_mul(1 << doublings).min(policy.max_delay);
    full.mul_f64(0.5 + dice.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    #[test]
    fn a_429_costs_no_attempt_and_waits_in_full() {
        let outcome = Outcome::Throttled { after: Duration::from_secs(120) };
        let step = next(&outcome, 10, NOW, 0.0, &Policy::default());
        assert_eq!(step, Step::Wait { due: NOW.plus(Duration::from_secs(120)) });
    }

    #[test]
    fn unknown_is_never_resent_blindly() {
        let outcome = Outcome::Unknown { code: "time_out".into() };
        for attempt in 1..20 {
            let step = next(&outcome, attempt, NOW, 0.5, &Policy::default());
            assert!(matches!(step, Step::Probe { .. }), "{step:?}");
        }
    }

    #[test]
    fn not_sent_retries_until_the_attempts_are_spent() {
        let outcome = Outcome::NotSent { code: "connect".into() };
        let policy = Policy::default();
        assert!(matches!(next(&outcome, 9, NOW, 0.0, &policy), Step::Retry { .. }));
        assert!(matches!(
            next(&outcome, 10, NOW, 0.0, &policy),
            Step::Fail { reason: Failure::RetriesExhausted, .. }
        ));
    }

    #[test]
    fn probes_come_at_two_ten_and_thirty_seconds() {
        let policy = Policy::default();
        let due = |probes| match next_after_probe(&Probe::NotYet, probes, (1, 0), NOW, 0.0, &policy)
        {
            Step::Probe { due, .. } => due.since(NOW).as_secs(),
            other => panic!("{other:?}"),
        };
        assert_eq!((due(1), due(2), due(3)), (8, 20, 20));
    }

    #[test]
    fn what_killed_three_workers_is_parked_once_history_does_not_have_it() {
        let policy = Policy::default();
        let step =
            |probe: &Probe, crashes| next_after_probe(probe, 3, (3, crashes), NOW, 0.0, &policy);
        let channel = ChannelId::parse("D1").unwrap();
        let found = Probe::Found { channel, ts: "1.2".into(), unthreaded: false };
        assert!(matches!(step(&found, 3), Step::Deliver { .. }));
        assert!(matches!(step(&Probe::NotYet, 3), Step::Probe { .. }));
        for probe in [Probe::Absent, Probe::Unreadable] {
            assert!(matches!(step(&probe, 2), Step::Retry { .. }));
            let parked = Step::Park { reason: Failure::Crashed, code: "crashed".into() };
            assert_eq!(step(&probe, 3), parked);
        }
    }

    proptest::proptest! {
        #[test]
        fn backoff_is_bounded_and_never_zero(attempt in 1u32..1000, dice in 0.0f64..1.0) {
            let policy = Policy::default();
            let wait = backoff(attempt, dice, &policy);
            proptest::prop_assert!(wait >= policy.base_delay / 2 && wait <= policy.max_delay);
        }
    }
}
