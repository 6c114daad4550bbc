//! The trace of a delivery: the decisions about it and the causes of its waits. The requests to
//! Slack are in the log of attempts.
//!
//! A trace is stored with its delivery, encrypted, in writes that are made in any case. It is
//! small: equal decisions are stored once, equal waits are counted, and both lists are bounded.

use serde::{Deserialize, Serialize};

use super::detail::Detail;
use crate::domain::identity::matching;
use crate::domain::ids::EventType;
use crate::domain::settings::{Preference, Preferences, Settings};
use crate::domain::time::Timestamp;

/// The most decisions that are kept: the first, and the last of the others.
const DECISIONS: usize = 6;
/// The most waits that are kept: the first, and the last of the others.
const WAITS: usize = 24;

/// Decisions and waits, both oldest first.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Trace {
    #[serde(rename = "d", default, skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<TraceDecision>,
    #[serde(rename = "w", default, skip_serializing_if = "Vec::is_empty")]
    pub waits: Vec<Wait>,
    /// Slack's explanation of its last refusal.
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Detail>,
    /// Entries that were omitted from the middle of either list.
    #[serde(rename = "o", default, skip_serializing_if = "is_zero")]
    pub left_out: u32,
}

/// The stage at which a decision was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// By Notify.
    #[serde(rename = "a")]
    Accepted,
    /// When the member was looked up again, in the background.
    #[serde(rename = "r")]
    Resolved,
    /// When the message's turn came.
    #[serde(rename = "t")]
    Turn,
    /// When an operator replayed it.
    #[serde(rename = "p")]
    Replayed,
}

/// A decision and its inputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TraceDecision {
    #[serde(rename = "s")]
    pub stage: Stage,
    #[serde(rename = "t")]
    pub at: Timestamp,
    /// The tenant's switches.
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    pub switches: Option<Switches>,
    /// The choice that decides for the person; absent if there is none.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub choice: Option<TraceChoice>,
    /// How the member was found.
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<TraceBasis>,
    /// The template that rendered it.
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// `send`, or the reason code.
    #[serde(rename = "v")]
    pub verdict: String,
}

/// The tenant's switches at that time.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switches {
    #[serde(rename = "s")]
    pub sending_allowed: bool,
    #[serde(rename = "e")]
    pub event_type_on: bool,
    #[serde(rename = "o")]
    pub opt_in: bool,
    /// The event type is mandatory: neither `opt_in` nor a choice counts.
    #[serde(rename = "m", default, skip_serializing_if = "is_false")]
    pub mandatory: bool,
}

/// A person's choice, and its origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceChoice {
    /// For all messages, not only for one event type.
    #[serde(rename = "a")]
    pub everything: bool,
    #[serde(rename = "v")]
    pub value: Preference,
    /// `person` or `administrator`, and the caller's name after a colon; empty if unknown.
    #[serde(rename = "b", default, skip_serializing_if = "String::is_empty")]
    pub set_by: String,
    #[serde(rename = "t")]
    pub set_at: Timestamp,
}

/// The rule that found a member, and the reading of the member list that it used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceBasis {
    #[serde(rename = "r")]
    pub rule: TraceRule,
    /// 0: the list has never been read.
    #[serde(rename = "g", default)]
    pub generation: u64,
    /// When the list was read.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    pub read_at: Option<Timestamp>,
}

/// The rule that found a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TraceRule {
    /// An administrator pinned the member.
    #[serde(rename = "p")]
    Pinned,
    /// The expressions match the member.
    #[serde(rename = "m")]
    Matched,
    /// Stored earlier; the expressions no longer match it.
    #[serde(rename = "s")]
    Stale,
    /// Stored, and not looked up again.
    #[serde(rename = "k")]
    Stored,
}

/// The cause of a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// Its time (`deliver_after`).
    #[serde(rename = "a")]
    Time,
    /// The member list.
    #[serde(rename = "l")]
    Directory,
    /// The person's arrival in Slack (`hold`).
    #[serde(rename = "p")]
    Arrival,
    /// Its channel, which is not ready in Slack.
    #[serde(rename = "h")]
    Channel,
    /// The messages before it in its conversation, and the pace of one a second.
    #[serde(rename = "c")]
    Conversation,
    /// Its turn in the workspace: the method's budget there, and the deliveries before it.
    #[serde(rename = "b")]
    Budget,
    /// Slack asked to wait (429).
    #[serde(rename = "t")]
    Throttled,
    /// The workspace must be connected again.
    #[serde(rename = "d")]
    TokenDead,
    /// Slack did not say whether it stored the message; the history is read.
    #[serde(rename = "u")]
    Unknown,
    /// Slack did not accept it; it is retried.
    #[serde(rename = "r")]
    Retry,
}

/// A wait, or several successive ones with the same cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    #[serde(rename = "c")]
    pub cause: Cause,
    #[serde(rename = "f")]
    pub from: Timestamp,
    /// Absent: until an event ends it.
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// The number of waits, if more than one.
    #[serde(rename = "n", default = "once", skip_serializing_if = "is_once")]
    pub times: u32,
    /// Slack's error code.
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

impl Wait {
    #[must_use]
    pub fn new(cause: Cause, from: Timestamp, until: Option<Timestamp>) -> Self {
        Self { cause, from, until, times: 1, code: None }
    }
}

impl Trace {
    /// Records a decision, unless it is the same as the previous one ([`TraceDecision::same`]).
    pub fn decided(&mut self, decision: TraceDecision) {
        if self.decisions.last().is_some_and(|last| last.same(&decision)) {
            return;
        }
        self.decisions.push(decision);
        if self.decisions.len() > DECISIONS {
            self.decisions.remove(1);
            self.left_out += 1;
        }
    }

    /// Records a wait, joined with the previous one if that had the same cause.
    pub fn waits(&mut self, wait: Wait) {
        if let Some(last) = self.waits.last_mut()
            && (last.cause, &last.code) == (wait.cause, &wait.code)
        {
            last.until = wait.until;
            last.times = last.times.saturating_add(1);
            return;
        }
        self.waits.push(wait);
        if self.waits.len() > WAITS {
            self.waits.remove(1);
            self.left_out += 1;
        }
    }

    /// The time for which the message was scheduled, if it was: the end of its first wait.
    #[must_use]
    pub fn scheduled_for(&self) -> Option<Timestamp> {
        self.waits.first().filter(|wait| wait.cause == Cause::Time)?.until
    }

    /// The stored form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// From the stored form; empty if it cannot be read: a delivery continues without its trace.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        serde_json::from_slice(bytes).unwrap_or_default()
    }
}

impl TraceDecision {
    /// Whether switches, choice, verdict and the use of a pin agree. The stage, the time and the
    /// template do not count.
    fn same(&self, other: &Self) -> bool {
        (&self.switches, &self.choice, &self.verdict)
            == (&other.switches, &other.choice, &other.verdict)
            && (other.identity.is_none()
                || self.identity.map(|basis| basis.rule == TraceRule::Pinned)
                    == other.identity.map(|basis| basis.rule == TraceRule::Pinned))
    }
}

impl TraceBasis {
    #[must_use]
    pub fn of(basis: &matching::MatchBasis, generation: u64, read_at: Option<Timestamp>) -> Self {
        let rule = match basis {
            matching::MatchBasis::Pinned => TraceRule::Pinned,
            matching::MatchBasis::Matched { .. } => TraceRule::Matched,
            matching::MatchBasis::Stale { .. } => TraceRule::Stale,
        };
        Self { rule, generation, read_at }
    }
}

impl Switches {
    #[must_use]
    pub fn of(settings: &Settings, event: &EventType) -> Self {
        Self {
            sending_allowed: settings.sending_allowed,
            event_type_on: !settings.disabled_event_types.contains(event),
            opt_in: settings.opt_in,
            mandatory: settings.mandatory_event_types.contains(event),
        }
    }
}

impl TraceChoice {
    /// The choice that decides, in the order of
    /// [`suppression`](crate::domain::settings::suppression).
    #[must_use]
    pub fn of(preferences: &Preferences, event: &EventType) -> Option<Self> {
        let one = preferences.by_type.get(event).copied().unwrap_or_default();
        let (everything, value) = match (preferences.all, one) {
            (Preference::Off, _) => (true, Preference::Off),
            (_, Preference::Off | Preference::On) => (false, one),
            (Preference::On, Preference::Inherit) => (true, Preference::On),
            (Preference::Inherit, Preference::Inherit) => return None,
        };
        let origin = preferences.origins.get(&(!everything).then(|| event.clone()));
        let (set_by, set_at) = origin.cloned().unwrap_or_default();
        Some(Self { everything, value, set_by, set_at })
    }
}

fn once() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_once(times: &u32) -> bool {
    *times == 1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(at: i64, verdict: &str) -> TraceDecision {
        TraceDecision {
            stage: Stage::Turn,
            at: Timestamp(at),
            switches: Some(Switches {
                sending_allowed: true,
                event_type_on: true,
                opt_in: false,
                mandatory: false,
            }),
            choice: None,
            identity: None,
            template: None,
            verdict: verdict.into(),
        }
    }

    #[test]
    fn it_reads_back_and_what_does_not_is_empty() {
        let mut trace = Trace::default();
        trace.decided(TraceDecision {
            choice: Some(TraceChoice {
                everything: true,
                value: Preference::Off,
                set_by: "person:platform".into(),
                set_at: Timestamp(7),
            }),
            identity: Some(TraceBasis {
                rule: TraceRule::Stale,
                generation: 3,
                read_at: Some(Timestamp(2)),
            }),
            ..decision(1, "preference_all_off")
        });
        trace.waits(Wait {
            code: Some("ratelimited".into()),
            ..Wait::new(Cause::Throttled, Timestamp(1), Some(Timestamp(2)))
        });
        assert_eq!(Trace::from_bytes(&trace.to_bytes()), trace);
        assert_eq!(Trace::from_bytes(b"{"), Trace::default());
    }

    #[test]
    fn the_time_of_a_scheduled_message_is_kept() {
        let mut trace = Trace::default();
        trace.waits(Wait::new(Cause::Time, Timestamp(1), Some(Timestamp(9))));
        for at in 0..100 {
            let cause = if at % 2 == 0 { Cause::Budget } else { Cause::Retry };
            trace.waits(Wait::new(cause, Timestamp(at), Some(Timestamp(at + 20))));
        }
        assert_eq!(trace.scheduled_for(), Some(Timestamp(9)));
        let mut at_once = Trace::default();
        assert_eq!(at_once.scheduled_for(), None);
        at_once.waits(Wait::new(Cause::Directory, Timestamp(1), Some(Timestamp(9))));
        assert_eq!(at_once.scheduled_for(), None);
    }

    #[test]
    fn the_same_again_is_kept_once() {
        let mut trace = Trace::default();
        for at in 0..5 {
            trace.decided(decision(at, "send"));
            trace.waits(Wait::new(Cause::Budget, Timestamp(at), Some(Timestamp(at + 1))));
        }
        trace.decided(decision(9, "opt_in"));
        assert_eq!(trace.decisions.len(), 2);
        assert_eq!(
            trace.waits,
            [Wait { times: 5, until: Some(Timestamp(5)), ..trace.waits[0].clone() }]
        );
    }

    proptest::proptest! {
        #[test]
        fn it_stays_small(causes in proptest::collection::vec(0usize..3, 0..500)) {
            let mut trace = Trace::default();
            for (at, cause) in causes.iter().enumerate() {
                let at = i64::try_from(at).unwrap();
                let cause = [Cause::Budget, Cause::Throttled, Cause::Unknown][*cause];
                let code = Some("x".repeat(64));
                trace.waits(Wait { code, ..Wait::new(cause, Timestamp(at), None) });
                trace.decided(decision(at, &format!("reason_{at}")));
            }
            proptest::prop_assert!(trace.waits.len() <= WAITS);
            proptest::prop_assert!(trace.decisions.len() <= DECISIONS);
            proptest::prop_assert!(trace.to_bytes().len() < 8 * 1024);
            if let Some(first) = trace.decisions.first() {
                proptest::prop_assert_eq!(first.at, Timestamp(0));
            }
        }
    }
}
