//! Messages about one subject: the ones that a later notification overtakes at its acceptance, and
//! those that it finds in Slack when its turn comes.
//!
//! There is no table of subjects: each delivery stores its subject, in the hot table and in
//! history, so the knowledge of a subject ends with the retention of its deliveries.

use std::collections::HashMap;

use super::new::{Accept, NewDelivery, Target};
use crate::domain::delivery::admission::LaneAddress;
use crate::domain::delivery::subject::{Action, Shown, SubjectMessage};
use crate::domain::delivery::{End, State};
use crate::domain::ids::{
    ChannelId, ChannelKey, DeliveryId, InstallationId, SubjectKey, TenantId, UserId,
};
use crate::domain::limits::{SUBJECT_CONVERSATIONS, SUBJECT_MESSAGES};
use crate::domain::reason::Cancellation;
use crate::store::database::rows::Columns;
use crate::store::database::sql::{self, Row, params, placeholders};
use crate::store::database::transaction::Tx;
use crate::store::ends::cancel::cancel_where;
use crate::store::records::deliveries::{DEAD, EXPIRING, OPEN};
use crate::store::seal::data_keys::SealedCell;
use crate::store::seal::person_keys::KeysById;
use crate::store::{Error, LaneClaim, Outbox};

/// A conversation that got, or will get, messages about a subject.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SubjectConversation {
    /// Absent for a channel.
    pub user: Option<UserId>,
    /// Absent while the member is not known, or the channel is not ready.
    pub lane: Option<LaneAddress>,
    /// The platform's key of the channel, if the message named it.
    pub channel: Option<ChannelKey>,
}

/// A message of ours that was posted about the subject.
const POSTED: &str = "state = 'sent' AND slack_ts IS NOT NULL \
    AND (deed IS NULL OR deed IN ('post', 'thread'))";
/// Conversations of one statement.
const CHUNK: usize = 256;

impl Outbox<'_> {
    /// The messages posted about a subject in the conversation of a claim, or to the same person in
    /// another conversation of the same workspace; oldest first.
    pub async fn subject_messages(
        self,
        tenant: &TenantId,
        subject: &SubjectKey,
        claim: &LaneClaim,
        user: Option<&UserId>,
    ) -> Result<Vec<SubjectMessage>, Error> {
        let some = |table| {
            format!(
                "SELECT id, slack_channel, slack_ts, deed, lane, shown, shown_by
                    FROM {table}
                    WHERE tenant = $1 AND subject_key = $2 AND installation = $3
                        AND (lane = $4 OR user_id = $5) AND {POSTED}"
            )
        };
        let text = format!(
            "SELECT *
                FROM ({} UNION ALL {}) AS every
                ORDER BY slack_ts DESC
                LIMIT {SUBJECT_MESSAGES}",
            some("deliveries"),
            some("deliveries_history")
        );
        let values = params![
            tenant.as_str(),
            subject.as_str(),
            claim.installation.to_string(),
            claim.lane.as_str(),
            user.map(UserId::as_str),
        ];
        let rows = sql::all(self.store.reader(), &text, values).await?;
        rows.iter().rev().map(|row| posted(row, &claim.lane)).collect()
    }

    /// All recipients that got a message about a subject, are to get one, or might get a failed one
    /// when it is replayed: at most one more than [`SUBJECT_CONVERSATIONS`].
    pub async fn subject_conversations(
        self,
        tenant: &TenantId,
        subject: &SubjectKey,
    ) -> Result<Vec<SubjectConversation>, Error> {
        let some = |table| {
            format!(
                "SELECT user_id, installation, COALESCE(lane, deferred_lane) AS place,
                        channel_key, sequence
                    FROM {table}
                    WHERE tenant = $1 AND subject_key = $2
                        AND (({POSTED})
                            OR {OPEN}
                            OR ({DEAD} AND replayed_as IS NULL
                                AND COALESCE(action, 'post') IN ('post', 'reply', 'replace')))"
            )
        };
        let text = format!(
            "SELECT user_id, installation, place, channel_key, MIN(sequence)
                FROM ({} UNION ALL {}) AS every
                GROUP BY user_id, installation, place, channel_key
                ORDER BY 5
                LIMIT {}",
            some("deliveries"),
            some("deliveries_history"),
            SUBJECT_CONVERSATIONS + 1
        );
        let rows = sql::all(self.store.reader(), &text, params![tenant.as_str(), subject.as_str()])
            .await?;
        rows.iter()
            .map(|row| {
                let mut columns = Columns::of(row);
                let user = columns.optional_id(UserId::parse)?;
                let installation = columns.optional_id(|text| InstallationId::parse(&text))?;
                let lane = LaneAddress::of(installation, columns.take()?);
                let channel = columns.optional_id(ChannelKey::parse)?;
                Ok(SubjectConversation { user, lane, channel })
            })
            .collect()
    }

    /// The content of one delivery, in either table; `None` if it was erased.
    pub async fn words(
        self,
        tenant: &TenantId,
        delivery: DeliveryId,
    ) -> Result<Option<Vec<u8>>, Error> {
        const SQL: &str = "SELECT content
            FROM deliveries
            WHERE tenant = $1 AND id = $2
            UNION ALL
            SELECT content
            FROM deliveries_history
            WHERE tenant = $1 AND id = $2";
        let id = delivery.to_string();
        let row = sql::one(self.store.reader(), SQL, params![tenant.as_str(), id.as_str()]).await?;
        let sealed = row.map(|row| row.get::<Option<Vec<u8>>>(0)).transpose()?.flatten();
        let Some(sealed) = sealed else { return Ok(None) };
        let place = SealedCell { table: "deliveries", row: &id, column: "content" };
        self.store.open_personal(tenant, &place, &sealed, &KeysById::new()).await
    }
}

fn posted(row: &Row, lane: &str) -> Result<SubjectMessage, Error> {
    let mut columns = Columns::of(row);
    let delivery = columns.uuid(DeliveryId::parse)?;
    let channel = columns.id(ChannelId::parse)?;
    let ts = columns.take()?;
    let in_thread = columns.take::<Option<String>>()?.as_deref() == Some("thread");
    let here = columns.take::<Option<String>>()?.as_deref() == Some(lane);
    let shown = columns.take::<Option<String>>()?.as_deref().and_then(Shown::from_code);
    let words = columns.optional_id(|text| DeliveryId::parse(&text))?.unwrap_or(delivery);
    Ok(SubjectMessage { delivery, channel, ts, in_thread, here, shown, words })
}

/// The effect of a call on the waiting deliveries about its subject.
#[derive(Debug, Clone, Default)]
pub(in crate::store) struct Overtaken {
    /// The actions of new deliveries in place of overtaken ones, if they are not the default.
    pub(in crate::store) instead: HashMap<DeliveryId, Action>,
    /// The overtaken deliveries, with their states.
    pub(in crate::store) met: Vec<(DeliveryId, State)>,
    /// The number of rows that this release cannot read.
    pub(in crate::store) unread: u64,
}

/// Cancels the waiting deliveries about the subject that are overtaken. The lanes must be locked.
///
/// A replacement only takes the place of the last waiting message, so that the content of the
/// message before it stays. Taking back and crossing out cancel all waiting messages; taking back
/// also cancels a waiting crossing-out. Deliveries with an action that only a newer release knows
/// are left to it.
pub(in crate::store) async fn overtake(tx: &Tx, accept: &Accept) -> Result<Overtaken, Error> {
    let mut effect = Overtaken::default();
    let (Some(subject), action) = (&accept.about.subject, accept.about.action) else {
        return Ok(effect);
    };
    if !action.overtakes() || accept.about.deliver_after.is_some() {
        return Ok(effect);
    }
    let new: Vec<&NewDelivery> = accept
        .deliveries
        .iter()
        .filter(|delivery| match &delivery.target {
            // Messages held for the person must not be sent after all once the person appears. A
            // subject that is done is done, even if a switch keeps the news of it from the person.
            Target::Ended(end) => !action.speaks() || matches!(end, End::Unreachable(_)),
            _ => true,
        })
        .collect();
    for chunk in new.chunks(CHUNK) {
        let (waiting, unread) = waiting(tx, &accept.tenant, subject, chunk).await?;
        effect.unread += unread;
        let mut overtaken = Vec::new();
        for delivery in chunk {
            let mut theirs = waiting.iter().filter(|other| other.is_for(delivery));
            if action == Action::Replace {
                let last = theirs.rfind(|other| other.action.speaks());
                if let Some(last) = last.filter(|last| last.may_end) {
                    effect.instead.insert(delivery.id, last.action);
                    overtaken.push(last.id.as_str());
                }
            } else {
                let also = |other: &&Waiting| {
                    other.action.speaks()
                        || (action == Action::Retract && other.action == Action::Done)
                };
                overtaken.extend(theirs.filter(also).map(|other| other.id.as_str()));
            }
        }
        overtaken.sort_unstable();
        overtaken.dedup();
        for ids in overtaken.chunks(CHUNK) {
            let filter = format!("id IN ({})", placeholders(2, ids.len()));
            let mut values = params![Cancellation::Superseded.code()];
            values.extend(ids.iter().map(|id| sea_orm::Value::from(*id)));
            effect.met.extend(cancel_where(tx, &filter, values, "$1").await?);
        }
    }
    Ok(effect)
}

/// A delivery about the subject that has not ended.
struct Waiting {
    id: String,
    user: Option<String>,
    lane: Option<String>,
    channel: Option<String>,
    action: Action,
    /// No request is under way.
    may_end: bool,
}

impl Waiting {
    fn of(row: &Row) -> Result<Self, Error> {
        let mut columns = Columns::of(row);
        Ok(Self {
            id: columns.take()?,
            user: columns.take()?,
            lane: columns.take()?,
            channel: columns.take()?,
            action: columns.action()?,
            may_end: columns.take::<i32>().map(|flag| flag == 1)?,
        })
    }

    fn is_for(&self, new: &NewDelivery) -> bool {
        let lane = new.place().map(|(_, lane)| lane);
        let same_user =
            new.user.as_ref().is_some_and(|user| self.user.as_deref() == Some(user.as_str()));
        let channel = new.channel.as_ref().map(|channel| channel.id.to_string());
        same_user
            || lane.is_some_and(|lane| self.lane.as_deref() == Some(lane))
            || channel.is_some_and(|channel| self.channel.as_deref() == Some(&channel))
    }
}

/// The waiting deliveries about the subject in these conversations, in the order of the lanes,
/// locked, and the number of those that this release cannot read.
async fn waiting(
    tx: &Tx,
    tenant: &TenantId,
    subject: &SubjectKey,
    new: &[&NewDelivery],
) -> Result<(Vec<Waiting>, u64), Error> {
    let mut values = params![tenant.as_str(), subject.as_str()];
    let mut among = |texts: Vec<&str>| {
        // An empty list is not valid SQL, and nothing equals NULL.
        let list = if texts.is_empty() {
            "NULL".to_owned()
        } else {
            placeholders(values.len() + 1, texts.len())
        };
        values.extend(texts.into_iter().map(sea_orm::Value::from));
        list
    };
    let users = among(new.iter().filter_map(|d| d.user.as_ref().map(UserId::as_str)).collect());
    let places = new.iter().filter_map(|delivery| delivery.place());
    let lanes = among(places.map(|(_, lane)| lane).collect());
    let channels = new.iter().filter_map(|delivery| delivery.channel.as_ref());
    let channels: Vec<String> = channels.map(|channel| channel.id.to_string()).collect();
    let channels = among(channels.iter().map(String::as_str).collect());
    let text = format!(
        "SELECT id, user_id, COALESCE(lane, deferred_lane), awaits_channel, action,
                CASE WHEN {EXPIRING} THEN 1 ELSE 0 END
            FROM deliveries
            WHERE tenant = $1 AND subject_key = $2 AND {OPEN}
                AND (user_id IN ({users})
                    OR lane IN ({lanes})
                    OR deferred_lane IN ({lanes})
                    OR awaits_channel IN ({channels}))
            ORDER BY position, sequence {{for_update}}"
    );
    let rows = sql::all(tx, &text, values).await?;
    let waiting: Vec<_> = rows.iter().filter_map(|row| Waiting::of(row).ok()).collect();
    let unread = (rows.len() - waiting.len()) as u64;
    Ok((waiting, unread))
}

/// Records the new state of a message that was acted on, in either table.
pub(in crate::store) async fn mark(
    tx: &Tx,
    message: DeliveryId,
    shown: Option<Shown>,
    words: Option<DeliveryId>,
) -> Result<(), Error> {
    // The hot table first: a row that moves meanwhile is found in the other.
    for table in ["deliveries", "deliveries_history"] {
        let text = format!(
            "UPDATE {table} SET shown = $2, shown_by = COALESCE($3, shown_by) WHERE id = $1"
        );
        let words = words.map(|delivery| delivery.to_string());
        let values = params![message.to_string(), shown.map(Shown::code), words];
        if sql::execute(tx, &text, values).await? > 0 {
            return Ok(());
        }
    }
    Ok(())
}
