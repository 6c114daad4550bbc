//! EnsureChannel: the whole wish for a channel.

use serde_json::json;

use super::shown::lacking;
use super::{NamedMember, ShownChannel, entry, no_room, of_members, split};
use crate::app::{App, Call, Error};
use crate::domain::access;
use crate::domain::channels::name::legal;
use crate::domain::channels::progress::Progress;
use crate::domain::channels::state::ChannelState;
use crate::domain::channels::wish::ChannelWish;
use crate::domain::features;
use crate::domain::ids::{ChannelKey, ManagedChannelId, TenantId, UserId};
use crate::domain::settings::Settings;
use crate::store::{ManagedChannel, MemberCounts, MembersChange, TenantFacts};

/// The feature that needs the scopes, in refusals.
const FEATURE: &str = features::CHANNELS;

/// The wish of a call.
#[derive(Debug, Clone, PartialEq)]
pub struct EnsureWish {
    pub key: ChannelKey,
    /// Without problems.
    pub wish: ChannelWish,
    /// `None`: those of earlier calls stay.
    pub members: Option<Vec<NamedMember>>,
}

impl App {
    /// Stores the wish. [`Error::MissingScopes`], after it was stored, if the workspace lacks the
    /// scopes for it; another error if they must not be asked for.
    pub async fn ensure_channel(
        &self,
        call: &Call,
        ensure: EnsureWish,
    ) -> Result<ShownChannel, Error> {
        call.may(&access::ENSURE_CHANNEL)?;
        let EnsureWish { key, wish, members } = ensure;
        let before = self.store.channels().get(&call.tenant, &key).await?;
        fits(before.as_ref(), &wish)?;
        self.store.tenancy().ensure_tenant(&call.tenant).await?;
        let after = json!({
            "name": wish.name,
            "is_private": wish.is_private,
            "members": members.as_ref().map(Vec::len),
        });
        let entry = entry(call, "EnsureChannel", &key, Some(after));
        let (change, people) = match members {
            None => (MembersChange::Keep, Vec::new()),
            Some(named) => {
                let (members, people) = split(named);
                let remove_unlisted = wish.remove_unlisted;
                (MembersChange::Replace { members, remove_unlisted }, people)
            }
        };
        let users: Vec<UserId> = people.iter().map(|person| person.user_id.clone()).collect();
        let store = self.store.noting(&entry).await?;
        let kept = store.channels().ensure(&call.tenant, &key, &wish, change, people).await;
        let kept = kept.map_err(|error| of_members("members.members", error))?;
        let kept = kept.ok_or_else(no_room)?;
        self.recheck_held(&call.tenant, &users).await?;
        let facts = self.tenant_of(call).await?;
        self.have_scopes(call, &facts).await?;
        Ok(ShownChannel::changed(kept, &facts))
    }

    /// The channel as [`App::ensure_channel`] would leave it, except for the numbers of members of
    /// an existing one. Nothing is stored, and Slack is not asked.
    pub async fn try_channel(
        &self,
        call: &Call,
        ensure: EnsureWish,
    ) -> Result<ShownChannel, Error> {
        call.may(&access::ENSURE_CHANNEL)?;
        let EnsureWish { key, wish, members } = ensure;
        let before = self.store.channels().get(&call.tenant, &key).await?;
        fits(before.as_ref(), &wish)?;
        let known = self.store.tenancy().tenant_facts(&call.tenant).await?;
        let facts = if let Some(facts) = known {
            facts
        } else {
            // A real call creates the tenant first.
            let (settings, now) = (Settings::default(), self.store.now().await?);
            TenantFacts {
                settings,
                installation: None,
                now,
                departure: None,
                moved_from: None,
                deleting: false,
            }
        };
        let channel = if let Some(before) = before {
            replaced(before, wish)
        } else {
            if !self.store.channels().has_room(&call.tenant).await? {
                return Err(no_room());
            }
            let queued = members.as_ref().map_or(0, Vec::len);
            let queued = u32::try_from(queued).unwrap_or(u32::MAX);
            fresh(call.tenant.clone(), key, wish, &facts, queued)
        };
        Ok(ShownChannel::changed(channel, &facts))
    }

    /// Messages may be held for people whose records came with a call.
    pub(super) async fn recheck_held(
        &self,
        tenant: &TenantId,
        users: &[UserId],
    ) -> Result<(), Error> {
        if !users.is_empty() {
            self.store.waiting().recheck_held(tenant, users).await?;
        }
        Ok(())
    }

    /// Refuses a workspace that works and lacks scopes, with a link that asks for them besides the
    /// granted ones.
    async fn have_scopes(&self, call: &Call, facts: &TenantFacts) -> Result<(), Error> {
        let scopes = lacking(facts);
        let Some(installation) = &facts.installation else { return Ok(()) };
        if scopes.is_empty() || installation.dead().is_some() {
            return Ok(());
        }
        if self.workspaces.features_off().iter().any(|off| off == FEATURE) {
            return Err(Error::Precondition {
                reason: "FEATURE_OFF",
                sentence: "the operator has switched channels off (app.features_off), and the \
                           workspace has not granted their scopes",
            });
        }
        let mut asked = installation.scopes.clone();
        asked.extend(scopes.iter().map(ToString::to_string));
        let connect_url = self.connect_link_for(call, &asked).await?.url.into();
        Err(Error::MissingScopes { feature: FEATURE, scopes, connect_url })
    }
}

/// Refuses a wish that cannot be taken for the channel as it is.
fn fits(before: Option<&ManagedChannel>, wish: &ChannelWish) -> Result<(), Error> {
    match before.and_then(|before| wish.conflicts(&before.progress)) {
        None => Ok(()),
        Some(problem) => Err(Error::invalid("wish.is_private", problem)),
    }
}

/// An existing channel with another wish.
fn replaced(before: ManagedChannel, wish: ChannelWish) -> ManagedChannel {
    let mut progress = before.progress;
    if wish.follow_name && wish.name != before.wish.name && progress.name.is_some() {
        progress.name = legal(&wish.name);
    }
    ManagedChannel { wish, progress, wants_archived: false, ..before }
}

/// A channel that no call has wished for before.
fn fresh(
    tenant: TenantId,
    key: ChannelKey,
    wish: ChannelWish,
    facts: &TenantFacts,
    queued: u32,
) -> ManagedChannel {
    let state = match wish.create_not_before {
        Some(at) if at > facts.now => ChannelState::Scheduled,
        _ => ChannelState::Creating,
    };
    ManagedChannel {
        id: ManagedChannelId(uuid::Uuid::nil()),
        tenant,
        key,
        wish,
        progress: Progress::default(),
        wants_archived: false,
        state,
        obstacle: None,
        place: None,
        wish_version: 0,
        created_at: facts.now,
        changed_at: facts.now,
        counts: MemberCounts { queued, ..MemberCounts::default() },
    }
}
