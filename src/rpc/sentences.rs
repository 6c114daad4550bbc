//! What became of a delivery, as a sentence that says what to do.

use crate::domain::delivery::State;
use crate::domain::reason::{Cancellation, Failure, NoMatch, Suppression};

/// One sentence about where a delivery stands.
pub(super) fn delivery(state: State, reason: Option<&str>, code: Option<&str>) -> String {
    let reason = reason.unwrap_or_default();
    match state {
        State::Resolving => "The person is being looked up in Slack.".into(),
        State::Held => "Waits until the person appears in Slack.".into(),
        State::Collected => "Waits for the digest.".into(),
        State::Pending => match code {
            Some(code) => format!("Waits for its turn; Slack last said {code}."),
            None => "Waits for its turn.".into(),
        },
        State::Sending => "Is being sent.".into(),
        State::Unknown => {
            "Slack did not say whether it took the message; its history will tell.".into()
        }
        State::Sent => "Sent.".into(),
        State::Expired => "Expired before it could be sent.".into(),
        State::Canceled => Cancellation::from_code(reason)
            .map_or_else(|| "Canceled.".into(), |reason| reason.sentence().into()),
        State::Suppressed => Suppression::from_code(reason)
            .map_or_else(|| "Switched off.".into(), |reason| reason.sentence().into()),
        State::Unreachable => NoMatch::from_code(reason)
            .map_or_else(|| "Nobody in Slack.".into(), |reason| reason.sentence().into()),
        State::Failed | State::Parked => failure(reason, code),
    }
}

fn failure(reason: &str, code: Option<&str>) -> String {
    if let Some(advice) = code.and_then(advice) {
        return advice.into();
    }
    let sentence = Failure::from_code(reason).map_or("It failed.", Failure::sentence);
    match code {
        Some(code) => format!("{sentence} ({code})"),
        None => sentence.into(),
    }
}

/// Slack's codes that mean something else than they say, or that somebody can mend.
fn advice(code: &str) -> Option<&'static str> {
    Some(match code {
        "channel_not_found" | "not_in_channel" => {
            "Slack does not let the bot into the channel: invite the bot there. (channel_not_found \
             also means this for private channels.)"
        }
        "is_archived" => "The channel is archived: unarchive it, or name another one.",
        "user_disabled" | "user_not_found" => "The Slack account is deactivated or gone.",
        "cannot_dm_bot" => "The Slack account is a bot, and bots get no direct messages.",
        "messages_tab_disabled" => {
            "The Slack app's Messages tab is off: turn it on under App Home in the app's settings."
        }
        "restricted_action" => "The workspace does not allow the bot to post there.",
        _ => return None,
    })
}
