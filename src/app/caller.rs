//! Who calls, and what they may do. Permission is decided from values alone, before anything is
//! looked up, so that a refusal says nothing about what exists (design.md section 5).

use std::collections::BTreeSet;

use super::Error;
use crate::domain::ids::{Principal, TenantId, UserId};

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
    /// Whether an [`Actor`] of this caller is honoured.
    pub may_act_for_users: bool,
}

/// The platform user on whose behalf a call is made, and what the platform allows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    pub user_id: UserId,
    pub edit_own_profile: bool,
    pub administer: bool,
}

/// Who acts, once caller and actor are weighed together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acting {
    Service,
    User { id: UserId, edit_own_profile: bool },
    Administrator,
}

impl Caller {
    /// Checks the tenant and the actor.
    pub fn acting(&self, tenant: &TenantId, actor: Option<&Actor>) -> Result<Acting, Error> {
        let reached = match &self.reach {
            Reach::All => true,
            Reach::Only(tenants) => tenants.contains(tenant),
        };
        if !reached {
            return Err(Error::denied("TENANT_NOT_ALLOWED", "this caller may not use this tenant"));
        }
        let Some(actor) = actor else {
            return Ok(match &self.role {
                Role::Service => Acting::Service,
                Role::User(id) => Acting::User { id: id.clone(), edit_own_profile: true },
                Role::Administrator => Acting::Administrator,
            });
        };
        if !self.may_act_for_users {
            return Err(Error::denied(
                "ACTOR_NOT_ALLOWED",
                "this caller is not marked may_act_for_users, so it may not name an actor",
            ));
        }
        Ok(if actor.administer {
            Acting::Administrator
        } else {
            Acting::User { id: actor.user_id.clone(), edit_own_profile: actor.edit_own_profile }
        })
    }
}

impl Acting {
    /// What concerns a whole tenant at run time: lists, the feed, canceling, forgetting a person.
    /// The platform itself or an administrator; not a user on whose behalf it calls.
    pub fn may_operate(&self) -> Result<(), Error> {
        match self {
            Self::Service | Self::Administrator => Ok(()),
            Self::User { .. } => Err(Error::denied(
                "ROLE_NOT_ALLOWED",
                "only a service on its own behalf or an administrator may do this",
            )),
        }
    }

    /// Reading about one person: the platform, an administrator, or that person.
    pub fn may_read(&self, person: &UserId) -> Result<(), Error> {
        match self {
            Self::Service | Self::Administrator => Ok(()),
            Self::User { id, .. } if id == person => Ok(()),
            Self::User { .. } => Err(not_own()),
        }
    }

    /// TestSlack and SetPreference: that person, allowed to edit their profile, or an
    /// administrator. A service says on whose behalf it calls.
    pub fn may_edit(&self, person: &UserId) -> Result<(), Error> {
        match self {
            Self::User { id, .. } if id != person => Err(not_own()),
            Self::Administrator | Self::User { edit_own_profile: true, .. } => Ok(()),
            Self::User { edit_own_profile: false, .. } => Err(Error::denied(
                "PERMISSION_MISSING",
                "the actor needs the permission to edit one's own profile",
            )),
            Self::Service => Err(Error::denied(
                "ACTOR_REQUIRED",
                "a service must name the actor on whose behalf it calls",
            )),
        }
    }

    /// Testing one's own profile needs no permission; anyone else's needs an administrator.
    pub fn may_test(&self, person: &UserId) -> Result<(), Error> {
        match self {
            Self::User { id, .. } if id == person => Ok(()),
            other => other.may_edit(person),
        }
    }

    /// Set-up of a tenant.
    pub fn may_administer(&self) -> Result<(), Error> {
        match self {
            Self::Administrator => Ok(()),
            Self::Service | Self::User { .. } => {
                Err(Error::denied("ROLE_NOT_ALLOWED", "only an administrator may do this"))
            }
        }
    }

    /// Whether a test goes out although sending is switched off (requirements.md section 3).
    pub fn is_administrator(&self) -> bool {
        matches!(self, Self::Administrator)
    }
}

fn not_own() -> Error {
    Error::denied("NOT_OWN_PROFILE", "only an administrator may do this for somebody else")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(role: Role, may_act_for_users: bool) -> Caller {
        let acme = TenantId::parse("acme").unwrap();
        Caller {
            principal: Principal::parse("platform").unwrap(),
            role,
            reach: Reach::Only(BTreeSet::from([acme])),
            may_act_for_users,
        }
    }

    fn actor(id: &str, administer: bool, edit_own_profile: bool) -> Actor {
        Actor { user_id: UserId::parse(id).unwrap(), administer, edit_own_profile }
    }

    fn reason(result: Result<impl std::fmt::Debug, Error>) -> &'static str {
        match result {
            Err(Error::Denied { reason, .. }) => reason,
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn another_tenant_is_refused_first() {
        let other = TenantId::parse("other").unwrap();
        let caller = caller(Role::Administrator, false);
        assert_eq!(reason(caller.acting(&other, None)), "TENANT_NOT_ALLOWED");
    }

    #[test]
    fn an_actor_counts_only_from_marked_callers() {
        let acme = TenantId::parse("acme").unwrap();
        let admin = actor("root", true, false);
        let unmarked = caller(Role::Service, false).acting(&acme, Some(&admin));
        assert_eq!(reason(unmarked), "ACTOR_NOT_ALLOWED");
        let marked = caller(Role::Service, true).acting(&acme, Some(&admin)).unwrap();
        assert_eq!(marked, Acting::Administrator);
    }

    #[test]
    fn an_actor_lowers_what_an_administrator_key_may_do() {
        let acme = TenantId::parse("acme").unwrap();
        let caller = caller(Role::Administrator, true);
        let acting = caller.acting(&acme, Some(&actor("ann", false, true))).unwrap();
        assert_eq!(reason(acting.may_administer()), "ROLE_NOT_ALLOWED");
    }

    #[test]
    fn people_touch_only_themselves() {
        let (ann, bob) = (UserId::parse("ann").unwrap(), UserId::parse("bob").unwrap());
        let acting = Acting::User { id: ann.clone(), edit_own_profile: false };
        assert!(acting.may_test(&ann).is_ok());
        assert_eq!(reason(acting.may_test(&bob)), "NOT_OWN_PROFILE");
        assert_eq!(reason(acting.may_edit(&ann)), "PERMISSION_MISSING");
        assert_eq!(reason(Acting::Service.may_edit(&ann)), "ACTOR_REQUIRED");
        assert!(Acting::Administrator.may_edit(&bob).is_ok());
    }
}
