//! The locale of a template.

use std::fmt;

use crate::domain::ids::IdError;
use crate::domain::limits;

/// A BCP 47 tag such as `de` or `pt-BR`, in its canonical case. It may be of a language that
/// Herald does not write.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Locale(String);

/// The shape of a tag, for errors.
const SHAPE: IdError = IdError::Shape("de or pt-BR (a BCP 47 tag)");

impl Locale {
    /// Checks the shape, and makes the case canonical; `_` becomes `-`.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        if text.is_empty() {
            return Err(IdError::Empty);
        }
        let (max, was) = (limits::LOCALE_BYTES, text.len());
        if was > max {
            return Err(IdError::TooLong { max, was });
        }
        let strange = |c: &char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_');
        if let Some(found) = text.chars().find(strange) {
            let allowed = "letters, digits, - and _";
            return Err(IdError::Character { found, allowed });
        }
        let tag = text.replace('_', "-").to_ascii_lowercase();
        let parts: Vec<&str> = tag.split('-').collect();
        let is_language = |part: &str| {
            (2..=8).contains(&part.len()) && part.chars().all(|c| c.is_ascii_alphabetic())
        };
        let good = parts.iter().all(|part| (1..=8).contains(&part.len()));
        if !good || !parts.first().is_some_and(|part| is_language(part)) {
            return Err(SHAPE);
        }
        Ok(Self(canonical(&parts)))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The case of RFC 5646, section 2.1.1: `zh-Hant-TW`, and lower case after a part of one letter.
fn canonical(parts: &[&str]) -> String {
    let mut tag = String::new();
    let mut extended = false;
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            tag.push('-');
        }
        match part.len() {
            2 if index > 0 && !extended => tag.push_str(&part.to_ascii_uppercase()),
            4 if index > 0 && !extended => {
                tag.push_str(&part[..1].to_ascii_uppercase());
                tag.push_str(&part[1..]);
            }
            _ => tag.push_str(part),
        }
        extended |= part.len() == 1;
    }
    tag
}

impl TryFrom<String> for Locale {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        Self::parse(&text)
    }
}

impl From<Locale> for String {
    fn from(locale: Locale) -> String {
        locale.0
    }
}

impl fmt::Debug for Locale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Locale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_locale_is_kept_in_its_canonical_case() {
        for (text, canonical) in [
            ("de", "de"),
            ("PT_br", "pt-BR"),
            ("zh-hant-tw", "zh-Hant-TW"),
            ("es-419", "es-419"),
            ("de-CH-1996", "de-CH-1996"),
            ("EN-u-CA-Buddhist", "en-u-ca-buddhist"),
            ("sl-IT-NEDIS", "sl-IT-nedis"),
        ] {
            assert_eq!(Locale::parse(text).unwrap().as_str(), canonical, "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        let long = "a-".repeat(18);
        for (text, problem) in [
            ("", "must not be empty"),
            (long.as_str(), "must be at most 35 bytes, was 36"),
            ("de AT", "must not contain ' '; allowed are letters, digits, - and _"),
            ("d", "must look like de or pt-BR (a BCP 47 tag)"),
            ("x-private", "must look like de or pt-BR (a BCP 47 tag)"),
            ("1de", "must look like de or pt-BR (a BCP 47 tag)"),
            ("de--AT", "must look like de or pt-BR (a BCP 47 tag)"),
            ("de-", "must look like de or pt-BR (a BCP 47 tag)"),
            ("de-abcdefghi", "must look like de or pt-BR (a BCP 47 tag)"),
        ] {
            assert_eq!(Locale::parse(text).unwrap_err().to_string(), problem, "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_canonical_form_is_its_own(text in "[a-zA-Z]{2,3}([-_][a-zA-Z0-9]{1,8}){0,3}") {
            let locale = Locale::parse(&text).unwrap();
            prop_assert_eq!(&Locale::parse(locale.as_str()).unwrap(), &locale);
            prop_assert!(locale.as_str().eq_ignore_ascii_case(&text.replace('_', "-")));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}") {
            if let Ok(locale) = Locale::parse(&text) {
                prop_assert_eq!(&Locale::parse(locale.as_str()).unwrap(), &locale);
            }
        }
    }
}
