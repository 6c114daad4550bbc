//! The words of one event type's messages, ready to be filled in.

use std::sync::Arc;

use crate::domain::message::render::{Compiled, Language, Template};
use crate::domain::message::wording::{self, Wording};

/// The words before their reader is known.
#[derive(Debug, Clone)]
pub enum ReadyWords {
    /// Of a built-in type, in all languages: the reader gets the words of theirs.
    BuiltIn(&'static Wording),
    /// Of a tenant's own type, in one language: dates, plurals, lists and the button are in the
    /// reader's.
    Own(Arc<Compiled>),
}

impl ReadyWords {
    /// The words of a tenant's own type.
    #[must_use]
    pub fn own(template: &Template) -> Self {
        Self::Own(Arc::new(Compiled::of(template, None)))
    }

    /// The template for readers of this language.
    #[must_use]
    pub fn template(&self, language: Language) -> &Compiled {
        match self {
            Self::BuiltIn(wording) => &wording.words(language).compiled,
            Self::Own(compiled) => compiled,
        }
    }

    /// The label of the link's button for readers of this language.
    #[must_use]
    pub fn button(&self, language: Language) -> &str {
        match self {
            Self::BuiltIn(wording) => &wording.words(language).button,
            Self::Own(_) => wording::open(language),
        }
    }
}
