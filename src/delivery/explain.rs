//! The entries that a turn adds to the trace of its delivery: written together with its settle, or
//! not at all if nothing is new.

use super::turn::Turn;
use crate::domain::delivery::Settle;
use crate::domain::delivery::subject::Action;
use crate::domain::delivery::trace::{
    Cause, Stage, Switches, Trace, TraceBasis, TraceChoice, TraceDecision, TraceRule, Wait,
};
use crate::domain::settings::{Identity, Preferences, Rule, Settings};
use crate::domain::time::Timestamp;
use crate::store::Head;

/// The least wait behind others that is recorded: a claim and a look take a few milliseconds.
const WORTH_TELLING_MICROS: i64 = 10_000;

/// The decision made when the message's turn came.
pub(super) fn decision(
    head: &Head,
    now: Timestamp,
    settings: Option<&Settings>,
    preferences: &Preferences,
    identity: Option<&Identity>,
    verdict: Option<&Settle>,
) -> TraceDecision {
    let identity = identity.map(|identity| TraceBasis {
        rule: match identity.rule {
            Rule::Pinned => TraceRule::Pinned,
            Rule::Matched => TraceRule::Stored,
        },
        generation: 0,
        read_at: None,
    });
    let chooses = head.user.is_some() && head.action.speaks();
    TraceDecision {
        stage: Stage::Turn,
        at: now,
        switches: settings.map(|settings| Switches::of(settings, &head.event_type)),
        choice: chooses.then(|| TraceChoice::of(preferences, &head.event_type)).flatten(),
        identity: identity.filter(|_| head.user.is_some()),
        template: None,
        verdict: match verdict {
            None => "send".into(),
            Some(settle) => outcome(settle).into(),
        },
    }
}

fn outcome(settle: &Settle) -> &'static str {
    match settle {
        Settle::Ended(end) => end.code(),
        Settle::Failed { reason, .. } | Settle::Parked { reason, .. } => reason.code(),
        Settle::Moved { .. } | Settle::Resolve => "moved",
        Settle::Paused { .. } | Settle::Aside => "reconnect_required",
        _ => "send",
    }
}

/// The trace with the entries that the settle adds; `None` if it is unchanged.
pub(super) fn added(turn: &Turn<'_>, mut trace: Trace, settle: &Settle) -> Option<Vec<u8>> {
    let (head, now) = (&turn.head, turn.now());
    let first = head.attempt == 0 && !trace.waits.iter().any(|wait| wait.cause != Cause::Time);
    let since = head.due_at.max(head.created_at);
    let ready = head.ready_at.clamp(since, head.now.max(since));
    for (cause, from, until) in
        [(Cause::Conversation, since, ready), (Cause::Budget, ready, head.now)]
    {
        if first && until.0 - from.0 >= WORTH_TELLING_MICROS {
            trace.waits(Wait::new(cause, from, Some(until)));
        }
    }
    let wait = |cause, until, code: Option<&String>| {
        let code = code.cloned();
        Wait { code, ..Wait::new(cause, now, until) }
    };
    let added = match settle {
        Settle::Deferred { after } => Some(wait(Cause::Budget, Some(now.plus(*after)), None)),
        Settle::Wait { after, .. } => Some(wait(Cause::Throttled, Some(now.plus(*after)), None)),
        Settle::Paused { code } => Some(wait(Cause::TokenDead, None, Some(code))),
        Settle::Aside => Some(Wait::new(Cause::TokenDead, now, None)),
        Settle::Probe { after, code } => {
            Some(wait(Cause::Unknown, Some(now.plus(*after)), Some(code)))
        }
        Settle::Retry { after, code } => {
            Some(wait(Cause::Retry, Some(now.plus(*after)), Some(code)))
        }
        _ => None,
    };
    if let Some(wait) = added {
        trace.waits(wait);
    }
    let bytes = trace.to_bytes();
    (head.trace.as_deref() != Some(&bytes[..])).then_some(bytes)
}

/// The trace of a message that was resolved in the background.
pub(super) fn resolved(
    kept: Option<&[u8]>,
    decision: TraceDecision,
    action: Action,
    held: bool,
) -> Vec<u8> {
    let mut trace = Trace::from_bytes(kept.unwrap_or_default());
    let choice = decision.choice.clone().filter(|_| action.speaks());
    if held {
        trace.waits(Wait::new(Cause::Arrival, decision.at, None));
    }
    trace.decided(TraceDecision { choice, ..decision });
    trace.to_bytes()
}
