//! The people of the platform as Slack's members: their records, the match, and how many people a
//! mapping matches.

pub mod matching;
pub mod person;

pub mod coverage;
