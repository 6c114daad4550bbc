//! The words of one event type's messages, by the name under which event types have them.

pub use crate::domain::message::wording::candidates::ReadyWords;
