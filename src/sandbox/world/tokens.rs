//! Tokens and their states.
//!
//! An installation is an app in one place: a workspace, or a whole organization. Its key is
//! [`place`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::error::Error;

/// The key of an installation: the app, and the workspace or the organization.
pub(in crate::sandbox) fn place(app: &str, at: &str) -> String {
    format!("{app}/{at}")
}

/// One token issued by the sandbox.
pub(in crate::sandbox) struct Token {
    pub(in crate::sandbox) scopes: Arc<BTreeSet<String>>,
    /// The error code that it answers with, once it is dead.
    pub(in crate::sandbox) dead: Option<String>,
    /// The expiry time in microseconds; only with rotation.
    pub(in crate::sandbox) expires: Option<i64>,
    /// A number in the order of issue.
    pub(in crate::sandbox) order: u64,
    pub(in crate::sandbox) app: String,
    /// The workspace; `None` if it is for all workspaces of the organization.
    pub(in crate::sandbox) team: Option<String>,
    /// Its installation.
    pub(in crate::sandbox) place: String,
    /// Whether `oauth.v2.exchange` replaced it.
    pub(in crate::sandbox) exchanged: bool,
    /// The person, if it is a person's token from Sign in with Slack.
    pub(in crate::sandbox) user: Option<String>,
}

impl Token {
    /// Whether it is a live token of a bot.
    fn is_live_bot(&self) -> bool {
        self.user.is_none() && self.dead.is_none()
    }
}

/// A refresh token. It works once, and for a short time after its first use.
pub(in crate::sandbox) struct RefreshToken {
    pub(in crate::sandbox) scopes: BTreeSet<String>,
    pub(in crate::sandbox) first_used: Option<i64>,
    pub(in crate::sandbox) app: String,
    pub(in crate::sandbox) team: Option<String>,
    pub(in crate::sandbox) place: String,
    /// The access token that came with it.
    pub(in crate::sandbox) access: String,
    /// The refresh token that its use gave.
    pub(in crate::sandbox) next: Option<String>,
}

/// All tokens, by their text.
#[derive(Default)]
pub(in crate::sandbox) struct Tokens {
    pub(in crate::sandbox) by_text: HashMap<String, Token>,
    /// The tokens of each installation.
    by_place: BTreeMap<String, Vec<String>>,
    pub(in crate::sandbox) refresh: HashMap<String, RefreshToken>,
    /// App configuration tokens, for `apps.manifest.*`.
    configuration: BTreeSet<String>,
}

impl Tokens {
    pub(in crate::sandbox) fn insert(&mut self, text: &str, token: Token) {
        self.by_place.entry(token.place.clone()).or_default().push(text.to_owned());
        self.by_text.insert(text.to_owned(), token);
    }

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

    /// The person of the token; `None` for a bot's.
    pub(in crate::sandbox) fn user_of(&self, token: &str) -> Option<&String> {
        self.by_text.get(token).and_then(|held| held.user.as_ref())
    }

    fn at(&self, place: &str) -> impl Iterator<Item = &Token> {
        let texts = self.by_place.get(place).into_iter().flatten();
        texts.filter_map(move |text| self.by_text.get(text))
    }

    /// Whether a live token of the bot of this installation has the scope.
    pub(in crate::sandbox) fn any_has(&self, place: &str, scope: &str) -> bool {
        self.at(place).any(|held| held.is_live_bot() && held.scopes.contains(scope))
    }

    /// Whether there is a live token of the bot of this installation.
    pub(in crate::sandbox) fn is_installed(&self, place: &str) -> bool {
        self.at(place).any(Token::is_live_bot)
    }

    /// The app and the workspace of each installation that has a live token. `None` stands for the
    /// whole organization.
    pub(in crate::sandbox) fn installed(&self) -> Vec<Installation> {
        let live =
            self.by_place.keys().filter_map(|place| self.at(place).find(|t| t.is_live_bot()));
        live.map(|held| Installation { app: held.app.clone(), team: held.team.clone() }).collect()
    }

    pub(in crate::sandbox) fn is_org_wide(&self, token: &str) -> bool {
        self.by_text.get(token).is_some_and(|held| held.team.is_none())
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

    /// Makes every token of an installation answer `code` from now on, and ends refreshing.
    pub(in crate::sandbox) fn kill_at(&mut self, place: &str, code: &str) {
        for text in self.by_place.get(place).into_iter().flatten() {
            if let Some(held) = self.by_text.get_mut(text) {
                held.dead = Some(code.to_owned());
            }
        }
        self.refresh.retain(|_, refresh| refresh.place != place);
    }

    /// The live token without expiry of an installation, which another installation gets again.
    pub(in crate::sandbox) fn standing(&mut self, place: &str) -> Option<(&String, &mut Token)> {
        let lives = |held: &Token| held.is_live_bot() && held.expires.is_none();
        let texts = self.by_place.get(place)?;
        let by_text = &self.by_text;
        let text = texts.iter().find(|text| by_text.get(*text).is_some_and(lives))?;
        self.by_text.get_mut(text).map(|held| (text, held))
    }

    /// Leaves at most `most` rotating tokens of an installation alive. An unused refresh token dies
    /// with its access token.
    pub(in crate::sandbox) fn limit(&mut self, place: &str, most: usize, now: i64) {
        let live = |t: &Token| t.is_live_bot() && t.expires.is_some_and(|expires| expires > now);
        let mut alive = Vec::new();
        for text in self.by_place.get(place).into_iter().flatten() {
            if let Some(held) = self.by_text.get(text)
                && live(held)
            {
                alive.push((held.order, text.clone()));
            }
        }
        alive.sort_unstable();
        alive.truncate(alive.len().saturating_sub(most));
        for (_, text) in alive {
            if let Some(held) = self.by_text.get_mut(&text) {
                held.dead = Some("token_revoked".into());
            }
            self.refresh.retain(|_, kept| kept.access != text || kept.first_used.is_some());
        }
    }

    /// The refresh tokens of an installation that no one has used yet.
    pub(in crate::sandbox) fn unused(&self, place: &str) -> usize {
        let all = self.refresh.values();
        all.filter(|kept| kept.place == place && kept.first_used.is_none()).count()
    }

    /// Replaces the scopes of every token of a bot. A dead one answers with its error before its
    /// scopes count.
    pub(in crate::sandbox) fn set_scopes(&mut self, scopes: BTreeSet<String>) {
        let scopes = Arc::new(scopes);
        for held in self.by_text.values_mut().filter(|held| held.user.is_none()) {
            held.scopes = Arc::clone(&scopes);
        }
    }
}

/// An app in a workspace, or in the whole organization.
pub(in crate::sandbox) struct Installation {
    pub(in crate::sandbox) app: String,
    pub(in crate::sandbox) team: Option<String>,
}
