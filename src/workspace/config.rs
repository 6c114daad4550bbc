//! The deployment's Slack app.

use serde::Deserialize;

use crate::domain::access::sharing::Sharing;
use crate::domain::secret::Secret;
use crate::domain::slack_app::AppCredentials;

/// The Slack app that tenants share (`[app]`): from "Basic Information" of the app's settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The app's client id. Needed to connect workspaces. Default: none.
    pub client_id: String,
    /// The app's client secret. Needed to connect workspaces. Default: none.
    pub client_secret: Secret,
    /// The app's signing secret, which proves that a request is Slack's. Without it every event is
    /// refused, and member lists are kept up to date only by reading them. Default: none.
    pub signing_secret: Secret,
    /// The bot scopes that a connect link asks for. Default: all that Herald's features use.
    pub scopes: Vec<String>,
    /// Whether a tenant may be connected to a workspace that another tenant already uses: `refuse`;
    /// `confirm`, which asks the person who connects; or `allow`. It is allowed in any case if
    /// every other tenant of the workspace has `share_workspace` in its settings, or if
    /// BeginConnect was called with `allow_shared_workspace`. Default `refuse`.
    pub workspace_sharing: Sharing,
    /// Whether PKCE is turned on for the app in Slack: connect links then carry a challenge, and
    /// Slack exchanges a code only for its verifier. Default `false`.
    pub pkce: bool,
    /// The platform's name on the pages that an administrator sees while connecting a workspace: at
    /// most 80 characters. Default `Herald`.
    pub display_name: String,
    /// Posts a minute that Slack allows this app in one workspace, if you know the figure; Slack
    /// does not publish it. `0`: Herald learns the figure, beginning at 300. Default `0`.
    pub posts_per_minute: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            client_id: String::new(),
            client_secret: Secret::new(""),
            signing_secret: Secret::new(""),
            scopes: super::scopes::all().iter().map(ToString::to_string).collect(),
            workspace_sharing: Sharing::Refuse,
            pkce: false,
            display_name: "Herald".to_owned(),
            posts_per_minute: 0,
        }
    }
}

/// Longest name that the pages show, in characters.
const NAME_CHARS: usize = 80;

impl Config {
    /// Refuses a name that cannot be shown; the sentence begins with the setting's name.
    pub fn validate(&self) -> Result<(), String> {
        let name = self.display_name.trim();
        if name.is_empty()
            || name.chars().count() > NAME_CHARS
            || name.chars().any(char::is_control)
        {
            return Err(format!("display_name must be 1 to {NAME_CHARS} characters of one line"));
        }
        Ok(())
    }

    /// `None` if the operator has not configured an app.
    pub(super) fn credentials(&self) -> Option<AppCredentials> {
        if self.client_id.is_empty() || self.client_secret.is_empty() {
            return None;
        }
        Some(AppCredentials {
            client_id: self.client_id.clone(),
            client_secret: self.client_secret.clone(),
            previous_client_secret: None,
        })
    }
}
