//! `chat.postEphemeral`: a message that only one person sees and that is not stored.

use serde_json::{Value, json};

use super::chat;
use crate::sandbox::api::call::Call;
use crate::sandbox::world::conversation::ts_text;
use crate::sandbox::world::error::Error;

pub(super) fn post(call: &mut Call<'_>) -> Result<Value, Error> {
    let user = call.args.required("user")?.to_owned();
    let conversation = chat::target(call)?;
    chat::content(call)?;
    let held = call.state.conversations.get(&conversation).ok_or("channel_not_found")?;
    if !held.members.contains(&user) {
        return Err("user_not_in_channel".into());
    }
    Ok(json!({ "message_ts": ts_text(call.now) }))
}
