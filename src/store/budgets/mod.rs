//! When requests to Slack may start: `clock`, budgets after the database's clock stepped back;
//! `methods` for each method, `posts` for the messages of a workspace.

pub(in crate::store) mod clock;
pub(in crate::store) mod methods;
pub(in crate::store) mod posts;
