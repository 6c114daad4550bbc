//! The members wished for in a channel: how a call changes their rows.
//!
//! All writes of members happen while the channel's row is locked, so calls and the reconciler take
//! turns. A row names the version of the wish that queued or removed the member: an outcome that a
//! reconciler found for an earlier wish does not replace it.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::{ConnectionTrait as _, Value};

use super::rows::codes;
use crate::domain::channels::state::ChannelMemberState;
use crate::domain::ids::{ManagedChannelId, SlackUserId, TenantId, UserId};
use crate::domain::limits::CHANNEL_MEMBERS;
use crate::domain::time::Timestamp;
use crate::store::database::rows::{Column, Columns, given};
use crate::store::database::sql::{self, Row, params};
use crate::store::database::transaction::Tx;
use crate::store::database::unreadable::UnreadableRow;
use crate::store::{Error, Store};

/// A person wished for in a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WishedMember {
    pub user: UserId,
    pub roles: Vec<String>,
}

/// How a call changes the members wished for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MembersChange {
    Keep,
    /// These and no others. Those who left or were refused stay so.
    Replace {
        members: Vec<WishedMember>,
        /// Others leave the channel in Slack; otherwise they are only forgotten.
        remove_unlisted: bool,
    },
    /// These too. Those who left or were refused are invited again.
    Add(Vec<WishedMember>),
    /// These are forgotten, and leave the channel in Slack.
    Remove(Vec<UserId>),
}

/// A member as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberRecord {
    pub user: UserId,
    pub roles: Vec<String>,
    pub state: ChannelMemberState,
    pub slack_user_id: Option<SlackUserId>,
    /// Why, as a code of Slack's or of Herald's.
    pub code: Option<String>,
    /// When the next attempt is due, if that lies in the future.
    pub retry_at: Option<Timestamp>,
    pub changed_at: Timestamp,
    /// Attempts in this state.
    pub attempts: u32,
}

/// The columns of [`member`].
pub(super) const MEMBER: &str = "
    user_id, roles, state, slack_user, code, CASE WHEN due_at > {now} THEN due_at END, changed_at,
        attempts";

impl MembersChange {
    /// The people that it names.
    fn named(&self) -> BTreeSet<&UserId> {
        match self {
            Self::Keep => BTreeSet::new(),
            Self::Replace { members, .. } | Self::Add(members) => {
                members.iter().map(|member| &member.user).collect()
            }
            Self::Remove(users) => users.iter().collect(),
        }
    }
}

/// A stored member, before a change. `state` is `None` if only a newer release knows it.
struct Known {
    roles: String,
    state: Option<ChannelMemberState>,
}

/// The change of one member's row.
#[derive(Debug, Clone, PartialEq, Eq)]
enum MemberEdit {
    /// To be invited, with these roles.
    Queue(String),
    /// Only the roles change.
    Roles(String),
    /// To be removed from the channel in Slack.
    Remove,
    Forget,
}

/// The changes of rows that a call makes; rows that stay as they are have none.
fn edits(
    known: &BTreeMap<UserId, Known>,
    change: &MembersChange,
) -> Result<BTreeMap<UserId, MemberEdit>, Error> {
    let mut edits = BTreeMap::new();
    match change {
        MembersChange::Keep => {}
        MembersChange::Replace { members, remove_unlisted } => {
            for member in members {
                let edit = wished(known.get(&member.user), member, queued_by_replacing)?;
                edits.extend(edit.map(|edit| (member.user.clone(), edit)));
            }
            let named = change.named();
            for (user, known) in known.iter().filter(|(user, _)| !named.contains(user)) {
                let edit = unwished(known, *remove_unlisted);
                edits.extend(edit.map(|edit| (user.clone(), edit)));
            }
        }
        MembersChange::Add(members) => {
            for member in members {
                let edit = wished(known.get(&member.user), member, queued_by_adding)?;
                edits.extend(edit.map(|edit| (member.user.clone(), edit)));
            }
        }
        MembersChange::Remove(users) => {
            for user in users {
                let edit = known.get(user).and_then(|known| unwished(known, true));
                edits.extend(edit.map(|edit| (user.clone(), edit)));
            }
        }
    }
    Ok(edits)
}

fn wished(
    known: Option<&Known>,
    member: &WishedMember,
    queues: fn(ChannelMemberState) -> bool,
) -> Result<Option<MemberEdit>, Error> {
    let roles = serde_json::to_string(&member.roles)
        .map_err(|_| Error::Bug("roles cannot be converted to JSON".into()))?;
    let Some(known) = known else { return Ok(Some(MemberEdit::Queue(roles))) };
    if known.state.is_some_and(queues) {
        return Ok(Some(MemberEdit::Queue(roles)));
    }
    Ok((known.roles != roles).then_some(MemberEdit::Roles(roles)))
}

/// A wish that names all members is often repeated, so it does not drag back people who left.
fn queued_by_replacing(state: ChannelMemberState) -> bool {
    state == ChannelMemberState::Removing
}

fn queued_by_adding(state: ChannelMemberState) -> bool {
    [
        ChannelMemberState::Removing,
        ChannelMemberState::Left,
        ChannelMemberState::Failed,
        ChannelMemberState::NotInSlack,
    ]
    .contains(&state)
}

/// A member in a state of a newer release is left to it.
fn unwished(known: &Known, remove: bool) -> Option<MemberEdit> {
    match known.state? {
        ChannelMemberState::Removing => None,
        ChannelMemberState::Member | ChannelMemberState::Inviting if remove => {
            Some(MemberEdit::Remove)
        }
        _ => Some(MemberEdit::Forget),
    }
}

/// The channel whose members change.
pub(super) struct MembersOf<'a> {
    pub(super) channel: ManagedChannelId,
    pub(super) tenant: &'a TenantId,
    /// The version of the wish with this change.
    pub(super) wish_version: i64,
}

impl MembersOf<'_> {
    /// Applies the change; the channel's row is locked. [`Error::TooMany`]: the channel would have
    /// more than [`CHANNEL_MEMBERS`].
    pub(super) async fn apply(&self, tx: &Tx, change: &MembersChange) -> Result<(), Error> {
        if *change == MembersChange::Keep {
            return Ok(());
        }
        let edits = edits(&self.known(tx, change).await?, change)?;
        let of = |kind: fn(&MemberEdit) -> Option<&str>| -> Vec<[Value; 2]> {
            let rows = edits.iter().filter_map(|(user, edit)| Some((user, kind(edit)?)));
            rows.map(|(user, roles)| [user.as_str().into(), roles.into()]).collect()
        };
        let queue = of(|edit| match edit {
            MemberEdit::Queue(roles) => Some(roles.as_str()),
            _ => None,
        });
        let roles = of(|edit| match edit {
            MemberEdit::Roles(roles) => Some(roles.as_str()),
            _ => None,
        });
        let remove = of(|edit| (*edit == MemberEdit::Remove).then_some(""));
        let forget = of(|edit| (*edit == MemberEdit::Forget).then_some(""));
        self.write(tx, QUEUE, queue).await?;
        self.write(tx, ROLES, roles).await?;
        self.write(tx, REMOVE, remove).await?;
        self.write(tx, FORGET, forget).await?;
        self.check_limit(tx).await
    }

    /// The stored members that the change concerns.
    async fn known(
        &self,
        tx: &Tx,
        change: &MembersChange,
    ) -> Result<BTreeMap<UserId, Known>, Error> {
        const ALL: &str = "SELECT user_id, roles, state FROM channel_members WHERE channel = $1";
        let mut rows = Vec::new();
        if matches!(change, MembersChange::Replace { .. }) {
            rows = sql::all(tx, ALL, params![self.channel.to_string()]).await?;
        } else {
            let named = change.named().into_iter().map(|user| [user.as_str().into()]).collect();
            for (table, mut values) in given(tx.get_database_backend(), [Column::Text], named) {
                values.push(self.channel.to_string().into());
                let text = format!(
                    "SELECT user_id, roles, state
                        FROM channel_members
                        WHERE channel = ${} AND user_id IN (SELECT column1 FROM {table})",
                    values.len()
                );
                rows.extend(sql::all(tx, &text, values).await?);
            }
        }
        let known = rows.iter().map(|row| {
            let mut columns = Columns::of(row);
            let (user, roles) = (columns.id(UserId::parse)?, columns.take()?);
            let state = ChannelMemberState::from_code(&columns.take::<String>()?);
            Ok((user, Known { roles, state }))
        });
        known.collect()
    }

    /// Runs a statement for these rows of people and roles. In it, `{given}` is their table, and
    /// `{channel}`, `{tenant}` and `{version}` are those of this channel.
    async fn write(&self, tx: &Tx, text: &str, rows: Vec<[Value; 2]>) -> Result<(), Error> {
        let columns = [Column::Text, Column::Text];
        for (table, mut values) in given(tx.get_database_backend(), columns, rows) {
            let mut text = text.replace("{given}", &table);
            let more: [(&str, Value); 3] = [
                ("{channel}", self.channel.to_string().into()),
                ("{tenant}", self.tenant.as_str().into()),
                ("{version}", self.wish_version.into()),
            ];
            for (name, value) in more {
                if text.contains(name) {
                    values.push(value);
                    text = text.replace(name, &format!("${}", values.len()));
                }
            }
            sql::execute(tx, &text, values).await?;
        }
        Ok(())
    }

    async fn check_limit(&self, tx: &Tx) -> Result<(), Error> {
        const COUNT: &str = "SELECT COUNT(*) FROM channel_members WHERE channel = $1";
        let row = sql::one(tx, COUNT, params![self.channel.to_string()]).await?;
        let count: i64 = row.ok_or_else(|| Error::Bug("COUNT without a row".into()))?.get(0)?;
        if count > i64::from(CHANNEL_MEMBERS) {
            let most = format!("a channel has at most {CHANNEL_MEMBERS} members");
            return Err(Error::TooMany(most));
        }
        Ok(())
    }
}

const QUEUE: &str = "
    INSERT INTO channel_members (channel, user_id, tenant, roles, state, due_at, touched_at,
        wish_version, changed_at)
    SELECT {channel}, column1, {tenant}, column2, 'queued', {now}, {now}, {version}, {now}
    FROM {given}
    WHERE TRUE
    ON CONFLICT (channel, user_id) DO UPDATE
    SET roles = excluded.roles, state = excluded.state, code = NULL, attempts = 0,
        due_at = excluded.due_at, touched_at = excluded.touched_at,
        wish_version = excluded.wish_version, changed_at = excluded.changed_at";
const ROLES: &str = "UPDATE channel_members
    SET roles = column2
    FROM {given}
    WHERE channel = {channel} AND user_id = column1";
const REMOVE: &str = "UPDATE channel_members
    SET state = 'removing', code = NULL, attempts = 0, due_at = {now}, touched_at = {now},
        wish_version = {version}, changed_at = {now}
    WHERE channel = {channel} AND user_id IN (SELECT column1 FROM {given})";
const FORGET: &str = "DELETE FROM channel_members
    WHERE channel = {channel} AND user_id IN (SELECT column1 FROM {given})";

impl Store {
    /// Up to `limit` members of a channel after a person, in the order of their ids. Rows that only
    /// a newer release can read are skipped. `due`: only those that are due.
    pub(super) async fn members_of(
        &self,
        channel: ManagedChannelId,
        states: &[ChannelMemberState],
        due: bool,
        after: Option<&UserId>,
        limit: u32,
    ) -> Result<Vec<MemberRecord>, Error> {
        let in_states = match states {
            [] => String::new(),
            states => format!("AND state IN ({})", codes(states)),
        };
        let due = if due { "AND due_at <= {now}" } else { "" };
        // Every id is larger than the empty text.
        let mut last = after.map_or("", UserId::as_str).to_owned();
        let mut members = Vec::new();
        loop {
            let left = limit as usize - members.len();
            let text = format!(
                "SELECT {MEMBER}
                    FROM channel_members
                    WHERE channel = $1 AND user_id > $2 {in_states} {due}
                    ORDER BY user_id
                    LIMIT {left}"
            );
            let values = params![channel.to_string(), last.as_str()];
            let rows = sql::all(self.reader(), &text, values).await?;
            let read: Vec<_> = rows.iter().filter_map(|row| member(row).ok()).collect();
            self.pass_over(UnreadableRow::ChannelMember, (rows.len() - read.len()) as u64);
            members.extend(read);
            match rows.last() {
                Some(row) if rows.len() == left && members.len() < limit as usize => {
                    last = row.get(0)?;
                }
                _ => return Ok(members),
            }
        }
    }
}

/// Reads [`MEMBER`].
fn member(row: &Row) -> Result<MemberRecord, Error> {
    let mut columns = Columns::of(row);
    Ok(MemberRecord {
        user: columns.id(UserId::parse)?,
        roles: serde_json::from_str(&columns.take::<String>()?)
            .map_err(|_| Error::Bug("stored roles cannot be parsed".into()))?,
        state: columns.code(ChannelMemberState::from_code)?,
        slack_user_id: columns.optional_id(SlackUserId::parse)?,
        code: columns.take()?,
        retry_at: columns.optional_time()?,
        changed_at: columns.time()?,
        attempts: columns.count()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserId {
        UserId::parse(name).unwrap()
    }

    fn stored() -> BTreeMap<UserId, Known> {
        let states = [
            ("queued", ChannelMemberState::Queued),
            ("inviting", ChannelMemberState::Inviting),
            ("member", ChannelMemberState::Member),
            ("left", ChannelMemberState::Left),
            ("failed", ChannelMemberState::Failed),
            ("removing", ChannelMemberState::Removing),
        ];
        let known = |state| Known { roles: "[]".into(), state };
        let mut stored: BTreeMap<_, _> =
            states.map(|(name, state)| (user(name), known(Some(state)))).into();
        stored.insert(user("newer"), known(None));
        stored
    }

    fn all(roles: &[&str]) -> Vec<WishedMember> {
        let roles: Vec<_> = roles.iter().map(|role| (*role).to_owned()).collect();
        stored().into_keys().map(|user| WishedMember { user, roles: roles.clone() }).collect()
    }

    fn changed(change: &MembersChange) -> Vec<(String, MemberEdit)> {
        let edits = edits(&stored(), change).unwrap();
        edits.into_iter().map(|(user, edit)| (user.as_str().to_owned(), edit)).collect()
    }

    #[test]
    fn a_repeated_list_changes_nothing_but_takes_back_a_removal() {
        let change = MembersChange::Replace { members: all(&[]), remove_unlisted: true };
        assert_eq!(changed(&change), [("removing".into(), MemberEdit::Queue("[]".into()))]);
    }

    #[test]
    fn those_who_are_no_longer_listed_are_removed_or_forgotten() {
        let replace = |remove_unlisted| {
            let change = MembersChange::Replace { members: Vec::new(), remove_unlisted };
            let changed = changed(&change);
            let of = |edit| {
                let of = changed.iter().filter(|(_, found)| *found == edit);
                of.map(|(user, _)| user.as_str()).collect::<Vec<_>>().join(" ")
            };
            [of(MemberEdit::Remove), of(MemberEdit::Forget)]
        };
        assert_eq!(replace(true), ["inviting member", "failed left queued"]);
        assert_eq!(replace(false), ["", "failed inviting left member queued"]);
    }

    #[test]
    fn an_addition_invites_again_and_keeps_those_who_are_in() {
        let changed = changed(&MembersChange::Add(all(&["creator"])));
        let queued = |name: &str| ["failed", "left", "removing"].contains(&name);
        let roles = || r#"["creator"]"#.to_owned();
        for (name, edit) in &changed {
            let expected =
                if queued(name) { MemberEdit::Queue(roles()) } else { MemberEdit::Roles(roles()) };
            assert_eq!(*edit, expected, "{name}");
        }
        assert_eq!(changed.len(), stored().len());
    }

    #[test]
    fn a_removal_ignores_people_who_were_never_wished_for() {
        let users = vec![user("member"), user("stranger"), user("queued"), user("newer")];
        let expected =
            [("member".into(), MemberEdit::Remove), ("queued".into(), MemberEdit::Forget)];
        assert_eq!(changed(&MembersChange::Remove(users)), expected);
    }
}
