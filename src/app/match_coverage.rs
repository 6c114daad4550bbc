//! GetMatchCoverage and SimulateMapping: how many people a mapping finds, and the changes that
//! another one would make. Reads people and the member list from the store; asks Slack nothing and
//! stores nothing.
//!
//! People are read page by page and evaluated outside the async workers, so that their number
//! affects neither memory nor other callers.

use std::sync::Arc;

use super::tenant::Tenant;
use super::{App, Call, Error, Violation};
use crate::directory::View;
use crate::domain::access;
use crate::domain::delivery::verdict::FoundMember;
use crate::domain::identity::coverage::{Coverage, Finding, Standing};
use crate::domain::identity::person::Person;
use crate::domain::ids::UserId;
use crate::domain::mapping::{Expression, Mapping, Pass, Values};
use crate::domain::settings::Rule;
use crate::domain::time::Timestamp;
use crate::store::StoredPerson;

/// People read and judged at once.
const PEOPLE: u32 = 500;
/// Scans that one replica runs at the same time; others wait for their turn.
pub(super) const SCANS: usize = 2;

/// The expressions to try; an empty one stands for the one in force.
#[derive(Debug, Clone)]
pub struct Proposal {
    pub user_attribute: String,
    pub slack_attribute: String,
}

/// Which people to show.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Only people with this finding.
    pub finding: Option<Finding>,
    /// Only people after this one. The counts are returned only with the first page.
    pub after: Option<UserId>,
    /// The most people to show.
    pub limit: u32,
}

/// One person.
#[derive(Debug)]
pub struct Example {
    pub user: UserId,
    pub finding: Finding,
    /// The member by the mapping in force.
    pub current: Option<FoundMember>,
    /// The member by the proposed mapping; `None` also if the reason follows.
    pub proposed: Option<FoundMember>,
    /// Why no member is found under the proposed mapping.
    pub nobody: Option<crate::domain::identity::matching::Unmatched>,
}

/// The result of a scan.
#[derive(Debug)]
pub struct Scan {
    /// Over all people; `None` on later pages.
    pub counts: Option<CoverageCounts>,
    pub examples: Vec<Example>,
    /// The position to resume after, if there may be more.
    pub next: Option<UserId>,
    /// When the member list was read.
    pub read_at: Option<Timestamp>,
    /// Members whose custom fields, which the mapping reads, have not been fetched.
    pub members_without_fields: u64,
}

/// Counts over all people.
#[derive(Debug, Default)]
pub struct CoverageCounts {
    /// By the mapping in force.
    pub current: Coverage,
    /// By the proposed mapping; without a proposal, the same.
    pub proposed: Coverage,
    pub newly_matched: u64,
    pub lost: u64,
    pub changed_member: u64,
}

/// The mapping in force, the proposed one, and their member lists.
#[derive(Clone)]
struct Pair {
    current: Side,
    proposed: Side,
    workspace: Option<crate::domain::ids::InstallationId>,
}

/// A mapping and its member list.
#[derive(Clone)]
struct Side {
    mapping: Arc<Mapping>,
    view: View,
}

/// The passes of both mappings over the people.
#[derive(Default)]
struct Passes {
    current: Pass,
    proposed: Pass,
}

/// One page of people, judged.
struct Judged {
    counts: CoverageCounts,
    examples: Vec<Example>,
    last: Option<UserId>,
    /// It ended early, because there are enough examples.
    full: bool,
}

impl App {
    /// Evaluates the mapping in force over all known people.
    pub async fn match_coverage(&self, call: &Call, wanted: &Wanted) -> Result<Scan, Error> {
        call.may(&access::GET_MATCH_COVERAGE)?;
        let tenant = self.tenant(&call.tenant).await?;
        let view = self.view(&tenant).await?;
        let current = Side { mapping: tenant.mapping.clone(), view };
        let proposed = current.clone();
        let workspace = tenant.installation.as_ref().map(|installation| installation.id);
        self.scan(&tenant, Pair { current, proposed, workspace }, wanted).await
    }

    /// Computes what another mapping would change. Bad expressions are refused as they are by
    /// UpdateSettings.
    pub async fn simulate_mapping(
        &self,
        call: &Call,
        proposal: &Proposal,
        wanted: &Wanted,
    ) -> Result<Scan, Error> {
        call.may(&access::SIMULATE_MAPPING)?;
        let tenant = self.tenant(&call.tenant).await?;
        let mapping = Arc::new(proposal.mapping(&tenant.mapping)?);
        let workspace = tenant.installation.as_ref().map(|installation| installation.id);
        let view = match workspace {
            Some(id) => self.directory.view(id, &mapping).await?,
            None => View::default(),
        };
        let proposed = Side { mapping, view };
        let view = self.view(&tenant).await?;
        let current = Side { mapping: tenant.mapping.clone(), view };
        let pair = Pair { current, proposed, workspace };
        self.scan(&tenant, pair, wanted).await
    }

    async fn scan(&self, tenant: &Tenant, pair: Pair, wanted: &Wanted) -> Result<Scan, Error> {
        let stopped = |error: tokio::sync::AcquireError| Error::Internal(error.into());
        let _turn = self.scans.acquire().await.map_err(stopped)?;
        let first = wanted.after.is_none();
        let mut scan = Scan {
            counts: first.then(CoverageCounts::default),
            examples: Vec::new(),
            next: None,
            read_at: pair.proposed.view.read_at,
            members_without_fields: pair
                .proposed
                .view
                .snapshot
                .as_ref()
                .map_or(0, |snapshot| snapshot.counts().without_fields as u64),
        };
        let limit = usize::try_from(wanted.limit).unwrap_or(usize::MAX);
        let mut after = wanted.after.clone();
        let mut passes = Passes::default();
        loop {
            let people = self.store.people().list(&tenant.id, after.as_ref(), PEOPLE).await?;
            if people.is_empty() {
                return Ok(scan);
            }
            let values;
            (values, passes) = self.both(tenant, &pair, &people, passes).await?;
            let (pair, finding) = (pair.clone(), wanted.finding);
            // Once there are enough examples, only the counting continues.
            let room = if scan.next.is_some() { 0 } else { limit - scan.examples.len() };
            let judge = move || pair.judge(&people, &values, finding, room, !first);
            let judged = tokio::task::spawn_blocking(judge)
                .await
                .map_err(|error| Error::Internal(error.into()))?;
            scan.examples.extend(judged.examples);
            if judged.full && scan.next.is_none() {
                scan.next = scan.examples.last().map(|example| example.user.clone());
            }
            match &mut scan.counts {
                Some(counts) => counts.add(judged.counts),
                None if scan.next.is_some() => return Ok(scan),
                None => {}
            }
            after = judged.last;
        }
    }
}

impl App {
    /// Evaluates the user attributes of both mappings for people; the values are in the same order.
    /// All pages of a scan share one pass per mapping.
    async fn both(
        &self,
        tenant: &Tenant,
        pair: &Pair,
        people: &[StoredPerson],
        passes: Passes,
    ) -> Result<(Both, Passes), Error> {
        let people: Vec<&Person> = people.iter().map(|stored| &stored.person).collect();
        let Passes { current, proposed } = passes;
        let (one, other) = (&pair.current.mapping, &pair.proposed.mapping);
        let (before, current) = self.directory.values_of(&tenant.id, one, &people, current).await?;
        if one.user == other.user {
            let after = before.clone();
            return Ok(((before, after), Passes { current, proposed }));
        }
        let (after, proposed) =
            self.directory.values_of(&tenant.id, other, &people, proposed).await?;
        Ok(((before, after), Passes { current, proposed }))
    }
}

/// The values of people by the mapping in force and by the proposed one.
type Both = (Vec<Values>, Vec<Values>);

impl Proposal {
    fn mapping(&self, current: &Mapping) -> Result<Mapping, Error> {
        let mut violations = Vec::new();
        let mut compile = |field: &str, source: &str, current: &Expression| {
            if source.trim().is_empty() {
                return current.clone();
            }
            Expression::compile(source).unwrap_or_else(|error| {
                violations.push(Violation::new(field, error));
                current.clone()
            })
        };
        let user = compile("user_attribute", &self.user_attribute, &current.user);
        let slack = compile("slack_attribute", &self.slack_attribute, &current.slack);
        if violations.is_empty() {
            Ok(Mapping { user, slack })
        } else {
            Err(Error::Invalid(violations))
        }
    }
}

impl Pair {
    /// Judges people in their order. Takes at most `room` examples; `brief`: stops when one more is
    /// found.
    fn judge(
        &self,
        people: &[StoredPerson],
        values: &Both,
        wanted: Option<Finding>,
        room: usize,
        brief: bool,
    ) -> Judged {
        let mut judged = Judged {
            counts: CoverageCounts::default(),
            examples: Vec::new(),
            last: people.last().map(|stored| stored.person.user_id.clone()),
            full: false,
        };
        let values = values.0.iter().zip(&values.1);
        for (stored, (before, after)) in people.iter().zip(values) {
            let before = self.standing(&self.current, stored, before);
            let after = self.standing(&self.proposed, stored, after);
            judged.counts.count(&before, &after);
            let finding = Finding::between(&before, &after);
            let Some(finding) = finding.filter(|found| wanted.is_none_or(|one| one == *found))
            else {
                continue;
            };
            if judged.examples.len() < room {
                let user = stored.person.user_id.clone();
                judged.examples.push(Example {
                    user,
                    finding,
                    current: self.found(&before),
                    proposed: self.found(&after),
                    nobody: match after {
                        Standing::Unmatched(nobody) => Some(nobody),
                        Standing::Pinned | Standing::Matched(_) => None,
                    },
                });
                continue;
            }
            // One more example matches than there is room for.
            judged.full = true;
            if brief {
                break;
            }
        }
        judged
    }

    fn standing(&self, side: &Side, stored: &StoredPerson, values: &Values) -> Standing {
        let pin = stored.identity.as_ref().filter(|identity| identity.rule == Rule::Pinned);
        let pinned = pin.is_some_and(|pin| Some(pin.installation) == self.workspace);
        let snapshot = side.view.snapshot.as_deref();
        Standing::of(values, pinned, &side.mapping, snapshot, self.workspace.is_some())
    }

    fn found(&self, standing: &Standing) -> Option<FoundMember> {
        let member = standing.member()?;
        Some(FoundMember {
            installation: self.workspace?,
            slack_user_id: member.slack_user_id.clone(),
            display_name: member.display_name.clone(),
        })
    }
}

impl CoverageCounts {
    fn count(&mut self, before: &Standing, after: &Standing) {
        self.current.add(before);
        self.proposed.add(after);
        match Finding::between(before, after) {
            Some(Finding::NewlyMatched) => self.newly_matched += 1,
            Some(Finding::Lost) => self.lost += 1,
            Some(Finding::ChangedMember) => self.changed_member += 1,
            Some(Finding::Ambiguous | Finding::Unmatched) | None => {}
        }
    }

    fn add(&mut self, more: Self) {
        self.current.merge(&more.current);
        self.proposed.merge(&more.proposed);
        self.newly_matched += more.newly_matched;
        self.lost += more.lost;
        self.changed_member += more.changed_member;
    }
}
