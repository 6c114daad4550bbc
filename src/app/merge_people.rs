//! MergePeople: two ids turned out to be one person.

use super::rename_person::{different, renamed};
use super::{App, Call, Error};
use crate::domain::access;
use crate::domain::ids::UserId;
use crate::store::Succession;

impl App {
    /// Returns the number of messages of the first id that have not ended. Safe to repeat: it
    /// continues.
    pub async fn merge_people(
        &self,
        call: &Call,
        from: &UserId,
        into: &UserId,
    ) -> Result<u64, Error> {
        call.may_about(&access::MERGE_PEOPLE, from)?;
        different("into_user_id", from, into)?;
        // The entry does not name the people: the first one's key ends.
        let store = self.store.noting(&call.entry("MergePeople")).await?;
        let succession = Succession { tenant: &call.tenant, from, to: into, rename: renamed };
        let waiting = store.ends().merge_people(&succession).await?;
        let people = std::slice::from_ref(into);
        self.store.waiting().recheck_held(&call.tenant, people).await?;
        Ok(waiting)
    }
}
