//! The transitions of a delivery: which state may follow which, and after which event.

use super::end::End;
use super::state::State;

/// Workers that may die while sending one delivery before it is set aside.
pub(super) const MAX_CRASHES: u32 = 3;

/// An event in the life of a delivery, by its effect on the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LifeEvent {
    /// Its Slack member is known: it joins a lane.
    MemberFound,
    /// Its Slack member is not known yet, or an earlier delivery of the person is resolving.
    MemberUnknown,
    /// No Slack member matches, and it may wait until the person appears.
    MemberAwaited,
    /// The person may have appeared in Slack.
    PersonAppeared,
    /// The tenant has moved to another workspace, or left one that others use: the member is looked
    /// for again.
    WorkspaceChanged,
    /// It ends without a request to Slack.
    Ended(End),
    /// Its turn ends without a request, and it keeps waiting for another.
    PutOff,
    /// The store was recovered from a copy, and it may have been posted in the time that was lost.
    Doubted,
    /// No message is left to change or delete.
    NothingLeft,
    /// The intent to make a request is committed.
    Intended,
    /// Slack stored it.
    Stored,
    /// Slack changed or deleted the last message that it concerns.
    Changed,
    /// Slack certainly did not store it; the attempt counts.
    NotStored,
    /// The request had no final effect, and the attempt does not count: it was throttled or never
    /// written, or Slack refused this message, or more messages are left to change.
    Returned,
    /// It was canceled during a request that Slack, as is now known, did not store.
    Withdrawn,
    /// Slack may have stored it.
    Ambiguous,
    /// The installation's token is dead.
    TokenDead,
    /// It failed for good.
    Failed,
    /// It is set aside for an operator.
    Parked,
    /// The worker of its lane died; `crashes` counts such deaths, including this one.
    Crashed { crashes: u32 },
}

/// The state after an event; `None`: the event is not allowed in this state, and changes nothing.
#[must_use]
pub fn transition(from: State, event: LifeEvent) -> Option<State> {
    let (allowed, to) = row(from, event);
    allowed.contains(&from).then_some(to)
}

/// The row of the table: the states in which the event is allowed, and the next state. A dead token
/// and a crash have several rows; for these, the row of the state `from`.
fn row(from: State, event: LifeEvent) -> (&'static [State], State) {
    use State::{Held, Pending, Resolving, Sending, Unknown};
    match event {
        LifeEvent::MemberFound => (&[Resolving], Pending),
        LifeEvent::MemberUnknown => (&[Resolving], Resolving),
        LifeEvent::MemberAwaited => (&[Resolving], Held),
        LifeEvent::PersonAppeared => (&[Held], Resolving),
        LifeEvent::WorkspaceChanged => (&[Pending], Resolving),
        LifeEvent::Ended(end @ (End::Expired | End::Canceled(_))) => (State::EXPIRING, end.state()),
        LifeEvent::Ended(end) => (&[Resolving, Pending], end.state()),
        LifeEvent::PutOff => (&[Pending], Pending),
        LifeEvent::Doubted => (&[Pending], Unknown),
        LifeEvent::NothingLeft => (&[Pending], State::Sent),
        LifeEvent::Intended => (&[Pending], Sending),
        LifeEvent::Stored => (State::IN_FLIGHT, State::Sent),
        LifeEvent::Changed => (&[Sending], State::Sent),
        LifeEvent::NotStored => (State::IN_FLIGHT, Pending),
        LifeEvent::Returned => (&[Sending], Pending),
        LifeEvent::Withdrawn => (State::IN_LANE, State::Canceled),
        // Without a token, history cannot be read either.
        LifeEvent::TokenDead if from == Unknown => (&[Unknown], Unknown),
        LifeEvent::TokenDead => (&[Pending, Sending], Pending),
        LifeEvent::Failed => (State::IN_LANE, State::Failed),
        LifeEvent::Parked => (State::IN_LANE, State::Parked),
        // A delivery in doubt is not parked for its third crash, since history was not read; it is
        // parked if reading history kills its worker too.
        LifeEvent::Crashed { crashes } if from == Unknown && crashes > MAX_CRASHES => {
            (&[Unknown], State::Parked)
        }
        LifeEvent::Crashed { crashes } if from == Pending && crashes >= MAX_CRASHES => {
            (&[Pending], State::Parked)
        }
        LifeEvent::Crashed { .. } if from == Pending => (&[Pending], Pending),
        LifeEvent::Ambiguous | LifeEvent::Crashed { .. } => (State::IN_FLIGHT, Unknown),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashSet};
    use std::mem::discriminant;

    use proptest::prelude::*;

    use super::State::{
        Canceled, Collected, Expired, Failed, Held, Parked, Pending, Resolving, Sending, Sent,
        Suppressed, Unknown, Unreachable,
    };
    use super::*;
    use crate::domain::reason::{Cancellation, Failure, NoMatch, Suppression};

    /// Each event; of those with a value, one for each effect.
    const EXAMPLES: &[LifeEvent] = &[
        LifeEvent::MemberFound,
        LifeEvent::MemberUnknown,
        LifeEvent::MemberAwaited,
        LifeEvent::PersonAppeared,
        LifeEvent::WorkspaceChanged,
        LifeEvent::Ended(End::Suppressed(Suppression::SendingOff)),
        LifeEvent::Ended(End::Unreachable(NoMatch::NoMember)),
        LifeEvent::Ended(End::Failed(Failure::Damaged)),
        LifeEvent::Ended(End::Expired),
        LifeEvent::Ended(End::Canceled(Cancellation::Superseded)),
        LifeEvent::PutOff,
        LifeEvent::Doubted,
        LifeEvent::NothingLeft,
        LifeEvent::Intended,
        LifeEvent::Stored,
        LifeEvent::Changed,
        LifeEvent::NotStored,
        LifeEvent::Returned,
        LifeEvent::Withdrawn,
        LifeEvent::Ambiguous,
        LifeEvent::TokenDead,
        LifeEvent::Failed,
        LifeEvent::Parked,
        LifeEvent::Crashed { crashes: MAX_CRASHES - 1 },
        LifeEvent::Crashed { crashes: MAX_CRASHES },
        LifeEvent::Crashed { crashes: MAX_CRASHES + 1 },
    ];

    const PAGE: &str = include_str!("../../../docs/delivery-states.md");

    /// The whole table, written out: all moves of an event. Every other pair of a state and an
    /// event is refused.
    fn moves(event: LifeEvent) -> &'static [(State, State)] {
        match event {
            LifeEvent::MemberFound => &[(Resolving, Pending)],
            LifeEvent::MemberUnknown => &[(Resolving, Resolving)],
            LifeEvent::MemberAwaited => &[(Resolving, Held)],
            LifeEvent::PersonAppeared => &[(Held, Resolving)],
            LifeEvent::WorkspaceChanged => &[(Pending, Resolving)],
            LifeEvent::Ended(End::Suppressed(_)) => {
                &[(Resolving, Suppressed), (Pending, Suppressed)]
            }
            LifeEvent::Ended(End::Unreachable(_)) => {
                &[(Resolving, Unreachable), (Pending, Unreachable)]
            }
            LifeEvent::Ended(End::Failed(_)) => &[(Resolving, Failed), (Pending, Failed)],
            LifeEvent::Ended(End::Expired) => {
                &[(Resolving, Expired), (Held, Expired), (Collected, Expired), (Pending, Expired)]
            }
            LifeEvent::Ended(End::Canceled(_)) => &[
                (Resolving, Canceled),
                (Held, Canceled),
                (Collected, Canceled),
                (Pending, Canceled),
            ],
            LifeEvent::PutOff => &[(Pending, Pending)],
            LifeEvent::Doubted => &[(Pending, Unknown)],
            LifeEvent::NothingLeft => &[(Pending, Sent)],
            LifeEvent::Intended => &[(Pending, Sending)],
            LifeEvent::Stored => &[(Sending, Sent), (Unknown, Sent)],
            LifeEvent::Changed => &[(Sending, Sent)],
            LifeEvent::NotStored => &[(Sending, Pending), (Unknown, Pending)],
            LifeEvent::Returned => &[(Sending, Pending)],
            LifeEvent::Withdrawn => {
                &[(Pending, Canceled), (Sending, Canceled), (Unknown, Canceled)]
            }
            LifeEvent::Ambiguous => &[(Sending, Unknown), (Unknown, Unknown)],
            LifeEvent::TokenDead => &[(Pending, Pending), (Sending, Pending), (Unknown, Unknown)],
            LifeEvent::Failed => &[(Pending, Failed), (Sending, Failed), (Unknown, Failed)],
            LifeEvent::Parked => &[(Pending, Parked), (Sending, Parked), (Unknown, Parked)],
            LifeEvent::Crashed { crashes: 0..=2 } => {
                &[(Pending, Pending), (Sending, Unknown), (Unknown, Unknown)]
            }
            LifeEvent::Crashed { crashes: 3 } => {
                &[(Pending, Parked), (Sending, Unknown), (Unknown, Unknown)]
            }
            LifeEvent::Crashed { crashes: 4.. } => {
                &[(Pending, Parked), (Sending, Unknown), (Unknown, Parked)]
            }
        }
    }

    fn all_states() -> impl Iterator<Item = State> {
        State::ALL.iter().copied().chain([State::Newer])
    }

    #[test]
    fn every_event_in_every_state_is_as_in_the_table() {
        for event in EXAMPLES.iter().copied() {
            for from in all_states() {
                let expected = moves(event).iter().find(|(state, _)| *state == from);
                let expected = expected.map(|(_, to)| *to);
                assert_eq!(transition(from, event), expected, "{event:?} in {from:?}");
            }
        }
    }

    #[test]
    fn the_examples_have_every_event_once() {
        let examples: HashSet<_> = EXAMPLES.iter().collect();
        assert_eq!(examples.len(), EXAMPLES.len());
        let events: HashSet<_> = EXAMPLES.iter().map(discriminant).collect();
        assert_eq!(events.len(), 20, "a new event needs an example");
        let all_ends = |event: &&LifeEvent| matches!(event, LifeEvent::Ended(_));
        assert_eq!(EXAMPLES.iter().filter(all_ends).count(), 5);
    }

    #[test]
    fn every_transition_is_drawn_in_the_documents() {
        let arrow = |line: &'static str| {
            let mut words = line.split_whitespace();
            let (from, arrow, to) = (words.next()?, words.next()?, words.next()?);
            let between_states = arrow == "-->" && from != "[*]" && to != "[*]";
            between_states.then_some((from, to))
        };
        let drawn: BTreeSet<_> = PAGE.lines().filter_map(arrow).collect();
        let mut allowed = BTreeSet::new();
        for from in State::ALL {
            let next = EXAMPLES.iter().filter_map(|event| transition(*from, *event));
            allowed.extend(next.map(|to| (from.code(), to.code())));
        }
        assert_eq!(drawn, allowed, "left: docs/delivery-states.md, right: the code");
    }

    /// Statements that change many rows at once name sets of states instead of asking for each row.
    #[test]
    fn the_sets_that_statements_name_are_those_of_the_table() {
        let canceled = LifeEvent::Ended(End::Canceled(Cancellation::Superseded));
        for (event, set) in [
            (LifeEvent::Ended(End::Expired), State::EXPIRING),
            (canceled, State::EXPIRING),
            (LifeEvent::Parked, State::IN_LANE),
        ] {
            let allowed = |state: &State| transition(*state, event).is_some();
            let allowed: Vec<State> = all_states().filter(allowed).collect();
            assert_eq!(allowed, set, "{event:?}");
        }
    }

    fn any_event() -> impl Strategy<Value = LifeEvent> {
        let listed = prop::sample::select(EXAMPLES);
        prop_oneof![listed, any::<u32>().prop_map(|crashes| LifeEvent::Crashed { crashes })]
    }

    proptest! {
        #[test]
        fn a_terminal_state_is_never_left(
            start in prop::sample::select(State::ALL),
            events in prop::collection::vec(any_event(), 0..64),
        ) {
            let mut state = start;
            for event in events {
                let next = transition(state, event);
                if state.is_terminal() {
                    prop_assert_eq!(next, None);
                }
                state = next.unwrap_or(state);
                prop_assert!(State::ALL.contains(&state));
            }
        }
    }
}
