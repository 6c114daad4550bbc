//! The deployment's Slack app.

use serde::{Deserialize, Deserializer, de};

use crate::domain::access::sharing::Sharing;
use crate::domain::features;
use crate::domain::secret::Secret;
use crate::domain::slack_app::{AppCredentials, SigningSecrets};
use crate::domain::slack_manifest::short_name;
use crate::domain::time::Timestamp;

/// The Slack app that tenants share (`[app]`): from "Basic Information" of the app's settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The app's client id. Needed to connect workspaces. Default: none.
    pub client_id: String,
    /// The app's client secret. Needed to connect workspaces. Default: none.
    pub client_secret: Secret,
    /// The app's signing secret, which proves that a request is Slack's. Without it every event is
    /// refused, and member lists are kept up to date only by reading them. Default: none.
    pub signing_secret: Secret,
    /// The client secret that `client_secret` replaces. It is tried if Slack refuses the new one.
    /// Default: none.
    pub previous_client_secret: Secret,
    /// The signing secret that `signing_secret` replaces: requests that are signed with it are
    /// Slack's, too. Default: none.
    pub previous_signing_secret: Secret,
    /// Until when the previous secrets are accepted, such as `"2027-01-31T12:00:00Z"`. Must be set
    /// if one of them is. Default: none.
    #[serde(deserialize_with = "time")]
    pub previous_until: Option<Timestamp>,
    /// The bot scopes that a connect link asks for, except those that only features in
    /// `features_off` need. Default: all that Herald's features use.
    pub scopes: Vec<String>,
    /// Codes of features that this deployment does not use, such as `["channels"]`: connect links
    /// and manifests do not ask for their scopes. `messages` cannot be switched off.
    /// docs/features.md lists the codes. Default: none.
    #[serde(deserialize_with = "feature_codes")]
    pub features_off: Vec<String>,
    /// Whether a tenant may be connected to a workspace that another tenant already uses: `refuse`;
    /// `confirm`, which asks the person who connects; or `allow`. It is allowed in any case if
    /// every other tenant of the workspace has `share_workspace` in its settings, or if
    /// BeginConnect was called with `allow_shared_workspace`. Default `refuse`.
    pub workspace_sharing: Sharing,
    /// Whether PKCE is turned on for the app in Slack: connect links then carry a challenge, and
    /// Slack exchanges a code only for its verifier. Default `false`.
    pub pkce: bool,
    /// The platform's name on the pages that an administrator sees while connecting a workspace: at
    /// most 80 characters. Default `Herald`.
    pub display_name: String,
    /// Posts a minute that Slack allows this app in one workspace, if you know the figure; Slack
    /// does not publish it. `0`: Herald learns the figure, beginning at 300. Default `0`.
    pub posts_per_minute: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            client_id: String::new(),
            client_secret: Secret::new(""),
            signing_secret: Secret::new(""),
            previous_client_secret: Secret::new(""),
            previous_signing_secret: Secret::new(""),
            previous_until: None,
            scopes: owned(&features::scopes(&features::in_use(&[]))),
            features_off: Vec::new(),
            workspace_sharing: Sharing::Refuse,
            pkce: false,
            display_name: "Herald".to_owned(),
            posts_per_minute: 0,
        }
    }
}

/// Longest name that the pages show, in characters.
const NAME_CHARS: usize = 80;

/// Codes of features that can be switched off.
fn feature_codes<'de, D: Deserializer<'de>>(source: D) -> Result<Vec<String>, D::Error> {
    let codes = Vec::<String>::deserialize(source)?;
    features::check_switched_off(&codes).map_err(de::Error::custom)?;
    Ok(codes)
}

/// A time in RFC 3339.
fn time<'de, D: Deserializer<'de>>(source: D) -> Result<Option<Timestamp>, D::Error> {
    let text = String::deserialize(source)?;
    let at: jiff::Timestamp = text
        .parse()
        .map_err(|_| de::Error::custom("must be a time such as \"2027-01-31T12:00:00Z\""))?;
    Ok(Some(Timestamp(at.as_microsecond())))
}

fn owned(scopes: &[&str]) -> Vec<String> {
    scopes.iter().map(ToString::to_string).collect()
}

impl Config {
    /// Refuses a name that cannot be shown, and a previous secret without an end; the sentence
    /// begins with the setting's name.
    pub fn validate(&self) -> Result<(), String> {
        let name = self.display_name.trim();
        if name.is_empty()
            || name.chars().count() > NAME_CHARS
            || name.chars().any(char::is_control)
        {
            return Err(format!("display_name must be 1 to {NAME_CHARS} characters of one line"));
        }
        let exchanges = [&self.previous_client_secret, &self.previous_signing_secret];
        if self.previous_until.is_none() && exchanges.iter().any(|secret| !secret.is_empty()) {
            return Err("previous_until must be set while there is a previous secret".to_owned());
        }
        Ok(())
    }

    /// The scopes that a connect link asks for if it names none.
    pub(super) fn asked_scopes(&self) -> Vec<String> {
        let all = features::scopes(&features::in_use(&[]));
        let used = features::scopes(&features::in_use(&self.features_off));
        let asked = |scope: &&String| {
            let scope = scope.as_str();
            used.contains(&scope) || !all.contains(&scope)
        };
        self.scopes.iter().filter(asked).cloned().collect()
    }

    /// The name of the app in a manifest.
    #[must_use]
    pub fn app_name(&self) -> String {
        short_name(&self.display_name)
    }

    /// `None` if the operator has not configured an app. `exchanging`: previous secrets are
    /// accepted.
    pub(super) fn credentials(&self, exchanging: bool) -> Option<AppCredentials> {
        if self.client_id.is_empty() || self.client_secret.is_empty() {
            return None;
        }
        Some(AppCredentials {
            client_id: self.client_id.clone(),
            client_secret: self.client_secret.clone(),
            previous_client_secret: former(&self.previous_client_secret, exchanging),
        })
    }

    /// `exchanging`: previous secrets are accepted.
    pub(super) fn signing_secrets(&self, exchanging: bool) -> SigningSecrets {
        SigningSecrets {
            current: self.signing_secret.clone(),
            previous: former(&self.previous_signing_secret, exchanging),
        }
    }
}

/// A previous secret that is still accepted.
fn former(secret: &Secret, exchanging: bool) -> Option<Secret> {
    (exchanging && !secret.is_empty()).then(|| secret.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_asks_for_the_features_that_are_not_switched_off() {
        let all = Config::default().asked_scopes();
        let off = Config { features_off: vec!["channels".to_owned()], ..Config::default() };
        assert!(all.contains(&"channels:manage".to_owned()));
        assert!(!off.asked_scopes().iter().any(|scope| scope == "channels:manage"));
        // A scope of no feature is the operator's own wish.
        let scopes = owned(&["chat:write", "channels:manage", "files:read"]);
        assert_eq!(Config { scopes, ..off }.asked_scopes(), ["chat:write", "files:read"]);
    }

    #[test]
    fn a_previous_secret_has_an_end() {
        let read = |text: &str| serde_json::from_str::<Config>(text);
        let config = read(r#"{"previous_signing_secret": "s", "previous_client_secret": "c"}"#);
        let endless = config.unwrap();
        assert!(endless.validate().unwrap_err().starts_with("previous_until "));
        let until = read(r#"{"previous_until": "1970-01-01T00:00:02Z"}"#).unwrap().previous_until;
        assert_eq!(until, Some(Timestamp(2_000_000)));
        let config = Config { previous_until: until, ..endless };
        assert_eq!(config.validate(), Ok(()));
        assert_eq!(config.signing_secrets(true).previous, Some(Secret::new("s")));
        assert_eq!(config.signing_secrets(false).previous, None);
        assert!(Config::default().signing_secrets(true).previous.is_none());
        for bad in ["tomorrow", "2027-01-31", ""] {
            let error = read(&format!(r#"{{"previous_until": "{bad}"}}"#)).unwrap_err();
            assert!(error.to_string().contains("must be a time such as"), "{error}");
        }
    }

    #[test]
    fn unknown_features_are_refused() {
        let read = |text: &str| serde_json::from_str::<Config>(text);
        assert_eq!(read(r#"{"features_off": ["events"]}"#).unwrap().features_off, ["events"]);
        for bad in ["messages", "event"] {
            let error = read(&format!(r#"{{"features_off": ["{bad}"]}}"#)).unwrap_err();
            assert!(error.to_string().contains("by their codes"), "{error}");
        }
    }
}
