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
    /// The sizes in which Slack offers the workspace's picture.
    pub(in crate::sandbox) const PICTURES: [u32; 7] = [34, 44, 68, 88, 102, 132, 230];

    /// The address of the workspace's picture, which is Slack's own.
    pub(in crate::sandbox) fn picture(size: u32) -> String {
        format!("https://a.slack-edge.com/80588/img/avatars-teams/ava_0001-{size}.png")
    }

    /// The name in the workspace's address.
    pub(in crate::sandbox) fn domain(&self) -> String {
        let plain = self.name.to_ascii_lowercase();
        plain.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
    }
}

/// The app installed in it.
#[derive(Debug, Clone)]
pub(in crate::sandbox) struct App {
    pub(in crate::sandbox) id: String,
    pub(in crate::sandbox) name: String,
    pub(in crate::sandbox) bot_user_id: String,
    pub(in crate::sandbox) bot_id: String,
}

impl App {
    /// The bot's handle.
    pub(in crate::sandbox) fn bot_name(&self) -> String {
        self.name.to_ascii_lowercase().replace(' ', "_")
    }
}
