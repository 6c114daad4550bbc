//! The state of a tenant's connection to Slack, with the reason and a sentence for people. It is
//! computed from facts whenever someone looks, so no statement can forget to change it.

use std::borrow::Cow;

use super::time::Timestamp;

/// The state of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnectionState {
    /// No workspace is connected.
    Disconnected,
    /// No workspace is connected, and a link was opened whose outcome is not known yet.
    Connecting,
    /// The token is valid.
    Active,
    /// The token is valid, but a feature lacks scopes or the last check found something broken.
    Degraded,
    /// Sending pauses while the workspace moves into an Enterprise organization.
    Migrating,
    /// The token is dead.
    ReconnectRequired,
}

impl ConnectionState {
    /// In the order of the API.
    pub const ALL: &'static [Self] = &[
        Self::Disconnected,
        Self::Connecting,
        Self::Active,
        Self::Degraded,
        Self::Migrating,
        Self::ReconnectRequired,
    ];

    /// The stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::Connecting => "connecting",
            Self::Active => "active",
            Self::Degraded => "degraded",
            Self::Migrating => "migrating",
            Self::ReconnectRequired => "reconnect_required",
        }
    }
}

/// The facts about a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionFacts {
    /// `None`: no workspace is connected.
    pub linked: Option<LinkedFacts>,
    /// The attempt whose link was opened last.
    pub opened: Option<OpenedLink>,
    /// When the tenant was last disconnected.
    pub disconnected_at: Option<Timestamp>,
    /// The database's time.
    pub now: Timestamp,
}

/// The facts about a connected workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkedFacts {
    pub linked_at: Timestamp,
    /// When the token last died or was replaced.
    pub token_changed_at: Timestamp,
    /// Slack's code, if the token is dead.
    pub dead: Option<String>,
    /// Since when the workspace moves into an Enterprise organization, if it does.
    pub migrating_since: Option<Timestamp>,
    /// The names of the features that must have scopes which the workspace has not granted.
    pub lacking: Vec<&'static str>,
    /// When the last check ended, if it found something broken.
    pub broken_at: Option<Timestamp>,
}

/// An attempt whose link was opened in a browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedLink {
    pub at: Timestamp,
    pub expires_at: Timestamp,
    /// `None`: the outcome is not known.
    pub ended: Option<LinkEnd>,
}

/// The end of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkEnd {
    pub at: Timestamp,
    /// Why it did not connect, as a stable code; `None`: it connected.
    pub reason: Option<String>,
}

/// A feature lacks scopes.
pub const MISSING_SCOPES: &str = "missing_scopes";
/// The last check found something broken.
pub const CHECK_FAILED: &str = "check_failed";
/// The workspace moves into an Enterprise organization.
pub const MIGRATING: &str = "workspace_migrating";
/// The link expired before Slack answered.
pub const LINK_EXPIRED: &str = "link_expired";
/// The tenant was disconnected.
pub const DISCONNECTED: &str = "disconnected";
/// The link, or Slack's answer, was used before.
pub const LINK_USED: &str = "link_used";
/// The person canceled in Slack, or an administrator declined.
pub const ACCESS_DENIED: &str = "access_denied";
/// Slack did not answer.
pub const NO_ANSWER: &str = "no_answer";
/// Another tenant uses the workspace.
pub const WORKSPACE_IN_USE: &str = "workspace_in_use";
/// Another tenant uses the workspace, and the person was asked to confirm.
pub const CONFIRMATION_NEEDED: &str = "confirmation_needed";
/// Another workspace was chosen than the link is for.
pub const OTHER_WORKSPACE: &str = "other_workspace";

/// The state of a connection, and why, as a stable code of Slack's or Herald's. A workspace that
/// is connected counts, whatever becomes of later attempts to connect it again.
#[must_use]
pub fn state(facts: &ConnectionFacts) -> (ConnectionState, Option<&str>) {
    let (state, reason, _) = judged(facts);
    (state, reason)
}

/// When the connection came into its state; `None`: it was always like this.
#[must_use]
pub fn since(facts: &ConnectionFacts) -> Option<Timestamp> {
    judged(facts).2
}

type Judged<'a> = (ConnectionState, Option<&'a str>, Option<Timestamp>);

fn judged(facts: &ConnectionFacts) -> Judged<'_> {
    match &facts.linked {
        Some(linked) => of_linked(linked),
        None => of_unlinked(facts),
    }
}

fn of_linked(linked: &LinkedFacts) -> Judged<'_> {
    let connected_at = linked.linked_at.max(linked.token_changed_at);
    if let Some(code) = &linked.dead {
        return (ConnectionState::ReconnectRequired, Some(code), Some(linked.token_changed_at));
    }
    if let Some(at) = linked.migrating_since {
        return (ConnectionState::Migrating, Some(MIGRATING), Some(at));
    }
    if !linked.lacking.is_empty() {
        return (ConnectionState::Degraded, Some(MISSING_SCOPES), Some(connected_at));
    }
    // A check from before the last reconnect says nothing about the new token.
    match linked.broken_at.filter(|at| *at >= connected_at) {
        Some(at) => (ConnectionState::Degraded, Some(CHECK_FAILED), Some(at)),
        None => (ConnectionState::Active, None, Some(connected_at)),
    }
}

fn of_unlinked(facts: &ConnectionFacts) -> Judged<'_> {
    let at = facts.disconnected_at;
    let disconnected = (ConnectionState::Disconnected, at.map(|_| DISCONNECTED), at);
    // Attempts from before the tenant was disconnected are over.
    let Some(opened) = facts.opened.as_ref().filter(|opened| Some(opened.at) > at) else {
        return disconnected;
    };
    match &opened.ended {
        Some(LinkEnd { at, reason: Some(reason) }) => {
            (ConnectionState::Disconnected, Some(reason), Some(*at))
        }
        Some(LinkEnd { reason: None, .. }) => disconnected,
        None if opened.expires_at > facts.now => {
            (ConnectionState::Connecting, None, Some(opened.at))
        }
        None => (ConnectionState::Disconnected, Some(LINK_EXPIRED), Some(opened.expires_at)),
    }
}

/// The state as a sentence for people, with what to do; empty if the connection is well.
#[must_use]
pub fn sentence(facts: &ConnectionFacts) -> Cow<'static, str> {
    let (state, reason) = state(facts);
    let reason = reason.unwrap_or_default();
    match state {
        ConnectionState::Active => "".into(),
        ConnectionState::Connecting => {
            "A connect link was opened, and Slack has not answered yet. If the workspace lets only \
             administrators approve apps, ask one of them to approve the request; Slack reports no \
             approval, so connect again after it."
                .into()
        }
        ConnectionState::Migrating => {
            "The workspace is moving into an Enterprise organization. Messages wait, and are sent \
             after the move; there is nothing to do."
                .into()
        }
        ConnectionState::Degraded if reason == MISSING_SCOPES => {
            let lacking = facts.linked.as_ref().map(|linked| linked.lacking.join("; "));
            format!(
                "The workspace has not granted the permissions for: {}. Connect it again to grant \
                 them.",
                lacking.unwrap_or_default()
            )
            .into()
        }
        ConnectionState::Degraded => {
            "The last check of the connection found something that does not work. Check the \
             connection to see what to do."
                .into()
        }
        ConnectionState::ReconnectRequired => format!(
            "{} Messages wait until the workspace is connected again.",
            dead(reason).unwrap_or("Slack no longer accepts the app's token.")
        )
        .into(),
        ConnectionState::Disconnected => unconnected(reason),
    }
}

/// Slack's codes for a token that no longer works.
fn dead(code: &str) -> Option<&'static str> {
    Some(match code {
        "token_revoked" => "The app's token was revoked in Slack.",
        "app_uninstalled" | "account_inactive" => "The app was removed from the workspace.",
        "token_expired" | "invalid_refresh_token" => "The app's token has expired.",
        "org_login_required" | "team_access_not_granted" => {
            "The organization no longer gives the app access to this workspace."
        }
        _ => return None,
    })
}

/// Why no workspace is connected, with the remedy.
fn unconnected(reason: &str) -> Cow<'static, str> {
    match reason {
        "" => "No Slack workspace is connected. Connect one to send messages.".into(),
        DISCONNECTED => {
            "The Slack workspace was disconnected. Connect it again to send messages.".into()
        }
        LINK_EXPIRED => {
            "Slack did not answer before the link expired: perhaps the page was closed, or an \
             administrator of Slack has not approved the app. Connect again; an approval stays."
                .into()
        }
        ACCESS_DENIED => {
            "The request was canceled in Slack, or an administrator declined it. Connect again if \
             that was not meant."
                .into()
        }
        WORKSPACE_IN_USE => {
            "Another tenant uses the workspace that was chosen. Connect again and choose another \
             one, or let the operator allow it."
                .into()
        }
        CONFIRMATION_NEEDED => {
            "Another tenant uses the workspace that was chosen, and this has not been confirmed. \
             Connect again."
                .into()
        }
        OTHER_WORKSPACE => {
            "Another workspace was chosen in Slack than the link is for. Connect again and choose \
             the right one."
                .into()
        }
        NO_ANSWER => "Slack did not answer. Connect again in a minute.".into(),
        code => format!("Slack refused to connect ({code}). Connect again.").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: fn(i64) -> Timestamp = Timestamp;

    fn unlinked() -> ConnectionFacts {
        ConnectionFacts { linked: None, opened: None, disconnected_at: None, now: T(100) }
    }

    fn opened(at: i64, expires_at: i64, ended: Option<(i64, Option<&str>)>) -> OpenedLink {
        let ended =
            ended.map(|(at, reason)| LinkEnd { at: T(at), reason: reason.map(str::to_owned) });
        OpenedLink { at: T(at), expires_at: T(expires_at), ended }
    }

    fn linked() -> LinkedFacts {
        LinkedFacts {
            linked_at: T(10),
            token_changed_at: T(20),
            dead: None,
            migrating_since: None,
            lacking: Vec::new(),
            broken_at: None,
        }
    }

    fn with(linked: LinkedFacts) -> ConnectionFacts {
        ConnectionFacts { linked: Some(linked), ..unlinked() }
    }

    #[test]
    fn a_token_counts_more_than_an_attempt() {
        let attempt = opened(50, 200, None);
        let of = |linked| {
            let facts = ConnectionFacts { opened: Some(attempt.clone()), ..with(linked) };
            let (state, reason) = state(&facts);
            (state, reason.map(str::to_owned), since(&facts))
        };
        assert_eq!(of(linked()), (ConnectionState::Active, None, Some(T(20))));
        let dead = LinkedFacts { dead: Some("token_revoked".into()), ..linked() };
        let revoked = Some("token_revoked".to_owned());
        assert_eq!(of(dead.clone()), (ConnectionState::ReconnectRequired, revoked, Some(T(20))));
        let moving = LinkedFacts { migrating_since: Some(T(30)), ..linked() };
        assert_eq!(of(moving).0, ConnectionState::Migrating);
        let both = LinkedFacts { migrating_since: Some(T(30)), ..dead };
        assert_eq!(of(both).0, ConnectionState::ReconnectRequired);
    }

    #[test]
    fn missing_scopes_and_broken_parts_degrade_a_connection() {
        let lacking = LinkedFacts { lacking: vec!["create and keep channels"], ..linked() };
        let facts = with(lacking);
        assert_eq!(state(&facts), (ConnectionState::Degraded, Some(MISSING_SCOPES)));
        assert!(sentence(&facts).contains("create and keep channels"));
        let broken = with(LinkedFacts { broken_at: Some(T(40)), ..linked() });
        assert_eq!(state(&broken), (ConnectionState::Degraded, Some(CHECK_FAILED)));
        let before = with(LinkedFacts { broken_at: Some(T(19)), ..linked() });
        assert_eq!(state(&before), (ConnectionState::Active, None), "found with the old token");
    }

    #[test]
    fn without_a_workspace_the_last_opened_link_counts() {
        let of = |opened, disconnected_at| {
            let facts = ConnectionFacts { opened, disconnected_at, ..unlinked() };
            let (state, reason) = state(&facts);
            (state, reason.map(str::to_owned))
        };
        let (out, into) = (ConnectionState::Disconnected, ConnectionState::Connecting);
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(of(None, None), (out, None));
        assert_eq!(of(Some(opened(50, 101, None)), None), (into, None));
        assert_eq!(of(Some(opened(50, 100, None)), None), (out, text(LINK_EXPIRED)));
        let denied = Some(opened(50, 101, Some((60, Some(ACCESS_DENIED)))));
        assert_eq!(of(denied.clone(), None), (out, text(ACCESS_DENIED)));
        assert_eq!(of(denied, Some(T(70))), (out, text(DISCONNECTED)));
        let connected = Some(opened(50, 101, Some((60, None))));
        assert_eq!(of(connected, Some(T(70))), (out, text(DISCONNECTED)));
        assert_eq!(of(Some(opened(80, 101, None)), Some(T(70))), (into, None));
    }

    #[test]
    fn what_is_not_well_is_a_sentence_and_what_is_well_is_not() {
        assert_eq!(sentence(&with(linked())), "");
        let codes = ["token_revoked", "app_uninstalled", "token_expired", "never_heard_of"];
        for code in codes {
            let facts = with(LinkedFacts { dead: Some(code.into()), ..linked() });
            assert!(sentence(&facts).contains("connected again"), "{code}");
        }
        for reason in [
            ACCESS_DENIED,
            CONFIRMATION_NEEDED,
            NO_ANSWER,
            OTHER_WORKSPACE,
            WORKSPACE_IN_USE,
            "bad_client_secret",
        ] {
            let ended = opened(50, 101, Some((60, Some(reason))));
            let facts = ConnectionFacts { opened: Some(ended), ..unlinked() };
            assert!(sentence(&facts).contains("onnect again"), "{reason}");
        }
    }

    #[test]
    fn codes_are_those_of_the_api() {
        let codes: Vec<&str> = ConnectionState::ALL.iter().map(|state| state.code()).collect();
        assert_eq!(
            codes,
            ["disconnected", "connecting", "active", "degraded", "migrating", "reconnect_required"]
        );
    }
}
