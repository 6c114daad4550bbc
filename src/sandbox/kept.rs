//! Items that the workspace issues and keeps for a while: codes, triggers and the modals that they
//! open, response URLs, and requests to install.

use std::collections::{BTreeSet, HashMap};

use serde::Serialize;
use serde_json::Value;

/// A code that was given to the callback.
pub(super) struct Code {
    pub(super) scopes: BTreeSet<String>,
    pub(super) asked: Asked,
    pub(super) expires: i64,
}

/// The parameters of the authorize page besides scopes.
#[derive(Default)]
pub(super) struct Asked {
    /// If it was given at the authorize page, it must be given with the code too.
    pub(super) redirect_uri: Option<String>,
    /// The S256 challenge of PKCE.
    pub(super) challenge: Option<String>,
    /// The person, if it was Sign in with Slack.
    pub(super) sign_in: Option<SignIn>,
}

/// The person who signed in, and the app's nonce.
pub(super) struct SignIn {
    pub(super) user: String,
    pub(super) nonce: Option<String>,
}

/// A trigger from a person's press.
pub(super) struct Trigger {
    pub(super) expires: i64,
    pub(super) used: bool,
}

#[derive(Default)]
pub(super) struct Modals {
    pub(super) triggers: HashMap<String, Trigger>,
    pub(super) views: HashMap<String, Value>,
    /// The ids of the stacked modals, the first at the bottom.
    pub(super) stack: Vec<String>,
}

/// An issued `response_url`.
pub(super) struct Response {
    pub(super) conversation: String,
    pub(super) ts: i64,
    pub(super) uses: u32,
    pub(super) expires: i64,
}

/// A request to install the app.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Approval {
    pub(super) id: String,
    pub(super) scopes: Vec<String>,
    /// `None` until decided.
    pub(super) approved: Option<bool>,
}

#[derive(Default)]
pub(super) struct Approvals {
    pub(super) requests: Vec<Approval>,
}
