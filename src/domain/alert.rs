//! Alerts about connections: when one is due, and its body.

use serde_json::json;

use super::checkup::{CheckFinding, PartCheck};
use super::connection::ConnectionState;
use super::ids::{InstallationId, TenantId};
use super::time::Timestamp;

/// The facts that an alert reports.
#[derive(Debug, Clone, Copy)]
pub struct AlertFacts<'a> {
    pub tenant: &'a TenantId,
    pub workspace: Option<InstallationId>,
    /// The code of the state that was reported last.
    pub told: &'a str,
    pub state: ConnectionState,
    /// A stable code; empty if there is none.
    pub reason: &'a str,
    /// The same for people; empty if the connection is well.
    pub sentence: &'a str,
    /// The rows of the last check.
    pub checks: &'a [PartCheck],
    /// When the connection came into the state.
    pub since: Timestamp,
}

/// Whether a state is to be reported. A tenant without a workspace was disconnected by a call, or
/// never connected: a person knows that already.
#[must_use]
pub fn is_due(told: &str, state: ConnectionState) -> bool {
    let has_workspace = match state {
        ConnectionState::Disconnected | ConnectionState::Connecting => false,
        ConnectionState::Active
        | ConnectionState::Degraded
        | ConnectionState::Migrating
        | ConnectionState::ReconnectRequired => true,
    };
    // A new connection that is well is no news.
    let was_well = [ConnectionState::Active, ConnectionState::Disconnected]
        .iter()
        .any(|state| state.code() == told);
    let is_news = state != ConnectionState::Active || !was_well;
    has_workspace && state.code() != told && is_news
}

/// The body of an alert as JSON, in the form that Standard Webhooks recommends: a type, a time and
/// data.
#[must_use]
pub fn body(facts: &AlertFacts<'_>) -> String {
    let broken = facts.checks.iter().filter(|row| row.finding == CheckFinding::Broken);
    let broken: Vec<_> = broken
        .map(|row| {
            json!({ "part": row.part.code(), "sentence": row.sentence, "remedy": row.remedy })
        })
        .collect();
    let workspace = facts.workspace.map(|id| id.to_string());
    json!({
        "type": format!("workspace.{}", facts.state.code()),
        "timestamp": iso(facts.since),
        "data": {
            "tenant_id": facts.tenant.as_str(),
            "workspace_id": workspace.unwrap_or_default(),
            "state": facts.state.code(),
            "previous_state": facts.told,
            "reason": facts.reason,
            "sentence": facts.sentence,
            "broken_checks": broken,
        },
    })
    .to_string()
}

/// ISO 8601 in UTC; empty for a time outside its years.
fn iso(at: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(at.0).map(|at| at.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::checkup::CheckPart;

    #[test]
    fn only_news_about_a_workspace_is_reported() {
        use ConnectionState::{
            Active, Connecting, Degraded, Disconnected, Migrating, ReconnectRequired,
        };
        let due = |told: ConnectionState, state| is_due(told.code(), state);
        for state in ConnectionState::ALL {
            assert!(!due(*state, *state), "{state:?} was reported");
        }
        for bad in [Degraded, Migrating, ReconnectRequired] {
            assert!(due(Active, bad) && due(Disconnected, bad) && due(bad, Active), "{bad:?}");
            assert!(!due(bad, Disconnected) && !due(bad, Connecting), "{bad:?}");
        }
        assert!(due(Degraded, ReconnectRequired) && due(ReconnectRequired, Degraded));
        assert!(!due(Disconnected, Active), "connecting is no news");
        assert!(is_due("a_newer_state", Active));
    }

    #[test]
    fn a_body_names_the_broken_parts_and_no_others() {
        let tenant = TenantId::parse("acme").unwrap();
        let row = |part, finding| PartCheck {
            part,
            finding,
            sentence: "A sentence.".into(),
            remedy: "A remedy.".into(),
        };
        let checks = [
            row(CheckPart::Token, CheckFinding::Ok),
            row(CheckPart::Events, CheckFinding::Unknown),
            row(CheckPart::MessagesTab, CheckFinding::Broken),
        ];
        let facts = AlertFacts {
            tenant: &tenant,
            workspace: None,
            told: "active",
            state: ConnectionState::Degraded,
            reason: "check_failed",
            sentence: "Something is broken.",
            checks: &checks,
            since: Timestamp(1_700_000_000_000_000),
        };
        let body: serde_json::Value = serde_json::from_str(&body(&facts)).unwrap();
        assert_eq!(body["type"], "workspace.degraded");
        assert_eq!(body["timestamp"], "2023-11-14T22:13:20Z");
        assert_eq!(body["data"]["tenant_id"], "acme");
        assert_eq!(body["data"]["previous_state"], "active");
        let broken = body["data"]["broken_checks"].as_array().unwrap();
        assert_eq!(broken.len(), 1);
        assert_eq!(broken[0]["part"], "messages_tab");
    }
}
