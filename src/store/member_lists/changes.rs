//! Changes of single members, appended after the pages of the generation for all replicas.
//!
//! Whether a change is new is decided in memory, against a member list. The decision counts only if
//! that list is still the newest when the change is written: the directory's row is locked and
//! compared, so of two replicas that learn about one member at the same time, the second decides
//! again.

use std::collections::HashMap;
use std::time::Duration;

use super::slack_events::{EventDone, settle_in};
use super::state::CHANGE_TABLE;
use crate::domain::ids::{InstallationId, LeaseToken};
use crate::domain::time::micros;
use crate::store::database::sql::{self, params};
use crate::store::database::transaction::{Tx, scoped};
use crate::store::seal::data_keys::{KeyScope, SealedCell};
use crate::store::{DirectoryState, Error, MemberLists};

/// The state of the member list that a decision is based on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListBasis {
    pub generation: i64,
    pub change_sequence: i64,
    /// Whether a crawl is under way: its pages may be older than the member's known state.
    pub crawling: bool,
}

impl ListBasis {
    /// `None`: nothing was ever read or learnt.
    #[must_use]
    pub fn of(state: Option<&DirectoryState>) -> Self {
        Self {
            generation: state.map_or(0, |state| state.generation),
            change_sequence: state.map_or(0, |state| state.change_sequence),
            crawling: state.is_some_and(|state| state.crawl.is_some()),
        }
    }
}

/// A member object to store.
#[derive(Debug, Clone)]
pub struct MemberChange {
    pub slack_user_id: String,
    /// Unix seconds; 0 if Slack does not say.
    pub updated: i64,
    /// Stored encrypted.
    pub body: Vec<u8>,
}

/// Claimed events that are settled in the same commit.
#[derive(Debug, Clone)]
pub struct Settlement {
    pub token: LeaseToken,
    pub events: Vec<EventDone>,
    /// Postpone the next full crawl until this long after now …
    pub put_off: Duration,
    /// … but no longer than this after the last one.
    pub at_most: Duration,
}

/// The outcome of a merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merged {
    /// Written, with that many changes; the others were older than events applied before.
    Done { changes: usize },
    /// The member list has changed since: decide again.
    Moved,
    /// The events are no longer claimed by the caller; nothing was written.
    Fenced,
}

/// The precision of the last event's time: a busy workspace must not write it for every event.
const HEARD_PART: u32 = 60;

impl MemberLists<'_> {
    /// Appends changes and settles the events that brought them, in one transaction.
    pub async fn merge_members(
        self,
        installation: InstallationId,
        basis: ListBasis,
        changes: &[MemberChange],
        settlement: Option<&Settlement>,
    ) -> Result<Merged, Error> {
        self.store.ensure_directory(installation).await?;
        let keys = self.store.keys(&KeyScope::Installation(installation)).await?;
        let id = &installation.to_string();
        let keys = &keys;
        let merged = self
            .store
            .transaction(|tx| {
                scoped(async move {
                    if !still(tx, id, basis).await? {
                        return Ok(Merged::Moved);
                    }
                    let newest = newest_applied(tx, id, changes).await?;
                    let mut sequence = basis.change_sequence;
                    for change in changes {
                        let newest = newest.get(&change.slack_user_id).copied().unwrap_or(0);
                        if change.updated > 0 && newest > change.updated {
                            continue;
                        }
                        sequence += 1;
                        let key = sequence.to_string();
                        let place = SealedCell { table: CHANGE_TABLE, row: &key, column: "body" };
                        let sealed = keys.seal(&place, &change.body)?;
                        append(tx, id, &change.slack_user_id, sequence, sealed).await?;
                    }
                    if sequence > basis.change_sequence {
                        advance(tx, id, sequence).await?;
                    }
                    if let Some(settlement) = settlement {
                        for done in &settlement.events {
                            if !settle_in(tx, installation, settlement.token, done).await? {
                                // Rolls everything back.
                                return Err(Error::Conflict(FENCED.into()));
                            }
                        }
                        heard(tx, id, settlement).await?;
                    }
                    let appended = sequence - basis.change_sequence;
                    Ok(Merged::Done { changes: usize::try_from(appended).unwrap_or(0) })
                })
            })
            .await;
        if let Ok(Merged::Done { changes: 1.. }) = &merged {
            self.store.hint(installation);
        }
        match merged {
            Err(Error::Conflict(reason)) if reason == FENCED => Ok(Merged::Fenced),
            merged => merged,
        }
    }

    /// Slack withheld events: the next full crawl reads their changes. It is due after `within` and
    /// is not postponed until then.
    pub async fn note_lost_events(
        self,
        installation: InstallationId,
        within: Duration,
    ) -> Result<(), Error> {
        const SQL: &str = "UPDATE directory
            SET events_lost_at = {now}, next_refresh_at = {least}(next_refresh_at, {now} + $2)
            WHERE installation = $1";
        let values = params![installation.to_string(), micros(within)];
        sql::execute(self.store.writer(), SQL, values).await?;
        Ok(())
    }
}

const FENCED: &str = "the lease of an event";

/// Locks the directory; returns whether it is unchanged.
async fn still(tx: &Tx, id: &str, basis: ListBasis) -> Result<bool, Error> {
    const SQL: &str = "SELECT generation, change_sequence, crawl_started_at FROM directory
        WHERE installation = $1 {for_update}";
    let row = sql::one(tx, SQL, params![id]).await?;
    let row = row.ok_or_else(|| Error::NotFound("directory".into()))?;
    let now = ListBasis {
        generation: row.get(0)?,
        change_sequence: row.get(1)?,
        crawling: row.get::<Option<i64>>(2)?.is_some(),
    };
    Ok(now == basis)
}

/// The newest `updated` of these members among the events that were applied.
async fn newest_applied(
    tx: &Tx,
    id: &str,
    changes: &[MemberChange],
) -> Result<HashMap<String, i64>, Error> {
    if changes.is_empty() {
        return Ok(HashMap::new());
    }
    let text = format!(
        "SELECT slack_user_id, MAX(updated)
            FROM seen_events
            WHERE installation = $1 AND state = 'done' AND slack_user_id IN ({})
            GROUP BY slack_user_id",
        sql::placeholders(2, changes.len())
    );
    let mut values = params![id];
    values.extend(changes.iter().map(|change| change.slack_user_id.as_str().into()));
    let rows = sql::all(tx, &text, values).await?;
    rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect()
}

/// One row per member: the new one replaces the earlier.
async fn append(
    tx: &Tx,
    id: &str,
    member: &str,
    sequence: i64,
    sealed: Vec<u8>,
) -> Result<(), Error> {
    const DROP: &str = "DELETE FROM directory_changes
        WHERE installation = $1 AND slack_user_id = $2";
    const INSERT: &str = "INSERT INTO directory_changes
        (installation, sequence, body, at, slack_user_id) VALUES ($1, $2, $3, {now}, $4)";
    sql::execute(tx, DROP, params![id, member]).await?;
    sql::execute(tx, INSERT, params![id, sequence, sealed, member]).await?;
    Ok(())
}

async fn advance(tx: &Tx, id: &str, sequence: i64) -> Result<(), Error> {
    const SQL: &str = "UPDATE directory SET change_sequence = $2 WHERE installation = $1";
    sql::execute(tx, SQL, params![id, sequence]).await.map(drop)
}

/// Events arrive, so a full crawl can wait. Not postponed: a requested crawl, a crawl that is under
/// way or failed, or any crawl if events were lost since the last one.
async fn heard(tx: &Tx, id: &str, settlement: &Settlement) -> Result<(), Error> {
    const SQL: &str = "UPDATE directory
        SET event_heard_at = {now},
            next_refresh_at = CASE
                WHEN next_refresh_at > {now} AND crawl_started_at IS NULL
                    AND last_error IS NULL AND COALESCE(events_lost_at, 0) < refreshed_at
                    THEN {greatest}(next_refresh_at, {least}({now} + $2, refreshed_at + $3))
                ELSE next_refresh_at END
        WHERE installation = $1 AND COALESCE(event_heard_at, 0) <= {now} - $4";
    let touch = micros(settlement.put_off / HEARD_PART);
    let values = params![id, micros(settlement.put_off), micros(settlement.at_most), touch];
    sql::execute(tx, SQL, values).await.map(drop)
}
