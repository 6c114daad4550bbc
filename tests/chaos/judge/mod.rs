//! The judge: what the logs of clients and of Slack prove, and nothing else. Pure.
//!
//! Each file below is one question; `docs/chaos.md` says them in words. A finding is a fault of the
//! service, or of the checker: either way the run is red.

mod bystanders;
mod callers;
mod changed;
mod delivered;
mod feed;
mod health;
mod limits;
mod order;
mod reach;
mod recovery;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_of_bystanders;

use std::collections::{BTreeMap, HashSet};

pub(crate) use bystanders::Times;

use crate::evidence::{Answer, Call, Evidence, Purpose, Verdict};

/// What can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// Accepted, and not in Slack, though nothing says why (I1).
    Lost,
    /// More than one message for one recipient of one notification (I7).
    Duplicated,
    /// Stored before a message whose call had been answered before this one's began (I4).
    Reordered,
    /// Stored before its call began (I2).
    Early,
    /// Stored or changed, and no client was told that it was accepted (I2).
    Phantom,
    /// To be taken back or crossed out, and Slack shows it as before (I1).
    Unchanged,
    /// Calls with one request id got two answers (I3).
    TwoAnswers,
    /// What must be refused was accepted (I3).
    WronglyAccepted,
    /// Refused in a way that the documents do not allow.
    WronglyRefused,
    /// Posts of one lane too close together (I5).
    TooFast,
    /// A request within a `Retry-After` (I5).
    InsideRetryAfter,
    /// A 429 against a documented limit that was not put in (I5).
    Avoidable429,
    /// Set aside or failed, though nothing was done to it that explains it.
    GivenUp,
    /// Told to end, a replica did not, or not well (I11).
    BadExit,
    /// Too long until work went on after faults (I14).
    SlowRecovery,
    /// A tenant at which no fault was aimed waited too long to be accepted (I8).
    HeldUp,
    /// Its messages were too late on their way (I8).
    Late,
    /// Health said something else than what was true.
    UntrueHealth,
    /// A reader of the feed missed changes and was not told so.
    FeedGap,
}

/// The method of posts.
const POST: &str = "chat.postMessage";

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) kind: Kind,
    pub(crate) sentence: String,
}

/// What came out, besides what is wrong.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Figures {
    /// Notifications, and recipients of them that were queued.
    pub(crate) notifications: usize,
    pub(crate) accepted: usize,
    /// Those of them that were accepted before the member list was there.
    pub(crate) early: usize,
    pub(crate) stored: usize,
    /// Messages that were taken back or crossed out, as asked.
    pub(crate) changed: usize,
    /// Recipients for whom it was over before the message went out.
    pub(crate) overtaken: usize,
    /// Those that said so themselves.
    pub(crate) expired: usize,
    /// Accepted by the database that a copy took the place of.
    pub(crate) lost_by_failover: usize,
    /// Parked because three workers died on them, of what the checker did.
    pub(crate) set_aside: usize,
    /// Calls made; and how the others ended.
    pub(crate) calls: usize,
    pub(crate) refusals: BTreeMap<String, usize>,
    /// The longest time from the first call to acceptance.
    pub(crate) longest_call: i64,
    /// 429s that were put in, and those of the workspace's own limit.
    pub(crate) throttled_by_fault: usize,
    pub(crate) throttled_by_limit: usize,
    /// From the end of faults until the last message; with the bound.
    pub(crate) drained_in: i64,
    pub(crate) drain_bound: i64,
    /// The longest from the return of the database to an accepted call.
    pub(crate) back_in: i64,
    /// The longest from dark connections to a call that their replica accepted.
    pub(crate) light_in: i64,
    /// Calls of the witness at replicas that were well, and its messages.
    pub(crate) witness_calls: Times,
    pub(crate) witness_messages: Times,
    /// How often health was asked for.
    pub(crate) probes: usize,
    /// By how much posts of a lane were closer than the pace, at most.
    pub(crate) closest: i64,
}

/// The judgement.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Judgement {
    pub(crate) findings: Vec<Finding>,
    pub(crate) figures: Figures,
}

impl Judgement {
    pub(crate) fn count(&self, kind: Kind) -> usize {
        self.findings.iter().filter(|finding| finding.kind == kind).count()
    }

    fn found(&mut self, kind: Kind, sentence: String) {
        self.findings.push(Finding { kind, sentence });
    }
}

/// Reads the logs.
pub(crate) fn judge(evidence: &Evidence) -> Judgement {
    let case = Case::new(evidence);
    let mut judgement = Judgement::default();
    callers::judge(&case, &mut judgement);
    delivered::judge(&case, &mut judgement);
    changed::judge(&case, &mut judgement);
    order::judge(&case, &mut judgement);
    limits::judge(&case, &mut judgement);
    recovery::judge(&case, &mut judgement);
    bystanders::judge(&case, &mut judgement);
    health::judge(&case, &mut judgement);
    feed::judge(&case, &mut judgement);
    judgement.findings.sort_by_key(|finding| finding.kind);
    judgement
}

/// What several questions need.
struct Case<'a> {
    evidence: &'a Evidence,
    /// To be delivered.
    requests: BTreeMap<&'a str, Asked<'a>>,
    /// About what an earlier one said.
    changes: BTreeMap<&'a str, Asked<'a>>,
    /// Called while the database was ahead of the copy that took its place: it may know nothing of
    /// them, and may have been asked again.
    forgotten: HashSet<&'a str>,
}

/// All calls with one request id.
struct Asked<'a> {
    calls: Vec<&'a Call>,
    /// When the first of them began.
    began: i64,
    /// The first acceptance, by when it came.
    accepted: Option<(&'a Call, &'a [Verdict])>,
}

impl Asked<'_> {
    /// When a client knew that it was accepted.
    fn known(&self) -> Option<i64> {
        self.accepted.map(|(call, _)| call.ended)
    }
}

impl<'a> Case<'a> {
    fn new(evidence: &'a Evidence) -> Self {
        let requests = asked(evidence, |purpose| purpose == Purpose::Deliver);
        let lags = evidence.blows.iter().filter(|blow| blow.kind == "lag");
        let lags: Vec<_> = lags.map(|blow| (blow.from, blow.until)).collect();
        let fell =
            |call: &Call| lags.iter().any(|(from, to)| call.ended >= *from && call.began <= *to);
        let forgotten = evidence.calls.iter().filter(|call| fell(call));
        let forgotten = forgotten.map(|call| call.id.as_str()).collect();
        Self { evidence, requests, changes: asked(evidence, Purpose::changes), forgotten }
    }

    /// Whether a failover explains that there is nothing of this call, or that it was taken for
    /// new.
    fn is_forgotten(&self, call: &str) -> bool {
        self.forgotten.contains(call)
    }

    /// Whether a later call was accepted that took back or crossed out what this one said.
    fn is_over(&self, call: &str) -> bool {
        let accepted = self.changes.values().filter_map(|asked| asked.accepted);
        accepted.into_iter().any(|(change, _)| change.subject.as_deref() == Some(call))
    }

    /// Recipients that were queued: request, the call that was answered, and the verdict.
    fn queued(&self) -> impl Iterator<Item = (&Asked<'a>, &'a Call, &'a Verdict)> {
        self.requests.values().flat_map(|asked| {
            asked.accepted.into_iter().flat_map(move |(call, verdicts)| {
                let queued = verdicts.iter().filter(|verdict| verdict.queued);
                queued.map(move |verdict| (asked, call, verdict))
            })
        })
    }
}

/// Calls by their request id.
fn asked(evidence: &Evidence, wanted: impl Fn(Purpose) -> bool) -> BTreeMap<&str, Asked<'_>> {
    let mut requests: BTreeMap<&str, Asked<'_>> = BTreeMap::new();
    for call in evidence.calls.iter().filter(|call| wanted(call.purpose)) {
        let asked = requests.entry(&call.id).or_insert_with(|| Asked {
            calls: Vec::new(),
            began: call.began,
            accepted: None,
        });
        asked.calls.push(call);
        asked.began = asked.began.min(call.began);
        if let Answer::Accepted { verdicts, .. } = &call.answer
            && asked.known().is_none_or(|known| call.ended < known)
        {
            asked.accepted = Some((call, verdicts));
        }
    }
    requests
}

/// Microseconds as people read them.
pub(crate) fn seconds(micros: i64) -> String {
    format!("{}.{:03} s", micros / 1_000_000, (micros % 1_000_000).abs() / 1000)
}
