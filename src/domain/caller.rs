//! Who calls, as settings, stored keys, tokens and certificates describe them alike.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::ids::{Principal, TenantId, UserId};

/// What a caller is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// A platform's back end.
    Service,
    /// One platform user, who may only touch their own profile.
    User(UserId),
    /// Administers every tenant in reach.
    Administrator,
}

/// Which tenants a caller reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    All,
    Only(BTreeSet<TenantId>),
}

/// An authenticated caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Stable over key rotation; part of the idempotency key.
    pub principal: Principal,
    pub role: Role,
    pub reach: Reach,
    /// Whether an actor of this caller is honoured.
    pub may_act_for_users: bool,
    /// Whether an actor of this caller may administer. An administrator's may in any case: that is
    /// no more than the caller may itself.
    pub may_administer_for_users: bool,
}

impl Reach {
    /// Whether that tenant is within.
    #[must_use]
    pub fn contains(&self, tenant: &TenantId) -> bool {
        match self {
            Self::All => true,
            Self::Only(tenants) => tenants.contains(tenant),
        }
    }
}

impl Caller {
    /// Whether they administer every tenant themselves: what belongs to no tenant is theirs.
    #[must_use]
    pub fn administers_all(&self) -> bool {
        self.role == Role::Administrator && self.reach == Reach::All
    }
}

/// A role as settings name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RoleName {
    Service,
    User,
    Administrator,
}

/// A caller in words: of the settings, with what a token says filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    pub principal: String,
    pub role: RoleName,
    /// For role user: whose.
    pub user_id: Option<String>,
    /// `*` alone: all.
    pub tenants: Vec<String>,
    pub may_act_for_users: bool,
    pub may_administer_for_users: bool,
}

impl Described {
    /// The caller, where the words make one. The error is a sentence that begins with the setting.
    pub fn caller(&self) -> Result<Caller, String> {
        let principal = Principal::parse(self.principal.clone())
            .map_err(|problem| format!("principal {problem}"))?;
        let role = self.role()?;
        if matches!(role, Role::User(_)) && self.may_act_for_users {
            return Err("may_act_for_users is not for role user".into());
        }
        if self.may_administer_for_users && !self.may_act_for_users {
            return Err("may_administer_for_users needs may_act_for_users".into());
        }
        Ok(Caller {
            principal,
            role,
            reach: self.reach()?,
            may_act_for_users: self.may_act_for_users,
            may_administer_for_users: self.may_administer_for_users,
        })
    }

    fn role(&self) -> Result<Role, String> {
        Ok(match (self.role, &self.user_id) {
            (RoleName::User, Some(id)) => Role::User(
                UserId::parse(id.clone()).map_err(|problem| format!("user_id {problem}"))?,
            ),
            (RoleName::User, None) => return Err("user_id is needed for role user".into()),
            (_, Some(_)) => return Err("user_id is only for role user".into()),
            (RoleName::Service, None) => Role::Service,
            (RoleName::Administrator, None) => Role::Administrator,
        })
    }

    fn reach(&self) -> Result<Reach, String> {
        Ok(match self.tenants.as_slice() {
            [] => return Err("tenants must name a tenant, or be [\"*\"]".into()),
            [all] if all == "*" => Reach::All,
            some => Reach::Only(
                some.iter()
                    .map(|tenant| TenantId::parse(tenant.clone()))
                    .collect::<Result<BTreeSet<_>, _>>()
                    .map_err(|problem| format!("tenants {problem}"))?,
            ),
        })
    }
}
