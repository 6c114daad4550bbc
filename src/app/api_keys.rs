//! CreateApiKey, ListApiKeys, RevokeApiKey.

use std::time::Duration;

use serde_json::json;

use super::{App, Call, Caller, Error, Reach, Role};
use crate::domain::access::api_key::{self, ApiKey};
use crate::domain::access::audit::{AuditDetail, AuditOutcome, AuditPerson, Entry};
use crate::domain::access::{self, Right};
use crate::domain::ids::{ApiKeyId, Principal, TenantId};
use crate::domain::secret::Secret;
use crate::store::{ApiKeyMade, ApiKeyPage, ApiKeyPosition, NewApiKey};

/// The administrators that manage a key.
pub enum Manager {
    /// The administrators of the call's tenant.
    OfTenant(Call),
    /// Administrators of all tenants: the key reaches several, or all.
    OfAll(Caller),
}

impl Manager {
    fn tenant(&self) -> Option<&TenantId> {
        match self {
            Self::OfTenant(call) => Some(&call.tenant),
            Self::OfAll(_) => None,
        }
    }

    fn principal(&self) -> &Principal {
        match self {
            Self::OfTenant(call) => &call.caller.principal,
            Self::OfAll(caller) => &caller.principal,
        }
    }

    fn may(&self, right: &Right) -> Result<(), Error> {
        match self {
            Self::OfTenant(call) => call.may(right).map(drop),
            Self::OfAll(caller) if caller.administers_all() => Ok(()),
            Self::OfAll(_) => Err(Error::denied(
                "ROLE_NOT_ALLOWED",
                "only an administrator of all tenants may manage keys that belong to no tenant",
            )),
        }
    }

    /// Whether the manager may create a key for this caller.
    fn may_give(&self, given: &Caller) -> Result<(), Error> {
        let Self::OfTenant(call) = self else { return Ok(()) };
        if call.caller.administers_all() && call.actor.is_none() {
            return Ok(());
        }
        let refused = |sentence| Err(Error::denied("API_KEY_EXCEEDS_CALLER", sentence));
        let own = &call.caller;
        if given.role == Role::Administrator && own.role != Role::Administrator {
            return refused("only an administrator may make a key of role administrator");
        }
        if given.may_act_for_users && !own.may_act_for_users {
            return refused("a caller that may not act for users may not create a key that may");
        }
        let administers = own.may_administer_for_users || own.role == Role::Administrator;
        if given.may_administer_for_users && !administers {
            return refused(
                "a caller that may not administer for users may not create a key that may",
            );
        }
        // Other names could belong to others: they count toward limits and appear in the trail.
        if !is_of(&call.tenant, &given.principal) {
            return refused("principal must be the tenant's id, a colon and a name without colons");
        }
        Ok(())
    }

    fn entry(&self, action: &str, detail: AuditDetail) -> Entry {
        match self {
            Self::OfTenant(call) => Entry { detail, ..call.entry(action) },
            Self::OfAll(caller) => Entry {
                tenant: None,
                principal: Some(caller.principal.clone()),
                actor: None,
                action: action.to_owned(),
                outcome: AuditOutcome::Done,
                reason: String::new(),
                times: 1,
                subject: None,
                detail,
            },
        }
    }
}

impl App {
    /// Creates a key for `caller`; the key's text is returned and not stored.
    pub async fn create_api_key(
        &self,
        manager: &Manager,
        caller: &Caller,
        life: Duration,
    ) -> Result<(Secret, ApiKey), Error> {
        manager.may(&access::CREATE_API_KEY)?;
        manager.may_give(caller)?;
        let secret = api_key::secret(&rand::random());
        let hash = api_key::hash(secret.expose());
        let detail = AuditDetail {
            object: format!("key:{}", api_key::fingerprint(&hash)),
            before: None,
            after: Some(asked(caller, life)),
        };
        let subject = match &caller.role {
            Role::User(user) => Some(AuditPerson { user: user.clone(), detail: String::new() }),
            Role::Service | Role::Administrator => None,
        };
        let entry = Entry { subject, ..manager.entry("CreateApiKey", detail) };
        let created_by = manager.principal();
        let new = NewApiKey { tenant: manager.tenant(), hash, caller, created_by, life };
        match self.store.noting(&entry).await?.api_keys().create(&new).await? {
            ApiKeyMade::Made(key) => {
                self.keys.changed();
                Ok((secret, key))
            }
            ApiKeyMade::Occupied(keys) => Err(Error::KeyLimit(keys)),
            ApiKeyMade::Full => Err(Error::KeyLimit(Vec::new())),
        }
    }

    /// Up to `limit` keys after a position.
    pub async fn list_api_keys(
        &self,
        manager: &Manager,
        after: Option<ApiKeyPosition>,
        limit: u32,
    ) -> Result<ApiKeyPage, Error> {
        manager.may(&access::LIST_API_KEYS)?;
        Ok(self.store.api_keys().list(manager.tenant(), after, limit).await?)
    }

    /// Revokes a key.
    pub async fn revoke_api_key(&self, manager: &Manager, id: ApiKeyId) -> Result<ApiKey, Error> {
        manager.may(&access::REVOKE_API_KEY)?;
        let detail = AuditDetail { object: format!("api_key:{id}"), ..AuditDetail::default() };
        let entry = manager.entry("RevokeApiKey", detail);
        let store = self.store.noting(&entry).await?;
        let key = store.api_keys().revoke(manager.tenant(), id).await?;
        self.keys.changed();
        key.ok_or(Error::NotFound("API key"))
    }
}

/// Whether this tenant's administrators may give the name; no other tenant's administrators may.
fn is_of(tenant: &TenantId, principal: &Principal) -> bool {
    let rest = principal.as_str().strip_prefix(tenant.as_str());
    let name = rest.and_then(|rest| rest.strip_prefix(':'));
    name.is_some_and(|name| !name.is_empty() && !name.contains(':'))
}

/// The audit trail's description of a new key, without the person.
fn asked(caller: &Caller, life: Duration) -> serde_json::Value {
    let role = match caller.role {
        Role::Service => "service",
        Role::User(_) => "user",
        Role::Administrator => "administrator",
    };
    let tenants: Vec<&str> = match &caller.reach {
        Reach::All => vec!["*"],
        Reach::Only(tenants) => tenants.iter().map(TenantId::as_str).collect(),
    };
    json!({
        "principal": caller.principal.as_str(),
        "role": role,
        "tenants": tenants,
        "may_act_for_users": caller.may_act_for_users,
        "may_administer_for_users": caller.may_administer_for_users,
        "seconds": life.as_secs(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_tenant_s_at_most() {
        let of = |tenant: &str, name: &str| {
            is_of(&TenantId::parse(tenant).unwrap(), &Principal::parse(name).unwrap())
        };
        assert!(of("acme", "acme:ci") && of("a:b", "a:b:c"));
        for (tenant, name) in [
            ("acme", "platform"),
            ("acme", "acme"),
            ("acme", "acme:"),
            ("acme", "acme2:ci"),
            ("a", "a:b:c"),
            ("acme", "globex:ci"),
        ] {
            assert!(!of(tenant, name), "{tenant} {name}");
        }
    }
}
