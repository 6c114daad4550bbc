//! Issuers of tokens in the settings (`[[rpc.issuers]]`), and the callers that their tokens admit.

use std::path::PathBuf;
use std::str::FromStr as _;

use jsonwebtoken::Algorithm;
use serde::Deserialize;
use url::Url;

use super::crypto;
use super::rule_config::RuleConfig;
use super::rules::TokenRule;
use crate::domain::loopback::is_loopback;

/// The longest difference of clocks that may be allowed.
const MOST_SKEW: u32 = 300;

/// An issuer of tokens (`[[rpc.issuers]]`).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The `iss` of its tokens, compared exactly. Needed.
    pub issuer: String,
    /// The `aud` that a token must have; it may have others too. Use a name of this Herald that no
    /// other service uses. Needed.
    pub audience: String,
    /// The signature algorithms accepted: some of `RS256`, `RS384`, `RS512`, `PS256`, `PS384`,
    /// `PS512`, `ES256`, `ES384`, `EdDSA`. Default: `RS256` and `ES256`.
    #[serde(default = "algorithms")]
    pub algorithms: Vec<String>,
    /// The address of the issuer's OpenID Connect discovery document, https except on this machine.
    /// Default: `issuer` and `/.well-known/openid-configuration`.
    #[serde(default)]
    pub discovery_url: Option<String>,
    /// A file with the issuer's keys (a JWK Set), read again when it changes, instead of
    /// discovery. Default: none.
    #[serde(default)]
    pub jwks_file: Option<PathBuf>,
    /// The authority, in PEM, that signed the certificates of the servers of the discovery document
    /// and of the keys: no other authority is trusted then. Default: none, the system's authorities
    /// are trusted.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// A file with the token that these servers require, such as Kubernetes' API server; read again
    /// for each request. Default: none.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// Seconds by which the issuer's clock and the database's may differ, at most 300. Default
    /// `30`.
    #[serde(default = "skew")]
    pub clock_skew_seconds: u32,
    /// The callers that its tokens admit: `[[rpc.issuers.callers]]` entries, below; the first match
    /// counts. Needed.
    pub callers: Vec<RuleConfig>,
}

/// The source of an issuer's keys.
#[derive(Debug, Clone)]
pub(super) enum KeySource {
    Discovery(Url),
    File(PathBuf),
}

fn algorithms() -> Vec<String> {
    ["RS256", "ES256"].map(str::to_owned).into()
}

fn skew() -> u32 {
    30
}

impl Config {
    /// The source of its keys. The error begins with the setting.
    pub(super) fn source(&self) -> Result<KeySource, String> {
        if let Some(file) = &self.jwks_file {
            let given = [
                ("discovery_url", self.discovery_url.is_some()),
                ("ca_file", self.ca_file.is_some()),
                ("token_file", self.token_file.is_some()),
            ];
            if let Some((name, _)) = given.into_iter().find(|(_, given)| *given) {
                return Err(format!("{name} and jwks_file exclude each other: set one"));
            }
            return Ok(KeySource::File(file.clone()));
        }
        let (name, url) = match &self.discovery_url {
            Some(text) => {
                let url = Url::parse(text).map_err(|_| "discovery_url must be a URL".to_owned())?;
                ("discovery_url", url)
            }
            None => ("issuer", self.well_known()?),
        };
        if !may_be_asked(&url) {
            return Err(format!("{name} must be https, except on this machine"));
        }
        Ok(KeySource::Discovery(url))
    }

    fn well_known(&self) -> Result<Url, String> {
        let text =
            format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        Url::parse(&text).map_err(|_| {
            "issuer is not a URL, so discovery_url or jwks_file must say where its keys are"
                .to_owned()
        })
    }

    pub(super) fn pinned(&self) -> Result<Vec<Algorithm>, String> {
        let parse = |name: &String| {
            let known = Algorithm::from_str(name).ok().filter(|one| crypto::knows(*one));
            known.ok_or_else(|| {
                "algorithms must be some of RS256, RS384, RS512, PS256, PS384, PS512, ES256, \
                 ES384, EdDSA"
                    .to_owned()
            })
        };
        if self.algorithms.is_empty() {
            return Err("algorithms must name one".into());
        }
        self.algorithms.iter().map(parse).collect()
    }

    pub(super) fn rules(&self) -> Result<Vec<TokenRule>, String> {
        if self.callers.is_empty() {
            return Err("callers is empty, so its tokens would admit no caller".into());
        }
        let rule = |(index, config): (usize, &RuleConfig)| {
            TokenRule::new(config).map_err(|sentence| format!("callers[{index}].{sentence}"))
        };
        self.callers.iter().enumerate().map(rule).collect()
    }

    /// Refuses contradictions and unusable values; the sentence begins with the setting's name.
    pub fn validate(&self) -> Result<(), String> {
        for (name, text) in [("issuer", &self.issuer), ("audience", &self.audience)] {
            if text.trim().is_empty() {
                return Err(format!("{name} must not be empty"));
            }
        }
        if self.clock_skew_seconds > MOST_SKEW {
            return Err(format!("clock_skew_seconds must be at most {MOST_SKEW}"));
        }
        self.source()?;
        self.pinned()?;
        self.rules().map(drop)
    }
}

/// Keys travel protected: an attacker who could change them in transit could sign for any caller.
pub(super) fn may_be_asked(url: &Url) -> bool {
    url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::access::caller::RoleName;

    fn config() -> Config {
        let rule = RuleConfig {
            subject: Some("s".into()),
            subject_prefix: None,
            claims: std::collections::BTreeMap::default(),
            principal: "p".into(),
            role: RoleName::Service,
            user_id: None,
            tenants: vec!["acme".into()],
            may_act_for_users: false,
            may_administer_for_users: false,
        };
        Config {
            issuer: "https://issuer.example".into(),
            audience: "herald".into(),
            algorithms: algorithms(),
            discovery_url: None,
            jwks_file: None,
            ca_file: None,
            token_file: None,
            clock_skew_seconds: skew(),
            callers: vec![rule],
        }
    }

    #[test]
    fn keys_are_found_where_openid_connect_has_them() {
        let found = |config: &Config| match config.source() {
            Ok(KeySource::Discovery(url)) => url.to_string(),
            other => panic!("{other:?}"),
        };
        let well_known = "https://issuer.example/.well-known/openid-configuration";
        assert_eq!(found(&config()), well_known);
        let slash = Config { issuer: "https://issuer.example/".into(), ..config() };
        assert_eq!(found(&slash), well_known);
        config().validate().unwrap();
    }

    #[test]
    fn what_cannot_be_trusted_is_refused() {
        let http = "http://issuer.example".to_owned();
        let cases = [
            (Config { issuer: http.clone(), ..config() }, "issuer must be https"),
            (Config { issuer: "cluster".into(), ..config() }, "issuer is not a URL"),
            (Config { discovery_url: Some(http), ..config() }, "discovery_url must be https"),
            (Config { audience: " ".into(), ..config() }, "audience"),
            (Config { algorithms: vec!["HS256".into()], ..config() }, "algorithms must be some of"),
            (Config { algorithms: vec!["none".into()], ..config() }, "algorithms must be some of"),
            (Config { algorithms: Vec::new(), ..config() }, "algorithms must name one"),
            (Config { clock_skew_seconds: 301, ..config() }, "clock_skew_seconds"),
            (Config { callers: Vec::new(), ..config() }, "callers is empty"),
            (
                Config {
                    jwks_file: Some("keys.json".into()),
                    token_file: Some("token".into()),
                    ..config()
                },
                "token_file and jwks_file exclude each other",
            ),
        ];
        for (config, sentence) in cases {
            let refused = config.validate().unwrap_err();
            assert!(refused.contains(sentence), "{refused}");
        }
    }
}
