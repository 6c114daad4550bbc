//! The urgency of a message, which also decides how soon its lane is claimed.

/// The priority that the caller of Notify chose, or the event type's default. It orders lanes,
/// never the messages of one lane: a lane is as urgent as its most urgent message (invariant I4).
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// After all other messages of its workspace.
    Bulk,
    #[default]
    Normal,
    /// Before all other messages of its workspace.
    Urgent,
}

impl Priority {
    /// The number in the store: larger is more urgent.
    #[must_use]
    pub fn code(self) -> i64 {
        match self {
            Self::Bulk => -1,
            Self::Normal => 0,
            Self::Urgent => 1,
        }
    }

    #[must_use]
    pub fn from_code(code: i64) -> Self {
        match code {
            ..0 => Self::Bulk,
            0 => Self::Normal,
            1.. => Self::Urgent,
        }
    }
}

/// The order in which lanes are claimed: lower classes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Its head is in doubt: the history is read and nothing is posted, so a pause of posting does
    /// not hold it.
    InDoubt,
    Urgent,
    Normal,
    Bulk,
}

impl Class {
    pub const ALL: [Self; 4] = [Self::InDoubt, Self::Urgent, Self::Normal, Self::Bulk];

    /// The number in the store.
    #[must_use]
    pub fn code(self) -> i64 {
        match self {
            Self::InDoubt => 0,
            Self::Urgent => 1,
            Self::Normal => 2,
            Self::Bulk => 3,
        }
    }

    #[must_use]
    pub fn from_code(code: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.code() == code)
    }

    /// Whether a lane of this class is claimed in order to post.
    #[must_use]
    pub fn posts(self) -> bool {
        self != Self::InDoubt
    }
}

impl From<Priority> for Class {
    fn from(priority: Priority) -> Self {
        match priority {
            Priority::Urgent => Self::Urgent,
            Priority::Normal => Self::Normal,
            Priority::Bulk => Self::Bulk,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_read_back_and_order() {
        for priority in [Priority::Bulk, Priority::Normal, Priority::Urgent] {
            assert_eq!(Priority::from_code(priority.code()), priority);
        }
        for class in Class::ALL {
            assert_eq!(Class::from_code(class.code()), Some(class));
        }
        assert_eq!(Class::from_code(9), None);
        assert!(Priority::Urgent > Priority::Normal && Priority::Normal > Priority::Bulk);
        assert!(Class::from(Priority::Urgent) < Class::from(Priority::Normal));
    }
}
