//! Estimates when a message should reach Slack, from the messages waiting in its workspace for the
//! same budget, the budget's pace, its pauses, and the pace of its conversation.
//!
//! Limits of the estimate: messages are sent in the order in which their lanes became due, at the
//! budget's pace; more urgent messages that arrive later, and future 429s, are unknown. The figures
//! are read at most a few times a second for each workspace; messages that this process has
//! accepted since then are added.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use moka::future::Cache;

use super::{App, Error};
use crate::domain::capacity::budget::Budget;
use crate::domain::capacity::priority::{Class, Priority};
use crate::domain::ids::{DeliveryId, InstallationId};
use crate::domain::time::Timestamp;
use crate::store::{DeliveryRecord, NewDelivery, WorkspaceBacklog};

/// How long figures are reused.
const FRESH: Duration = Duration::from_millis(250);
/// Workspaces whose figures are kept.
const WORKSPACES: u64 = 10_000;
/// The time between two messages of one conversation.
const SECOND: Duration = Duration::from_secs(1);

/// Figures of workspaces, read a moment ago.
pub(super) type RecentBacklogs = Cache<InstallationId, Arc<Recent>>;

pub(super) struct Recent {
    backlog: WorkspaceBacklog,
    /// Messages that this process accepted since, by class and budget.
    since: [[AtomicU32; Budget::ALL.len()]; Class::ALL.len()],
}

pub(super) fn recent_backlogs() -> RecentBacklogs {
    Cache::builder().max_capacity(WORKSPACES).time_to_live(FRESH).build()
}

impl App {
    /// For deliveries about to be accepted at `now`, whose requests take from `budget`: the time
    /// when each should reach Slack. Those that wait for a member or a channel have no estimate.
    pub(super) async fn send_times(
        &self,
        deliveries: &[NewDelivery],
        budget: Budget,
        now: Timestamp,
    ) -> Result<HashMap<DeliveryId, Timestamp>, Error> {
        let mut lanes: HashMap<InstallationId, Vec<(&NewDelivery, &str)>> = HashMap::new();
        for new in deliveries {
            if let Some((installation, lane)) = new.place() {
                lanes.entry(installation).or_default().push((new, lane));
            }
        }
        let mut times = HashMap::new();
        for (id, new) in lanes {
            let recent = self.recent(id).await?;
            let backlog = &recent.backlog;
            let idle = recent.is_idle();
            let priority = new.first().map_or(Priority::Normal, |(new, _)| new.priority);
            let coming = u32::try_from(new.len()).unwrap_or(0);
            let ahead = recent.join(priority.into(), budget, coming);
            let names: Vec<&str> = new.iter().map(|(_, lane)| *lane).collect();
            // If no message waits, the store need not be asked.
            let waiting =
                if idle { HashMap::new() } else { self.store.lanes().backlogs(id, &names).await? };
            for (place, (new, lane)) in (ahead..).zip(new) {
                let turn = self.turn(backlog, budget, now, place);
                let time = match waiting.get(lane) {
                    None => Some(turn),
                    // After all messages that wait in its conversation.
                    Some(lane) => lane.next_at.map(|next| {
                        turn.max(next.max(now).plus(self.spacing().saturating_mul(lane.count)))
                    }),
                };
                times.extend(time.map(|time| (new.id, time)));
            }
        }
        Ok(times)
    }

    /// For waiting deliveries: the time when each should reach Slack, if it is known.
    pub(super) async fn waiting_times(
        &self,
        records: &[DeliveryRecord],
    ) -> Result<HashMap<DeliveryId, Timestamp>, Error> {
        let mut lanes: HashMap<_, Vec<(&DeliveryRecord, &str)>> = HashMap::new();
        for record in records.iter().filter(|record| !record.state.is_terminal()) {
            if let (Some(id), Some(lane)) = (record.workspace, &record.lane) {
                lanes.entry((id, record.action.budget())).or_default().push((record, lane));
            }
        }
        let mut times = HashMap::new();
        for ((id, budget), mut records) in lanes {
            records.sort_by_key(|(record, _)| record.due_at);
            let recent = self.recent(id).await?;
            let (backlog, names) = (&recent.backlog, records.iter().map(|(_, lane)| *lane));
            let waiting = self.store.lanes().backlogs(id, &names.collect::<Vec<_>>()).await?;
            // Deliveries scheduled for later are not in a lane yet.
            let (records, later): (Vec<_>, Vec<_>) =
                records.into_iter().partition(|(_, lane)| waiting.contains_key(*lane));
            times.extend(later.into_iter().map(|(record, _)| (record.id, record.due_at)));
            let first = waiting.values().filter_map(|lane| lane.next_at).min();
            let Some(first) = first else { continue };
            let ahead = self.store.lanes().count_before(id, budget, first).await?;
            for (place, (record, lane)) in (ahead..).zip(records) {
                let Some(next) = waiting.get(lane).and_then(|lane| lane.next_at) else { continue };
                let before = waiting.get(lane).map_or(0, |lane| lane.count.saturating_sub(1));
                let alone = next.max(record.due_at).plus(self.spacing().saturating_mul(before));
                times.insert(record.id, alone.max(self.turn(backlog, budget, backlog.now, place)));
            }
        }
        Ok(times)
    }

    /// The start of a request that comes after `ahead` others of its budget.
    fn turn(
        &self,
        backlog: &WorkspaceBacklog,
        budget: Budget,
        now: Timestamp,
        ahead: u32,
    ) -> Timestamp {
        let (posting, booked) = (backlog.posting.as_ref(), backlog.booked.get(&budget).copied());
        self.workspaces.account(budget, posting, booked).start(now, ahead)
    }

    fn spacing(&self) -> Duration {
        SECOND.mul_f64(self.workspaces.time_scale())
    }

    async fn recent(&self, id: InstallationId) -> Result<Arc<Recent>, Error> {
        if let Some(recent) = self.recent_backlogs.get(&id).await {
            return Ok(recent);
        }
        let backlog = self.store.lanes().workspace_backlog(id).await?;
        let recent = Arc::new(Recent { backlog, since: Default::default() });
        self.recent_backlogs.insert(id, Arc::clone(&recent)).await;
        Ok(recent)
    }
}

impl Recent {
    /// Whether no message waited, and this process accepted none since.
    fn is_idle(&self) -> bool {
        let since = self.since.iter().flatten().map(|since| since.load(Ordering::Relaxed));
        self.backlog.lanes == 0 && since.sum::<u32>() == 0
    }

    /// The number of lanes that take from `budget` before the coming ones of this class; adds the
    /// coming ones to the count.
    fn join(&self, class: Class, budget: Budget, coming: u32) -> u32 {
        let mut ahead = 0;
        for (one, since) in Class::ALL.into_iter().zip(&self.since) {
            let since = Budget::ALL.into_iter().zip(since).find(|(other, _)| *other == budget);
            if let Some((_, since)) = since
                && one.posts()
                && one <= class
            {
                let coming = if one == class { coming } else { 0 };
                ahead += self.backlog.due.get(&(one, budget)).copied().unwrap_or(0);
                ahead += since.fetch_add(coming, Ordering::Relaxed);
            }
        }
        ahead
    }
}
