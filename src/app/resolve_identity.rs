//! ResolveIdentity: a person's Slack member, from the cache. Stores and sends nothing.

use super::tenant::{Known, Tenant};
use super::{App, Call, Error, Subject};
use crate::directory::View;
use crate::domain::access;
use crate::domain::delivery::verdict::FoundMember;
use crate::domain::identity::matching::{Match, MatchBasis, MemberDecision, Unmatched};
use crate::domain::mapping::Values;
use crate::domain::reason::NoMatch;
use crate::domain::settings::Rule;
use crate::domain::time::Timestamp;

/// The answer.
#[derive(Debug)]
pub struct Resolved {
    pub outcome: Result<IdentifiedMember, Unmatched>,
    /// When the member list that answered was read.
    pub read_at: Option<Timestamp>,
    /// Whether that list is too old to identify new people.
    pub directory_stale: bool,
}

/// A member that was found.
#[derive(Debug)]
pub struct IdentifiedMember {
    pub found: FoundMember,
    pub rule: Rule,
    /// The stored identity answered although the expressions no longer find it.
    pub stale: bool,
}

impl App {
    /// Answers from memory, or from the shared snapshot; never asks Slack.
    pub async fn resolve_identity(&self, call: &Call, subject: Subject) -> Result<Resolved, Error> {
        let right = match &subject {
            Subject::Known(_) => access::RESOLVE_IDENTITY,
            Subject::Described(_) => access::RESOLVE_DESCRIBED,
        };
        call.may_about(&right, subject.user_id())?;
        let tenant = self.tenant(&call.tenant).await?;
        let known = self.subject(&call.tenant, subject).await?;
        let view = self.view(&tenant).await?;
        let values = self.directory.values(&tenant.id, &tenant.mapping, &known.person).await?;
        Ok(answer(&tenant, &view, &known, &values))
    }

    /// The person that a call is about, with their stored identity. A description in the call
    /// replaces the stored record.
    pub(super) async fn subject(
        &self,
        tenant: &crate::domain::ids::TenantId,
        subject: Subject,
    ) -> Result<Known, Error> {
        let known = self.known(tenant, subject.user_id()).await?;
        Ok(match subject {
            Subject::Known(_) => known,
            Subject::Described(person) => Known { person, ..known },
        })
    }
}

/// A person's member by one reading of the member list. `values` are the values of the mapping's
/// user attribute for the person.
pub(super) fn answer(tenant: &Tenant, view: &View, known: &Known, values: &Values) -> Resolved {
    let Some(installation) = &tenant.installation else {
        let nobody = Match::none(NoMatch::NotConnected).unmatched();
        return Resolved { outcome: Err(nobody), read_at: None, directory_stale: false };
    };
    let stored = tenant.identity_here(known);
    let (decision, matched) = view.decide_at_any_age(&tenant.mapping, stored, values);
    let outcome = match decision {
        MemberDecision::Reach { slack_user_id, display_name, basis } => Ok(IdentifiedMember {
            found: FoundMember { installation: installation.id, slack_user_id, display_name },
            rule: if basis == MatchBasis::Pinned { Rule::Pinned } else { Rule::Matched },
            stale: matches!(basis, MatchBasis::Stale { .. }),
        }),
        MemberDecision::Unreachable { reason } => Err(Unmatched { reason, ..matched.unmatched() }),
    };
    Resolved { outcome, read_at: view.read_at, directory_stale: view.stale }
}
