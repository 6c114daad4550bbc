//! CreateApiKey, ListApiKeys, RevokeApiKey: protobuf <-> domain.

use std::collections::BTreeSet;
use std::time::Duration;

use super::call::{Inbound, Server};
use super::decode::Fields;
use super::encode::time;
use super::page::{self, List};
use super::pb;
use crate::app::api_keys::Manager;
use crate::app::records::{ApiKeyPosition, ListedApiKey};
use crate::app::{Actor, Caller, Error, Reach, Role};
use crate::domain::access::api_key::ApiKey;
use crate::domain::ids::{ApiKeyId, IdError, Principal, TenantId};
use crate::domain::limits;
use crate::domain::time::Timestamp;

impl Server {
    pub(super) async fn create_key(
        &self,
        inbound: Inbound,
        message: pb::CreateApiKeyRequest,
    ) -> Result<pb::CreateApiKeyResponse, Error> {
        let mut fields = Fields::default();
        let life = life(&mut fields, message.expires_in);
        let caller = caller(&mut fields, &message);
        let parts = caller.zip(life);
        let (manager, (caller, life)) =
            manager(inbound, fields, message.tenant_id, message.actor, parts)?;
        let (secret, key) = self.app.create_api_key(&manager, &caller, life).await?;
        let api_key = Some(api_key(key, None));
        Ok(pb::CreateApiKeyResponse { secret: secret.expose().to_owned(), api_key })
    }

    pub(super) async fn list_keys_page(
        &self,
        inbound: Inbound,
        message: pb::ListApiKeysRequest,
    ) -> Result<pb::ListApiKeysResponse, Error> {
        let mut fields = Fields::default();
        let list = List::of(&["ListApiKeys", &message.tenant_id]);
        let size = page::size(&mut fields, message.page_size, limits::API_KEYS_PAGE);
        let after = list.position(&mut fields, &message.page_token, position);
        let (manager, ()) = manager(inbound, fields, message.tenant_id, message.actor, Some(()))?;
        let page = self.app.list_api_keys(&manager, after, size).await?;
        let next_page_token = page
            .more_after
            .map(|last| list.token(&format!("{}/{}", last.created_at.0, last.id)))
            .unwrap_or_default();
        let listed = |ListedApiKey { key, last_used_at }| api_key(key, last_used_at);
        let api_keys = page.keys.into_iter().map(listed).collect();
        Ok(pb::ListApiKeysResponse { api_keys, next_page_token })
    }

    pub(super) async fn revoke_key(
        &self,
        inbound: Inbound,
        message: pb::RevokeApiKeyRequest,
    ) -> Result<pb::RevokeApiKeyResponse, Error> {
        let mut fields = Fields::default();
        let text = message.key_id;
        let id = if text.is_empty() { Err(IdError::Empty) } else { ApiKeyId::parse(&text) };
        let id = fields.take("key_id", id);
        let (manager, id) = manager(inbound, fields, message.tenant_id, message.actor, id)?;
        let key = self.app.revoke_api_key(&manager, id).await?;
        Ok(pb::RevokeApiKeyResponse { api_key: Some(api_key(key, None)) })
    }
}

/// The manager of the key: without a tenant the key belongs to none, and there must be no actor.
fn manager<T>(
    inbound: Inbound,
    mut fields: Fields,
    tenant: String,
    actor: Option<pb::Actor>,
    rest: Option<T>,
) -> Result<(Manager, T), Error> {
    let actor: Option<Actor> = fields.actor(actor);
    if !tenant.is_empty() {
        let tenant = fields.tenant(tenant);
        let (call, rest) = inbound.complete(fields, tenant, actor, rest)?;
        return Ok((Manager::OfTenant(call), rest));
    }
    if actor.is_some() {
        fields.bad("actor", "must be absent if tenant_id is absent");
    }
    fields.end()?;
    let rest = rest.ok_or_else(|| Error::invalid("request", "is incomplete"))?;
    Ok((Manager::OfAll(inbound.into_caller()), rest))
}

/// The caller that the key admits; `None`: a field is bad, and was noted.
fn caller(fields: &mut Fields, message: &pb::CreateApiKeyRequest) -> Option<Caller> {
    let principal = fields.take("principal", Principal::parse(message.principal.clone()));
    let role = role(fields, message);
    let reach = reach(fields, message);
    let (acts, administers) = (message.may_act_for_users, message.may_administer_for_users);
    if acts && matches!(role, Some(Role::User(_))) {
        fields.bad("may_act_for_users", "is not for role user");
    }
    if administers && !acts {
        fields.bad("may_administer_for_users", "needs may_act_for_users");
    }
    Some(Caller {
        principal: principal?,
        role: role?,
        reach: reach?,
        may_act_for_users: acts,
        may_administer_for_users: administers,
    })
}

fn role(fields: &mut Fields, message: &pb::CreateApiKeyRequest) -> Option<Role> {
    let role = match pb::ApiKeyRole::try_from(message.role) {
        Ok(pb::ApiKeyRole::Service) => Role::Service,
        Ok(pb::ApiKeyRole::Administrator) => Role::Administrator,
        Ok(pb::ApiKeyRole::User) => {
            if message.tenant_id.is_empty() {
                fields.bad("role", "user needs tenant_id: a person belongs to one tenant");
            }
            return fields.user("user_id", message.user_id.clone()).map(Role::User);
        }
        Ok(pb::ApiKeyRole::Unspecified) | Err(_) => {
            fields.bad("role", "must be one of SERVICE, USER, ADMINISTRATOR");
            return None;
        }
    };
    if !message.user_id.is_empty() {
        fields.bad("user_id", "is only for role user");
    }
    Some(role)
}

fn reach(fields: &mut Fields, message: &pb::CreateApiKeyRequest) -> Option<Reach> {
    let named =
        [!message.tenant_id.is_empty(), !message.tenant_ids.is_empty(), message.all_tenants];
    if named.into_iter().filter(|named| *named).count() != 1 {
        fields.bad("tenant_id", "exactly one of tenant_id, tenant_ids and all_tenants must be set");
        return None;
    }
    if message.all_tenants {
        return Some(Reach::All);
    }
    if message.tenant_ids.is_empty() {
        // If it is bad, that is noted with the tenant of the call.
        let tenant = TenantId::parse(message.tenant_id.clone()).ok()?;
        return Some(Reach::Only(BTreeSet::from([tenant])));
    }
    let mut tenants = BTreeSet::new();
    for (index, text) in message.tenant_ids.iter().enumerate() {
        let field = format!("tenant_ids[{index}]");
        tenants.extend(fields.take(&field, TenantId::parse(text.clone())));
    }
    Some(Reach::Only(tenants))
}

fn life(fields: &mut Fields, given: Option<prost_types::Duration>) -> Option<Duration> {
    let Some(given) = given else { return Some(limits::API_KEY_DEFAULT_LIFE) };
    let life = Duration::try_from(given).ok();
    let life = life.filter(|life| *life >= Duration::from_secs(1) && *life <= limits::API_KEY_LIFE);
    if life.is_none() {
        fields.bad("expires_in", "must be between 1 second and 400 days");
    }
    life
}

fn position(text: &str) -> Option<ApiKeyPosition> {
    let (created_at, id) = text.split_once('/')?;
    Some(ApiKeyPosition {
        created_at: Timestamp(created_at.parse().ok()?),
        id: ApiKeyId::parse(id).ok()?,
    })
}

fn api_key(key: ApiKey, last_used_at: Option<Timestamp>) -> pb::ApiKey {
    let caller = key.caller;
    let (role, user_id) = match caller.role {
        Role::Service => (pb::ApiKeyRole::Service, String::new()),
        Role::User(user) => (pb::ApiKeyRole::User, user.into()),
        Role::Administrator => (pb::ApiKeyRole::Administrator, String::new()),
    };
    let (tenant_ids, all_tenants) = match caller.reach {
        Reach::All => (Vec::new(), true),
        Reach::Only(tenants) => (tenants.into_iter().map(String::from).collect(), false),
    };
    pb::ApiKey {
        key_id: key.id.to_string(),
        principal: caller.principal.into(),
        role: role.into(),
        user_id,
        tenant_ids,
        all_tenants,
        may_act_for_users: caller.may_act_for_users,
        may_administer_for_users: caller.may_administer_for_users,
        created_at: Some(time(key.created_at)),
        created_by: key.created_by.into(),
        expires_at: Some(time(key.expires_at)),
        revoked_at: key.revoked_at.map(time),
        last_used_at: last_used_at.map(time),
        fingerprint: key.fingerprint,
    }
}
