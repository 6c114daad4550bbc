//! A caller, in the one form that settings, stored keys, tokens and certificates share.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::domain::ids::{Principal, TenantId, UserId};

/// The kind of caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// A platform's back end.
    Service,
    /// One platform user, who may only touch their own profile.
    User(UserId),
    /// Administers every tenant in reach.
    Administrator,
}

/// The tenants that a caller may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    All,
    Only(BTreeSet<TenantId>),
}

/// An authenticated caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Stable across key rotation; part of the idempotency key.
    pub principal: Principal,
    pub role: Role,
    pub reach: Reach,
    /// Whether this caller may name an actor.
    pub may_act_for_users: bool,
    /// Whether an actor of this caller may administer. An administrator's actor may in any case: it
    /// then has no more permissions than the caller itself.
    pub may_administer_for_users: bool,
}

impl Reach {
    /// Whether the caller may use this tenant.
    #[must_use]
    pub fn contains(&self, tenant: &TenantId) -> bool {
        match self {
            Self::All => true,
            Self::Only(tenants) => tenants.contains(tenant),
        }
    }
}

impl Caller {
    /// Whether the caller administers every tenant itself: only such a caller may access data that
    /// belongs to no tenant.
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

/// A caller as described by settings, completed with the claims of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    pub principal: String,
    pub role: RoleName,
    /// The user, for the role `user`.
    pub user_id: Option<String>,
    /// The tenants by id; a single `*` means all.
    pub tenants: Vec<String>,
    pub may_act_for_users: bool,
    pub may_administer_for_users: bool,
}

impl Described {
    /// The caller, if the description is valid. The error is a sentence that begins with the
    /// setting's name.
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
