//! The wait that Slack asks for.
//!
//! It is never shortened: Slack blocks clients that wait for less. Slack sends whole seconds; a
//! proxy in front of it may send a date, which is compared with the answer's own `Date`, so this
//! host's clock does not matter.

use std::time::Duration;

use http::HeaderMap;
use http::header::{DATE, HeaderName, RETRY_AFTER};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;

/// The wait if none can be read.
const DEFAULT: Duration = Duration::from_secs(30);
/// No wait at all would cause a storm of requests.
const SHORTEST: Duration = Duration::from_secs(1);
/// A value beyond a day is treated as a mistake: after a day the call is tried again.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// The wait in an answer's `Retry-After`: whole seconds or an HTTP date; between 1 s and 24 h, and
/// 30 s if it is absent or unreadable.
#[must_use]
pub(super) fn retry_after(headers: &HeaderMap) -> Duration {
    let Some(text) = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()) else {
        return DEFAULT;
    };
    let text = text.trim();
    let asked = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // Digits that do not fit are a huge number, not unreadable.
        Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)))
    } else {
        until(headers, text)
    };
    asked.unwrap_or(DEFAULT).clamp(SHORTEST, LONGEST)
}

fn until(headers: &HeaderMap, text: &str) -> Option<Duration> {
    let then = parse(text)?;
    let now = parse(date(headers, &DATE)?)?;
    Some(Duration::from_secs(u64::try_from(then.as_second() - now.as_second()).unwrap_or(0)))
}

fn date<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn parse(text: &str) -> Option<Timestamp> {
    DateTimeParser::new().parse_timestamp(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn asked(value: &[u8]) -> Duration {
        let mut headers = HeaderMap::new();
        headers.insert(DATE, HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT"));
        headers.insert(RETRY_AFTER, HeaderValue::from_bytes(value).unwrap());
        retry_after(&headers)
    }

    #[test]
    fn what_is_absent_or_unreadable_is_30_seconds() {
        assert_eq!(retry_after(&HeaderMap::new()), DEFAULT);
        for text in ["", "soon", "-5", "1.5", "1e3", "\u{663}", "Sun, 99 Nov 1994 08:49:37 GMT"] {
            assert_eq!(asked(text.as_bytes()), DEFAULT, "{text}");
        }
        assert_eq!(asked(b"\xff\xfe"), DEFAULT);
        let mut no_date = HeaderMap::new();
        no_date.insert(RETRY_AFTER, HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT"));
        assert_eq!(retry_after(&no_date), DEFAULT);
    }

    #[test]
    fn a_date_is_the_difference_to_the_answers_own() {
        assert_eq!(asked(b"Sun, 06 Nov 1994 08:51:37 GMT"), Duration::from_secs(120));
        assert_eq!(asked(b"Sun, 06 Nov 1994 08:00:00 GMT"), SHORTEST);
    }

    #[test]
    fn the_edges_are_a_second_and_a_day() {
        assert_eq!(asked(b"0"), SHORTEST);
        assert_eq!(asked(b" 120 "), Duration::from_secs(120));
        assert_eq!(asked(b"86400"), LONGEST);
        assert_eq!(asked(b"99999999999999999999999"), LONGEST);
        assert_eq!(asked(b"Sun, 06 Nov 2033 08:49:37 GMT"), LONGEST);
    }

    proptest! {
        #[test]
        fn never_shorter_than_asked_up_to_a_day(seconds in 0u64..200_000) {
            let wait = asked(seconds.to_string().as_bytes());
            prop_assert!(wait >= Duration::from_secs(seconds.min(86_400)));
            prop_assert!(wait <= Duration::from_secs(seconds.max(1)));
        }

        #[test]
        fn any_bytes_give_a_wait_within_bounds(
            bytes in proptest::collection::vec(any::<u8>(), 0..60)
                .prop_filter("headers hold no such bytes", |b| HeaderValue::from_bytes(b).is_ok())
        ) {
            let wait = asked(&bytes);
            prop_assert!((SHORTEST..=LONGEST).contains(&wait));
        }
    }
}
