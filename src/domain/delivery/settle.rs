//! The outcome of a lane's head, and its effect on the delivery.

use std::time::Duration;

use super::end::End;
use super::state::State;
use super::transition::{LifeEvent, transition};
use crate::domain::delivery::subject::{Shown, SlackRequestKind};
use crate::domain::ids::{ChannelId, DeliveryId, InstallationId};
use crate::domain::reason::{Cancellation, Failure};
use crate::domain::time::Timestamp;

/// The code of a message that waits outside its lane ([`Settle::Aside`]).
pub const ASIDE: &str = "disconnected";

/// The outcome of a lane's head. In parentheses: the states from which it is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settle {
    /// Slack stored it (sending, unknown).
    Delivered { channel: ChannelId, ts: String },
    /// Slack stored an answer outside its thread, because the thread's first message was deleted:
    /// it becomes a separate message, and the one that it answers is marked as gone (sending,
    /// unknown).
    Unthreaded { root: Option<DeliveryId>, channel: ChannelId, ts: String },
    /// It failed for good (pending, sending, unknown).
    Failed { reason: Failure, code: Option<String> },
    /// It is parked for an operator (pending, sending, unknown).
    Parked { reason: Failure, code: Option<String> },
    /// Certainly not stored: pending again; the attempt counts (sending, unknown).
    Retry { after: Duration, code: String },
    /// Throttled: pending again; the attempt does not count (sending).
    Wait { after: Duration, scope: WaitScope },
    /// The installation's token is dead: the lane sleeps until the workspace is connected again;
    /// the attempt does not count (pending, sending; unknown stays unknown).
    Paused { code: String },
    /// Slack may have stored it: unknown; history is read after this time (sending, unknown).
    Probe { after: Duration, code: String },
    /// The request was never written: pending again at once; the attempt does not count (sending).
    NotWritten,
    /// It ends before any request (pending).
    Ended(End),
    /// Its turn has not come yet: checked again after this time; nothing is spent (pending).
    Deferred { after: Duration },
    /// The messages in Slack require another kind of request than its claim has a start for: it
    /// waits, in its place, for a start from the right budget; nothing is spent (pending).
    Replanned { request_kind: SlackRequestKind },
    /// The store was recovered from a copy, and this may have been posted in the time that was
    /// lost: unknown; history is read at once, for this request (pending).
    Doubted { request_kind: SlackRequestKind, thread_ts: Option<String> },
    /// The tenant is connected to another installation, or left a workspace that others use: the
    /// person's member is resolved again (pending).
    Resolve,
    /// The tenant left a workspace that others use, and the message for a channel is kept: it waits
    /// outside the lane for the tenant's next connection (pending).
    Aside,
    /// Slack changed or deleted an existing message (sending). If `more` are left, it is pending
    /// again at once, and the attempt does not count; otherwise it ends as sent.
    Acted(Acted),
    /// Nothing is left to act on (pending).
    Finished,
    /// Slack does not know the message, or does not allow changing it: this is recorded, and it is
    /// pending again at once; the attempt does not count (sending).
    Unmodifiable { message: DeliveryId, shown: Shown, code: String },
    /// The person is a different member than assumed: to the tail of that member's lane (pending).
    Moved { installation: InstallationId, lane: String },
}

/// The scope of a 429.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitScope {
    /// The conversation: everything in this lane waits.
    Lane,
    /// A wider scope, which has its own budget: only this delivery waits.
    Nothing,
}

/// A message that was acted on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acted {
    /// The delivery that posted it.
    pub message: DeliveryId,
    pub channel: ChannelId,
    pub ts: String,
    /// Its new appearance in Slack.
    pub shown: Option<Shown>,
    /// It now has this delivery's content.
    pub replaced: bool,
    /// Others are left.
    pub more: bool,
}

impl Settle {
    /// The event in the life of the delivery, by which the table of transitions knows it.
    #[must_use]
    pub fn event(&self) -> LifeEvent {
        match self {
            Self::Delivered { .. } | Self::Unthreaded { .. } => LifeEvent::Stored,
            Self::Failed { .. } => LifeEvent::Failed,
            Self::Parked { .. } => LifeEvent::Parked,
            Self::Retry { .. } => LifeEvent::NotStored,
            Self::Acted(Acted { more: false, .. }) => LifeEvent::Changed,
            Self::Acted(_) | Self::Wait { .. } | Self::NotWritten | Self::Unmodifiable { .. } => {
                LifeEvent::Returned
            }
            Self::Paused { .. } => LifeEvent::TokenDead,
            Self::Probe { .. } => LifeEvent::Ambiguous,
            Self::Ended(end) => LifeEvent::Ended(*end),
            Self::Deferred { .. } | Self::Replanned { .. } | Self::Moved { .. } | Self::Aside => {
                LifeEvent::PutOff
            }
            Self::Doubted { .. } => LifeEvent::Doubted,
            Self::Resolve => LifeEvent::WorkspaceChanged,
            Self::Finished => LifeEvent::NothingLeft,
        }
    }

    /// The outcome of the request, or of the read of history, for the log of attempts; empty if
    /// neither was made.
    fn outcome(&self) -> &'static str {
        match self {
            Self::Delivered { .. } | Self::Acted(_) => "sent",
            Self::Unthreaded { .. } => "unthreaded",
            Self::Failed { .. } => "failed",
            Self::Parked { .. } => "parked",
            Self::Retry { .. } => "not_sent",
            Self::Wait { .. } => "throttled",
            Self::Paused { .. } => "unauthorized",
            Self::Probe { .. } => "unknown",
            Self::NotWritten => "not_written",
            Self::Unmodifiable { .. } => "unfit",
            Self::Ended(_)
            | Self::Deferred { .. }
            | Self::Replanned { .. }
            | Self::Doubted { .. }
            | Self::Resolve
            | Self::Aside
            | Self::Finished
            | Self::Moved { .. } => "",
        }
    }
}

/// A delivery at the head of its lane, as a settle finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsettled {
    pub state: State,
    /// Requests that counted, including one under way.
    pub attempt: i64,
    /// Reads of history since the request in doubt.
    pub probes: i64,
    pub due_at: Timestamp,
    /// When the request that is under way or in doubt began.
    pub sending_since: Option<Timestamp>,
    /// It was canceled while a request was under way.
    pub canceled: bool,
    /// The reason for the cancellation, if it has one.
    pub cancellation: Option<Cancellation>,
    /// The database's time.
    pub now: Timestamp,
}

/// The changes that a settle makes to a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettleChange {
    pub state: State,
    pub attempt: i64,
    pub probes: i64,
    pub due_at: Timestamp,
    pub sending_since: Option<Timestamp>,
    /// The reason code.
    pub reason: Option<&'static str>,
    /// Slack's code; `None`: unchanged.
    pub code: Option<String>,
    /// Where Slack stored it; `None`: unchanged.
    pub sent: Option<(ChannelId, String)>,
    /// The kind of its next request; `None`: unchanged.
    pub request_kind: Option<SlackRequestKind>,
    /// The lane's pause.
    pub holds: Option<Duration>,
    /// The outcome of the request or the read of history, for the log of attempts.
    pub outcome: &'static str,
}

impl Unsettled {
    /// The changes that a settle makes; `None`: it is not allowed in this state.
    #[must_use]
    pub fn settle(&self, settle: &Settle) -> Option<SettleChange> {
        // Some ends are transitions outside of lanes, too; no turn makes those.
        if !State::IN_LANE.contains(&self.state) {
            return None;
        }
        let mut state = transition(self.state, settle.event())?;
        if self.canceled && state == State::Pending {
            state = transition(self.state, LifeEvent::Withdrawn)?;
        }
        // The reason for the cancellation is kept until the delivery ends in another way.
        let kept = |_: &Cancellation| state == State::Canceled || !state.is_terminal();
        let mut change = SettleChange {
            state,
            attempt: self.attempt,
            probes: self.probes,
            due_at: self.due_at,
            // The probe needs to know when the request in doubt began.
            sending_since: self.sending_since.filter(|_| state != State::Pending),
            reason: self.cancellation.filter(kept).map(Cancellation::code),
            code: None,
            sent: None,
            request_kind: None,
            holds: None,
            outcome: settle.outcome(),
        };
        self.fill(settle, &mut change);
        Some(change)
    }

    /// Sets the values that the settle gives.
    fn fill(&self, settle: &Settle, change: &mut SettleChange) {
        let later = |after: &Duration| self.now.plus(*after);
        match settle {
            Settle::Delivered { channel, ts } => change.sent = Some((channel.clone(), ts.clone())),
            Settle::Unthreaded { channel, ts, .. } => {
                change.sent = Some((channel.clone(), ts.clone()));
                change.request_kind = Some(SlackRequestKind::Post);
            }
            Settle::Failed { reason, code } | Settle::Parked { reason, code } => {
                change.reason = Some(reason.code());
                change.code.clone_from(code);
            }
            Settle::Retry { after, code } => {
                change.due_at = later(after);
                change.code = Some(code.clone());
            }
            Settle::Wait { after, scope } => {
                change.attempt = self.attempt_given_back();
                change.due_at = later(after);
                change.holds = (*scope == WaitScope::Lane).then_some(*after);
                change.code = Some("ratelimited".into());
            }
            Settle::Paused { code } => {
                change.attempt = self.attempt_given_back();
                change.code = Some(code.clone());
            }
            Settle::Probe { after, code } => {
                change.probes = if self.state == State::Unknown { self.probes + 1 } else { 0 };
                change.due_at = later(after);
                change.code = Some(code.clone());
            }
            Settle::NotWritten => change.attempt = self.attempt_given_back(),
            Settle::Ended(end) => change.reason = end.reason(),
            Settle::Deferred { after } => change.due_at = later(after),
            Settle::Replanned { request_kind } => change.request_kind = Some(*request_kind),
            Settle::Doubted { request_kind, .. } => {
                change.probes = 0;
                change.due_at = self.now;
                change.request_kind = Some(*request_kind);
                change.code = Some("recovered".into());
            }
            Settle::Acted(acted) => {
                change.sent = Some((acted.channel.clone(), acted.ts.clone()));
                change.attempt = self.attempt - i64::from(acted.more);
                change.due_at = self.now;
            }
            Settle::Unmodifiable { code, .. } => {
                change.attempt = self.attempt_given_back();
                change.due_at = self.now;
                change.code = Some(code.clone());
            }
            Settle::Aside => change.code = Some(ASIDE.into()),
            Settle::Finished | Settle::Resolve | Settle::Moved { .. } => {}
        }
    }

    /// The number of attempts if the one under way does not count.
    fn attempt_given_back(&self) -> i64 {
        self.attempt - i64::from(self.state == State::Sending)
    }
}

#[cfg(test)]
mod tests {
    use super::State::{
        Canceled, Expired, Failed, Parked, Pending, Resolving, Sending, Sent, Suppressed, Unknown,
        Unreachable,
    };
    use super::*;
    use crate::domain::reason::{NoMatch, Suppression};

    const NOW: Timestamp = Timestamp(1_000_000);
    const AFTER: Duration = Duration::from_secs(7);
    /// Refused.
    const NO: State = State::Newer;

    fn acted(more: bool) -> Settle {
        Settle::Acted(Acted {
            message: DeliveryId(uuid::Uuid::nil()),
            channel: ChannelId::parse("D1").unwrap(),
            ts: "1.2".into(),
            shown: None,
            replaced: false,
            more,
        })
    }

    /// Every settle, with the state after it in a pending delivery, in one that is being sent, and
    /// in one that is in doubt.
    fn table() -> Vec<(Settle, [State; 3])> {
        let (channel, ts) = (ChannelId::parse("D1").unwrap(), String::from("1.2"));
        let (after, code, request_kind) = (AFTER, String::from("x"), SlackRequestKind::Post);
        let (reason, lane) = (Failure::Rejected, String::from("U2"));
        let (message, installation) =
            (DeliveryId(uuid::Uuid::nil()), InstallationId(uuid::Uuid::nil()));
        let ended = |end: End| (Settle::Ended(end), [end.state(), NO, NO]);
        vec![
            (Settle::Delivered { channel: channel.clone(), ts: ts.clone() }, [NO, Sent, Sent]),
            (Settle::Unthreaded { root: None, channel, ts }, [NO, Sent, Sent]),
            (Settle::Failed { reason, code: None }, [Failed; 3]),
            (Settle::Parked { reason, code: None }, [Parked; 3]),
            (Settle::Retry { after, code: code.clone() }, [NO, Pending, Pending]),
            (Settle::Wait { after, scope: WaitScope::Lane }, [NO, Pending, NO]),
            (Settle::Paused { code: code.clone() }, [Pending, Pending, Unknown]),
            (Settle::Probe { after, code: code.clone() }, [NO, Unknown, Unknown]),
            (Settle::NotWritten, [NO, Pending, NO]),
            ended(End::Suppressed(Suppression::SendingOff)),
            ended(End::Unreachable(NoMatch::NoMember)),
            ended(End::Failed(Failure::Template)),
            ended(End::Expired),
            ended(End::Canceled(Cancellation::NothingToDo)),
            (Settle::Deferred { after }, [Pending, NO, NO]),
            (Settle::Replanned { request_kind }, [Pending, NO, NO]),
            (Settle::Doubted { request_kind, thread_ts: None }, [Unknown, NO, NO]),
            (Settle::Resolve, [Resolving, NO, NO]),
            (Settle::Aside, [Pending, NO, NO]),
            (acted(true), [NO, Pending, NO]),
            (acted(false), [NO, Sent, NO]),
            (Settle::Finished, [Sent, NO, NO]),
            (Settle::Unmodifiable { message, shown: Shown::Gone, code }, [NO, Pending, NO]),
            (Settle::Moved { installation, lane }, [Pending, NO, NO]),
        ]
    }

    fn found(state: State, canceled: bool) -> Unsettled {
        Unsettled {
            state,
            attempt: 3,
            probes: 2,
            due_at: Timestamp(5),
            sending_since: Some(Timestamp(4)),
            canceled,
            cancellation: canceled.then_some(Cancellation::Superseded),
            now: NOW,
        }
    }

    #[test]
    fn every_settle_in_every_state_is_as_in_the_table() {
        for (settle, after) in table() {
            for (from, expected) in State::IN_LANE.iter().zip(after) {
                let state = found(*from, false).settle(&settle).map(|change| change.state);
                let expected = Some(expected).filter(|state| *state != NO);
                assert_eq!(state, expected, "{settle:?} in {from:?}");
            }
            let outside = State::ALL.iter().chain([&State::Newer]);
            for from in outside.filter(|state| !State::IN_LANE.contains(state)) {
                assert_eq!(found(*from, false).settle(&settle), None, "{settle:?} in {from:?}");
            }
        }
    }

    #[test]
    fn a_delivery_that_was_canceled_meanwhile_is_not_pending_again() {
        for (settle, _) in table() {
            for from in State::IN_LANE.iter().copied() {
                let usual = found(from, false).settle(&settle);
                let canceled = found(from, true).settle(&settle);
                let Some(usual) = usual else {
                    assert_eq!(canceled, None);
                    continue;
                };
                let canceled = canceled.unwrap();
                let superseded = Some(Cancellation::Superseded.code());
                match usual.state {
                    Pending => {
                        assert_eq!((canceled.state, canceled.reason), (Canceled, superseded));
                    }
                    // The reason waits for the end.
                    Unknown | Resolving => {
                        assert_eq!((canceled.state, canceled.reason), (usual.state, superseded));
                    }
                    _ => assert_eq!(canceled, usual, "{settle:?} in {from:?}"),
                }
            }
        }
    }

    #[test]
    fn only_a_request_that_counts_costs_an_attempt() {
        let attempt = |settle: &Settle, from| found(from, false).settle(settle).unwrap().attempt;
        let code = || String::from("x");
        for free in [
            Settle::Wait { after: AFTER, scope: WaitScope::Lane },
            Settle::Paused { code: code() },
            Settle::NotWritten,
            acted(true),
        ] {
            assert_eq!(attempt(&free, Sending), 2, "{free:?}");
        }
        assert_eq!(attempt(&Settle::Retry { after: AFTER, code: code() }, Sending), 3);
        assert_eq!(attempt(&acted(false), Sending), 3);
        for from in [Pending, Unknown] {
            assert_eq!(attempt(&Settle::Paused { code: code() }, from), 3);
        }
    }

    #[test]
    fn times_and_probes_follow_the_settle() {
        let probe = Settle::Probe { after: AFTER, code: "x".into() };
        let first = found(Sending, false).settle(&probe).unwrap();
        assert_eq!((first.probes, first.due_at), (0, NOW.plus(AFTER)));
        assert_eq!(first.sending_since, Some(Timestamp(4)));
        assert_eq!(found(Unknown, false).settle(&probe).unwrap().probes, 3);
        for (scope, holds) in [(WaitScope::Lane, Some(AFTER)), (WaitScope::Nothing, None)] {
            let wait = found(Sending, false).settle(&Settle::Wait { after: AFTER, scope }).unwrap();
            assert_eq!((wait.holds, wait.sending_since), (holds, None));
        }
        let ends = [Suppressed, Unreachable, Failed, Expired, Canceled];
        let ended = table().into_iter().filter(|(settle, _)| matches!(settle, Settle::Ended(_)));
        let ended = ended.map(|(settle, _)| found(Pending, false).settle(&settle).unwrap());
        assert_eq!(ended.map(|change| change.state).collect::<Vec<_>>(), ends);
    }
}
