//! Channels for scheduled things: wishes over the API, and the channels that Slack has afterwards.

mod support;

mod ambiguous;
mod feed;
mod life;
mod long_turns;
mod members;
mod notify;
mod pace;
mod policies;
mod reconcile;
mod released;
mod removals;
mod repeats;
mod scopes;
mod strangers;
mod track;
mod unheard;
mod wishes;
