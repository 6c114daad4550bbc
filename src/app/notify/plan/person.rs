//! The decision about one person: suppressed, queued for their member, to be resolved later, held
//! or unreachable.

use super::{Decision, Planner, Start};
use crate::app::notify::recipients::{Named, choices};
use crate::domain::delivery::admission::{Placement, Reached, Search};
use crate::domain::delivery::trace::{self, Cause, Wait};
use crate::domain::delivery::verdict::{FoundMember, Guarantee};
use crate::domain::settings::Preferences;
use crate::store::Installation;

/// A person whose message may go.
#[derive(Clone, Copy)]
struct Eligible<'a> {
    named: &'a Named,
    chosen: &'a Preferences,
    installation: &'a Installation,
    guarantee: Guarantee,
}

impl Planner<'_> {
    /// The decision about a person. `may_ask`: Slack may be asked about one more recipient.
    pub(super) fn person<'p>(&'p self, named: &'p Named, may_ask: bool) -> Decision<'p> {
        let (user, known) = (named.user(), Some(&named.known));
        let chosen = choices(self.preferences, user);
        let concerned = self.request.part(&self.kind, user).concerns(self.message.action);
        let admitted = match concerned.and_then(|()| self.admit(Some(chosen))) {
            Ok(admitted) => admitted,
            Err(end) => return self.ends(known, Some(chosen), end, 0),
        };
        let installation = admitted.workspace;
        let guarantee = Guarantee::for_scopes(&installation.scopes, true);
        if let Some(lane) = admitted.changes_in(self.places.get(user)) {
            let (installation, lane) = (installation.id, lane.to_owned());
            let start = Start::Lane { installation, lane, found: None, guarantee };
            let trace = self.trace(Some(chosen), None, "send");
            return Decision { known, channel: None, start, trace, identity: None };
        }
        let (decision, matched) = self.tenant.decide(self.view, &named.known, &named.values);
        let search = Search {
            decision: &decision,
            is_behind: self.resolving.contains(user),
            // Slack may know a person who joined a minute ago.
            slack_may_know: may_ask
                && named.may_be_known_to_slack(self.directory, installation, &decision),
        };
        let eligible = Eligible { named, chosen, installation, guarantee };
        let members_without_email = matched.unmatched().without_email as u64;
        match admitted.to_person(search) {
            Ok(Placement::Member(member)) => self.reached(&eligible, member),
            Ok(Placement::Behind(member)) => self.behind(&eligible, member),
            Ok(Placement::AwaitList) => self.later(&eligible, false),
            Ok(Placement::AskSlack(_)) => self.later(&eligible, true),
            Ok(Placement::Hold(reason)) => {
                let mut trace = self.trace(Some(chosen), None, reason.code());
                let (now, until) = (self.message.now, self.message.deferred_until());
                // It waits first until it is due, then for the person.
                let cause = if until.is_some() { Cause::Time } else { Cause::Arrival };
                trace.waits(Wait::new(cause, now, until));
                let start = Start::Held { reason, members_without_email, guarantee };
                Decision { known, channel: None, start, trace, identity: None }
            }
            Err(end) => self.ends(known, Some(chosen), end, members_without_email),
        }
    }

    /// A person whose member is known.
    fn reached<'p>(&self, eligible: &Eligible<'p>, member: Reached<'_>) -> Decision<'p> {
        let Eligible { named, chosen, installation, guarantee } = *eligible;
        let found = FoundMember {
            installation: installation.id,
            slack_user_id: member.slack_user_id.clone(),
            display_name: member.display_name.to_owned(),
        };
        let start = Start::Lane {
            installation: installation.id,
            lane: member.slack_user_id.as_str().to_owned(),
            found: Some(found),
            guarantee,
        };
        Decision {
            known: Some(&named.known),
            channel: None,
            start,
            trace: self.trace(Some(chosen), Some(self.basis(member)), "send"),
            identity: member.new_identity(installation.id, self.message.now),
        }
    }

    /// A person whose member is known, with earlier messages that are in no lane yet.
    fn behind<'p>(&self, eligible: &Eligible<'p>, member: Reached<'_>) -> Decision<'p> {
        let Eligible { named, chosen, installation, guarantee } = *eligible;
        let mut trace = self.trace(Some(chosen), Some(self.basis(member)), "send");
        trace.waits(Wait::new(Cause::Conversation, self.message.now, None));
        Decision {
            known: Some(&named.known),
            channel: None,
            start: Start::Later { asks: false, guarantee },
            trace,
            identity: member.new_identity(installation.id, self.message.now),
        }
    }

    /// A person whose member is determined later, by the list or by Slack's answer.
    fn later<'p>(&self, eligible: &Eligible<'p>, asks: bool) -> Decision<'p> {
        let Eligible { named, chosen, guarantee, .. } = *eligible;
        let mut trace = self.trace(Some(chosen), None, "send");
        trace.waits(Wait::new(Cause::Directory, self.message.now, None));
        let start = Start::Later { asks, guarantee };
        Decision { known: Some(&named.known), channel: None, start, trace, identity: None }
    }

    fn basis(&self, member: Reached<'_>) -> trace::TraceBasis {
        trace::TraceBasis::of(&member.basis, self.view.generation(), self.view.read_at)
    }
}
