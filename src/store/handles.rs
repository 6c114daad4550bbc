//! The handles of the store: each has the methods of one part of it, so that a caller does not see
//! all of them. `tests/architecture/handles.rs` counts the methods of each.
//!
//! A handle is a reference to the store that each call takes by value. The future of a call does
//! not borrow the handle, so calls on new handles can be joined and spawned. The methods are in the
//! files of the modules that are named here.
//!
//! Names: a method that changes something begins with a verb (`claim`, `settle`, `note_crash`). A
//! method that only reads is named by its answer (`settings`, `head`, `next_due`). If the handle
//! already names the answer, `get` finds one by its key. `list` returns a page, and a name that
//! begins with `count` returns a number. A signal is a participle (`woken`, `ended`). No name
//! repeats the name of its handle.

use super::Store;

/// The handles, each with the method of the store that returns it.
macro_rules! handles {
    ($($(#[$doc:meta])* $method:ident: $handle:ident,)*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy)]
            pub struct $handle<'a> {
                pub(in crate::store) store: &'a Store,
            }
        )*

        impl Store {
            $(
                pub fn $method(&self) -> $handle<'_> {
                    $handle { store: self }
                }
            )*
        }
    };
}

handles! {
    /// Deliveries as they are accepted and replayed, sent and settled (`intake`, `turns`).
    outbox: Outbox,

    /// Deliveries that are not yet in a lane, and the channels that some wait for (`waiting`,
    /// `lanes::order`).
    waiting: Waiting,

    /// Lanes, their claims and their backlogs (`lanes`).
    lanes: Lanes,

    /// When requests to Slack may start (`budgets`).
    budgets: Budgets,

    /// Deliveries and notifications as they are read back (`records`).
    records: Records,

    /// Canceling, erasing, expiry and retention (`ends`).
    ends: Ends,

    /// The feed of changes (`feed`).
    feed: DeliveryFeed,

    /// Tenants, their workspaces and attempts to connect one (`tenancy`).
    tenancy: Tenancy,

    /// The connections of tenants as they are, and their changes (`tenancy::connections`).
    connections: Connections,

    /// Slack apps of tenants (`tenancy::slack_apps`).
    slack_apps: SlackApps,

    /// Tenants and workspaces as operators list them (`tenancy::operators`).
    operators: Operators,

    /// Links by which people prove who they are (`tenancy::identity_links`).
    identity_links: IdentityLinks,

    /// People, their identities and their preferences (`tenancy`).
    people: People,

    /// Event types that tenants defined (`tenancy::event_types`).
    event_types: EventTypes,

    /// Messages that a browser can show for an hour (`tenancy::previews`).
    previews: Previews,
    /// Templates of tenants and their versions (`tenancy::templates`).
    templates: Templates,

    /// Checks of connections, and the states of connections as they were computed last
    /// (`checkups`).
    checkups: Checkups,

    /// Alerts about connections, until they are delivered (`checkups::alerts`).
    alerts: Alerts,

    /// API keys that are made at run time (`tenancy::api_keys`).
    api_keys: ApiKeys,

    /// Member lists, their readings and their changes (`member_lists`).
    member_lists: MemberLists,

    /// Events from Slack, until they are applied (`member_lists::slack_events`).
    slack_events: SlackEvents,

    /// Custom profile fields of members, and the pass that fetches them (`member_lists`).
    custom_fields: CustomFields,

    /// Channels that Herald keeps in Slack, and their members (`channels`).
    channels: Channels,

    /// Tokens that are exchanged for the next ones, organizations, and workspaces that move into
    /// one (`keep`).
    tokens: InstallationTokens,

    /// The feed of changes of channels and their members (`channels::changes`).
    channel_feed: ChannelFeed,

    /// Leaving a workspace, and the deletion of tenants (`leaving`).
    leaving: Leaving,

    /// The audit trail (`audit`). A change is noted by [`Store::noting`].
    audit: Audit,

    /// Recoveries, clock steps and health (`upkeep`), rows of newer releases (`lanes::unread`), the
    /// exchange of keys (`seal::rotate`) and files (`database::tidy`).
    upkeep: Upkeep,
}
