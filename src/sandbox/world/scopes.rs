//! Scopes: the known ones, and the answer if one is missing.

use std::collections::BTreeSet;

use serde_json::json;

use super::error::Error;

/// Bot scopes that the authorize page knows; others are `invalid_scope`.
const KNOWN: &[&str] = &[
    "app_mentions:read",
    "channels:history",
    "channels:join",
    "channels:manage",
    "channels:read",
    "channels:write.invites",
    "channels:write.topic",
    "chat:write",
    "chat:write.customize",
    "chat:write.public",
    "commands",
    "dnd:read",
    "emoji:read",
    "files:read",
    "files:write",
    "groups:history",
    "groups:read",
    "groups:write",
    "groups:write.invites",
    "groups:write.topic",
    "im:history",
    "im:read",
    "im:write",
    "im:write.topic",
    "incoming-webhook",
    "links:read",
    "links:write",
    "metadata.message:read",
    "mpim:history",
    "mpim:read",
    "mpim:write",
    "mpim:write.topic",
    "pins:read",
    "pins:write",
    "reactions:read",
    "reactions:write",
    "team:read",
    "tokens.basic",
    "usergroups:read",
    "usergroups:write",
    "users.profile:read",
    "users:read",
    "users:read.email",
    "users:write",
];

pub(in crate::sandbox) fn is_known(scope: &str) -> bool {
    KNOWN.contains(&scope)
}

/// Scopes from a list separated by commas or spaces.
pub(in crate::sandbox) fn parse(list: &str) -> BTreeSet<String> {
    list.split([',', ' ']).filter(|scope| !scope.is_empty()).map(str::to_owned).collect()
}

/// A comma-separated list.
pub(in crate::sandbox) fn join<'a>(scopes: impl IntoIterator<Item = &'a String>) -> String {
    scopes.into_iter().map(String::as_str).collect::<Vec<_>>().join(",")
}

/// Succeeds if `held` has any of `needed`, or if none is needed.
pub(in crate::sandbox) fn check(held: &BTreeSet<String>, needed: &[&str]) -> Result<(), Error> {
    if needed.is_empty() || needed.iter().any(|scope| held.contains(*scope)) {
        return Ok(());
    }
    let extra = json!({ "needed": needed.join(","), "provided": join(held) });
    Err(Error::with("missing_scope", extra))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_scope_names_both_sides() {
        let held = parse("users:read, chat:write");
        assert!(check(&held, &["chat:write"]).is_ok());
        assert!(check(&held, &[]).is_ok());
        let body = check(&held, &["im:write", "mpim:write"]).unwrap_err().body();
        assert_eq!(body["error"], "missing_scope");
        assert_eq!(body["needed"], "im:write,mpim:write");
        assert_eq!(body["provided"], "chat:write,users:read");
    }
}
