//! The handles of the store: each has the methods of one part of it, so that a caller sees ten or
//! twenty methods and not all of them.
//!
//! A handle is a reference to the store that each call takes by value. The future of a call
//! does not borrow the handle, so calls on new handles can be joined and spawned. The methods
//! stand in the files of the modules that are named here. `tests/architecture/handles.rs`
//! counts them.
//!
//! Names: a method that changes something begins with a verb (`claim`, `settle`, `note_crash`). A
//! method that only reads is named by its answer (`settings`, `head`, `next_due`). If the handle
//! already names the answer, `get` finds one by its key. `list` returns a page, and a name that
//! begins with `count` returns a number. A signal is a participle (`woken`, `ended`). No name
//! repeats the name of its handle.

use super::Store;

/// Deliveries on their way: accepted and replayed, sent and settled (`intake`, `turns`).
#[derive(Debug, Clone, Copy)]
pub struct Outbox<'a> {
    pub(in crate::store) store: &'a Store,
}

/// Deliveries that are not yet in a lane (`waiting`).
#[derive(Debug, Clone, Copy)]
pub struct Waiting<'a> {
    pub(in crate::store) store: &'a Store,
}

/// Lanes, their claims and their backlogs (`lanes`).
#[derive(Debug, Clone, Copy)]
pub struct Lanes<'a> {
    pub(in crate::store) store: &'a Store,
}

/// When requests to Slack may start (`budgets`).
#[derive(Debug, Clone, Copy)]
pub struct Budgets<'a> {
    pub(in crate::store) store: &'a Store,
}

/// Deliveries and notifications as they are read back (`records`).
#[derive(Debug, Clone, Copy)]
pub struct Records<'a> {
    pub(in crate::store) store: &'a Store,
}

/// Canceling, erasing, expiry and retention (`ends`).
#[derive(Debug, Clone, Copy)]
pub struct Ends<'a> {
    pub(in crate::store) store: &'a Store,
}

/// The feed of changes (`feed`).
#[derive(Debug, Clone, Copy)]
pub struct DeliveryFeed<'a> {
    pub(in crate::store) store: &'a Store,
}

/// Tenants, their workspaces and attempts to connect one (`tenancy`).
#[derive(Debug, Clone, Copy)]
pub struct Tenancy<'a> {
    pub(in crate::store) store: &'a Store,
}

/// People, their identities and their preferences (`tenancy`).
#[derive(Debug, Clone, Copy)]
pub struct People<'a> {
    pub(in crate::store) store: &'a Store,
}

/// Event types that tenants defined (`tenancy::event_types`).
#[derive(Debug, Clone, Copy)]
pub struct EventTypes<'a> {
    pub(in crate::store) store: &'a Store,
}

/// API keys that are made at run time (`tenancy::api_keys`).
#[derive(Debug, Clone, Copy)]
pub struct ApiKeys<'a> {
    pub(in crate::store) store: &'a Store,
}

/// Member lists, their readings and their changes (`member_lists`).
#[derive(Debug, Clone, Copy)]
pub struct MemberLists<'a> {
    pub(in crate::store) store: &'a Store,
}

/// Events from Slack, until they are applied (`member_lists::slack_events`).
#[derive(Debug, Clone, Copy)]
pub struct SlackEvents<'a> {
    pub(in crate::store) store: &'a Store,
}

/// Custom profile fields of members (`member_lists::field_pass`).
#[derive(Debug, Clone, Copy)]
pub struct CustomFields<'a> {
    pub(in crate::store) store: &'a Store,
}

/// The audit trail (`audit`). A change is noted by [`Store::noting`].
#[derive(Debug, Clone, Copy)]
pub struct Audit<'a> {
    pub(in crate::store) store: &'a Store,
}

/// Recoveries, clock steps, rows of newer releases, keys and files (`upkeep`).
#[derive(Debug, Clone, Copy)]
pub struct Upkeep<'a> {
    pub(in crate::store) store: &'a Store,
}

impl Store {
    pub fn outbox(&self) -> Outbox<'_> {
        Outbox { store: self }
    }

    pub fn waiting(&self) -> Waiting<'_> {
        Waiting { store: self }
    }

    pub fn lanes(&self) -> Lanes<'_> {
        Lanes { store: self }
    }

    pub fn budgets(&self) -> Budgets<'_> {
        Budgets { store: self }
    }

    pub fn records(&self) -> Records<'_> {
        Records { store: self }
    }

    pub fn ends(&self) -> Ends<'_> {
        Ends { store: self }
    }

    pub fn feed(&self) -> DeliveryFeed<'_> {
        DeliveryFeed { store: self }
    }

    pub fn tenancy(&self) -> Tenancy<'_> {
        Tenancy { store: self }
    }

    pub fn people(&self) -> People<'_> {
        People { store: self }
    }

    pub fn event_types(&self) -> EventTypes<'_> {
        EventTypes { store: self }
    }

    pub fn api_keys(&self) -> ApiKeys<'_> {
        ApiKeys { store: self }
    }

    pub fn member_lists(&self) -> MemberLists<'_> {
        MemberLists { store: self }
    }

    pub fn slack_events(&self) -> SlackEvents<'_> {
        SlackEvents { store: self }
    }

    pub fn custom_fields(&self) -> CustomFields<'_> {
        CustomFields { store: self }
    }

    pub fn audit(&self) -> Audit<'_> {
        Audit { store: self }
    }

    pub fn upkeep(&self) -> Upkeep<'_> {
        Upkeep { store: self }
    }
}
