//! Custom profile fields, which `users.list` does not carry: one question to Slack for each member.
//! One replica at a time asks them in the background, if a linked tenant's mapping reads the
//! fields.
//!
//! The questions are about members who can match: new ones first (among these, people whose e-mail
//! address the platform knows), then those whose `updated` changed, then, slowly, all members
//! again, since an edit of a custom field sends no event and does not change `updated`. Fetched
//! fields are kept per member, so another field of the same profiles costs no question. Fetched
//! fields reach the snapshots in batches.

mod plan;

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Directory, Error};
use crate::domain::directory::member::{Member, MemberKind};
use crate::domain::ids::{InstallationId, SlackUserId};
use crate::slack::{self, MemberJson};
use crate::store::{FieldsEnd, FieldsLease, FieldsProgress, MemberFields};
use crate::workspace::{self, INTERACTIVE};
use plan::{FieldsPlan, Job};

/// Workspaces whose fields one replica fetches at the same time.
const AT_ONCE: usize = 4;
/// Due workspaces looked at to find one without a holder.
const LOOK_AT: u32 = 16;
/// How often to look for workspaces that are due.
const LOOK: Duration = Duration::from_secs(5);
/// Questions under way: enough to use the whole rate while an answer takes a second or two.
const IN_FLIGHT: usize = 3;
/// How long a question may wait for its budget: less than the lease.
const PATIENCE: Duration = Duration::from_secs(30);
/// The least time between two batches that make replicas rebuild; it grows with the workspace. The
/// first batches of a pass come sooner: their interval doubles from the first time to the second.
const PUBLISH_FIRST: Duration = Duration::from_secs(4);
const PUBLISH: Duration = Duration::from_secs(30);
/// The least time between two looks at a member list that changes; it grows likewise.
const SOON: Duration = Duration::from_secs(10);
/// The wait before a workspace that cannot be asked is tried again.
pub(super) const LATE: Duration = Duration::from_secs(300);
/// The wait before the next check whether a mapping reads custom fields. A changed mapping triggers
/// the check itself.
pub(super) const UNNEEDED: Duration = Duration::from_secs(3600);
/// The times above hold up to this number of members; a rebuild's cost grows with the members.
const SMALL: usize = 10_000;
/// Questions in a row without an answer after which the pass stops.
const FAILURES: usize = 5;

/// Why a pass stops before its end.
enum Stop {
    /// Another replica holds the lease now.
    Lost,
    /// It cannot continue now: the next pass continues after the given time.
    Later {
        error: String,
        after: Duration,
    },
    Failed(Error),
}

impl<E: Into<Error>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// The state of one pass.
struct Pass {
    lease: FieldsLease,
    /// The remaining time of the lease after each write.
    hold: Duration,
    /// Members whose question failed, which this pass does not ask about again.
    failed: HashSet<SlackUserId>,
    last_failure: String,
    in_a_row: usize,
    /// Whether fields were saved that snapshots have not yet taken up.
    unpublished: bool,
    published_at: Instant,
    /// Batches that this pass published.
    batches: u32,
}

impl Directory {
    /// Runs until stopped. Each due workspace is served by the replica that gets its lease.
    pub async fn run_fields(self, stop: CancellationToken) {
        let mut passes = tokio::task::JoinSet::new();
        let rounds = self.watch("custom fields", self.scaled(LOOK));
        let mut looked = None;
        while !stop.is_cancelled() {
            rounds.next();
            while passes.len() < AT_ONCE {
                match self.next_fields(&mut looked).await {
                    Ok(Some(lease)) => {
                        let (directory, stop) = (self.clone(), stop.clone());
                        passes.spawn(async move { directory.run_pass(lease, &stop).await });
                    }
                    Ok(None) => break,
                    Err(error) => {
                        tracing::warn!(%error, "could not look for custom fields that are due");
                        break;
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => break,
                Some(_) = passes.join_next() => {}
                () = self.inner.fields_due.notified() => {}
                () = tokio::time::sleep(self.scaled(LOOK)) => {}
            }
        }
        // Each pass gives its lease back.
        while passes.join_next().await.is_some() {}
    }

    /// Requests a check, soon, whether a mapping reads custom fields that are not there.
    pub async fn fields_soon(&self, id: InstallationId) -> Result<(), Error> {
        self.inner.store.custom_fields().request(id).await?;
        self.inner.fields_due.notify_one();
        Ok(())
    }

    /// The progress of the fetching; `None` if no mapping reads custom fields.
    pub async fn fields_progress(
        &self,
        id: InstallationId,
    ) -> Result<Option<FieldsProgress>, Error> {
        Ok(self.inner.store.custom_fields().progress(id).await?.filter(|progress| progress.needed))
    }

    /// Asks for one member's fields at once, for a caller that waits. If Slack cannot be asked now,
    /// the known fields are used. Returns whether the stored fields changed: a change to the member
    /// must then follow, so that snapshots take them up.
    pub(super) async fn fetch_fields_now(
        &self,
        id: InstallationId,
        member: &MemberJson,
    ) -> Result<bool, Error> {
        let Some((member, member_updated)) = matchable(member) else { return Ok(false) };
        let asked = self.inner.workspaces.profile_fields(id, &member, INTERACTIVE).await;
        let body = match asked {
            Ok(fields) => fields.map_or_else(empty, |fields| fields.get().as_bytes().to_vec()),
            Err(workspace::Error::Store(error)) => return Err(error.into()),
            Err(error) => {
                self.inner.metrics.custom_fields("failed");
                tracing::info!(%error, "custom fields were not fetched; the stored ones are used");
                return Ok(false);
            }
        };
        self.inner.metrics.custom_fields("fetched");
        let known = self.inner.store.custom_fields().of(id, &[member.as_str().to_owned()]).await?;
        let moved = known.first().is_none_or(|(_, known)| *known != body);
        let fields = MemberFields { member, member_updated, body };
        self.inner.store.custom_fields().put(id, &fields).await?;
        Ok(moved)
    }

    /// `looked`: when all workspaces were last looked at, which costs more the more there are.
    async fn next_fields(
        &self,
        looked: &mut Option<Instant>,
    ) -> Result<Option<FieldsLease>, Error> {
        let store = &self.inner.store;
        let hold = self.scaled(Duration::from_secs(self.inner.config.lease_seconds));
        let mut due = store.custom_fields().booked(LOOK_AT).await?;
        if due.is_empty() && looked.is_none_or(|at| at.elapsed() >= self.scaled(LOOK)) {
            *looked = Some(Instant::now());
            due = store.custom_fields().due(LOOK_AT).await?;
        }
        for id in due {
            if let Some(lease) = store.custom_fields().acquire(id, hold).await? {
                return Ok(Some(lease));
            }
        }
        Ok(None)
    }

    async fn run_pass(&self, lease: FieldsLease, stop: &CancellationToken) {
        let id = lease.installation;
        let fence = lease.clone();
        let ended = match stop.run_until_cancelled(self.pass(lease)).await {
            Some(Ok(end)) => Ok(Some(end)),
            Some(Err(Stop::Lost)) => {
                tracing::info!(workspace = %id, "another replica fetches the custom fields now");
                Ok(None)
            }
            Some(Err(Stop::Later { error, after })) => {
                tracing::warn!(workspace = %id, %error, ?after, "fetching custom fields stopped");
                Ok(Some(stopped(Some(error), after)))
            }
            Some(Err(Stop::Failed(error))) => Err(error),
            // The next pass continues at once.
            None => Ok(Some(stopped(None, Duration::ZERO))),
        };
        self.count_missing(id, None);
        let recorded = match ended {
            Ok(Some(end)) => self.inner.store.custom_fields().end(&fence, &end).await.map(|_| ()),
            Ok(None) => Ok(()),
            Err(error) => {
                tracing::warn!(workspace = %id, %error, "fetching custom fields stopped");
                let end = stopped(Some(error.to_string()), self.scaled(SOON));
                self.inner.store.custom_fields().end(&fence, &end).await.map(|_| ())
            }
        };
        if let Err(error) = recorded {
            tracing::warn!(workspace = %id, %error, "the end of a pass was not recorded");
        }
    }

    /// Fetches the missing fields, round after round, until none is missing.
    async fn pass(&self, lease: FieldsLease) -> Result<FieldsEnd, Stop> {
        let mut pass = Pass {
            unpublished: lease.unpublished,
            lease,
            hold: self.scaled(Duration::from_secs(self.inner.config.lease_seconds)),
            failed: HashSet::new(),
            last_failure: String::new(),
            in_a_row: 0,
            published_at: Instant::now(),
            batches: 0,
        };
        let (id, store) = (pass.lease.installation, &self.inner.store);
        loop {
            let readers = self.readers_of_fields(id).await?;
            if readers.is_empty() {
                let idle = self.scaled(UNNEEDED);
                return Ok(FieldsEnd {
                    due_after: idle,
                    soon_after: idle,
                    seen: None,
                    needed: false,
                    error: None,
                });
            }
            let plan = self.plan_fields(id, &readers, &pass.failed).await?;
            let (wanted, fetched) = (plan.wanted, plan.fetched);
            self.count_missing(id, Some(wanted - fetched));
            if !store.custom_fields().plan(&pass.lease, wanted, fetched, pass.hold).await?
                || !store.custom_fields().forget(&pass.lease, &plan.gone).await?
            {
                return Err(Stop::Lost);
            }
            if plan.jobs.is_empty() {
                self.publish_batch(&mut pass).await?;
                return Ok(self.finished(&pass, &plan));
            }
            tracing::debug!(workspace = %id, wanted, fetched, "custom fields are being fetched");
            self.round(&mut pass, plan).await?;
        }
    }

    /// Fetches for the members of one plan.
    async fn round(&self, pass: &mut Pass, plan: FieldsPlan) -> Result<(), Stop> {
        let id = pass.lease.installation;
        let patience = self.scaled(PATIENCE);
        let mut missing = plan.wanted - plan.fetched;
        // Tasks, not a stream of futures: a future that is not polled while another's answer is
        // saved could hold the connection that saving waits for.
        let mut jobs = plan.jobs.into_iter();
        let mut asking = tokio::task::JoinSet::new();
        loop {
            while asking.len() < IN_FLIGHT
                && let Some(job) = jobs.next()
            {
                let workspaces = self.inner.workspaces.clone();
                asking.spawn(async move {
                    let asked = workspaces.profile_fields(id, &job.member, patience).await;
                    (job, asked)
                });
            }
            let Some(answered) = asking.join_next().await else { return Ok(()) };
            let (job, asked) = answered.map_err(|_| Error::Stopped)?;
            let body = match asked {
                Ok(fields) => {
                    self.inner.metrics.custom_fields("fetched");
                    fields.map_or_else(empty, |fields| fields.get().as_bytes().to_vec())
                }
                Err(error) => {
                    self.inner.metrics.custom_fields("failed");
                    self.note_failure(pass, job.member, error)?;
                    continue;
                }
            };
            pass.in_a_row = 0;
            let Job { member, member_updated, seen } = job;
            let fields = MemberFields { member, member_updated, body };
            if !self.inner.store.custom_fields().save(&pass.lease, &fields, seen, pass.hold).await?
            {
                return Err(Stop::Lost);
            }
            missing -= i64::from(seen.is_none());
            self.count_missing(id, Some(missing));
            pass.unpublished = true;
            let wait = PUBLISH_FIRST.saturating_mul(1 << pass.batches.min(8)).min(PUBLISH);
            if pass.published_at.elapsed() >= self.grown(wait, plan.members) {
                self.publish_batch(pass).await?;
            }
        }
    }

    async fn publish_batch(&self, pass: &mut Pass) -> Result<(), Stop> {
        if !pass.unpublished {
            return Ok(());
        }
        if !self.inner.store.custom_fields().publish(&pass.lease).await? {
            return Err(Stop::Lost);
        }
        pass.unpublished = false;
        pass.published_at = Instant::now();
        pass.batches += 1;
        self.announce(pass.lease.installation).await;
        Ok(())
    }

    /// One member's question failed; others may succeed. After several failures in a row the pass
    /// stops.
    fn note_failure(
        &self,
        pass: &mut Pass,
        member: SlackUserId,
        error: workspace::Error,
    ) -> Result<(), Stop> {
        let text = error.to_string();
        let after = match error {
            workspace::Error::Slack(slack::Error::Throttled { after })
            | workspace::Error::Busy { after }
            | workspace::Error::Renewing { after }
            | workspace::Error::Migrating { after } => after,
            workspace::Error::Store(error) => return Err(error.into()),
            workspace::Error::Slack(
                slack::Error::Transient { .. }
                | slack::Error::Unknown { .. }
                | slack::Error::Rejected { .. },
            ) => {
                pass.failed.insert(member);
                pass.in_a_row += 1;
                pass.last_failure = text;
                if pass.in_a_row < FAILURES {
                    return Ok(());
                }
                let error = pass.last_failure.clone();
                return Err(Stop::Later { error, after: self.scaled(LATE) });
            }
            workspace::Error::Slack(
                slack::Error::Unauthorized { .. } | slack::Error::MissingScope { .. },
            )
            | workspace::Error::Reconnect { .. }
            | workspace::Error::Unknown
            | workspace::Error::Late => self.scaled(LATE),
        };
        Err(Stop::Later { error: text, after })
    }

    fn finished(&self, pass: &Pass, plan: &FieldsPlan) -> FieldsEnd {
        let error = match pass.failed.len() {
            0 => None,
            some => Some(format!(
                "Slack did not return the fields of {some} members: {}",
                pass.last_failure
            )),
        };
        let late = error.is_some().then(|| self.scaled(LATE));
        FieldsEnd {
            due_after: plan.next_due.min(late.unwrap_or(plan.next_due)),
            soon_after: self.grown(SOON, plan.members),
            seen: Some(plan.looked_at),
            needed: true,
            error,
        }
    }

    /// A time meant for small workspaces, scaled to the size of this one.
    fn grown(&self, base: Duration, members: usize) -> Duration {
        self.scaled(base) * u32::try_from(members / SMALL).unwrap_or(u32::MAX).max(1)
    }

    /// Reports the number of members whose fields this replica's passes still have to fetch, as a
    /// metric. `None`: this workspace's pass ended here.
    fn count_missing(&self, id: InstallationId, missing: Option<i64>) {
        let mut counts = super::load::lock(&self.inner.fields_missing);
        match missing {
            Some(missing) => counts.insert(id, u64::try_from(missing).unwrap_or(0)),
            None => counts.remove(&id),
        };
        self.inner.metrics.custom_fields_missing(counts.values().sum());
    }
}

fn stopped(error: Option<String>, after: Duration) -> FieldsEnd {
    FieldsEnd { due_after: after, soon_after: after, seen: None, needed: true, error }
}

/// The stored fields of a member that Slack does not answer about.
fn empty() -> Vec<u8> {
    b"{}".to_vec()
}

/// The member's id and `updated`, if it can match at all.
fn matchable(member: &MemberJson) -> Option<(SlackUserId, i64)> {
    let member = Member::from_slice(member.get().as_bytes()).ok()?;
    let id = SlackUserId::try_from(&member).ok()?;
    (member.kind == MemberKind::Matchable).then_some((id, member.updated))
}
