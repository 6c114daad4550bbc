//! UpsertPeople: stores the platform's data about its users.

use serde_json::json;

use super::{App, Call, Error};
use crate::domain::access;
use crate::domain::access::audit::{self, AuditDetail, Entry};
use crate::domain::identity::person::Person;

impl App {
    /// Writes all records or none; returns how many. The last write of a record wins.
    pub async fn upsert_people(&self, call: &Call, people: &[Person]) -> Result<usize, Error> {
        call.may(&access::UPSERT_PEOPLE)?;
        self.store.tenancy().ensure_tenant(&call.tenant).await?;
        let detail = AuditDetail {
            after: Some(json!({ "people": people.len() })),
            ..AuditDetail::default()
        };
        let subject = match people {
            [one] => Some(audit::AuditPerson { user: one.user_id.clone(), detail: String::new() }),
            _ => None,
        };
        let entry = Entry { subject, detail, ..call.entry("UpsertPeople") };
        self.store.noting(&entry).await?.people().upsert(&call.tenant, people).await?;
        // Messages may wait for some of them.
        let users: Vec<_> = people.iter().map(|person| person.user_id.clone()).collect();
        self.store.waiting().recheck_held(&call.tenant, &users).await?;
        Ok(people.len())
    }
}
