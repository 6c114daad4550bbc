//! The recipients of a call, each with the facts about them.

use std::collections::{BTreeMap, HashMap};

use super::{Recipient, Request};
use crate::app::tenant::{Known, Tenant};
use crate::app::{App, Error};
use crate::directory::Directory;
use crate::domain::delivery::verdict::Addressee;
use crate::domain::identity::matching::MemberDecision;
use crate::domain::identity::person::Person;
use crate::domain::ids::{ChannelId, UserId};
use crate::domain::mapping::{Pass, Values};
use crate::domain::settings::{Preference, Preferences};
use crate::store::{self, Installation};

/// The choices of a person who has made none.
static UNCHOSEN: Preferences =
    Preferences { all: Preference::Inherit, by_type: BTreeMap::new(), origins: BTreeMap::new() };

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
                let person = (&self.known.person, &self.values);
                directory.may_know(installation, person, *reason)
            }
        }
    }
}

impl To<'_> {
    pub(super) fn addressee(&self) -> Addressee {
        match self {
            Self::Person(named) => Addressee::Person(named.user().clone()),
            Self::Channel(id) => Addressee::Channel((*id).clone()),
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
}

/// The recipients of the call, one for each that it names, in its order. A recipient that is lost
/// on the way refuses the call: it must not go without a verdict.
pub(super) fn in_order<'a>(
    request: &'a Request,
    people: &'a HashMap<UserId, Named>,
) -> Result<Vec<To<'a>>, Error> {
    let person = |id: &UserId| {
        let lost = || Error::Internal("a recipient is missing among the call's people".into());
        people.get(id).map(To::Person).ok_or_else(lost)
    };
    let to = |recipient: &'a Recipient| match recipient {
        Recipient::Known(id) => person(id),
        Recipient::Described(described) => person(&described.user_id),
        Recipient::Channel(id) => Ok(To::Channel(id)),
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
            Recipient::Channel(_) => continue,
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
