//! The budget of a workspace that a request is taken from. Slack limits each method separately.

use super::slack_method::Method;

/// The budgets for messages. Each has its own pace, shared by all replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Budget {
    /// `chat.postMessage`: messages and answers in threads.
    Posts,
    /// `chat.update`: changed text, and text that is struck through.
    Updates,
    /// `chat.delete`.
    Deletions,
}

impl Budget {
    pub const ALL: [Self; 3] = [Self::Posts, Self::Updates, Self::Deletions];

    /// The number in the store.
    #[must_use]
    pub fn code(self) -> i64 {
        match self {
            Self::Posts => 0,
            Self::Updates => 1,
            Self::Deletions => 2,
        }
    }

    #[must_use]
    pub fn from_code(code: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|budget| budget.code() == code)
    }

    /// The name of Slack's method.
    #[must_use]
    pub fn method(self) -> &'static str {
        Method::from(self).name()
    }
}

impl From<Budget> for Method {
    fn from(budget: Budget) -> Self {
        match budget {
            Budget::Posts => Self::ChatPostMessage,
            Budget::Updates => Self::ChatUpdate,
            Budget::Deletions => Self::ChatDelete,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_read_back() {
        for budget in Budget::ALL {
            assert_eq!(Budget::from_code(budget.code()), Some(budget));
        }
        assert_eq!(Budget::from_code(9), None);
    }
}
