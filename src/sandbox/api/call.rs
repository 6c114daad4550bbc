//! The context of one call of a method.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::args::Args;
use crate::sandbox::world::faults::FaultKind;
use crate::sandbox::world::log::ChannelAct;
use crate::sandbox::world::state::State;

/// One call of one method.
pub(in crate::sandbox) struct Call<'a> {
    pub(in crate::sandbox) state: &'a mut State,
    pub(in crate::sandbox) args: Args,
    pub(in crate::sandbox) token: String,
    pub(in crate::sandbox) scopes: Arc<BTreeSet<String>>,
    pub(in crate::sandbox) now: i64,
    /// The credentials of `Authorization: Basic`, for `oauth.v2.access`.
    pub(in crate::sandbox) basic: Option<(String, String)>,
    /// The number of this request among the refreshes that are under way, if it is one.
    pub(in crate::sandbox) refreshing: Option<u64>,
    /// Set by the method: the conversation and `ts` of the stored message.
    pub(in crate::sandbox) stored: Option<(String, String)>,
    /// A scripted fault that changes the work of the method.
    pub(in crate::sandbox) altered: Option<FaultKind>,
    /// Set by the method: the effect on a channel.
    pub(in crate::sandbox) act: Option<ChannelAct>,
    /// Set by the method: the `warning` of an ok answer.
    pub(super) warnings: Vec<&'static str>,
}
