//! The features that this deployment asks workspaces for.

use super::Workspaces;

impl Workspaces {
    /// The codes of the features that are switched off.
    pub fn features_off(&self) -> &[String] {
        &self.config.features_off
    }

    /// The name of an app in a manifest, if the caller gives none.
    pub fn app_name(&self) -> String {
        self.config.app_name()
    }
}
