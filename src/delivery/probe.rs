//! Finds out from the conversation's history whether Slack stored a message.
//!
//! A message is looked for by the delivery id in its metadata, from a little before the request was
//! begun. If it is found, it is adopted. If not, the history is read again; after the third time,
//! some 30 s after the request ended, the message counts as not stored (invariant I7). A read that
//! Slack's limits postponed does not count. If three workers died during turns of a message, it is
//! looked for like any other, and parked only if it is not found. After a recovery of the store
//! (docs/recovery.md) every waiting message is looked for, from its acceptance on.

use std::time::Duration;

use super::Delivery;
use super::turn::Turn;
use crate::domain::delivery::admission::Departure;
use crate::domain::delivery::{Probe, Settle, next_after_probe};
use crate::domain::ids::{ChannelId, DeliveryId, SlackUserId};
use crate::domain::time::Timestamp;
use crate::slack::{self, HistoryMessage, Range};
use crate::store::{self, DISCONNECTED, Installation, SettleContext};
use crate::workspace;

/// The clocks of Slack and of the database may differ by this much: by a step of ten minutes, and
/// by the usual difference between clocks.
const SKEW: Duration = Duration::from_secs(15 * 60);
/// Looks after which the result decides even though the clock never seemed steady.
const MOST_LOOKS: u32 = 10;
/// Messages of one page. Some apps get 15, whatever is asked (Slack's documentation: Rate limits).
const PAGE: u32 = 200;
/// Pages of one look. The lane has not moved since the request, so later messages were written by
/// people; after a recovery of the store there may be many.
const PAGES: usize = 5;

/// The result of one look.
enum Look {
    Saw(Probe),
    /// The token is dead: nothing can be looked up before a reconnect.
    Dead(String),
}

/// The position that looks into a conversation have reached: an answer's thread is read first, then
/// the history.
#[derive(Debug, Clone)]
pub(super) enum HistoryPosition {
    Thread(Option<String>),
    History(Option<String>),
}

impl Default for HistoryPosition {
    fn default() -> Self {
        Self::Thread(None)
    }
}

impl HistoryPosition {
    fn cursor(&self) -> Option<&str> {
        let (Self::Thread(cursor) | Self::History(cursor)) = self;
        cursor.as_deref()
    }

    fn past_thread(&self) -> bool {
        matches!(self, Self::History(_))
    }
}

/// Whether Slack says that the thread is gone with its first message.
fn is_gone(error: &workspace::Error) -> bool {
    let codes = ["thread_not_found", "message_not_found"];
    matches!(error, workspace::Error::Slack(slack::Error::Rejected { code, .. })
        if codes.contains(&code.as_str()))
}

impl Delivery {
    /// Looks for an unknown head in the history, and settles it by the result.
    pub(super) async fn look(&self, turn: &Turn<'_>) -> Result<(), store::Error> {
        let (claim, head) = (turn.claim, &turn.head);
        let looks = head.probes + 1;
        // A change that may have been made is simply repeated: it is the same change.
        let seen = if head.request_kind.is_repeatable() {
            Look::Saw(Probe::Absent)
        } else {
            turn.slot.waiting(self.search(turn)).await?
        };
        let probe = match seen {
            Look::Saw(probe) => conclude(probe, self.decides(turn, looks)),
            Look::Dead(code) => {
                return self.settle(turn, Settle::Paused { code }, SettleContext::default()).await;
            }
        };
        if let Probe::Found { channel, ts, unthreaded: true } = probe {
            let root = self.answered(turn).await?;
            let found = Settle::Unthreaded { root, channel, ts };
            return self.settle(turn, found, SettleContext::default()).await;
        }
        if let Probe::Unavailable { after } = probe {
            return self.inner.store.lanes().release(claim, after).await.map(drop);
        }
        let policy = self.inner.timing.policy_for(&head.event_type);
        let (attempt, crashes, dice) = (head.attempt, head.crashes, rand::random());
        let settle = next_after_probe(&probe, looks, attempt, crashes, dice, &policy);
        self.settle(turn, settle, SettleContext::default()).await
    }

    async fn search(&self, turn: &Turn<'_>) -> Result<Look, store::Error> {
        let (claim, head) = (turn.claim, &turn.head);
        let Some(installation) = self.workspace_of(turn).await? else {
            return Ok(Look::Saw(Probe::Unreadable));
        };
        let channel = match self.conversation(turn).await {
            Ok(Some(channel)) => channel,
            Ok(None) => return Ok(Look::Saw(Probe::Unreadable)),
            Err(error) => return self.unseen(error),
        };
        // The message comes after the last one that was sent there, and not long before the
        // request.
        let since = head.sending_since.unwrap_or(head.created_at).minus(SKEW);
        let last = claim.last_ts.as_deref().and_then(time_of);
        // That does not hold after a recovery of the store: later messages may already stand before
        // it.
        let last = last.filter(|_| head.in_doubt.is_none());
        let since = ts(last.map_or(since, |last| since.max(last)));
        // If Slack's limits ended the last look between two pages, this one continues there: an app
        // that gets 15 messages a minute would otherwise see the first page again and again.
        let cursors = &self.inner.cursors;
        let mut reached = cursors.remove(&head.delivery).await.unwrap_or_default();
        let places = if head.thread_ts.is_some() { 2 } else { 1 };
        for _ in 0..PAGES * places {
            let range = Range { oldest: Some(&since), limit: PAGE, cursor: reached.cursor() };
            let (workspaces, id) = (&self.inner.workspaces, claim.installation);
            let thread = head.thread_ts.as_deref().filter(|_| !reached.past_thread());
            let page = match thread {
                Some(thread) => workspaces.replies(id, &channel, thread, &range).await,
                None => workspaces.history(id, &channel, &range).await,
            };
            let page = match page {
                Ok(page) => page,
                Err(error) if thread.is_some() && is_gone(&error) => {
                    reached = HistoryPosition::History(None);
                    continue;
                }
                Err(error) => {
                    cursors.insert(head.delivery, reached).await;
                    return self.unseen(error);
                }
            };
            let mut messages = page.messages.iter();
            if let Some(found) = messages.find(|m| is_it(m, head.delivery, &installation)) {
                let unthreaded = head.thread_ts.is_some() && !found.is_reply();
                let ts = found.ts.clone();
                return Ok(Look::Saw(Probe::Found { channel, ts, unthreaded }));
            }
            reached = match (page.next_cursor, thread) {
                (Some(next), Some(_)) => HistoryPosition::Thread(Some(next)),
                (Some(next), None) => HistoryPosition::History(Some(next)),
                // An answer to a message that was deleted stands outside any thread.
                (None, Some(_)) => HistoryPosition::History(None),
                (None, None) => return Ok(Look::Saw(Probe::NotYet)),
            };
        }
        // Many messages may have been written since. They are read to the end, some pages a look.
        cursors.insert(head.delivery, reached).await;
        Ok(Look::Saw(Probe::Unavailable { after: self.inner.timing.retry }))
    }

    /// The workspace of the head. `None`: its history can never be read again, because the tenant
    /// left it and its messages end, or because it is not known.
    async fn workspace_of(&self, turn: &Turn<'_>) -> Result<Option<Installation>, store::Error> {
        let tenancy = self.inner.store.tenancy();
        let installation = tenancy.installation(turn.claim.installation).await?;
        if installation.as_ref().and_then(Installation::dead) != Some(DISCONNECTED) {
            return Ok(installation);
        }
        let facts = tenancy.tenant_facts(&turn.head.tenant).await?;
        let ends = facts.is_none_or(|facts| facts.departure == Some(Departure::Ends));
        Ok(installation.filter(|_| !ends))
    }

    /// Whether this look decides. Slack has 30 s from the last request that may have been made:
    /// three looks take that long, and after a recovery of the store usually more time has passed.
    ///
    /// If the database's clock stepped forward in the meantime, the looks came too early.
    fn decides(&self, turn: &Turn<'_>, looks: u32) -> bool {
        let (head, waits) = (&turn.head, self.inner.timing.policy.probe_after);
        let wait = waits[waits.len() - 1];
        let steady = self.inner.steady.has_been(head.now, turn.read, wait);
        // If the clock stepped back since the recovery, only the looks can be counted.
        let looked = usize::try_from(looks).is_ok_and(|looks| looks >= waits.len());
        let waited = looked || head.in_doubt.is_some_and(|since| head.now >= since.plus(wait));
        waited && (steady || looks >= MOST_LOOKS)
    }

    /// The conversation of the message; `None` if the lane does not name a place that can be read.
    async fn conversation(&self, turn: &Turn<'_>) -> Result<Option<ChannelId>, workspace::Error> {
        let claim = turn.claim;
        if let Some(channel) = &claim.channel {
            return Ok(Some(channel.clone()));
        }
        if turn.head.user.is_none() {
            return Ok(ChannelId::parse(claim.lane.as_str()).ok());
        }
        let Ok(member) = SlackUserId::parse(claim.lane.as_str()) else { return Ok(None) };
        self.inner.workspaces.open_conversation(claim.installation, &member).await.map(Some)
    }

    /// The delivery that posted the message which the head answers.
    async fn answered(&self, turn: &Turn<'_>) -> Result<Option<DeliveryId>, store::Error> {
        let head = &turn.head;
        let (Some(subject), Some(thread)) = (&head.subject, &head.thread_ts) else {
            return Ok(None);
        };
        let (store, user) = (&self.inner.store, head.user.as_ref());
        let messages =
            store.outbox().subject_messages(&head.tenant, subject, turn.claim, user).await?;
        Ok(messages.iter().find(|message| message.ts == *thread).map(|message| message.delivery))
    }

    /// The result of a look that could not read the history.
    fn unseen(&self, error: workspace::Error) -> Result<Look, store::Error> {
        let later = |after| Ok(Look::Saw(Probe::Unavailable { after }));
        match error {
            workspace::Error::Store(error) => Err(error),
            workspace::Error::Reconnect { code } => Ok(Look::Dead(code)),
            workspace::Error::Unknown => Ok(Look::Saw(Probe::Unreadable)),
            workspace::Error::Busy { after }
            | workspace::Error::Renewing { after }
            | workspace::Error::Migrating { after }
            | workspace::Error::Slack(slack::Error::Throttled { after }) => later(after),
            workspace::Error::Late
            | workspace::Error::Slack(
                slack::Error::Transient { .. }
                | slack::Error::Unknown { .. }
                | slack::Error::Unauthorized { .. },
            ) => later(self.inner.timing.policy.probe_after[0]),
            workspace::Error::Slack(
                slack::Error::MissingScope { .. } | slack::Error::Rejected { .. },
            ) => {
                tracing::info!(%error, "a conversation's history cannot be read");
                Ok(Look::Saw(Probe::Unreadable))
            }
        }
    }
}

/// The last look decides: a message that is not there by then was not stored.
fn conclude(probe: Probe, decides: bool) -> Probe {
    match probe {
        Probe::NotYet if decides => Probe::Absent,
        other => other,
    }
}

/// Whether it is the message of this delivery. Any app can write such metadata, so its author is
/// compared as well.
fn is_it(message: &HistoryMessage, delivery: DeliveryId, installation: &Installation) -> bool {
    let is = |told: &Option<String>, ours: &str| !ours.is_empty() && told.as_deref() == Some(ours);
    message.delivery_id == Some(delivery)
        && (is(&message.user, &installation.bot_user_id)
            || is(&message.app_id, &installation.app_id))
}

/// The time in Slack's `ts`; `None` if it does not have that form.
fn time_of(ts: &str) -> Option<Timestamp> {
    let (seconds, micros) = ts.split_once('.')?;
    let micros = if micros.len() == 6 { micros.parse::<i64>().ok()? } else { return None };
    Some(Timestamp(seconds.parse::<i64>().ok()?.checked_mul(1_000_000)?.checked_add(micros)?))
}

/// A point in time as Slack writes it.
fn ts(at: Timestamp) -> String {
    let at = at.0.max(0);
    format!("{}.{:06}", at / 1_000_000, at % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::InstallationId;
    use crate::store::InstallationState;

    #[test]
    fn the_last_look_decides() {
        assert_eq!(conclude(Probe::NotYet, false), Probe::NotYet);
        assert_eq!(conclude(Probe::NotYet, true), Probe::Absent);
        assert_eq!(conclude(Probe::Unreadable, true), Probe::Unreadable);
    }

    #[test]
    fn times_are_written_as_slack_does() {
        assert_eq!(ts(Timestamp(1_503_435_956_000_247)), "1503435956.000247");
        assert_eq!(ts(Timestamp(-5)), "0.000000");
        assert_eq!(time_of("1503435956.000247"), Some(Timestamp(1_503_435_956_000_247)));
        for text in ["", "1.2", "x.000000", "1503435956"] {
            assert_eq!(time_of(text), None, "{text}");
        }
    }

    #[test]
    fn somebody_elses_copy_of_our_metadata_is_not_ours() {
        let delivery = DeliveryId(uuid::Uuid::from_u128(7));
        let installation = Installation {
            id: InstallationId(uuid::Uuid::from_u128(1)),
            app_id: "A1".into(),
            enterprise_id: None,
            team_id: None,
            org_wide: false,
            team_name: String::new(),
            bot_user_id: "UBOT".into(),
            bot_name: String::new(),
            scopes: Vec::new(),
            state: InstallationState::Active,
            state_reason: None,
            state_changed_at: Timestamp(0),
            installed_at: Timestamp(0),
            token_version: 1,
            installed_by: None,
            app_path: String::new(),
            token_issued_at: Timestamp(0),
            token_expires_at: None,
            refresh_error: None,
            org: None,
            migrating_since: None,
        };
        let ours = HistoryMessage {
            ts: "1.2".into(),
            thread_ts: None,
            user: Some("UBOT".into()),
            bot_id: None,
            app_id: None,
            delivery_id: Some(delivery),
        };
        assert!(is_it(&ours, delivery, &installation));
        let by_app = HistoryMessage { user: None, app_id: Some("A1".into()), ..ours.clone() };
        assert!(is_it(&by_app, delivery, &installation));
        let forged = HistoryMessage { user: Some("U1".into()), ..ours.clone() };
        assert!(!is_it(&forged, delivery, &installation));
        let other = DeliveryId(uuid::Uuid::from_u128(8));
        assert!(!is_it(&ours, other, &installation));
    }
}
