//! The languages in which Herald writes: built-in words, dates, plurals and lists.
//!
//! Portuguese is Brazilian. A message in another language (a tenant's own wording) has its dates,
//! plurals and lists in English.

/// One of the languages. English is used if no other is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Language {
    #[default]
    English,
    German,
    French,
    Spanish,
    Portuguese,
    Japanese,
}

/// A plural category of Unicode CLDR. These are the ones that the six languages have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Category {
    One,
    /// Whole millions in French, Spanish and Portuguese; there the form of `other` serves too.
    Many,
    Other,
}

impl Language {
    pub const ALL: [Self; 6] = [
        Self::English,
        Self::German,
        Self::French,
        Self::Spanish,
        Self::Portuguese,
        Self::Japanese,
    ];

    /// The BCP 47 tag, without a region.
    #[must_use]
    pub fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::German => "de",
            Self::French => "fr",
            Self::Spanish => "es",
            Self::Portuguese => "pt",
            Self::Japanese => "ja",
        }
    }

    /// The language of a BCP 47 tag, whatever its region; `None` if Herald does not write it.
    #[must_use]
    pub fn of(locale: &str) -> Option<Self> {
        let primary = locale.trim().split(['-', '_']).next().unwrap_or_default();
        Self::ALL.into_iter().find(|language| primary.eq_ignore_ascii_case(language.tag()))
    }

    /// The language of the first locale that has one; English if none has.
    #[must_use]
    pub fn preferred(locales: &[String]) -> Self {
        locales.iter().find_map(|locale| Self::of(locale)).unwrap_or_default()
    }

    /// The text of a message whose template yields none.
    pub(in crate::domain::message) fn notice(self) -> &'static str {
        match self {
            Self::English => "You have a new notification.",
            Self::German => "Neue Benachrichtigung.",
            Self::French => "Vous avez une nouvelle notification.",
            Self::Spanish => "Nueva notificación.",
            Self::Portuguese => "Você tem uma nova notificação.",
            Self::Japanese => "新しい通知があります。",
        }
    }

    /// The plural category of a number that is written without superfluous decimals (CLDR 46).
    pub(super) fn category(self, number: f64) -> Category {
        let (number, whole) = (number.abs(), number.abs().trunc());
        let is_one = number - 1.0 == 0.0;
        let millions = number > 0.0 && number % 1_000_000.0 == 0.0;
        match self {
            Self::English | Self::German | Self::Spanish if is_one => Category::One,
            Self::French | Self::Portuguese if whole < 2.0 => Category::One,
            Self::French | Self::Spanish | Self::Portuguese if millions => Category::Many,
            _ => Category::Other,
        }
    }

    /// `A, B and C`.
    pub(super) fn list(self, items: &[String]) -> String {
        let comma = if self == Self::Japanese { "、" } else { ", " };
        match items {
            [] => String::new(),
            [only] => only.clone(),
            [first @ .., last] => format!("{}{}{last}", first.join(comma), self.and(last)),
        }
    }

    /// Stands before the last item of a list.
    fn and(self, last: &str) -> &'static str {
        match self {
            Self::English => " and ",
            Self::German => " und ",
            Self::French => " et ",
            Self::Spanish if begins_with_i(last) => " e ",
            Self::Spanish => " y ",
            Self::Portuguese => " e ",
            Self::Japanese => "、",
        }
    }
}

/// Whether a Spanish word begins with the sound of "y": then "y" becomes "e" before it.
fn begins_with_i(word: &str) -> bool {
    let head: String = word.chars().take(3).flat_map(char::to_lowercase).collect();
    let diphthong = ["hia", "hie", "hio"].iter().any(|start| head.starts_with(start));
    !diphthong && ["i", "í", "hi", "hí"].iter().any(|start| head.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_falls_back_to_its_language() {
        for (locale, language) in [
            ("de-AT", Some(Language::German)),
            ("PT_br", Some(Language::Portuguese)),
            ("en-US", Some(Language::English)),
            ("ja", Some(Language::Japanese)),
            ("dec", None),
            ("tr-TR", None),
            ("", None),
        ] {
            assert_eq!(Language::of(locale), language, "{locale}");
        }
        let locales = |tags: &[&str]| tags.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(Language::preferred(&locales(&["tr", "fr-CA", "de"])), Language::French);
        assert_eq!(Language::preferred(&locales(&["tr"])), Language::English);
        assert_eq!(Language::preferred(&[]), Language::English);
    }

    #[test]
    fn plurals_follow_the_language() {
        for (language, number, category) in [
            (Language::English, 0.0, Category::Other),
            (Language::English, 1.0, Category::One),
            (Language::English, 1.5, Category::Other),
            (Language::German, 1.0, Category::One),
            (Language::German, -1.0, Category::One),
            (Language::French, 0.0, Category::One),
            (Language::French, 1.5, Category::One),
            (Language::French, 2.0, Category::Other),
            (Language::French, 3_000_000.0, Category::Many),
            (Language::Spanish, 0.0, Category::Other),
            (Language::Spanish, 1.0, Category::One),
            (Language::Spanish, 1_000_000.0, Category::Many),
            (Language::Portuguese, 0.0, Category::One),
            (Language::Portuguese, 2.0, Category::Other),
            (Language::Japanese, 1.0, Category::Other),
        ] {
            assert_eq!(language.category(number), category, "{language:?} {number}");
        }
    }

    #[test]
    fn lists_end_with_the_languages_and() {
        let list = |language: Language, items: &[&str]| {
            language.list(&items.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(list(Language::English, &["A", "B", "C"]), "A, B and C");
        assert_eq!(list(Language::German, &["A", "B", "C"]), "A, B und C");
        assert_eq!(list(Language::French, &["A", "B"]), "A et B");
        assert_eq!(list(Language::Spanish, &["Ana", "Luis"]), "Ana y Luis");
        assert_eq!(list(Language::Spanish, &["Ana", "Íñigo"]), "Ana e Íñigo");
        assert_eq!(list(Language::Spanish, &["agua", "hielo"]), "agua y hielo");
        assert_eq!(list(Language::Portuguese, &["A", "B"]), "A e B");
        assert_eq!(list(Language::Japanese, &["A", "B", "C"]), "A、B、C");
        assert_eq!(list(Language::English, &["A"]), "A");
        assert_eq!(list(Language::English, &[]), "");
    }
}
