//! Workspaces that move into an Enterprise organization. While one moves, nothing is sent there.
//! Afterwards its members may have other ids, and the stored ones are exchanged, in their order and
//! a bounded number at a time, before anything is sent again.

use std::time::Duration;

use sea_orm::ConnectionTrait as _;

use crate::domain::backoff::{attempt_after, backoff};
use crate::domain::ids::{InstallationId, SlackUserId};
use crate::domain::time::{Timestamp, micros};
use crate::store::database::rows::{Column, Columns, given, parse_id};
use crate::store::database::sql::{self, params};
use crate::store::database::transaction::scoped;
use crate::store::records::deliveries::IN_LANE;
use crate::store::tenancy::tokens;
use crate::store::{Error, InstallationTokens};

/// Work on an installation that moves, or has moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationWork {
    pub installation: InstallationId,
    pub step: MigrationStep,
}

/// The next work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MigrationStep {
    /// Look whether the move has ended.
    Look,
    /// Exchange the ids of members after this one.
    Exchange { after: String },
}

/// When work on a move is due again.
#[derive(Debug, Clone, Copy)]
pub struct MigrationPace {
    /// The first wait for the end of a move, and the wait for ids that Slack does not give now.
    pub first: Duration,
    /// The longest wait for the end of a move. The waits double while it lasts.
    pub longest: Duration,
    /// In `[0, 1)`: spreads the looks at workspaces that move together.
    pub dice: f64,
}

impl MigrationPace {
    /// The wait before the next work on a workspace that has been moving since then.
    fn wait(self, step: &MigrationStep, since: Timestamp, now: Timestamp) -> Duration {
        match step {
            MigrationStep::Look => {
                let attempt = attempt_after(now.since(since), self.first);
                backoff(attempt, self.dice, self.first, self.longest)
            }
            MigrationStep::Exchange { .. } => self.first,
        }
    }
}

impl InstallationTokens<'_> {
    /// Records that a workspace moves, and puts its lanes to sleep; the first look whether it has
    /// ended is due after `look`. `false`: that was known, or the token is dead.
    pub async fn begin_migration(self, id: InstallationId, look: Duration) -> Result<bool, Error> {
        const SQL: &str = "UPDATE installations
            SET migrating_since = {now}, migration_look_at = {now} + $2
            WHERE id = $1 AND migrating_since IS NULL AND state = 'active'";
        let id = &id.to_string();
        self.store
            .transaction(|tx| {
                scoped(async move {
                    let values = params![id.as_str(), micros(look)];
                    let begun = sql::execute(tx, SQL, values).await? > 0;
                    if begun {
                        tokens::rest(tx, id).await?;
                    }
                    Ok(begun)
                })
            })
            .await
    }

    /// Records that a workspace works again, and the organization that it is in now. If that is
    /// another one, the ids of members are exchanged next; otherwise the pause ends. Returns
    /// whether it has ended by this.
    pub async fn note_moved(
        self,
        id: InstallationId,
        enterprise: Option<&str>,
    ) -> Result<bool, Error> {
        // An installation that was made there meanwhile keeps its key.
        const JOINED: &str = "UPDATE installations
            SET mapped_after = '', migration_look_at = {now},
                migrating_since = COALESCE(migrating_since, {now}),
                enterprise_id = CASE
                    WHEN EXISTS (SELECT 1
                        FROM installations o
                        WHERE o.app_id = installations.app_id AND o.enterprise_id = $2
                            AND o.team_id = installations.team_id
                            AND o.org_wide = installations.org_wide)
                        THEN enterprise_id
                    ELSE $2 END
            WHERE id = $1 AND enterprise_id <> $2 AND mapped_after IS NULL AND state = 'active'";
        const ENDED: &str = "UPDATE installations
            SET migrating_since = NULL, migration_look_at = NULL
            WHERE id = $1 AND migrating_since IS NOT NULL AND mapped_after IS NULL";
        let id = &id.to_string();
        self.store
            .transaction(|tx| {
                scoped(async move {
                    if let Some(enterprise) = enterprise {
                        let joined = params![id.as_str(), enterprise];
                        if sql::execute(tx, JOINED, joined).await? > 0 {
                            tokens::rest(tx, id).await?;
                            return Ok(false);
                        }
                    }
                    Ok(sql::execute(tx, ENDED, params![id.as_str()]).await? > 0)
                })
            })
            .await
    }

    /// The next work that is due. It is due again by `pace`, unless its outcome is recorded sooner.
    pub async fn claim_migration(
        self,
        pace: MigrationPace,
    ) -> Result<Option<MigrationWork>, Error> {
        // No look is booked further ahead than that, except if the clock has stepped back since.
        const DUE: &str = "SELECT id, mapped_after, migrating_since, {now}
            FROM installations
            WHERE migration_look_at IS NOT NULL AND state = 'active'
                AND (migration_look_at <= {now} OR migration_look_at > {now} + 2 * $1)
            ORDER BY migration_look_at
            LIMIT 1";
        const SQL: &str = "UPDATE installations
            SET migration_look_at = {now} + $3
            WHERE id = $2
                AND (migration_look_at <= {now} OR migration_look_at > {now} + 2 * $1)";
        let longest = micros(pace.longest);
        let Some(due) = sql::one(self.store.reader(), DUE, params![longest]).await? else {
            return Ok(None);
        };
        let mut columns = Columns::of(&due);
        let id: String = columns.take()?;
        let step = match columns.take::<Option<String>>()? {
            Some(after) => MigrationStep::Exchange { after },
            None => MigrationStep::Look,
        };
        let (since, now) = (columns.optional_time()?, columns.time()?);
        let wait = micros(pace.wait(&step, since.unwrap_or(now), now));
        let values = params![longest, id.as_str(), wait];
        if sql::execute(self.store.writer(), SQL, values).await? == 0 {
            return Ok(None);
        }
        Ok(Some(MigrationWork { installation: parse_id(&id)?, step }))
    }

    /// The members that people of any tenant are matched with in this workspace, or that are in a
    /// channel which Herald keeps there, after this id, in the order of their ids.
    pub async fn members_after(
        self,
        id: InstallationId,
        after: &str,
        limit: usize,
    ) -> Result<Vec<SlackUserId>, Error> {
        const SQL: &str = "SELECT member
            FROM (SELECT slack_user_id AS member
                FROM people
                WHERE installation = $1 AND slack_user_id > $2
                UNION
                SELECT m.slack_user AS member
                FROM channels c
                JOIN channel_members m ON m.channel = c.id
                WHERE c.installation = $1 AND m.slack_user > $2) AS known
            ORDER BY member
            LIMIT $3";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let values = params![id.to_string(), after, limit];
        let mut members = Vec::new();
        for row in sql::all(self.store.reader(), SQL, values).await? {
            members.push(Columns::of(&row).id(SlackUserId::parse)?);
        }
        Ok(members)
    }

    /// Stores the new ids of members, each after the old one, and how far the exchange has come:
    /// `last` is the last id that was asked about; `None`: there are no more, and the pause ends.
    /// Messages that wait for a member stay in their order. May be repeated.
    pub async fn save_exchanged(
        self,
        id: InstallationId,
        pairs: &[(SlackUserId, SlackUserId)],
        last: Option<&SlackUserId>,
    ) -> Result<(), Error> {
        const PROGRESS: &str = "UPDATE installations
            SET mapped_after = $2,
                migration_look_at = CASE WHEN $3 = 1 THEN {now} ELSE NULL END,
                migrating_since = CASE WHEN $3 = 1 THEN migrating_since ELSE NULL END
            WHERE id = $1 AND mapped_after IS NOT NULL";
        let id = &id.to_string();
        let rows = pairs
            .iter()
            .filter(|(old, new)| old != new)
            .map(|(old, new)| [old.as_str().into(), new.as_str().into(), id.as_str().into()]);
        let backend = self.store.reader().get_database_backend();
        let columns = [Column::Text, Column::Text, Column::Text];
        let tables = &given(backend, columns, rows.collect());
        let more = i64::from(last.is_some());
        let progress = &params![id.as_str(), last.map(SlackUserId::as_str), more];
        self.store
            .transaction(|tx| {
                scoped(async move {
                    for (table, values) in tables {
                        for text in renaming(table) {
                            sql::execute(tx, &text, values.clone()).await?;
                        }
                    }
                    sql::execute(tx, PROGRESS, progress.clone()).await.map(drop)
                })
            })
            .await
    }
}

/// Statements that write the new id (`column2`) of each member in place of the old one (`column1`).
/// A lane that a worker holds, or whose new name is taken, keeps its name: its messages move one
/// after the other, because they are for another member than their person's identity.
fn renaming(table: &str) -> [String; 4] {
    let lane = |name: &str| {
        format!("SELECT 1 FROM lanes o WHERE o.installation = column3 AND o.lane = {name}")
    };
    [
        format!(
            "UPDATE people
                SET slack_user_id = column2
                FROM {table}
                WHERE people.installation = column3 AND people.slack_user_id = column1"
        ),
        // Otherwise the next list of a channel's members would say that all of them left.
        format!(
            "UPDATE channel_members
                SET slack_user = column2
                FROM {table}
                WHERE channel_members.slack_user = column1
                    AND channel_members.channel IN (SELECT c.id
                        FROM channels c
                        WHERE c.installation = column3)"
        ),
        format!(
            "UPDATE lanes
                SET lane = column2
                FROM {table}
                WHERE lanes.installation = column3 AND lanes.lane = column1
                    AND lanes.lease_token IS NULL AND NOT EXISTS ({})",
            lane("column2")
        ),
        format!(
            "UPDATE deliveries
                SET lane = column2
                FROM {table}
                WHERE deliveries.installation = column3 AND deliveries.lane = column1
                    AND deliveries.{IN_LANE} AND NOT EXISTS ({}) AND EXISTS ({})",
            lane("column1"),
            lane("column2")
        ),
    ]
}
