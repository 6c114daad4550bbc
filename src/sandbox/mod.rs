//! Slack in a box.

pub mod page;
