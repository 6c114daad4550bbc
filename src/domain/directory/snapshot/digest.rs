//! The content of a member object in eight bytes. With it a snapshot knows whether another object
//! of the same member has different content that some expression could read, even an expression
//! that is not set yet.
//!
//! Objects with the same content have the same digest, whatever the order of their keys, and
//! whether a key is null or missing: the digest is the sum of a hash for each scalar and its place.
//! [`left_out`] lists the excluded keys: those that change by themselves all day, and those that
//! are compared elsewhere. For each of two million members the chance that a change is missed is
//! one in 2^64; no one gains by causing a collision.
//!
//! It reads the bytes without building anything, independently of the parser. Invalid JSON has a
//! digest too, but is not accepted as a member.

/// Keys of the object that are not in the digest: `updated` and `locale` are compared separately
/// (events may omit `locale`); presence changes all the time; the others follow from `tz` and the
/// season.
const OF_MEMBER: [&[u8]; 5] = [b"updated", b"locale", b"presence", b"tz_label", b"tz_offset"];
/// Keys of `profile`: custom fields are fetched and compared separately (`users.list` does not
/// return them, and in events they are sometimes `{}` and sometimes missing).
const OF_PROFILE: [&[u8]; 2] = [b"fields", b"is_custom_image"];
/// Prefixes of excluded keys of `profile`: status, huddles, pictures.
const OF_PROFILE_PREFIXES: [&[u8]; 4] = [b"status_", b"huddle_", b"avatar_", b"image_"];

/// Whether a key at a depth of `depth` objects, under `parent`, is excluded.
fn left_out(depth: usize, parent: u64, key: &[u8]) -> bool {
    match depth {
        1 => OF_MEMBER.contains(&key),
        2 if parent == child(ROOT, b"profile") => {
            OF_PROFILE.contains(&key)
                || OF_PROFILE_PREFIXES.iter().any(|prefix| key.starts_with(prefix))
        }
        _ => false,
    }
}

/// The digest of a member object.
pub(super) fn of(json: &[u8]) -> u64 {
    let mut digest = 0_u64;
    // The objects and lists around the current byte. A place that is `None` is excluded.
    let mut around: Vec<Around> = Vec::with_capacity(8);
    let mut place = Some(ROOT);
    let mut at = 0;
    while let Some(&byte) = json.get(at) {
        at += 1;
        match byte {
            b'{' | b'[' => {
                let elements = (byte == b'[').then_some(0);
                around.push(Around { place, elements });
                // Counts the object or list itself, which may be empty.
                digest = digest.wrapping_add(place.map_or(0, |place| child(place, &[byte])));
                place = around.last_mut().and_then(Around::next);
            }
            b'}' | b']' => drop(around.pop()),
            b',' => place = around.last_mut().and_then(Around::next),
            b':' | b' ' | b'\t' | b'\n' | b'\r' => {}
            b'"' => {
                let text = &json[at..text_end(json, at)];
                at += text.len() + 1;
                match around.last() {
                    Some(object) if object.elements.is_none() && is_key(json, at) => {
                        place = object.place.filter(|of| !left_out(around.len(), *of, text));
                        place = place.map(|of| child(of, text));
                    }
                    _ => {
                        digest = digest.wrapping_add(place.map_or(0, |place| leaf(place, 0, text)));
                    }
                }
            }
            _ => {
                let rest = &json[at - 1..];
                let end = rest.iter().position(|byte| ends_scalar(*byte));
                let scalar = &rest[..end.unwrap_or(rest.len())];
                at += scalar.len() - 1;
                let in_list = around.last().is_some_and(|around| around.elements.is_some());
                if scalar != b"null" || in_list {
                    digest = digest.wrapping_add(place.map_or(0, |place| leaf(place, 1, scalar)));
                }
            }
        }
    }
    digest
}

/// An open object or list.
struct Around {
    place: Option<u64>,
    /// For a list: the number of its elements so far.
    elements: Option<u64>,
}

impl Around {
    /// The place of the next element; in an object, the key gives the place.
    fn next(&mut self) -> Option<u64> {
        let elements = self.elements.as_mut()?;
        *elements += 1;
        let number = *elements;
        self.place.map(|place| fold(place ^ number, STEP))
    }
}

/// The end of a text that begins at `at`.
fn text_end(json: &[u8], mut at: usize) -> usize {
    loop {
        at += plain(json.get(at..).unwrap_or_default());
        match json.get(at) {
            Some(b'"') => return at,
            Some(b'\\') => at += 2,
            _ => return json.len(),
        }
    }
}

/// The number of bytes before the next quotation mark or backslash; eight at a time.
fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // Marks bytes that are zero, and possibly some after the first of them.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & (ONES << 7);
    let (words, rest) = bytes.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let found = zeros(word ^ (ONES * 0x22)) | zeros(word ^ (ONES * 0x5c));
        if found != 0 {
            return number * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let last = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'));
    words.len() * 8 + last.unwrap_or(rest.len())
}

/// Whether the byte ends a number, a boolean or a null.
fn ends_scalar(byte: u8) -> bool {
    matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r')
}

/// Whether a colon follows.
fn is_key(json: &[u8], at: usize) -> bool {
    let rest = json.get(at..).unwrap_or_default();
    rest.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':')
}

/// The place of the object itself.
const ROOT: u64 = 0x243f_6a88_85a3_08d3;
/// Digits of pi, made odd, like the other constants here.
const WORD: u64 = 0x1319_8a2e_0370_7345;
const STEP: u64 = 0xa409_3822_299f_31d1;
const LEAF: u64 = 0x082e_fa98_ec4e_6c89;

/// The place of a key.
fn child(place: u64, key: &[u8]) -> u64 {
    hash(place, key)
}

/// A scalar at its place; `kind` distinguishes texts from other scalars with the same bytes.
fn leaf(place: u64, kind: u64, bytes: &[u8]) -> u64 {
    fold(hash(place ^ LEAF, bytes) ^ kind, LEAF)
}

/// Eight bytes at a time; not secure against chosen input.
fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let mut hash = seed ^ bytes.len() as u64;
    let (words, _) = bytes.as_chunks::<8>();
    for word in words {
        hash = fold(hash ^ u64::from_le_bytes(*word), WORD);
    }
    // Hashes the last eight bytes, which may overlap the previous ones: no loop, no copy.
    let last = match (bytes.last_chunk::<8>(), bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (Some(last), ..) => u64::from_le_bytes(*last),
        (_, Some(first), Some(last)) => {
            u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last))
        }
        _ => bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    };
    fold(hash ^ last, STEP)
}

/// Uses every bit of the product.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    #[expect(clippy::cast_possible_truncation, reason = "the halves of the product")]
    let (low, high) = (product as u64, (product >> 64) as u64);
    low ^ high
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;

    fn digest(value: &Value) -> u64 {
        of(&serde_json::to_vec(value).unwrap())
    }

    fn member() -> Value {
        json!({"id": "U1", "name": "one", "tz": "UTC", "updated": 5, "is_admin": false,
            "teams": ["T1", "T2"],
            "profile": {"email": "a@x.org", "title": "", "status_text": "", "image_24": "x",
                "fields": {}}})
    }

    #[test]
    fn what_changes_by_itself_is_left_out() {
        let same = [
            json!({"updated": 6}),
            json!({"locale": "de-AT"}),
            json!({"presence": "away"}),
            json!({"tz_label": "Summer", "tz_offset": 7200}),
            json!({"two_factor_type": null}),
        ];
        for change in same {
            let mut told = member();
            told.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            assert_eq!(digest(&told), digest(&member()), "{change}");
        }
        let same = [
            json!({"status_text": "away", "status_emoji": ":x:", "status_expiration": 7,
                "status_emoji_display_info": [{"emoji_name": "x"}]}),
            json!({"huddle_state": "in_a_huddle", "huddle_state_expiration_ts": 9}),
            json!({"image_24": "y", "image_original": "z", "avatar_hash": "g",
                "is_custom_image": true}),
            json!({"fields": {"XF1": {"value": "E-1", "alt": ""}}}),
            json!({"fields": null}),
            json!({"phone": null}),
        ];
        for change in same {
            let mut told = member();
            let profile = told["profile"].as_object_mut().unwrap();
            profile.extend(change.as_object().unwrap().clone());
            assert_eq!(digest(&told), digest(&member()), "{change}");
        }
    }

    #[test]
    fn everything_else_counts() {
        let other = [
            ("/name", json!("two")),
            ("/tz", json!("Europe/Vienna")),
            ("/is_admin", json!(true)),
            ("/is_admin", json!("false")),
            ("/teams", json!(["T2", "T1"])),
            ("/teams", json!(["T1", "T2", "T3"])),
            ("/teams", json!(["T1"])),
            ("/teams", json!([])),
            ("/teams", json!(["T1,T2"])),
            ("/profile/title", json!("Engineer")),
            ("/profile/title", json!([])),
            ("/profile/title", json!(null)),
            ("/profile/title", json!({"fields": 1})),
            ("/profile/email", json!("a@x.orG")),
            ("/profile", json!([])),
        ];
        let mut seen = std::collections::BTreeSet::from([digest(&member())]);
        for (place, value) in other {
            let mut told = member();
            *told.pointer_mut(place).unwrap() = value.clone();
            assert!(seen.insert(digest(&told)), "{place} {value}");
        }
        // In other places these names have no special meaning.
        for change in
            [json!({"status_text": "x"}), json!({"fields": "x"}), json!({"image_24": "x"})]
        {
            let mut told = member();
            told.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            assert!(seen.insert(digest(&told)), "{change}");
        }
        assert_ne!(digest(&json!({"a": {"b": 1}})), digest(&json!({"a": 1, "b": 1})));
    }

    fn object() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!(null)),
            Just(json!(true)),
            Just(json!("a")),
            Just(json!("a\"b\\")),
            Just(json!("")),
            Just(json!(1)),
            Just(json!("1")),
            Just(json!({})),
            Just(json!([])),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(|list| json!(list)),
                proptest::collection::hash_map("[abc]", inner, 0..4).prop_map(|map| json!(map)),
            ]
        })
    }

    /// Without the keys whose value is null.
    fn canonical(value: &Value) -> Value {
        match value {
            Value::Object(keys) => {
                let keys = keys.iter().filter(|(_, value)| !value.is_null());
                json!(
                    keys.map(|(key, value)| (key.clone(), canonical(value))).collect::<Map<_, _>>()
                )
            }
            Value::Array(list) => json!(list.iter().map(canonical).collect::<Vec<_>>()),
            other => other.clone(),
        }
    }

    /// The same value with its keys in the opposite order, and with spaces.
    fn backwards(value: &Value) -> String {
        let list = |items: Vec<String>| items.join(" , ");
        match value {
            Value::Object(keys) => {
                let pair = |(key, value): (&String, &Value)| {
                    format!("{} : {}", json!(key), backwards(value))
                };
                format!("{{ {} }}", list(keys.iter().rev().map(pair).collect()))
            }
            Value::Array(items) => format!("[ {} ]", list(items.iter().map(backwards).collect())),
            other => other.to_string(),
        }
    }

    proptest! {
        #[test]
        fn the_same_where_they_say_the_same(a in object(), b in object()) {
            prop_assert_eq!(digest(&a), of(backwards(&a).as_bytes()), "{}", backwards(&a));
            let same = canonical(&a) == canonical(&b);
            prop_assert_eq!(digest(&a) == digest(&b), same, "{} {}", a, b);
        }

        #[test]
        fn any_bytes_have_one(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = of(&bytes);
            let quoted: Vec<u8> =
                bytes.iter().map(|byte| b"{}[]\",:\\ a1"[usize::from(*byte) % 11]).collect();
            let _ = of(&quoted);
        }
    }
}
