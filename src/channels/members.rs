//! Invites the people wished for in a channel, and removes those who no longer are.
//!
//! Slack accepts up to 100 people in one invitation. With `force` it skips the people that it
//! refuses, and names them. If it names none, the batch is halved until they are found.

use std::collections::{BTreeMap, BTreeSet};

use super::people::{FoundPeople, Invitee};
use super::turn::{ChannelWork, Denied, Interruption, RequestOutcome};
use crate::domain::channels::members::{
    INVITE_BATCH, InviteFate, LAST_INVITE, cannot_be_removed, invite_fate, is_about_a_person,
    is_about_the_channel, is_removed, retry_after,
};
use crate::domain::channels::next::{Step, at_rest, next};
use crate::domain::channels::state::ChannelMemberState;
use crate::domain::ids::{SlackUserId, UserId};
use crate::domain::time::Timestamp;
use crate::store::{MemberRecord, MemberUpdate};
use crate::workspace::Method;

/// People looked at with one read.
const PEOPLE: u32 = 200;
/// Attempts after which a person that Slack does not know waits for a change of the member list.
const ATTEMPTS: u32 = 5;

/// A reading of the members in these states that are due, page by page.
struct DueMembers {
    states: &'static [ChannelMemberState],
    /// Most members of a page.
    page: u32,
    /// The last member of the page before.
    after: Option<UserId>,
}

impl DueMembers {
    fn new(states: &'static [ChannelMemberState], page: u32) -> Self {
        Self { states, page, after: None }
    }
}

impl ChannelWork {
    /// The turn of the members. Returns when one of them is due again.
    pub(super) async fn members(&mut self, step: &Step) -> Result<Option<Timestamp>, Interruption> {
        // Messages go out before the first invitation.
        self.settle_at_rest().await?;
        match self.invite_all(step).await {
            Ok(()) => {
                self.remove_all(step).await?;
                self.done(step);
                let rest = self.settle_at_rest().await?;
                // With many members the turn takes so long that another step may be due by now,
                // whose time the rest no longer has.
                if next(&self.facts()) != *step {
                    return Err(Interruption::Again);
                }
                Ok(rest.into_iter().chain(self.next_member().await?).min())
            }
            // A spent budget of one method does not hold up the other.
            Err(Interruption::Later(after)) => match self.remove_all(step).await {
                Ok(()) => Err(Interruption::Later(after)),
                Err(Interruption::Later(other)) => Err(Interruption::Later(after.min(other))),
                Err(interruption) => Err(interruption),
            },
            Err(interruption) => Err(interruption),
        }
    }

    /// Saves how the channel rests apart from its members; returns when it is due again.
    async fn settle_at_rest(&mut self) -> Result<Option<Timestamp>, Interruption> {
        let Step::Rest { state, obstacle, until } = at_rest(&self.facts()) else { return Ok(None) };
        self.explain(obstacle);
        self.settle(state, obstacle).await?;
        Ok(until)
    }

    /// Invites everyone who is due, each once in a turn.
    async fn invite_all(&mut self, step: &Step) -> Result<(), Interruption> {
        const DUE: &[ChannelMemberState] =
            &[ChannelMemberState::Queued, ChannelMemberState::NotInSlack];
        let mut reading = DueMembers::new(DUE, PEOPLE);
        loop {
            self.still_wished().await?;
            let Some(due) = self.next_due(&mut reading).await? else { return Ok(()) };
            let FoundPeople { invitees, others } = self.find(due).await?;
            self.write(&others).await?;
            for batch in invitees.chunks(INVITE_BATCH) {
                self.invite(step, batch).await?;
            }
        }
    }

    /// Invites up to a hundred people.
    async fn invite(&mut self, step: &Step, batch: &[Invitee]) -> Result<(), Interruption> {
        let mut parts = vec![batch.to_vec()];
        while let Some(part) = parts.pop() {
            if let Some(halves) = self.invite_part(step, part).await? {
                parts.extend(halves);
            }
        }
        Ok(())
    }

    /// One invitation. Returns the halves of the part if Slack refused a person and named none.
    async fn invite_part(
        &mut self,
        step: &Step,
        part: Vec<Invitee>,
    ) -> Result<Option<[Vec<Invitee>; 2]>, Interruption> {
        let channel = self.channel()?;
        let prepared = self.prepare(Method::ConversationsInvite).await?;
        let part = self.mark(part).await?;
        let members: BTreeSet<SlackUserId> = part.iter().map(|one| one.member.clone()).collect();
        if members.is_empty() {
            return Ok(None);
        }
        let members: Vec<SlackUserId> = members.into_iter().collect();
        let request = prepared.workspaces.invite(
            prepared.installation,
            &channel,
            &members,
            true,
            prepared.patience,
        );
        let denied = match self.send(&prepared, request).await {
            Ok(RequestOutcome::Done(refused)) => {
                self.write(&self.outcomes(&part, &refused.into_iter().collect())).await?;
                return Ok(None);
            }
            Ok(RequestOutcome::Denied(denied)) => denied,
            Err(interruption) => {
                // Nothing was sent. Otherwise the marks stay, and the members are read first.
                if matches!(interruption, Interruption::Later(_) | Interruption::Again) {
                    self.unmark(&part).await?;
                }
                return Err(interruption);
            }
        };
        match denied {
            Denied::Refused(code) if is_about_a_person(&code) && members.len() > 1 => {
                // The turn may end before the other half has its turn.
                self.unmark(&part).await?;
                let halves = part.split_at(part.len() / 2);
                Ok(Some([halves.0.to_vec(), halves.1.to_vec()]))
            }
            // The marks stay, and the members are read before anyone is invited again.
            denied @ (Denied::Unclear | Denied::Temporary(_)) => {
                self.progress.members_read = false;
                Err(self.denied(step, denied))
            }
            denied => {
                self.unmark(&part).await?;
                Err(self.denied(step, denied))
            }
        }
    }

    /// Commits that these people are about to be invited. Returns those who are still wished for.
    async fn mark(&mut self, part: Vec<Invitee>) -> Result<Vec<Invitee>, Interruption> {
        let inviting = |one: &Invitee| MemberUpdate {
            retry_at: Some(Timestamp::default()),
            ..one.is(ChannelMemberState::Inviting)
        };
        let updates: Vec<_> = part.iter().map(inviting).collect();
        self.write(&updates).await?;
        let mut marked = BTreeSet::new();
        let mut reading = DueMembers::new(&[ChannelMemberState::Inviting], PEOPLE);
        while let Some(rows) = self.next_due(&mut reading).await? {
            marked.extend(rows.into_iter().map(|row| row.user));
        }
        Ok(part.into_iter().filter(|one| marked.contains(&one.user)).collect())
    }

    /// These people were not invited after all, and no attempt counts.
    async fn unmark(&mut self, part: &[Invitee]) -> Result<(), Interruption> {
        let queued = |one: &Invitee| MemberUpdate {
            retry_at: Some(Timestamp::default()),
            ..one.is(ChannelMemberState::Queued)
        };
        let updates: Vec<_> = part.iter().map(queued).collect();
        self.write(&updates).await
    }

    /// The rows of people after their invitation.
    fn outcomes(
        &self,
        part: &[Invitee],
        refused: &BTreeMap<SlackUserId, String>,
    ) -> Vec<MemberUpdate> {
        let outcome = |one: &Invitee| {
            let code = refused.get(&one.member);
            let attempts = one.attempts + 1;
            let scale = self.timing().scale;
            let retry_at = Some(self.now().plus(retry_after(attempts).mul_f64(scale)));
            let with = |state| MemberUpdate { code: code.cloned(), attempts, ..one.is(state) };
            match invite_fate(code.map(String::as_str)) {
                InviteFate::In => {
                    MemberUpdate { attempts: 0, ..one.is(ChannelMemberState::Member) }
                }
                InviteFate::Gone if attempts < ATTEMPTS => MemberUpdate {
                    slack_user_id: None,
                    retry_at,
                    ..with(ChannelMemberState::Queued)
                },
                InviteFate::Gone => MemberUpdate {
                    slack_user_id: None,
                    retry_at: Some(self.now().plus(self.timing().member)),
                    ..with(ChannelMemberState::NotInSlack)
                },
                InviteFate::Retry if attempts < LAST_INVITE => {
                    MemberUpdate { retry_at, ..with(ChannelMemberState::Queued) }
                }
                InviteFate::Retry | InviteFate::Never => with(ChannelMemberState::Failed),
            }
        };
        part.iter().map(outcome).collect()
    }

    /// Removes those who are no longer wished for. Each is read shortly before the request: a call
    /// may wish for the person again while others are removed.
    async fn remove_all(&mut self, step: &Step) -> Result<(), Interruption> {
        let mut reading = DueMembers::new(&[ChannelMemberState::Removing], 1);
        loop {
            self.still_wished().await?;
            let Some(due) = self.next_due(&mut reading).await? else { return Ok(()) };
            for row in due {
                let update = self.remove(step, row).await?;
                self.write(&[update]).await?;
            }
        }
    }

    /// Ends the turn of many members, which takes up to hours, if the process stops, the end of the
    /// channel comes, or a call changed the wish.
    async fn still_wished(&self) -> Result<(), Interruption> {
        if self.is_stopping() {
            return Err(Interruption::Stopped);
        }
        if self.facts().ends() {
            return Err(Interruption::Again);
        }
        let store = &self.channels.inner.store;
        let is_current = store.channels().is_current(&self.lease).await?;
        is_current.then_some(()).ok_or(Interruption::Overtaken)
    }

    /// The person's row after the removal.
    async fn remove(
        &mut self,
        step: &Step,
        row: MemberRecord,
    ) -> Result<MemberUpdate, Interruption> {
        let gone = MemberUpdate {
            user: row.user,
            state: None,
            slack_user_id: row.slack_user_id.clone(),
            code: None,
            attempts: row.attempts,
            retry_at: None,
        };
        let Some(member) = row.slack_user_id else { return Ok(gone) };
        let store = &self.channels.inner.store;
        if store.channels().is_shared(&self.lease, &gone.user, &member).await? {
            // Another user of this account is wished for, or is removed after this one.
            return Ok(gone);
        }
        let channel = self.channel()?;
        let prepared = self.prepare(Method::ConversationsKick).await?;
        let request =
            prepared.workspaces.kick(prepared.installation, &channel, &member, prepared.patience);
        match self.send(&prepared, request).await? {
            RequestOutcome::Done(()) => Ok(gone),
            RequestOutcome::Denied(Denied::Refused(code)) if is_removed(&code) => Ok(gone),
            // Perhaps the app is not in the channel: its members are read, once the app is in it.
            RequestOutcome::Denied(Denied::Refused(code)) if code == "not_in_channel" => {
                self.progress.members_read = false;
                Err(self.denied(step, Denied::Refused(code)))
            }
            RequestOutcome::Denied(Denied::Refused(code)) if !is_about_the_channel(&code) => {
                Ok(self.not_removed(gone, code))
            }
            RequestOutcome::Denied(denied) => Err(self.denied(step, denied)),
        }
    }

    /// The row of a person whose removal Slack refuses. A code that may pass holds up no
    /// other person.
    fn not_removed(&self, row: MemberUpdate, code: String) -> MemberUpdate {
        let attempts = row.attempts.saturating_add(1);
        let row = MemberUpdate { code: Some(code), attempts, ..row };
        if row.code.as_deref().is_some_and(cannot_be_removed) || attempts >= LAST_INVITE {
            return MemberUpdate { state: Some(ChannelMemberState::Failed), ..row };
        }
        let after = retry_after(attempts).mul_f64(self.timing().scale);
        let retry_at = Some(self.now().plus(after));
        MemberUpdate { state: Some(ChannelMemberState::Removing), retry_at, ..row }
    }

    /// The next page of a reading; `None`: there are no more.
    async fn next_due(
        &mut self,
        reading: &mut DueMembers,
    ) -> Result<Option<Vec<MemberRecord>>, Interruption> {
        self.extend_lease().await?;
        let store = &self.channels.inner.store;
        let (states, after) = (reading.states, reading.after.as_ref());
        let page = store.channels().members_to_do(&self.lease, states, after, reading.page).await?;
        let Some(last) = page.last() else { return Ok(None) };
        reading.after = Some(last.user.clone());
        Ok(Some(page))
    }

    /// Saves what was found out about members.
    pub(super) async fn write(&self, updates: &[MemberUpdate]) -> Result<(), Interruption> {
        if updates.is_empty() {
            return Ok(());
        }
        let store = &self.channels.inner.store;
        let held = store.channels().save_members(&self.lease, updates, self.now()).await?;
        held.then_some(()).ok_or(Interruption::Lost)
    }

    /// When a member who waits is due next. One who became due during this turn is so again soon.
    async fn next_member(&mut self) -> Result<Option<Timestamp>, Interruption> {
        self.extend_lease().await?;
        let store = &self.channels.inner.store;
        let next = store.channels().next_member(&self.lease).await?;
        let now = self.now();
        Ok(next.map(|at| if at > now { at } else { now.plus(self.timing().soon) }))
    }
}
