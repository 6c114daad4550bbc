//! The writes of a reconciler that holds the lease on a channel.

use std::collections::BTreeSet;
use std::sync::Arc;

use sea_orm::{ConnectionTrait as _, Value};

use super::claim::ChannelLease;
use super::members::MemberRecord;
use super::rows::{COLUMNS, ManagedChannel, codes, placed, read, recount, seal};
use crate::domain::channels::name::legal;
use crate::domain::channels::place::ChannelPlace;
use crate::domain::channels::progress::Progress;
use crate::domain::channels::state::{ChannelMemberState, ChannelObstacle, ChannelState};
use crate::domain::ids::{ChannelId, InstallationId, ManagedChannelId, SlackUserId, UserId};
use crate::domain::time::Timestamp;
use crate::store::database::rows::{Column, Columns, given};
use crate::store::database::sql::{self, params, placeholders};
use crate::store::database::transaction::{Tx, scoped};
use crate::store::seal::data_keys::{KeyScope, ScopeKeys};
use crate::store::{Channels, Error, Store};

/// Slack's ids that one statement names.
const CHUNK: usize = 500;

/// How far a channel has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelSave {
    pub progress: Progress,
    pub state: ChannelState,
    pub obstacle: Option<ChannelObstacle>,
    /// Where it exists in Slack.
    pub place: Option<ChannelPlace>,
}

/// The result of saving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelSaved {
    Kept,
    /// The lease was lost; nothing was written.
    Lost,
    /// Another row owns that channel of Slack; nothing was written.
    PlaceTaken,
}

/// The new state of one member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberUpdate {
    pub user: UserId,
    /// `None`: the row is deleted.
    pub state: Option<ChannelMemberState>,
    pub slack_user_id: Option<SlackUserId>,
    pub code: Option<String>,
    pub attempts: u32,
    /// When it is due again; `None`: not by time.
    pub retry_at: Option<Timestamp>,
}

impl Channels<'_> {
    /// Saves the progress, the state and the place. Changes that calls made to the progress since
    /// the claim stay.
    pub async fn save(
        self,
        lease: &ChannelLease,
        save: &ChannelSave,
    ) -> Result<ChannelSaved, Error> {
        let scope = KeyScope::Tenant(lease.channel.tenant.clone());
        let keys = &self.store.keys(&scope).await?;
        let store = self.store;
        let saved = store.transaction(|tx| scoped(save_within(store, tx, keys, lease, save)));
        match saved.await {
            Ok(true) => {
                self.store.changed();
                Ok(ChannelSaved::Kept)
            }
            Ok(false) => Ok(ChannelSaved::Lost),
            // The place is the only unique value that this changes.
            Err(Error::Conflict(_)) => Ok(ChannelSaved::PlaceTaken),
            Err(error) => Err(error),
        }
    }

    /// Those of these channels of Slack that rows other than `id` own.
    pub async fn owned(
        self,
        id: ManagedChannelId,
        installation: InstallationId,
        channels: &[ChannelId],
    ) -> Result<BTreeSet<ChannelId>, Error> {
        let mut owned = BTreeSet::new();
        for chunk in channels.chunks(CHUNK) {
            let text = format!(
                "SELECT slack_channel
                    FROM channels
                    WHERE installation = $1 AND id <> $2 AND slack_channel IN ({})",
                placeholders(3, chunk.len())
            );
            let mut values = params![installation.to_string(), id.to_string()];
            values.extend(chunk.iter().map(|channel| Value::from(channel.as_str())));
            for row in sql::all(self.store.reader(), &text, values).await? {
                let channel = ChannelId::parse(row.get::<String>(0)?);
                owned.insert(channel.map_err(|_| Error::Bug("a stored channel id".into()))?);
            }
        }
        Ok(owned)
    }

    /// Up to `limit` members in these states after a person that are due, by their ids.
    pub async fn members_to_do(
        self,
        lease: &ChannelLease,
        states: &[ChannelMemberState],
        after: Option<&UserId>,
        limit: u32,
    ) -> Result<Vec<MemberRecord>, Error> {
        self.store.members_of(lease.id, states, true, after, limit).await
    }

    /// When the first of the members who wait for something is due; a time that has passed if one
    /// became due meanwhile, or if it is not known what became of an invitation.
    pub async fn next_member(self, lease: &ChannelLease) -> Result<Option<Timestamp>, Error> {
        const WAITING: &[ChannelMemberState] = &[
            ChannelMemberState::Queued,
            ChannelMemberState::NotInSlack,
            ChannelMemberState::Inviting,
            ChannelMemberState::Removing,
        ];
        let text = format!(
            "SELECT MIN(due_at) FROM channel_members WHERE channel = $1 AND state IN ({})",
            codes(WAITING)
        );
        let row = sql::one(self.store.reader(), &text, params![lease.id.to_string()]).await?;
        row.map_or(Ok(None), |row| Columns::of(&row).optional_time())
    }

    /// Whether another user of this Slack account is wished for in the channel, or is still to be
    /// removed from it.
    pub async fn is_shared(
        self,
        lease: &ChannelLease,
        user: &UserId,
        member: &SlackUserId,
    ) -> Result<bool, Error> {
        const IN: &[ChannelMemberState] = &[
            ChannelMemberState::Queued,
            ChannelMemberState::Inviting,
            ChannelMemberState::Member,
            ChannelMemberState::Removing,
        ];
        let text = format!(
            "SELECT 1
                FROM channel_members
                WHERE channel = $1 AND slack_user = $2 AND user_id <> $3 AND state IN ({})
                LIMIT 1",
            codes(IN)
        );
        let values = params![lease.id.to_string(), member.as_str(), user.as_str()];
        Ok(sql::one(self.store.reader(), &text, values).await?.is_some())
    }

    /// Whether the wish is still the one that was claimed.
    pub async fn is_current(self, lease: &ChannelLease) -> Result<bool, Error> {
        const SQL: &str = "SELECT 1 FROM channels WHERE id = $1 AND wish_version = $2";
        let values = params![lease.id.to_string(), lease.channel.wish_version];
        Ok(sql::one(self.store.reader(), SQL, values).await?.is_some())
    }

    /// Writes what was found out about members, except about those that a call queued or removed
    /// since the claim. `now`: the database's time as the holder knows it; if the clock was set
    /// back since, no member waits longer for that. `false`: the lease was lost; nothing was
    /// written.
    pub async fn save_members(
        self,
        lease: &ChannelLease,
        updates: &[MemberUpdate],
        now: Timestamp,
    ) -> Result<bool, Error> {
        let saved = self.store.transaction(|tx| scoped(update_members(tx, lease, updates, now)));
        let saved = saved.await?;
        if saved {
            self.store.changed();
        }
        Ok(saved)
    }

    /// Members who are not in Slack are due now, because the stamp changed. `false`: the lease was
    /// lost.
    pub async fn wake_members(self, lease: &ChannelLease) -> Result<bool, Error> {
        let text = &format!(
            "UPDATE channel_members
                SET due_at = {{now}}, touched_at = {{now}}
                WHERE channel = $1 AND state = '{}'",
            ChannelMemberState::NotInSlack.code()
        );
        let values = &params![lease.id.to_string()];
        let woken = self.store.transaction(|tx| {
            scoped(async move {
                let held = holds(tx, lease).await?;
                if held {
                    sql::execute(tx, text, values.clone()).await?;
                }
                Ok(held)
            })
        });
        woken.await
    }
}

/// Whether the lease still holds; the row is then locked.
async fn holds(tx: &Tx, lease: &ChannelLease) -> Result<bool, Error> {
    const SQL: &str = "SELECT 1
        FROM channels
        WHERE id = $1 AND epoch = $2 AND lease_until > 0 {for_update}";
    Ok(sql::one(tx, SQL, params![lease.id.to_string(), lease.epoch]).await?.is_some())
}

async fn save_within(
    store: &Store,
    tx: &Tx,
    keys: &Arc<ScopeKeys>,
    lease: &ChannelLease,
    save: &ChannelSave,
) -> Result<bool, Error> {
    const UPDATE: &str = "UPDATE channels
        SET progress = $2,
            state = $3,
            obstacle = $4,
            installation = $5,
            slack_channel = $6,
            changed_at = CASE
                WHEN state <> $3 OR COALESCE(obstacle, '') <> COALESCE($4, '')
                    OR COALESCE(slack_channel, '') <> COALESCE($6, '') THEN {now}
                ELSE changed_at END
        WHERE id = $1";
    let lock = format!(
        "SELECT {COLUMNS}
            FROM channels
            WHERE id = $1 AND epoch = $2 AND lease_until > 0 {{for_update}}"
    );
    let values = params![lease.id.to_string(), lease.epoch];
    let Some(row) = sql::one(tx, &lock, values).await? else { return Ok(false) };
    let sealed = read(&row)?;
    // Its id in Slack may have changed since the claim.
    let is_new = save.place != lease.channel.place;
    let place = if is_new { save.place.clone() } else { sealed.place.clone() };
    let progress = if sealed.wish_version == lease.channel.wish_version {
        save.progress.clone()
    } else {
        let stored = store.open_asked(sealed).await?;
        merged(&stored, &lease.channel, save.progress.clone())
    };
    let mut values = params![
        lease.id.to_string(),
        seal(keys, lease.id, "progress", &progress)?,
        save.state.code(),
        save.obstacle.map(|obstacle| obstacle.code().to_owned()),
    ];
    values.extend(placed(place.as_ref()));
    sql::execute(tx, UPDATE, values).await?;
    Ok(true)
}

/// The progress of a holder with the changes that calls made to the stored one since the claim.
fn merged(stored: &ManagedChannel, claimed: &ManagedChannel, new: Progress) -> Progress {
    let mut progress = new;
    let (before, now) = (&claimed.progress, &stored.progress);
    let renamed = stored.wish.name != claimed.wish.name;
    let wished = legal(&stored.wish.name);
    if now.rename_to != before.rename_to && (now.rename_to.is_some() || renamed) {
        progress.rename_to.clone_from(&now.rename_to);
    } else if renamed && now.name.is_none() && progress.name.is_some() {
        // It was created for the earlier name.
        progress.rename_to = wished.filter(|wished| progress.named_for.as_ref() != Some(wished));
    }
    if now.reopening && !before.reopening {
        progress.reopen();
    }
    if now.asked != before.asked {
        // Also those that the holder met since: the next turn tries them.
        progress.asked = now.asked;
        progress.expire_refusals();
    }
    progress
}

async fn update_members(
    tx: &Tx,
    lease: &ChannelLease,
    updates: &[MemberUpdate],
    now: Timestamp,
) -> Result<bool, Error> {
    if !holds(tx, lease).await? {
        return Ok(false);
    }
    let backend = tx.get_database_backend();
    let of_lease = || params![lease.id.to_string(), lease.channel.wish_version];
    let kept = updates.iter().filter_map(|update| Some(row(update, update.state?)));
    for (table, mut values) in given(backend, UPDATED, kept.collect()) {
        let (channel, version) = (values.len() + 1, values.len() + 2);
        values.extend(of_lease());
        values.push(now.0.into());
        let known = values.len();
        let text = format!(
            "UPDATE channel_members
                SET state = column2,
                    slack_user = column3,
                    code = column4,
                    attempts = column5,
                    touched_at = {{now}},
                    due_at = {{least}}(
                        NULLIF(column6, -1), {{now}} + (NULLIF(column6, -1) - ${known})),
                    changed_at = CASE WHEN state <> column2 THEN {{now}} ELSE changed_at END
                FROM {table}
                WHERE channel = ${channel} AND user_id = column1 AND wish_version <= ${version}"
        );
        sql::execute(tx, &text, values).await?;
    }
    let gone = updates.iter().filter(|update| update.state.is_none());
    let gone = gone.map(|update| [update.user.as_str().into()]);
    for (table, mut values) in given(backend, [Column::Text], gone.collect()) {
        let (channel, version) = (values.len() + 1, values.len() + 2);
        values.extend(of_lease());
        let text = format!(
            "DELETE FROM channel_members
                WHERE channel = ${channel} AND wish_version <= ${version}
                    AND user_id IN (SELECT column1 FROM {table})"
        );
        sql::execute(tx, &text, values).await?;
    }
    recount(tx, lease.id).await?;
    Ok(true)
}

/// The columns of [`row`].
const UPDATED: [Column; 6] = [
    Column::Text,
    Column::Text,
    Column::OptionalText,
    Column::OptionalText,
    Column::Number,
    Column::Number,
];

/// The values of one update. A number cannot be absent, so -1 stands for no time.
fn row(update: &MemberUpdate, state: ChannelMemberState) -> [Value; 6] {
    [
        update.user.as_str().into(),
        state.code().into(),
        update.slack_user_id.as_ref().map(|id| id.as_str().to_owned()).into(),
        update.code.clone().filter(|code| !code.is_empty()).into(),
        i64::from(update.attempts).into(),
        update.retry_at.map_or(-1, |at| at.0).into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::channels::refusal::{StepKey, StepRefusal};
    use crate::domain::channels::wish::ChannelWish;
    use crate::domain::ids::{ChannelKey, TenantId};
    use crate::store::channels::rows::MemberCounts;

    fn channel(name: &str, progress: Progress) -> ManagedChannel {
        ManagedChannel {
            id: ManagedChannelId(uuid::Uuid::nil()),
            tenant: TenantId::parse("acme").unwrap(),
            key: ChannelKey::parse("track:1").unwrap(),
            wish: ChannelWish::named(name),
            progress,
            wants_archived: false,
            state: ChannelState::Creating,
            obstacle: None,
            place: None,
            wish_version: 1,
            created_at: Timestamp(0),
            changed_at: Timestamp(0),
            counts: MemberCounts::default(),
        }
    }

    fn named(name: &str) -> Progress {
        Progress { name: Some(name.into()), ..Progress::default() }
    }

    #[test]
    fn a_rename_that_was_wished_for_meanwhile_stays() {
        let wished = Progress { rename_to: Some("new".into()), ..named("old") };
        let merged = merged(&channel("new", wished), &channel("old", named("old")), named("old"));
        assert_eq!(merged.rename_to.as_deref(), Some("new"));
    }

    #[test]
    fn a_rename_that_the_holder_finished_is_not_taken_up_again() {
        let renames = Progress { rename_to: Some("new".into()), ..named("old") };
        let claimed = channel("new", renames.clone());
        // A call only added members.
        let merged = merged(&channel("new", renames), &claimed, named("new"));
        assert_eq!(merged.rename_to, None);
    }

    #[test]
    fn a_wish_for_another_name_ends_an_earlier_rename() {
        let renames = Progress { rename_to: Some("new".into()), ..named("old") };
        let claimed = channel("new", renames.clone());
        let merged = merged(&channel("other", named("old")), &claimed, renames);
        assert_eq!(merged.rename_to, None);
    }

    #[test]
    fn a_channel_that_was_created_for_the_earlier_name_is_renamed() {
        let none = Progress::default;
        let (stored, claimed) = (channel("new", none()), channel("old", none()));
        let created = |name: &str| Progress { named_for: Some(name.into()), ..named("old-7") };
        let rename = |name: &str| merged(&stored, &claimed, created(name)).rename_to;
        assert_eq!(rename("old").as_deref(), Some("new"));
        assert_eq!(rename("new"), None);
        assert_eq!(merged(&claimed, &claimed, created("old")).rename_to, None, "the same name");
        assert_eq!(merged(&stored, &claimed, none()).rename_to, None, "it does not exist yet");
    }

    #[test]
    fn a_call_lifts_the_refusals_that_a_holder_met_meanwhile() {
        let refused = |asked| Progress {
            asked,
            refusals: vec![StepRefusal {
                key: StepKey::plain("create"),
                obstacle: ChannelObstacle::NameTaken,
                code: "name_taken".into(),
                until: Timestamp(9),
            }],
            ..Progress::default()
        };
        let (claimed, stored) = (channel("a", refused(1)), channel("a", refused(2)));
        let kept = merged(&claimed, &claimed, refused(1));
        assert_eq!((kept.asked, kept.refusals[0].until), (1, Timestamp(9)));
        let lifted = merged(&stored, &claimed, refused(1));
        assert_eq!((lifted.asked, lifted.refusals[0].until), (2, Timestamp(0)));
    }

    #[test]
    fn an_opening_that_was_wished_for_meanwhile_stays() {
        let opens = Progress { reopening: true, ..named("name") };
        let (stored, claimed) = (channel("name", opens), channel("name", named("name")));
        assert!(merged(&stored, &claimed, named("name")).reopening);
        assert!(!merged(&claimed, &claimed, named("name")).reopening);
    }
}
