//! The states of a channel and of its members, and the obstacles of a channel: closed sets with
//! codes for the store and the API, and sentences for people.

use crate::domain::reason::NoMatch;

macro_rules! codes {
    (
        $(#[$doc:meta])* $name:ident {
            $($(#[$vdoc:meta])* $variant:ident = $code:literal;)*
        }
        $(besides { $(#[$odoc:meta])* $other:ident = $ocode:literal; })?
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $code)] $variant,)*
            $($(#[$odoc])* #[serde(rename = $ocode)] $other,)?
        }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The code in the store, the API and metrics.
            #[must_use]
            pub fn code(self) -> &'static str {
                match self {
                    $(Self::$variant => $code,)*
                    $(Self::$other => $ocode,)?
                }
            }

            #[must_use]
            pub fn from_code(code: &str) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

codes! {
    /// The state of a channel.
    ChannelState {
        /// It waits for `create_not_before`.
        Scheduled = "scheduled";
        /// It is about to be created, or it is being found out whether it was.
        Creating = "creating";
        /// It exists in Slack.
        Ready = "ready";
        /// Something is in its way: see the obstacle.
        Blocked = "blocked";
        /// It is archived in Slack, or its wish ended before it was created.
        Archived = "archived";
        /// It was deleted in Slack.
        Deleted = "deleted";
    }
    besides {
        /// A state of a newer release. It is read when channels are shown, and never written.
        Newer = "newer";
    }
}

codes! {
    /// An obstacle in the way of a channel.
    ChannelObstacle {
        /// The tenant has not connected a workspace.
        NotConnected = "not_connected";
        /// The token of the workspace no longer works.
        Reconnect = "reconnect";
        /// The workspace was connected without the scopes that channels need.
        MissingScopes = "missing_scopes";
        /// Another channel has the name.
        NameTaken = "name_taken";
        /// The existing channel cannot be used for this wish.
        NotAdoptable = "not_adoptable";
        /// The existing channel belongs to another key or to another tenant.
        OwnedByAnother = "owned_by_another";
        /// The workspace does not allow the app to do it.
        RefusedBySlack = "refused_by_slack";
        /// A person archived the channel in Slack.
        ArchivedInSlack = "archived_in_slack";
        /// A person deleted the channel in Slack.
        DeletedInSlack = "deleted_in_slack";
        /// The app was removed from the channel.
        AppRemoved = "app_removed";
        /// The channel is in a workspace that the tenant had connected before.
        OtherWorkspace = "other_workspace";
    }
}

codes! {
    /// The state of a person who is wished for in a channel.
    ChannelMemberState {
        /// Their turn to be invited comes.
        Queued = "queued";
        /// No Slack member matches the person yet.
        NotInSlack = "not_in_slack";
        /// The invitation is under way, or its outcome is being found out.
        Inviting = "inviting";
        /// They are in the channel.
        Member = "member";
        /// They left the channel, or were removed from it in Slack.
        Left = "left";
        /// Slack refuses them for good.
        Failed = "failed";
        /// They are being removed.
        Removing = "removing";
    }
}

/// The code of a member who left: Slack does not say whether a person removed them.
pub const LEFT: &str = "left";

impl ChannelObstacle {
    /// The sentence for people, with what to do. `detail`: Slack's code, or the scopes that are
    /// missing, with a space between them; empty if there is none.
    #[must_use]
    pub fn sentence(self, detail: &str) -> String {
        match self {
            Self::NotConnected => "This tenant has not connected a Slack workspace. Call \
                BeginConnect; the channel is created once a workspace is connected."
                .into(),
            Self::Reconnect => format!(
                "The token of the Slack workspace no longer works{}. Connect the workspace again.",
                in_brackets(detail)
            ),
            Self::MissingScopes => format!(
                "The workspace was connected without scopes that channels need{}. Connect it again \
                 and grant them; the wish is kept until then.",
                in_brackets(&detail.replace(' ', ", "))
            ),
            Self::NameTaken => "Another channel has the name; it may be archived, or private and \
                invisible to the app. Wish for another name or another name_taken, or rename the \
                other channel in Slack; Herald tries again."
                .into(),
            Self::NotAdoptable => "The existing channel cannot be used: it is private and the app \
                is not a member, or public for a wish of a private one or the reverse, or the \
                workspace's general channel, or archived and cannot be opened. Invite the app to \
                it or open it in Slack, or wish for another name."
                .into(),
            Self::OwnedByAnother => "The existing channel belongs to another key or to another \
                tenant, or its purpose has the mark of another Herald, or of a channel that \
                another tenant released. Wish for another name, or, if no one uses the mark any \
                more, remove it from the purpose in Slack: it begins with `herald-`."
                .into(),
            Self::RefusedBySlack => format!(
                "Slack does not allow the app to do it{}. {}",
                in_brackets(detail),
                advice(detail)
            ),
            Self::ArchivedInSlack => {
                "A person archived the channel in Slack. Let a person who may \
                do it unarchive it there: Herald then continues. UnarchiveChannel asks Slack to \
                open it, which at present refuses that to apps."
                    .into()
            }
            Self::DeletedInSlack => {
                "A person deleted the channel in Slack. Call ReleaseChannel to \
                forget it; EnsureChannel then creates a new one."
                    .into()
            }
            Self::AppRemoved => "The app was removed from the channel, or the private channel was \
                deleted. Invite the app to it in Slack; public channels it joins by itself."
                .into(),
            Self::OtherWorkspace => "The channel is in a workspace that this tenant had connected \
                before. Connect that workspace again, or call ReleaseChannel to forget the channel."
                .into(),
        }
    }
}

fn in_brackets(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(" ({detail})") }
}

/// Advice about a refusal with this code of Slack's.
fn advice(code: &str) -> &'static str {
    match code {
        // Of `conversations.unarchive`: the code means another obstacle for other steps.
        "not_in_channel" => {
            "At present Slack does not let apps unarchive channels: a member of the workspace who \
             may do it has to unarchive the channel in Slack, and Herald then continues."
        }
        "not_authorized" => "A member of the workspace who may do it has to do it in Slack.",
        "too_long" => "Shorten the topic or the purpose.",
        "purpose_not_kept" => "Slack does not keep the purpose; ask an administrator of Slack why.",
        code if code.starts_with("invalid_name") => "Wish for another name.",
        _ => "Ask an administrator of the workspace to allow it; Herald tries again.",
    }
}

/// Why a person is not in the channel, for people, with what to do. `code` is Slack's or Herald's.
#[must_use]
pub fn member_sentence(code: &str) -> String {
    if let Some(reason) = NoMatch::from_code(code) {
        return reason.sentence().into();
    }
    let sentence = match code {
        "" => "",
        LEFT => {
            "The person left the channel, or was removed from it in Slack. Herald invites them \
             again only if AddChannelMembers names them."
        }
        "user_disabled" | "account_inactive" => "The person's Slack account is deactivated.",
        "user_not_found" | "users_not_found" | "no_user" | "user_not_visible" => {
            "The Slack account does not exist in this workspace; Herald looks for the person again."
        }
        "org_user_not_in_team" => {
            "The person is in the organization, but not in this workspace. An administrator of \
             Slack has to add them to it."
        }
        "user_is_restricted" | "user_is_ultra_restricted" => {
            "The person is a guest, and guests cannot be added to this channel by an app. An \
             administrator of Slack has to add them."
        }
        "ura_max_channels" => {
            "The person is a guest of a single channel, and is in another one already."
        }
        "no_external_invite_permission" => {
            "The person is in another company, and the app may not invite people from outside."
        }
        "invitee_cant_see_channel" | "app_cannot_join_channel" => {
            "The person's account cannot see this channel."
        }
        "cant_invite_self" => "The person is matched to the app itself. Correct the match.",
        "cant_invite" => "Slack does not let the app invite this account to channels.",
        "cant_kick_self" | "cant_kick_from_general" => {
            "Slack does not let the app remove this account from the channel."
        }
        _ => {
            return format!("Slack refused the person with the code `{code}`.");
        }
    };
    sentence.into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_is_read_back_and_a_newer_state_is_none_of_them() {
        for state in ChannelState::ALL {
            assert_eq!(ChannelState::from_code(state.code()), Some(*state));
        }
        for obstacle in ChannelObstacle::ALL {
            assert_eq!(ChannelObstacle::from_code(obstacle.code()), Some(*obstacle));
        }
        for state in ChannelMemberState::ALL {
            assert_eq!(ChannelMemberState::from_code(state.code()), Some(*state));
        }
        assert!(!ChannelState::ALL.contains(&ChannelState::Newer));
        assert_eq!(ChannelState::from_code(ChannelState::Newer.code()), None);
    }

    #[test]
    fn every_obstacle_has_a_sentence_of_its_own_with_the_detail_where_it_helps() {
        let sentences: BTreeSet<String> =
            ChannelObstacle::ALL.iter().map(|obstacle| obstacle.sentence("")).collect();
        assert_eq!(sentences.len(), ChannelObstacle::ALL.len());
        for sentence in sentences {
            assert!(sentence.ends_with('.') && !sentence.contains("()"), "{sentence}");
        }
        let scopes = ChannelObstacle::MissingScopes.sentence("groups:read groups:write");
        assert!(scopes.contains("(groups:read, groups:write)"), "{scopes}");
        let refused = ChannelObstacle::RefusedBySlack.sentence("restricted_action");
        assert!(refused.contains("(restricted_action)"), "{refused}");
    }

    #[test]
    fn the_sentence_about_a_member_is_that_of_the_match_or_names_slacks_code() {
        assert_eq!(member_sentence("no_member"), NoMatch::NoMember.sentence());
        assert!(member_sentence("brand_new_code").contains("`brand_new_code`"));
        assert_eq!(member_sentence(""), "");
        assert!(member_sentence(LEFT).contains("AddChannelMembers"));
    }
}
