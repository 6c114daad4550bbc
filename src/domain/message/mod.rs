//! The words of a message: event types with their data, templates, and the text and blocks that
//! Slack accepts.

pub mod problem;

pub mod render;

pub mod wording;

pub mod event;

pub mod template;

pub mod draft;
pub mod home;
pub mod preview;
pub mod stored;
