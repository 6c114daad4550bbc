//! How a delivery can end without Slack.

use super::state::State;
use crate::domain::reason::{Cancellation, Failure, NoMatch, Suppression};

/// An end without a request to Slack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    Suppressed(Suppression),
    Unreachable(NoMatch),
    /// It can no longer be rendered.
    Failed(Failure),
    Expired,
    Canceled(Cancellation),
}

impl End {
    /// The terminal state of this end.
    #[must_use]
    pub fn state(self) -> State {
        match self {
            Self::Suppressed(_) => State::Suppressed,
            Self::Unreachable(_) => State::Unreachable,
            Self::Failed(_) => State::Failed,
            Self::Expired => State::Expired,
            Self::Canceled(_) => State::Canceled,
        }
    }

    /// The code of the end in a trace: the reason's, or the state's.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.reason().unwrap_or(self.state().code())
    }

    /// The reason code; an expiry has none.
    #[must_use]
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Self::Suppressed(reason) => Some(reason.code()),
            Self::Unreachable(reason) => Some(reason.code()),
            Self::Failed(reason) => Some(reason.code()),
            Self::Canceled(reason) => Some(reason.code()),
            Self::Expired => None,
        }
    }
}
