//! Interactions from Slack, such as the press of a button: verified as Slack's and acknowledged.
//!
//! Nothing is stored. The buttons of Herald's messages are links, which work by themselves; but
//! Slack reports each press, and shows a warning beside the button if the app does not acknowledge
//! it.

use super::take_event::{SignedRequest, Signer};
use super::{App, Error};
use crate::slack::interactions::{self, Interaction};
use crate::workspace::AppRef;

/// The answer to give to an interaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InteractionTaken {
    /// Slack is to show no warning: also if the workspace is no longer connected, because its
    /// people still have the messages.
    Acknowledged,
    /// It is from Slack, but not what Slack documents.
    Unreadable,
    /// Not from Slack, or too old: the answer must say no more than that.
    Refused,
}

impl App {
    /// Judges an interaction and counts it. As with events, the signature is checked first.
    pub async fn take_interaction(
        &self,
        request: SignedRequest<'_>,
    ) -> Result<InteractionTaken, Error> {
        let app = match self.signer(request).await? {
            Signer::App(app) => app,
            Signer::Unknown(error) => {
                tracing::warn!(%error, "a request to the address of interactions was refused");
                self.metrics.slack_interactions("refused");
                return Ok(InteractionTaken::Refused);
            }
        };
        let result = match interactions::parse(request.body) {
            Ok(interaction) => self.concerns(&app, &interaction).await?,
            Err(error) => {
                tracing::warn!(%error, "an interaction was not understood");
                self.metrics.slack_interactions("unreadable");
                return Ok(InteractionTaken::Unreadable);
            }
        };
        self.metrics.slack_interactions(result);
        Ok(InteractionTaken::Acknowledged)
    }

    /// The result under which an interaction that `app` signed is counted. Only that app's own
    /// installations at its own address make it count, as for an event.
    async fn concerns(
        &self,
        app: &AppRef,
        interaction: &Interaction,
    ) -> Result<&'static str, Error> {
        let Interaction::Pressed { app_id, audience } = interaction else { return Ok("unused") };
        if app.app_id.as_ref().is_some_and(|signer| signer != app_id) {
            tracing::warn!("an interaction was signed by another app than it names");
            return Ok("other_app");
        }
        let events = self.store.slack_events();
        let (teams, enterprises) = (&audience.teams, &audience.enterprises);
        let installations = events.installations_of_app(app_id, &app.path, teams, enterprises);
        let known = !installations.await?.is_empty();
        Ok(if known { "acknowledged" } else { "unknown_workspace" })
    }
}
