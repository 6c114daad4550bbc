//! The judge: it derives its findings only from the logs of the clients and of Slack, without I/O.
//!
//! Each file below answers one question; `docs/chaos.md` describes them. A finding is a fault of
//! the service, or of the checker: either way the run is red.

mod bystanders;
mod callers;
mod changed;
mod channels;
mod dark;
mod delivered;
mod feed;
mod health;
mod limits;
mod order;
mod promises;
mod reach;
mod recovery;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_of_bystanders;
#[cfg(test)]
mod tests_of_channels;
#[cfg(test)]
mod tests_of_proof;

use std::collections::{BTreeMap, BTreeSet, HashSet};

pub(crate) use bystanders::Times;
pub(crate) use channels::ChannelFigures;
pub(crate) use promises::promises;

use crate::evidence::{Answer, Call, Evidence, Purpose, Verdict};

/// The kinds of findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// Accepted but not in Slack, and nothing explains it (I1).
    Lost,
    /// More than one message for one recipient of one notification (I7).
    Duplicated,
    /// Stored before a message whose call had been answered before this one's began (I4).
    Reordered,
    /// Stored before its call began (I2).
    Early,
    /// Stored or changed, though no client got an acceptance for it (I2).
    Phantom,
    /// To be taken back or crossed out, but Slack shows it unchanged (I1).
    Unchanged,
    /// Calls with one request id got two answers (I3).
    TwoAnswers,
    /// A call that must be refused was accepted (I3).
    WronglyAccepted,
    /// Refused in a way that the documents do not allow.
    WronglyRefused,
    /// Posts of one lane were too close together (I5).
    TooFast,
    /// A request within a `Retry-After` (I5).
    InsideRetryAfter,
    /// A 429 for a documented limit, though the checker did not inject it (I5).
    Avoidable429,
    /// Parked or failed, and no fault explains it.
    GivenUp,
    /// A replica did not end when asked to, or ended badly (I11).
    BadExit,
    /// Work resumed too long after faults (I14).
    SlowRecovery,
    /// A call of a tenant at which no fault was aimed was accepted too late (I8).
    HeldUp,
    /// A message of such a tenant was sent too late (I8).
    Late,
    /// Health reported something untrue.
    UntrueHealth,
    /// A reader of a feed missed changes and was not notified.
    FeedGap,
    /// Two channels for one wish are open, or have messages (I7).
    SecondChannel,
    /// A channel was created again before the earlier attempt was looked for (I7).
    Unlooked,
    /// A person was invited who was in the channel already (I7).
    InvitedTwice,
    /// A person was invited or removed although no call asked for it (I2).
    Unasked,
    /// A wish for a channel is not carried out (I1).
    NotCarriedOut,
    /// The run judged too little to prove anything.
    Unproven,
}

/// The method of posts.
const POST: &str = "chat.postMessage";

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) kind: Kind,
    pub(crate) sentence: String,
}

/// Figures of the run, besides the findings.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Figures {
    /// Accepted notifications, and their queued recipients.
    pub(crate) notifications: usize,
    pub(crate) accepted: usize,
    /// Recipients that were accepted before the member list was there.
    pub(crate) early: usize,
    pub(crate) stored: usize,
    /// Messages that were taken back or crossed out, as asked.
    pub(crate) changed: usize,
    /// Recipients whose messages were taken back or crossed out before they were sent.
    pub(crate) overtaken: usize,
    /// Recipients whose messages expired, as their calls allowed.
    pub(crate) expired: usize,
    /// Recipients accepted by a database that a copy then replaced.
    pub(crate) lost_by_failover: usize,
    /// Recipients whose messages were parked because the checker killed their workers three times.
    pub(crate) set_aside: usize,
    /// Calls, and the number of other outcomes by code and reason.
    pub(crate) calls: usize,
    pub(crate) refusals: BTreeMap<String, usize>,
    /// The longest time from the first call to acceptance.
    pub(crate) longest_call: i64,
    /// 429s that were injected, and those of the workspace's own limit.
    pub(crate) throttled_by_fault: usize,
    pub(crate) throttled_by_limit: usize,
    /// From the end of faults until the last message, and the bound for that.
    pub(crate) drained_in: i64,
    pub(crate) drain_bound: i64,
    /// The longest time from the return of the database to an accepted call.
    pub(crate) back_in: i64,
    /// How often connections went dark, and how often a replica that stayed dark would have been
    /// found, because no other fault touched it.
    pub(crate) dark: usize,
    pub(crate) dark_judged: usize,
    /// The number of periods after dark connections in which a replica had to send.
    pub(crate) dark_sending_judged: usize,
    /// The longest time from judged dark connections to a call that their replica accepted.
    pub(crate) light_in: i64,
    /// Calls of the witness before the faults, those at healthy replicas during the faults, and its
    /// messages.
    pub(crate) calm_calls: Times,
    pub(crate) witness_calls: Times,
    pub(crate) witness_messages: Times,
    /// The number of health probes, and the longest time for which health was untrue. `None` if it
    /// was not judged.
    pub(crate) probes: usize,
    pub(crate) untrue_for: Option<i64>,
    /// How much closer than the pace posts of a lane were, at most.
    pub(crate) closest: i64,
    pub(crate) channels: ChannelFigures,
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

/// Judges the logs.
pub(crate) fn judge(evidence: &Evidence) -> Judgement {
    let case = Case::new(evidence);
    let mut judgement = Judgement::default();
    callers::judge(&case, &mut judgement);
    delivered::judge(&case, &mut judgement);
    changed::judge(&case, &mut judgement);
    order::judge(&case, &mut judgement);
    limits::judge(&case, &mut judgement);
    recovery::judge(&case, &mut judgement);
    dark::judge(&case, &mut judgement);
    bystanders::judge(&case, &mut judgement);
    health::judge(&case, &mut judgement);
    feed::judge(&case, &mut judgement);
    channels::judge(&case, &mut judgement);
    judgement.findings.sort_by_key(|finding| finding.kind);
    judgement
}

/// Data that several questions need.
struct Case<'a> {
    evidence: &'a Evidence,
    /// Requests for delivery.
    requests: BTreeMap<&'a str, Asked<'a>>,
    /// Requests that change the messages of an earlier one.
    changes: BTreeMap<&'a str, Asked<'a>>,
    /// Calls made while the database was ahead of the copy that replaced it: the copy may not know
    /// them, and they may have been made again.
    forgotten: HashSet<&'a str>,
    /// The time between each copy and the failover to it.
    lags: Vec<Lag>,
    /// Keys of channels that the copy may not know.
    forgotten_keys: BTreeSet<String>,
}

/// The time that a failover lost.
#[derive(Debug, Clone, Copy)]
struct Lag {
    from: i64,
    until: i64,
}

impl Lag {
    /// Whether something that lasted from `began` to `ended` may be lost.
    fn covers(self, began: i64, ended: i64) -> bool {
        ended >= self.from && began <= self.until
    }
}

/// All calls with one request id.
struct Asked<'a> {
    calls: Vec<&'a Call>,
    /// When the first of them began.
    began: i64,
    /// The earliest acceptance.
    accepted: Option<(&'a Call, &'a [Verdict])>,
}

impl Asked<'_> {
    /// When a client knew of the acceptance.
    fn known(&self) -> Option<i64> {
        self.accepted.map(|(call, _)| call.ended)
    }
}

impl<'a> Case<'a> {
    fn new(evidence: &'a Evidence) -> Self {
        let requests = asked(evidence, |purpose| purpose == Purpose::Deliver);
        let lags = evidence.blows.iter().filter(|blow| blow.kind == "lag");
        let lags: Vec<_> = lags.map(|blow| Lag { from: blow.from, until: blow.until }).collect();
        let fell = |call: &Call| lags.iter().any(|lag| lag.covers(call.began, call.ended));
        let forgotten = evidence.calls.iter().filter(|call| fell(call));
        let forgotten = forgotten.map(|call| call.id.as_str()).collect();
        let forgotten_keys = channels::forgotten(evidence, &lags);
        let changes = asked(evidence, Purpose::changes);
        Self { evidence, requests, changes, forgotten, lags, forgotten_keys }
    }

    /// Whether the database may have lost this by a failover.
    fn is_lost(&self, began: i64, ended: i64) -> bool {
        self.lags.iter().any(|lag| lag.covers(began, ended))
    }

    /// Whether a failover explains that the channel of this key is not known.
    fn is_forgotten_key(&self, key: &str) -> bool {
        self.forgotten_keys.contains(key)
    }

    /// Whether a failover explains that nothing is left of this call, or that it was accepted as
    /// new.
    fn is_forgotten(&self, call: &str) -> bool {
        self.forgotten.contains(call)
    }

    /// Whether a later call that takes back or crosses out this one's messages was accepted.
    fn is_over(&self, call: &str) -> bool {
        let accepted = self.changes.values().filter_map(|asked| asked.accepted);
        accepted.into_iter().any(|(change, _)| change.subject.as_deref() == Some(call))
    }

    /// Queued recipients: request, the accepted call, and the verdict.
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

/// Microseconds as seconds, for people.
pub(crate) fn seconds(micros: i64) -> String {
    format!("{}.{:03} s", micros / 1_000_000, (micros % 1_000_000).abs() / 1000)
}
