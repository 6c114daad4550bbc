//! The permissions of each kind of caller for each method, on the caller's own data and on another
//! person's. This table is the only place that decides. docs/access.md is generated from it, and a
//! test tries each of its cells through the API. A method without a row cannot be called, and a
//! call that its cell does not allow is refused.
//!
//! Two checks come before the table: the tenant is within the caller's reach, and an actor has no
//! more permissions than the caller was given (`app::Caller::acting`). All of it is decided from
//! values only, before anything is looked up, so a refusal says nothing about the data.

pub mod audit;
pub mod caller;
pub mod sharing;

pub mod api_key;

/// The acting party.
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
    /// A user like [`Who::Actor`], with `PERMISSION_EDIT_OWN_PROFILE`.
    Editor,
}

impl Who {
    pub const ALL: &'static [Self] =
        &[Self::Service, Self::Administrator, Self::User, Self::Actor, Self::Editor];
}

/// The owner of the profile, record, choice or notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    Own,
    Other,
}

/// The kind of object that a method concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// The tenant as a whole: none of its data belongs to one person.
    Tenant,
    /// The one person that the call names.
    Person,
    /// A notification, which is a person's own if they are an addressee. That is known only once it
    /// has been looked up.
    Notification,
    /// All tenants together: such a call names no tenant, and only a caller for all tenants may
    /// make it.
    AllTenants,
}

/// The decision in a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell {
    Allowed,
    /// As if it did not exist: the same answer as for an unknown id.
    Absent,
    Refused(Refusal),
}

/// Why a call is refused. Codes are stable: they are part of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The method is not for callers of this kind.
    Role,
    /// The caller may do this only for themselves.
    NotOwn,
    /// The actor lacks the permission to edit.
    Permission,
    /// A service must name the user on whose behalf it calls.
    ActorRequired,
}

/// One row: a method, in one of its forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Right {
    /// The method's full name in the protos: `herald.v1.HeraldService/Notify`.
    pub method: &'static str,
    /// The form of the call, if forms differ; empty: any.
    pub form: &'static str,
    pub about: About,
    service: Cell,
    administrator: Cell,
    /// On the caller's own data, then on another person's.
    user: [Cell; 2],
    actor: [Cell; 2],
    editor: [Cell; 2],
}

impl Right {
    /// The decision for a caller and an owner.
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

    /// The names of the service and the method.
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

/// A pattern that several rows share.
struct Kind {
    about: About,
    service: Cell,
    administrator: Cell,
    user: [Cell; 2],
    actor: [Cell; 2],
    editor: [Cell; 2],
}

/// Setup of a tenant, and settings that concern everyone in it.
const ADMINISTER: Kind = Kind {
    about: About::Tenant,
    service: ROLE,
    administrator: YES,
    user: [ROLE, ROLE],
    actor: [ROLE, ROLE],
    editor: [ROLE, ROLE],
};

/// The same for one person.
const ADMINISTER_PERSON: Kind = Kind { about: About::Person, ..ADMINISTER };

/// Operations on a whole tenant at run time, by the platform itself or by an administrator.
const OPERATE: Kind = Kind { service: YES, ..ADMINISTER };

/// The same for all tenants together.
const OVERSEE: Kind = Kind { about: About::AllTenants, ..OPERATE };

/// Operations on one person by the platform itself or by an administrator.
const OPERATE_PERSON: Kind = Kind { about: About::Person, ..OPERATE };

/// Sending: by the platform, also on behalf of a user, to any recipient.
const SEND: Kind = Kind { actor: [YES, YES], editor: [YES, YES], ..OPERATE };

/// Reading the data of one person.
const READ: Kind = Kind {
    about: About::Person,
    service: YES,
    administrator: YES,
    user: [YES, NOT_OWN],
    actor: [YES, NOT_OWN],
    editor: [YES, NOT_OWN],
};

/// A record identifies a person, so only the platform may provide it: users who could describe
/// themselves could claim another person's address, and then receive or look up that person's data.
const READ_DESCRIBED: Kind = Kind { user: [ROLE, ROLE], ..READ };

/// Testing one's own profile needs no permission. A service must name the user.
const TEST: Kind = Kind { service: ACTOR, ..READ };

/// The record in the request replaces the stored one.
const TEST_DESCRIBED: Kind = Kind { user: [ROLE, ROLE], ..TEST };

/// Changing one's own data.
const EDIT: Kind = Kind { actor: [PERMISSION, NOT_OWN], ..TEST };

/// A link for one person, who proves with Slack which member they are. The platform hands it out.
const LINK: Kind = Kind { service: YES, ..EDIT };

/// Reading a notification: a user's actor sees only notifications that are addressed to that user.
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
    RESOLVE_DESCRIBED =
        "HeraldService" / "ResolveIdentity" ("describing a `person`") READ_DESCRIBED;
    TEST_SLACK = "HeraldService" / "TestSlack" ("by `user_id`") TEST;
    TEST_DESCRIBED_SLACK = "HeraldService" / "TestSlack" ("describing a `person`") TEST_DESCRIBED;
    SET_PREFERENCE = "HeraldService" / "SetPreference" EDIT;
    GET_NOTIFICATION = "HeraldService" / "GetNotification" SEE;
    GET_PREFERENCES = "HeraldService" / "GetPreferences" READ;
    LIST_NOTIFICATIONS = "HeraldService" / "ListNotifications" ("of the whole tenant") OPERATE;
    LIST_NOTIFICATIONS_OF = "HeraldService" / "ListNotifications" ("of one `user_id`") READ;
    WATCH_NOTIFICATION = "HeraldService" / "WatchNotification" SEE;
    WATCH_DELIVERIES = "HeraldService" / "WatchDeliveries" ("of one tenant") OPERATE;
    WATCH_ALL_DELIVERIES =
        "HeraldService" / "WatchDeliveries" ("of all tenants in reach") OPERATE;
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
    GET_EVENT_TYPE = "AdminService" / "GetEventType" ADMINISTER;
    CREATE_EVENT_TYPE = "AdminService" / "CreateEventType" ADMINISTER;
    UPDATE_EVENT_TYPE = "AdminService" / "UpdateEventType" ADMINISTER;
    DELETE_EVENT_TYPE = "AdminService" / "DeleteEventType" ADMINISTER;
    SET_TEMPLATE = "AdminService" / "SetTemplate" ADMINISTER;
    GET_TEMPLATE = "AdminService" / "GetTemplate" ADMINISTER;
    LIST_TEMPLATES = "AdminService" / "ListTemplates" ADMINISTER;
    RESET_TEMPLATE = "AdminService" / "ResetTemplate" ADMINISTER;
    ROLLBACK_TEMPLATE = "AdminService" / "RollbackTemplate" ADMINISTER;
    PREVIEW_TEMPLATE = "AdminService" / "PreviewTemplate" ADMINISTER;
    CANCEL_NOTIFICATION = "AdminService" / "CancelNotification" OPERATE;
    LIST_AUDIT = "AdminService" / "ListAudit" ADMINISTER;
    LIST_FAILED = "AdminService" / "ListFailed" ADMINISTER;
    REPLAY_DELIVERIES = "AdminService" / "ReplayDeliveries" ADMINISTER;
    CREATE_API_KEY = "AdminService" / "CreateApiKey" ADMINISTER;
    LIST_API_KEYS = "AdminService" / "ListApiKeys" ADMINISTER;
    REVOKE_API_KEY = "AdminService" / "RevokeApiKey" ADMINISTER;
    CREATE_IDENTITY_LINK = "AdminService" / "CreateIdentityLink" LINK;
    PIN_IDENTITIES = "AdminService" / "PinIdentities" ADMINISTER;
    RENAME_PERSON = "AdminService" / "RenamePerson" OPERATE_PERSON;
    MERGE_PEOPLE = "AdminService" / "MergePeople" OPERATE_PERSON;
    ENSURE_CHANNEL = "ChannelService" / "EnsureChannel" OPERATE;
    GET_CHANNEL = "ChannelService" / "GetChannel" OPERATE;
    LIST_CHANNELS = "ChannelService" / "ListChannels" OPERATE;
    LIST_CHANNEL_MEMBERS = "ChannelService" / "ListChannelMembers" OPERATE;
    SET_CHANNEL_MEMBERS = "ChannelService" / "SetChannelMembers" OPERATE;
    ADD_CHANNEL_MEMBERS = "ChannelService" / "AddChannelMembers" OPERATE;
    REMOVE_CHANNEL_MEMBERS = "ChannelService" / "RemoveChannelMembers" OPERATE;
    RENAME_CHANNEL = "ChannelService" / "RenameChannel" OPERATE;
    ARCHIVE_CHANNEL = "ChannelService" / "ArchiveChannel" OPERATE;
    UNARCHIVE_CHANNEL = "ChannelService" / "UnarchiveChannel" OPERATE;
    RELEASE_CHANNEL = "ChannelService" / "ReleaseChannel" OPERATE;
    WATCH_CHANNELS = "ChannelService" / "WatchChannels" OPERATE;
    SET_SLACK_APP = "WorkspaceService" / "SetSlackApp" ADMINISTER;
    GET_SLACK_APP = "WorkspaceService" / "GetSlackApp" ADMINISTER;
    DELETE_SLACK_APP = "WorkspaceService" / "DeleteSlackApp" ADMINISTER;
    CREATE_SLACK_APP_MANIFEST = "WorkspaceService" / "CreateSlackAppManifest" ADMINISTER;
    WATCH_WORKSPACE = "WorkspaceService" / "WatchWorkspace" OPERATE;
    WATCH_WORKSPACES = "WorkspaceService" / "WatchWorkspaces" OVERSEE;
    DISCONNECT = "WorkspaceService" / "Disconnect" ADMINISTER;
    DELETE_TENANT = "WorkspaceService" / "DeleteTenant" ADMINISTER;
    CHECK_CONNECTION = "WorkspaceService" / "CheckConnection" ADMINISTER;
    LIST_TENANTS = "WorkspaceService" / "ListTenants" OPERATE;
    LIST_WORKSPACES = "WorkspaceService" / "ListWorkspaces" OVERSEE;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_no_access_to_the_data_of_other_people() {
        for right in TABLE.iter().filter(|right| right.about != About::Tenant) {
            for user in [Who::User, Who::Actor, Who::Editor] {
                assert_ne!(right.cell(user, Whose::Other), YES, "{right:?} {user:?}");
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
