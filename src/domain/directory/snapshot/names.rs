//! Texts with few different values (time zones, locales), stored once.

use std::collections::HashMap;

use crate::domain::limits::SHORT_TEXT_BYTES;

/// Number 0 means none. A workspace with more than 65,535 time zones has invented some; further
/// ones count as none.
#[derive(Default)]
pub(super) struct Names {
    numbers: HashMap<Box<str>, u16>,
    texts: Vec<Box<str>>,
}

impl Names {
    pub(super) fn number(&mut self, text: Option<&str>) -> u16 {
        let Some(text) = text.filter(|text| text.len() <= SHORT_TEXT_BYTES) else { return 0 };
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let Ok(number) = u16::try_from(self.texts.len() + 1) else { return 0 };
        self.texts.push(text.into());
        self.numbers.insert(text.into(), number);
        number
    }

    /// Takes the texts of another table. Returns the number here for each of its numbers.
    pub(super) fn take(&mut self, other: Self) -> Vec<u16> {
        let texts = other.texts.iter().map(|text| self.number(Some(text)));
        std::iter::once(0).chain(texts).collect()
    }

    pub(super) fn into_texts(self) -> Box<[Box<str>]> {
        self.texts.into_boxed_slice()
    }
}

/// The text of a number.
pub(super) fn text(texts: &[Box<str>], number: u16) -> Option<&str> {
    texts.get(usize::from(number).checked_sub(1)?).map(|text| &**text)
}

/// Resident bytes.
pub(super) fn bytes(texts: &[Box<str>]) -> usize {
    texts.iter().map(|text| size_of::<Box<str>>() + text.len()).sum()
}
