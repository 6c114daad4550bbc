//! Slack's events, stored from their acknowledgement until they are applied. Their ids are kept for
//! longer, so that each event counts once, however often Slack repeats it.
//!
//! An event is claimed with a lease and a token, like a delivery. An event whose lease ran out is
//! claimed by itself from then on: if it makes replicas crash, it takes no other events with it,
//! and in the end it is parked.

use std::time::Duration;

use tokio::sync::Notify;

use crate::domain::ids::{InstallationId, LeaseToken};
use crate::domain::time::{Timestamp, micros};
use crate::store::database::rows::{Columns, parse_id};
use crate::store::database::sql::{self, Row, params};
use crate::store::database::transaction::Tx;
use crate::store::lanes::claim::lease_token;
use crate::store::seal::data_keys::{KeyScope, SealedCell};
use crate::store::{Backend, Error, SlackEvents, Store};

/// Events of one claim.
const BATCH: u32 = 64;
/// Rows that one statement of [`SlackEvents::prune`] deletes.
const PRUNED: i64 = 1000;
const TABLE: &str = "seen_events";
/// The kinds that this release applies; others are left to replicas of a newer one.
const KNOWN: &str = "kind IN ('user_change', 'user_profile_changed', 'team_join', \
    'app_uninstalled', 'tokens_revoked', 'app_rate_limited', \
    'team_access_granted', 'team_access_revoked', 'grid_migration_started', \
    'grid_migration_finished', \
    'channel_archive', 'channel_deleted', 'channel_id_changed', 'channel_left', 'channel_rename', \
    'channel_unarchive', 'group_archive', 'group_deleted', 'group_left', 'group_rename', \
    'group_unarchive', 'member_joined_channel', 'member_left_channel')";

/// An event as it arrived, for one installation.
#[derive(Debug, Clone)]
pub struct NewEvent {
    pub installation: InstallationId,
    /// Slack's `event_id`: the same in each repeat.
    pub event_id: String,
    /// Slack's name, such as `user_change`.
    pub kind: &'static str,
    /// When it happened, according to Slack.
    pub happened_at: Timestamp,
    /// Stored encrypted.
    pub body: Vec<u8>,
}

/// An event to apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedEvent {
    pub installation: InstallationId,
    pub event_id: String,
    pub kind: String,
    pub happened_at: Timestamp,
    /// Claims so far, including this one; claims that were given back do not count.
    pub attempts: i64,
    /// As it was taken; `None`: it does not decrypt.
    pub body: Option<Vec<u8>>,
    pub token: LeaseToken,
}

/// An event that needs no further work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventDone {
    pub event_id: String,
    /// The member it was about, and that member's `updated`, so that an older event that arrives
    /// later is recognized as older.
    pub member: Option<(String, i64)>,
}

impl<'a> SlackEvents<'a> {
    /// Notified after a commit that stored an event from Slack. A hint within this process; other
    /// replicas poll.
    pub fn taken(self) -> &'a Notify {
        &self.store.inner.events_taken
    }

    /// The installations of an app, made by the app of this path (empty: the deployment's), in one
    /// of these workspaces, or for the whole of one of these organizations. Not those that every
    /// tenant left, nor workspaces of an organization that no tenant uses: an app with token
    /// rotation stays installed, and nothing about people is to be stored there.
    pub async fn installations_of_app(
        self,
        app_id: &str,
        app_path: &str,
        teams: &[String],
        enterprises: &[String],
    ) -> Result<Vec<InstallationId>, Error> {
        let mut places = Vec::new();
        let mut values = params![app_id, app_path];
        for (ids, place) in
            [(teams, "NOT org_wide AND team_id"), (enterprises, "org_wide AND enterprise_id")]
        {
            if !ids.is_empty() {
                let ids_at = sql::placeholders(values.len() + 1, ids.len());
                places.push(format!("({place} IN ({ids_at}))"));
                values.extend(ids.iter().map(|id| id.as_str().into()));
            }
        }
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let places = places.join(" OR ");
        let text = format!(
            "SELECT id
                FROM installations
                WHERE app_id = $1 AND app_path = $2 AND ({places})
                    AND COALESCE(state_reason, '') <> 'disconnected'
                    AND (org IS NULL OR EXISTS (SELECT 1
                        FROM tenant_links l
                        WHERE l.installation = installations.id))"
        );
        let rows = sql::all(self.store.reader(), &text, values).await?;
        rows.iter().map(|row| parse_id(&row.get::<String>(0)?)).collect()
    }

    /// Stores an event; `false`: it was stored before. Committed when this returns.
    pub async fn take(self, event: &NewEvent) -> Result<bool, Error> {
        const SQL: &str = "INSERT INTO seen_events
                (installation, event_id, seen_at, kind, state, happened_at, due_at, body)
            VALUES ($1, $2, {now}, $3, 'waiting', $4, {now}, $5) ON CONFLICT DO NOTHING";
        let id = event.installation;
        let keys = self.store.keys(&KeyScope::Installation(id)).await?;
        let sealed = keys.seal(&place(&event.event_id), &event.body)?;
        let (event_id, kind) = (event.event_id.as_str(), event.kind);
        let values = params![id.to_string(), event_id, kind, event.happened_at.0, sealed];
        let taken = sql::execute(self.store.writer(), SQL, values).await? > 0;
        if taken {
            self.store.inner.events_taken.notify_one();
        }
        Ok(taken)
    }

    /// Claims events of one installation, the longest due first.
    pub async fn claim(self, lease: Duration) -> Result<Vec<ClaimedEvent>, Error> {
        let text = format!(
            "WITH due AS MATERIALIZED (
                    SELECT e.installation, e.event_id
                    FROM seen_events e,
                        (SELECT installation, event_id, attempts
                            FROM seen_events
                            WHERE state = 'waiting' AND due_at <= {{now}} AND {KNOWN}
                            ORDER BY due_at
                            LIMIT 1) AS f
                    WHERE e.state = 'waiting' AND e.due_at <= {{now}} AND e.{KNOWN}
                        AND e.installation = f.installation AND e.attempts = f.attempts
                        AND (f.attempts = 0 OR e.event_id = f.event_id)
                    ORDER BY e.due_at
                    LIMIT {BATCH} {skip})
                UPDATE seen_events
                SET lease_token = $1, due_at = {{now}} + $2, attempts = attempts + 1
                WHERE (installation, event_id) IN (SELECT installation, event_id FROM due)
                    AND state = 'waiting'
                RETURNING installation, event_id, kind, happened_at, attempts, body",
            skip = if self.store.backend() == Backend::Postgres {
                "FOR UPDATE OF e SKIP LOCKED"
            } else {
                ""
            },
        );
        let token = lease_token();
        let values = params![token.to_string(), micros(lease)];
        let mut claimed = Vec::new();
        for row in sql::all(self.store.writer(), &text, values).await? {
            claimed.push(self.store.claimed(&row, token).await?);
        }
        Ok(claimed)
    }

    /// Gives claimed events back, to be claimed again after `wait`; the present claim does not
    /// count.
    pub async fn release(self, token: LeaseToken, wait: Duration) -> Result<(), Error> {
        const SQL: &str = "UPDATE seen_events
            SET lease_token = NULL, due_at = {now} + $2, attempts = attempts - 1
            WHERE lease_token = $1 AND state = 'waiting'";
        sql::execute(self.store.writer(), SQL, params![token.to_string(), micros(wait)]).await?;
        Ok(())
    }

    /// Ends a claimed event that changes no member list. `false`: the token is stale.
    pub async fn finish(self, event: &ClaimedEvent) -> Result<bool, Error> {
        let done = EventDone { event_id: event.event_id.clone(), member: None };
        settle(self.store.writer(), event.installation, event.token, &done).await
    }

    /// Parks an event that cannot be applied. It keeps its body until it is pruned. `false`: the
    /// token is stale.
    pub async fn park(self, event: &ClaimedEvent, reason: &str) -> Result<bool, Error> {
        const SQL: &str = "UPDATE seen_events
            SET state = 'parked', reason = $4, lease_token = NULL
            WHERE installation = $1 AND event_id = $2 AND lease_token = $3 AND state = 'waiting'";
        let (id, token) = (event.installation.to_string(), event.token.to_string());
        let values = params![id, event.event_id.as_str(), token, reason];
        Ok(sql::execute(self.store.writer(), SQL, values).await? > 0)
    }

    /// Deletes events that were taken more than `keep` ago, and parked ones after ten times that.
    /// One that still waits by then is parked, because it could no longer be applied.
    pub async fn prune(self, keep: Duration) -> Result<(), Error> {
        const GIVE_UP: &str = "UPDATE seen_events
            SET state = 'parked', reason = 'too_old', lease_token = NULL
            WHERE state = 'waiting' AND seen_at <= {now} - $1";
        const PRUNE: &str = "DELETE FROM seen_events
            WHERE (installation, event_id) IN (
                SELECT installation, event_id
                FROM seen_events
                WHERE state <> 'waiting' AND seen_at <= {now} - $1
                    AND (state = 'done' OR seen_at <= {now} - $2)
                ORDER BY seen_at
                LIMIT $3 {skip_locked})";
        let (keep, longer) = (micros(keep), micros(keep.saturating_mul(10)));
        sql::execute(self.store.writer(), GIVE_UP, params![keep]).await?;
        let chunk = || sql::execute(self.store.writer(), PRUNE, params![keep, longer, PRUNED]);
        while chunk().await? >= PRUNED.cast_unsigned() {}
        Ok(())
    }
}

impl Store {
    async fn claimed(&self, row: &Row, token: LeaseToken) -> Result<ClaimedEvent, Error> {
        let mut columns = Columns::of(row);
        let installation = parse_id(&columns.take::<String>()?)?;
        let event_id: String = columns.take()?;
        let (kind, happened_at, attempts) = (columns.take()?, columns.time()?, columns.take()?);
        let sealed: Option<Vec<u8>> = columns.take()?;
        let scope = KeyScope::Installation(installation);
        let body = match self.unseal(&scope, &place(&event_id), &sealed.unwrap_or_default()).await {
            Ok(body) => Some(body.to_vec()),
            Err(Error::Sealed(_) | Error::Bug(_)) => None,
            Err(error) => return Err(error),
        };
        Ok(ClaimedEvent { installation, event_id, kind, happened_at, attempts, body, token })
    }
}

/// `false`: the token is stale, or the event is done.
pub(in crate::store) async fn settle_in(
    tx: &Tx,
    installation: InstallationId,
    token: LeaseToken,
    done: &EventDone,
) -> Result<bool, Error> {
    settle(tx, installation, token, done).await
}

async fn settle(
    db: &impl sea_orm::ConnectionTrait,
    installation: InstallationId,
    token: LeaseToken,
    done: &EventDone,
) -> Result<bool, Error> {
    const SQL: &str = "UPDATE seen_events
        SET state = 'done', body = NULL, lease_token = NULL, slack_user_id = $4, updated = $5
        WHERE installation = $1 AND event_id = $2 AND lease_token = $3 AND state = 'waiting'";
    let (member, updated) = match &done.member {
        Some((member, updated)) => (Some(member.as_str()), *updated),
        None => (None, 0),
    };
    let (id, token) = (installation.to_string(), token.to_string());
    let values = params![id, done.event_id.as_str(), token, member, updated];
    Ok(sql::execute(db, SQL, values).await? > 0)
}

fn place(event_id: &str) -> SealedCell<'_> {
    SealedCell { table: TABLE, row: event_id, column: "body" }
}
