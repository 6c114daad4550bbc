//! The names of the workspace and of the app.

use serde::{Deserialize, Serialize};

/// The workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Team {
    pub id: String,
    pub name: String,
    pub enterprise_id: Option<String>,
}

impl Team {
    /// The name in the workspace's address.
    pub(super) fn domain(&self) -> String {
        let plain = self.name.to_ascii_lowercase();
        plain.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
    }
}

/// The app installed in it.
#[derive(Debug, Clone)]
pub(super) struct App {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) bot_user_id: String,
    pub(super) bot_id: String,
}

impl App {
    /// The bot's handle.
    pub(super) fn bot_name(&self) -> String {
        self.name.to_ascii_lowercase().replace(' ', "_")
    }
}
