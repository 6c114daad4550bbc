//! Which bot scopes each feature needs (Slack's documentation: App manifest reference).

use crate::domain::channels::next::SCOPES;

/// A feature and the scopes that it needs.
#[derive(Debug, Clone, Copy)]
pub struct Feature {
    /// Its name for programs, which never changes.
    pub code: &'static str,
    /// The name that administrators see.
    pub name: &'static str,
    pub scopes: &'static [&'static str],
}

/// The scopes that creating and keeping channels needs, public and private ones.
const CHANNELS: &[&str] = &SCOPES;

/// Everything that Herald does in a workspace.
pub const FEATURES: &[Feature] = &[
    Feature { code: "messages", name: "send messages", scopes: &["chat:write"] },
    Feature {
        code: "public_channels",
        name: "post in public channels without an invitation",
        scopes: &["chat:write.public"],
    },
    Feature {
        code: "direct_messages",
        name: "open direct messages in advance",
        scopes: &["im:write"],
    },
    Feature { code: "members", name: "find members", scopes: &["users:read", "users:read.email"] },
    Feature {
        code: "profile_fields",
        name: "match by custom profile fields",
        scopes: &["users.profile:read"],
    },
    Feature {
        code: "direct_message_history",
        name: "settle ambiguous answers in direct messages, so that nothing is sent twice",
        scopes: &["im:history"],
    },
    Feature {
        code: "channel_history",
        name: "settle ambiguous answers in channels, so that nothing is posted twice",
        scopes: &["channels:history", "groups:history"],
    },
    Feature { code: "channels", name: "create and keep channels", scopes: CHANNELS },
];

/// Every scope once, in the order of the features.
#[must_use]
pub fn all() -> Vec<&'static str> {
    FEATURES.iter().flat_map(|feature| feature.scopes.iter().copied()).collect()
}

/// The scopes of `wanted` that `granted` lacks, in their order.
fn lacking(granted: &[String], wanted: &[&'static str]) -> Vec<&'static str> {
    let lacks = |scope: &&'static str| !granted.iter().any(|granted| granted == scope);
    wanted.iter().copied().filter(lacks).collect()
}

/// The features that are unavailable, each with exactly the scopes that `granted` lacks.
#[must_use]
pub fn missing(granted: &[String]) -> Vec<(&'static str, Vec<&'static str>)> {
    FEATURES
        .iter()
        .map(|feature| (feature.name, lacking(granted, feature.scopes)))
        .filter(|(_, scopes)| !scopes.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(scopes: &[&str]) -> Vec<String> {
        scopes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_what_is_missing_is_named() {
        let granted = owned(&all());
        assert!(missing(&granted).is_empty());
        let without: Vec<String> =
            granted.into_iter().filter(|scope| scope != "groups:history").collect();
        let waiting = missing(&without);
        assert_eq!(waiting.len(), 1);
        assert_eq!(waiting[0].1, ["groups:history"]);
    }

    #[test]
    fn a_workspace_from_before_channels_lacks_exactly_their_scopes() {
        let before: Vec<&str> = all().into_iter().filter(|it| !CHANNELS.contains(it)).collect();
        let waiting = missing(&owned(&before));
        assert_eq!(waiting, [("create and keep channels", CHANNELS.to_vec())]);
        let some = owned(&["channels:read", "groups:write", "chat:write"]);
        let lacks = ["channels:manage", "channels:join", "groups:read"];
        assert_eq!(lacking(&some, CHANNELS), lacks);
        assert!(lacking(&owned(CHANNELS), CHANNELS).is_empty());
    }

    #[test]
    fn scopes_and_codes_of_features_are_there_once() {
        let mut scopes = all();
        scopes.sort_unstable();
        scopes.dedup();
        assert_eq!(scopes.len(), all().len());
        let mut codes: Vec<&str> = FEATURES.iter().map(|feature| feature.code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), FEATURES.len());
    }
}
