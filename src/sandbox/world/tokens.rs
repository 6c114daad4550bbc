//! Tokens and their states.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::error::Error;

/// One token issued by the sandbox.
pub(in crate::sandbox) struct Token {
    pub(in crate::sandbox) scopes: Arc<BTreeSet<String>>,
    /// The error code that it answers with, once it is dead.
    pub(in crate::sandbox) dead: Option<String>,
    /// The expiry time in microseconds; only with rotation.
    pub(in crate::sandbox) expires: Option<i64>,
    /// A number in the order of issue.
    pub(in crate::sandbox) order: u64,
    /// Whether it is for all workspaces of the organization.
    pub(in crate::sandbox) org_wide: bool,
    /// Whether `oauth.v2.exchange` replaced it.
    pub(in crate::sandbox) exchanged: bool,
    /// The person, if it is a person's token from Sign in with Slack.
    pub(in crate::sandbox) user: Option<String>,
}

/// A refresh token. It works once, and for a short time after its first use.
pub(in crate::sandbox) struct Refresh {
    pub(in crate::sandbox) scopes: BTreeSet<String>,
    pub(in crate::sandbox) first_used: Option<i64>,
}

/// All tokens, by their text.
#[derive(Default)]
pub(in crate::sandbox) struct Tokens {
    pub(in crate::sandbox) by_text: HashMap<String, Token>,
    pub(in crate::sandbox) refresh: HashMap<String, Refresh>,
    /// App configuration tokens, for `apps.manifest.*`.
    configuration: BTreeSet<String>,
}

impl Tokens {
    /// The scopes of a live token, or its error code.
    pub(in crate::sandbox) fn check(
        &self,
        token: &str,
        now: i64,
    ) -> Result<Arc<BTreeSet<String>>, Error> {
        let held = self.by_text.get(token).ok_or("invalid_auth")?;
        if let Some(code) = &held.dead {
            return Err(Error::code(code.clone()));
        }
        if held.expires.is_some_and(|at| at <= now) {
            return Err("token_expired".into());
        }
        Ok(Arc::clone(&held.scopes))
    }

    /// A new app configuration token.
    pub(in crate::sandbox) fn issue_configuration(&mut self) -> String {
        let token = format!("xoxe.xoxp-1-{:032x}", rand::random::<u128>());
        self.configuration.insert(token.clone());
        token
    }

    /// The error for a token that is not an app configuration token.
    pub(in crate::sandbox) fn check_configuration(&self, token: &str) -> Result<(), Error> {
        match (self.configuration.contains(token), self.by_text.contains_key(token)) {
            (true, _) => Ok(()),
            (false, true) => Err("not_allowed_token_type".into()),
            (false, false) => Err("invalid_auth".into()),
        }
    }

    /// The person of the token; `None` for the bot's.
    pub(in crate::sandbox) fn user_of(&self, token: &str) -> Option<&String> {
        self.by_text.get(token).and_then(|held| held.user.as_ref())
    }

    /// Whether a live token of the bot has this scope.
    pub(in crate::sandbox) fn any_has(&self, scope: &str) -> bool {
        let mut bots = self.by_text.values().filter(|held| held.user.is_none());
        bots.any(|held| held.dead.is_none() && held.scopes.contains(scope))
    }

    pub(in crate::sandbox) fn is_org_wide(&self, token: &str) -> bool {
        self.by_text.get(token).is_some_and(|held| held.org_wide)
    }

    /// Makes one token, or every one, answer `code` from now on.
    pub(in crate::sandbox) fn kill(&mut self, token: Option<&str>, code: &str) {
        for (text, held) in &mut self.by_text {
            if token.is_none_or(|token| token == text) {
                held.dead = Some(code.to_owned());
            }
        }
        // An expired token can still be refreshed; any other end also ends refreshing.
        if token.is_none() && code != "token_expired" {
            self.refresh.clear();
        }
    }

    /// The live token without expiry, which another installation of the same reach gets again.
    pub(in crate::sandbox) fn standing(&mut self, org_wide: bool) -> Option<(&String, &mut Token)> {
        self.by_text.iter_mut().find(|(_, held)| {
            let lives = held.dead.is_none() && held.expires.is_none();
            lives && held.user.is_none() && held.org_wide == org_wide
        })
    }

    /// Replaces the scopes of every token of the bot. A dead one answers with its error before its
    /// scopes count.
    pub(in crate::sandbox) fn set_scopes(&mut self, scopes: BTreeSet<String>) {
        let scopes = Arc::new(scopes);
        for held in self.by_text.values_mut().filter(|held| held.user.is_none()) {
            held.scopes = Arc::clone(&scopes);
        }
    }
}
