//! The choices of a tenant and of a person, and the stored match of a person to a member.

use std::collections::{BTreeMap, BTreeSet};

use super::ids::{EventType, InstallationId, SlackUserId};
use super::reason::Suppression;
use super::time::Timestamp;

/// One tenant's settings. A tenant that has never changed any has [`Settings::default`].
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Settings {
    /// The switch for all people; off until an administrator turns it on.
    pub sending_allowed: bool,
    /// JMESPath on the person's record.
    pub user_attribute: String,
    /// JMESPath on the member object.
    pub slack_attribute: String,
    /// Send only to people who turned messages on.
    pub opt_in: bool,
    /// BCP 47; for people without a known locale.
    pub locale: String,
    /// IANA name; for people without a known time zone.
    pub time_zone: String,
    /// Event types that are switched off.
    pub disabled_event_types: BTreeSet<EventType>,
    /// Event types whose messages wait for people who are not in Slack yet.
    #[serde(default)]
    pub held_event_types: BTreeSet<EventType>,
    /// Event types that people cannot switch off.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub mandatory_event_types: BTreeSet<EventType>,
    /// Other tenants may be connected to this tenant's workspace.
    #[serde(default)]
    pub share_workspace: bool,
    /// Counts changes; an update based on an older version is refused.
    pub version: i64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sending_allowed: false,
            user_attribute: "email".into(),
            slack_attribute: "profile.email".into(),
            opt_in: false,
            locale: "en".into(),
            time_zone: "UTC".into(),
            disabled_event_types: BTreeSet::new(),
            held_event_types: BTreeSet::new(),
            mandatory_event_types: BTreeSet::new(),
            share_workspace: false,
            version: 0,
        }
    }
}

/// A person's choice, for all messages or for one event type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preference {
    /// The wider setting applies.
    #[default]
    Inherit,
    On,
    Off,
}

/// All choices of one person.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Preferences {
    pub all: Preference,
    pub by_type: BTreeMap<EventType, Preference>,
    /// The origin of each choice (`person` or `administrator`, a colon, the caller's name), and its
    /// time; `None` is the choice for all messages.
    pub origins: BTreeMap<Option<EventType>, (String, Timestamp)>,
}

/// The switch that suppresses a message, if any. Off for all messages outranks on for one type; if
/// nothing is chosen, the tenant's default decides. Neither counts for a mandatory type.
#[must_use]
pub fn suppression(
    settings: &Settings,
    preferences: &Preferences,
    event: &EventType,
) -> Option<Suppression> {
    if !settings.sending_allowed {
        return Some(Suppression::SendingOff);
    }
    if settings.disabled_event_types.contains(event) {
        return Some(Suppression::EventTypeOff);
    }
    if settings.mandatory_event_types.contains(event) {
        return None;
    }
    let one = preferences.by_type.get(event).copied().unwrap_or_default();
    match (preferences.all, one) {
        (Preference::Off, _) => Some(Suppression::PreferenceAll),
        (_, Preference::Off) => Some(Suppression::PreferenceType),
        (Preference::On, _) | (_, Preference::On) => None,
        (Preference::Inherit, Preference::Inherit) => settings.opt_in.then_some(Suppression::OptIn),
    }
}

/// How an identity was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// By the two expressions.
    Matched,
    /// By an administrator; outranks the rules.
    Pinned,
}

/// The stored match of a person to a Slack member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub slack_user_id: SlackUserId,
    pub display_name: String,
    pub rule: Rule,
    pub installation: InstallationId,
    pub stored_at: Timestamp,
}

impl Identity {
    /// The match of a person to the member with this name.
    #[must_use]
    pub fn matched(
        slack_user_id: &SlackUserId,
        display_name: &str,
        installation: InstallationId,
        stored_at: Timestamp,
    ) -> Self {
        let (slack_user_id, display_name) = (slack_user_id.clone(), display_name.to_owned());
        Self { slack_user_id, display_name, rule: Rule::Matched, installation, stored_at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> EventType {
        EventType::parse("task.assigned").unwrap()
    }

    fn with(all: Preference, one: Preference) -> Preferences {
        Preferences { all, by_type: BTreeMap::from([(event(), one)]), ..Preferences::default() }
    }

    #[test]
    fn every_combination_of_choices() {
        use Preference::{Inherit, Off, On};
        let open = Settings { sending_allowed: true, ..Settings::default() };
        let opt_in = Settings { opt_in: true, ..open.clone() };
        let cases = [
            (&open, Inherit, Inherit, None),
            (&opt_in, Inherit, Inherit, Some(Suppression::OptIn)),
            (&opt_in, On, Inherit, None),
            (&opt_in, Inherit, On, None),
            (&open, Off, On, Some(Suppression::PreferenceAll)),
            (&open, On, Off, Some(Suppression::PreferenceType)),
            (&open, Off, Inherit, Some(Suppression::PreferenceAll)),
        ];
        for (settings, all, one, expected) in cases {
            assert_eq!(
                suppression(settings, &with(all, one), &event()),
                expected,
                "{all:?} {one:?}"
            );
        }
    }

    #[test]
    fn the_tenants_switch_comes_first() {
        let closed = Settings::default();
        let choices = with(Preference::On, Preference::On);
        assert_eq!(suppression(&closed, &choices, &event()), Some(Suppression::SendingOff));
    }

    #[test]
    fn nobody_opts_out_of_a_mandatory_type() {
        let mut settings = Settings { sending_allowed: true, opt_in: true, ..Settings::default() };
        settings.mandatory_event_types.insert(event());
        for choices in [
            Preferences::default(),
            with(Preference::Off, Preference::Off),
            with(Preference::Inherit, Preference::Off),
        ] {
            assert_eq!(suppression(&settings, &choices, &event()), None, "{choices:?}");
        }
        // The tenant's own switches still count.
        settings.disabled_event_types.insert(event());
        let off = suppression(&settings, &Preferences::default(), &event());
        assert_eq!(off, Some(Suppression::EventTypeOff));
    }
}
