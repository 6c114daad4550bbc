//! The fingerprint of a request's payload: equal for equal meaning, in whatever order a client
//! library wrote its map entries.

use serde_json::Value;
use sha2::{Digest, Sha256};

/// SHA-256 over a canonical form: objects by sorted key, every value tagged and length-prefixed,
/// so that no two different payloads share a form.
#[must_use]
pub fn fingerprint(payload: &Value) -> [u8; 32] {
    let mut hash = Sha256::new();
    write(payload, &mut hash);
    hash.finalize().into()
}

fn write(value: &Value, hash: &mut Sha256) {
    match value {
        Value::Null => hash.update(b"n"),
        Value::Bool(flag) => hash.update(if *flag { b"t" } else { b"f" }),
        Value::Number(number) => text(b'd', &number.to_string(), hash),
        Value::String(string) => text(b's', string, hash),
        Value::Array(items) => {
            length(b'a', items.len(), hash);
            for item in items {
                write(item, hash);
            }
        }
        Value::Object(map) => {
            length(b'o', map.len(), hash);
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            for (key, value) in entries {
                text(b'k', key, hash);
                write(value, hash);
            }
        }
    }
}

fn length(tag: u8, length: usize, hash: &mut Sha256) {
    hash.update([tag]);
    hash.update((length as u64).to_be_bytes());
}

fn text(tag: u8, text: &str, hash: &mut Sha256) {
    length(tag, text.len(), hash);
    hash.update(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn order_of_keys_does_not_matter_and_values_do() {
        let one: Value = serde_json::from_str(r#"{"a":1,"b":[1,2]}"#).unwrap();
        let two: Value = serde_json::from_str(r#"{"b":[1,2],"a":1}"#).unwrap();
        assert_eq!(fingerprint(&one), fingerprint(&two));
        let others =
            [json!({"a":1,"b":[2,1]}), json!({"a":"1","b":[1,2]}), json!({"a":1}), json!(null)];
        for other in others {
            assert_ne!(fingerprint(&one), fingerprint(&other), "{other}");
        }
    }

    #[test]
    fn neighbours_do_not_run_into_each_other() {
        assert_ne!(fingerprint(&json!(["ab", "c"])), fingerprint(&json!(["a", "bc"])));
        assert_ne!(fingerprint(&json!([[], []])), fingerprint(&json!([[[]]])));
    }
}
