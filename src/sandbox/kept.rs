//! What the workspace gives out and keeps for a while: codes, triggers and the modals they open,
//! addresses to answer at, and requests to install.

use std::collections::{BTreeSet, HashMap};

use serde::Serialize;
use serde_json::Value;

/// A code given to the callback.
pub(super) struct Code {
    pub(super) scopes: BTreeSet<String>,
    pub(super) asked: Asked,
    pub(super) expires: i64,
}

/// What the authorize page was asked besides scopes.
#[derive(Default)]
pub(super) struct Asked {
    /// Given at the authorize page; then it must be given with the code too.
    pub(super) redirect_uri: Option<String>,
    /// The S256 challenge of PKCE.
    pub(super) challenge: Option<String>,
    /// It was Sign in with Slack, by this person.
    pub(super) sign_in: Option<SignIn>,
}

/// Who signed in, and what the app wanted to see again.
pub(super) struct SignIn {
    pub(super) user: String,
    pub(super) nonce: Option<String>,
}

/// What a person's press allows.
pub(super) struct Trigger {
    pub(super) expires: i64,
    pub(super) used: bool,
}

#[derive(Default)]
pub(super) struct Modals {
    pub(super) triggers: HashMap<String, Trigger>,
    pub(super) views: HashMap<String, Value>,
    /// The ids of those that lie on each other, the first at the bottom.
    pub(super) stack: Vec<String>,
}

/// A `response_url` given out.
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
    /// `None` while nobody has decided.
    pub(super) approved: Option<bool>,
}

#[derive(Default)]
pub(super) struct Approvals {
    pub(super) requests: Vec<Approval>,
}
