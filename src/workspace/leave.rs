//! Revoking the token of a workspace that its last tenant leaves, and confirming the token of a
//! connect that the revocation may have met.

use std::time::Duration;

use super::{Error, Method, Workspaces};
use crate::domain::ids::InstallationId;
use crate::store;

/// How long the request may wait for its budget.
const PATIENCE: Duration = Duration::from_secs(5);
/// A request has ended for certain after this time, in Slack too.
const REQUEST_ENDS: Duration = Duration::from_secs(120);
/// Tokens that one look confirms.
const AT_ONCE: u32 = 16;

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
    /// Asks Slack to revoke the token (`auth.revoke`) that the installation has from this connect;
    /// `None`: it was connected again, and its token stays. An answer that is missing or unclear is
    /// no error: a tenant can leave while Slack is down, while the token has expired and no next
    /// one comes, and while the workspace moves into an organization.
    ///
    /// A connect that comes before the request ends may get the same token from Slack. Then
    /// [`Self::confirm_revoked`] finds out whether it works.
    pub async fn revoke(
        &self,
        id: InstallationId,
        generation: i64,
    ) -> Result<Option<Revocation>, Error> {
        let token = match self.token(id).await {
            Ok(token) => token,
            Err(error) => return not_revoked(id, error).map(Some),
        };
        // Read before the comparison, so it is no later connect's.
        let ends = REQUEST_ENDS.mul_f64(self.time_scale());
        if !self.store.tokens().begin_revocation(id, generation, ends).await? {
            return Ok(None);
        }
        if let Err(error) = self.wait_for_start(id, Method::AuthRevoke, PATIENCE).await {
            return not_revoked(id, error).map(Some);
        }
        match self.slack.auth_revoke(&token.secret).await {
            Ok(true) => Ok(Some(Revocation::Revoked { rotates: token.expires_at.is_some() })),
            Ok(false) => {
                tracing::warn!(workspace = %id, "Slack did not revoke a token");
                Ok(Some(Revocation::Unclear))
            }
            Err(error) => {
                let error = self.record(id, Method::AuthRevoke, token.version, error).await?;
                not_revoked(id, error).map(Some)
            }
        }
    }

    /// Asks Slack whether tokens work that a revocation may have met, once its request has ended
    /// for certain. A dead one is recorded.
    pub async fn confirm_revoked(&self) -> Result<(), Error> {
        let due = self.store.tokens().met_by_revocations(AT_ONCE).await?;
        for met in &due {
            let now = self.store.now().await?;
            match self.confirm_alive(met.installation, now).await {
                Ok(_) | Err(Error::Unknown) => self.store.tokens().confirmed(*met).await?,
                Err(error @ Error::Store(_)) => return Err(error),
                Err(error) => {
                    let workspace = met.installation;
                    tracing::info!(%workspace, %error, "a token is confirmed later");
                }
            }
        }
        Ok(())
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
