//! ClearIdentity: deletes a person's stored Slack member, pinned or matched.

use super::{App, Call, Error};
use crate::domain::access;
use crate::domain::access::audit::{AuditPerson, Entry};
use crate::domain::ids::UserId;

impl App {
    /// Returns whether there was an identity. From then on the rules decide.
    pub async fn clear_identity(&self, call: &Call, user: UserId) -> Result<bool, Error> {
        call.may(&access::CLEAR_IDENTITY)?;
        let subject = Some(AuditPerson { user: user.clone(), detail: String::new() });
        let entry = Entry { subject, ..call.entry("ClearIdentity") };
        let store = self.store.noting(&entry).await?;
        Ok(store.people().clear_identity(&call.tenant, &user).await?)
    }
}
