//! The words of one event type's messages, under the name that the files of event types use.

pub use crate::domain::message::wording::candidates::ReadyWords;
