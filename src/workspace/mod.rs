//! A connected installation: its token, its budgets, its calls, and the effect of Slack's refusals
//! on it. This is the only caller of `slack`'s methods, so every replica keeps the same limits.
//!
//! A 429 pauses its method in this workspace for all replicas. A dead token stops the workspace
//! until it is connected again, and a move into an organization stops it until it has ended. All of
//! that is recorded here, for every call. A token that expires is exchanged for the next one in
//! time (`renew`); a call that meets an expired one waits for the next.

mod apps;
mod channels;
mod confirm_alive;
mod discard;
mod features;
mod leave;
mod manifests;
mod methods;
mod pauses;
mod posting;
mod sign_in;

mod config;
mod connect;
mod examine;

mod moving;
mod org;
mod renew;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

pub use crate::domain::capacity::slack_method::Method;
pub use apps::{AppRef, Authenticity, Signed};
pub use config::Config;
pub use confirm_alive::Alive;
pub use connect::{ConnectError, Exchange, Granted, NotConnected};
pub use discard::Discarded;
pub use leave::Revocation;
pub use methods::{INTERACTIVE, MessageChange, RequestMade};
pub use org::TeamChoice;
use pauses::Pauses;
pub use renew::Renewal;
pub use sign_in::{SignInError, SignInTerms};

use crate::domain::ids::InstallationId;
use crate::domain::secret::Secret;
use crate::slack;
use crate::store::{self, ACCESS_NOT_GRANTED, Expiry, InTurn, Store, TokenExchange, TokenState};

/// How late a start may still be used.
const LATE: Duration = Duration::from_secs(1);
/// Starts that one call may miss.
const STARTS: u32 = 3;

/// Slack's code for a token at its end.
const EXPIRED: &str = "token_expired";

/// Whether this code of Slack's says that the workspace moves into an organization.
fn is_of_migration(code: &str) -> bool {
    matches!(code, "team_added_to_org" | "org_login_required")
}

/// Calls Slack on behalf of connected workspaces. Cheap to clone.
#[derive(Clone)]
pub struct Workspaces {
    store: Store,
    slack: slack::Client,
    config: Arc<Config>,
    /// The pauses that Slack requested from this replica.
    pauses: Arc<Pauses>,
    /// Calls that met the same expired token wait for one exchange.
    renewing: InTurn<InstallationId>,
}

/// Why a call for a workspace failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// See [`store::Error`].
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Slack refused, or did not answer; see [`slack::Error`].
    #[error(transparent)]
    Slack(slack::Error),
    /// The token is dead: nothing works until the workspace is connected again.
    #[error("the workspace must be connected again ({code})")]
    Reconnect { code: String },
    /// The workspace moves into an organization; it is looked at again after this time.
    #[error("the workspace moves into an organization")]
    Migrating { after: Duration },
    /// The token has expired, and the next one is not there yet.
    #[error("the token has expired, and the next one is not there yet")]
    Renewing { after: Duration },
    /// The budget of this method is spent for longer than the caller would wait.
    #[error("the rate limit allows the next call in {} ms", after.as_millis())]
    Busy { after: Duration },
    /// The call did not begin within its allowed time.
    #[error("it is too late to begin the call")]
    Late,
    /// There is no such installation.
    #[error("there is no such workspace")]
    Unknown,
}

impl Workspaces {
    pub fn new(store: Store, slack: slack::Client, config: Config) -> Self {
        let renewing = InTurn::default();
        Self { store, slack, config: Arc::new(config), pauses: Arc::default(), renewing }
    }

    /// The factor for leases and for durations that Slack dictates.
    pub fn time_scale(&self) -> f64 {
        self.slack.time_scale()
    }

    /// The token, unless it is known to be dead. Waits a moment for the next one if it has expired.
    pub async fn token(&self, id: InstallationId) -> Result<store::Token, Error> {
        let token = self.stored_token(id).await?;
        match token.state {
            TokenState::Valid => Ok(token),
            // On the heap: it is rare, and every call has the future of this one.
            TokenState::Expired => Box::pin(self.next_token(id, token.holder)).await,
            TokenState::Migrating => Err(Error::Migrating { after: self.migration_pause() }),
            TokenState::Dead(code) => Err(Error::Reconnect { code }),
        }
    }

    /// The token, whatever its state.
    async fn stored_token(&self, id: InstallationId) -> Result<store::Token, Error> {
        match self.store.tenancy().token(id).await {
            Err(store::Error::NotFound(_)) => Err(Error::Unknown),
            token => Ok(token?),
        }
    }

    /// One call within its budget. Waits at most `patience` for the budget; what Slack's answer
    /// says about limits and tokens is recorded before it is returned.
    async fn call<T>(
        &self,
        id: InstallationId,
        method: Method,
        patience: Duration,
        call: impl AsyncFnOnce(&slack::Client, &Secret) -> Result<T, slack::Error>,
    ) -> Result<T, Error> {
        let token = self.token(id).await?;
        self.wait_for_start(id, method, patience).await?;
        let after = self.pauses.left(id, method, Instant::now());
        if !after.is_zero() {
            return Err(Error::Busy { after });
        }
        match call(&self.slack, &token.secret).await {
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.record(id, method, token.version, error).await?),
        }
    }

    /// Waits for a start in the method's own budget. A start during which this process was frozen
    /// is not used: after a freeze all of them would be late, and begin at the same time.
    async fn wait_for_start(
        &self,
        id: InstallationId,
        method: Method,
        patience: Duration,
    ) -> Result<(), Error> {
        let interval = method.interval().mul_f64(self.time_scale());
        let mut locked = None;
        for _ in 0..STARTS {
            let asked = Instant::now();
            let start =
                match self.store.budgets().reserve(id, method.name(), interval, patience).await {
                    Err(error @ store::Error::Locked(_)) => {
                        locked = Some(error);
                        continue;
                    }
                    start => start?,
                };
            if !start.taken {
                return Err(Error::Busy { after: start.wait });
            }
            if !start.wait.is_zero() {
                tokio::time::sleep(start.wait).await;
                // Another call may have been throttled meanwhile; that holds for all replicas.
                self.not_paused(id, method).await?;
            }
            if asked.elapsed() <= start.wait + LATE {
                return Ok(());
            }
        }
        Err(locked.map_or(Error::Busy { after: interval }, Error::Store))
    }

    /// [`Error::Busy`] while Slack asks to wait.
    async fn not_paused(&self, id: InstallationId, method: Method) -> Result<(), Error> {
        let after = self.store.budgets().pause_left(id, method.name()).await?;
        if after.is_zero() { Ok(()) } else { Err(Error::Busy { after }) }
    }

    /// Records the consequences of an error for all callers; returns it as this module's.
    async fn record(
        &self,
        id: InstallationId,
        method: Method,
        token_version: i64,
        error: slack::Error,
    ) -> Result<Error, Error> {
        match error {
            slack::Error::Throttled { after } => {
                self.pauses.keep(id, method, Instant::now(), after);
                self.store.budgets().pause(id, method.name(), after).await?;
                tracing::info!(
                    workspace = %id, method = method.name(), ?after,
                    "Slack asks Herald to wait before the next call"
                );
                Ok(Error::Slack(slack::Error::Throttled { after }))
            }
            slack::Error::Unauthorized { code } => {
                if self.died(id, token_version, &code).await? {
                    Ok(Error::Reconnect { code })
                } else {
                    Ok(Error::Renewing { after: self.renewal_pause() })
                }
            }
            slack::Error::Transient { code } if is_of_migration(&code) => {
                self.migrates(id).await?;
                Ok(Error::Migrating { after: self.migration_pause() })
            }
            other => Ok(Error::Slack(other)),
        }
    }

    /// Slack refused the token. Stops this workspace, unless it has, or gets, another token: then
    /// `false`. While a token is being exchanged, Slack may have ended it already, and the next one
    /// is not stored yet.
    async fn died(
        &self,
        id: InstallationId,
        token_version: i64,
        code: &str,
    ) -> Result<bool, store::Error> {
        let tokens = self.store.tokens();
        let of_workspace = code == ACCESS_NOT_GRANTED;
        let exchanged =
            !of_workspace && code != EXPIRED && tokens.exchange(id).await? != TokenExchange::None;
        if exchanged || code == EXPIRED {
            match tokens.expire(id, token_version).await? {
                Expiry::Noted | Expiry::Replaced => return Ok(false),
                // The token of an exchange for the first one that expires.
                Expiry::Final if exchanged => return Ok(false),
                Expiry::Final => {}
            }
        }
        self.end_token(id, token_version, code).await
    }

    /// Stops this workspace, unless it has another token than that of this version. Returns whether
    /// it is stopped.
    async fn end_token(
        &self,
        id: InstallationId,
        token_version: i64,
        code: &str,
    ) -> Result<bool, store::Error> {
        if self.store.tenancy().mark_installation_dead(id, token_version, code).await? {
            tracing::warn!(workspace = %id, code, "the token is dead: connect the workspace again");
            return Ok(true);
        }
        let token = self.store.tenancy().token(id).await?;
        Ok(matches!(token.state, TokenState::Dead(_)))
    }
}
