//! The caller, and the user on whose behalf it calls. The table in `domain::access` says what they
//! may do; permission is decided from values only, before any lookup, so that a refusal does not
//! reveal what exists.

use super::Error;
pub use crate::domain::access::caller::{Caller, Reach, Role};
use crate::domain::access::{About, Cell, Refusal, Right, Who, Whose};
use crate::domain::ids::{TenantId, UserId};

/// The platform user on whose behalf a call is made, with the platform's permissions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    pub user_id: UserId,
    pub edit_own_profile: bool,
    pub administer: bool,
}

/// The acting party, determined from caller and actor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acting {
    Service,
    Administrator,
    /// One person: by their own key, or as the actor of a platform.
    Person {
        id: UserId,
        who: Who,
    },
}

impl Caller {
    /// Checks the tenant and the actor.
    pub fn acting(&self, tenant: &TenantId, actor: Option<&Actor>) -> Result<Acting, Error> {
        if !self.reach.contains(tenant) {
            return Err(Error::denied("TENANT_NOT_ALLOWED", "this caller may not use this tenant"));
        }
        let Some(actor) = actor else { return Ok(by_role(self)) };
        if !self.may_act_for_users {
            return Err(Error::denied(
                "ACTOR_NOT_ALLOWED",
                "this caller is not marked may_act_for_users, so it may not name an actor",
            ));
        }
        let ceiling = self.may_administer_for_users || self.role == Role::Administrator;
        if actor.administer && !ceiling {
            return Err(Error::denied(
                "ACTOR_PERMISSION_NOT_ALLOWED",
                "this caller is not marked may_administer_for_users, so its actor may not have \
                 PERMISSION_ADMINISTER",
            ));
        }
        if actor.administer {
            return Ok(Acting::Administrator);
        }
        let who = if actor.edit_own_profile { Who::Editor } else { Who::Actor };
        Ok(Acting::Person { id: actor.user_id.clone(), who })
    }
}

/// The acting party of a call without an actor.
fn by_role(caller: &Caller) -> Acting {
    match &caller.role {
        Role::Service => Acting::Service,
        Role::User(id) => Acting::Person { id: id.clone(), who: Who::User },
        Role::Administrator => Acting::Administrator,
    }
}

impl Acting {
    /// The name in the table of rights.
    fn who(&self) -> Who {
        match self {
            Self::Service => Who::Service,
            Self::Administrator => Who::Administrator,
            Self::Person { who, .. } => *who,
        }
    }

    fn whose(&self, person: &UserId) -> Whose {
        match self {
            Self::Person { id, .. } if id == person => Whose::Own,
            _ => Whose::Other,
        }
    }

    /// Whether a test is sent even though sending is switched off.
    pub fn is_administrator(&self) -> bool {
        matches!(self, Self::Administrator)
    }
}

/// Checks a right against the table, for a tenant as a whole.
pub(super) fn may(right: &Right, acting: Acting) -> Result<Acting, Error> {
    heed(right, &acting, Whose::Other)?;
    Ok(acting)
}

/// Checks a right of a call that names no tenant, and so no actor.
pub(super) fn may_beyond_tenants(right: &Right, caller: &Caller) -> Result<(), Error> {
    heed(right, &by_role(caller), Whose::Other)?;
    if right.about == About::AllTenants && caller.reach != Reach::All {
        return Err(Error::denied(
            "ROLE_NOT_ALLOWED",
            "only a caller for all tenants may make this call",
        ));
    }
    Ok(())
}

/// The same for one person.
pub(super) fn may_about(right: &Right, acting: Acting, person: &UserId) -> Result<Acting, Error> {
    heed(right, &acting, acting.whose(person))?;
    Ok(acting)
}

/// The same for an object whose owner is known only after a lookup. Returns the person whose
/// objects the caller is limited to, or `None` if it may see all.
pub(super) fn may_see(right: &Right, acting: Acting) -> Result<Option<UserId>, Error> {
    heed(right, &acting, Whose::Own)?;
    let everything = right.cell(acting.who(), Whose::Other) == Cell::Allowed;
    Ok(match acting {
        Acting::Person { id, .. } if !everything => Some(id),
        _ => None,
    })
}

fn heed(right: &Right, acting: &Acting, whose: Whose) -> Result<(), Error> {
    let (reason, sentence) = match right.cell(acting.who(), whose) {
        Cell::Allowed => return Ok(()),
        Cell::Absent => return Err(Error::NotFound("notification")),
        Cell::Refused(Refusal::Role) => (
            "ROLE_NOT_ALLOWED",
            "callers of this role may not make this call; docs/access.md lists the permissions",
        ),
        Cell::Refused(Refusal::NotOwn) => {
            ("NOT_OWN_PROFILE", "only an administrator may do this for another person")
        }
        Cell::Refused(Refusal::Permission) => {
            ("PERMISSION_MISSING", "the actor needs PERMISSION_EDIT_OWN_PROFILE")
        }
        Cell::Refused(Refusal::ActorRequired) => {
            ("ACTOR_REQUIRED", "a service must name the actor on whose behalf it calls")
        }
    };
    Err(Error::denied(reason, sentence))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::domain::access;
    use crate::domain::ids::Principal;

    fn caller(role: Role, may_act_for_users: bool) -> Caller {
        let acme = TenantId::parse("acme").unwrap();
        Caller {
            principal: Principal::parse("platform").unwrap(),
            role,
            reach: Reach::Only(BTreeSet::from([acme])),
            may_act_for_users,
            may_administer_for_users: false,
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
        let marked = caller(Role::Service, true).acting(&acme, Some(&actor("ann", false, true)));
        assert!(matches!(marked, Ok(Acting::Person { who: Who::Editor, .. })));
    }

    #[test]
    fn an_actor_is_never_more_than_its_caller_was_given() {
        let acme = TenantId::parse("acme").unwrap();
        let admin = actor("root", true, false);
        let capped = caller(Role::Service, true).acting(&acme, Some(&admin));
        assert_eq!(reason(capped), "ACTOR_PERMISSION_NOT_ALLOWED");
        let marked = Caller { may_administer_for_users: true, ..caller(Role::Service, true) };
        assert_eq!(marked.acting(&acme, Some(&admin)).unwrap(), Acting::Administrator);
        let own = caller(Role::Administrator, true).acting(&acme, Some(&admin)).unwrap();
        assert_eq!(own, Acting::Administrator);
    }

    #[test]
    fn an_actor_lowers_what_an_administrator_key_may_do() {
        let acme = TenantId::parse("acme").unwrap();
        let caller = caller(Role::Administrator, true);
        let acting = caller.acting(&acme, Some(&actor("ann", false, true))).unwrap();
        assert_eq!(reason(may(&access::LIST_PEOPLE, acting)), "ROLE_NOT_ALLOWED");
    }

    #[test]
    fn people_touch_only_themselves() {
        let (ann, bob) = (UserId::parse("ann").unwrap(), UserId::parse("bob").unwrap());
        let acting = Acting::Person { id: ann.clone(), who: Who::Actor };
        let about = |right, person| may_about(right, acting.clone(), person);
        assert!(about(&access::TEST_SLACK, &ann).is_ok());
        assert_eq!(reason(about(&access::TEST_SLACK, &bob)), "NOT_OWN_PROFILE");
        assert_eq!(reason(about(&access::SET_PREFERENCE, &ann)), "PERMISSION_MISSING");
        let service = may_about(&access::SET_PREFERENCE, Acting::Service, &ann);
        assert_eq!(reason(service), "ACTOR_REQUIRED");
        assert!(may_about(&access::SET_PREFERENCE, Acting::Administrator, &bob).is_ok());
        assert_eq!(may_see(&access::GET_NOTIFICATION, acting).unwrap(), Some(ann));
        assert_eq!(may_see(&access::GET_NOTIFICATION, Acting::Service).unwrap(), None);
    }
}
