//! ListPeople: the people of a tenant, each with their Slack member or the reason why there is
//! none.

use super::resolve_identity::{Resolved, answer};
use super::tenant::Known;
use super::{App, Call, Error};
use crate::domain::access;
use crate::domain::identity::person::Person;
use crate::domain::ids::UserId;
use crate::domain::mapping::Pass;
use crate::store::StoredPerson;

/// One page.
pub struct PeoplePage {
    /// In the order of their user ids.
    pub people: Vec<ListedPerson>,
    /// Whether there are more.
    pub more: bool,
}

/// One person of a page.
pub struct ListedPerson {
    pub stored: StoredPerson,
    pub resolved: Resolved,
}

impl App {
    /// Up to `limit` people after one. Answers from memory, or from the shared snapshot; never asks
    /// Slack.
    pub async fn list_people(
        &self,
        call: &Call,
        after: Option<UserId>,
        limit: u32,
    ) -> Result<PeoplePage, Error> {
        call.may(&access::LIST_PEOPLE)?;
        let tenant = self.tenant(&call.tenant).await?;
        let view = self.view(&tenant).await?;
        let mut stored = self.store.people().list(&call.tenant, after.as_ref(), limit + 1).await?;
        let more = stored.len() > limit as usize;
        stored.truncate(limit as usize);
        let people: Vec<&Person> = stored.iter().map(|stored| &stored.person).collect();
        let pass = Pass::default();
        let (values, _) =
            self.directory.values_of(&tenant.id, &tenant.mapping, &people, pass).await?;
        let people = stored.into_iter().zip(&values).map(|(stored, values)| {
            let known = Known { person: stored.person.clone(), identity: stored.identity.clone() };
            let resolved = answer(&tenant, &view, &known, values);
            ListedPerson { stored, resolved }
        });
        Ok(PeoplePage { people: people.collect(), more })
    }
}
