//! The states of a delivery, and the sets of states that rules and statements name.

macro_rules! states {
    ($($(#[$doc:meta])* $variant:ident = $code:literal;)*) => {
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
        }
    };
}

states! {
    /// Accepted; the Slack member is not yet known.
    Resolving = "resolving";
    /// Accepted; waits until the person appears in Slack.
    Held = "held";
    /// Accepted; waits for a digest.
    Collected = "collected";
    /// In its lane, waiting for its turn.
    Pending = "pending";
    /// Intent committed; the request is under way.
    Sending = "sending";
    /// Slack may or may not have stored it; the lane waits until the history settles it.
    Unknown = "unknown";
    /// Slack stored it; channel and ts are known.
    Sent = "sent";
    /// Refused permanently, with the reason.
    Failed = "failed";
    /// Its expiry passed before it was sent.
    Expired = "expired";
    /// Switched off before it was sent.
    Suppressed = "suppressed";
    /// Canceled by the platform.
    Canceled = "canceled";
    /// Set aside for an operator: it killed its workers, or could not be settled.
    Parked = "parked";
    /// No Slack member matches this person.
    Unreachable = "unreachable";
}

/// Sets of states, each in the order of [`State::ALL`]: partial indexes name them in this order.
impl State {
    /// Not ended.
    pub const OPEN: &'static [Self] = &[
        Self::Resolving,
        Self::Held,
        Self::Collected,
        Self::Pending,
        Self::Sending,
        Self::Unknown,
    ];

    /// Open, and no request is under way or in doubt: it may expire or be canceled at any time.
    pub const EXPIRING: &'static [Self] =
        &[Self::Resolving, Self::Held, Self::Collected, Self::Pending];

    /// Open, and a request is under way or in doubt.
    pub const IN_FLIGHT: &'static [Self] = &[Self::Sending, Self::Unknown];

    /// The states in which it occupies a place in a lane.
    pub const IN_LANE: &'static [Self] = &[Self::Pending, Self::Sending, Self::Unknown];

    /// The states in which its lane's member got it, or is about to get it.
    pub const IN_LANE_OR_SENT: &'static [Self] =
        &[Self::Pending, Self::Sending, Self::Unknown, Self::Sent];

    /// The terminal states.
    pub const ENDED: &'static [Self] = &[
        Self::Sent,
        Self::Failed,
        Self::Expired,
        Self::Suppressed,
        Self::Canceled,
        Self::Parked,
        Self::Unreachable,
    ];

    /// The states of dead letters, which an operator can replay.
    pub const DEAD: &'static [Self] = &[Self::Failed, Self::Expired, Self::Parked];

    /// A terminal state is never left; a replay is a new delivery.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        Self::ENDED.contains(&self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sets_divide_the_states_and_keep_their_order() {
        let sets: [(&[State], &[State], &[State]); 4] = [
            (State::OPEN, State::ENDED, State::ALL),
            (State::EXPIRING, State::IN_FLIGHT, State::OPEN),
            (&[State::Pending], State::IN_FLIGHT, State::IN_LANE),
            (State::IN_LANE, &[State::Sent], State::IN_LANE_OR_SENT),
        ];
        for (first, rest, all) in sets {
            assert_eq!([first, rest].concat(), all);
        }
        let dead = |state: &State| State::DEAD.contains(state);
        let of_ended: Vec<State> = State::ENDED.iter().copied().filter(dead).collect();
        assert_eq!(of_ended, State::DEAD);
    }

    #[test]
    fn a_state_of_a_newer_release_is_in_no_set() {
        assert!(!State::ALL.contains(&State::Newer) && !State::Newer.is_terminal());
        assert_eq!(State::from_code(State::Newer.code()), None);
        for state in State::ALL {
            assert_eq!(State::from_code(state.code()), Some(*state));
        }
    }
}
