//! The reasons why something did not happen: closed sets. Each reason has a stable code, which is
//! stored and appears in the API and in metrics, and a sentence for readers who do not know Herald.

macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident {
        $($(#[$vdoc:meta])* $variant:ident = $code:literal, $sentence:literal;)*
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $code)] $variant,)*
        }

        impl $name {
            /// All of them, for tables in docs and tests.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stable code.
            #[must_use]
            pub fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// The sentence for people.
            #[must_use]
            pub fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence,)* }
            }

            #[must_use]
            pub fn from_code(code: &str) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

reasons! {
    /// Why no Slack member was found. `identity::matching::resolve` decides which reason is given
    /// if several apply.
    NoMatch {
        NotConnected = "not_connected", "This tenant has not connected a Slack workspace.";
        DirectoryNotReady = "directory_not_ready",
            "The member list of the Slack workspace has not been read yet.";
        NoUserValue = "no_user_value", "The person has no value for the configured user attribute.";
        NoEmail = "member_without_email",
            "The value belongs to a Slack member without an e-mail address, who is filtered out.";
        Deactivated = "member_deactivated", "The value belongs to a deactivated Slack member.";
        Bot = "member_is_bot", "The value belongs to a bot.";
        SlackAttributeEmpty = "slack_attribute_empty",
            "The configured Slack attribute yields no value on any member.";
        FieldsNotFetched = "custom_fields_not_fetched",
            "The members' custom profile fields have not all been fetched yet.";
        Ambiguous = "ambiguous", "Several Slack members have this value.";
        NoMember = "no_member", "No member of the connected workspace has this value.";
        TooCostly = "expression_too_costly",
            "A mapping expression costs too much to evaluate on this person, or on the members of \
             the workspace.";
    }
}

impl NoMatch {
    /// Whether the person may be found later because they appear in Slack, or become visible there:
    /// then a message may be held until they do. Not if a person has to decide (ambiguous), if the
    /// person has left, or if the platform has to provide more data about them.
    #[must_use]
    pub fn arrival_helps(self) -> bool {
        match self {
            Self::NoEmail | Self::SlackAttributeEmpty | Self::FieldsNotFetched | Self::NoMember => {
                true
            }
            Self::NotConnected
            | Self::DirectoryNotReady
            | Self::NoUserValue
            | Self::Deactivated
            | Self::Bot
            | Self::Ambiguous
            | Self::TooCostly => false,
        }
    }
}

reasons! {
    /// Why a message was suppressed.
    Suppression {
        SendingOff = "sending_off", "Sending is switched off for this tenant.";
        EventTypeOff = "event_type_off", "This event type is switched off for this tenant.";
        PreferenceAll = "preference_all_off", "The person turned Slack messages off.";
        PreferenceType = "preference_type_off", "The person turned this kind of Slack message off.";
        OptIn = "opt_in", "This tenant sends only to people who opted in, and this person has not.";
        SameMember = "same_member",
            "Another recipient of the same notification is the same Slack member, who gets one \
             message.";
        NotInAudience = "not_in_audience",
            "This event type is for people in certain roles, and the recipient was named with none \
             of them.";
        OwnAct = "own_act",
            "The person caused the event, and this event type leaves that person out.";
    }
}

impl Suppression {
    /// Whether nothing is missing without the message: another one takes its place, or it was not
    /// meant for the recipient. Otherwise the recipient should be notified in another way.
    #[must_use]
    pub fn needs_no_fallback(self) -> bool {
        match self {
            Self::SameMember | Self::NotInAudience | Self::OwnAct => true,
            Self::SendingOff
            | Self::EventTypeOff
            | Self::PreferenceAll
            | Self::PreferenceType
            | Self::OptIn => false,
        }
    }
}

reasons! {
    /// Why a delivery was canceled without a call of CancelNotification.
    Cancellation {
        Superseded = "superseded",
            "A later notification about the same subject replaced it before it was sent.";
        NothingToDo = "nothing_to_do",
            "There is no message about the subject in this conversation that could be changed.";
        ChannelReleased = "channel_released",
            "The channel was released before the message could be sent to it.";
        Disconnected = "disconnected",
            "The tenant's Slack workspace was disconnected before the message was sent.";
    }
}

impl Cancellation {
    /// Whether nothing is missing without the message. If the workspace was disconnected, the
    /// recipient should be notified in another way.
    #[must_use]
    pub fn needs_no_fallback(self) -> bool {
        match self {
            Self::Superseded | Self::NothingToDo | Self::ChannelReleased => true,
            Self::Disconnected => false,
        }
    }
}

reasons! {
    /// Why a delivery failed permanently.
    Failure {
        Rejected = "rejected", "Slack refused the message; the code says why.";
        RetriesExhausted = "retries_exhausted",
            "Slack did not accept the message in any of the allowed attempts.";
        Unconfirmed = "unconfirmed",
            "It is unknown whether Slack stored the message, and the settings say not to send it \
             again.";
        Template = "template", "The message could not be rendered.";
        Deactivated = "recipient_deactivated",
            "The Slack account was deactivated before the message went out.";
        Damaged = "content_unreadable", "The stored content of the message cannot be read.";
        Crashed = "crashed", "The message was parked after its worker died three times.";
    }
}
