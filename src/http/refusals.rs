//! Slack's refusals to connect a workspace, explained to the person who connects.

/// The way on after a refusal.
pub(super) enum Advice {
    /// A new link is enough.
    Again,
    /// The person must fix something first.
    Person(&'static str),
    /// A setting is wrong.
    Operator(&'static str),
}

/// One of Slack's codes, explained.
pub(super) struct SlackRefusal {
    pub(super) code: &'static str,
    pub(super) explanation: &'static str,
    pub(super) advice: Advice,
}

/// Slack's codes for the consent page and for `oauth.v2.access` (Slack's documentation: Installing
/// with OAuth).
pub(super) const REFUSALS: &[SlackRefusal] = &[
    SlackRefusal {
        code: "invalid_code",
        explanation: "The approval was no longer valid when it was handed in: it works once, \
                      for ten minutes.",
        advice: Advice::Again,
    },
    SlackRefusal {
        code: "bad_client_secret",
        explanation: "Slack does not accept the app’s client secret.",
        advice: Advice::Operator("the client secret must be the one of the Slack app."),
    },
    SlackRefusal {
        code: "app_id_mismatch",
        explanation: "Another Slack app was approved than the one that the link is for.",
        advice: Advice::Operator(
            "the app id, the client id and the client secret must be of one Slack app.",
        ),
    },
    SlackRefusal {
        code: "invalid_client_id",
        explanation: "Slack does not know the app’s client id.",
        advice: Advice::Operator("the client id must be the one of the Slack app."),
    },
    SlackRefusal {
        code: "bad_redirect_uri",
        explanation: "The address of this page is not one that the Slack app sends people back to.",
        advice: Advice::Operator(
            "add this page’s address to the app’s redirect URLs, and see that the setting \
             public_url is the same.",
        ),
    },
    SlackRefusal {
        code: "no_scopes",
        explanation: "The app asked Slack for no permissions at all.",
        advice: Advice::Operator("the list of scopes in the settings is empty."),
    },
    SlackRefusal {
        code: "invalid_scope",
        explanation: "The app asked for a permission that Slack does not know or does not give it.",
        advice: Advice::Operator("the list of scopes must fit the app’s manifest."),
    },
    SlackRefusal {
        code: "unapproved_scope",
        explanation: "The app asked for a permission that Slack has not approved it for.",
        advice: Advice::Operator("the list of scopes must fit the app’s manifest."),
    },
    SlackRefusal {
        code: "scope_not_allowed_on_enterprise",
        explanation: "One of the permissions cannot be given for a whole Enterprise organization.",
        advice: Advice::Person("Choose a single workspace in Slack, not the organization."),
    },
    SlackRefusal {
        code: "invalid_team_for_non_distributed_app",
        explanation: "This Slack app may be installed only in its own workspace, and you chose \
                      another one.",
        advice: Advice::Operator(
            "turn on public distribution for the Slack app, or use an app of this workspace.",
        ),
    },
    SlackRefusal {
        code: "cannot_install_an_org_installed_app",
        explanation: "The app is installed for your whole Enterprise organization already, so it \
                      cannot be installed in one workspace.",
        advice: Advice::Person(
            "Ask an administrator of the organization to add the app to this workspace, or \
             choose the organization in Slack.",
        ),
    },
    SlackRefusal {
        code: "user_email_unverified",
        explanation: "You have not confirmed your e-mail address in Slack yet.",
        advice: Advice::Person("Confirm it by the mail that Slack sent you."),
    },
    SlackRefusal {
        code: "oauth_authorization_url_mismatch",
        explanation: "The approval was begun on a kind of consent page that does not go with this \
                      app.",
        advice: Advice::Operator("the link must lead to oauth/v2/authorize of the same Slack."),
    },
    SlackRefusal {
        code: "invalid_code_verifier",
        explanation: "Slack expects a proof (PKCE) that was not given.",
        advice: Advice::Operator("turn PKCE off in the Slack app’s settings."),
    },
    SlackRefusal {
        code: "pkce_not_allowed",
        explanation: "The approval was begun with a proof (PKCE) that the Slack app does not \
                      allow.",
        advice: Advice::Operator("the link must be used as it was made."),
    },
    SlackRefusal {
        code: "invalid_grant_type",
        explanation: "Slack did not understand the request.",
        advice: Advice::Operator("something between this server and Slack may change requests."),
    },
    SlackRefusal {
        code: "invalid_refresh_token",
        explanation: "Slack did not understand the request.",
        advice: Advice::Operator("something between this server and Slack may change requests."),
    },
];
