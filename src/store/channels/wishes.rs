//! Calls that state, change and forget wishes. Each is one transaction, with the records of people
//! that came with the call and the entries of the audit trail.
//!
//! The calls of a tenant take turns within a process: however many a tenant makes, and if one of
//! its rows is locked, they hold one connection, and a thousand members are written for one of them
//! at a time.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::{ConnectionTrait, Value};

use super::members::{MembersChange, MembersOf};
use super::rows::{COLUMNS, LEASE, ManagedChannel, SealedChannel, read, recount, seal};
use crate::domain::channels::name::legal;
use crate::domain::channels::progress::Progress;
use crate::domain::channels::state::ChannelState;
use crate::domain::channels::wish::ChannelWish;
use crate::domain::identity::person::Person;
use crate::domain::ids::{ChannelId, ChannelKey, ManagedChannelId, TenantId};
use crate::domain::limits::CHANNELS_OF_TENANT;
use crate::domain::time::{Timestamp, micros};
use crate::store::database::rows::Columns;
use crate::store::database::sql::{self, params};
use crate::store::database::transaction::{Tx, scoped};
use crate::store::seal::data_keys::ScopeKeys;
use crate::store::seal::person_keys::KEY_ATTEMPTS;
use crate::store::tenancy::people::{seal_record, write_records};
use crate::store::{Channels, Error, Store, new_uuid};

/// A change of a channel that exists.
#[derive(Debug, Clone, PartialEq)]
pub enum ChannelEdit {
    /// With the records of people that came with the call.
    Members(MembersChange, Vec<Person>),
    Rename(String),
    Archive,
    /// Also if a person archived it in Slack, or the time to archive it has passed.
    Unarchive,
}

/// A channel that was forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Released {
    pub id: ManagedChannelId,
    /// Slack's id, where it stays; `None`: it was never created.
    pub slack_channel: Option<ChannelId>,
}

/// The change that a call makes to a row.
enum Edit {
    Wish(ChannelWish, MembersChange),
    Members(MembersChange),
    Rename(String),
    Archive,
    Unarchive,
}

impl Channels<'_> {
    /// States the whole wish, for a new channel or one that exists; `people` are the records that
    /// came with the call. `None`: the channel would be new, and the tenant has no room for it
    /// ([`Channels::has_room`]). [`Error::TooMany`]: too many members.
    pub async fn ensure(
        self,
        tenant: &TenantId,
        key: &ChannelKey,
        wish: &ChannelWish,
        members: MembersChange,
        people: Vec<Person>,
    ) -> Result<Option<ManagedChannel>, Error> {
        let edit = Edit::Wish(wish.clone(), members);
        self.store.edit_channel(tenant, key, &edit, &people).await
    }

    /// Whether the tenant may have one more channel.
    pub async fn has_room(self, tenant: &TenantId) -> Result<bool, Error> {
        room(self.store.reader(), tenant).await
    }

    /// `None`: the tenant has no channel of this key. [`Error::TooMany`]: too many members.
    pub async fn change(
        self,
        tenant: &TenantId,
        key: &ChannelKey,
        edit: ChannelEdit,
    ) -> Result<Option<ManagedChannel>, Error> {
        let (edit, people) = match edit {
            ChannelEdit::Members(members, people) => (Edit::Members(members), people),
            ChannelEdit::Rename(name) => (Edit::Rename(name), Vec::new()),
            ChannelEdit::Archive => (Edit::Archive, Vec::new()),
            ChannelEdit::Unarchive => (Edit::Unarchive, Vec::new()),
        };
        self.store.edit_channel(tenant, key, &edit, &people).await
    }

    /// Forgets a channel and its members. `None`: the tenant has no channel of this key.
    pub async fn release(
        self,
        tenant: &TenantId,
        key: &ChannelKey,
    ) -> Result<Option<Released>, Error> {
        let row = &params![tenant.as_str(), key.as_str()];
        let released = self.store.transaction(|tx| {
            scoped(async move {
                let released = forget(tx, row.clone()).await?;
                if released.is_some() {
                    self.store.record(tx).await?;
                }
                Ok(released)
            })
        });
        let released = self.store.inner.channel_edits.run(tenant.clone(), released).await?;
        if released.is_some() {
            self.store.recorded();
            self.store.changed();
        }
        Ok(released)
    }
}

/// The channel's row goes first: nothing is then reported for its members.
async fn forget(tx: &Tx, row: Vec<Value>) -> Result<Option<Released>, Error> {
    const CHANNEL: &str = "DELETE FROM channels
        WHERE tenant = $1 AND channel_key = $2
        RETURNING id, slack_channel, tenant";
    const MEMBERS: &str = "DELETE FROM channel_members WHERE channel = $1";
    const RELEASED: &str = "INSERT INTO channel_releases (id, tenant, released_at)
        VALUES ($1, $2, {now})";
    let Some(row) = sql::one(tx, CHANNEL, row).await? else { return Ok(None) };
    let mut columns = Columns::of(&row);
    let id = columns.uuid(ManagedChannelId::parse)?;
    sql::execute(tx, MEMBERS, params![id.to_string()]).await?;
    let slack_channel = columns.optional_id(ChannelId::parse)?;
    if slack_channel.is_some() {
        let tenant: String = columns.take()?;
        sql::execute(tx, RELEASED, params![id.to_string(), tenant]).await?;
    }
    Ok(Some(Released { id, slack_channel }))
}

/// Whether the tenant has fewer than [`CHANNELS_OF_TENANT`] channels, in any state.
async fn room(db: &impl ConnectionTrait, tenant: &TenantId) -> Result<bool, Error> {
    const COUNT: &str = "SELECT COUNT(*) FROM channels WHERE tenant = $1";
    let row = sql::one(db, COUNT, params![tenant.as_str()]).await?;
    let count: i64 = row.ok_or_else(|| Error::Bug("COUNT without a row".into()))?.get(0)?;
    Ok(count < i64::from(CHANNELS_OF_TENANT))
}

impl Store {
    /// `None`: there is no channel of this key, and the edit states no whole wish, or the tenant
    /// has no room for another channel.
    async fn edit_channel(
        &self,
        tenant: &TenantId,
        key: &ChannelKey,
        edit: &Edit,
        people: &[Person],
    ) -> Result<Option<ManagedChannel>, Error> {
        let edited = self.edit_in_turn(tenant, key, edit, people);
        self.inner.channel_edits.run(tenant.clone(), edited).await
    }

    async fn edit_in_turn(
        &self,
        tenant: &TenantId,
        key: &ChannelKey,
        edit: &Edit,
        people: &[Person],
    ) -> Result<Option<ManagedChannel>, Error> {
        let users: BTreeSet<_> = people.iter().map(|person| &person.user_id).collect();
        let users: Vec<_> = users.into_iter().collect();
        for _ in 0..KEY_ATTEMPTS {
            let keys = self.keys_for(tenant, &users).await?;
            let mut sealed = BTreeMap::new();
            for person in people {
                let record = seal_record(keys.of(Some(&person.user_id))?, person)?;
                sealed.insert(&person.user_id, record);
            }
            let records =
                &sealed.iter().map(|(user, record)| ((tenant, *user), record.as_slice())).collect();
            let work = &Work { store: self, keys: keys.tenant(), tenant, key, edit };
            let edited = self.transaction(|tx| {
                scoped(async move {
                    // In this order, because an erasure locks a person's key before the channels.
                    write_records(tx, records).await?;
                    let row = work.apply(tx).await?;
                    self.record(tx).await?;
                    Ok(row)
                })
            });
            match edited.await {
                Err(Error::KeyErased) => self.forget_keys(tenant, &keys).await?,
                // Nothing was written.
                Err(Error::NotFound(_)) => return Ok(None),
                edited => {
                    let edited = edited?;
                    self.recorded();
                    self.changed();
                    self.inner.channels_woken.notify_one();
                    return self.open_asked(edited).await.map(Some);
                }
            }
        }
        Err(Error::Contended("person_keys".into()))
    }
}

/// One edit of one row.
struct Work<'a> {
    store: &'a Store,
    /// The tenant's.
    keys: &'a ScopeKeys,
    tenant: &'a TenantId,
    key: &'a ChannelKey,
    edit: &'a Edit,
}

impl Work<'_> {
    /// The row afterwards. [`Error::NotFound`]: there is none, and the edit makes none.
    async fn apply(&self, tx: &Tx) -> Result<SealedChannel, Error> {
        const NOW: &str = "SELECT {now}";
        let row = sql::one(tx, NOW, params![]).await?;
        let row = row.ok_or_else(|| Error::Bug("SELECT without a row".into()))?;
        let now = Timestamp(row.get(0)?);
        let (channel, wish_version) = match self.locked(tx).await? {
            Some(sealed) => {
                let wish_version = sealed.wish_version + 1;
                (self.change(tx, sealed, now).await?, wish_version)
            }
            None => (self.insert(tx, now).await?, 1),
        };
        if let Edit::Wish(_, members) | Edit::Members(members) = self.edit {
            let of = MembersOf { channel, tenant: self.tenant, wish_version };
            of.apply(tx, members).await?;
            recount(tx, channel).await?;
        }
        let edited = self.locked(tx).await?;
        edited.ok_or_else(|| Error::Bug("a locked channel is not there".into()))
    }

    async fn locked(&self, tx: &Tx) -> Result<Option<SealedChannel>, Error> {
        let text = format!(
            "SELECT {COLUMNS} FROM channels WHERE tenant = $1 AND channel_key = $2 {{for_update}}"
        );
        let row = sql::one(tx, &text, params![self.tenant.as_str(), self.key.as_str()]).await?;
        row.as_ref().map(read).transpose()
    }

    /// [`Error::NotFound`]: the edit states no whole wish, or the tenant has no room.
    /// [`Error::Contended`]: another call has just made it.
    async fn insert(&self, tx: &Tx, now: Timestamp) -> Result<ManagedChannelId, Error> {
        const INSERT: &str = "
            INSERT INTO channels (id, tenant, channel_key, wish, progress, state, archive_after,
                notice_due, due_at, touched_at, created_at, changed_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, $9, $9)
            ON CONFLICT (tenant, channel_key) DO NOTHING";
        const SWEEP: &str = "INSERT INTO channel_sweeps (tenant)
            VALUES ($1)
            ON CONFLICT DO NOTHING";
        // A tenant's new channels take turns, so that each call counts those before it.
        const TURN: &str = "SELECT tenant FROM channel_sweeps WHERE tenant = $1 {for_update}";
        let Edit::Wish(wish, _) = self.edit else {
            return Err(Error::NotFound("channel".into()));
        };
        sql::execute(tx, SWEEP, params![self.tenant.as_str()]).await?;
        sql::one(tx, TURN, params![self.tenant.as_str()]).await?;
        if !room(tx, self.tenant).await? {
            return Err(Error::NotFound("room for a channel".into()));
        }
        let id = ManagedChannelId(new_uuid(now));
        let state = match wish.create_not_before {
            Some(at) if at > now => ChannelState::Scheduled,
            _ => ChannelState::Creating,
        };
        let values = params![
            id.to_string(),
            self.tenant.as_str(),
            self.key.as_str(),
            seal(self.keys, id, "wish", wish)?,
            seal(self.keys, id, "progress", &Progress::default())?,
            state.code(),
            wish.archive_after.map(|at| at.0),
            notice_due(wish),
            now.0,
        ];
        if sql::execute(tx, INSERT, values).await? == 0 {
            return Err(Error::Contended("channels".into()));
        }
        Ok(id)
    }

    async fn change(
        &self,
        tx: &Tx,
        sealed: SealedChannel,
        now: Timestamp,
    ) -> Result<ManagedChannelId, Error> {
        let before = self.store.open_asked(sealed).await?;
        let (mut wish, mut progress) = (before.wish.clone(), before.progress.clone());
        let mut wants_archived = before.wants_archived;
        if !matches!(self.edit, Edit::Members(_)) {
            progress.try_again();
        }
        match self.edit {
            Edit::Members(_) => {}
            Edit::Wish(new, _) => {
                // The name that an earlier RenameChannel asked for is no longer wished for.
                if wish.name != new.name {
                    progress.rename_to = None;
                }
                wish.clone_from(new);
                wants_archived = false;
            }
            Edit::Rename(name) => {
                // One that does not exist yet is created with the name.
                if progress.name.is_some() {
                    progress.rename_to = legal(name);
                }
                wish.name.clone_from(name);
            }
            Edit::Archive => wants_archived = true,
            Edit::Unarchive => {
                wants_archived = false;
                wish.archive_after = wish.archive_after.filter(|at| *at > now);
                progress.reopen();
            }
        }
        let ends_otherwise = wish.archive_after != before.wish.archive_after
            || wish.archive_notice != before.wish.archive_notice;
        let values = params![
            before.id.to_string(),
            seal(self.keys, before.id, "wish", &wish)?,
            seal(self.keys, before.id, "progress", &progress)?,
            i64::from(wants_archived),
            wish.archive_after.map(|at| at.0),
            i64::from(ends_otherwise),
            notice_due(&wish),
        ];
        sql::execute(tx, &changing(), values).await?;
        Ok(before.id)
    }
}

/// The statement of a changed wish. A notice that was sent is not sent again for the same end.
fn changing() -> String {
    format!(
        "UPDATE channels
            SET wish = $2,
                progress = $3,
                wants_archived = $4,
                archive_after = $5,
                notice_due = CASE WHEN $6 = 1 THEN $7 ELSE notice_due END,
                wish_version = wish_version + 1,
                lease_until = {LEASE},
                touched_at = {{now}},
                due_at = {{greatest}}({{now}}, {LEASE})
            WHERE id = $1"
    )
}

/// When the notice before the end is due; `None`: there is none.
fn notice_due(wish: &ChannelWish) -> Option<i64> {
    let notice = Some(wish.archive_notice).filter(|notice| !notice.is_zero())?;
    Some(wish.archive_after?.0.saturating_sub(micros(notice)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn wish(name: &str) -> ChannelWish {
        let (archive_after, archive_notice) = (Some(Timestamp(10_000_000)), Duration::from_secs(3));
        ChannelWish { archive_after, archive_notice, ..ChannelWish::named(name) }
    }

    #[test]
    fn a_notice_is_due_before_the_end_unless_it_has_no_time() {
        assert_eq!(notice_due(&wish("name")), Some(7_000_000));
        let none = ChannelWish { archive_notice: Duration::ZERO, ..wish("name") };
        assert_eq!(notice_due(&none), None);
        assert_eq!(notice_due(&ChannelWish { archive_after: None, ..wish("name") }), None);
    }
}
