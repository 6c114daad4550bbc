//! Exchanges a token for the next one: by one replica at a time, under a lease.
//!
//! The tokens are read after the lease was taken, so that no replica uses a refresh token that
//! another one has spent. Both new tokens are committed before either is used. If the process dies
//! in between, the next holder repeats the exchange with the same refresh token, which Slack
//! accepts for a short time; the lease is shorter than that. An exchange that has begun does not
//! end with the call that asked for it.

use std::time::Duration;

use tokio::time::Instant;

use super::{Error, Workspaces};
use crate::domain::ids::InstallationId;
use crate::domain::secret::Secret;
use crate::domain::slack_app::BAD_SECRET;
use crate::domain::token_life::{self, RenewalFailure, RenewalKind, RenewalStep};
use crate::slack::{self, NextToken};
use crate::store::{self, TokenExchange, TokenLease, TokenState};

/// The lease on a token. A request may take half of it.
const LEASE: Duration = Duration::from_secs(30);
/// How long a call waits for the next token.
const PATIENCE: Duration = Duration::from_secs(2);
/// A token that expires within this time after an exchange may have been met as expired.
const NEAR: Duration = Duration::from_secs(5);
/// The pause between two looks for it while another replica exchanges the token.
const LOOK: Duration = Duration::from_millis(50);
/// When a call that found no valid token is worth repeating.
const PAUSE: Duration = Duration::from_secs(2);
/// The wait before new tokens that were not stored are stored again; it doubles.
const STORE_AGAIN: Duration = Duration::from_millis(50);
const STORE_AGAIN_AT_MOST: Duration = Duration::from_secs(2);
/// How often that is tried, over about ten minutes: without these tokens the workspace has none.
const STORE_TRIES: u32 = 300;

/// The result of an attempt to exchange a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    Renewed,
    /// Another replica exchanges it.
    Held,
    /// It is not due. After a failure this is the wait before the next attempt.
    NotDue,
    /// It failed; the next attempt is in the store's schedule.
    Failed,
}

impl Workspaces {
    /// The token that follows an expired one.
    pub(super) async fn next_token(
        &self,
        id: InstallationId,
        holder: InstallationId,
    ) -> Result<store::Token, Error> {
        let until = Instant::now() + PATIENCE;
        let renewing = || Error::Renewing { after: self.renewal_pause() };
        loop {
            let turn = self.renewing.turn(holder);
            let turn = tokio::time::timeout_at(until, turn).await.map_err(|_| renewing())?;
            let token = self.stored_token(id).await?;
            match token.state {
                TokenState::Valid => return Ok(token),
                TokenState::Expired => {}
                TokenState::Migrating => {
                    return Err(Error::Migrating { after: self.migration_pause() });
                }
                TokenState::Dead(code) => return Err(Error::Reconnect { code }),
            }
            let attempt = tokio::time::timeout_at(until, self.renew(holder)).await;
            drop(turn);
            match attempt {
                Ok(Ok(Renewal::Renewed)) => {}
                Ok(Ok(Renewal::Held)) => {
                    if Instant::now() >= until {
                        return Err(renewing());
                    }
                    tokio::time::sleep(LOOK).await;
                }
                Ok(Ok(Renewal::NotDue | Renewal::Failed)) | Err(_) => return Err(renewing()),
                Ok(Err(error)) => return Err(error),
            }
        }
    }

    /// How long a lease on a token lasts.
    #[must_use]
    pub fn renewal_lease(&self) -> Duration {
        LEASE.mul_f64(self.time_scale())
    }

    /// When a call that found no valid token is worth repeating.
    pub(super) fn renewal_pause(&self) -> Duration {
        PAUSE.mul_f64(self.time_scale())
    }

    /// Exchanges the token of an installation for the next one, if it is due. The exchange
    /// continues if the future is dropped.
    pub async fn renew(&self, id: InstallationId) -> Result<Renewal, Error> {
        let workspaces = self.clone();
        let exchange = tokio::spawn(async move { workspaces.renew_now(id).await });
        // It panicked, or the process stops.
        exchange.await.unwrap_or(Ok(Renewal::Failed))
    }

    async fn renew_now(&self, id: InstallationId) -> Result<Renewal, Error> {
        let lease_time = self.renewal_lease();
        // Before the lease is taken, so that it ends no earlier than this replica believes.
        let begun = Instant::now();
        let tokens = self.store.tokens();
        let Some(lease) = tokens.acquire(id, lease_time).await? else {
            let held = tokens.exchange(id).await? == TokenExchange::Held;
            return Ok(if held { Renewal::Held } else { Renewal::NotDue });
        };
        tracing::debug!(workspace = %id, "a token is due, and this replica exchanges it");
        let answered = self.ask_for_next(&lease, begun + lease_time / 2).await;
        match answered {
            Ok(next) => self.keep_next(&lease, &next, begun).await,
            Err(error) => {
                let left = (begun + lease_time).saturating_duration_since(Instant::now());
                self.not_renewed(&lease, &error, left).await?;
                Ok(Renewal::Failed)
            }
        }
    }

    /// Slack's next token, if the request ends by this time.
    async fn ask_for_next(
        &self,
        lease: &TokenLease,
        until: Instant,
    ) -> Result<NextToken, slack::Error> {
        let app = match self.credentials_of(lease.installation).await {
            Ok(app) => app,
            Err(error) => {
                let (workspace, code) = (lease.installation, "app_not_configured".to_owned());
                tracing::warn!(%workspace, %error, "the Slack app of a token has no credentials");
                return Err(slack::Error::Transient { code });
            }
        };
        let id = app.client_id.as_str();
        let request = async {
            let answer = self.ask_with(lease, id, &app.client_secret).await;
            // Slack refuses the secret before it looks at the token.
            match (answer, &app.previous_client_secret) {
                (Err(slack::Error::Rejected { code, .. }), Some(previous))
                    if code == BAD_SECRET =>
                {
                    self.ask_with(lease, id, previous).await
                }
                (answer, _) => answer,
            }
        };
        // Nothing repeats an exchange whose answer was lost, so it has all the time that it takes.
        if lease.refresh_token.is_none() {
            return request.await;
        }
        let lost = || slack::Error::Unknown { code: "timeout".to_owned() };
        if Instant::now() >= until {
            return Err(slack::Error::Transient { code: "too_late".to_owned() });
        }
        tokio::time::timeout_at(until, request).await.unwrap_or_else(|_| Err(lost()))
    }

    async fn ask_with(
        &self,
        lease: &TokenLease,
        client_id: &str,
        client_secret: &Secret,
    ) -> Result<NextToken, slack::Error> {
        let slack = &self.slack;
        match &lease.refresh_token {
            Some(refresh) => slack.oauth_v2_refresh(client_id, client_secret, refresh).await,
            None => slack.oauth_v2_exchange(client_id, client_secret, &lease.token).await,
        }
    }

    /// Stores the next tokens. The refresh token is spent, so this is tried for long.
    async fn keep_next(
        &self,
        lease: &TokenLease,
        next: &NextToken,
        begun: Instant,
    ) -> Result<Renewal, Error> {
        let id = lease.installation;
        let present = self.stored_token(id).await;
        let was_met = present.is_ok_and(|token| token.state == TokenState::Expired);
        let (mut tries, mut wait) = (0, STORE_AGAIN);
        while let Err(error) = self.store_next(lease, next).await {
            tries += 1;
            if tries == STORE_TRIES {
                return Err(error.into());
            }
            tracing::warn!(workspace = %id, %error, "a new token is not stored yet");
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(STORE_AGAIN_AT_MOST);
        }
        tracing::debug!(workspace = %id, "a token was exchanged for the next one");
        if was_met || lease.left.is_some_and(|left| left <= begun.elapsed() + NEAR) {
            // Lanes may have been put to sleep when they met the expired token. They also wake by
            // themselves, later.
            if let Err(error) = self.wake_all(id).await {
                tracing::warn!(workspace = %id, %error, "lanes were not woken");
            }
        }
        Ok(Renewal::Renewed)
    }

    async fn store_next(&self, lease: &TokenLease, next: &NextToken) -> Result<(), store::Error> {
        let tokens = self.store.tokens();
        let life = next.expires_in.map(|life| life.mul_f64(self.time_scale()));
        let due = life.map(token_life::due_after);
        let refresh = next.refresh_token.as_ref();
        let pair = tokens.seal(lease.installation, &next.access_token, refresh).await?;
        if !tokens.renew(lease, &pair, life, due).await? {
            let workspace = lease.installation;
            tracing::info!(%workspace, "a new token was not stored: there is a newer one");
        }
        Ok(())
    }

    /// Wakes the lanes of an installation and of those that use its token.
    async fn wake_all(&self, holder: InstallationId) -> Result<(), Error> {
        let others = self.store.tokens().installations_of_org(holder).await?;
        for id in std::iter::once(holder).chain(others) {
            self.store.lanes().wake(id).await?;
        }
        Ok(())
    }

    /// Records a failure. `left`: how long the lease lasts.
    async fn not_renewed(
        &self,
        lease: &TokenLease,
        error: &slack::Error,
        left: Duration,
    ) -> Result<(), Error> {
        let id = lease.installation;
        let kind = match lease.refresh_token {
            Some(_) => RenewalKind::Refresh,
            None => RenewalKind::Exchange,
        };
        let failure = failure_of(error);
        let step = token_life::after_failure(kind, failure, lease.failures, lease.has_expired());
        // Slack's own wait is scaled by the client.
        let asked = match error {
            slack::Error::Throttled { after } => *after,
            _ => Duration::ZERO,
        };
        let scaled = |wait: Duration| wait.mul_f64(self.time_scale()).max(asked);
        let is_refused =
            matches!(failure, RenewalFailure::Refused(_)) && step != RenewalStep::Leave;
        let refused = is_refused.then(|| error.code());
        if step == RenewalStep::Leave {
            tracing::info!(workspace = %id, %error, "a token stays as it is, without an end");
        } else {
            tracing::warn!(workspace = %id, %error, "a token was not exchanged for the next one");
        }
        let again = match step {
            // The end of the present token decides whether the workspace must be connected again.
            RenewalStep::Again(wait) if is_refused => Some(scaled(wait).min(lease.ends_in())),
            RenewalStep::Again(wait) => Some(scaled(wait)),
            RenewalStep::AfterLease(wait) => Some(scaled(wait).max(left)),
            RenewalStep::Leave => None,
            RenewalStep::Dead => {
                self.end_token(id, lease.version(), error.code()).await?;
                return Ok(());
            }
        };
        Ok(self.store.tokens().fail(lease, again, refused).await?)
    }
}

fn failure_of(error: &slack::Error) -> RenewalFailure<'_> {
    match error {
        slack::Error::Throttled { .. } | slack::Error::Transient { .. } => RenewalFailure::Unsent,
        slack::Error::Unknown { .. } => RenewalFailure::Unclear,
        slack::Error::Unauthorized { code } | slack::Error::Rejected { code, .. } => {
            RenewalFailure::Refused(code)
        }
        slack::Error::MissingScope { .. } => RenewalFailure::Refused(error.code()),
    }
}
