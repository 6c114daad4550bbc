//! Requests from Slack to the addresses of events: verified as Slack's, stored, acknowledged.
//! Events are not applied here: Slack waits three seconds at most, and a replica that dies must not
//! lose events that it acknowledged. Only openings of the Home tab are not stored (`home_queue`).

use super::{App, Error};
use crate::domain::slack_app::is_path;
use crate::slack::audience::EventAudience;
use crate::slack::events::{self, Event, Incoming, What};
use crate::slack::signature::{self, SignatureError};
use crate::store::NewEvent;
use crate::workspace::{AppRef, Authenticity};

/// A request as it was received.
#[derive(Clone, Copy)]
pub struct SignedRequest<'a> {
    /// The path of the tenant's app that the address named; empty: the deployment's app.
    pub app_path: &'a str,
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

/// The signer of a request.
pub(super) enum Signer {
    App(AppRef),
    /// It is not from Slack, or too old.
    Unknown(SignatureError),
}

/// Most bytes of Slack's check of an address; one has about 150.
const CHECK_BYTES: usize = 1024;

impl App {
    /// Stores the event for every installation that it is about; committed on return. The signature
    /// is checked first, over the bytes as received; only the secrets of a tenant's own app are
    /// looked up before.
    pub async fn take_event(&self, request: SignedRequest<'_>) -> Result<Taken, Error> {
        let app = match self.signer(request).await? {
            Signer::App(app) => app,
            Signer::Unknown(error) => {
                if let Some(challenge) = self.check_of_address(request).await? {
                    return Ok(Taken::Challenge(challenge));
                }
                tracing::warn!(%error, "a request to the address of events was refused");
                self.metrics.slack_events("refused", 1);
                return Ok(Taken::Refused);
            }
        };
        match events::parse(request.body) {
            Ok(Incoming::Verification { challenge }) => Ok(Taken::Challenge(challenge)),
            Ok(Incoming::Unused) => {
                self.metrics.slack_events("unused", 1);
                Ok(Taken::Acknowledged)
            }
            Ok(Incoming::Event(event)) => self.store_event(&app, event).await,
            Err(error) => {
                // After an error Slack would only send the same again.
                tracing::warn!(%error, "a request to the address of events was not understood");
                self.metrics.slack_events("unreadable", 1);
                Ok(Taken::Acknowledged)
            }
        }
    }

    /// The challenge, if this is Slack's check of the address of a tenant's app. Slack makes it
    /// while the app is being created, when no one knows its secrets yet. The answer says only that
    /// the address exists, and that cannot be guessed.
    async fn check_of_address(&self, request: SignedRequest<'_>) -> Result<Option<String>, Error> {
        if !is_path(request.app_path) || request.body.len() > CHECK_BYTES {
            return Ok(None);
        }
        if !self.store.slack_apps().is_reserved(request.app_path).await? {
            return Ok(None);
        }
        Ok(match events::parse(request.body) {
            Ok(Incoming::Verification { challenge }) => Some(challenge),
            Ok(Incoming::Event(_) | Incoming::Unused) | Err(_) => None,
        })
    }

    /// The app whose secret signed the request.
    pub(super) async fn signer(&self, request: SignedRequest<'_>) -> Result<Signer, Error> {
        let SignedRequest { app_path, timestamp, signature, body } = request;
        let app = AppRef { path: app_path.to_owned(), app_id: None };
        let signed = match self.workspaces.signed(&app, timestamp, body, signature).await? {
            Authenticity::OfSlack(signed) => signed,
            Authenticity::Refused(error) => return Ok(Signer::Unknown(error)),
        };
        // The database's clock: a replica's own may be wrong.
        let now = self.store.now().await?;
        Ok(match signature::fresh(signed.at, now.0.div_euclid(1_000_000)) {
            Ok(()) => Signer::App(signed.app),
            Err(error) => Signer::Unknown(error),
        })
    }

    /// Stores an event that `app` signed. Its installations are only those of that app at its own
    /// address: the secret of one app gives no voice in another.
    async fn store_event(&self, app: &AppRef, event: Event) -> Result<Taken, Error> {
        let Event { id, app_id, audience, happened_at, what } = event;
        if app.app_id.as_ref().is_some_and(|signer| *signer != app_id) {
            tracing::warn!("an event was signed by another app than it names");
            self.metrics.slack_events("other_app", 1);
            return Ok(Taken::Acknowledged);
        }
        let EventAudience { teams, enterprises } = &audience;
        let events = self.store.slack_events();
        let installations = events.installations_of_app(&app_id, &app.path, teams, enterprises);
        let installations = installations.await?;
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
            What::HomeOpened { member } => {
                self.home_opened(member, installations);
                return Ok(Taken::Acknowledged);
            }
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
