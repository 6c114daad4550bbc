//! The context that one call of a method runs in.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::args::Args;
use super::state::State;

/// One call of one method.
pub(super) struct Call<'a> {
    pub(super) state: &'a mut State,
    pub(super) args: Args,
    pub(super) token: String,
    pub(super) scopes: Arc<BTreeSet<String>>,
    pub(super) now: i64,
    /// `Authorization: Basic`, for `oauth.v2.access`.
    pub(super) basic: Option<(String, String)>,
    /// Set by the method: the conversation and `ts` of what it stored.
    pub(super) stored: Option<(String, String)>,
    /// Set by the method: `warning` of an ok answer.
    pub(super) warnings: Vec<&'static str>,
}
