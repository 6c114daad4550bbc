//! A person proves which member of a workspace they are, by *Sign in with Slack*.

use subtle::ConstantTimeEq as _;
use url::Url;

use super::{Error, Workspaces};
use crate::domain::ids::{InstallationId, SlackUserId};
use crate::slack::{self, SignInPage};

/// The terms of a sign-in, which belong to one attempt.
#[derive(Debug, Clone, Copy)]
pub struct SignInTerms<'a> {
    /// The workspace that the person must be a member of.
    pub workspace: InstallationId,
    pub redirect_uri: &'a str,
    /// Comes back in Slack's signed answer.
    pub nonce: &'a str,
}

/// Why no member was proved.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// The person signed in to another workspace.
    #[error("the person signed in to another workspace")]
    OtherWorkspace,
    /// The answer belongs to another attempt.
    #[error("the answer belongs to another attempt")]
    OtherAttempt,
    #[error(transparent)]
    Workspace(#[from] Error),
}

impl Workspaces {
    /// The address for the person's browser.
    pub async fn sign_in_url(&self, terms: SignInTerms<'_>, state: &str) -> Result<Url, Error> {
        let app = self.credentials_of(terms.workspace).await?;
        let team = self.team(terms.workspace).await?;
        Ok(self.slack.sign_in_url(&SignInPage {
            client_id: &app.client_id,
            redirect_uri: terms.redirect_uri,
            state,
            nonce: terms.nonce,
            team_id: team.as_deref(),
        }))
    }

    /// Exchanges the code for the member who signed in.
    pub async fn signed_in(
        &self,
        terms: SignInTerms<'_>,
        code: &str,
    ) -> Result<SlackUserId, SignInError> {
        let app = self.credentials_of(terms.workspace).await?;
        let answer = self.slack.openid_connect_token(&app, code, terms.redirect_uri).await;
        let person = answer.map_err(Error::Slack)?;
        let nonce = person.nonce.unwrap_or_default();
        if !bool::from(nonce.as_bytes().ct_eq(terms.nonce.as_bytes())) {
            return Err(SignInError::OtherAttempt);
        }
        if self.team(terms.workspace).await?.as_ref() != Some(&person.team_id) {
            return Err(SignInError::OtherWorkspace);
        }
        let damaged = |_| slack::Error::Unknown { code: "unreadable_answer".to_owned() };
        Ok(SlackUserId::parse(person.user_id).map_err(damaged).map_err(Error::Slack)?)
    }
}
