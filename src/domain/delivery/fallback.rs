//! Whether another notice, such as an e-mail, should replace a message.

use super::State;
use super::subject::Action;
use crate::domain::reason::{Cancellation, Suppression};

/// The meaning of a state for a caller with another channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// The state is not final: a later one decides.
    Undecided,
    /// Final, and nothing is missing: the message is in Slack, another message replaces it, or the
    /// platform canceled it. (A message that ended because the workspace was disconnected is
    /// missing.)
    NotWanted,
    /// Final, and no one will get this message in Slack.
    Wanted,
}

impl Fallback {
    /// The fallback for a delivery's state. For a parked delivery it is unknown whether it is in
    /// Slack: a message that arrives twice is better than one that never arrives.
    #[must_use]
    pub fn of(state: State, reason: Option<&str>, action: Action) -> Self {
        match state {
            State::Resolving
            | State::Held
            | State::Collected
            | State::Pending
            | State::Sending
            | State::Unknown
            | State::Newer => Self::Undecided,
            State::Sent => Self::NotWanted,
            // An action that only deletes or strikes through has no text to deliver.
            _ if !action.speaks() => Self::NotWanted,
            State::Canceled
                if reason
                    .and_then(Cancellation::from_code)
                    .is_none_or(Cancellation::needs_no_fallback) =>
            {
                Self::NotWanted
            }
            State::Suppressed
                if reason
                    .and_then(Suppression::from_code)
                    .is_some_and(Suppression::needs_no_fallback) =>
            {
                Self::NotWanted
            }
            State::Failed
            | State::Expired
            | State::Suppressed
            | State::Canceled
            | State::Parked
            | State::Unreachable => Self::Wanted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fallback_is_decided_in_final_states_and_only_there() {
        for state in State::ALL {
            for action in Action::ALL {
                let fallback = Fallback::of(*state, None, *action);
                assert_eq!(fallback != Fallback::Undecided, state.is_terminal(), "{state:?}");
            }
        }
        assert_eq!(Fallback::of(State::Newer, None, Action::Post), Fallback::Undecided);
    }

    #[test]
    fn a_fallback_is_wanted_where_something_new_reaches_nobody() {
        let wanted =
            |state, reason, action| Fallback::of(state, reason, action) == Fallback::Wanted;
        let lost = [State::Failed, State::Expired, State::Parked, State::Unreachable];
        for state in lost.into_iter().chain([State::Suppressed]) {
            assert!(wanted(state, None, Action::Replace), "{state:?}");
            assert!(!wanted(state, None, Action::Retract), "{state:?}");
            assert!(!wanted(state, None, Action::Done), "{state:?}");
        }
        for by in ["same_member", "not_in_audience", "own_act"] {
            assert!(!wanted(State::Suppressed, Some(by), Action::Post), "{by}");
        }
        assert!(wanted(State::Suppressed, Some("event_type_off"), Action::Post));
        assert!(!wanted(State::Sent, None, Action::Post));
        assert!(!wanted(State::Canceled, Some("superseded"), Action::Post));
        assert!(!wanted(State::Canceled, None, Action::Post));
        assert!(wanted(State::Canceled, Some("disconnected"), Action::Post));
        assert!(!wanted(State::Canceled, Some("disconnected"), Action::Retract));
    }
}
