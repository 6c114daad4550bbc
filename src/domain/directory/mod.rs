//! The member list of a Slack workspace: how it is read, the facts about a member, and the snapshot
//! that lookups use.

pub mod crawl;
pub mod member;
pub mod snapshot;
