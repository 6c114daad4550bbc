//! RefreshDirectory: has the member list read anew.

use super::{App, Call, Error};

impl App {
    /// Asks for a reading soon; which replica does it, and when Slack's limits allow it, shows in
    /// GetWorkspace. `accept_shrink`: a loss that was refused may be published.
    pub async fn refresh_directory(&self, call: &Call, accept_shrink: bool) -> Result<(), Error> {
        call.acting()?.may_administer()?;
        let tenant = self.tenant(&call.tenant).await?;
        let installation = tenant.installation.ok_or_else(not_connected)?;
        if accept_shrink && self.directory.accept_shrink(installation.id).await? {
            tracing::info!(workspace = %installation.id, "an administrator accepted the loss of members");
        }
        Ok(self.directory.refresh_soon(installation.id).await?)
    }
}

pub(super) fn not_connected() -> Error {
    Error::Precondition {
        reason: "NOT_CONNECTED",
        sentence: "the tenant must connect a Slack workspace first",
    }
}
