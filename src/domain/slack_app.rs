//! A Slack app: its credentials, the secrets that prove that a request is Slack's, and the path
//! that tells the apps of tenants apart.
//!
//! A secret that replaces another does not end it at once: Slack and Herald learn the new one at
//! different moments, and requests are under way meanwhile.

use std::time::Duration;

use super::limits;
use super::secret::Secret;
use super::time::Timestamp;

/// Slack's code for a client secret that is not, or no longer, the app's. Slack refuses the secret
/// before it looks at the code or the token that comes with it.
pub const BAD_SECRET: &str = "bad_client_secret";

/// An app's credentials at Slack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppCredentials {
    pub client_id: String,
    pub client_secret: Secret,
    /// The secret before, while it is still accepted. It is tried if Slack refuses the current one.
    pub previous_client_secret: Option<Secret>,
}

/// The secrets with which Slack may have signed a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningSecrets {
    pub current: Secret,
    /// The secret before, while it is still accepted.
    pub previous: Option<Secret>,
}

/// A secret of an app, with the one that it replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveSecret {
    pub current: Secret,
    pub previous: Option<PreviousSecret>,
}

/// A secret that was replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreviousSecret {
    pub secret: Secret,
    /// Until when it is accepted.
    pub until: Timestamp,
}

impl LiveSecret {
    /// The first secret of an app.
    #[must_use]
    pub fn first(secret: Secret) -> Self {
        Self { current: secret, previous: None }
    }

    /// The same after this secret was given, with the one that it replaces for `keep` longer. The
    /// current secret replaces nothing, so a repeated call changes nothing; it only brings the end
    /// of the previous one forward if `keep` is shorter.
    #[must_use]
    pub fn replaced(self, given: Secret, now: Timestamp, keep: Duration) -> Self {
        let until = now.plus(keep);
        if given == self.current {
            let sooner = |it: PreviousSecret| PreviousSecret { until: it.until.min(until), ..it };
            return Self { previous: self.previous.map(sooner), ..self }.at(now);
        }
        let previous = PreviousSecret { secret: self.current, until };
        Self { current: given, previous: Some(previous) }.at(now)
    }

    /// The same without a previous secret that has ended.
    #[must_use]
    pub fn at(self, now: Timestamp) -> Self {
        Self { previous: self.previous.filter(|previous| now < previous.until), ..self }
    }

    /// The previous secret.
    #[must_use]
    pub fn before(&self) -> Option<&Secret> {
        self.previous.as_ref().map(|previous| &previous.secret)
    }
}

/// Bytes of a path before they are encoded.
pub const PATH_BYTES: usize = 16;
/// Characters of a path: base64url without padding.
const PATH_CHARS: usize = 22;

/// Whether a text has the form of a path.
#[must_use]
pub fn is_path(text: &str) -> bool {
    let base64url = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    text.len() == PATH_CHARS && text.bytes().all(base64url)
}

/// Checks Slack's id of an app. The sentence continues the name of the field.
pub fn check_app_id(text: &str) -> Result<(), &'static str> {
    let rest = text.strip_prefix('A').unwrap_or_default();
    let upper = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit();
    if rest.is_empty() || text.len() > limits::SLACK_ID_BYTES || !rest.bytes().all(upper) {
        return Err("must be Slack's id of the app, such as A012AB3CD: see Basic Information");
    }
    Ok(())
}

/// Checks a client id. The sentence continues the name of the field.
pub fn check_client_id(text: &str) -> Result<(), &'static str> {
    let part = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let shaped = text.split_once('.').is_some_and(|(team, app)| part(team) && part(app));
    if !shaped || text.len() > limits::CLIENT_ID_BYTES {
        return Err("must be the client id, such as 123456789012.123456789012: see Basic \
                    Information");
    }
    Ok(())
}

/// Checks a client secret or a signing secret. The sentence continues the name of the field.
pub fn check_secret(text: &str) -> Result<(), &'static str> {
    if text.is_empty()
        || text.len() > limits::SLACK_SECRET_BYTES
        || !text.bytes().all(|b| b.is_ascii_graphic())
    {
        return Err("must be between 1 and 128 printable characters without spaces");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);
    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn secret(text: &str) -> Secret {
        Secret::new(text)
    }

    #[test]
    fn both_secrets_live_until_the_end_of_the_one_before() {
        let both = LiveSecret::first(secret("old")).replaced(secret("new"), NOW, DAY);
        assert_eq!((both.current.expose(), both.before()), ("new", Some(&secret("old"))));
        let end = NOW.plus(DAY);
        assert!(both.clone().at(Timestamp(end.0 - 1)).before().is_some());
        assert!(both.at(end).before().is_none());
    }

    #[test]
    fn a_repeated_call_keeps_the_secret_before() {
        let both = LiveSecret::first(secret("old")).replaced(secret("new"), NOW, DAY);
        let later = NOW.plus(Duration::from_secs(60));
        assert_eq!(both.clone().replaced(secret("new"), later, DAY), both);
        assert!(both.replaced(secret("new"), later, Duration::ZERO).before().is_none());
    }

    #[test]
    fn nothing_is_kept_for_no_time() {
        let one = LiveSecret::first(secret("old")).replaced(secret("new"), NOW, Duration::ZERO);
        assert_eq!(one, LiveSecret::first(secret("new")));
    }

    #[test]
    fn what_is_not_of_slack_s_form_is_refused() {
        assert!(check_app_id("A012AB3CD").is_ok());
        for bad in ["", "A", "a012", "T012AB3CD", "A012 B", "A-1", &format!("A{:032}", 1)] {
            assert!(check_app_id(bad).is_err(), "{bad}");
        }
        assert!(check_client_id("1234567890.0987654321").is_ok());
        let long = format!("1.{:063}", 1);
        for bad in ["", "1", "1.", ".1", "1.2.3", "a.b", "1.2 ", long.as_str()] {
            assert!(check_client_id(bad).is_err(), "{bad}");
        }
        assert!(check_secret("8f742231b10e8888abcd99yyyzzz85a5").is_ok());
        for bad in ["", "a b", "a\n", "ä", &"a".repeat(129)] {
            assert!(check_secret(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        /// Whatever is given when: the current secret is the last one given, and no secret is
        /// accepted for longer than the call that replaced it said.
        #[test]
        fn no_secret_outlives_its_end(
            calls in proptest::collection::vec((0u8..4, 0u64..100, 0u64..100), 1..20),
        ) {
            let mut live = LiveSecret::first(secret("first"));
            let mut now = NOW;
            for (name, pause, keep) in calls {
                now = now.plus(Duration::from_secs(pause));
                let (before, keep) = (live.clone(), Duration::from_secs(keep));
                let given = secret(&name.to_string());
                live = live.replaced(given.clone(), now, keep);
                prop_assert_eq!(&live.current, &given);
                if let Some(previous) = &live.previous {
                    prop_assert!(previous.until > now && previous.secret != given);
                    prop_assert!(previous.until <= now.plus(keep));
                    let known = [Some(&before.current), before.before()];
                    prop_assert!(known.contains(&Some(&previous.secret)));
                }
            }
        }
    }
}
