//! The recipients of a call, each with the facts about them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Recipient, Request};
use crate::app::tenant::{Known, Tenant};
use crate::app::{App, Error, Violation};
use crate::directory::Directory;
use crate::domain::delivery::verdict::Addressee;
use crate::domain::identity::matching::MemberDecision;
use crate::domain::identity::person::Person;
use crate::domain::ids::{ChannelId, ChannelKey, TenantId, UserId};
use crate::domain::mapping::{Pass, Values};
use crate::domain::settings::{Preference, Preferences};
use crate::store::{self, Installation, KeyedChannel};

/// The choices of a person who has made none.
static UNCHOSEN: Preferences =
    Preferences { all: Preference::Inherit, by_type: BTreeMap::new(), origins: BTreeMap::new() };

/// The channels that a call names by their keys.
pub(super) type KeyedChannels = HashMap<ChannelKey, KeyedChannel>;

/// The problem of a key that no channel has.
const UNKNOWN_KEY: &str = "no channel has this key; call EnsureChannel first";

/// A person named in the call.
pub(super) struct Named {
    pub(super) known: Known,
    /// The values of the mapping's user attribute for the person.
    pub(super) values: Values,
}

/// One recipient of a call.
#[derive(Clone, Copy)]
pub(super) enum To<'a> {
    Person(&'a Named),
    Channel(&'a ChannelId),
    Keyed { key: &'a ChannelKey, channel: &'a KeyedChannel },
}

impl Named {
    pub(super) fn user(&self) -> &UserId {
        &self.known.person.user_id
    }

    /// Whether the person is missing from the member list, and Slack may know them.
    pub(super) fn may_be_known_to_slack(
        &self,
        directory: &Directory,
        installation: &Installation,
        decision: &MemberDecision,
    ) -> bool {
        match decision {
            MemberDecision::Reach { .. } => false,
            MemberDecision::Unreachable { reason } => {
                directory.may_know(installation, &self.known.person, &self.values, *reason)
            }
        }
    }
}

impl To<'_> {
    pub(super) fn addressee(&self) -> Addressee {
        match self {
            Self::Person(named) => Addressee::Person(named.user().clone()),
            Self::Channel(id) => Addressee::Channel((*id).clone()),
            Self::Keyed { key, .. } => Addressee::ChannelKey((*key).clone()),
        }
    }
}

impl App {
    /// Evaluates the mapping's user attribute for all people in the call.
    pub(super) async fn named(
        &self,
        tenant: &Tenant,
        people: HashMap<UserId, Known>,
    ) -> Result<HashMap<UserId, Named>, Error> {
        let people: Vec<Known> = people.into_values().collect();
        let records: Vec<&Person> = people.iter().map(|known| &known.person).collect();
        let pass = Pass::default();
        let (values, _) =
            self.directory.values_of(&tenant.id, &tenant.mapping, &records, pass).await?;
        let named = people.into_iter().zip(values).map(|(known, values)| Named { known, values });
        Ok(named.map(|named| (named.user().clone(), named)).collect())
    }

    /// The channels that the call names by their keys. Unknown keys refuse the call: all are named.
    pub(super) async fn channels_named(
        &self,
        tenant: &TenantId,
        request: &Request,
    ) -> Result<KeyedChannels, Error> {
        let named = request.recipients.iter().enumerate();
        let named: Vec<(usize, &ChannelKey)> = named
            .filter_map(|(index, recipient)| match recipient {
                Recipient::ChannelKey(key) => Some((index, key)),
                _ => None,
            })
            .collect();
        if named.is_empty() {
            return Ok(KeyedChannels::new());
        }
        let keys: BTreeSet<ChannelKey> = named.iter().map(|(_, key)| (*key).clone()).collect();
        let known = self.store.waiting().keyed_channels(tenant, &keys).await?;
        let unknown = named.into_iter().filter(|(_, key)| !known.contains_key(*key));
        let field = |index: usize| format!("recipients[{index}].channel_key");
        let violations: Vec<Violation> =
            unknown.map(|(index, _)| Violation::new(field(index), UNKNOWN_KEY)).collect();
        if violations.is_empty() { Ok(known) } else { Err(Error::Invalid(violations)) }
    }
}

/// The recipients of the call, one for each that it names, in its order. A recipient that is lost
/// on the way refuses the call: it must not go without a verdict.
pub(super) fn in_order<'a>(
    request: &'a Request,
    people: &'a HashMap<UserId, Named>,
    channels: &'a KeyedChannels,
) -> Result<Vec<To<'a>>, Error> {
    let lost = || Error::Internal("a recipient is missing among those of the call".into());
    let person = |id: &UserId| people.get(id).map(To::Person).ok_or_else(lost);
    let to = |recipient: &'a Recipient| match recipient {
        Recipient::Known(id) => person(id),
        Recipient::Described(described) => person(&described.user_id),
        Recipient::Channel(id) => Ok(To::Channel(id)),
        Recipient::ChannelKey(key) => {
            channels.get(key).map(|channel| To::Keyed { key, channel }).ok_or_else(lost)
        }
    };
    request.recipients.iter().map(to).collect()
}

/// The ids of the people in the request, each once.
pub(super) fn people_named(request: &Request) -> Vec<UserId> {
    let mut ids: Vec<UserId> =
        request.recipients.iter().filter_map(Recipient::user_id).cloned().collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// All people in the request, with their stored identity; the last description in the call wins.
pub(super) fn gather(
    request: &Request,
    stored: &mut HashMap<UserId, store::StoredPerson>,
) -> HashMap<UserId, Known> {
    let mut people = HashMap::new();
    for recipient in &request.recipients {
        let (id, described) = match recipient {
            Recipient::Known(id) => (id, None),
            Recipient::Described(person) => (&person.user_id, Some(person)),
            Recipient::Channel(_) | Recipient::ChannelKey(_) => continue,
        };
        let entry = people.entry(id.clone()).or_insert_with(|| match stored.remove(id) {
            Some(known) => Known { person: known.person, identity: known.identity },
            None => Known { person: Person::bare(id.clone()), identity: None },
        });
        if let Some(person) = described {
            entry.person = person.clone();
        }
    }
    people
}

/// The choices of one person; empty by default.
pub(super) fn choices<'a>(all: &'a HashMap<UserId, Preferences>, id: &UserId) -> &'a Preferences {
    all.get(id).unwrap_or(&UNCHOSEN)
}
