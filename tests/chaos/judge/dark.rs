//! How soon a replica works again after its connections to the database went dark (I14), and
//! whether the run shows that at all.

use super::{Case, Judgement, Kind, reach, seconds};
use crate::evidence::{Answer, Blow};

/// From dark connections until their replica accepts a call, and until it sends Slack a request.
const LIGHT: i64 = 10_000_000;
/// Requests that a replica sends so soon may have been prepared before its connections went dark:
/// starts are handed out up to a second ahead.
const PREPARED: i64 = 2_000_000;

pub(super) fn judge(case: &Case<'_>, judgement: &mut Judgement) {
    let rules = &case.evidence.rules;
    if rules.mixed {
        return;
    }
    for (index, blow) in case.evidence.blows.iter().enumerate() {
        let Some(replica) = blow.replica.filter(|_| blow.kind == "dark") else { continue };
        judgement.figures.dark += 1;
        let until = blow.until + LIGHT;
        let others = case.evidence.blows.iter().enumerate().filter(|(other, _)| *other != index);
        let felt = others.filter(|(_, other)| reach::is_felt(other, blow.from, until));
        let felt: Vec<&Blow> = felt.map(|(_, other)| other).collect();
        if until > rules.calm || felt.iter().any(|other| reach::touches(other, replica)) {
            continue;
        }
        judgement.figures.dark_judged += 1;
        accepts(case, blow, replica, judgement);
        // A throttled replica may rightly have nothing to send.
        if felt.iter().all(|other| other.kind != "throttle") {
            sends(case, blow, replica, judgement);
        }
    }
    if judgement.figures.dark_judged == 0 && is_only_dark(&rules.faults) {
        let sentence = "no dark connections were judged, though no other fault touches replicas";
        judgement.found(Kind::Unproven, sentence.to_owned());
    }
}

/// The first call that the replica accepts.
fn accepts(case: &Case<'_>, blow: &Blow, replica: usize, judgement: &mut Judgement) {
    let evidence = case.evidence;
    let accepted = (evidence.calls.iter())
        .filter(|call| call.replica == replica && call.began > blow.until)
        .filter(|call| matches!(call.answer, Answer::Accepted { .. }));
    let first = accepted.map(|call| call.ended).min().unwrap_or(evidence.rules.ended);
    let took = first - blow.until;
    judgement.figures.light_in = judgement.figures.light_in.max(took);
    if took > evidence.rules.on_this_machine(LIGHT) {
        let took = seconds(took);
        let sentence = format!("replica {replica}: {took} dark until a call was accepted");
        judgement.found(Kind::SlowRecovery, sentence);
    }
}

/// A request to Slack, for which the replica needed its database.
fn sends(case: &Case<'_>, blow: &Blow, replica: usize, judgement: &mut Judgement) {
    let to = blow.until + case.evidence.rules.on_this_machine(LIGHT);
    let from = blow.until + PREPARED;
    let mut requests = case.evidence.requests.iter().filter(|one| one.replica == Some(replica));
    if !requests.any(|one| (from..=to).contains(&one.began)) {
        let sentence = format!("replica {replica} sends nothing after its connections were dark");
        judgement.found(Kind::SlowRecovery, sentence);
    }
}

/// Whether dark connections are the only faults of the run that touch replicas.
fn is_only_dark(faults: &[String]) -> bool {
    let mut touching = faults.iter().filter(|kind| reach::is_of_replicas(kind)).peekable();
    touching.peek().is_some() && touching.all(|kind| kind == "dark")
}
