//! `herald manifest`: the Slack app that this version of Herald needs, as a manifest to paste into
//! Slack (<https://docs.slack.dev/reference/app-manifest>).

use url::Url;

use crate::domain::features;
use crate::domain::slack_manifest::SlackManifest;
use crate::{http, workspace};

/// Why there is no manifest.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Slack would have no address to send people back to.
    #[error(
        "Slack must know where Herald is reached: give --url https://herald.example.com, \
         or set http.public_url"
    )]
    NoUrl,
    /// Slack redirects only to https.
    #[error("Slack sends people back only to https addresses, and {0} is not one")]
    NotHttps(Url),
    #[error("http.{0}")]
    Url(#[from] http::ConfigError),
}

/// The manifest of the deployment's app, whose Herald is reached by `public_url`.
pub fn manifest(public_url: Option<Url>, app: &workspace::Config) -> Result<String, Error> {
    let url = public_url.ok_or(Error::NoUrl)?;
    if url.scheme() != "https" {
        return Err(Error::NotHttps(url));
    }
    let config = http::Config { public_url: Some(url), ..http::Config::default() };
    config.validate()?;
    let (name, features) = (app.app_name(), features::in_use(&app.features_off));
    let (redirect_url, events_url) = (config.redirect_url(), config.events_url());
    let interactions_url = config.interactions_url();
    let manifest = SlackManifest {
        name: &name,
        redirect_url: redirect_url.as_str(),
        events_url: events_url.as_str(),
        interactions_url: interactions_url.as_str(),
        features: &features,
    };
    Ok(format!("{:#}", manifest.json()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::slack;

    fn of(url: &str, app: &workspace::Config) -> Result<Value, String> {
        let text = manifest(Some(Url::parse(url).unwrap()), app).map_err(|it| it.to_string())?;
        Ok(serde_json::from_str(&text).unwrap())
    }

    fn at(url: &str) -> Result<Value, String> {
        of(url, &workspace::Config::default())
    }

    #[test]
    fn the_addresses_are_below_the_public_one() {
        for (url, below) in [
            ("https://herald.example.com", "https://herald.example.com"),
            ("https://herald.example.com/below/", "https://herald.example.com/below"),
        ] {
            let manifest = at(url).unwrap();
            let redirects = &manifest["oauth_config"]["redirect_urls"];
            assert_eq!(*redirects, json!([format!("{below}/slack/oauth/callback")]));
            let events = &manifest["settings"]["event_subscriptions"]["request_url"];
            assert_eq!(*events, json!(format!("{below}/slack/events")));
            let interactions = &manifest["settings"]["interactivity"]["request_url"];
            assert_eq!(*interactions, json!(format!("{below}/slack/interactions")));
        }
    }

    #[test]
    fn it_asks_for_the_events_that_are_read_and_nothing_more() {
        let manifest = at("https://herald.example.com").unwrap();
        let events = &manifest["settings"]["event_subscriptions"]["bot_events"];
        let read = slack::events::subscribed();
        assert!(read.len() <= 100, "Slack's limit");
        assert_eq!(*events, json!(read), "left: domain/features.rs, right: slack/events.rs");
    }

    #[test]
    fn a_feature_that_is_switched_off_is_not_asked_for() {
        let app = workspace::Config {
            features_off: vec!["channels".to_owned()],
            display_name: "Campus".to_owned(),
            ..workspace::Config::default()
        };
        let manifest = of("https://herald.example.com", &app).unwrap();
        assert_eq!(manifest["display_information"]["name"], "Campus");
        let scopes = manifest["oauth_config"]["scopes"]["bot"].as_array().unwrap();
        assert!(!scopes.contains(&json!("channels:manage")));
        let events = manifest["settings"]["event_subscriptions"]["bot_events"].as_array().unwrap();
        assert!(!events.contains(&json!("channel_archive")));
    }

    #[test]
    fn an_address_that_slack_would_refuse_is_refused() {
        assert!(at("http://localhost:8080").unwrap_err().contains("https"));
        assert!(at("https://a.b/?q").unwrap_err().starts_with("http.public_url"));
        let none = manifest(None, &workspace::Config::default());
        assert!(none.unwrap_err().to_string().contains("--url"));
    }
}
