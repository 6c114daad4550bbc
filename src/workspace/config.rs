//! The deployment's Slack app.

use serde::Deserialize;

use crate::domain::secret::Secret;

/// The Slack app that tenants share (`[app]`): from "Basic Information" of the app's settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The app's client id. Needed to connect workspaces.
    pub client_id: String,
    /// The app's client secret. Needed to connect workspaces.
    pub client_secret: Secret,
    /// The bot scopes that a connect link asks for. Default: all that Herald's features use.
    pub scopes: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            client_id: String::new(),
            client_secret: Secret::new(""),
            scopes: super::scopes::all().iter().map(ToString::to_string).collect(),
        }
    }
}

/// An app's id and secret, both present.
#[derive(Debug, Clone)]
pub struct AppCredentials {
    pub client_id: String,
    pub client_secret: Secret,
}

impl Config {
    /// `None` where the operator has not configured an app.
    pub(super) fn credentials(&self) -> Option<AppCredentials> {
        if self.client_id.is_empty() || self.client_secret.is_empty() {
            return None;
        }
        Some(AppCredentials {
            client_id: self.client_id.clone(),
            client_secret: self.client_secret.clone(),
        })
    }
}
