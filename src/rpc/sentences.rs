//! The state of a delivery, as a sentence that says what to do.

use crate::domain::delivery::State;
use crate::domain::delivery::subject::Action;
use crate::domain::reason::{Cancellation, Failure, NoMatch, Suppression};

/// The kind of recipient: some of Slack's codes have a different meaning for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RecipientKind {
    Person,
    Channel,
}

impl RecipientKind {
    /// A delivery without a person is for a channel.
    pub(super) fn of<T>(user: Option<&T>) -> Self {
        if user.is_some() { Self::Person } else { Self::Channel }
    }
}

/// The sentence for a delivery whose channel is not ready.
pub(super) const AWAITS_CHANNEL: &str =
    "Waits until the channel is ready in Slack; GetChannel says what is in its way.";

/// The sentence for a queued delivery. `unknown`: the person's member is not known yet, or it waits
/// behind an earlier message to the same person.
pub(super) fn queued(action: Action, unknown: bool) -> &'static str {
    match action {
        Action::Retract => "Queued: the messages about the subject will be deleted.",
        Action::Done => "Queued: the messages about the subject will be marked as done.",
        Action::Post | Action::Reply | Action::Replace if unknown => {
            "Queued; the person is still being looked up in Slack, for this message or one before \
             it."
        }
        Action::Post | Action::Reply | Action::Replace => "Queued.",
    }
}

/// One sentence about where a delivery stands.
pub(super) fn delivery(
    to: RecipientKind,
    state: State,
    reason: Option<&str>,
    code: Option<&str>,
) -> String {
    let reason = reason.unwrap_or_default();
    match state {
        State::Resolving if to == RecipientKind::Channel => {
            "The action to take in the channel is being looked up.".into()
        }
        State::Resolving => {
            "The person is being looked up in Slack, for this message or one before it.".into()
        }
        State::Held => "Waits until the person appears in Slack.".into(),
        State::Collected => "Waits for the digest.".into(),
        State::Pending => match code {
            // Not a code of Slack's: the tenant left its workspace, and its messages wait.
            Some("disconnected") => "Waits until a Slack workspace is connected again.".into(),
            Some(code) => format!("Waits for its turn; Slack last said {code}."),
            None => "Waits for its turn.".into(),
        },
        State::Sending => "Is being sent.".into(),
        State::Unknown => {
            "Slack did not say whether it took the message; the history will show it.".into()
        }
        State::Sent => "Sent.".into(),
        State::Expired => "Expired before it could be sent.".into(),
        State::Canceled => Cancellation::from_code(reason)
            .map_or_else(|| "Canceled.".into(), |reason| reason.sentence().into()),
        State::Suppressed => Suppression::from_code(reason)
            .map_or_else(|| "Switched off.".into(), |reason| reason.sentence().into()),
        State::Unreachable => NoMatch::from_code(reason)
            .map_or_else(|| "No member in Slack.".into(), |reason| reason.sentence().into()),
        State::Failed | State::Parked => failure(to, reason, code),
        State::Newer => "Only a newer release of Herald knows its state.".into(),
    }
}

fn failure(to: RecipientKind, reason: &str, code: Option<&str>) -> String {
    if let Some(advice) = code.and_then(|code| advice(to, code)) {
        return advice.into();
    }
    let sentence = Failure::from_code(reason).map_or("It failed.", Failure::sentence);
    match code {
        Some(code) => format!("{sentence} ({code})"),
        None => sentence.into(),
    }
}

/// Slack's codes that are misleading, or whose cause a person can remove.
fn advice(to: RecipientKind, code: &str) -> Option<&'static str> {
    Some(match code {
        "channel_not_found" | "not_in_channel" if to == RecipientKind::Person => {
            "Slack does not let the bot write to this person: the account may have left the \
             workspace, or belong to another one. Check with TestSlack."
        }
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
        "restricted_action_read_only_channel" => {
            "The channel is read-only: an administrator of the workspace decides who may post \
             there (channel settings, posting permissions)."
        }
        "restricted_action_thread_only_channel" => {
            "The channel takes replies in threads only: let the bot post there (channel settings, \
             posting permissions), or name another channel."
        }
        "restricted_action_non_threadable_channel" => {
            "The channel takes no threads: send the message without SUBJECT_ACTION_REPLY."
        }
        "restricted_action_thread_locked" => {
            "The thread is locked: replies are no longer possible."
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(to: RecipientKind, code: &str) -> String {
        delivery(to, State::Failed, Some("rejected"), Some(code))
    }

    #[test]
    fn what_keeps_the_bot_out_is_another_thing_for_a_person_than_for_a_channel() {
        for code in ["channel_not_found", "not_in_channel"] {
            let (person, channel) =
                (failed(RecipientKind::Person, code), failed(RecipientKind::Channel, code));
            assert!(person.contains("this person") && !person.contains("invite"), "{person}");
            assert!(channel.contains("invite the bot"), "{channel}");
        }
    }

    #[test]
    fn each_restriction_says_what_to_do() {
        let sentences: std::collections::BTreeSet<String> = [
            "restricted_action",
            "restricted_action_read_only_channel",
            "restricted_action_thread_only_channel",
            "restricted_action_non_threadable_channel",
            "restricted_action_thread_locked",
        ]
        .map(|code| failed(RecipientKind::Channel, code))
        .into();
        assert_eq!(sentences.len(), 5, "{sentences:?}");
        for sentence in sentences {
            assert!(!sentence.contains("restricted_action"), "{sentence}");
        }
        let other = failed(RecipientKind::Channel, "new_code");
        assert!(other.ends_with("(new_code)"), "{other}");
    }

    #[test]
    fn nobody_is_looked_up_for_a_channel() {
        for state in State::ALL {
            let sentence = delivery(RecipientKind::Channel, *state, None, None);
            assert!(!sentence.contains("person is being looked up"), "{state:?}: {sentence}");
        }
        for action in [Action::Post, Action::Reply, Action::Replace, Action::Retract, Action::Done]
        {
            let sentence = queued(action, false);
            assert!(!sentence.contains("looked up"), "{action:?}: {sentence}");
        }
        // Deletions and crossings-out do not look for a person either.
        for action in [Action::Retract, Action::Done] {
            assert_eq!(queued(action, true), queued(action, false));
        }
    }
}
