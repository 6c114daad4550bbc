//! A connected installation: its token, its budgets, its calls, and the effect of Slack's refusals
//! on it. This is the only caller of `slack`'s methods, so every replica keeps the same limits.
//!
//! A 429 pauses its method in this workspace for all replicas. A dead token stops the workspace
//! until it is connected again. Both are recorded here, for every call.

mod channels;
mod confirm_alive;
mod connect;
mod methods;
mod pauses;
mod posting;
pub mod scopes;

mod config;
mod examine;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

pub use crate::domain::capacity::slack_method::Method;
pub use config::Config;
pub use confirm_alive::Alive;
pub use connect::{ConnectError, Exchange, Granted, Unsupported};
pub use methods::{INTERACTIVE, MessageChange, RequestMade};
use pauses::Pauses;

use crate::domain::ids::InstallationId;
use crate::domain::secret::Secret;
use crate::slack;
use crate::store::{self, Store};

/// How late a start may still be used.
const LATE: Duration = Duration::from_secs(1);
/// Starts that one call may miss.
const STARTS: u32 = 3;

/// Calls Slack on behalf of connected workspaces. Cheap to clone.
#[derive(Clone)]
pub struct Workspaces {
    store: Store,
    slack: slack::Client,
    config: Arc<Config>,
    /// The pauses that Slack requested from this replica.
    pauses: Arc<Pauses>,
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
        Self { store, slack, config: Arc::new(config), pauses: Arc::default() }
    }

    /// The factor for leases and for durations that Slack dictates.
    pub fn time_scale(&self) -> f64 {
        self.slack.time_scale()
    }

    /// Verifies that a request is Slack's. Returns its timestamp, which the caller must still
    /// compare with the current time.
    pub fn signed(
        &self,
        timestamp: &str,
        body: &[u8],
        signature: &str,
    ) -> Result<i64, slack::signature::SignatureError> {
        let secret = &self.config.signing_secret;
        slack::signature::authentic(secret, timestamp, body, signature)
    }

    /// The token, unless it is known to be dead.
    pub async fn token(&self, id: InstallationId) -> Result<store::Token, Error> {
        let token = match self.store.tenancy().token(id).await {
            Err(store::Error::NotFound(_)) => return Err(Error::Unknown),
            token => token?,
        };
        match token.dead {
            Some(code) => Err(Error::Reconnect { code }),
            None => Ok(token),
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
                self.died(id, token_version, &code).await?;
                Ok(Error::Reconnect { code })
            }
            other => Ok(Error::Slack(other)),
        }
    }

    /// The token is dead: stop this workspace, unless it was connected again meanwhile.
    async fn died(
        &self,
        id: InstallationId,
        token_version: i64,
        code: &str,
    ) -> Result<(), store::Error> {
        if self.store.tenancy().mark_installation_dead(id, token_version, code).await? {
            tracing::warn!(workspace = %id, code, "the token is dead: connect the workspace again");
        }
        Ok(())
    }
}
