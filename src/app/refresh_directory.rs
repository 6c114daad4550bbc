//! RefreshDirectory: requests a new reading of the member list.

use serde_json::json;

use super::{App, Call, Error};
use crate::domain::access;
use crate::domain::access::audit::{AuditDetail, Entry};

impl App {
    /// Requests a reading soon; GetWorkspace shows which replica does it, and when Slack's limits
    /// allow it. `accept_shrink`: a loss that was refused may be published.
    pub async fn refresh_directory(&self, call: &Call, accept_shrink: bool) -> Result<(), Error> {
        call.may(&access::REFRESH_DIRECTORY)?;
        let tenant = self.tenant(&call.tenant).await?;
        let installation = tenant.installation.ok_or_else(not_connected)?;
        let detail = AuditDetail {
            object: format!("workspace:{}", installation.id),
            after: Some(json!({ "accept_shrink": accept_shrink })),
            ..AuditDetail::default()
        };
        let store = self.store.noting(&Entry { detail, ..call.entry("RefreshDirectory") }).await?;
        if !accept_shrink {
            store.member_lists().request_refresh(installation.id).await?;
        } else if store.member_lists().accept_shrink(installation.id).await? {
            let workspace = installation.id;
            tracing::info!(%workspace, "an administrator accepted the loss of members");
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
