//! The writes of a turn: `intend` before the request to Slack, `settle` after it.

pub(in crate::store) mod settle;

pub(in crate::store) mod intend;
