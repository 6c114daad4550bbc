//! Chooses whose fields to fetch next: compares the member list in the store with the fetched
//! fields.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use crate::directory::load::PAGE_SEPARATOR;
use crate::directory::{Directory, Error};
use crate::domain::directory::member::{Member, MemberKind};
use crate::domain::ids::{InstallationId, SlackUserId, TenantId};
use crate::domain::mapping::key::MatchKey;
use crate::domain::time::Timestamp;
use crate::store::{self, SeenList};

/// Members that one plan names at most, or a tenth of the list if that is more; after these, new
/// members are looked for again.
const ROUND: usize = 200;
/// People read at once.
const PEOPLE: u32 = 500;
/// How often to start again because the generation changed.
const ATTEMPTS: usize = 5;

/// One member whose fields are to be fetched.
pub(super) struct Job {
    pub(super) member: SlackUserId,
    /// The member's `updated`.
    pub(super) member_updated: i64,
    /// When the fields were last fetched.
    pub(super) seen: Option<Timestamp>,
}

/// The work to do.
pub(super) struct FieldsPlan {
    /// The most urgent first; not all of them.
    pub(super) jobs: Vec<Job>,
    /// Members who may match.
    pub(super) wanted: i64,
    /// Of these, those whose fields are there.
    pub(super) fetched: i64,
    /// Members of all kinds.
    pub(super) members: usize,
    /// Members that are no longer in the list.
    pub(super) gone: Vec<String>,
    /// The member list that the plan is based on.
    pub(super) looked_at: SeenList,
    /// The time until the oldest row must be fetched again.
    pub(super) next_due: Duration,
}

/// The facts about a member that the plan needs.
struct Candidate {
    updated: i64,
    matchable: bool,
    /// The platform knows a person by this address.
    hinted: bool,
}

/// Hashes of the addresses by which the platform knows its people. A collision only affects the
/// order.
struct Hints {
    hasher: RandomState,
    hashes: HashSet<u64>,
}

impl Hints {
    fn add(&mut self, email: &str) {
        self.hashes.extend(MatchKey::of_text(email).map(|key| self.hasher.hash_one(key)));
    }

    fn has(&self, email: &str) -> bool {
        MatchKey::of_text(email).is_some_and(|key| self.hashes.contains(&self.hasher.hash_one(key)))
    }
}

impl Directory {
    /// The linked tenants whose mapping reads custom fields.
    pub(super) async fn readers_of_fields(
        &self,
        id: InstallationId,
    ) -> Result<Vec<TenantId>, Error> {
        let mut readers = Vec::new();
        for tenant in self.inner.store.tenancy().tenants_of(id).await? {
            let Some(settings) = self.inner.store.tenancy().settings(&tenant).await? else {
                continue;
            };
            // A mapping that no longer compiles is reported where it is used.
            if let Ok(mapping) = self.mapping(&settings).await
                && mapping.slack.reads_profile_fields()
            {
                readers.push(tenant);
            }
        }
        Ok(readers)
    }

    /// Compares the member list with the fetched fields; `skip` are members not to ask for now.
    pub(super) async fn plan_fields(
        &self,
        id: InstallationId,
        readers: &[TenantId],
        skip: &HashSet<SlackUserId>,
    ) -> Result<FieldsPlan, Error> {
        let hints = self.hints(readers).await?;
        let (candidates, looked_at) = self.candidates(id, hints).await?;
        let mut rows = HashMap::new();
        let mut after = String::new();
        loop {
            let chunk = self.inner.store.custom_fields().index(id, &after).await?;
            let Some(last) = chunk.last() else { break };
            after.clone_from(&last.member);
            rows.extend(
                chunk.into_iter().map(|row| (row.member, (row.member_updated, row.fetched_at))),
            );
        }
        let now = self.inner.store.now().await?;
        let again = self.scaled(Duration::from_secs(self.inner.config.fields_refresh_seconds));
        let work = move |skip: &HashSet<SlackUserId>| {
            weigh(&candidates, rows, skip, now, again, looked_at)
        };
        let skip = skip.clone();
        tokio::task::spawn_blocking(move || work(&skip)).await.map_err(|_| Error::Stopped)
    }

    async fn hints(&self, tenants: &[TenantId]) -> Result<Hints, Error> {
        let mut hints = Hints { hasher: RandomState::new(), hashes: HashSet::new() };
        for tenant in tenants {
            let mut after = None;
            loop {
                let people = self.inner.store.people().list(tenant, after.as_ref(), PEOPLE).await?;
                for email in people.iter().filter_map(|stored| stored.person.email.as_deref()) {
                    hints.add(email);
                }
                let Some(last) = people.last() else { break };
                after = Some(last.person.user_id.clone());
            }
        }
        Ok(hints)
    }

    /// Every member, page by page, then the changes; with the list as it was read.
    async fn candidates(
        &self,
        id: InstallationId,
        hints: Hints,
    ) -> Result<(HashMap<String, Candidate>, SeenList), Error> {
        let hints = std::sync::Arc::new(hints);
        for _ in 0..ATTEMPTS {
            let Some(state) = self.inner.store.member_lists().state(id).await? else { break };
            let mut all = HashMap::new();
            let mut whole = true;
            for page in 0..state.pages {
                let bytes =
                    match self.inner.store.member_lists().page(id, state.generation, page).await {
                        Err(store::Error::NotFound(_)) => {
                            whole = false;
                            break;
                        }
                        bytes => bytes?,
                    };
                let hints = hints.clone();
                let read = move || {
                    read_into(&mut all, &bytes, &hints);
                    all
                };
                all = tokio::task::spawn_blocking(read).await.map_err(|_| Error::Stopped)?;
            }
            if !whole {
                continue;
            }
            for change in self.inner.store.member_lists().changes(id, state.changes_base).await? {
                read_into(&mut all, &change.body, &hints);
            }
            let after = self.inner.store.member_lists().state(id).await?;
            if after.is_none_or(|after| after.changes_gone > state.changes_base) {
                continue;
            }
            let (generation, change_sequence) = (state.generation, state.change_sequence);
            return Ok((all, SeenList { generation, change_sequence }));
        }
        Err(Error::Moving)
    }
}

fn read_into(all: &mut HashMap<String, Candidate>, bytes: &[u8], hints: &Hints) {
    let members = bytes.split(|byte| *byte == PAGE_SEPARATOR).filter(|member| !member.is_empty());
    for json in members {
        // A member that cannot be read is missing from snapshots as well, which report it.
        let Ok(member) = Member::from_slice(json) else { continue };
        let candidate = Candidate {
            updated: member.updated,
            matchable: member.kind == MemberKind::Matchable,
            hinted: member.email.as_deref().is_some_and(|email| hints.has(email)),
        };
        // As in snapshots, the newest object of a member counts.
        let older = |known: &Candidate| candidate.updated > 0 && candidate.updated < known.updated;
        if !all.get(member.id()).is_some_and(older) {
            all.insert(member.id().to_owned(), candidate);
        }
    }
}

/// Why a member's fields are fetched; earlier variants are more urgent.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    New,
    Moved,
    Rolling,
}

fn weigh(
    candidates: &HashMap<String, Candidate>,
    mut rows: HashMap<String, (i64, Timestamp)>,
    skip: &HashSet<SlackUserId>,
    now: Timestamp,
    again: Duration,
    looked_at: SeenList,
) -> FieldsPlan {
    let mut plan = FieldsPlan {
        jobs: Vec::new(),
        wanted: 0,
        fetched: 0,
        members: candidates.len(),
        gone: Vec::new(),
        looked_at,
        next_due: again,
    };
    let mut jobs = Vec::new();
    for (id, candidate) in candidates {
        let row = rows.remove(id);
        if !candidate.matchable {
            continue;
        }
        plan.wanted += 1;
        plan.fetched += i64::from(row.is_some());
        let seen = row.map(|(_, fetched_at)| fetched_at);
        let cause = match row {
            None => Cause::New,
            Some((updated, _)) if updated != candidate.updated => Cause::Moved,
            Some((_, fetched_at)) if fetched_at.plus(again) <= now => Cause::Rolling,
            Some((_, fetched_at)) => {
                plan.next_due = plan.next_due.min(fetched_at.plus(again).since(now));
                continue;
            }
        };
        let Ok(member) = SlackUserId::parse(id.as_str()) else { continue };
        if skip.contains(&member) {
            continue;
        }
        let job = Job { member, member_updated: candidate.updated, seen };
        jobs.push((cause, !candidate.hinted, seen, job));
    }
    jobs.sort_unstable_by(|a, b| (&a.0, a.1, a.2).cmp(&(&b.0, b.1, b.2)));
    jobs.truncate(ROUND.max(candidates.len() / 10));
    plan.jobs = jobs.into_iter().map(|(.., job)| job).collect();
    plan.gone = rows.into_keys().collect();
    plan
}
