//! Slack channels that Herald creates and keeps for things that the platform schedules.
//!
//! A call states a wish, and stores it; `crate::channels` carries it out. `shown` (a channel as
//! callers see it), `read` (GetChannel, ListChannels, ListChannelMembers), `ensure`
//! (EnsureChannel), `change` (the other changes), `notices` (the notice before a channel is
//! archived).

mod shown;

mod read;

mod change;
mod ensure;
mod notices;

pub use ensure::EnsureWish;
pub use read::{ListedChannels, ListedMembers};
pub use shown::ShownChannel;

use serde_json::Value;

use crate::app::{Call, Error};
use crate::domain::access::audit::{AuditDetail, Entry};
use crate::domain::identity::person::Person;
use crate::domain::ids::{ChannelKey, UserId};
use crate::domain::limits;
use crate::store::{self, WishedMember};

/// The name of the object in refusals.
const NAME: &str = "channel";

/// A member that a call names.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedMember {
    pub user: UserId,
    /// The record that came with the call; `None`: the stored one counts.
    pub person: Option<Person>,
    pub roles: Vec<String>,
}

/// The members of a call, and the records that it has.
fn split(named: Vec<NamedMember>) -> (Vec<WishedMember>, Vec<Person>) {
    let (mut members, mut people) = (Vec::with_capacity(named.len()), Vec::new());
    for NamedMember { user, person, roles } in named {
        members.push(WishedMember { user, roles });
        people.extend(person);
    }
    (members, people)
}

/// The entry of a change in the audit trail; `after`: its content.
fn entry(call: &Call, action: &str, key: &ChannelKey, after: Option<Value>) -> Entry {
    let object = format!("channel:{key}");
    let detail = AuditDetail { object, after, ..AuditDetail::default() };
    Entry { detail, ..call.entry(action) }
}

/// The tenant has as many channels as it may.
fn no_room() -> Error {
    let most = limits::CHANNELS_OF_TENANT;
    let problem = format!("the tenant has {most} channels: release one with ReleaseChannel");
    Error::invalid("channel_key", problem)
}

/// An error of the store in a change of members; `field` names them.
fn of_members(field: &str, error: store::Error) -> Error {
    match error {
        store::Error::TooMany(_) => {
            let most = limits::CHANNEL_MEMBERS;
            Error::invalid(field, format!("a channel has at most {most} members: name fewer"))
        }
        other => other.into(),
    }
}
