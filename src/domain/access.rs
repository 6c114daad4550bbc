//! Who may do what: each method, each kind of caller, what is their own and what is somebody
//! else's. This table is the only place that decides; docs/access.md is made from it, and a test
//! tries each of its cells by the front door. What has no row cannot be asked for, and what a row
//! does not allow is refused.
//!
//! Before it two things were weighed: the tenant is within the caller's reach, and an actor is no
//! more than the caller was given (`app::Caller::acting`). All of it is decided from values alone,
//! before anything is looked up, so that a refusal says nothing about what exists.

/// Who acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// A platform's back end on its own behalf.
    Service,
    /// An administrator, or an actor with `PERMISSION_ADMINISTER`.
    Administrator,
    /// A key of the role `user`.
    User,
    /// A user on whose behalf a service or an administrator calls, without any permission.
    Actor,
    /// The same with `PERMISSION_EDIT_OWN_PROFILE`.
    Editor,
}

impl Who {
    pub const ALL: &'static [Self] =
        &[Self::Service, Self::Administrator, Self::User, Self::Actor, Self::Editor];

    /// Whether they are one person, so that something is their own.
    #[must_use]
    pub fn is_one_person(self) -> bool {
        matches!(self, Self::User | Self::Actor | Self::Editor)
    }
}

/// Whose profile, record, choice or notification it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    Own,
    Other,
}

/// What a method is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// The tenant as a whole: nothing of it is anybody's own.
    Tenant,
    /// The one person that the call names.
    Person,
    /// A notification, which is somebody's own where they are an addressee. Whether it is shows
    /// only when it was looked up.
    Notification,
}

/// What a cell says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell {
    Allowed,
    /// As if it were not there: the same answer as for an id that nobody has.
    Absent,
    Refused(Refusal),
}

/// Why a call is refused. Codes are stable: they are part of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It is not for callers of this kind.
    Role,
    /// It is for others to do only about themselves.
    NotOwn,
    /// The actor lacks the permission to edit.
    Permission,
    /// A service says on whose behalf it calls.
    ActorRequired,
}

/// One row: a method, in one of its forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Right {
    /// As the protos name it: `herald.v1.HeraldService/Notify`.
    pub method: &'static str,
    /// Which form of it, where forms differ; empty: any.
    pub form: &'static str,
    pub about: About,
    service: Cell,
    administrator: Cell,
    /// Of their own, of somebody else's.
    user: [Cell; 2],
    actor: [Cell; 2],
    editor: [Cell; 2],
}

impl Right {
    /// The one decision.
    #[must_use]
    pub fn cell(&self, who: Who, whose: Whose) -> Cell {
        let pair = match who {
            Who::Service => return self.service,
            Who::Administrator => return self.administrator,
            Who::User => &self.user,
            Who::Actor => &self.actor,
            Who::Editor => &self.editor,
        };
        let [own, other] = *pair;
        match whose {
            Whose::Own => own,
            Whose::Other => other,
        }
    }

    /// The service's and the method's name.
    #[must_use]
    pub fn names(&self) -> (&'static str, &'static str) {
        let name = self.method.rsplit_once('.').map_or(self.method, |(_, name)| name);
        name.split_once('/').unwrap_or((name, ""))
    }
}

const YES: Cell = Cell::Allowed;
const ROLE: Cell = Cell::Refused(Refusal::Role);
const NOT_OWN: Cell = Cell::Refused(Refusal::NotOwn);
const PERMISSION: Cell = Cell::Refused(Refusal::Permission);
const ACTOR: Cell = Cell::Refused(Refusal::ActorRequired);

/// The rows that many methods share.
struct Kind {
    about: About,
    service: Cell,
    administrator: Cell,
    user: [Cell; 2],
    actor: [Cell; 2],
    editor: [Cell; 2],
}

/// Set-up of a tenant, and what concerns everybody in it.
const ADMINISTER: Kind = Kind {
    about: About::Tenant,
    service: ROLE,
    administrator: YES,
    user: [ROLE, ROLE],
    actor: [ROLE, ROLE],
    editor: [ROLE, ROLE],
};

/// The same about one person.
const ADMINISTER_PERSON: Kind = Kind { about: About::Person, ..ADMINISTER };

/// What concerns a whole tenant at run time: the platform itself does it, or an administrator.
const OPERATE: Kind = Kind { service: YES, ..ADMINISTER };

/// Sending: the platform does it, also on behalf of a user, to whomever it says.
const SEND: Kind = Kind { actor: [YES, YES], editor: [YES, YES], ..OPERATE };

/// Reading about one person.
const READ: Kind = Kind {
    about: About::Person,
    service: YES,
    administrator: YES,
    user: [YES, NOT_OWN],
    actor: [YES, NOT_OWN],
    editor: [YES, NOT_OWN],
};

/// A record says who somebody is, so it comes from the platform: whoever could describe themselves
/// could name another's address and receive, or look up, what is theirs.
const READ_DESCRIBED: Kind = Kind { user: [ROLE, ROLE], ..READ };

/// Testing one's own profile needs no permission. A service says on whose behalf it calls.
const TEST: Kind = Kind { service: ACTOR, ..READ };

/// The record that comes along replaces the one that is stored.
const TEST_DESCRIBED: Kind = Kind { user: [ROLE, ROLE], ..TEST };

/// Changing what is a person's own.
const EDIT: Kind = Kind { actor: [PERMISSION, NOT_OWN], ..TEST };

/// Reading a notification: of a user's actor only what reaches that user.
const SEE: Kind = Kind {
    about: About::Notification,
    service: YES,
    administrator: YES,
    user: [ROLE, ROLE],
    actor: [YES, Cell::Absent],
    editor: [YES, Cell::Absent],
};

const fn right(method: &'static str, form: &'static str, kind: &Kind) -> Right {
    Right {
        method,
        form,
        about: kind.about,
        service: kind.service,
        administrator: kind.administrator,
        user: kind.user,
        actor: kind.actor,
        editor: kind.editor,
    }
}

macro_rules! table {
    ($($name:ident = $service:literal / $method:literal $(($form:literal))? $kind:ident;)*) => {
        $(
            #[doc = concat!("`", $method, "`.")]
            pub const $name: Right = right(
                concat!("herald.v1.", $service, "/", $method),
                concat!($($form)?),
                &$kind,
            );
        )*
        /// Every row.
        pub const TABLE: &[Right] = &[$($name),*];
    };
}

table! {
    NOTIFY = "HeraldService" / "Notify" SEND;
    RESOLVE_IDENTITY = "HeraldService" / "ResolveIdentity" ("by `user_id`") READ;
    RESOLVE_DESCRIBED = "HeraldService" / "ResolveIdentity" ("describing a `person`") READ_DESCRIBED;
    TEST_SLACK = "HeraldService" / "TestSlack" ("by `user_id`") TEST;
    TEST_DESCRIBED_SLACK = "HeraldService" / "TestSlack" ("describing a `person`") TEST_DESCRIBED;
    SET_PREFERENCE = "HeraldService" / "SetPreference" EDIT;
    GET_NOTIFICATION = "HeraldService" / "GetNotification" SEE;
    GET_PREFERENCES = "HeraldService" / "GetPreferences" READ;
    LIST_NOTIFICATIONS = "HeraldService" / "ListNotifications" ("of everybody") OPERATE;
    LIST_NOTIFICATIONS_OF = "HeraldService" / "ListNotifications" ("of one `user_id`") READ;
    WATCH_NOTIFICATION = "HeraldService" / "WatchNotification" SEE;
    WATCH_DELIVERIES = "HeraldService" / "WatchDeliveries" OPERATE;
    BEGIN_CONNECT = "AdminService" / "BeginConnect" ADMINISTER;
    GET_WORKSPACE = "AdminService" / "GetWorkspace" ADMINISTER;
    UPDATE_SETTINGS = "AdminService" / "UpdateSettings" ADMINISTER;
    ALLOW_SENDING = "AdminService" / "AllowSending" ADMINISTER;
    STOP_SENDING = "AdminService" / "StopSending" ADMINISTER;
    UPSERT_PEOPLE = "AdminService" / "UpsertPeople" OPERATE;
    GET_PERSON = "AdminService" / "GetPerson" READ;
    LIST_PEOPLE = "AdminService" / "ListPeople" ADMINISTER;
    DELETE_PERSON = "AdminService" / "DeletePerson" OPERATE;
    PIN_IDENTITY = "AdminService" / "PinIdentity" ADMINISTER_PERSON;
    CLEAR_IDENTITY = "AdminService" / "ClearIdentity" ADMINISTER_PERSON;
    REFRESH_DIRECTORY = "AdminService" / "RefreshDirectory" ADMINISTER;
    SIMULATE_MAPPING = "AdminService" / "SimulateMapping" ADMINISTER;
    GET_MATCH_COVERAGE = "AdminService" / "GetMatchCoverage" ADMINISTER;
    LIST_EVENT_TYPES = "AdminService" / "ListEventTypes" ADMINISTER;
    CANCEL_NOTIFICATION = "AdminService" / "CancelNotification" OPERATE;
    LIST_AUDIT = "AdminService" / "ListAudit" ADMINISTER;
    LIST_FAILED = "AdminService" / "ListFailed" ADMINISTER;
    REPLAY_DELIVERIES = "AdminService" / "ReplayDeliveries" ADMINISTER;
    CREATE_API_KEY = "AdminService" / "CreateApiKey" ADMINISTER;
    LIST_API_KEYS = "AdminService" / "ListApiKeys" ADMINISTER;
    REVOKE_API_KEY = "AdminService" / "RevokeApiKey" ADMINISTER;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_touches_what_is_somebody_else_s() {
        for right in TABLE.iter().filter(|right| right.about != About::Tenant) {
            for who in Who::ALL.iter().copied().filter(|who| who.is_one_person()) {
                assert_ne!(right.cell(who, Whose::Other), YES, "{right:?} {who:?}");
            }
        }
    }

    #[test]
    fn an_administrator_may_do_everything_and_a_user_never_more_than_an_editor() {
        for right in TABLE {
            assert_eq!(right.cell(Who::Administrator, Whose::Other), YES, "{right:?}");
            for whose in [Whose::Own, Whose::Other] {
                let may = |who| right.cell(who, whose) == YES;
                assert!(!may(Who::Actor) || may(Who::Editor), "{right:?} {whose:?}");
                assert!(!may(Who::User) || may(Who::Editor), "{right:?} {whose:?}");
            }
        }
    }

    #[test]
    fn what_is_about_a_tenant_has_no_own() {
        for right in TABLE.iter().filter(|right| right.about == About::Tenant) {
            for who in Who::ALL {
                let [own, other] = [Whose::Own, Whose::Other].map(|whose| right.cell(*who, whose));
                assert_eq!(own, other, "{right:?} {who:?}");
            }
        }
    }
}
