//! Requests about channels stay within the budget of their method (I5).

use std::collections::BTreeMap;

use super::super::limits::{forgotten, scaled};
use super::{Case, Judgement, Kind};
use crate::evidence::Request;
use crate::tenant::Tenant;

/// Calls a minute that Slack allows each method.
const BUDGETS: [(&str, i64); 12] = [
    ("conversations.archive", 20),
    ("conversations.create", 20),
    ("conversations.list", 20),
    ("conversations.rename", 20),
    ("conversations.setPurpose", 20),
    ("conversations.setTopic", 20),
    ("conversations.unarchive", 20),
    ("conversations.info", 50),
    ("conversations.invite", 50),
    ("conversations.join", 50),
    ("conversations.kick", 50),
    ("conversations.members", 100),
];
/// The window of a budget, in seconds.
const WINDOW: i64 = 60;
/// How late a start may still be used. It is not scaled.
const LATE: i64 = 1_000_000;

pub(super) fn judge(case: &Case<'_>, judgement: &mut Judgement) {
    let main = Tenant::MAIN.name();
    let mut starts: BTreeMap<&str, Vec<&Request>> = BTreeMap::new();
    for request in case.evidence.requests.iter().filter(|request| request.tenant == main) {
        starts.entry(&request.method).or_default().push(request);
    }
    for (method, budget) in BUDGETS {
        let Some(requests) = starts.get_mut(method) else { continue };
        requests.sort_by_key(|request| request.began);
        within(case, method, budget, requests, judgement);
    }
}

/// At most `1 + t / interval` starts in any window of length `t`.
fn within(
    case: &Case<'_>,
    method: &str,
    budget: i64,
    requests: &[&Request],
    judgement: &mut Judgement,
) {
    let window = scaled(WINDOW, case.evidence.rules.scale);
    let most = 1 + budget * (window + LATE) / window;
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    for (first, last) in requests.iter().zip(requests.iter().skip(most)) {
        let took = last.began - first.began;
        if took < window && !forgotten(&case.evidence.blows, first.began, last.began) {
            let sentence =
                format!("{method}: {} requests in {took} us at {}", most + 1, first.began);
            judgement.found(Kind::TooFast, sentence);
            return;
        }
    }
}
