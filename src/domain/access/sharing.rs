//! Whether a tenant may be connected to a Slack workspace that other tenants use.
//!
//! The person who installs the app in Slack may not be the tenant's administrator: a link that was
//! passed on would give a second tenant the members and conversations of a workspace that a first
//! one uses.

use serde::{Deserialize, Serialize};

use crate::domain::ids::InstallationId;

/// The decision if other tenants use the workspace and no one has allowed that
/// (`app.workspace_sharing`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sharing {
    /// The tenant is not connected.
    #[default]
    Refuse,
    /// The person is asked, and goes through Slack again.
    Confirm,
    /// The tenant is connected.
    Allow,
}

/// The workspaces of other tenants that a connect attempt may join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Allowed {
    /// None.
    #[default]
    Nothing,
    /// The workspace that the person confirmed.
    Confirmed(InstallationId),
    /// Any workspace, allowed by a caller for all tenants.
    Anything,
    /// None, and no workspace but the tenant's own: it is only connected again.
    OwnAgain,
}

/// The result of a connect attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SharingDecision {
    Connect,
    Confirm,
    Refuse,
}

const ANYTHING: &str = "*";
const OWN_AGAIN: &str = "=";

impl Allowed {
    /// The code in the store.
    #[must_use]
    pub fn code(self) -> Option<String> {
        match self {
            Self::Nothing => None,
            Self::Confirmed(workspace) => Some(workspace.to_string()),
            Self::Anything => Some(ANYTHING.to_owned()),
            Self::OwnAgain => Some(OWN_AGAIN.to_owned()),
        }
    }

    /// A code that cannot be read allows nothing.
    #[must_use]
    pub fn from_code(code: Option<&str>) -> Self {
        match code {
            None => Self::Nothing,
            Some(ANYTHING) => Self::Anything,
            Some(OWN_AGAIN) => Self::OwnAgain,
            Some(text) => InstallationId::parse(text).map_or(Self::Nothing, Self::Confirmed),
        }
    }

    fn covers(self, workspace: InstallationId) -> bool {
        match self {
            Self::Nothing | Self::OwnAgain => false,
            Self::Confirmed(confirmed) => confirmed == workspace,
            Self::Anything => true,
        }
    }
}

/// Decides for a workspace; `others` has an entry for each other tenant that uses it: whether its
/// administrator allows further tenants.
#[must_use]
pub fn decide(
    policy: Sharing,
    allowed: Allowed,
    workspace: InstallationId,
    others: &[bool],
) -> SharingDecision {
    if others.iter().all(|lets_in| *lets_in) || allowed.covers(workspace) {
        return SharingDecision::Connect;
    }
    match policy {
        Sharing::Allow => SharingDecision::Connect,
        Sharing::Confirm => SharingDecision::Confirm,
        Sharing::Refuse => SharingDecision::Refuse,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: InstallationId = InstallationId(uuid::Uuid::from_u128(1));
    const THERE: InstallationId = InstallationId(uuid::Uuid::from_u128(2));

    #[test]
    fn a_workspace_of_others_needs_somebodys_leave() {
        let by = |policy, allowed, others: &[bool]| decide(policy, allowed, HERE, others);
        for policy in [Sharing::Refuse, Sharing::Confirm, Sharing::Allow] {
            assert_eq!(by(policy, Allowed::Nothing, &[]), SharingDecision::Connect);
            assert_eq!(by(policy, Allowed::Nothing, &[true, true]), SharingDecision::Connect);
            assert_eq!(by(policy, Allowed::Confirmed(HERE), &[false]), SharingDecision::Connect);
            assert_eq!(by(policy, Allowed::Anything, &[false]), SharingDecision::Connect);
        }
        for allowed in [Allowed::Nothing, Allowed::Confirmed(THERE), Allowed::OwnAgain] {
            let others = &[true, false];
            assert_eq!(by(Sharing::Refuse, allowed, others), SharingDecision::Refuse);
            assert_eq!(by(Sharing::Confirm, allowed, others), SharingDecision::Confirm);
            assert_eq!(by(Sharing::Allow, allowed, others), SharingDecision::Connect);
        }
    }

    #[test]
    fn what_is_allowed_reads_back() {
        let confirmed = Allowed::Confirmed(HERE);
        for allowed in [Allowed::Nothing, confirmed, Allowed::Anything, Allowed::OwnAgain] {
            assert_eq!(Allowed::from_code(allowed.code().as_deref()), allowed);
        }
        assert_eq!(Allowed::from_code(Some("rubbish")), Allowed::Nothing);
    }
}
