//! `herald manifest`: the Slack app that this version of Herald needs, as a manifest to paste into
//! Slack (<https://docs.slack.dev/reference/app-manifest>).
//!
//! It requests only the features that Herald uses today: no interactivity, because Herald serves no
//! address for it, and no token rotation, because it keeps tokens that do not expire. It is JSON,
//! which Slack accepts as well as YAML.

use serde_json::{Value, json};
use url::Url;

use crate::workspace::scopes;
use crate::{http, slack};

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

/// The manifest of an app whose Herald is reached by `public_url`.
pub fn manifest(public_url: Option<Url>) -> Result<String, Error> {
    let url = public_url.ok_or(Error::NoUrl)?;
    if url.scheme() != "https" {
        return Err(Error::NotHttps(url));
    }
    let config = http::Config { public_url: Some(url), ..http::Config::default() };
    config.validate()?;
    Ok(format!("{:#}", document(&config)))
}

fn document(config: &http::Config) -> Value {
    json!({
        "display_information": {
            "name": "Herald",
            "description": "Brings you the notifications of your platform as direct messages.",
        },
        "features": {
            "bot_user": { "display_name": "Herald", "always_online": true },
            "app_home": {
                "home_tab_enabled": false,
                // If the tab were off, people could not open the bot's messages. It is read-only
                // because replies are not answered.
                "messages_tab_enabled": true,
                "messages_tab_read_only_enabled": true,
            },
        },
        "oauth_config": {
            "redirect_urls": [config.redirect_url().as_str()],
            "scopes": { "bot": scopes::all() },
        },
        "settings": {
            "event_subscriptions": {
                "request_url": config.events_url().as_str(),
                "bot_events": slack::events::subscribed(),
            },
            "org_deploy_enabled": false,
            "socket_mode_enabled": false,
            "token_rotation_enabled": false,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(url: &str) -> Result<Value, String> {
        let text = manifest(Some(Url::parse(url).unwrap())).map_err(|error| error.to_string())?;
        Ok(serde_json::from_str(&text).unwrap())
    }

    fn characters(value: &Value) -> usize {
        value.as_str().unwrap().chars().count()
    }

    /// Slack's limits, from its app manifest reference.
    #[test]
    fn slack_takes_it() {
        let manifest = of("https://herald.example.com").unwrap();
        assert!((1..=35).contains(&characters(&manifest["display_information"]["name"])));
        assert!(characters(&manifest["display_information"]["description"]) <= 140);
        assert!((1..=80).contains(&characters(&manifest["features"]["bot_user"]["display_name"])));
        let redirects = manifest["oauth_config"]["redirect_urls"].as_array().unwrap();
        assert_eq!(redirects, &["https://herald.example.com/slack/oauth/callback"]);
        let home = &manifest["features"]["app_home"];
        assert_eq!(home["messages_tab_enabled"], true, "otherwise no one can read the messages");
        for key in ["org_deploy_enabled", "socket_mode_enabled", "token_rotation_enabled"] {
            assert!(manifest["settings"][key].is_boolean(), "{key}");
        }
    }

    #[test]
    fn it_asks_for_the_scopes_that_a_connect_link_asks_for() {
        let manifest = of("https://herald.example.com/below/").unwrap();
        let asked: Vec<&str> = manifest["oauth_config"]["scopes"]["bot"]
            .as_array()
            .unwrap()
            .iter()
            .map(|scope| scope.as_str().unwrap())
            .collect();
        assert_eq!(asked, scopes::all());
        let redirect = &manifest["oauth_config"]["redirect_urls"][0];
        assert_eq!(redirect, "https://herald.example.com/below/slack/oauth/callback");
    }

    #[test]
    fn it_asks_for_the_events_that_are_served_and_nothing_more() {
        let manifest = of("https://herald.example.com/below").unwrap();
        let events = &manifest["settings"]["event_subscriptions"];
        assert_eq!(events["request_url"], "https://herald.example.com/below/slack/events");
        assert_eq!(events["bot_events"], serde_json::json!(slack::events::subscribed()));
        assert!(slack::events::subscribed().len() <= 100, "Slack's limit");
        // The scopes that the events require (Slack's documentation: App manifest reference).
        for scope in ["users:read", "channels:read", "groups:read"] {
            assert!(scopes::all().contains(&scope), "{scope}");
        }
        assert!(manifest["settings"].get("interactivity").is_none());
    }

    #[test]
    fn an_address_that_slack_would_refuse_is_refused() {
        assert!(of("http://localhost:8080").unwrap_err().contains("https"));
        assert!(of("https://a.b/?q").unwrap_err().starts_with("http.public_url"));
        assert!(manifest(None).unwrap_err().to_string().contains("--url"));
    }
}
