//! Signatures of Slack's requests: `HOW AT CHANGE TIMESTAMP 0 SIGNATURE 0 BODY`, the first three
//! being one byte each.
//!
//! A request is accepted exactly if an independent computation gives the same signature and the
//! timestamp is recent. A signed request in which any byte was changed is refused.

use herald::domain::secret::Secret;
use herald::slack::signature::{TOLERANCE_SECONDS, authentic, sign, verify};
use ring::hmac;

use super::parts::{choice, parts, text};

const SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
const NOW: i64 = 1_531_420_618;

pub(crate) fn run(input: &[u8]) {
    let (how, input) = choice(input);
    let (at, input) = choice(input);
    let (change, input) = choice(input);
    let [timestamp, signature, body] = parts(input);
    let (timestamp, signature) = (text(timestamp), text(signature));
    judge(&timestamp, &signature, body);
    let right = computed(&timestamp, body);
    assert_eq!(right, sign(&Secret::new(SECRET), &timestamp, body));
    judge(&timestamp, &right, body);
    changed(how, at, u8::try_from(change).unwrap_or(1).max(1), (&timestamp, &right, body));
}

/// Compares the verdict with the one that follows from Slack's documentation.
fn judge(timestamp: &str, signature: &str, body: &[u8]) {
    let believed = verify(&Secret::new(SECRET), timestamp, body, signature, NOW).is_ok();
    let digits = !timestamp.is_empty() && timestamp.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = timestamp.parse::<i64>().ok().filter(|_| digits);
    let near = seconds.is_some_and(|at| at.abs_diff(NOW) <= TOLERANCE_SECONDS);
    let right = signature == computed(timestamp, body);
    assert_eq!(believed, near && right, "{timestamp:?} {signature:?}");
    let known = authentic(&Secret::new(SECRET), timestamp, body, signature);
    assert_eq!(known.ok(), seconds.filter(|_| right));
    assert!(verify(&Secret::new(""), timestamp, body, signature, NOW).is_err());
}

/// Changes one thing in a signed request, which must then be refused.
fn changed(how: usize, at: usize, change: u8, (timestamp, signature, body): (&str, &str, &[u8])) {
    let refused = |timestamp: &str, signature: &str, body: &[u8]| {
        let answer = authentic(&Secret::new(SECRET), timestamp, body, signature);
        assert!(answer.is_err(), "{how} {at} {change}: {timestamp:?} {signature:?}");
    };
    let flipped = |text: &[u8]| {
        let mut bytes = text.to_vec();
        if let Some(index) = at.checked_rem(bytes.len()) {
            bytes[index] ^= change;
        }
        bytes
    };
    match how % 7 {
        0 if !body.is_empty() => refused(timestamp, signature, &flipped(body)),
        1 => refused(timestamp, &text(&flipped(signature.as_bytes())), body),
        2 if !timestamp.is_empty() => {
            refused(&text(&flipped(timestamp.as_bytes())), signature, body);
        }
        3 => refused(timestamp, &signature[..at % signature.len()], body),
        4 => refused(timestamp, &format!("{signature}{}", char::from(change)), body),
        5 => refused(timestamp, signature, &[body, &[change]].concat()),
        // The colon between timestamp and body must not count as part of the body.
        6 => refused(&format!("{timestamp}:"), signature, body),
        _ => {}
    }
}

fn computed(timestamp: &str, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let tag = hmac::sign(&key, &[b"v0:", timestamp.as_bytes(), b":", body].concat());
    tag.as_ref().iter().fold(String::from("v0="), |text, byte| text + &format!("{byte:02x}"))
}
