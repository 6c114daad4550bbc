//! Keys that an attacker would try first. Settings contain only hashes, so a weak key is recognized
//! by its hash: that of nothing, of a common word, or of the caller's own name. `herald keys issue`
//! makes keys of 256 random bits; this check is for hashes made by hand.

use sha2::{Digest as _, Sha256};

/// Words that people use in place of a key: the most common passwords, and the usual words of this
/// kind of software.
#[rustfmt::skip]
const WORDS: &[&str] = &[
    "0", "000000", "00000000", "0000000000", "1", "111111", "11111111", "112233", "121212", "123",
    "123123", "1234", "12345", "123456", "1234567", "12345678", "123456789", "1234567890", "1q2w3e",
    "1q2w3e4r", "1q2w3e4r5t", "1qaz2wsx", "555555", "654321", "666666", "696969", "987654321", "a",
    "aa123456", "abc", "abc123", "abcd1234", "abcdef", "access", "acme", "admin", "admin123",
    "administrator", "anonymous", "api", "api-key", "api_key", "apikey", "app", "asdf", "asdfgh",
    "asdfghjkl", "auth", "authorization", "backend", "bar", "baseball", "baz", "bearer", "caller",
    "change-me", "change_me", "changeit", "changeme", "charlie", "cluster", "credential", "daniel",
    "database", "default", "demo", "dev", "development", "donald", "dragon", "dummy", "empty",
    "example", "fake", "foo", "foobar", "football", "freedom", "guest", "hello", "herald",
    "herald_", "hunter2", "iloveyou", "integration", "internal", "jwt", "k", "k8s", "key",
    "kubernetes", "letmein", "local", "localhost", "login", "lovely", "master", "michael", "monkey",
    "mysecret", "nil", "nobody", "none", "notification", "notifications", "notify", "null", "ops",
    "p@ssw0rd", "p@ssword", "pass", "pass123", "passw0rd", "password", "password1", "password123",
    "placeholder", "platform", "postgres", "princess", "private", "prod", "production", "public",
    "qa", "qazwsx", "qwerty", "qwerty123", "qwertyuiop", "replace-me", "replace_me", "replaceme",
    "root", "s3cr3t", "s3cret", "sample", "sandbox", "sandbox-client-secret",
    "sandbox-signing-secret", "secret", "secret123", "secretkey", "server", "service", "shadow",
    "slack", "staging", "string", "sunshine", "super", "superman", "supersecret", "system",
    "target", "temp", "temporary", "tenant", "test", "test-key", "test123", "test_key", "tester",
    "testing", "testkey", "testtest", "text", "todo", "token", "token123", "topsecret", "trustno1",
    "undefined", "unset", "user", "user123", "username", "welcome", "welcome1", "whatever", "word",
    "xxx", "xxxxxx", "xxxxxxxx", "your-api-key", "your-key", "your_api_key", "yourkey", "zaq12wsx",
];

/// Why this hash is not accepted, as the end of a sentence; `None`: it is not known to be weak.
pub(super) fn known(hash: &[u8; 32], principal: &str) -> Option<String> {
    let is = |text: &str| <[u8; 32]>::from(Sha256::digest(text.as_bytes())) == *hash;
    if is("") || is("\n") {
        return Some("the hash of nothing".into());
    }
    if *hash == [0; 32] {
        return Some("no hash: it is all zeros".into());
    }
    let spellings = |word: &str| {
        let mut letters = word.chars();
        let first = letters.next().map(|first| first.to_ascii_uppercase());
        let title: String = first.into_iter().chain(letters).collect();
        [word.to_owned(), word.to_ascii_lowercase(), word.to_ascii_uppercase(), title]
    };
    // `echo word | sha256sum` also hashes the end of the line.
    let guessed =
        |word: &str| spellings(word).iter().any(|text| is(text) || is(&format!("{text}\n")));
    if guessed(principal) {
        return Some("the hash of the principal's own name".into());
    }
    WORDS.iter().find(|word| guessed(word)).map(|_| "the hash of a common word".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(text: &str) -> [u8; 32] {
        Sha256::digest(text.as_bytes()).into()
    }

    #[test]
    fn what_anybody_would_try_is_known_however_it_is_spelled() {
        for weak in ["", "\n", "secret", "SECRET", "Password\n", "changeme", "platform", "acme-ci"]
        {
            assert!(known(&hash(weak), "acme-ci").is_some(), "{weak:?}");
        }
        assert!(known(&[0; 32], "p").is_some());
        for fine in ["herald_5f0e", "correct horse battery staple"] {
            assert_eq!(known(&hash(fine), "p"), None, "{fine}");
        }
    }

    #[test]
    fn each_word_is_there_once() {
        assert!(WORDS.is_sorted_by(|one, next| one < next), "sorted, so that none is there twice");
    }
}
