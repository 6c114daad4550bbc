//! The features of Herald in a workspace, and the needs of each in Slack.
//!
//! One table: the app's manifest, the scopes of a connect link, the features of GetWorkspace and
//! docs/features.md come from it (scopes: <https://docs.slack.dev/reference/scopes>).

use super::channels::next::SCOPES;

/// A feature, with everything that it needs of Slack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feature {
    /// Its name for programs, which never changes.
    pub code: &'static str,
    /// The name that administrators see.
    pub name: &'static str,
    /// The bot scopes without which it does not work.
    pub scopes: &'static [&'static str],
    /// Whether a workspace may refuse its scopes and use the rest.
    pub optional: bool,
    /// The events that the app subscribes to for it.
    pub events: &'static [&'static str],
}

/// The state of a feature in a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeatureState {
    On,
    /// The workspace has not granted these scopes.
    WaitsForScopes(Vec<&'static str>),
    /// The settings of this deployment switch it off.
    Off,
}

/// The feature that cannot be switched off.
pub const ALWAYS: &str = "messages";

/// The feature that creates and keeps channels.
pub const CHANNELS: &str = "channels";

/// The feature that fills people's Home tabs.
pub const APP_HOME: &str = "app_home";

/// The scopes that creating and keeping channels needs, public and private ones.
const CHANNEL_SCOPES: &[&str] = &SCOPES;

/// Everything that Herald does in a workspace.
pub const FEATURES: &[Feature] = &[
    Feature {
        code: ALWAYS,
        name: "send messages",
        scopes: &["chat:write"],
        optional: false,
        // The life of the connection; these events need no scope.
        events: &[
            "app_uninstalled",
            "grid_migration_finished",
            "grid_migration_started",
            "team_access_granted",
            "team_access_revoked",
            "tokens_revoked",
        ],
    },
    Feature {
        code: "public_channels",
        name: "post in public channels without an invitation",
        scopes: &["chat:write.public"],
        optional: true,
        events: &[],
    },
    Feature {
        code: "direct_messages",
        name: "open direct messages in advance",
        scopes: &["im:write"],
        optional: true,
        events: &[],
    },
    Feature {
        code: "members",
        name: "find members",
        scopes: &["users:read"],
        optional: false,
        events: &[],
    },
    Feature {
        code: "members_by_email",
        name: "find members by their e-mail addresses",
        scopes: &["users:read.email"],
        optional: false,
        events: &[],
    },
    Feature {
        code: "profile_fields",
        name: "match by custom profile fields",
        scopes: &["users.profile:read"],
        optional: true,
        events: &[],
    },
    Feature {
        code: "direct_message_history",
        name: "settle ambiguous answers in direct messages, so that nothing is sent twice",
        scopes: &["im:history"],
        optional: true,
        events: &[],
    },
    Feature {
        code: "channel_history",
        name: "settle ambiguous answers in channels, so that nothing is posted twice",
        scopes: &["channels:history", "groups:history"],
        optional: true,
        events: &[],
    },
    Feature {
        code: "events",
        name: "learn of changed members at once",
        scopes: &["users:read"],
        optional: true,
        events: &["team_join", "user_change"],
    },
    Feature {
        code: CHANNELS,
        name: "create and keep channels",
        scopes: CHANNEL_SCOPES,
        optional: true,
        events: &[
            "channel_archive",
            "channel_deleted",
            "channel_id_changed",
            "channel_left",
            "channel_rename",
            "channel_unarchive",
            "group_archive",
            "group_deleted",
            "group_left",
            "group_rename",
            "group_unarchive",
            "member_joined_channel",
            "member_left_channel",
        ],
    },
    Feature {
        code: "organization_moves",
        name: "keep finding members when the workspace moves into an Enterprise organization",
        scopes: &["tokens.basic"],
        optional: true,
        events: &[],
    },
    Feature {
        code: APP_HOME,
        name: "show people their settings in the Home tab",
        scopes: &[],
        optional: true,
        events: &["app_home_opened"],
    },
];

/// The feature with this code.
#[must_use]
pub fn find(code: &str) -> Option<&'static Feature> {
    FEATURES.iter().find(|feature| feature.code == code)
}

/// The features that are not switched off, by their codes.
#[must_use]
pub fn in_use(switched_off: &[String]) -> Vec<&'static Feature> {
    FEATURES.iter().filter(|feature| !is_off(feature, switched_off)).collect()
}

/// Whether the settings switch the feature with this code off.
#[must_use]
pub fn is_switched_off(code: &str, switched_off: &[String]) -> bool {
    switched_off.iter().any(|off| off == code)
}

/// Every feature with its state in a workspace that granted these scopes, in the table's order.
#[must_use]
pub fn states(
    granted: &[String],
    switched_off: &[String],
) -> Vec<(&'static Feature, FeatureState)> {
    let state = |feature: &Feature| {
        if is_off(feature, switched_off) {
            return FeatureState::Off;
        }
        match lacking(granted, feature.scopes) {
            lacking if lacking.is_empty() => FeatureState::On,
            lacking => FeatureState::WaitsForScopes(lacking),
        }
    };
    FEATURES.iter().map(|feature| (feature, state(feature))).collect()
}

/// The scopes of these features, each once.
#[must_use]
pub fn scopes(features: &[&'static Feature]) -> Vec<&'static str> {
    let mut scopes = Vec::new();
    for scope in features.iter().flat_map(|feature| feature.scopes) {
        if !scopes.contains(scope) {
            scopes.push(*scope);
        }
    }
    scopes
}

/// Those of them that a workspace may refuse: no feature that it must have needs them.
#[must_use]
pub fn optional_scopes(features: &[&'static Feature]) -> Vec<&'static str> {
    let needed = |scope: &&str| {
        features.iter().any(|feature| !feature.optional && feature.scopes.contains(scope))
    };
    let mut optional = scopes(features);
    optional.retain(|scope| !needed(scope));
    optional
}

/// The events of these features, sorted, each once.
#[must_use]
pub fn events(features: &[&'static Feature]) -> Vec<&'static str> {
    let mut events: Vec<_> = features.iter().flat_map(|feature| feature.events).copied().collect();
    events.sort_unstable();
    events.dedup();
    events
}

/// Checks the codes of features to switch off. The sentence continues the name of the setting.
pub fn check_switched_off(codes: &[String]) -> Result<(), String> {
    if codes.iter().all(|code| code != ALWAYS && find(code).is_some()) {
        return Ok(());
    }
    let known = FEATURES.iter().map(|feature| feature.code).filter(|code| *code != ALWAYS);
    let known: Vec<_> = known.collect();
    Err(format!("must list features by their codes, which are {}", known.join(", ")))
}

fn is_off(feature: &Feature, switched_off: &[String]) -> bool {
    is_switched_off(feature.code, switched_off)
}

/// The scopes of `wanted` that `granted` lacks, in their order.
fn lacking(granted: &[String], wanted: &[&'static str]) -> Vec<&'static str> {
    let lacks = |scope: &&'static str| !granted.iter().any(|granted| granted == scope);
    wanted.iter().copied().filter(lacks).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(scopes: &[&str]) -> Vec<String> {
        scopes.iter().map(ToString::to_string).collect()
    }

    fn all() -> Vec<&'static Feature> {
        in_use(&[])
    }

    /// The codes of the features that wait, with the scopes that they lack.
    fn waiting(granted: &[&str]) -> Vec<(&'static str, Vec<&'static str>)> {
        let waits = |(feature, state): (&'static Feature, FeatureState)| match state {
            FeatureState::WaitsForScopes(scopes) => Some((feature.code, scopes)),
            FeatureState::On | FeatureState::Off => None,
        };
        states(&owned(granted), &[]).into_iter().filter_map(waits).collect()
    }

    #[test]
    fn only_what_is_missing_is_named() {
        let granted = scopes(&all());
        assert!(waiting(&granted).is_empty());
        let without = |left_out: &[&str]| -> Vec<&'static str> {
            granted.iter().copied().filter(|scope| !left_out.contains(scope)).collect()
        };
        let lacking = waiting(&without(&["groups:history"]));
        assert_eq!(lacking, [("channel_history", vec!["groups:history"])]);
        let lacking = waiting(&without(CHANNEL_SCOPES));
        assert_eq!(lacking, [(CHANNELS, CHANNEL_SCOPES.to_vec())]);
        let lacking = waiting(&without(&["users:read"]));
        assert_eq!(lacking, [("members", vec!["users:read"]), ("events", vec!["users:read"])]);
    }

    #[test]
    fn a_feature_that_is_switched_off_waits_for_nothing() {
        let off = owned(&[CHANNELS, "events"]);
        for (feature, state) in states(&[], &off) {
            assert_eq!(state == FeatureState::Off, off.iter().any(|code| code == feature.code));
        }
        let used = in_use(&off);
        assert_eq!(used.len(), FEATURES.len() - 2);
        // The member list still needs this scope.
        assert!(scopes(&used).contains(&"users:read") && !events(&used).contains(&"user_change"));
        assert!(CHANNEL_SCOPES.iter().all(|scope| !scopes(&used).contains(scope)));
    }

    #[test]
    fn a_scope_that_one_feature_must_have_is_not_optional() {
        let optional = optional_scopes(&all());
        assert!(optional.contains(&"channels:manage") && optional.contains(&"im:history"));
        for scope in ["chat:write", "users:read", "users:read.email"] {
            assert!(!optional.contains(&scope), "{scope}");
        }
        let events = [find("events").unwrap()];
        assert_eq!(optional_scopes(&events), ["users:read"]);
    }

    #[test]
    fn codes_scopes_and_events_are_there_once() {
        let once = |mut names: Vec<&str>| {
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            names.len() == count
        };
        assert!(once(FEATURES.iter().map(|feature| feature.code).collect()));
        assert!(once(scopes(&all())));
        // An event that two features shared would outlive switching one of them off.
        assert!(once(FEATURES.iter().flat_map(|feature| feature.events).copied().collect()));
        assert!(events(&all()).len() <= 100, "Slack's limit");
    }

    /// Slack's documentation: Events API, the scope of each event.
    #[test]
    fn events_come_with_the_scopes_that_they_need() {
        for feature in FEATURES {
            for event in feature.events {
                let is_of = |start: &str| event.starts_with(start);
                let public = is_of("channel_") && *event != "channel_id_changed";
                let needed = [
                    (is_of("user_") || is_of("team_join"), "users:read"),
                    (is_of("member_") || public, "channels:read"),
                    (is_of("member_") || is_of("group_"), "groups:read"),
                ];
                for (_, scope) in needed.iter().filter(|(needs, _)| *needs) {
                    assert!(feature.scopes.contains(scope), "{}: {event}", feature.code);
                }
            }
        }
    }

    #[test]
    fn only_features_that_can_be_missed_are_switched_off() {
        assert_eq!(check_switched_off(&[]), Ok(()));
        assert_eq!(check_switched_off(&owned(&[CHANNELS, "members_by_email"])), Ok(()));
        for bad in [ALWAYS, "channel", ""] {
            let sentence = check_switched_off(&owned(&[bad])).unwrap_err();
            assert!(sentence.contains("public_channels") && !sentence.contains(" messages,"));
        }
    }
}
