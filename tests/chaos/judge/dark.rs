//! How soon a replica works again after its connections to the database broke unnoticed (I14), and
//! whether the run tested that at all.

use super::{Case, Judgement, Kind, reach, seconds};
use crate::evidence::{Answer, Blow};

/// From dark connections until their replica accepts a call, and until it sends Slack a request;
/// and how long a working replica may send none.
const LIGHT: i64 = 10_000_000;
const IDLE: i64 = 10_000_000;
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
        let undisturbed = |until: i64, disturbs: fn(&Blow, usize) -> bool| {
            let others = case.evidence.blows.iter().enumerate();
            let mut others = others.filter(|(other, _)| *other != index).map(|(_, other)| other);
            until <= rules.calm
                && !others.any(|other| {
                    reach::is_felt(other, blow.from, until) && disturbs(other, replica)
                })
        };
        let light = blow.until + LIGHT;
        if undisturbed(light, reach::touches) {
            judgement.figures.dark_judged += 1;
            accepts(case, blow, replica, judgement);
        }
        let periods = [(blow.until + PREPARED, light), (light, light + IDLE)];
        let mut judged = periods.into_iter().filter(|(_, until)| undisturbed(*until, silences));
        let figures = &mut judgement.figures;
        if judged.any(|(from, until)| {
            figures.dark_sending_judged += 1;
            !sends(case, replica, from, until)
        }) {
            let sentence =
                format!("replica {replica} sends nothing after its connections were dark");
            judgement.found(Kind::SlowRecovery, sentence);
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
    if took > LIGHT {
        let took = seconds(took);
        let sentence = format!("replica {replica}: {took} dark until a call was accepted");
        judgement.found(Kind::SlowRecovery, sentence);
    }
}

/// Whether the replica sends Slack a request in this time, for which it needs its database.
fn sends(case: &Case<'_>, replica: usize, from: i64, until: i64) -> bool {
    let mut requests = case.evidence.requests.iter().filter(|one| one.replica == Some(replica));
    requests.any(|one| (from..=until).contains(&one.began))
}

/// Whether this fault excuses a replica that sends nothing. A throttled one may have nothing to
/// send.
fn silences(blow: &Blow, replica: usize) -> bool {
    reach::touches(blow, replica) || blow.kind == "throttle"
}

/// Whether dark connections are the only faults of the run that touch replicas.
fn is_only_dark(faults: &[String]) -> bool {
    let mut touching = faults.iter().filter(|kind| reach::is_of_replicas(kind)).peekable();
    touching.peek().is_some() && touching.all(|kind| kind == "dark")
}
