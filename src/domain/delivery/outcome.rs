//! The meaning of Slack's answers: how an attempt, or a read of history, settles its delivery.
//!
//! [`next`] and [`next_after_probe`] are total: every outcome leads to exactly one settle.

use std::time::Duration;

use super::settle::{Settle, WaitScope};
use super::transition::MAX_CRASHES;
use crate::domain::backoff::backoff;
use crate::domain::delivery::detail::Detail;
use crate::domain::ids::ChannelId;
use crate::domain::reason::Failure;

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
    /// The history cannot be read at all (missing scope, or the tenant left); the policy decides.
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

/// How an attempt settles its delivery. `attempt` counts requests, including this one; `dice` is in
/// `[0, 1)` and spreads retries over the upper half of the wait.
#[must_use]
pub fn next(outcome: &Outcome, attempt: u32, dice: f64, policy: &Policy) -> Settle {
    match outcome {
        Outcome::Sent { channel, ts, .. } => {
            Settle::Delivered { channel: channel.clone(), ts: ts.clone() }
        }
        // Slack does not say whether it limits the channel or the method in the whole workspace
        // (Slack's documentation: Rate limits). `workspace` pauses the method; this lane waits as
        // well.
        Outcome::Throttled { after } => Settle::Wait { after: *after, scope: WaitScope::Lane },
        Outcome::Unauthorized { code } => Settle::Paused { code: code.clone() },
        Outcome::Rejected { code, .. } => {
            Settle::Failed { reason: Failure::Rejected, code: Some(code.clone()) }
        }
        Outcome::Unknown { code } => {
            Settle::Probe { after: policy.probe_after[0], code: code.clone() }
        }
        Outcome::NotSent { code } => retry(code, attempt, dice, policy),
    }
}

/// How a probe settles its delivery. `probes` counts probes, including this one. `crashes` counts
/// the workers that died while sending the delivery: after `MAX_CRASHES` of them, a delivery that
/// is not in Slack is not sent again.
#[must_use]
pub fn next_after_probe(
    probe: &Probe,
    probes: u32,
    attempt: u32,
    crashes: u32,
    dice: f64,
    policy: &Policy,
) -> Settle {
    const CODE: &str = "unconfirmed";
    match probe {
        Probe::Found { channel, ts, .. } => {
            Settle::Delivered { channel: channel.clone(), ts: ts.clone() }
        }
        Probe::Absent | Probe::Unreadable if crashes >= MAX_CRASHES => {
            Settle::Parked { reason: Failure::Crashed, code: Some("crashed".into()) }
        }
        Probe::Absent => retry(CODE, attempt, dice, policy),
        Probe::NotYet => {
            let last = policy.probe_after.len() - 1;
            let done = usize::try_from(probes).unwrap_or(usize::MAX).clamp(1, last);
            let gap = policy.probe_after[done].saturating_sub(policy.probe_after[done - 1]);
            Settle::Probe { after: gap, code: CODE.into() }
        }
        Probe::Unavailable { after } => {
            Settle::Probe { after: *after, code: "history_unavailable".into() }
        }
        Probe::Unreadable if policy.resend_unreadable => retry(CODE, attempt, dice, policy),
        Probe::Unreadable => {
            Settle::Parked { reason: Failure::Unconfirmed, code: Some(CODE.into()) }
        }
    }
}

fn retry(code: &str, attempt: u32, dice: f64, policy: &Policy) -> Settle {
    if attempt >= policy.max_attempts {
        return Settle::Failed { reason: Failure::RetriesExhausted, code: Some(code.into()) };
    }
    let after = backoff(attempt, dice, policy.base_delay, policy.max_delay);
    Settle::Retry { after, code: code.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_429_costs_no_attempt_and_waits_in_full() {
        let outcome = Outcome::Throttled { after: Duration::from_secs(120) };
        let settle = next(&outcome, 10, 0.0, &Policy::default());
        let after = Duration::from_secs(120);
        assert_eq!(settle, Settle::Wait { after, scope: WaitScope::Lane });
    }

    #[test]
    fn unknown_is_never_resent_blindly() {
        let outcome = Outcome::Unknown { code: "time_out".into() };
        for attempt in 1..20 {
            let settle = next(&outcome, attempt, 0.5, &Policy::default());
            assert!(matches!(settle, Settle::Probe { .. }), "{settle:?}");
        }
    }

    #[test]
    fn not_sent_retries_until_the_attempts_are_spent() {
        let outcome = Outcome::NotSent { code: "connect".into() };
        let policy = Policy::default();
        assert!(matches!(next(&outcome, 9, 0.0, &policy), Settle::Retry { .. }));
        assert!(matches!(
            next(&outcome, 10, 0.0, &policy),
            Settle::Failed { reason: Failure::RetriesExhausted, .. }
        ));
    }

    #[test]
    fn probes_come_at_two_ten_and_thirty_seconds() {
        let policy = Policy::default();
        let wait = |probes| match next_after_probe(&Probe::NotYet, probes, 1, 0, 0.0, &policy) {
            Settle::Probe { after, .. } => after.as_secs(),
            other => panic!("{other:?}"),
        };
        assert_eq!((wait(1), wait(2), wait(3)), (8, 20, 20));
    }

    #[test]
    fn what_killed_three_workers_is_parked_once_history_does_not_have_it() {
        let policy = Policy::default();
        let settle = |probe: &Probe, crashes| next_after_probe(probe, 3, 3, crashes, 0.0, &policy);
        let channel = ChannelId::parse("D1").unwrap();
        let found = Probe::Found { channel, ts: "1.2".into(), unthreaded: false };
        assert!(matches!(settle(&found, 3), Settle::Delivered { .. }));
        assert!(matches!(settle(&Probe::NotYet, 3), Settle::Probe { .. }));
        for probe in [Probe::Absent, Probe::Unreadable] {
            assert!(matches!(settle(&probe, 2), Settle::Retry { .. }));
            let parked = Settle::Parked { reason: Failure::Crashed, code: Some("crashed".into()) };
            assert_eq!(settle(&probe, 3), parked);
        }
    }
}
