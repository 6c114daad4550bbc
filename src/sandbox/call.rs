//! The context of one call of a method.

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
    /// The credentials of `Authorization: Basic`, for `oauth.v2.access`.
    pub(super) basic: Option<(String, String)>,
    /// Set by the method: the conversation and `ts` of the stored message.
    pub(super) stored: Option<(String, String)>,
    /// Set by the method: the `warning` of an ok answer.
    pub(super) warnings: Vec<&'static str>,
}
