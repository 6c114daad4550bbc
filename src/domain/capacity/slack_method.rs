//! The methods of Slack's Web API that Herald calls. Their names are only here.

use std::time::Duration;

macro_rules! methods {
    ($($variant:ident = $name:literal;)*) => {
        /// A method of Slack's Web API.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Method { $($variant,)* }

        impl Method {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Slack's name: the path of a request, the key of a budget, the label of a metric.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

methods! {
    AppsManifestCreate = "apps.manifest.create";
    AppsManifestExport = "apps.manifest.export";
    AppsManifestUpdate = "apps.manifest.update";
    AppsManifestValidate = "apps.manifest.validate";
    AuthRevoke = "auth.revoke";
    AuthTeamsList = "auth.teams.list";
    AuthTest = "auth.test";
    BlocksValidate = "blocks.validate";
    ChatDelete = "chat.delete";
    ChatPostMessage = "chat.postMessage";
    ChatUpdate = "chat.update";
    ConversationsArchive = "conversations.archive";
    ConversationsCreate = "conversations.create";
    ConversationsHistory = "conversations.history";
    ConversationsInfo = "conversations.info";
    ConversationsInvite = "conversations.invite";
    ConversationsJoin = "conversations.join";
    ConversationsKick = "conversations.kick";
    ConversationsList = "conversations.list";
    ConversationsMembers = "conversations.members";
    ConversationsOpen = "conversations.open";
    ConversationsRename = "conversations.rename";
    ConversationsReplies = "conversations.replies";
    ConversationsSetPurpose = "conversations.setPurpose";
    ConversationsSetTopic = "conversations.setTopic";
    ConversationsUnarchive = "conversations.unarchive";
    MigrationExchange = "migration.exchange";
    OauthV2Access = "oauth.v2.access";
    OauthV2Exchange = "oauth.v2.exchange";
    OpenidConnectToken = "openid.connect.token";
    UsersInfo = "users.info";
    UsersList = "users.list";
    UsersLookupByEmail = "users.lookupByEmail";
    UsersProfileGet = "users.profile.get";
    ViewsPublish = "views.publish";
}

impl Method {
    /// The time between two calls for one workspace: Slack's guaranteed rate
    /// (<https://docs.slack.dev/apis/web-api/rate-limits>), spread over half a second more than a
    /// minute. The time that a call takes to reach Slack varies; spread over exactly a minute, a
    /// call that arrives a little early would exceed the limit. Posts have a limit for each
    /// channel, kept by the lanes. Slack publishes none for the whole workspace, so only a 429
    /// pauses it.
    #[must_use]
    pub fn interval(self) -> Duration {
        let per_minute = match self {
            // Called with the token of a person, so no workspace has a budget for them.
            Self::AppsManifestCreate | Self::AppsManifestUpdate => 1,
            Self::AuthTeamsList
            | Self::ConversationsArchive
            | Self::ConversationsCreate
            | Self::ConversationsList
            | Self::ConversationsRename
            | Self::ConversationsSetPurpose
            | Self::ConversationsSetTopic
            | Self::ConversationsUnarchive
            | Self::MigrationExchange
            | Self::UsersList => 20,
            // Slack publishes no figure for `blocks.validate`: "special rate limits".
            Self::BlocksValidate
            | Self::AppsManifestExport
            | Self::AppsManifestValidate
            | Self::UsersLookupByEmail
            | Self::ConversationsHistory
            | Self::ConversationsInfo
            | Self::ConversationsInvite
            | Self::ConversationsJoin
            | Self::ConversationsKick
            | Self::ConversationsOpen
            | Self::ConversationsReplies
            | Self::AuthRevoke
            | Self::ChatUpdate
            | Self::ChatDelete => 50,
            Self::ConversationsMembers
            | Self::UsersInfo
            | Self::UsersProfileGet
            | Self::ViewsPublish => 100,
            // "Hundreds a minute".
            Self::AuthTest => 300,
            // Posts: see above. `oauth.v2.access` is called before a workspace is known, so no
            // workspace has a budget for it; `openid.connect.token` only for a person who came back
            // from Slack. A token is exchanged by one replica, every few hours.
            Self::ChatPostMessage
            | Self::OauthV2Access
            | Self::OauthV2Exchange
            | Self::OpenidConnectToken => {
                return Duration::ZERO;
            }
        };
        Duration::from_millis(60_500) / per_minute
    }
}
