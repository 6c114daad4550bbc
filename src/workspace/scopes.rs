//! Which bot scopes each feature needs (Slack's documentation: App manifest reference).

/// A feature and the scopes that it needs.
#[derive(Debug, Clone, Copy)]
pub struct Feature {
    /// The name that administrators see.
    pub name: &'static str,
    pub scopes: &'static [&'static str],
}

/// Everything that Herald does in a workspace.
pub const FEATURES: &[Feature] = &[
    Feature { name: "send messages", scopes: &["chat:write"] },
    Feature {
        name: "post in public channels without an invitation",
        scopes: &["chat:write.public"],
    },
    Feature { name: "open direct messages in advance", scopes: &["im:write"] },
    Feature { name: "find members", scopes: &["users:read", "users:read.email"] },
    Feature { name: "match by custom profile fields", scopes: &["users.profile:read"] },
    Feature {
        name: "settle ambiguous answers in direct messages, so that nothing is sent twice",
        scopes: &["im:history"],
    },
    Feature {
        name: "settle ambiguous answers in channels, so that nothing is posted twice",
        scopes: &["channels:history", "groups:history"],
    },
];

/// Every scope once, in the order of the features.
#[must_use]
pub fn all() -> Vec<&'static str> {
    FEATURES.iter().flat_map(|feature| feature.scopes.iter().copied()).collect()
}

/// The features that are unavailable, each with exactly the scopes that `granted` lacks.
#[must_use]
pub fn missing(granted: &[String]) -> Vec<(&'static str, Vec<&'static str>)> {
    let lacking = |scope: &&'static str| !granted.iter().any(|granted| granted == scope);
    FEATURES
        .iter()
        .map(|feature| (feature.name, feature.scopes.iter().copied().filter(lacking).collect()))
        .filter(|(_, scopes): &(_, Vec<_>)| !scopes.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_named() {
        let granted: Vec<String> = all().iter().map(ToString::to_string).collect();
        assert!(missing(&granted).is_empty());
        let without: Vec<String> =
            granted.into_iter().filter(|scope| scope != "groups:history").collect();
        let waiting = missing(&without);
        assert_eq!(waiting.len(), 1);
        assert_eq!(waiting[0].1, ["groups:history"]);
    }
}
