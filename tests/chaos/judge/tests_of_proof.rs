//! Tests of the judge: a run must prove something, so the judge counts the faults and calls that it
//! could evaluate.

use super::tests::{SECOND, at, fine, kinds};
use super::*;
use crate::evidence::Blow;
use crate::plant::Plant;
use crate::report;
use crate::tenant::Tenant;

fn blow(kind: &str, replica: Option<usize>, from: usize) -> Blow {
    Blow { kind: kind.into(), what: kind.into(), replica, from: at(from), until: at(from) }
}

/// One replica's connections went dark, and another fault struck three seconds later.
fn dark(and: Blow) -> Evidence {
    let mut evidence = fine();
    evidence.blows = vec![blow("dark", Some(0), 2), and];
    evidence
}

#[test]
fn dark_connections_are_judged_unless_another_fault_touches_the_replica() {
    for (and, judged) in [
        (blow("kill", Some(0), 5), 0),
        (blow("dark", Some(0), 11), 0),
        (blow("postgres", None, 5), 0),
        (blow("kill", Some(1), 5), 1),
        (blow("throttle", None, 5), 1),
        (blow("tenants", None, 5), 1),
        (blow("step", None, 5), 1),
        // The run ends eight seconds after it.
        (blow("dark", Some(1), 12), 1),
    ] {
        let figures = judge(&dark(and.clone())).figures;
        assert_eq!(figures.dark_judged, judged, "{and:?}");
        assert_eq!(figures.dark, if and.kind == "dark" { 2 } else { 1 });
    }
}

/// A replica whose lanes must wait may rightly send nothing; calls are accepted in any case.
#[test]
fn a_throttled_replica_need_not_send_but_must_accept() {
    for (and, sends) in [("tenants", Some(true)), ("throttle", None)] {
        let evidence = dark(blow(and, None, 5));
        assert_eq!(Plant::Darkness.is_found(&evidence), Some(true), "{and}");
        assert_eq!(Plant::Muteness.is_found(&evidence), sends, "{and}");
    }
}

#[test]
fn a_run_whose_only_fault_of_replicas_is_dark_must_judge_it() {
    let planned = |faults: &[&str], evidence: &Evidence| {
        let mut evidence = evidence.clone();
        evidence.rules.faults = faults.iter().map(|kind| (*kind).to_owned()).collect();
        kinds(&evidence)
    };
    let (none, unproven) = (fine(), [Kind::Unproven]);
    assert_eq!(planned(&["dark"], &none), unproven);
    assert_eq!(planned(&["step", "dark", "tenants", "cancel"], &none), unproven);
    assert_eq!(planned(&["step", "dark", "tenants", "kill"], &none), []);
    assert_eq!(planned(&["dark", "failover"], &none), []);
    assert_eq!(planned(&["step", "tenants"], &none), []);
    assert_eq!(planned(&["dark"], &dark(blow("kill", Some(0), 5))), unproven);
    assert_eq!(planned(&["dark"], &dark(blow("tenants", None, 5))), []);
    let mut mixed = fine();
    mixed.rules.mixed = true;
    assert_eq!(planned(&["dark"], &mixed), []);
}

/// The planted fault shows that the judge looks at the dark connections of these logs.
#[test]
fn darkness_is_planted_only_where_the_judge_looks() {
    assert_eq!(Plant::Darkness.is_found(&fine()), None);
    assert_eq!(Plant::Darkness.is_found(&dark(blow("kill", Some(0), 5))), None);
    assert_eq!(Plant::Darkness.is_found(&dark(blow("kill", Some(1), 5))), Some(true));
}

#[test]
fn delays_and_darkness_are_found_where_they_are_planted() {
    for plant in [Plant::HeldUp, Plant::Late, Plant::Darkness, Plant::Muteness] {
        let evidence = dark(blow("tenants", None, 5));
        assert_eq!(plant.is_found(&evidence), Some(true), "{plant:?}");
    }
}

/// A judge that saw hardly any call of the witness has not seen that faults do not reach it.
#[test]
fn a_run_of_a_minute_must_judge_forty_calls_of_the_witness() {
    let witness = Tenant::WITNESS.name();
    let mut evidence = fine();
    evidence.rules.calm = at(59);
    assert_eq!(kinds(&evidence), []);
    evidence.rules.calm = at(60);
    assert_eq!(kinds(&evidence), [Kind::Unproven]);
    let theirs = evidence.calls.iter().filter(|call| call.tenant == witness);
    let more = theirs.cloned().map(|call| {
        let (id, verdicts) = (format!("{}-again", call.id), Vec::new());
        let answer = Answer::Accepted { notification: id.clone(), verdicts };
        Call { id, answer, ..call }
    });
    let more: Vec<Call> = more.collect();
    evidence.calls.extend(more.iter().skip(1).cloned());
    assert_eq!(judge(&evidence).figures.witness_calls.count, 39);
    assert_eq!(kinds(&evidence), [Kind::Unproven]);
    evidence.calls.extend(more.into_iter().take(1));
    assert_eq!(kinds(&evidence), []);
    // Calls that a fault explains are not judged.
    evidence.blows = vec![blow("postgres", None, 5)];
    assert_eq!(kinds(&evidence), [Kind::Unproven]);
}

fn held(evidence: &Evidence) -> [Option<bool>; 3] {
    promises(&judge(evidence).figures).map(|promise| promise.holds())
}

/// The findings have tolerances; the summary says what holds without them.
#[test]
fn promises_are_also_judged_as_they_are_written() {
    let witness = Tenant::WITNESS.name();
    let mut evidence = fine();
    assert_eq!(held(&evidence), [Some(true); 3]);
    for call in evidence.calls.iter_mut().filter(|call| call.tenant == witness) {
        call.ended += SECOND;
    }
    assert_eq!(held(&evidence), [Some(false), Some(true), Some(true)]);
    let mut posts = evidence.requests.iter_mut().filter(|post| post.tenant == witness);
    posts.next().unwrap().began += 4 * SECOND;
    assert_eq!(held(&evidence), [Some(false), Some(false), Some(true)]);
    let theirs = evidence.probes.iter_mut().filter(|probe| probe.replica == 1);
    theirs.take(12).for_each(|probe| probe.ready = Some(false));
    assert_eq!(held(&evidence), [Some(false); 3]);
    assert_eq!(kinds(&evidence), [Kind::HeldUp, Kind::Late], "half a second is tolerated");
    let summary = report::summary(&evidence, &judge(&evidence));
    assert!(summary.contains("health untrue 5.500 s (at most 5 s: DOES NOT HOLD)"), "{summary}");
    evidence.rules.mixed = true;
    assert_eq!(held(&evidence), [None; 3]);
}

#[test]
fn the_longest_untrue_health_is_measured_in_both_directions() {
    let mut evidence = fine();
    assert_eq!(judge(&evidence).figures.untrue_for, Some(0));
    let theirs = evidence.probes.iter_mut().filter(|probe| probe.replica == 1);
    theirs.take(7).for_each(|probe| probe.serving = Some(false));
    assert_eq!(judge(&evidence).figures.untrue_for, Some(3 * SECOND), "a false alarm");
    for call in evidence.calls.iter_mut().filter(|call| call.replica == 0) {
        if call.ended < at(5) {
            call.answer = Answer::Lost { why: "no answer".into() };
        }
    }
    evidence.channel_calls.clear();
    // The first answer of the call at six seconds is lost in any case.
    assert_eq!(judge(&evidence).figures.untrue_for, Some(6 * SECOND), "no alarm");
    evidence.probes.retain(|probe| probe.began < at(3));
    assert_eq!(judge(&evidence).figures.untrue_for, Some(2 * SECOND + SECOND / 2));
    evidence.probes.clear();
    assert_eq!(judge(&evidence).figures.untrue_for, None);
}

/// A call that hangs does not make a replica ill that meanwhile accepts others.
#[test]
fn an_outage_begins_after_the_last_call_that_succeeded() {
    let mut evidence = fine();
    let hung = evidence.calls[0].clone();
    assert!(hung.replica == 0 && matches!(hung.answer, Answer::Lost { .. }));
    evidence.calls.push(Call { began: at(3), ended: at(15), ..hung });
    assert_eq!(kinds(&evidence), []);
    assert_eq!(judge(&evidence).figures.untrue_for, Some(2 * SECOND + 3 * SECOND / 4));
}

/// tests/run repeats these lines in its own summary.
#[test]
fn the_summary_names_faults_that_the_machine_cannot_produce() {
    let mut evidence = fine();
    let lines = |evidence: &Evidence| {
        let summary = report::summary(evidence, &judge(evidence));
        let lines = summary.lines().filter_map(|line| line.strip_prefix("left out      "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(lines(&evidence).is_empty());
    let missing = ["pooler (no PgBouncer)"];
    evidence.rules.left_out = missing.map(str::to_owned).to_vec();
    assert_eq!(lines(&evidence), missing);
}

/// If no transaction was open, the replica is not frozen: the database's replies were late.
#[test]
fn replies_that_were_held_back_are_no_freeze() {
    let mut evidence = fine();
    let held = Blow { until: at(4), ..blow("held", Some(0), 2) };
    evidence.blows = vec![held, blow("frozen", Some(1), 2)];
    let summary = report::summary(&evidence, &judge(&evidence));
    assert!(summary.contains("2: frozen 1, held 1"), "{summary}");
    // They explain a call that takes long, and dark connections are not judged together with them.
    for (kind, explained) in [("held", true), ("step", false)] {
        let mut evidence = dark(Blow { until: at(4), ..blow(kind, Some(0), 2) });
        assert_eq!(judge(&evidence).figures.dark_judged, usize::from(!explained));
        evidence.blows.remove(0);
        let witness = Tenant::WITNESS.name();
        let mut theirs = evidence.calls.iter_mut().filter(|call| call.tenant == witness);
        theirs.find(|call| call.began == at(3)).unwrap().ended += SECOND;
        assert_eq!(kinds(&evidence).is_empty(), explained, "{kind}");
    }
}

/// They last two seconds at most, and excuse an untrue answer about health only meanwhile.
#[test]
fn replies_that_were_held_back_explain_no_lasting_false_alarm() {
    for (ill, found) in [(7, false), (10, true)] {
        let mut evidence = fine();
        let theirs = evidence.probes.iter_mut().filter(|probe| probe.replica == 1);
        theirs.take(2 * ill).for_each(|probe| probe.serving = Some(false));
        evidence.blows = vec![Blow { until: at(2), ..blow("held", Some(1), 0) }];
        assert_eq!(kinds(&evidence).contains(&Kind::UntrueHealth), found, "{ill}");
    }
}
