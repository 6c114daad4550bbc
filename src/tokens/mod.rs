//! Tokens (JWT, RFC 7519) of issuers named in the settings, such as Kubernetes or an identity
//! provider. A token is refused unless its issuer is named, it is signed with a pinned algorithm
//! and a key of that issuer, it is for this Herald, it is valid now by the database's clock, and a
//! rule says which caller holds it.
//!
//! Reading order: `config`, `rules`, `fetch`, `keys`, `crypto`.

mod crypto;
mod rule_config;

mod rules;

mod config;

mod fetch;

mod keys;

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{Algorithm, Validation, dangerous, decode, decode_header};
use serde::Deserialize;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::domain::access::caller::Caller;
use crate::domain::time::Timestamp;
use config::KeySource;
use keys::{KeySet, Missing};
use rules::TokenRule;

pub use config::Config;
pub use rule_config::RuleConfig;

/// Most bytes of a token.
const TOKEN_BYTES: usize = 8 << 10;

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenRefusal {
    /// It is not a token, or is too large.
    Malformed,
    /// No known key verifies it, its audience is another, or no rule of the settings matches.
    Unknown,
    /// It is verified, but has expired.
    Expired,
    /// It is verified, but is not valid yet.
    Early,
    /// The keys of its issuer could not be read.
    Unavailable,
}

/// All issuers. Cheap to clone.
#[derive(Clone)]
pub struct Issuers {
    all: Arc<Vec<Issuer>>,
}

struct Issuer {
    config: Config,
    source: KeySource,
    algorithms: Vec<Algorithm>,
    rules: Vec<TokenRule>,
    keys: KeySet,
}

/// The claims that every token must contain.
#[derive(Deserialize)]
struct Registered {
    iss: String,
    exp: f64,
    #[serde(default)]
    nbf: Option<f64>,
}

impl Issuers {
    /// The error begins with `issuers[…]`.
    pub fn new(configs: &[Config]) -> Result<Self, String> {
        crypto::install();
        let issuer = |(index, config): (usize, &Config)| {
            if configs[..index].iter().any(|other| other.issuer == config.issuer) {
                return Err(format!("issuers[{index}].issuer is given twice"));
            }
            let at = |sentence| format!("issuers[{index}].{sentence}");
            config.validate().map_err(at)?;
            Ok(Issuer {
                source: config.source().map_err(at)?,
                algorithms: config.pinned().map_err(at)?,
                rules: config.rules().map_err(at)?,
                keys: KeySet::new(),
                config: config.clone(),
            })
        };
        let all = configs.iter().enumerate().map(issuer).collect::<Result<_, String>>()?;
        Ok(Self { all: Arc::new(all) })
    }

    /// Whether no issuer is configured.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The caller that holds a token, and the end of its validity by the database's time.
    pub async fn caller(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<(Caller, Timestamp), TokenRefusal> {
        if token.len() > TOKEN_BYTES {
            return Err(TokenRefusal::Malformed);
        }
        let header = decode_header(token).map_err(|_| TokenRefusal::Unknown)?;
        // Only used to choose the issuer whose keys must verify it; no claim is believed before
        // that.
        let claims: Registered =
            dangerous::insecure_decode_claims(token).map_err(|_| TokenRefusal::Unknown)?;
        let found = self.all.iter().find(|issuer| issuer.config.issuer == claims.iss);
        let issuer = found.ok_or(TokenRefusal::Unknown)?;
        let refused = |why: &str| {
            tracing::debug!(issuer = issuer.config.issuer, why, "a token was refused");
            TokenRefusal::Unknown
        };
        if !issuer.algorithms.contains(&header.alg) {
            return Err(refused("its algorithm is not among those of the settings"));
        }
        let (id, algorithm) = (header.kid.as_deref(), header.alg);
        let key = issuer.keys.find(&issuer.config, &issuer.source, id, algorithm).await;
        let key = key.map_err(|missing| match missing {
            Missing::Unknown => refused("the issuer has no such key"),
            Missing::Unread => TokenRefusal::Unavailable,
        })?;
        let proved = decode::<Value>(token, &key, &issuer.validation(header.alg));
        let proved = proved.map_err(|error| refused(&error.to_string()))?;
        let until = issuer.in_time(&claims, now)?;
        let rule = issuer.rules.iter().find(|rule| rule.fits(&proved.claims));
        let rule = rule.ok_or_else(|| refused("no rule of the settings fits"))?;
        let caller = rule.caller(&proved.claims);
        let caller = caller.ok_or_else(|| refused("a claim that its rule needs is missing"))?;
        Ok((caller, until))
    }

    /// Reads the keys of every issuer repeatedly, until stopped.
    pub async fn run(self, stop: CancellationToken) {
        let mut following = JoinSet::new();
        for index in 0..self.all.len() {
            let issuers = self.clone();
            following.spawn(async move {
                if let Some(issuer) = issuers.all.get(index) {
                    issuer.keys.follow(&issuer.config, &issuer.source).await;
                }
            });
        }
        stop.cancelled().await;
    }

    /// Whether each issuer's keys can be read: the issuer, with a sentence.
    pub async fn check(&self) -> Vec<(String, Result<String, String>)> {
        let mut checked = Vec::new();
        for issuer in self.all.iter() {
            let read = fetch::keys(&issuer.config, &issuer.source).await;
            let read = read.map(|keys| format!("{} keys", keys.keys.len()));
            checked.push((issuer.config.issuer.clone(), read));
        }
        checked
    }
}

impl Issuer {
    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.set_issuer(&[&self.config.issuer]);
        validation.set_audience(&[&self.config.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // Its times are compared with the database's clock.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation
    }

    /// The end of the token's validity.
    fn in_time(&self, claims: &Registered, now: Timestamp) -> Result<Timestamp, TokenRefusal> {
        let skew = Duration::from_secs(self.config.clock_skew_seconds.into());
        let until = seconds(claims.exp).plus(skew);
        if until <= now {
            return Err(TokenRefusal::Expired);
        }
        if claims.nbf.is_some_and(|from| seconds(from).minus(skew) > now) {
            return Err(TokenRefusal::Early);
        }
        Ok(until)
    }
}

/// A NumericDate (RFC 7519, section 2), saturating.
#[expect(clippy::cast_possible_truncation, reason = "a cast from f64 saturates")]
fn seconds(date: f64) -> Timestamp {
    Timestamp((date * 1e6) as i64)
}
