//! The tenants, each with a Slack workspace of its own.
//!
//! Tenant 0 is the main one: faults are aimed at its Slack, people and callers. Tenant 1 is the
//! *witness*: no fault is aimed at it, so its calls show the judge how faults affect bystanders.
//! The others have a Slack that is slow to answer.

/// One of them, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Tenant(pub(crate) usize);

impl Tenant {
    pub(crate) const MAIN: Self = Self(0);
    pub(crate) const WITNESS: Self = Self(1);

    pub(crate) fn name(self) -> String {
        match self {
            Self::MAIN => "acme".to_owned(),
            Self::WITNESS => "witness".to_owned(),
            Self(number) => format!("slow-{number}"),
        }
    }

    pub(crate) fn is_slow(self) -> bool {
        self > Self::WITNESS
    }

    /// Slack's id of this person. No two tenants share an id.
    pub(crate) fn member_id(self, person: usize) -> String {
        match self {
            Self::MAIN => format!("U{person:03}"),
            Self(number) => format!("U{number}X{person:03}"),
        }
    }
}

pub(crate) fn person(number: usize) -> String {
    format!("person-{number}")
}

pub(crate) fn email(number: usize) -> String {
    format!("person{number}@example.com")
}
