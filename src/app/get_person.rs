//! GetPerson: one person as the store knows them.

use super::{App, Call, Error};
use crate::domain::access;
use crate::domain::ids::UserId;
use crate::domain::settings::Preferences;
use crate::store::StoredPerson;

/// A person's record, identity and choices.
pub struct Profile {
    pub stored: StoredPerson,
    pub preferences: Preferences,
}

impl App {
    /// [`Error::NotFound`] for a person who was never described.
    pub async fn get_person(&self, call: &Call, user: UserId) -> Result<Profile, Error> {
        call.may_about(&access::GET_PERSON, &user)?;
        let stored = self.store.people().get(&call.tenant, &user).await?;
        let stored = stored.ok_or(Error::NotFound("person"))?;
        let preferences = self.choices(&call.tenant, &user).await?;
        Ok(Profile { stored, preferences })
    }
}
