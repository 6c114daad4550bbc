//! UpsertPeople: stores what the platform says about its users.

use super::{Acting, App, Call, Error};
use crate::domain::person::Person;

impl App {
    /// Writes all records or none; returns how many. The last write of a record wins.
    pub async fn upsert_people(&self, call: &Call, people: &[Person]) -> Result<usize, Error> {
        if call.acting()? != Acting::Service {
            call.acting()?.may_administer()?;
        }
        self.store.ensure_tenant(&call.tenant).await?;
        self.store.upsert_people(&call.tenant, people).await?;
        // Messages may wait for some of them.
        let users: Vec<_> = people.iter().map(|person| person.user_id.clone()).collect();
        self.store.recheck_held(&call.tenant, &users).await?;
        Ok(people.len())
    }
}
