//! SimulateMapping and GetMatchCoverage: their filters, tokens and answers.

use super::call::{Inbound, Server};
use super::decode::Fields;
use super::encode::{count, found, no_match_reason, time, unmatched};
use super::page::{self, List};
use super::pb;
use crate::app::Error;
use crate::app::match_coverage::{CoverageCounts, Example, Proposal, Scan, Wanted};
use crate::domain::identity::coverage::{Coverage, Finding};
use crate::domain::ids::UserId;
use crate::domain::limits;

impl Server {
    pub(super) async fn match_coverage_page(
        &self,
        inbound: Inbound,
        message: pb::GetMatchCoverageRequest,
    ) -> Result<pb::GetMatchCoverageResponse, Error> {
        let mut fields = Fields::default();
        let finding = message.finding.to_string();
        let list = List::of(&["GetMatchCoverage", &message.tenant_id, &finding]);
        let wanted = fields.wanted(&list, message.finding, message.page_size, &message.page_token);
        let tenant = fields.tenant(message.tenant_id);
        let actor = fields.actor(message.actor);
        let (call, ()) = inbound.complete(fields, tenant, actor, Some(()))?;
        let scan = self.app.match_coverage(&call, &wanted).await?;
        Ok(pb::GetMatchCoverageResponse {
            next_page_token: token(&list, &scan),
            directory_read_at: scan.read_at.map(time),
            members_without_custom_fields: count(scan.members_without_fields),
            coverage: scan.counts.map(|counts| coverage(&counts.current)),
            examples: scan.examples.into_iter().map(example).collect(),
        })
    }

    pub(super) async fn simulate_mapping_page(
        &self,
        inbound: Inbound,
        message: pb::SimulateMappingRequest,
    ) -> Result<pb::SimulateMappingResponse, Error> {
        let mut fields = Fields::default();
        let list = List::of(&[
            "SimulateMapping",
            &message.tenant_id,
            &message.finding.to_string(),
            &message.user_attribute,
            &message.slack_attribute,
        ]);
        let wanted = fields.wanted(&list, message.finding, message.page_size, &message.page_token);
        let tenant = fields.tenant(message.tenant_id);
        let actor = fields.actor(message.actor);
        let proposal = Proposal {
            user_attribute: message.user_attribute,
            slack_attribute: message.slack_attribute,
        };
        let (call, ()) = inbound.complete(fields, tenant, actor, Some(()))?;
        let scan = self.app.simulate_mapping(&call, &proposal, &wanted).await?;
        Ok(pb::SimulateMappingResponse {
            next_page_token: token(&list, &scan),
            directory_read_at: scan.read_at.map(time),
            members_without_custom_fields: count(scan.members_without_fields),
            counts: scan.counts.map(|counts| simulated(&counts)),
            examples: scan.examples.into_iter().map(example).collect(),
        })
    }
}

impl Fields {
    fn wanted(&mut self, list: &List, finding: i32, size: i32, token: &str) -> Wanted {
        Wanted {
            finding: self.finding(finding),
            after: list.position(self, token, |text| UserId::parse(text).ok()),
            limit: page::size(self, size, limits::PEOPLE_PAGE),
        }
    }

    /// `None` means every kind.
    fn finding(&mut self, given: i32) -> Option<Finding> {
        use pb::MatchFinding as Given;
        Some(match Given::try_from(given) {
            Ok(Given::Unspecified) => return None,
            Ok(Given::NewlyMatched) => Finding::NewlyMatched,
            Ok(Given::Lost) => Finding::Lost,
            Ok(Given::ChangedMember) => Finding::ChangedMember,
            Ok(Given::Ambiguous) => Finding::Ambiguous,
            Ok(Given::Unmatched) => Finding::Unmatched,
            Err(_) => {
                self.bad("finding", "is not a known finding");
                return None;
            }
        })
    }
}

fn token(list: &List, scan: &Scan) -> String {
    scan.next.as_ref().map(|user| list.token(user.as_str())).unwrap_or_default()
}

fn coverage(coverage: &Coverage) -> pb::MatchCoverage {
    let unmatched = coverage.unmatched().map(|(reason, people)| pb::UnmatchedCount {
        reason: no_match_reason(reason).into(),
        people: count(people),
    });
    pb::MatchCoverage {
        people: count(coverage.people),
        pinned: count(coverage.pinned),
        matched: count(coverage.matched),
        unmatched: unmatched.collect(),
    }
}

fn simulated(counts: &CoverageCounts) -> pb::SimulationCounts {
    pb::SimulationCounts {
        current: Some(coverage(&counts.current)),
        proposed: Some(coverage(&counts.proposed)),
        newly_matched: count(counts.newly_matched),
        lost: count(counts.lost),
        changed_member: count(counts.changed_member),
    }
}

fn example(example: Example) -> pb::MatchExample {
    let finding = match example.finding {
        Finding::NewlyMatched => pb::MatchFinding::NewlyMatched,
        Finding::Lost => pb::MatchFinding::Lost,
        Finding::ChangedMember => pb::MatchFinding::ChangedMember,
        Finding::Ambiguous => pb::MatchFinding::Ambiguous,
        Finding::Unmatched => pb::MatchFinding::Unmatched,
    };
    pb::MatchExample {
        user_id: example.user.into(),
        finding: finding.into(),
        current: example.current.map(found),
        proposed: example.proposed.map(found),
        no_match: example.nobody.map(unmatched),
    }
}
