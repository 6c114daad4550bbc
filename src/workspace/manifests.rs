//! Slack apps made and changed from manifests. These calls have a token of the person who owns the
//! app, and no workspace, so no budget and no pause of a workspace applies.

use serde_json::Value;

use super::Workspaces;
use crate::domain::secret::Secret;
use crate::slack::{self, CreatedSlackApp, ManifestAnswer};

impl Workspaces {
    /// Whether Slack would accept the manifest.
    pub async fn validate_manifest(
        &self,
        token: &Secret,
        manifest: &str,
    ) -> Result<ManifestAnswer<()>, slack::Error> {
        self.slack.apps_manifest_validate(token, manifest).await
    }

    /// Creates an app. After [`slack::Error::Unknown`] it may exist.
    pub async fn create_slack_app(
        &self,
        token: &Secret,
        manifest: &str,
    ) -> Result<ManifestAnswer<CreatedSlackApp>, slack::Error> {
        self.slack.apps_manifest_create(token, manifest).await
    }

    /// The manifest that an app has now.
    pub async fn export_manifest(
        &self,
        token: &Secret,
        app_id: &str,
    ) -> Result<ManifestAnswer<Value>, slack::Error> {
        self.slack.apps_manifest_export(token, app_id).await
    }

    /// Changes an app; accepted with whether its permissions changed.
    pub async fn update_slack_app(
        &self,
        token: &Secret,
        app_id: &str,
        manifest: &str,
    ) -> Result<ManifestAnswer<bool>, slack::Error> {
        self.slack.apps_manifest_update(token, app_id, manifest).await
    }
}
