//! Chooses the wording that a reader gets from all levels and locales.
//!
//! The level is chosen before the locale, because a wording of a content item *replaces* the
//! tenant's, and that replaces the built-in one. Within a level the reader's language decides.
//!
//! - The levels are tried in the order content item, tenant, built-in.
//! - Within a level the locales are tried in the order of [`Reader::locales`] (the person's, the
//!   one in Slack, the tenant's default), and then English.
//! - A locale finds the wording with the same tag, then one with a shorter tag (`de-AT`, then
//!   `de`), then one of the same language for another region (`de-CH`), but not one in another
//!   script: readers of `zh-TW` get no words in `zh-CN`. A tag without a script or a region (`zh`)
//!   is for all scripts.
//! - If the tenant's wordings have none of these locales, the built-in wording is used: a tenant
//!   that words a type in German only does not take English from its English readers, unless its
//!   default locale is German.
//! - If a content item has a wording, a wording of the content item is used, whatever its language
//!   (the first by tag), because the default says nothing about this one item.
//!
//! [`Reader::locales`]: crate::domain::message::render::Reader::locales

/// The origin of a wording; the first outranks the others.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    ContentItem,
    Tenant,
    BuiltIn,
}

/// The level and the locale (a BCP 47 tag) of one wording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WordingPlace<'a> {
    pub level: Level,
    pub locale: &'a str,
}

/// The last of all locales.
const ENGLISH: &str = "en";

/// The index of the wording for a reader with these locales; `None` if no level has one for them.
#[must_use]
pub fn choose(wordings: &[WordingPlace<'_>], locales: &[String]) -> Option<usize> {
    let of = |level: Level| {
        let all = wordings.iter().enumerate();
        let mut of_it: Vec<(usize, String)> = all
            .filter(|(_, place)| place.level == level)
            .map(|(index, place)| (index, canonical(place.locale)))
            .collect();
        of_it.sort_by(|(_, one), (_, other)| one.cmp(other));
        of_it
    };
    [Level::ContentItem, Level::Tenant, Level::BuiltIn].into_iter().find_map(|level| {
        let of_it = of(level);
        let mut wanted = locales.iter().map(String::as_str).chain([ENGLISH]);
        let found = wanted.find_map(|locale| find(&of_it, locale));
        let first = || of_it.first().filter(|_| level == Level::ContentItem).map(|(at, _)| *at);
        found.or_else(first)
    })
}

/// The wording for this locale, among those of one level in the order of their tags.
fn find(wordings: &[(usize, String)], locale: &str) -> Option<usize> {
    let wanted = canonical(locale);
    let tagged = |tag: &str| wordings.iter().find(|(_, locale)| locale == tag);
    let mut shorter = std::iter::successors(Some(wanted.as_str()), |tag| {
        tag.rsplit_once('-').map(|(shorter, _)| shorter)
    });
    let other_region = || wordings.iter().find(|(_, tag)| serves(tag, &wanted));
    shorter.find_map(tagged).or_else(other_region).map(|(index, _)| *index)
}

/// Whether readers of one canonical tag can read words of the other.
fn serves(tag: &str, wanted: &str) -> bool {
    let scripts = script(tag).zip(script(wanted));
    language(tag) == language(wanted) && scripts.is_none_or(|(one, other)| one == other)
}

fn language(tag: &str) -> &str {
    tag.split_once('-').map_or(tag, |(language, _)| language)
}

/// The script that a canonical tag names, or that the region of a Chinese one implies.
fn script(tag: &str) -> Option<&str> {
    let second = tag.split('-').nth(1)?;
    match (language(tag), second) {
        ("zh", "cn" | "my" | "sg") => Some("hans"),
        ("zh", "hk" | "mo" | "tw") => Some("hant"),
        _ => Some(second).filter(|it| it.len() == 4 && it.chars().all(char::is_alphabetic)),
    }
}

/// Case and `_` or `-` make no difference.
fn canonical(tag: &str) -> String {
    tag.trim().to_ascii_lowercase().replace('_', "-")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::message::render::Language;

    /// The wording that is chosen, as `level locale`.
    fn chosen(wordings: &[(Level, &str)], locales: &[&str]) -> Option<String> {
        let places: Vec<WordingPlace<'_>> =
            wordings.iter().map(|(level, locale)| WordingPlace { level: *level, locale }).collect();
        let locales: Vec<String> = locales.iter().map(ToString::to_string).collect();
        let place = places[choose(&places, &locales)?];
        Some(format!("{:?} {}", place.level, place.locale))
    }

    #[test]
    fn the_level_comes_before_the_locale() {
        use Level::{BuiltIn, ContentItem, Tenant};
        let built_in = [(BuiltIn, "en"), (BuiltIn, "de"), (BuiltIn, "fr")];
        let with = |more: &[(Level, &'static str)]| [&built_in[..], more].concat();
        for (more, locales, expected) in [
            (vec![], vec!["de-AT", "fr", "en"], "BuiltIn de"),
            (vec![], vec!["tr", "fr-FR", "en"], "BuiltIn fr"),
            (vec![], vec!["tr"], "BuiltIn en"),
            (vec![], vec![], "BuiltIn en"),
            (vec![(Tenant, "de"), (Tenant, "en")], vec!["fr", "de"], "Tenant de"),
            // The tenant has no French, but English: French readers get the tenant's words.
            (vec![(Tenant, "en")], vec!["fr"], "Tenant en"),
            // The tenant has German only, and English is its default: English readers lose nothing.
            (vec![(Tenant, "de")], vec!["en-US", "en"], "BuiltIn en"),
            (vec![(Tenant, "de")], vec!["en-US", "de"], "Tenant de"),
            (vec![(Tenant, "en"), (ContentItem, "de")], vec!["en"], "ContentItem de"),
            (vec![(ContentItem, "de"), (ContentItem, "en")], vec!["en"], "ContentItem en"),
            (vec![(ContentItem, "pt"), (ContentItem, "it")], vec!["en"], "ContentItem it"),
            (vec![(Tenant, "pt-BR")], vec!["pt-PT"], "Tenant pt-BR"),
            (vec![(Tenant, "de"), (Tenant, "de-AT")], vec!["DE_at"], "Tenant de-AT"),
            (vec![(Tenant, "de"), (Tenant, "de-AT")], vec!["de-CH"], "Tenant de"),
            (vec![(Tenant, "zh-Hant")], vec!["zh-Hant-TW"], "Tenant zh-Hant"),
            // Words in another script are no help, words without one may be.
            (vec![(Tenant, "zh-Hans")], vec!["zh-Hant-TW", "de"], "BuiltIn de"),
            (vec![(Tenant, "zh-CN")], vec!["zh-TW"], "BuiltIn en"),
            (vec![(Tenant, "zh-CN"), (Tenant, "zh-Hant")], vec!["zh-HK"], "Tenant zh-Hant"),
            (vec![(Tenant, "zh-TW")], vec!["zh-Hant"], "Tenant zh-TW"),
            (vec![(Tenant, "zh")], vec!["zh-TW"], "Tenant zh"),
            (vec![(Tenant, "zh-SG")], vec!["zh"], "Tenant zh-SG"),
            (vec![(Tenant, "sr-Latn")], vec!["sr-Cyrl-RS"], "BuiltIn en"),
            (vec![(Tenant, "sr-Latn")], vec!["sr-RS"], "Tenant sr-Latn"),
            (vec![(Tenant, "de-1996")], vec!["de-1901"], "Tenant de-1996"),
        ] {
            let shown = chosen(&with(&more), &locales);
            assert_eq!(shown.as_deref(), Some(expected), "{more:?} {locales:?}");
        }
        assert_eq!(chosen(&[(Tenant, "de")], &["fr"]), None);
        assert_eq!(chosen(&[], &["de"]), None);
    }

    fn tag() -> impl Strategy<Value = String> {
        prop::sample::select(vec![
            "en",
            "en-US",
            "de",
            "de-AT",
            "de_ch",
            "fr",
            "FR-ca",
            "es",
            "pt",
            "pt-BR",
            "ja",
            "tr",
            "zh",
            "zh-CN",
            "zh-Hant-TW",
            "zh-TW",
            "x",
        ])
        .prop_map(str::to_owned)
    }

    fn wordings() -> impl Strategy<Value = Vec<(Level, String)>> {
        let level = prop::sample::select(vec![Level::ContentItem, Level::Tenant, Level::BuiltIn]);
        prop::collection::vec((level, tag()), 0..8)
    }

    fn of(wordings: &[(Level, String)]) -> Vec<WordingPlace<'_>> {
        wordings.iter().map(|(level, locale)| WordingPlace { level: *level, locale }).collect()
    }

    proptest! {
        #[test]
        fn the_choice_keeps_its_rules(
            wordings in wordings(),
            locales in prop::collection::vec(tag(), 0..4),
        ) {
            let places = of(&wordings);
            let at = choose(&places, &locales);
            // A higher level with words that readers of the first locale can read is never passed
            // over.
            let speaks = |place: &WordingPlace<'_>, locale: &str| {
                serves(&canonical(place.locale), &canonical(locale))
            };
            let top = places.iter().map(|place| place.level).min();
            if let (Some(top), Some(locale)) = (top, locales.first())
                && places.iter().any(|place| place.level == top && speaks(place, locale))
            {
                let chosen = places[at.expect("a wording")];
                prop_assert_eq!(chosen.level, top);
                prop_assert!(speaks(&chosen, locale), "{:?}", chosen);
            }
            // A content item's wording replaces the others.
            if places.iter().any(|place| place.level == Level::ContentItem) {
                prop_assert_eq!(places[at.expect("a wording")].level, Level::ContentItem);
            }
            // English readers of a level that has English get no other language of it.
            if let Some(at) = at {
                let same = |place: &&WordingPlace<'_>| place.level == places[at].level;
                let english = places.iter().filter(same).any(|place| speaks(place, "en"));
                let known = locales.iter().any(|locale| speaks(&places[at], locale));
                prop_assert!(known || !english || speaks(&places[at], "en"));
            }
            // The chosen locale finds the same wording again, and so does any order of the rows.
            if let Some(at) = at {
                let again = choose(&places, &[places[at].locale.to_owned()]).expect("a wording");
                prop_assert_eq!(places[again], places[at]);
                let turned: Vec<WordingPlace<'_>> = places.iter().rev().copied().collect();
                let turned_at = choose(&turned, &locales).expect("a wording");
                let tag = |place: WordingPlace<'_>| (place.level, canonical(place.locale));
                prop_assert_eq!(tag(turned[turned_at]), tag(places[at]));
            }
        }

        #[test]
        fn built_in_words_follow_the_same_rules(locales in prop::collection::vec(tag(), 0..4)) {
            let tags = Language::ALL.map(Language::tag);
            let places = tags.map(|locale| WordingPlace { level: Level::BuiltIn, locale });
            let at = choose(&places, &locales).expect("a wording");
            prop_assert_eq!(Language::ALL[at], Language::preferred(&locales));
        }
    }
}
