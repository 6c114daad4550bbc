//! Revokes a token.

use serde::Deserialize;

use super::Error;
use super::answer::Effect;
use super::client::{Auth, Body, Client, MethodCall};
use super::wire;
use crate::domain::capacity::slack_method::Method;
use crate::domain::secret::Secret;

#[derive(Deserialize)]
struct WireRevoked {
    #[serde(default, deserialize_with = "wire::lenient")]
    revoked: Option<bool>,
}

impl Client {
    /// Revokes `token` (auth.revoke); returns whether Slack says so. Repeating it is safe: the
    /// second call is refused, because the token is dead.
    pub async fn auth_revoke(&self, token: &Secret) -> Result<bool, Error> {
        let call = MethodCall {
            method: Method::AuthRevoke,
            effect: Effect::Repeatable,
            auth: Auth::Bearer(token),
            body: Body::Form(Vec::new()),
        };
        let wire: WireRevoked = self.call(call).await?.value;
        Ok(wire.revoked.unwrap_or(false))
    }
}
