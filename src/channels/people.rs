//! Finds the Slack members of the people wished for in a channel, by the rules for messages.

use super::turn::{ChannelWork, Interruption};
use crate::domain::channels::state::ChannelMemberState;
use crate::domain::identity::matching::MemberDecision;
use crate::domain::identity::person::Person;
use crate::domain::ids::{SlackUserId, UserId};
use crate::domain::mapping::Pass;
use crate::domain::reason::NoMatch;
use crate::domain::settings::Identity;
use crate::store::{MemberRecord, MemberUpdate};

/// A person to invite.
#[derive(Debug, Clone)]
pub(super) struct Invitee {
    pub(super) user: UserId,
    pub(super) member: SlackUserId,
    pub(super) attempts: u32,
}

impl Invitee {
    /// The person's row in this state.
    pub(super) fn is(&self, state: ChannelMemberState) -> MemberUpdate {
        MemberUpdate {
            user: self.user.clone(),
            state: Some(state),
            slack_user_id: Some(self.member.clone()),
            code: None,
            attempts: self.attempts,
            retry_at: None,
        }
    }
}

/// The result of looking for people.
pub(super) struct FoundPeople {
    pub(super) invitees: Vec<Invitee>,
    /// The rows of those who are not in Slack, or already in the channel.
    pub(super) others: Vec<MemberUpdate>,
}

impl ChannelWork {
    /// Looks for these people in the member list, which is at least as new as the change that led
    /// to this look.
    pub(super) async fn find(
        &self,
        wanted: Vec<MemberRecord>,
    ) -> Result<FoundPeople, Interruption> {
        let inner = &self.channels.inner;
        let tenant = &self.lease.channel.tenant;
        let installation = self.installation()?;
        let Some(settings) = inner.store.tenancy().settings(tenant).await? else {
            return Err(Interruption::Lost);
        };
        let directory = &inner.directory;
        let mapping = directory.mapping(&settings).await?;
        let view = directory.current_view(installation, &mapping).await?;
        let users: Vec<UserId> = wanted.iter().map(|of| of.user.clone()).collect();
        let mut known = inner.store.people().get_many(tenant, &users).await?;
        let (people, identities): (Vec<Person>, Vec<Option<Identity>>) = users
            .into_iter()
            .map(|user| match known.remove(&user) {
                Some(stored) => (stored.person, stored.identity),
                None => (Person::bare(user), None),
            })
            .unzip();
        let everyone: Vec<&Person> = people.iter().collect();
        let (values, _) = directory.values_of(tenant, &mapping, &everyone, Pass::default()).await?;
        let mut found = FoundPeople { invitees: Vec::new(), others: Vec::new() };
        for ((record, identity), values) in wanted.into_iter().zip(identities).zip(&values) {
            let identity = identity.filter(|identity| identity.installation == installation);
            match view.decide(&mapping, identity.as_ref(), values).0 {
                MemberDecision::Reach { slack_user_id: member, .. } => {
                    let attempts = record.attempts;
                    let invitee = Invitee { user: record.user, member, attempts };
                    let present = self.present.as_ref();
                    if present.is_some_and(|present| present.contains(&invitee.member)) {
                        found.others.push(invitee.is(ChannelMemberState::Member));
                    } else {
                        found.invitees.push(invitee);
                    }
                }
                MemberDecision::Unreachable { reason } => {
                    found.others.push(self.absent(record, reason));
                }
            }
        }
        Ok(found)
    }

    /// The row of a person who is not in Slack. Without a member list that is not known yet.
    fn absent(&self, record: MemberRecord, reason: NoMatch) -> MemberUpdate {
        let undecided = reason == NoMatch::DirectoryNotReady;
        let state = match record.state {
            ChannelMemberState::Queued if undecided => ChannelMemberState::Queued,
            _ => ChannelMemberState::NotInSlack,
        };
        let after = if undecided { self.timing().soon } else { self.timing().member };
        MemberUpdate {
            user: record.user,
            state: Some(state),
            slack_user_id: None,
            code: Some(reason.code().to_owned()),
            attempts: record.attempts,
            retry_at: Some(self.now().plus(after)),
        }
    }
}
