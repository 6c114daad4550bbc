//! The manifest of a Slack app for Herald (<https://docs.slack.dev/reference/app-manifest>).
//!
//! It asks for the scopes and events of the wanted features and nothing more. Interactivity is on
//! with any feature: Slack reports each press of a link button, and shows a warning beside it if
//! there is no address that acknowledges the press. Token rotation is left off because it cannot be
//! turned off again; an app that has it on works as well.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::features::{self, Feature};

/// Most changes of a manifest that are named.
const CHANGES: usize = 20;
/// Longest name of a change, in characters.
const CHANGE_CHARS: usize = 120;

/// Longest name of an app, in characters.
pub const NAME_CHARS: usize = 35;

/// An app, as its manifest describes it.
#[derive(Debug, Clone, Copy)]
pub struct SlackManifest<'a> {
    /// At most [`NAME_CHARS`] characters.
    pub name: &'a str,
    /// Slack sends people back to this address and below it.
    pub redirect_url: &'a str,
    /// Slack sends events to this address.
    pub events_url: &'a str,
    /// Slack reports presses of buttons to this address.
    pub interactions_url: &'a str,
    pub features: &'a [&'static Feature],
}

impl SlackManifest<'_> {
    /// The manifest as JSON, which Slack accepts as well as YAML.
    #[must_use]
    pub fn json(&self) -> Value {
        let Self { name, redirect_url, events_url, interactions_url, features } = *self;
        let home = features.iter().any(|feature| feature.code == features::APP_HOME);
        // A scope in `bot_optional` must be in `bot`, too.
        let mut scopes = json!({ "bot": features::scopes(features) });
        let optional = features::optional_scopes(features);
        if !optional.is_empty() {
            scopes["bot_optional"] = json!(optional);
        }
        json!({
            "display_information": {
                "name": name,
                "description":
                    "Brings you the notifications of your platform as direct messages.",
            },
            "features": {
                "bot_user": { "display_name": name, "always_online": true },
                "app_home": {
                    "home_tab_enabled": home,
                    // If the tab were off, people could not open the bot's messages. It is
                    // read-only because replies are not answered.
                    "messages_tab_enabled": true,
                    "messages_tab_read_only_enabled": true,
                },
            },
            "oauth_config": { "redirect_urls": [redirect_url], "scopes": scopes },
            "settings": {
                "event_subscriptions": {
                    "request_url": events_url,
                    "bot_events": features::events(features),
                },
                "interactivity": { "is_enabled": true, "request_url": interactions_url },
                "org_deploy_enabled": true,
                "socket_mode_enabled": false,
                "token_rotation_enabled": false,
            },
        })
    }
}

/// The places in which `after` differs from the manifest `before`, as JSON pointers. Lists have no
/// order. A value that is empty or off is as good as a missing one, because Slack exports both.
#[must_use]
pub fn changes(before: &Value, after: &Value) -> Vec<String> {
    let mut places = Vec::new();
    compare("", before, after, &mut places);
    places.truncate(CHANGES);
    places
}

fn compare(place: &str, before: &Value, after: &Value, places: &mut Vec<String>) {
    static MISSING: Value = Value::Null;
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        let same = is_nothing(before) && is_nothing(after) || items(before) == items(after);
        if !same {
            places.push(place.chars().take(CHANGE_CHARS).collect());
        }
        return;
    };
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for key in keys {
        let (old, new) = (old.get(key).unwrap_or(&MISSING), new.get(key).unwrap_or(&MISSING));
        compare(&format!("{place}/{key}"), old, new, places);
    }
}

/// The value, as the set of its items if it is a list.
fn items(value: &Value) -> BTreeSet<String> {
    match value {
        Value::Array(items) => items.iter().map(Value::to_string).collect(),
        value => BTreeSet::from([value.to_string()]),
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_nothing),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

/// The beginning of a name that fits into a manifest.
#[must_use]
pub fn short_name(name: &str) -> String {
    let short: String = name.trim().chars().take(NAME_CHARS).collect();
    short.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(features: &[&'static Feature]) -> Value {
        let redirect_url = "https://herald.example.com/slack/oauth/callback";
        let events_url = "https://herald.example.com/slack/events";
        let interactions_url = "https://herald.example.com/slack/interactions";
        let name = "Herald";
        SlackManifest { name, redirect_url, events_url, interactions_url, features }.json()
    }

    fn characters(value: &Value) -> usize {
        value.as_str().unwrap().chars().count()
    }

    #[test]
    fn a_manifest_says_where_it_differs() {
        let wanted = of(&features::in_use(&[]));
        assert_eq!(changes(&wanted, &wanted), Vec::<String>::new());
        let mut exported = wanted.clone();
        let webhooks = json!({ "incoming_webhooks_enabled": false });
        exported["settings"]["incoming_webhooks"] = webhooks;
        exported["settings"]["is_hosted"] = json!(false);
        let scopes = exported["oauth_config"]["scopes"]["bot"].as_array_mut().unwrap();
        scopes.reverse();
        assert_eq!(changes(&exported, &wanted), Vec::<String>::new(), "as Slack exports it");
        exported["oauth_config"]["scopes"]["bot"].as_array_mut().unwrap().pop();
        exported["features"]["slash_commands"] = json!([{ "command": "/theirs" }]);
        exported["display_information"]["name"] = json!("Other");
        assert_eq!(
            changes(&exported, &wanted),
            ["/display_information/name", "/features/slash_commands", "/oauth_config/scopes/bot",]
        );
        let many: serde_json::Map<String, Value> =
            (0..100).map(|number| (format!("key{number}"), json!(1))).collect();
        assert_eq!(changes(&json!({}), &Value::Object(many)).len(), CHANGES);
    }

    /// Slack's limits, from its app manifest reference.
    #[test]
    fn slack_takes_it() {
        let manifest = of(&features::in_use(&[]));
        assert!((1..=35).contains(&characters(&manifest["display_information"]["name"])));
        assert!(characters(&manifest["display_information"]["description"]) <= 140);
        assert!((1..=80).contains(&characters(&manifest["features"]["bot_user"]["display_name"])));
        let home = &manifest["features"]["app_home"];
        assert_eq!(home["messages_tab_enabled"], true, "otherwise no one can read the messages");
        assert_eq!(home["home_tab_enabled"], true);
        for key in ["org_deploy_enabled", "socket_mode_enabled", "token_rotation_enabled"] {
            assert!(manifest["settings"][key].is_boolean(), "{key}");
        }
        // Otherwise Slack shows a warning beside each link button that a person presses.
        let url = "https://herald.example.com/slack/interactions";
        let interactivity = json!({ "is_enabled": true, "request_url": url });
        assert_eq!(manifest["settings"]["interactivity"], interactivity);
    }

    #[test]
    fn it_asks_for_the_scopes_and_events_of_its_features_and_nothing_more() {
        let all = features::in_use(&[]);
        let manifest = of(&all);
        let scopes = &manifest["oauth_config"]["scopes"];
        assert_eq!(scopes["bot"], json!(features::scopes(&all)));
        let bot = scopes["bot"].as_array().unwrap();
        let optional = scopes["bot_optional"].as_array().unwrap();
        assert!(!optional.is_empty() && optional.iter().all(|scope| bot.contains(scope)));
        let events = &manifest["settings"]["event_subscriptions"];
        assert_eq!(events["bot_events"], json!(features::events(&all)));

        let least = of(&[features::find(features::ALWAYS).unwrap()]);
        assert_eq!(least["oauth_config"]["scopes"], json!({ "bot": ["chat:write"] }));
        assert_eq!(least["features"]["app_home"]["home_tab_enabled"], false);
        let events = &least["settings"]["event_subscriptions"]["bot_events"];
        let events = events.as_array().unwrap();
        assert!(events.contains(&json!("tokens_revoked")) && !events.contains(&json!("team_join")));
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        assert_eq!(short_name(" Herald "), "Herald");
        let long = short_name(&"ä".repeat(80));
        assert_eq!(long, "ä".repeat(NAME_CHARS));
        assert_eq!(short_name(&format!("{} of Example", "a".repeat(34))), "a".repeat(34));
    }
}
