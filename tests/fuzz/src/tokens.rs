//! Tokens (JWT): `HOW AT CHANGE HEADER 0 CLAIMS 0 SIGNATURE`, the first three being one byte each.
//!
//! There is one issuer with one key. A token admits its caller only if that key signed it, with the
//! algorithm and under the name that the issuer published, and if its claims, by an independent
//! reading, are the ones that the settings ask for. A signed token in which any byte was changed is
//! refused.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use herald::app::{Caller, Reach};
use herald::domain::time::Timestamp;
use herald::rpc::{IssuerConfig, RoleConfig, RuleConfig};
use herald::tokens::{Issuers, TokenRefusal};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::front::RUNTIME;
use super::parts::{choice, parts, text};

const ISSUER: &str = "the issuer";
const AUDIENCE: &str = "herald";
const SUBJECT: &str = "importer";
/// Seconds, as in a claim.
const NOW: f64 = 1_700_000_000.0;
const SKEW: f64 = 30.0;
const TIME: Timestamp = Timestamp(1_700_000_000_000_000);
const HEADER: &[u8] = br#"{"alg":"EdDSA","kid":"one","typ":"JWT"}"#;
const GOOD: &[u8] =
    br#"{"iss":"the issuer","aud":"herald","sub":"importer","exp":1700000300,"tenants":["acme"]}"#;

/// From a constant seed, so that an input is always the same token.
static KEY: LazyLock<Ed25519KeyPair> =
    LazyLock::new(|| Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap());
static ISSUERS: LazyLock<(Issuers, TempDir)> = LazyLock::new(start);

fn start() -> (Issuers, TempDir) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("keys.json");
    let x = BASE64.encode(KEY.public_key().as_ref());
    let key = json!({ "kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": "one", "x": x });
    std::fs::write(&file, json!({ "keys": [key] }).to_string()).unwrap();
    let rule = RuleConfig {
        subject: Some(SUBJECT.into()),
        subject_prefix: None,
        claims: std::collections::BTreeMap::default(),
        principal: "jwt:{sub}".into(),
        role: RoleConfig::Service,
        user_id: None,
        tenants: vec!["{tenants}".into()],
        may_act_for_users: false,
        may_administer_for_users: false,
    };
    let config = IssuerConfig {
        issuer: ISSUER.into(),
        audience: AUDIENCE.into(),
        algorithms: vec!["EdDSA".into(), "ES256".into(), "RS256".into()],
        discovery_url: None,
        jwks_file: Some(file),
        ca_file: None,
        token_file: None,
        clock_skew_seconds: 30,
        callers: vec![rule],
    };
    (Issuers::new(&[config]).unwrap(), folder)
}

pub(crate) fn run(input: &[u8]) {
    let (how, input) = choice(input);
    let (at, input) = choice(input);
    let (change, input) = choice(input);
    let [header, claims, signature] = parts(input);
    match how % 5 {
        0 => refused(&text(header)),
        1 => refused(&format!("{}.{}", message(header, claims), BASE64.encode(signature))),
        2 => {
            if let Some(caller) = admitted(&signed(HEADER, claims)) {
                allowed(&caller, claims);
            }
        }
        3 => {
            if admitted(&signed(header, GOOD)).is_some() {
                assert!(right(header), "{}", text(header));
            }
        }
        _ => changed(at, u8::try_from(change).unwrap_or(1).max(1)),
    }
}

/// Changes one byte of a good token, which must then be refused.
fn changed(at: usize, change: u8) {
    let token = signed(HEADER, GOOD);
    assert!(admitted(&token).is_some(), "the good token is refused");
    let mut bytes = token.into_bytes();
    let at = at % bytes.len();
    bytes[at] ^= change;
    refused(&text(&bytes));
}

/// The caller of a token, if it is accepted.
fn admitted(token: &str) -> Option<Caller> {
    match RUNTIME.block_on(ISSUERS.0.caller(token, TIME)) {
        Ok((caller, until)) => {
            assert!(until > TIME, "{token}");
            Some(caller)
        }
        Err(refusal) => {
            assert_ne!(refusal, TokenRefusal::Unavailable, "{token}");
            None
        }
    }
}

fn refused(token: &str) {
    assert!(admitted(token).is_none(), "{token}");
}

/// Whether the header names the algorithm and the key, or no key.
fn right(header: &[u8]) -> bool {
    let Ok(header) = serde_json::from_slice::<Value>(header) else { return false };
    header["alg"] == "EdDSA" && (header["kid"].is_null() || header["kid"] == "one")
}

/// Asserts that the claims admit this caller.
fn allowed(caller: &Caller, claims: &[u8]) {
    let shown = text(claims);
    let claims: Value = serde_json::from_slice(claims).expect("accepted claims are JSON");
    assert!(claims["iss"] == ISSUER && claims["sub"] == SUBJECT, "{shown}");
    let is_ours = |one: &Value| *one == AUDIENCE;
    let audience = &claims["aud"];
    let meant = is_ours(audience) || audience.as_array().is_some_and(|all| all.iter().any(is_ours));
    assert!(meant, "{shown}");
    let exp = claims["exp"].as_f64().expect("a time of expiry");
    assert!(exp + SKEW >= NOW, "{shown}");
    assert!(claims["nbf"].as_f64().is_none_or(|nbf| nbf - SKEW <= NOW), "{shown}");
    assert_eq!(caller.principal.as_str(), "jwt:importer");
    let Reach::Only(tenants) = &caller.reach else { panic!("for all tenants: {shown}") };
    let named = claims["tenants"].to_string();
    assert!(tenants.iter().all(|tenant| named.contains(tenant.as_str())), "{shown}");
}

fn signed(header: &[u8], claims: &[u8]) -> String {
    let message = message(header, claims);
    let signature = KEY.sign(message.as_bytes());
    format!("{message}.{}", BASE64.encode(signature.as_ref()))
}

fn message(header: &[u8], claims: &[u8]) -> String {
    format!("{}.{}", BASE64.encode(header), BASE64.encode(claims))
}
