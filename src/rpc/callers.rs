//! Callers by API key. Settings hold only hashes; a key is 256 bits of chance, so SHA-256 is
//! enough (a slow hash protects guessable passwords, and these are not).

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde::Deserialize;
use sha2::{Digest, Sha256};
use tonic::Status;
use tonic::metadata::MetadataMap;

use super::status::unauthenticated;
use crate::app::{Caller, Reach, Role};
use crate::domain::ids::{Principal, TenantId, UserId};

/// One API key in the settings (`[[callers]]`). Several keys may name one `principal`, so that
/// keys rotate without touching idempotency.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallerConfig {
    /// Who this is; part of the idempotency key, shown in logs.
    pub principal: String,
    /// SHA-256 of the key, as 64 hexadecimal digits; `herald keys issue` prints one.
    pub key_sha256: String,
    /// `service`, `user` or `administrator`.
    pub role: RoleConfig,
    /// For role `user`: whose key it is.
    #[serde(default)]
    pub user_id: Option<String>,
    /// The tenants it reaches; `["*"]` for all.
    pub tenants: Vec<String>,
    /// Whether an actor that it names is honoured.
    #[serde(default)]
    pub may_act_for_users: bool,
}

/// A role in the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RoleConfig {
    Service,
    User,
    Administrator,
}

/// All known callers.
#[derive(Debug)]
pub struct Callers {
    by_hash: Vec<([u8; 32], Caller)>,
    /// The insecure mode: everybody is this caller.
    everybody: Option<Caller>,
}

impl Callers {
    /// Reads the settings. The error is a sentence that names the key.
    ///
    /// `insecure` makes everybody an administrator and is refused on any address but loopback.
    pub fn new(
        configs: &[CallerConfig],
        insecure: bool,
        address: SocketAddr,
    ) -> Result<Self, String> {
        if insecure && !address.ip().is_loopback() {
            return Err(format!(
                "rpc.insecure lets everybody in as an administrator, so it refuses any address but \
                 loopback, and rpc.address is {address}"
            ));
        }
        if insecure && !configs.is_empty() {
            return Err("rpc.insecure and [[rpc.callers]] exclude each other: set one".into());
        }
        let by_hash = configs.iter().enumerate().map(parse).collect::<Result<_, _>>()?;
        let everybody = insecure.then(anybody).transpose()?;
        Ok(Self { by_hash, everybody })
    }

    /// Who sends `authorization: Bearer <key>`.
    pub(super) fn identify(&self, metadata: &MetadataMap) -> Result<Caller, Status> {
        if let Some(everybody) = &self.everybody {
            return Ok(everybody.clone());
        }
        let Some(header) = metadata.get("authorization") else {
            return Err(unauthenticated(
                "CREDENTIALS_MISSING",
                "send the API key as metadata `authorization: Bearer <key>`",
            ));
        };
        let key = header.to_str().ok().and_then(|text| text.strip_prefix("Bearer "));
        let hash: [u8; 32] = Sha256::digest(key.unwrap_or_default().trim().as_bytes()).into();
        // Comparing hashes of random keys leaks nothing that helps to make another key.
        self.by_hash
            .iter()
            .find(|(known, _)| *known == hash)
            .map(|(_, caller)| caller.clone())
            .ok_or_else(|| unauthenticated("CREDENTIALS_UNKNOWN", "this API key is not known"))
    }
}

fn anybody() -> Result<Caller, String> {
    Ok(Caller {
        principal: Principal::parse("insecure").map_err(|error| error.to_string())?,
        role: Role::Administrator,
        reach: Reach::All,
        may_act_for_users: true,
    })
}

fn parse((index, config): (usize, &CallerConfig)) -> Result<([u8; 32], Caller), String> {
    let at = |name: &str| format!("rpc.callers[{index}].{name}");
    let principal = Principal::parse(config.principal.clone())
        .map_err(|problem| format!("{} {problem}", at("principal")))?;
    let hash = parse_hash(&config.key_sha256)
        .ok_or_else(|| format!("{} must be 64 hexadecimal digits", at("key_sha256")))?;
    let role = match (config.role, &config.user_id) {
        (RoleConfig::User, Some(id)) => Role::User(
            UserId::parse(id.clone()).map_err(|problem| format!("{} {problem}", at("user_id")))?,
        ),
        (RoleConfig::User, None) => {
            return Err(format!("{} is needed for role user", at("user_id")));
        }
        (_, Some(_)) => return Err(format!("{} is for role user alone", at("user_id"))),
        (RoleConfig::Service, None) => Role::Service,
        (RoleConfig::Administrator, None) => Role::Administrator,
    };
    if matches!(role, Role::User(_)) && config.may_act_for_users {
        return Err(format!("{} is not for role user", at("may_act_for_users")));
    }
    let reach = match config.tenants.as_slice() {
        [] => return Err(format!("{} must name a tenant, or be [\"*\"]", at("tenants"))),
        [all] if all == "*" => Reach::All,
        some => Reach::Only(
            some.iter()
                .map(|tenant| TenantId::parse(tenant.clone()))
                .collect::<Result<BTreeSet<_>, _>>()
                .map_err(|problem| format!("{} {problem}", at("tenants")))?,
        ),
    };
    let may_act_for_users = config.may_act_for_users;
    Ok((hash, Caller { principal, role, reach, may_act_for_users }))
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

    fn config() -> CallerConfig {
        CallerConfig {
            principal: "platform".into(),
            // SHA-256 of "k".
            key_sha256: "8254c329a92850f6d539dd376f4816ee2764517da5e0235514af433164480d7a".into(),
            role: RoleConfig::Service,
            user_id: None,
            tenants: vec!["*".into()],
            may_act_for_users: true,
        }
    }

    fn with_key(key: &str) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        metadata.insert("authorization", format!("Bearer {key}").parse().unwrap());
        metadata
    }

    #[test]
    fn a_key_is_known_by_its_hash() {
        let callers = Callers::new(&[config()], false, LOOPBACK.parse().unwrap()).unwrap();
        assert_eq!(callers.identify(&with_key("k")).unwrap().role, Role::Service);
        assert!(callers.identify(&with_key("other")).is_err());
        assert!(callers.identify(&with_key("")).is_err());
        assert!(callers.identify(&MetadataMap::new()).is_err());
    }

    #[test]
    fn insecure_binds_to_loopback_alone() {
        assert!(Callers::new(&[], true, LOOPBACK.parse().unwrap()).is_ok());
        let open = Callers::new(&[], true, "0.0.0.0:50051".parse().unwrap()).unwrap_err();
        assert!(open.contains("rpc.insecure") && open.contains("loopback"), "{open}");
        assert!(Callers::new(&[config()], true, LOOPBACK.parse().unwrap()).is_err());
    }

    #[test]
    fn bad_settings_name_the_key() {
        let bad = [
            (CallerConfig { principal: "a b".into(), ..config() }, "callers[0].principal"),
            (CallerConfig { key_sha256: "zz".into(), ..config() }, "callers[0].key_sha256"),
            (CallerConfig { role: RoleConfig::User, ..config() }, "callers[0].user_id"),
            (CallerConfig { tenants: vec![], ..config() }, "callers[0].tenants"),
        ];
        for (config, key) in bad {
            let error = Callers::new(&[config], false, LOOPBACK.parse().unwrap()).unwrap_err();
            assert!(error.contains(key), "{error}");
        }
    }
}
