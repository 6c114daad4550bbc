//! How an attempt to connect a workspace can end, and the records and reports of it: for the
//! audit trail, for GetWorkspace, and for the platform's page to which the browser goes back.

use std::time::Duration;

use url::Url;

use crate::domain::access::audit::AuditOutcome;
use crate::domain::connection::{
    ACCESS_DENIED, CONFIRMATION_NEEDED, LINK_EXPIRED, LINK_USED, NO_ANSWER, OTHER_WORKSPACE,
    WORKSPACE_IN_USE,
};
use crate::domain::ids::TenantId;
use crate::store::ConnectOutcome;

/// The contents of the page that a link opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    pub tenant: TenantId,
    /// Slack's consent page.
    pub authorize_url: Url,
    pub cookie: Cookie,
    /// The platform's page from which the person came.
    pub back: Option<Url>,
    /// Whether the link connects one workspace only.
    pub for_one_workspace: bool,
}

/// Binds an attempt to a browser. No `Debug`: `state` is a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Cookie {
    /// Distinguishes the attempts of one browser.
    pub attempt: String,
    pub state: String,
    /// How long it is valid.
    pub lifetime: Duration,
}

impl std::fmt::Debug for Cookie {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cookie({})", self.attempt)
    }
}

/// The outcome of a callback; each has its own page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connected {
    /// Connected. Sending stays off until it is switched on.
    Done {
        tenant: TenantId,
        workspace: String,
        /// Features without all of their permissions.
        lacking: Vec<LackingFeature>,
    },
    /// An organization was connected: the person must choose one of its workspaces.
    ChooseTeam { teams: Vec<TeamOption>, cookie: Cookie },
    /// Canceled in Slack.
    Denied,
    /// It is not an answer to an attempt under way: no attempt ended.
    Unusable(Unusable),
    /// Another tenant uses the workspace. Nothing was stored.
    InUse { workspace: String },
    /// The link connects one workspace only, and another was chosen. Nothing was stored.
    OtherWorkspace { workspace: String },
    /// Another tenant uses the workspace, but the person may confirm, and then goes through Slack
    /// once more.
    Confirm { tenant: TenantId, workspace: String, start: Box<Start> },
    /// Slack refused the exchange, with its code.
    Refused { code: String },
    /// Slack did not answer: start again.
    NoAnswer,
}

/// A feature without all of its permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LackingFeature {
    pub code: &'static str,
    /// The name that administrators see.
    pub name: &'static str,
}

/// A workspace that can be chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TeamOption {
    pub name: String,
    /// The address that chooses it.
    pub url: Url,
}

/// Why a link, or Slack's redirect, cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    /// The state is not one of ours.
    UnknownState,
    /// The link was opened in another browser.
    OtherBrowser,
    /// The link was used before.
    AlreadyUsed,
    /// The link has expired.
    Expired,
}

/// An outcome, and where the browser goes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectEnd {
    pub connected: Connected,
    /// The platform's page, with the outcome in its address; `None`: a page of Herald's.
    pub back: Option<Url>,
}

impl ConnectEnd {
    /// `return_url`: as the link has it.
    pub(super) fn new(connected: Connected, return_url: Option<&str>) -> Self {
        let back = return_url.and_then(|url| Url::parse(url).ok());
        let back = back.zip(reported(&connected)).map(|(mut url, report)| {
            url.query_pairs_mut()
                .append_pair("status", report.status)
                .append_pair("reason", &report.reason);
            url
        });
        Self { connected, back }
    }

    pub(super) fn unknown() -> Self {
        Self::new(Connected::Unusable(Unusable::UnknownState), None)
    }
}

/// The outcome for the platform's page: stable codes, nothing secret.
struct Report {
    status: &'static str,
    reason: String,
}

/// `None`: the browser stays here, because the attempt continues, or because it is not the one that
/// began the attempt.
fn reported(connected: &Connected) -> Option<Report> {
    let of = |status, reason: &str| Some(Report { status, reason: reason.to_owned() });
    match connected {
        Connected::Done { lacking, .. } if lacking.is_empty() => of("connected", ""),
        Connected::Done { lacking, .. } => {
            let codes: Vec<&str> = lacking.iter().map(|feature| feature.code).collect();
            of("missing_scopes", &codes.join(","))
        }
        Connected::Denied => of("denied", ACCESS_DENIED),
        Connected::Unusable(Unusable::Expired) => of("expired", LINK_EXPIRED),
        Connected::Unusable(Unusable::AlreadyUsed) => of("used", LINK_USED),
        Connected::InUse { .. } => of("in_use", WORKSPACE_IN_USE),
        Connected::Confirm { .. } => of("in_use", CONFIRMATION_NEEDED),
        Connected::OtherWorkspace { .. } => of("wrong_workspace", OTHER_WORKSPACE),
        Connected::Refused { code } => of("refused", code),
        Connected::NoAnswer => of("failed", NO_ANSWER),
        Connected::ChooseTeam { .. }
        | Connected::Unusable(Unusable::UnknownState | Unusable::OtherBrowser) => None,
    }
}

/// The end of an attempt that did not connect.
pub(super) struct ConnectFailure {
    /// For the audit trail, with its reason.
    pub(super) outcome: AuditOutcome,
    pub(super) reason: String,
    /// For GetWorkspace.
    pub(super) shown: ConnectOutcome,
}

/// `None` if it connected, or if no attempt ended.
pub(super) fn failure(connected: &Connected) -> Option<ConnectFailure> {
    let of = |outcome, reason: &str, sentence: String| {
        let shown = ConnectOutcome::Failed { reason: reason.to_owned(), sentence };
        Some(ConnectFailure { outcome, reason: reason.to_owned(), shown })
    };
    match connected {
        Connected::Done { .. } | Connected::Unusable(_) | Connected::ChooseTeam { .. } => None,
        Connected::Refused { code } => {
            of(AuditOutcome::Failed, code, format!("Slack refused: {code}"))
        }
        Connected::NoAnswer => {
            of(AuditOutcome::Failed, NO_ANSWER, "Slack did not answer".to_owned())
        }
        Connected::InUse { .. } => of(
            AuditOutcome::Refused,
            WORKSPACE_IN_USE,
            "Another tenant uses this workspace, and sharing it has not been allowed.".to_owned(),
        ),
        Connected::OtherWorkspace { .. } => of(
            AuditOutcome::Refused,
            OTHER_WORKSPACE,
            "The link connects one workspace only, and another was chosen.".to_owned(),
        ),
        Connected::Confirm { .. } => of(
            AuditOutcome::Refused,
            CONFIRMATION_NEEDED,
            "Another tenant uses this workspace; the person was asked to confirm.".to_owned(),
        ),
        Connected::Denied => Some(ConnectFailure {
            outcome: AuditOutcome::Refused,
            reason: ACCESS_DENIED.to_owned(),
            shown: ConnectOutcome::Denied,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(lacking: &[LackingFeature]) -> Connected {
        let tenant = TenantId::parse("acme").unwrap();
        Connected::Done { tenant, workspace: "Acme".into(), lacking: lacking.to_vec() }
    }

    #[test]
    fn the_platform_s_page_gets_codes_and_keeps_its_own_parameters() {
        let back = |connected: Connected| {
            let end = ConnectEnd::new(connected, Some("https://p.example/s?tab=slack"));
            end.back.map(String::from)
        };
        let at = |query: &str| Some(format!("https://p.example/s?tab=slack&{query}"));
        let refused = Connected::Refused { code: "invalid_code".into() };
        let channels = LackingFeature { code: "channels", name: "create channels" };
        let events = LackingFeature { code: "events", name: "follow events" };
        for (connected, query) in [
            (done(&[]), "status=connected&reason="),
            (done(&[channels, events]), "status=missing_scopes&reason=channels%2Cevents"),
            (Connected::Denied, "status=denied&reason=access_denied"),
            (Connected::Unusable(Unusable::Expired), "status=expired&reason=link_expired"),
            (Connected::Unusable(Unusable::AlreadyUsed), "status=used&reason=link_used"),
            (
                Connected::InUse { workspace: "Secret".into() },
                "status=in_use&reason=workspace_in_use",
            ),
            (
                Connected::OtherWorkspace { workspace: "Secret".into() },
                "status=wrong_workspace&reason=other_workspace",
            ),
            (refused, "status=refused&reason=invalid_code"),
            (Connected::NoAnswer, "status=failed&reason=no_answer"),
        ] {
            assert_eq!(back(connected), at(query));
        }
        for unusable in [Unusable::UnknownState, Unusable::OtherBrowser] {
            assert_eq!(back(Connected::Unusable(unusable)), None, "it may be another's browser");
        }
        assert_eq!(ConnectEnd::new(done(&[]), None).back, None);
    }

    #[test]
    fn each_failure_has_a_reason_and_a_success_has_none() {
        assert!(failure(&done(&[])).is_none());
        let denied = failure(&Connected::Denied).unwrap();
        assert_eq!((denied.reason.as_str(), denied.shown), (ACCESS_DENIED, ConnectOutcome::Denied));
        let other = failure(&Connected::OtherWorkspace { workspace: "Secret".into() }).unwrap();
        assert_eq!(other.reason, OTHER_WORKSPACE);
        let ConnectOutcome::Failed { reason, sentence } = other.shown else {
            panic!("it failed");
        };
        assert!(reason == OTHER_WORKSPACE && !sentence.contains("Secret"), "{sentence}");
    }
}
