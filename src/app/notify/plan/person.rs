//! The verdict on one person: suppressed, queued for their member, to be resolved later, held or
//! unreachable.

use super::{Lanes, Planned, Planner, STRANGERS, decide};
use crate::app::Error;
use crate::app::notify::choices;
use crate::app::tenant::Known;
use crate::domain::ids::UserId;
use crate::domain::matching::{Match, MatchBasis, MemberDecision};
use crate::domain::reason::NoMatch;
use crate::domain::settings::{Identity, Preferences, Rule};
use crate::domain::trace::{self, Cause, Trace, Wait};
use crate::domain::verdict::{Decided, FoundMember, Guarantee};
use crate::store::{Installation, Target};

/// A person whose message no switch suppresses, in a connected workspace.
#[derive(Clone, Copy)]
struct Eligible<'a> {
    known: &'a Known,
    chosen: &'a Preferences,
    installation: &'a Installation,
    guarantee: Guarantee,
}

impl Planner<'_> {
    /// The verdict on a person.
    pub(super) fn person(
        &self,
        known: &Known,
        planned: &mut Planned,
        lanes: &mut Lanes,
    ) -> Result<(Decided, usize), Error> {
        let user = &known.person.user_id;
        let chosen = choices(self.preferences, user);
        if let Some(by) = self.held_back(&self.tenant.settings, &chosen) {
            let trace = self.trace(Some(&chosen), None, by.code());
            return Ok(self.suppressed(by, Some(user), trace, planned));
        }
        let Some(installation) = &self.tenant.installation else {
            let reason = NoMatch::NotConnected;
            let trace = self.trace(Some(&chosen), None, reason.code());
            return Ok(self.unreachable((reason, 0), Some(user), trace, planned));
        };
        let guarantee = Guarantee::for_scopes(&installation.scopes, true);
        if let Some((there, lane)) = self.places.get(user)
            && *there == installation.id
        {
            let at = lanes.join(planned, lane, Some(user), |_| {
                let target = Target::Lane { installation: installation.id, lane: lane.clone() };
                let trace = self.trace(Some(&chosen), None, "send");
                Ok(self.delivery(Some(user), target, None, trace))
            })?;
            return Ok((self.queued(planned, at, None, guarantee), at));
        }
        let eligible = Eligible { known, chosen: &chosen, installation, guarantee };
        let stored = self.tenant.identity_here(known.identity.clone());
        match self.decide(stored.as_ref(), known) {
            (MemberDecision::Reach { slack_user_id, display_name, basis }, _) => {
                let found =
                    FoundMember { installation: installation.id, slack_user_id, display_name };
                self.reached(&eligible, found, basis, planned, lanes)
            }
            (MemberDecision::Unreachable { reason }, matched) => {
                self.unmatched(&eligible, reason, &matched, planned)
            }
        }
    }

    /// A person whose member is known.
    fn reached(
        &self,
        eligible: &Eligible<'_>,
        found: FoundMember,
        basis: MatchBasis,
        planned: &mut Planned,
        lanes: &mut Lanes,
    ) -> Result<(Decided, usize), Error> {
        let Eligible { known, chosen, installation, guarantee } = *eligible;
        let user = &known.person.user_id;
        if basis == (MatchBasis::Matched { is_new: true }) {
            let identity = Identity {
                slack_user_id: found.slack_user_id.clone(),
                display_name: found.display_name.clone(),
                rule: Rule::Matched,
                installation: installation.id,
                stored_at: self.now,
            };
            planned.identities.push((user.clone(), identity));
        }
        let basis = trace::TraceBasis::of(&basis, self.view.generation(), self.view.read_at);
        // It must not overtake messages that were accepted before the member was known (invariant
        // I4). Scheduled messages join the tail when they are due.
        if self.resolving.contains(user) && self.deferred_until().is_none() {
            self.renders(known, planned)?;
            let mut trace = self.trace(Some(chosen), Some(basis), "send");
            trace.waits(Wait::new(Cause::Conversation, self.now, None));
            return Ok(self.resolving(user, trace, guarantee, planned));
        }
        let lane = found.slack_user_id.as_str().to_owned();
        let at = lanes.join(planned, &lane, Some(user), |planned| {
            let content = self.words(Some(known), Some(&found.slack_user_id), planned)?;
            let target = Target::Lane { installation: installation.id, lane: lane.clone() };
            let trace = self.trace(Some(chosen), Some(basis), "send");
            Ok(self.delivery(Some(user), target, content, trace))
        })?;
        Ok((self.queued(planned, at, Some(found), guarantee), at))
    }

    /// A person without a member, by the present list.
    fn unmatched(
        &self,
        eligible: &Eligible<'_>,
        reason: NoMatch,
        matched: &Match,
        planned: &mut Planned,
    ) -> Result<(Decided, usize), Error> {
        let Eligible { known, chosen, installation, guarantee } = *eligible;
        let user = &known.person.user_id;
        let no_list = reason == NoMatch::DirectoryNotReady;
        // Slack may know a person who joined a minute ago.
        let asks = || planned.strangers < STRANGERS && self.may_know(installation, known, reason);
        if no_list || asks() {
            planned.strangers += usize::from(!no_list);
            self.renders(known, planned)?;
            let mut trace = self.trace(Some(chosen), None, "send");
            trace.waits(Wait::new(Cause::Directory, self.now, None));
            return Ok(self.resolving(user, trace, guarantee, planned));
        }
        let members_without_email = match matched {
            Match::None(unmatched) => unmatched.without_email as u64,
            Match::Unique(_) => 0,
        };
        let why = (reason, members_without_email);
        let trace = self.trace(Some(chosen), None, reason.code());
        if self.holds() && reason.arrival_helps() {
            self.renders(known, planned)?;
            return Ok(self.held(why, user, trace, guarantee, planned));
        }
        Ok(self.unreachable(why, Some(user), trace, planned))
    }

    /// A recipient whose member is determined later.
    fn resolving(
        &self,
        user: &UserId,
        trace: Trace,
        guarantee: Guarantee,
        planned: &mut Planned,
    ) -> (Decided, usize) {
        let target = if self.holds() { Target::ResolvingOrHeld } else { Target::Resolving };
        let at = planned.push(self.delivery(Some(user), target, None, trace));
        (self.queued(planned, at, None, guarantee), at)
    }

    /// A recipient whose message waits for the person to appear in Slack.
    fn held(
        &self,
        (reason, members_without_email): (NoMatch, u64),
        user: &UserId,
        mut trace: Trace,
        guarantee: Guarantee,
        planned: &mut Planned,
    ) -> (Decided, usize) {
        // It waits first until it is due, then for the person.
        let target = if let Some(until) = self.deferred_until() {
            trace.waits(Wait::new(Cause::Time, self.now, Some(until)));
            Target::ResolvingOrHeld
        } else {
            trace.waits(Wait::new(Cause::Arrival, self.now, None));
            Target::Held { reason, look_after: self.look_held_after }
        };
        let held = self.delivery(Some(user), target, None, trace);
        let delivery = held.id;
        let at = planned.push(held);
        (Decided::Held { delivery, reason, members_without_email, guarantee }, at)
    }

    fn may_know(&self, installation: &Installation, known: &Known, reason: NoMatch) -> bool {
        self.directory.may_know(installation, (&known.person, self.values(known)), reason)
    }

    /// Whether messages wait for people who are not in Slack yet.
    fn holds(&self) -> bool {
        let (request, settings) = (self.request, &self.tenant.settings);
        let held = || settings.held_event_types.contains(&request.event);
        request.action.speaks() && request.hold.unwrap_or_else(held)
    }

    fn decide(&self, stored: Option<&Identity>, known: &Known) -> (MemberDecision, Match) {
        decide(self.tenant, self.view, stored, self.values(known))
    }

    /// Checks that the message can be rendered for a person whose member, and so whose time zone,
    /// is not known yet; the text that is sent is made later.
    fn renders(&self, known: &Known, planned: &mut Planned) -> Result<(), Error> {
        self.words(Some(known), None, planned).map(drop)
    }
}
