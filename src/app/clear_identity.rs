//! ClearIdentity: forgets which member a person is, pinned or found.

use super::{App, Call, Error};
use crate::domain::ids::UserId;

impl App {
    /// Whether there was an identity. From then on the rules decide.
    pub async fn clear_identity(&self, call: &Call, user: UserId) -> Result<bool, Error> {
        call.acting()?.may_administer()?;
        Ok(self.store.clear_identity(&call.tenant, &user).await?)
    }
}
