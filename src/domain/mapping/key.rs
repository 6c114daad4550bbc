//! The keys by which two values match.
//!
//! Every comparable value has one canonical text, and two values match if their texts are equal.
//! Texts are compared by a 128-bit hash, so that the member index holds no e-mail addresses and
//! every entry has the same small size. The hash is a prefix of SHA-256: no one can choose a value
//! that collides with another person's.

use std::borrow::Cow;
use std::fmt;

use serde_json::Number;
use sha2::{Digest, Sha256};

/// The largest integer that a double holds exactly and unambiguously. Protobuf numbers are doubles:
/// 2^53 itself may have been 2^53 + 1, so it has no key.
const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// One canonical value of a person or a member. May be personal: `Debug` never shows it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MatchKey(String);

impl MatchKey {
    /// The key of a text; `None` if it has only white space.
    #[must_use]
    pub fn of_text(text: &str) -> Option<Self> {
        canonical_text(text).map(|text| Self(text.into_owned()))
    }

    /// The canonical text: trimmed, and in lower case if it is an e-mail address. For lookups of an
    /// address in Slack; never for logs.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the e-mail rules apply to it.
    #[must_use]
    pub fn is_address(&self) -> bool {
        is_address(&self.0)
    }

    /// Takes a text that is canonical already.
    pub(in crate::domain) fn from_canonical(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub(in crate::domain) fn hash(&self) -> KeyHash {
        KeyHash::of(&self.0)
    }
}

impl fmt::Debug for MatchKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MatchKey(redacted)")
    }
}

/// The first 128 bits of a canonical text's SHA-256. Words of 32 bits, so that an index entry
/// needs no padding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::domain) struct KeyHash([u32; 4]);

impl KeyHash {
    pub(in crate::domain) fn of(canonical: &str) -> Self {
        let digest = Sha256::digest(canonical.as_bytes());
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(digest.chunks_exact(4)) {
            *word = bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte));
        }
        Self(words)
    }

    /// The leading bits, which sort as the hashes do.
    pub(in crate::domain) fn leading(self) -> u64 {
        u64::from(self.0[0]) << 32 | u64::from(self.0[1])
    }
}

/// The text for comparisons. Outer white space is removed; an e-mail address is put in lower case,
/// and any other text keeps its case (ids are opaque).
///
/// "Compare without case if both sides are addresses" and "put addresses in lower case, then
/// compare" are the same rule: an address in lower case is still an address (a test tries every
/// character), so it can equal only the canonical text of another address.
pub(in crate::domain) fn canonical_text(text: &str) -> Option<Cow<'_, str>> {
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    if !is_address(text) {
        return Some(Cow::Borrowed(text));
    }
    if !text.is_ascii() {
        // Character by character: the context rules of `str::to_lowercase` (final sigma) would
        // distinguish texts that differ only in case.
        return Some(Cow::Owned(text.chars().flat_map(char::to_lowercase).collect()));
    }
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Some(Cow::Owned(text.to_ascii_lowercase()));
    }
    Some(Cow::Borrowed(text))
}

/// Integral numbers become their decimal text, however they were written: `42`, `42.0` and `4.2e1`
/// are the same. Others have no key: a fraction that was a double has no unique decimal text.
pub(in crate::domain) fn canonical_number(number: &Number) -> Option<String> {
    let integer = match (number.as_i64(), number.as_f64()) {
        (Some(integer), _) => integer,
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            reason = "integral and within 2^53: exact both ways"
        )]
        (None, Some(double))
            if double.fract() == 0.0 && double.abs() <= MAX_SAFE_INTEGER as f64 =>
        {
            double as i64
        }
        _ => return None,
    };
    (integer.unsigned_abs() <= MAX_SAFE_INTEGER).then(|| integer.to_string())
}

/// Whether a trimmed text is an e-mail address: one `@` with text on both sides, and no characters
/// that occur only in free text. Wider than RFC 5321 on purpose: Slack has accepted the address,
/// and the only consequence is whether case counts.
fn is_address(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else {
        return false;
    };
    let odd = |c: char| {
        c.is_whitespace()
            || c.is_control()
            || matches!(c, '@' | '<' | '>' | '(' | ')' | '[' | ']' | ',' | ';' | ':' | '"' | '\\')
    };
    !local.is_empty()
        && !domain.is_empty()
        && !domain.starts_with('.')
        && !domain.ends_with('.')
        && !local.contains(odd)
        && !domain.contains(odd)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(text: &str) -> Option<MatchKey> {
        canonical_number(&serde_json::from_str(text).unwrap()).map(MatchKey)
    }

    #[test]
    fn integral_numbers_are_their_decimal_text() {
        let key = MatchKey::of_text("42");
        assert!(key.is_some());
        for text in ["42", "42.0", "4.2e1"] {
            assert_eq!(number(text), key, "{text}");
        }
        assert_eq!(number("-0.0"), MatchKey::of_text("0"));
        assert_eq!(number("-7"), MatchKey::of_text("-7"));
        assert_eq!(number("9007199254740991"), MatchKey::of_text("9007199254740991"));
    }

    #[test]
    fn fractions_and_inexact_numbers_name_nobody() {
        for text in ["0.5", "42.25", "9007199254740992", "9007199254740993", "-9007199254740992"] {
            assert_eq!(number(text), None, "{text}");
        }
        for text in ["9007199254740992.0", "1e300", "18446744073709551615"] {
            assert_eq!(number(text), None, "{text}");
        }
    }

    #[test]
    fn case_counts_but_in_addresses() {
        assert_eq!(MatchKey::of_text(" Ada@Example.COM\t"), MatchKey::of_text("ada@example.com"));
        assert_ne!(MatchKey::of_text("XF1"), MatchKey::of_text("xf1"));
        assert_ne!(MatchKey::of_text("a b@c"), MatchKey::of_text("A B@c"));
        assert_eq!(MatchKey::of_text("JOSÉ@x.org"), MatchKey::of_text("josé@x.org"));
        assert_eq!(MatchKey::of_text("ΟΔΟΣ@x.org"), MatchKey::of_text("οδοσ@x.org"));
    }

    #[test]
    fn nothing_but_white_space_is_nothing() {
        for text in ["", " ", "\t\r\n", "\u{a0}\u{2003}"] {
            assert_eq!(MatchKey::of_text(text), None);
        }
    }

    #[test]
    fn an_address_in_lower_case_is_an_address_for_every_character() {
        for c in (char::MIN..=char::MAX).filter(|c| is_address(&format!("a{c}@{c}b"))) {
            let text = format!("a{c}@{c}b");
            let lower = canonical_text(&text).unwrap().into_owned();
            assert!(is_address(&lower), "{c:?}");
            assert_eq!(canonical_text(&lower).unwrap(), lower, "{c:?}");
        }
    }

    #[test]
    fn debug_shows_nothing() {
        assert!(!format!("{:?}", MatchKey::of_text("ada@example.com")).contains("ada"));
    }

    proptest! {
        #[test]
        fn outer_space_never_counts(
            text in "\\PC{0,20}",
            before in "[ \t\n]{0,3}",
            after in "[ \t\n]{0,3}",
        ) {
            let padded = format!("{before}{text}{after}");
            prop_assert_eq!(MatchKey::of_text(&padded), MatchKey::of_text(&text));
        }

        #[test]
        fn texts_that_are_no_addresses_match_only_themselves(
            a in "[a-cA-C0-9 -]{1,4}",
            b in "[a-cA-C0-9 -]{1,4}",
        ) {
            prop_assume!(!a.trim().is_empty());
            prop_assert_eq!(MatchKey::of_text(&a) == MatchKey::of_text(&b), a.trim() == b.trim());
        }

        #[test]
        fn equal_keys_are_equal_hashes_and_the_reverse(a in "[ab@.]{0,4}", b in "[ab@.]{0,4}") {
            if let (Some(a), Some(b)) = (MatchKey::of_text(&a), MatchKey::of_text(&b)) {
                prop_assert_eq!(a == b, a.hash() == b.hash());
            }
        }
    }
}
