//! The words of one event type's messages, stored and ready to be filled in.

use std::borrow::Cow;

use super::BuiltIn;
use crate::domain::message::render::{Compiled, Template};

/// The words in the form that is stored with a notification.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Words {
    pub template: Template,
    /// The label of the link's button.
    pub button: String,
}

/// Words that are compiled.
#[derive(Debug, Clone)]
pub struct ReadyWords<'a> {
    pub template: Cow<'a, Compiled>,
    /// The label of the link's button.
    pub button: Cow<'a, str>,
}

impl From<&Words> for ReadyWords<'_> {
    fn from(words: &Words) -> Self {
        let template = Cow::Owned(Compiled::of(&words.template));
        Self { template, button: Cow::Owned(words.button.clone()) }
    }
}

impl From<&'static BuiltIn> for ReadyWords<'_> {
    fn from(built_in: &'static BuiltIn) -> Self {
        let template = Cow::Borrowed(built_in.compiled());
        Self { template, button: Cow::Borrowed(built_in.button) }
    }
}
