//! The mark in a channel's purpose by which Herald recognizes its own channels: `herald-`, and the
//! id of the channel's row in 22 letters and digits.
//!
//! The mark has no character that Slack escapes or formats, so it comes back as it was written.

use super::name::cut;
use crate::domain::ids::ManagedChannelId;

const PREFIX: &str = "herald-";
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Digits of an id: 62^22 is the first power that exceeds 2^128.
const LENGTH: usize = 22;
/// Slack's limit on a purpose, in UTF-16 code units.
const LONGEST: usize = 250;

/// The purpose as written to Slack: the purpose of the wish and the mark, together at most 250
/// characters.
#[must_use]
pub fn marked(purpose: &str, id: ManagedChannelId) -> String {
    let mark = mark(id);
    let purpose = cut(purpose, LONGEST - mark.len() - 1).trim_end();
    if purpose.is_empty() { mark } else { format!("{purpose} {mark}") }
}

/// The id in a purpose that Slack returned, also with `&`, `<` and `>` escaped: of several marks
/// the last one, because [`marked`] writes it at the end.
#[must_use]
pub fn read(purpose: &str) -> Option<ManagedChannelId> {
    find(purpose).map(|(_, id)| id)
}

/// The purpose without the mark that [`read`] finds.
#[must_use]
pub fn without(purpose: &str) -> String {
    let Some((at, _)) = find(purpose) else { return purpose.to_owned() };
    let after = &purpose[at + PREFIX.len() + LENGTH..];
    format!("{}{after}", purpose[..at].trim_end())
}

/// Where the last mark begins, and its id.
fn find(purpose: &str) -> Option<(usize, ManagedChannelId)> {
    let is_inside = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    purpose.rmatch_indices(PREFIX).find_map(|(at, _)| {
        let rest = &purpose[at + PREFIX.len()..];
        let digits = rest.get(..LENGTH)?;
        let stands_apart =
            !purpose[..at].ends_with(is_inside) && !rest[LENGTH..].starts_with(is_inside);
        if stands_apart { Some((at, decode(digits)?)) } else { None }
    })
}

fn mark(id: ManagedChannelId) -> String {
    let mut value = id.0.as_u128();
    let mut digits = [b'0'; LENGTH];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[usize::try_from(value % 62).unwrap_or(0)];
        value /= 62;
    }
    PREFIX.chars().chain(digits.iter().map(|digit| char::from(*digit))).collect()
}

fn decode(digits: &str) -> Option<ManagedChannelId> {
    let mut value: u128 = 0;
    for digit in digits.bytes() {
        let place = DIGITS.iter().position(|it| *it == digit)?;
        value = value.checked_mul(62)?.checked_add(u128::try_from(place).ok()?)?;
    }
    Some(ManagedChannelId(uuid::Uuid::from_u128(value)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::limits;

    fn id(number: u128) -> ManagedChannelId {
        ManagedChannelId(uuid::Uuid::from_u128(number))
    }

    fn escaped(text: &str) -> String {
        text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
    }

    fn any_purpose() -> impl Strategy<Value = String> {
        let other = any::<u128>().prop_map(|number| marked("of another", id(number)));
        prop_oneof![
            any::<String>(),
            "[&<>a \n]{0,300}",
            (other, "[a-z0-9 -]{0,30}").prop_map(|(mark, rest)| mark + &rest),
            "(herald-){1,40}[0-9A-Za-z]{0,40}",
            "😀{0,200}",
        ]
    }

    #[test]
    fn the_smallest_and_the_largest_id_are_written_and_read() {
        assert_eq!(marked("", id(0)), format!("herald-{}", "0".repeat(22)));
        for number in [0, 1, 61, 62, u128::MAX] {
            assert_eq!(read(&marked("", id(number))), Some(id(number)));
        }
        // One more than the largest id.
        assert_eq!(read("herald-7n42DGM5Tflk9n8mt7Fhc8"), None);
        assert_eq!(read("herald-7n42DGM5Tflk9n8mt7Fhc7"), Some(id(u128::MAX)));
    }

    #[test]
    fn a_mark_is_read_wherever_people_move_it_but_not_inside_a_word() {
        let mark = marked("", id(7));
        for text in [format!("({mark})"), format!("{mark}. More."), format!("a\n{mark}\nb")] {
            assert_eq!(read(&text), Some(id(7)), "{text}");
        }
        for text in
            [format!("a{mark}"), format!("{mark}0"), format!("x-{mark}"), mark[1..].to_owned()]
        {
            assert_eq!(read(&text), None, "{text}");
        }
    }

    #[test]
    fn a_purpose_without_its_mark_is_as_it_was() {
        for purpose in ["", "Everyone in the track", "a herald-b"] {
            assert_eq!(without(&marked(purpose, id(7))), purpose);
            assert_eq!(without(purpose), purpose, "it has no mark");
        }
        assert_eq!(without(&format!("Moved {}. More.", marked("", id(7)))), "Moved. More.");
    }

    #[test]
    fn the_longest_purpose_of_a_wish_is_kept_whole() {
        let purpose = "p".repeat(limits::CHANNEL_PURPOSE);
        assert!(marked(&purpose, id(9)).starts_with(&format!("{purpose} herald-")));
    }

    proptest! {
        #[test]
        fn a_mark_is_read_back_from_any_purpose(purpose in any_purpose(), number in any::<u128>()) {
            let written = marked(&purpose, id(number));
            prop_assert!(written.encode_utf16().count() <= 250, "{written:?}");
            prop_assert_eq!(read(&written), Some(id(number)));
            prop_assert_eq!(read(&escaped(&written)), Some(id(number)));
        }
    }
}
