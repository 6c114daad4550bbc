//! The keys of one issuer: read in the background, and at once if a token names an unknown key,
//! since issuers may replace their keys at any time.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use tokio::sync::Mutex;

use super::config::{Config, KeySource};
use super::fetch;

/// The time between two readings of an issuer that answers.
const REFRESH: Duration = Duration::from_secs(300);
/// The time between two readings of a file, or of an issuer that did not answer.
const SOON: Duration = Duration::from_secs(5);
/// The least time between two readings because of tokens that name unknown keys: such tokens are
/// easily made up.
const ASKED: Duration = Duration::from_secs(2);
/// How long keys remain valid without an answer from their issuer.
const STALE: Duration = Duration::from_secs(24 * 3600);

/// A key that can verify tokens.
struct Key {
    id: Option<String>,
    /// The only algorithm that it may be used with; `None`: any of its family.
    only: Option<Algorithm>,
    proof: DecodingKey,
    /// The algorithm of its elliptic curve, if it is on one.
    curve: Option<Algorithm>,
}

#[derive(Clone, Default)]
struct Known {
    keys: Arc<Vec<Key>>,
    /// When they were last read.
    read: Option<Instant>,
}

pub(super) struct KeySet {
    known: RwLock<Known>,
    /// Held while keys are read because of a token; contains the time of the last such attempt.
    asking: Mutex<Option<Instant>>,
}

/// Why there is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// The issuer has no key of that name.
    Unknown,
    /// The issuer has not answered for too long, or never.
    Unread,
}

impl KeySet {
    pub(super) fn new() -> Self {
        Self { known: RwLock::default(), asking: Mutex::new(None) }
    }

    /// The key for a token with this header.
    pub(super) async fn find(
        &self,
        config: &Config,
        source: &KeySource,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<DecodingKey, Missing> {
        if let Some(key) = self.current().ok().and_then(|known| pick(&known, id, algorithm)) {
            return Ok(key);
        }
        self.ask(config, source).await;
        pick(&self.current()?, id, algorithm).ok_or(Missing::Unknown)
    }

    /// Reads the keys again; returns how long to wait before the next time.
    pub(super) async fn refresh(
        &self,
        config: &Config,
        source: &KeySource,
    ) -> Result<Duration, String> {
        let told = fetch::keys(config, source).await?;
        let keys = usable(&told);
        let count = keys.len();
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.read.is_none() {
            tracing::info!(issuer = config.issuer, count, "the keys of a token issuer were read");
        }
        *known = Known { keys: Arc::new(keys), read: Some(Instant::now()) };
        drop(known);
        Ok(match source {
            KeySource::File(_) => SOON,
            KeySource::Discovery(_) => REFRESH,
        })
    }

    /// Reads the keys again and again, in the background, forever.
    pub(super) async fn follow(&self, config: &Config, source: &KeySource) {
        let mut wrong = None;
        loop {
            let wait = match self.refresh(config, source).await {
                Ok(wait) => {
                    wrong = None;
                    wait
                }
                Err(sentence) => {
                    if wrong.as_ref() != Some(&sentence) {
                        let issuer = &config.issuer;
                        tracing::warn!(issuer, %sentence, "keys of an issuer were not read");
                    }
                    wrong = Some(sentence);
                    SOON
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Reads the keys because of a token, unless that was just done.
    async fn ask(&self, config: &Config, source: &KeySource) {
        let begun = Instant::now();
        let mut asked = self.asking.lock().await;
        // Another call did that while this one waited, or shortly before.
        if asked.is_some_and(|at| at > begun || at.elapsed() < ASKED) {
            return;
        }
        if let Err(sentence) = self.refresh(config, source).await {
            tracing::debug!(issuer = config.issuer, %sentence, "keys of an issuer were not read");
        }
        *asked = Some(Instant::now());
    }

    fn current(&self) -> Result<Arc<Vec<Key>>, Missing> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let fresh = known.read.is_some_and(|at| at.elapsed() < STALE);
        if fresh { Ok(Arc::clone(&known.keys)) } else { Err(Missing::Unread) }
    }
}

/// The one key that fits; without a name, only if no other key fits.
fn pick(keys: &[Key], id: Option<&str>, algorithm: Algorithm) -> Option<DecodingKey> {
    let mut fitting = keys.iter().filter(|key| {
        key.proof.family() == algorithm.family()
            && key.only.is_none_or(|only| only == algorithm)
            && key.curve.is_none_or(|curve| curve == algorithm)
            && id.is_none_or(|id| key.id.as_deref() == Some(id))
    });
    match (fitting.next(), fitting.next()) {
        (Some(key), None) => Some(key.proof.clone()),
        _ => None,
    }
}

/// The public keys for signatures among the issuer's keys.
fn usable(told: &JwkSet) -> Vec<Key> {
    told.keys.iter().filter_map(key).collect()
}

fn key(jwk: &Jwk) -> Option<Key> {
    let common = &jwk.common;
    if matches!(common.public_key_use, Some(PublicKeyUse::Encryption | PublicKeyUse::Other(_))) {
        return None;
    }
    let curve = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => None,
        AlgorithmParameters::EllipticCurve(key) => Some(match key.curve {
            EllipticCurve::P256 => Algorithm::ES256,
            EllipticCurve::P384 => Algorithm::ES384,
            _ => return None,
        }),
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            Some(Algorithm::EdDSA)
        }
        _ => return None,
    };
    let only = match common.key_algorithm {
        None => None,
        Some(algorithm) => Some(Algorithm::try_from(algorithm).ok()?),
    };
    let key = DecodingKey::from_jwk(jwk).ok()?;
    (key.family() != AlgorithmFamily::Hmac).then(|| Key {
        id: common.key_id.clone(),
        only,
        proof: key,
        curve,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(keys: &serde_json::Value) -> Vec<Key> {
        usable(&serde_json::from_value(json!({ "keys": keys })).unwrap())
    }

    #[test]
    fn a_key_is_for_its_own_algorithm_only() {
        let keys = told(&json!([
            { "kty": "RSA", "kid": "a", "alg": "RS256", "n": "AQAB", "e": "AQAB" },
            { "kty": "EC", "kid": "b", "crv": "P-256", "x": "AQAB", "y": "AQAB" },
            { "kty": "RSA", "kid": "c", "use": "enc", "n": "AQAB", "e": "AQAB" },
            { "kty": "oct", "kid": "d", "k": "AQAB" },
            { "kty": "RSA", "kid": "e", "alg": "RSA-OAEP", "n": "AQAB", "e": "AQAB" },
            { "kty": "new", "kid": "f" },
        ]));
        let ids: Vec<_> = keys.iter().map(|key| key.id.as_deref().unwrap()).collect();
        assert_eq!(ids, ["a", "b"]);
        let picked = |id, algorithm| pick(&keys, id, algorithm).is_some();
        assert!(picked(Some("a"), Algorithm::RS256) && picked(None, Algorithm::RS256));
        assert!(!picked(Some("a"), Algorithm::RS512) && !picked(Some("a"), Algorithm::ES256));
        assert!(picked(Some("b"), Algorithm::ES256) && !picked(Some("b"), Algorithm::ES384));
        assert!(!picked(Some("c"), Algorithm::RS256) && !picked(Some("d"), Algorithm::HS256));
    }

    #[test]
    fn without_a_name_only_one_may_fit() {
        let key = json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB" });
        assert!(pick(&told(&json!([key])), None, Algorithm::RS256).is_some());
        assert!(pick(&told(&json!([key, key])), None, Algorithm::RS256).is_none());
    }
}
