//! Short-lived items that the workspace issues: codes, triggers and the modals that they open,
//! response URLs, and requests to install.

use std::collections::{BTreeSet, HashMap};

use serde::Serialize;
use serde_json::Value;

/// A code that was given to the callback.
pub(in crate::sandbox) struct Code {
    /// The app that it was given to.
    pub(in crate::sandbox) app: String,
    /// The workspace that the person chose.
    pub(in crate::sandbox) team: String,
    pub(in crate::sandbox) scopes: BTreeSet<String>,
    pub(in crate::sandbox) asked: Asked,
    pub(in crate::sandbox) expires: i64,
}

/// The parameters of the authorize page besides scopes.
#[derive(Default)]
pub(in crate::sandbox) struct Asked {
    /// If it was given at the authorize page, it must be given with the code too.
    pub(in crate::sandbox) redirect_uri: Option<String>,
    /// The S256 challenge of PKCE.
    pub(in crate::sandbox) challenge: Option<String>,
    /// The person, if it was Sign in with Slack.
    pub(in crate::sandbox) sign_in: Option<SignIn>,
}

/// The person who signed in, and the app's nonce.
pub(in crate::sandbox) struct SignIn {
    pub(in crate::sandbox) user: String,
    pub(in crate::sandbox) nonce: Option<String>,
}

/// A trigger from a person's press.
pub(in crate::sandbox) struct Trigger {
    pub(in crate::sandbox) expires: i64,
    pub(in crate::sandbox) used: bool,
}

#[derive(Default)]
pub(in crate::sandbox) struct Modals {
    pub(in crate::sandbox) triggers: HashMap<String, Trigger>,
    pub(in crate::sandbox) views: HashMap<String, Value>,
    /// The ids of the stacked modals, the first at the bottom.
    pub(in crate::sandbox) stack: Vec<String>,
}

/// An issued `response_url`.
pub(in crate::sandbox) struct Response {
    pub(in crate::sandbox) conversation: String,
    pub(in crate::sandbox) ts: i64,
    pub(in crate::sandbox) uses: u32,
    pub(in crate::sandbox) expires: i64,
}

/// A request to install an app in a workspace.
#[derive(Debug, Clone, Serialize)]
pub(in crate::sandbox) struct Approval {
    pub(in crate::sandbox) id: String,
    pub(in crate::sandbox) app_id: String,
    pub(in crate::sandbox) app_name: String,
    pub(in crate::sandbox) team_id: String,
    pub(in crate::sandbox) team_name: String,
    pub(in crate::sandbox) scopes: Vec<String>,
    /// `None` until decided.
    pub(in crate::sandbox) approved: Option<bool>,
}

#[derive(Default)]
pub(in crate::sandbox) struct Approvals {
    pub(in crate::sandbox) requests: Vec<Approval>,
}
