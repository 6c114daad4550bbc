//! Sign in with Slack (OpenID Connect): the page that asks a person, and the exchange of its code.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use url::Url;

use super::Error;
use super::answer::Effect;
use super::client::{Auth, Body, Client, MethodCall};
use crate::domain::capacity::slack_method::Method;
use crate::domain::secret::Secret;
use crate::domain::slack_app::{AppCredentials, BAD_SECRET};

/// The issuer of Slack's id tokens.
const ISSUER: &str = "https://slack.com";
/// Only the identity of the person is asked for.
const SCOPES: &str = "openid profile";

/// The parameters of the page (Slack's documentation: Sign in with Slack).
#[derive(Debug, Clone, Copy)]
pub struct SignInPage<'a> {
    pub client_id: &'a str,
    /// Must be sent again, unchanged, with the code.
    pub redirect_uri: &'a str,
    /// Returned with the code; unguessable, single use.
    pub state: &'a str,
    /// Returned in the id token.
    pub nonce: &'a str,
    /// The workspace to sign in to; verify the id token's afterwards.
    pub team_id: Option<&'a str>,
}

/// The person that an id token names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedIn {
    pub user_id: String,
    pub team_id: String,
    pub nonce: Option<String>,
}

#[derive(Deserialize)]
struct WireToken {
    id_token: Secret,
}

#[derive(Deserialize)]
struct WireClaims {
    iss: String,
    aud: String,
    nonce: Option<String>,
    #[serde(rename = "https://slack.com/user_id")]
    user_id: String,
    #[serde(rename = "https://slack.com/team_id")]
    team_id: String,
}

impl Client {
    /// The address to which a person's browser is sent.
    #[must_use]
    pub fn sign_in_url(&self, ask: &SignInPage<'_>) -> Url {
        let mut url = self.sign_in_page();
        {
            let mut query = url.query_pairs_mut();
            query
                .append_pair("response_type", "code")
                .append_pair("scope", SCOPES)
                .append_pair("client_id", ask.client_id)
                .append_pair("redirect_uri", ask.redirect_uri)
                .append_pair("state", ask.state)
                .append_pair("nonce", ask.nonce);
            if let Some(team) = ask.team_id {
                query.append_pair("team", team);
            }
        }
        url
    }

    /// Exchanges the code of the redirect for the person. A code works once: after
    /// [`Error::Unknown`] the person has to start again. The access token is not kept.
    ///
    /// The id token comes from Slack itself over TLS, so its signature need not be verified (OpenID
    /// Connect Core, 3.1.3.7); its issuer and its audience are.
    pub async fn openid_connect_token(
        &self,
        app: &AppCredentials,
        code: &str,
        redirect_uri: &str,
    ) -> Result<SignedIn, Error> {
        let call = |secret| {
            let fields = vec![
                ("grant_type", "authorization_code".to_owned()),
                ("code", code.to_owned()),
                ("redirect_uri", redirect_uri.to_owned()),
            ];
            self.call::<WireToken>(MethodCall {
                method: Method::OpenidConnectToken,
                effect: Effect::Once,
                auth: Auth::Basic(&app.client_id, secret),
                body: Body::Form(fields),
            })
        };
        let answer = match (call(&app.client_secret).await, &app.previous_client_secret) {
            // Slack refuses the secret before it looks at the code.
            (Err(Error::Rejected { code, .. }), Some(previous)) if code == BAD_SECRET => {
                call(previous).await
            }
            (answer, _) => answer,
        };
        let token = answer?.value.id_token;
        signed_in(token.expose(), &app.client_id)
            .ok_or_else(|| Effect::Once.ambiguous("unreadable_answer"))
    }
}

/// The person in an id token for this app; `None` if it is not one.
fn signed_in(token: &str, client_id: &str) -> Option<SignedIn> {
    let payload = token.split('.').nth(1)?;
    let claims = BASE64_URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    let claims: WireClaims = serde_json::from_slice(&claims).ok()?;
    let ours = claims.iss == ISSUER && claims.aud == client_id;
    let WireClaims { user_id, team_id, nonce, .. } = claims;
    ours.then_some(SignedIn { user_id, team_id, nonce })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const APP: &str = "1.2";

    fn token(claims: &serde_json::Value) -> String {
        format!("e30.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    #[test]
    fn an_id_token_names_a_person_of_a_workspace() {
        let claims = json!({
            "iss": ISSUER, "aud": APP, "nonce": "n", "sub": "U1", "exp": 1,
            "https://slack.com/user_id": "U1", "https://slack.com/team_id": "T1",
        });
        let person =
            SignedIn { user_id: "U1".into(), team_id: "T1".into(), nonce: Some("n".into()) };
        assert_eq!(signed_in(&token(&claims), APP), Some(person));
        assert_eq!(signed_in(&token(&claims), "1.3"), None, "another app's");
        for (claim, value) in [
            ("iss", json!("https://elsewhere.example")),
            ("aud", json!("3.4")),
            ("https://slack.com/user_id", json!(null)),
            ("https://slack.com/team_id", json!(7)),
        ] {
            let mut changed = claims.clone();
            changed[claim] = value;
            assert_eq!(signed_in(&token(&changed), APP), None, "{claim}");
        }
        for bad in ["", "a", "a.b", "e30.e30.c2ln", "e30.%%.c2ln"] {
            assert_eq!(signed_in(bad, APP), None, "{bad}");
        }
    }
}
