//! Identifies the caller: by an API key, from the settings or created at run time; by a token of an
//! issuer named in the settings; or, if neither is sent, by the certificate of the connection.
//! Settings and store contain only hashes of keys.

mod certificate;
mod config;
mod weak;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use tonic::Status;
use tonic::metadata::MetadataMap;

pub use config::{CallerConfig, RoleConfig};

use super::status::unauthenticated;
use crate::app::{Caller, Error, KeyHolder, Keys, Reach, Role};
use crate::domain::access::api_key;
use crate::domain::ids::Principal;
use crate::domain::time::Timestamp;
use crate::listen::PeerNames;
use crate::tokens::{Issuers, TokenRefusal};
use certificate::Certificates;

/// All known callers.
pub struct Callers {
    issuers: Issuers,
    by_hash: Vec<(api_key::Hash, Caller)>,
    certificates: Certificates,
    /// The insecure mode: every call is by this caller.
    everybody: Option<Caller>,
}

impl Callers {
    /// Reads the settings. The error is a sentence that names the key.
    ///
    /// `insecure` makes every caller an administrator and is refused on any address but loopback.
    pub fn new(
        configs: &[CallerConfig],
        issuers: Issuers,
        insecure: bool,
        address: SocketAddr,
    ) -> Result<Self, String> {
        if insecure && !address.ip().is_loopback() {
            return Err(format!(
                "rpc.insecure admits every caller as an administrator, so it refuses any address \
                 but loopback, and rpc.address is {address}"
            ));
        }
        for (list, is_empty) in [("callers", configs.is_empty()), ("issuers", issuers.is_empty())] {
            if insecure && !is_empty {
                return Err(format!("rpc.insecure and [[rpc.{list}]] exclude each other: set one"));
            }
        }
        let (mut by_hash, mut certificates) = (Vec::new(), Certificates::default());
        for (index, config) in configs.iter().enumerate() {
            let at = |sentence: String| format!("rpc.callers[{index}].{sentence}");
            if config.key_sha256.is_none() && config.certificate.is_none() {
                return Err(at("key_sha256 or certificate is needed".into()));
            }
            let caller = config.caller().map_err(at)?;
            if let Some(text) = &config.key_sha256 {
                let hash = key_hash(text, &config.principal).map_err(at)?;
                by_hash.push((index, hash, caller.clone()));
            }
            if let Some(name) = &config.certificate {
                certificates.add(name, caller).map_err(at)?;
            }
        }
        refuse_twice(&by_hash)?;
        let by_hash = by_hash.into_iter().map(|(_, hash, caller)| (hash, caller)).collect();
        let everybody = insecure.then(anybody).transpose()?;
        Ok(Self { issuers, by_hash, certificates, everybody })
    }

    /// The caller that sends `authorization: Bearer <key or token>`, or, without that, shows this
    /// certificate. Callers in the settings come first.
    pub(super) async fn identify(
        &self,
        metadata: &MetadataMap,
        certificate: Option<&PeerNames>,
        keys: &Keys,
    ) -> Result<Identified, Status> {
        let (text, hash) = match self.in_settings(metadata, certificate)? {
            KeyLookup::Caller(identified) => return Ok(identified),
            KeyLookup::Nobody(text, hash) => (text, hash),
        };
        if is_token(text) && !self.issuers.is_empty() {
            return self.by_token(text, keys).await;
        }
        match keys.find(&hash).await? {
            KeyHolder::Known(caller) => {
                let shown = Some(api_key::fingerprint(&hash));
                Ok(Identified { caller, lasting: Lasting::Key(hash), shown })
            }
            nobody => Err(refused(&nobody)),
        }
    }

    fn in_settings<'a>(
        &self,
        metadata: &'a MetadataMap,
        certificate: Option<&PeerNames>,
    ) -> Result<KeyLookup<'a>, Status> {
        if let Some(everybody) = &self.everybody {
            return Ok(KeyLookup::Caller(Identified::always(everybody, None)));
        }
        let Some(header) = metadata.get("authorization") else {
            return self.by_certificate(certificate).map(KeyLookup::Caller);
        };
        let Some(text) = header.to_str().ok().and_then(bearer) else {
            return Err(malformed());
        };
        let hash = api_key::hash(text);
        // Comparing hashes of random keys leaks nothing that helps to forge a key.
        let known = self.by_hash.iter().find(|(known, _)| *known == hash);
        Ok(match known {
            Some((_, caller)) => {
                KeyLookup::Caller(Identified::always(caller, Some(api_key::fingerprint(&hash))))
            }
            None => KeyLookup::Nobody(text, hash),
        })
    }

    fn by_certificate(&self, certificate: Option<&PeerNames>) -> Result<Identified, Status> {
        match certificate {
            Some(names) => {
                let caller = self.certificates.find(names).ok_or_else(|| {
                    unauthenticated("CREDENTIALS_UNKNOWN", "this certificate is not known")
                })?;
                Ok(Identified::always(caller, Some(CERTIFICATE.to_owned())))
            }
            None => Err(unauthenticated(
                "CREDENTIALS_MISSING",
                "send an API key or a token as metadata `authorization: Bearer <key>`",
            )),
        }
    }

    async fn by_token(&self, token: &str, keys: &Keys) -> Result<Identified, Status> {
        let away = |what| Error::Unavailable { what, retry_after: RETRY };
        let now = keys.now().ok_or_else(|| away("the database"))?;
        let (reason, sentence) = match self.issuers.caller(token, now).await {
            Ok((caller, until)) => {
                let shown = Some(TOKEN.to_owned());
                return Ok(Identified { caller, lasting: Lasting::Until(until), shown });
            }
            Err(TokenRefusal::Unavailable) => return Err(away("the issuer of this token").into()),
            Err(TokenRefusal::Malformed) => return Err(malformed()),
            Err(TokenRefusal::Expired) => EXPIRED_TOKEN,
            Err(TokenRefusal::Early) => {
                ("CREDENTIALS_NOT_YET_VALID", "this token is not valid yet")
            }
            Err(TokenRefusal::Unknown) => ("CREDENTIALS_UNKNOWN", "this token is not accepted"),
        };
        Err(unauthenticated(reason, sentence))
    }
}

/// How a caller was identified.
#[derive(Debug)]
pub(super) struct Identified {
    pub(super) caller: Caller,
    pub(super) lasting: Lasting,
    /// The trail's description of the credentials: the first digits of a key's hash, or their kind.
    pub(super) shown: Option<String>,
}

impl Identified {
    fn always(caller: &Caller, shown: Option<String>) -> Self {
        Self { caller: caller.clone(), lasting: Lasting::Always, shown }
    }
}

/// Each token is valid only for a while, so tokens are not distinguished.
const TOKEN: &str = "token";
/// Certificates are not distinguished either: they are renewed.
const CERTIFICATE: &str = "certificate";
const EXPIRED_TOKEN: (&str, &str) = ("CREDENTIALS_EXPIRED", "this token has expired");
/// The wait before a caller that could not be identified tries again.
const RETRY: Duration = Duration::from_secs(2);

/// Whether a text has the three parts of a token. Herald's own keys contain no dots.
fn is_token(text: &str) -> bool {
    text.bytes().filter(|byte| *byte == b'.').count() == 2
}

fn malformed() -> Status {
    unauthenticated(
        "CREDENTIALS_MALFORMED",
        "the metadata `authorization` must be the word Bearer, a space, and an API key or a token",
    )
}

/// How long credentials are valid: a stream lasts no longer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Lasting {
    /// Until the process ends.
    Always,
    /// As long as this key works.
    Key(api_key::Hash),
    /// Until this time by the database's clock.
    Until(Timestamp),
}

impl Lasting {
    /// Waits until the credentials are no longer valid; returns the reason. `None`: they always
    /// are.
    pub(super) fn end(self, keys: Keys) -> Option<impl Future<Output = Status> + Send + use<>> {
        let lasting = match self {
            Self::Always => return None,
            lasting => lasting,
        };
        Some(async move {
            match lasting {
                Self::Key(hash) => refused(&keys.ended(&hash).await),
                Self::Until(until) => {
                    keys.passed(until).await;
                    unauthenticated(EXPIRED_TOKEN.0, EXPIRED_TOKEN.1)
                }
                Self::Always => std::future::pending().await,
            }
        })
    }
}

/// The answer to the holder of a key that does not work.
fn refused(holder: &KeyHolder) -> Status {
    let (reason, sentence) = match holder {
        KeyHolder::Expired => ("CREDENTIALS_EXPIRED", "this API key has expired"),
        KeyHolder::Revoked => ("CREDENTIALS_REVOKED", "this API key was revoked"),
        KeyHolder::Unknown | KeyHolder::Known(_) => {
            ("CREDENTIALS_UNKNOWN", "this API key is not known")
        }
    };
    unauthenticated(reason, sentence)
}

/// The result of the lookup in the settings.
enum KeyLookup<'a> {
    Caller(Identified),
    /// No caller has this key; with the key's hash.
    Nobody(&'a str, api_key::Hash),
}

/// The key after the scheme, whose case does not matter (RFC 7235, section 2.1).
fn bearer(header: &str) -> Option<&str> {
    let (scheme, key) = header.trim().split_once(' ')?;
    let key = key.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !key.is_empty()).then_some(key)
}

fn anybody() -> Result<Caller, String> {
    Ok(Caller {
        principal: Principal::parse("insecure").map_err(|error| error.to_string())?,
        role: Role::Administrator,
        reach: Reach::All,
        may_act_for_users: true,
        may_administer_for_users: true,
    })
}

/// The hash of a key that is not easy to guess.
fn key_hash(text: &str, principal: &str) -> Result<api_key::Hash, String> {
    let hash = parse_hash(text).ok_or("key_sha256 must be 64 hexadecimal digits")?;
    match weak::known(&hash, principal) {
        None => Ok(hash),
        Some(weak) => Err(format!(
            "key_sha256 is {weak}, which anyone can guess: `herald keys issue` makes a key"
        )),
    }
}

/// One key is one caller: of two entries with the same hash, only the first would ever be used.
fn refuse_twice(keys: &[(usize, api_key::Hash, Caller)]) -> Result<(), String> {
    let mut seen = HashMap::new();
    for (index, hash, _) in keys {
        if let Some(first) = seen.insert(hash, index) {
            return Err(format!(
                "rpc.callers[{index}].key_sha256 is the same as rpc.callers[{first}].key_sha256: \
                 one key is for one caller, so issue another"
            ));
        }
    }
    Ok(())
}

fn parse_hash(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut hash = [0; 32];
    for (index, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: &str = "127.0.0.1:50051";
    const KEY: &str = "herald_k";

    fn hash_of(key: &str) -> String {
        api_key::hex(&api_key::hash(key))
    }

    fn config() -> CallerConfig {
        CallerConfig {
            principal: "platform".into(),
            key_sha256: Some(hash_of(KEY)),
            certificate: None,
            role: RoleConfig::Service,
            user_id: None,
            tenants: vec!["*".into()],
            may_act_for_users: true,
            may_administer_for_users: false,
        }
    }

    fn new(configs: &[CallerConfig], insecure: bool, address: &str) -> Result<Callers, String> {
        let issuers = Issuers::new(&[]).unwrap();
        Callers::new(configs, issuers, insecure, address.parse().unwrap())
    }

    fn with_key(key: &str) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        metadata.insert("authorization", format!("Bearer {key}").parse().unwrap());
        metadata
    }

    #[test]
    fn a_key_is_known_by_its_hash() {
        let callers = new(&[config()], false, LOOPBACK).unwrap();
        let with_key = |key| with_key(key);
        let (known, other) = (with_key(KEY), with_key("other"));
        let Ok(KeyLookup::Caller(known)) = callers.in_settings(&known, None) else {
            panic!("not known")
        };
        assert_eq!(known.caller.role, Role::Service);
        assert!(matches!(callers.in_settings(&other, None), Ok(KeyLookup::Nobody("other", _))));
        assert!(callers.in_settings(&with_key(""), None).is_err());
        assert!(callers.in_settings(&MetadataMap::new(), None).is_err());
    }

    #[test]
    fn a_header_of_another_shape_is_called_malformed() {
        use tonic_types::StatusExt as _;
        let callers = new(&[config()], false, LOOPBACK).unwrap();
        let reason = |header: &str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("authorization", header.parse().unwrap());
            let refused = callers.in_settings(&metadata, None).err()?;
            Some(refused.get_details_error_info().unwrap().reason)
        };
        for malformed in ["k", "Bearer", "Bearer ", "Basic herald_k", "Bearerherald_k"] {
            assert_eq!(reason(malformed).as_deref(), Some("CREDENTIALS_MALFORMED"), "{malformed}");
        }
        assert_eq!(reason("bearer  herald_k"), None);
    }

    #[test]
    fn insecure_binds_to_loopback_alone() {
        assert!(new(&[], true, LOOPBACK).is_ok());
        let open = new(&[], true, "0.0.0.0:50051").err().unwrap();
        assert!(open.contains("rpc.insecure") && open.contains("loopback"), "{open}");
        assert!(new(&[config()], true, LOOPBACK).is_err());
    }

    #[test]
    fn bad_settings_name_the_key() {
        let bad = [
            (CallerConfig { principal: "a b".into(), ..config() }, "callers[0].principal"),
            (CallerConfig { key_sha256: Some("zz".into()), ..config() }, "callers[0].key_sha256"),
            (CallerConfig { key_sha256: None, ..config() }, "callers[0].key_sha256 or certificate"),
            (CallerConfig { role: RoleConfig::User, ..config() }, "callers[0].user_id"),
            (
                CallerConfig { role: RoleConfig::User, user_id: Some("ben".into()), ..config() },
                "callers[0].may_act_for_users is not for role user",
            ),
            (CallerConfig { tenants: vec![], ..config() }, "callers[0].tenants"),
            (CallerConfig { key_sha256: Some(hash_of("")), ..config() }, "is the hash of nothing"),
            (CallerConfig { key_sha256: Some(hash_of("secret")), ..config() }, "of a common word"),
            (
                CallerConfig { key_sha256: Some(hash_of("Platform\n")), ..config() },
                "principal's own name",
            ),
            (
                CallerConfig {
                    may_act_for_users: false,
                    may_administer_for_users: true,
                    ..config()
                },
                "callers[0].may_administer_for_users needs may_act_for_users",
            ),
        ];
        for (config, key) in bad {
            let error = new(&[config], false, LOOPBACK).err().unwrap();
            assert!(error.contains(key), "{error}");
        }
    }

    #[test]
    fn one_key_is_for_one_caller() {
        let two = [config(), CallerConfig { principal: "other".into(), ..config() }];
        let error = new(&two, false, LOOPBACK).err().unwrap();
        assert!(error.contains("callers[1].key_sha256 is the same as rpc.callers[0]"), "{error}");
        let other = CallerConfig { key_sha256: Some(hash_of("herald_other")), ..config() };
        assert!(new(&[config(), other], false, LOOPBACK).is_ok());
        let named = || CallerConfig {
            key_sha256: None,
            certificate: Some("importer.example".into()),
            ..config()
        };
        assert!(new(&[named()], false, LOOPBACK).is_ok());
        let error = new(&[named(), named()], false, LOOPBACK).err().unwrap();
        assert!(error.contains("callers[1].certificate is given twice"), "{error}");
    }
}
