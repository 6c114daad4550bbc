//! Revoking the token of a workspace that its last tenant leaves.

use std::time::Duration;

use super::{Error, Method, Workspaces};
use crate::domain::ids::InstallationId;
use crate::store;

/// How long the request may wait for its budget.
const PATIENCE: Duration = Duration::from_secs(5);

/// The end of a token, as Slack answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revocation {
    /// It no longer works. `rotates`: it was one of several that an app with token rotation has, so
    /// the app itself is still installed.
    Revoked { rotates: bool },
    /// It had stopped working before.
    WasDead,
    /// Slack refused, or gave no clear answer: the token may still work.
    Unclear,
}

impl Workspaces {
    /// Asks Slack to revoke the token (`auth.revoke`). An answer that is missing or unclear is no
    /// error: a tenant can leave while Slack is down, while the token has expired and no next one
    /// comes, and while the workspace moves into an organization.
    pub async fn revoke(&self, id: InstallationId) -> Result<Revocation, Error> {
        let rotates = match self.token(id).await {
            Ok(token) => token.expires_at.is_some(),
            Err(error) => return not_revoked(id, error),
        };
        let asked = self
            .call(id, Method::AuthRevoke, PATIENCE, async |slack, token| {
                slack.auth_revoke(token).await
            })
            .await;
        match asked {
            Ok(true) => Ok(Revocation::Revoked { rotates }),
            Ok(false) => {
                tracing::warn!(workspace = %id, "Slack did not revoke a token");
                Ok(Revocation::Unclear)
            }
            Err(error) => not_revoked(id, error),
        }
    }
}

/// The end of a token that was not revoked. One that has expired, belongs to a workspace that moves
/// or cannot be decrypted cannot be revoked now: the tenant leaves nevertheless.
fn not_revoked(id: InstallationId, error: Error) -> Result<Revocation, Error> {
    let code = match error {
        Error::Reconnect { .. } => return Ok(Revocation::WasDead),
        Error::Store(store::Error::Sealed(_)) => "not_decrypted".to_owned(),
        error @ (Error::Store(_) | Error::Unknown) => return Err(error),
        Error::Slack(error) => error.code().to_owned(),
        Error::Migrating { .. } | Error::Renewing { .. } | Error::Busy { .. } | Error::Late => {
            "not_asked".to_owned()
        }
    };
    tracing::warn!(workspace = %id, code, "Slack did not revoke a token");
    Ok(Revocation::Unclear)
}
