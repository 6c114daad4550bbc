//! Changes of a channel that exists, and its release.

use serde_json::{Value, json};

use super::{NAME, NamedMember, ShownChannel, entry, of_members, split};
use crate::app::{App, Call, Error};
use crate::domain::access;
use crate::domain::access::audit::{AuditPerson, Entry};
use crate::domain::ids::{ChannelId, ChannelKey, UserId};
use crate::domain::reason::Cancellation;
use crate::store::{ChannelEdit, MembersChange};

impl App {
    /// Replaces the members wished for.
    pub async fn set_channel_members(
        &self,
        call: &Call,
        key: &ChannelKey,
        named: Vec<NamedMember>,
    ) -> Result<ShownChannel, Error> {
        call.may(&access::SET_CHANNEL_MEMBERS)?;
        let channel = self.store.channels().get(&call.tenant, key).await?;
        let remove_unlisted = channel.ok_or(Error::NotFound(NAME))?.wish.remove_unlisted;
        let users = users(&named);
        let (members, people) = split(named);
        let change = MembersChange::Replace { members, remove_unlisted };
        let edit = ChannelEdit::Members(change, people);
        let entry = of_people(entry(call, "SetChannelMembers", key, Some(counted(&users))), &users);
        self.edited(call, key, edit, &entry).await
    }

    /// Adds to the members wished for.
    pub async fn add_channel_members(
        &self,
        call: &Call,
        key: &ChannelKey,
        named: Vec<NamedMember>,
    ) -> Result<ShownChannel, Error> {
        call.may(&access::ADD_CHANNEL_MEMBERS)?;
        let users = users(&named);
        let (members, people) = split(named);
        let edit = ChannelEdit::Members(MembersChange::Add(members), people);
        let entry = of_people(entry(call, "AddChannelMembers", key, Some(counted(&users))), &users);
        self.edited(call, key, edit, &entry).await
    }

    /// Removes people from the members wished for, and from the channel.
    pub async fn remove_channel_members(
        &self,
        call: &Call,
        key: &ChannelKey,
        users: Vec<UserId>,
    ) -> Result<ShownChannel, Error> {
        call.may(&access::REMOVE_CHANNEL_MEMBERS)?;
        let entry =
            of_people(entry(call, "RemoveChannelMembers", key, Some(counted(&users))), &users);
        let edit = ChannelEdit::Members(MembersChange::Remove(users), Vec::new());
        self.edited(call, key, edit, &entry).await
    }

    /// Wishes for another name.
    pub async fn rename_channel(
        &self,
        call: &Call,
        key: &ChannelKey,
        name: String,
    ) -> Result<ShownChannel, Error> {
        call.may(&access::RENAME_CHANNEL)?;
        let entry = entry(call, "RenameChannel", key, Some(json!({ "name": name })));
        self.edited(call, key, ChannelEdit::Rename(name), &entry).await
    }

    /// Wishes for the channel to be archived.
    pub async fn archive_channel(
        &self,
        call: &Call,
        key: &ChannelKey,
    ) -> Result<ShownChannel, Error> {
        call.may(&access::ARCHIVE_CHANNEL)?;
        let entry = entry(call, "ArchiveChannel", key, None);
        self.edited(call, key, ChannelEdit::Archive, &entry).await
    }

    /// Wishes for an archived channel to be open.
    pub async fn unarchive_channel(
        &self,
        call: &Call,
        key: &ChannelKey,
    ) -> Result<ShownChannel, Error> {
        call.may(&access::UNARCHIVE_CHANNEL)?;
        let entry = entry(call, "UnarchiveChannel", key, None);
        self.edited(call, key, ChannelEdit::Unarchive, &entry).await
    }

    /// Forgets a channel. Returns Slack's id of it, and the number of messages that waited for it
    /// and ended.
    pub async fn release_channel(
        &self,
        call: &Call,
        key: &ChannelKey,
    ) -> Result<(Option<ChannelId>, u32), Error> {
        call.may(&access::RELEASE_CHANNEL)?;
        let tenant = &call.tenant;
        self.store.channels().get(tenant, key).await?.ok_or(Error::NotFound(NAME))?;
        let entry = entry(call, "ReleaseChannel", key, None);
        let store = self.store.noting(&entry).await?;
        let released = store.channels().release(tenant, key).await?;
        let released = released.ok_or(Error::NotFound(NAME))?;
        // From now on there are no more; before, the release could still fail. If this process
        // dies, upkeep ends them.
        let code = Cancellation::ChannelReleased.code();
        let ended = self.store.waiting().end_awaiting(tenant, released.id, code).await?;
        Ok((released.slack_channel, ended))
    }

    /// Stores a change with its entry in the audit trail.
    async fn edited(
        &self,
        call: &Call,
        key: &ChannelKey,
        edit: ChannelEdit,
        entry: &Entry,
    ) -> Result<ShownChannel, Error> {
        let users: Vec<UserId> = match &edit {
            ChannelEdit::Members(_, people) => {
                people.iter().map(|person| person.user_id.clone()).collect()
            }
            ChannelEdit::Rename(_) | ChannelEdit::Archive | ChannelEdit::Unarchive => Vec::new(),
        };
        let store = self.store.noting(entry).await?;
        let changed = store.channels().change(&call.tenant, key, edit).await;
        let changed = changed.map_err(|error| of_members("members", error))?;
        let changed = changed.ok_or(Error::NotFound(NAME))?;
        self.recheck_held(&call.tenant, &users).await?;
        Ok(ShownChannel::changed(changed, &self.tenant_of(call).await?))
    }
}

fn users(named: &[NamedMember]) -> Vec<UserId> {
    named.iter().map(|member| member.user.clone()).collect()
}

fn counted(users: &[UserId]) -> Value {
    json!({ "members": users.len() })
}

/// A change of one member names that person.
fn of_people(entry: Entry, users: &[UserId]) -> Entry {
    let subject = match users {
        [one] => Some(AuditPerson { user: one.clone(), detail: String::new() }),
        _ => None,
    };
    Entry { subject, ..entry }
}
