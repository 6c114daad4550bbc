//! Slack's form of a channel's name.
//!
//! Slack's page of `conversations.create` allows lowercase letters, digits, `-` and `_`, and at
//! most 80 characters (docs/slack.md). It does not say which alphabets count; its own client
//! accepts the letters of every script. So letters keep their script and their accents, in lower
//! case, and only characters without a place in a name are replaced: forms of the same letter by
//! the letter (NFKC: full width, ligatures, superscripts), digits of other scripts by ASCII digits,
//! marks that have no letter of their own by nothing, and everything else by a hyphen.

use icu_normalizer::ComposingNormalizerBorrowed;
use icu_normalizer::properties::CanonicalCombiningClassMapBorrowed;

/// The longest name, in UTF-16 code units: never more than Slack's 80 characters, however Slack
/// counts them.
const LONGEST: usize = 80;
/// The last name that is tried if others are taken: `name-99`.
pub const LAST_SUFFIX: u32 = 99;
/// A pass can bring letters together that form another letter, so that the next pass has something
/// to do. The bound is for text that no one writes.
const PASSES: usize = 8;

/// The zero of each script whose digits people write; the other nine follow it.
const ZEROS: [char; 17] = [
    '\u{660}', '\u{6F0}', '\u{966}', '\u{9E6}', '\u{A66}', '\u{AE6}', '\u{B66}', '\u{BE6}',
    '\u{C66}', '\u{CE6}', '\u{D66}', '\u{E50}', '\u{ED0}', '\u{F20}', '\u{1040}', '\u{17E0}',
    '\u{1810}',
];

/// Slack's form of a name. `None`: it has neither a letter nor a digit. The legal form of a legal
/// name is the name itself.
#[must_use]
pub fn legal(name: &str) -> Option<String> {
    let mut text = pass(name);
    for _ in 1..PASSES {
        let next = pass(&text);
        if next == text {
            break;
        }
        text = next;
    }
    let text = cut(&text, LONGEST).trim_end_matches('-');
    text.contains(char::is_alphanumeric).then(|| text.to_owned())
}

/// The name with a number, `name-2` and so on: a legal name if `legal` is one.
#[must_use]
pub fn suffixed(legal: &str, number: u32) -> String {
    let suffix = format!("-{number}");
    let head = cut(legal, LONGEST.saturating_sub(suffix.len())).trim_end_matches('-');
    format!("{head}{suffix}")
}

/// Whether this is the name, or the name with one of the numbers that are tried.
#[must_use]
pub fn is_form_of(name: &str, legal: &str) -> bool {
    name == legal || (2..=LAST_SUFFIX).any(|number| name == suffixed(legal, number))
}

/// The beginning of the text, of at most `most` UTF-16 code units.
pub(super) fn cut(text: &str, most: usize) -> &str {
    let mut length = 0;
    let end = text.char_indices().find(|(_, c)| {
        length += c.len_utf16();
        length > most
    });
    end.map_or(text, |(at, _)| &text[..at])
}

fn pass(text: &str) -> String {
    let composed = ComposingNormalizerBorrowed::new_nfkc().normalize(text);
    let mut legal = String::with_capacity(composed.len());
    for c in composed.to_lowercase().chars() {
        let c = ascii_digit(c).unwrap_or(c);
        if c != '-' && is_allowed(c) {
            legal.push(c);
        } else if !is_silent(c) && !legal.is_empty() && !legal.ends_with('-') {
            legal.push('-');
        }
    }
    legal.truncate(legal.trim_end_matches('-').len());
    legal
}

fn is_allowed(c: char) -> bool {
    let lowercase = || !c.is_uppercase() && c.to_lowercase().eq([c]);
    c.is_ascii_digit() || c == '-' || c == '_' || (c.is_alphabetic() && lowercase())
}

/// The ASCII digit of the same value.
fn ascii_digit(c: char) -> Option<char> {
    let value = |zero: &char| u32::from(c).checked_sub(u32::from(*zero)).filter(|it| *it < 10);
    char::from_digit(ZEROS.iter().find_map(value)?, 10)
}

/// Whether the character is heard or seen only together with its neighbours: a mark that did not
/// become part of a letter, or an invisible character that joins, separates or directs letters.
fn is_silent(c: char) -> bool {
    matches!(
        c,
        '\u{AD}'
            | '\u{34F}'
            | '\u{61C}'
            | '\u{200B}'..='\u{200F}'
            | '\u{202A}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}'
            | '\u{FE00}'..='\u{FE0F}'
            | '\u{FEFF}'
    ) || CanonicalCombiningClassMapBorrowed::new().get_u8(c) != 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Slack's rule, written from its reference as the sandbox does it, not from the code above.
    fn slack_accepts(name: &str) -> bool {
        let lowercase = |c: char| c.to_lowercase().to_string() == c.to_string();
        let letter = |c: char| c.is_alphabetic() && lowercase(c);
        let plain = |c: char| matches!(c, '0'..='9' | '-' | '_') || letter(c);
        let only_punctuation = name.chars().all(|c| c.is_ascii_punctuation());
        (1..=80).contains(&name.chars().count()) && name.chars().all(plain) && !only_punctuation
    }

    fn any_name() -> impl Strategy<Value = String> {
        let words = prop::sample::select(vec![
            "Kurs 2026",
            "A&B",
            "Élan",
            "e\u{301}",
            "İstanbul",
            "ΟΔΟΣ",
            "ｆｕｌｌ",
            "ﬁn",
            "Ⅳ",
            "½",
            "ǅ",
            "𝔘",
            "🅐",
            "👩\u{200D}👩",
            "\u{1112}\u{200D}\u{1161}",
            "विद्या",
            "ไทย่",
            "٣",
            "---",
            "__",
            "a\u{345}",
            "\u{9C7}\u{200D}\u{9BE}",
            "\u{0}",
            "ß",
            "ẞ",
            "会議",
        ]);
        prop_oneof![
            any::<String>(),
            prop::collection::vec(prop_oneof![words.prop_map(str::to_owned), "\\PC{0,3}"], 0..40)
                .prop_map(|parts| parts.concat()),
        ]
    }

    #[test]
    fn names_become_what_people_expect() {
        for (name, expected) in [
            ("Track: Autumn 2026!", "track-autumn-2026"),
            ("  #General  ", "general"),
            ("Q&A / Room_7", "q-a-room_7"),
            ("--a---b--", "a-b"),
            ("Übung für Anfänger", "übung-für-anfänger"),
            ("e\u{301}te\u{301}", "été"),
            ("İzmir", "izmir"),
            ("ΟΔΟΣ", "οδος"),
            ("Курс №7", "курс-no7"),
            ("会議 ２", "会議-2"),
            ("دورة ٢٠٢٦", "دورة-2026"),
            ("ﬁnal Ⅳ 𝔘", "final-iv-u"),
            ("🎉 Party 🎉", "party"),
        ] {
            assert_eq!(legal(name).as_deref(), Some(expected), "{name}");
        }
        for name in ["", "-", "___", "🎉", " . ", "\u{301}\u{200D}"] {
            assert_eq!(legal(name), None, "{name:?}");
        }
    }

    #[test]
    fn a_number_replaces_the_end_of_a_long_name() {
        assert_eq!(suffixed("course", 2), "course-2");
        assert_eq!(suffixed(&"a".repeat(80), 99), format!("{}-99", "a".repeat(77)));
        assert_eq!(
            suffixed(&format!("{}-b", "a".repeat(77)), 10),
            format!("{}-10", "a".repeat(77))
        );
        assert!(is_form_of("course", "course") && is_form_of("course-99", "course"));
        assert!(!is_form_of("course-100", "course") && !is_form_of("course-1", "course"));
    }

    proptest! {
        #[test]
        fn a_legal_name_is_accepted_and_stays_as_it_is(name in any_name()) {
            if let Some(found) = legal(&name) {
                prop_assert!(slack_accepts(&found), "{found:?}");
                prop_assert!(!found.starts_with('-') && !found.ends_with('-'), "{found:?}");
                prop_assert!(!found.contains("--"), "{found:?}");
                let again = legal(&found);
                prop_assert_eq!(again.as_deref(), Some(found.as_str()));
            }
        }

        #[test]
        fn a_numbered_name_is_legal(name in any_name(), number in 2..=LAST_SUFFIX) {
            if let Some(found) = legal(&name) {
                let numbered = suffixed(&found, number);
                prop_assert!(slack_accepts(&numbered), "{numbered:?}");
                let end = format!("-{number}");
                prop_assert!(numbered.ends_with(&end));
                let again = legal(&numbered);
                prop_assert_eq!(again.as_deref(), Some(numbered.as_str()));
                prop_assert!(is_form_of(&numbered, &found));
            }
        }
    }
}
