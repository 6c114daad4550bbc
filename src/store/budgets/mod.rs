//! When requests to Slack may start: `methods` for each method, `posts` for the messages of a
//! workspace.

pub(in crate::store) mod methods;
pub(in crate::store) mod posts;
