//! Requests from Slack to `/slack/events`: verified as Slack's, stored, acknowledged. Events are
//! not applied here: Slack waits three seconds at most, and a replica that dies must not lose
//! events that it acknowledged.

use super::{App, Error};
use crate::slack::audience::EventAudience;
use crate::slack::events::{self, Event, Incoming, What};
use crate::slack::signature::{self, SignatureError};
use crate::store::NewEvent;

/// A request as it was received.
#[derive(Clone, Copy)]
pub struct SignedRequest<'a> {
    /// `X-Slack-Request-Timestamp`; empty if it is missing.
    pub timestamp: &'a str,
    /// `X-Slack-Signature`; empty if it is missing.
    pub signature: &'a str,
    pub body: &'a [u8],
}

/// The answer to give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// The event was stored, is already known, or is not used.
    Acknowledged,
    /// Slack wants its challenge back.
    Challenge(String),
    /// Not from Slack, or too old: the answer must say no more than that.
    Refused,
}

impl App {
    /// Stores the event for every installation that it is about; committed on return. The signature
    /// is checked before any lookup, over the bytes as received.
    pub async fn take_event(&self, request: SignedRequest<'_>) -> Result<Taken, Error> {
        if let Some(error) = self.forgery(request).await? {
            tracing::warn!(%error, "a request to /slack/events was refused");
            self.metrics.slack_events("refused", 1);
            return Ok(Taken::Refused);
        }
        match events::parse(request.body) {
            Ok(Incoming::Verification { challenge }) => Ok(Taken::Challenge(challenge)),
            Ok(Incoming::Unused) => {
                self.metrics.slack_events("unused", 1);
                Ok(Taken::Acknowledged)
            }
            Ok(Incoming::Event(event)) => self.store_event(event).await,
            Err(error) => {
                // After an error Slack would only send the same again.
                tracing::warn!(%error, "a request to /slack/events was not understood");
                self.metrics.slack_events("unreadable", 1);
                Ok(Taken::Acknowledged)
            }
        }
    }

    /// Why the request is not from Slack, or is too old; `None`: it is good.
    async fn forgery(&self, request: SignedRequest<'_>) -> Result<Option<SignatureError>, Error> {
        let SignedRequest { timestamp, signature, body } = request;
        let at = match self.workspaces.signed(timestamp, body, signature) {
            Ok(at) => at,
            Err(error) => return Ok(Some(error)),
        };
        // The database's clock: a replica's own may be wrong.
        let now = self.store.now().await?;
        Ok(signature::fresh(at, now.0.div_euclid(1_000_000)).err())
    }

    async fn store_event(&self, event: Event) -> Result<Taken, Error> {
        let Event { id, app_id, audience, happened_at, what } = event;
        let EventAudience { teams, enterprises } = &audience;
        let installations =
            self.store.slack_events().installations_of_app(&app_id, teams, enterprises).await?;
        if installations.is_empty() {
            self.metrics.slack_events("unknown_workspace", 1);
            return Ok(Taken::Acknowledged);
        }
        let kind = what.kind();
        let body = match what {
            What::Member { member, .. } => member.get().as_bytes().to_vec(),
            What::Channel { event, .. } => {
                serde_json::to_vec(&event).map_err(|error| Error::Internal(error.into()))?
            }
            What::Organization { .. }
            | What::Uninstalled
            | What::TokenRevoked
            | What::RateLimited => b"{}".to_vec(),
        };
        for installation in installations {
            let (event_id, body) = (id.clone(), body.clone());
            let event = NewEvent { installation, event_id, kind, happened_at, body };
            let taken = self.store.slack_events().take(&event).await?;
            self.metrics.slack_events(if taken { "taken" } else { "repeated" }, 1);
        }
        Ok(Taken::Acknowledged)
    }
}
